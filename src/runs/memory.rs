//! How much memory a run needs, and how much there is, so that one that does not fit fails by itself and before it starts.
//!
//! What is counted is what every engine has to hold at the least: parameters with both of Adam's moments, what a batch leaves
//! for the backward pass, the rows of an SVM. So nothing is refused that would have fitted, and one that just passes may still
//! be too large.

use super::plan::Planned;
use crate::experiment::Part;
use crate::model::Sizes;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of a number.
const NUMBER: u64 = 4;

/// Bytes that a run takes at the least, beside the features, which are read from their files.
pub fn need(planned: &Planned) -> u64 {
    let Some(view) = &planned.view else { return 0 };
    let m = &view.dataset.manifest;
    let config = &planned.cell.config;
    let audio = planned.cell.part.audio().and_then(|a| m.audio(a)).map_or(0, |a| a.width);
    let many = |numbers: &[usize]| numbers.iter().fold(1u64, |product, n| product.saturating_mul(*n as u64));
    let (train, val) = (view.train_sounded.len(), view.val.len() + view.test.len());
    let numbers = match &planned.cell.part {
        Part::Stream { stream } if view.dataset.scores(stream).is_some() => many(&[val, m.classes.len()]),
        Part::Stream { stream } => {
            let width = m.stream(stream).map_or(0, |s| s.width);
            many(&[view.train.len() + val, width]).saturating_add(many(&[3, width + 1, m.classes.len()]))
        }
        Part::Bank { .. } => {
            // Rows twice, as they are and turned; a block of machines' slopes and decision values; the preconditioner.
            let machines = m.classes.len().min(256);
            [many(&[2, train, audio + 1]), many(&[2, train, machines]), many(&[2, audio + 1, audio + 1])]
                .iter()
                .fold(0u64, |sum, part| sum.saturating_add(*part))
        }
        Part::External { .. } => many(&[2 * val, audio]),
        Part::Control { .. } => many(&[train + val, m.visual_width() + audio]),
        Part::Generator { generator, .. } => {
            let sizes = Sizes { frames: m.frames, visual: m.visual_width(), audio, classes: m.classes.len() };
            let network = config.generator(*generator).describe().network(sizes);
            let batch = config.train.batch.min(train.max(1));
            let of_a_clip = network.numbers_of_a_clip().saturating_add(sizes.frames * sizes.visual + audio);
            // Where training stops early, those of the best epoch as well.
            let states = if config.train.stop.is_some() { 2 } else { 1 };
            many(&[3 * states, network.count()])
                .saturating_add(many(&[batch, of_a_clip]))
                .saturating_add(many(&[val, audio]))
        }
    };
    numbers.saturating_mul(NUMBER)
}

/// Bytes that this process may still take: what the machine has, what its control group and its address space leave. `None`
/// where the system does not say.
pub fn free() -> Option<u64> {
    [machine(), control_group(), address_space()].into_iter().flatten().min()
}

fn machine() -> Option<u64> {
    kib(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// The tightest limit of this process's control group and those around it.
fn control_group() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim();
    let mut folder = std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let mut least: Option<u64> = None;
    loop {
        let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        if let (Some(most), Some(taken)) = (number("memory.max"), number("memory.current")) {
            // Pages of files give way.
            let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let of_files =
                stat.lines().find_map(|l| l.strip_prefix("inactive_file ")?.trim().parse().ok()).unwrap_or(0);
            let left = most.saturating_sub(taken.saturating_sub(of_files));
            least = Some(least.map_or(left, |l| l.min(left)));
        }
        if !folder.pop() || !folder.starts_with("/sys/fs/cgroup") {
            return least;
        }
    }
}

fn address_space() -> Option<u64> {
    let most = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let taken = kib(&std::fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
    Some(most.saturating_sub(taken))
}

fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
}

/// What the workers of a process share: a run is let in where it fits beside those that are under way.
pub(super) struct Memory {
    /// Bytes to share out; all that one may ask for, where the system does not say.
    budget: u64,
    taken: Mutex<u64>,
    given_back: Condvar,
}

/// A run that needs more than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// Bytes that it needs.
    pub need: u64,
    /// Bytes that there are.
    pub free: u64,
}

/// Memory that a run may take; given back when this is dropped.
pub(super) struct Share<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(budget: Option<u64>) -> Memory {
        Memory { budget: budget.unwrap_or(u64::MAX), taken: Mutex::new(0), given_back: Condvar::new() }
    }

    /// Waits until there is room for so many bytes beside what is under way, or until `stopped`, which lets it in: it will
    /// look and leave.
    pub(super) fn share(&self, bytes: u64, stopped: impl Fn() -> bool) -> Result<Share<'_>, TooLarge> {
        if bytes > self.budget {
            return Err(TooLarge { need: bytes, free: self.budget });
        }
        let mut taken = self.lock();
        while *taken > self.budget - bytes && !stopped() {
            let waited = self.given_back.wait_timeout(taken, Duration::from_millis(200));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken = taken.saturating_add(bytes);
        Ok(Share { memory: self, bytes })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.memory.lock();
        *taken = taken.saturating_sub(self.bytes);
        self.memory.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_share_the_memory_and_one_that_is_too_large_is_told() {
        let memory = Memory::new(Some(10));
        assert_eq!(memory.share(11, || false).err(), Some(TooLarge { need: 11, free: 10 }));
        let first = memory.share(6, || false).unwrap();
        // The second waits for the first.
        std::thread::scope(|scope| {
            let second = scope.spawn(|| memory.share(5, || false).map(|share| share.bytes));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!second.is_finished());
            drop(first);
            assert_eq!(second.join().unwrap(), Ok(5));
        });
        assert!(memory.share(10, || false).is_ok(), "all was given back");
        let _all = memory.share(10, || false).unwrap();
        assert!(memory.share(10, || true).is_ok(), "one that was stopped is not kept waiting");
        assert!(Memory::new(None).share(u64::MAX, || false).is_ok());
    }

    #[test]
    fn the_system_says_what_is_free() {
        assert_eq!(kib("MemTotal: 3 kB\nMemAvailable:   20 kB\n", "MemAvailable:"), Some(20 << 10));
        if std::path::Path::new("/proc/meminfo").exists() {
            assert!(free().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
