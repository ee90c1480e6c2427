//! Signals that ask for the end: Ctrl-C, SIGTERM, a hang-up, and the notice that a queue system gives before its time is over.
//!
//! What the caller has set to be ignored stays ignored: `nohup` does so with hang-ups, a shell with Ctrl-C for what it puts
//! into the background.

use super::progress::insist;
use super::{Exit, Failure};
use crate::runs::Stop;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static STOP: Stop = Stop::new();
static LISTENING: AtomicBool = AtomicBool::new(false);
/// Seconds that the user gives, if any.
static GRACE: OnceLock<Duration> = OnceLock::new();

/// What is asked with, and how it is called.
const ASKING: [(i32, &str); 4] =
    [(SIGINT, "Ctrl-C"), (SIGTERM, "SIGTERM"), (SIGHUP, "a hang-up (SIGHUP)"), (SIGUSR1, "SIGUSR1")];

/// From now on signals ask for the end; a second Ctrl-C ends the program at once. `grace` is the time that an epoch may
/// take to end, where the user says so.
pub(super) fn listen(grace: Option<Duration>) -> Result<&'static Stop, Failure> {
    if let Some(grace) = grace {
        let _ = GRACE.set(grace);
    }
    if LISTENING.swap(true, Ordering::Relaxed) {
        return Ok(&STOP);
    }
    let ignored = ignored();
    let heard = ASKING.iter().map(|(signal, _)| *signal).filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(heard.collect::<Vec<_>>())?;
    let wait = move || {
        for signal in signals.forever() {
            let name = ASKING.iter().find(|(s, _)| *s == signal).map_or("a signal", |(_, name)| name);
            let grace = GRACE.get().copied().unwrap_or_else(|| grace_of(signal, |name| std::env::var(name).ok()));
            if STOP.ask(grace) {
                let seconds = grace.as_secs();
                insist(&format!(
                    "\n{name}: epochs that end within {seconds} s are kept, then it stops; Ctrl-C (again) stops at once"
                ));
            } else if signal == SIGINT {
                std::process::exit(Exit::Interrupted as i32);
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(&STOP)
}

/// The same for work that ends where it is and is taken up again: a flag that the first signal sets.
pub(super) fn flag() -> Result<&'static AtomicBool, Failure> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let ignored = ignored();
    let heard = ASKING.iter().map(|(signal, _)| *signal).filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(heard.collect::<Vec<_>>())?;
    let wait = move || {
        for signal in signals.forever() {
            if ASKED.swap(true, Ordering::Relaxed) && signal == SIGINT {
                std::process::exit(Exit::Interrupted as i32);
            }
            insist("\nstopping; Ctrl-C (again) stops at once");
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(&ASKED)
}

/// Signals that this process was started to ignore, as bits from 0; none where the system does not say.
fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| ignored_in(&status))
}

fn ignored_in(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// How long a process has between such a signal and the one that cannot be caught, less what it takes to write its state.
/// Slurm waits for 30 s after SIGTERM, and so does Kubernetes; PBS, LSF and Docker for 10 s. A notice with SIGUSR1 (`sbatch
/// --signal=USR1@120`) comes as early as its user wants; Slurm says when the job ends.
fn grace_of(signal: i32, variable: impl Fn(&str) -> Option<String>) -> Duration {
    let has = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    if signal == SIGUSR1 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let end = variable("SLURM_JOB_END_TIME").and_then(|time| time.trim().parse::<u64>().ok());
        return Duration::from_secs(end.map_or(60, |end| end.saturating_sub(now + 10).min(3600)));
    }
    match has("SLURM_JOB_ID") || has("KUBERNETES_SERVICE_HOST") {
        true => Duration::from_secs(20),
        false => Duration::from_secs(7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_caller_ignores_is_read() {
        let bit = |signal: i32| 1u64 << (signal - 1);
        assert_eq!(ignored_in("Name:\tx\nSigIgn:\t0000000000000001\n"), bit(SIGHUP));
        assert_eq!(ignored_in("SigIgn:\t0000000000000206\n") & bit(SIGINT), bit(SIGINT));
        assert_eq!(ignored_in("SigBlk: 1\n"), 0);
    }

    #[test]
    fn a_queue_systems_time_is_used() {
        let of = |signal, set: &[(&str, String)]| {
            grace_of(signal, |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone())).as_secs()
        };
        assert_eq!([of(SIGTERM, &[]), of(SIGINT, &[]), of(SIGUSR1, &[])], [7, 7, 60]);
        assert_eq!(of(SIGTERM, &[("SLURM_JOB_ID", "7".into())]), 20);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let left = |end: u64| of(SIGUSR1, &[("SLURM_JOB_END_TIME", end.to_string())]);
        assert!((95..=110).contains(&left(now + 120)) && left(now) == 0 && left(now + 100_000) == 3600);
    }
}
