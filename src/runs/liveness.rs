//! Whether somebody still works on a run. Signs of life decide: a worker that gives none for the grace period is taken for
//! dead, wherever it is. A pid only shortens the wait, and only where it means something: within one boot of one machine and
//! one PID namespace.

use super::environment;
use crate::store::{Owner, timestamp};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a worker gives a sign of life.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// A worker that gives no sign of life for this long is taken for dead.
const GRACE: Duration = Duration::from_secs(120);

/// One whose process is here and stopped (Ctrl-Z, SIGSTOP), for this long. When it goes on it finds that its run is another's.
const STOPPED: Duration = Duration::from_secs(12);

/// Whether somebody still works on a run, by the clock of this machine.
pub fn alive(owner: &Owner) -> bool {
    let silent_since = |grace: Duration| {
        let limit = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(grace);
        owner.heartbeat <= timestamp(limit.as_secs() as i64, limit.subsec_millis())
    };
    lives(owner, process(owner), &silent_since)
}

/// What the system says of a worker's process.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Process {
    /// It is elsewhere, and nothing can be said.
    Unknown,
    Gone,
    Stopped,
    Runs,
}

fn process(owner: &Owner) -> Process {
    // An earlier version told the machine's name alone.
    let here = match &owner.machine {
        Some(machine) => *machine == environment::machine(),
        None => owner.host == environment::host(),
    };
    if !here || owner.host != environment::host() {
        return Process::Unknown;
    }
    // A process that began after the last sign of life has only inherited the number.
    let inherited = environment::process_began(owner.pid).is_some_and(|began| began > owner.heartbeat);
    match environment::process_runs(owner.pid) && !inherited {
        false => Process::Gone,
        true if environment::process_stopped(owner.pid) => Process::Stopped,
        true => Process::Runs,
    }
}

fn lives(owner: &Owner, process: Process, silent_for: &dyn Fn(Duration) -> bool) -> bool {
    match process {
        Process::Gone => false,
        Process::Stopped => !silent_for(STOPPED),
        // An earlier version gave signs of life as well.
        Process::Runs | Process::Unknown => !owner.heartbeat.is_empty() && !silent_for(GRACE),
    }
}

/// Watches a run that another worker has. Its clock may be ahead of ours: no new sign of life while we watch is death as well,
/// so that no wait is without end.
#[derive(Default)]
pub(super) struct Watch {
    seen: Option<(Owner, Instant)>,
}

impl Watch {
    /// Whether its worker lives, as far as we have seen.
    pub(super) fn lives(&self, owner: &Owner) -> bool {
        let process = process(owner);
        let grace = if process == Process::Stopped { STOPPED } else { GRACE };
        let silent = self.seen.as_ref().is_some_and(|(last, at)| last == owner && at.elapsed() > grace);
        !silent && alive(owner)
    }

    /// Notes what the store says now.
    pub(super) fn saw(&mut self, owner: Owner) {
        if self.seen.as_ref().is_none_or(|(last, _)| *last != owner) {
            self.seen = Some((owner, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            host: environment::host(),
            pid: i64::from(std::process::id()),
            heartbeat: crate::store::now(),
            worker: Some(environment::worker_id()),
            machine: Some(environment::machine()),
        }
    }

    #[test]
    fn signs_of_life_decide_and_a_pid_only_shortens_the_wait() {
        let beat = |grace_passed: bool| move |grace: Duration| grace_passed || grace.is_zero();
        let (fresh, old) = (beat(false), beat(true));
        let owner = owner();
        for (process, with_fresh, with_old) in [
            (Process::Unknown, true, false),
            (Process::Gone, false, false),
            (Process::Stopped, true, false),
            (Process::Runs, true, false),
        ] {
            assert_eq!(lives(&owner, process, &fresh), with_fresh, "{process:?}");
            assert_eq!(lives(&owner, process, &old), with_old, "{process:?}");
        }
        let between = |grace: Duration| grace <= STOPPED;
        assert!(lives(&owner, Process::Runs, &between) && !lives(&owner, Process::Stopped, &between));
    }

    #[test]
    fn a_pid_of_another_namespace_or_boot_says_nothing() {
        assert_eq!(process(&owner()), Process::Runs);
        assert!(alive(&owner()));
        let gone = Owner { pid: 999_999_999, ..owner() };
        assert_eq!(process(&gone), Process::Gone);
        // The same host name, and the same pid, in a container.
        let elsewhere = Owner { machine: Some("another boot".into()), ..gone.clone() };
        assert_eq!(process(&elsewhere), Process::Unknown);
        assert!(alive(&elsewhere), "it gave a sign of life just now");
        assert!(!alive(&Owner { heartbeat: "2020-01-01T00:00:00.000Z".into(), ..elsewhere }));
        // An earlier version told no machine but its name.
        assert_eq!(process(&Owner { machine: None, ..gone }), Process::Gone);
        assert_eq!(process(&Owner { host: "elsewhere".into(), machine: None, ..owner() }), Process::Unknown);
    }

    #[test]
    fn two_processes_have_two_ids() {
        assert_eq!(environment::worker_id(), environment::worker_id());
        assert_eq!(environment::worker_id().len(), 32);
        assert!(!environment::machine().is_empty());
    }
}
