//! How long the rest of a call may take: by the work of each run, not by their number, and by what this call has done, not by
//! what it found done.

use std::collections::HashMap;

/// Nothing is said before this share of the work, and this many seconds.
const ENOUGH: (f64, f64) = (0.01, 2.0);

/// Work of runs, and how far each is.
#[derive(Debug, Default)]
pub(super) struct TimeLeft {
    /// Of each run that is to be done, in any unit.
    work: HashMap<String, f64>,
    /// Of runs that are worked on: the share that was done when they were taken up, and now.
    shares: HashMap<String, (f64, f64)>,
    /// Work of ended runs that was done here.
    done: f64,
}

impl TimeLeft {
    /// For runs with their work.
    pub(super) fn new(work: HashMap<String, f64>) -> TimeLeft {
        TimeLeft { work, ..TimeLeft::default() }
    }

    /// A run is so far.
    pub(super) fn step(&mut self, run: &str, done: usize, total: usize) {
        let share = (done as f64 / total.max(1) as f64).clamp(0.0, 1.0);
        // A run that is gone on with begins in its middle; the first step that is told is nearly that.
        let (_, now) = self.shares.entry(run.into()).or_insert((share, share));
        *now = share.max(*now);
    }

    /// A run is taken off: it ended, with something or nothing to show.
    pub(super) fn ended(&mut self, run: &str) {
        let (first, _) = self.shares.remove(run).unwrap_or_default();
        if let Some(work) = self.work.remove(run) {
            self.done += work * (1.0 - first);
        }
    }

    /// Seconds that the rest may take, after so many.
    pub(super) fn left(&self, elapsed: f64) -> Option<f64> {
        let (mut done, mut open) = (self.done, 0.0);
        for (run, work) in &self.work {
            let (first, now) = self.shares.get(run).copied().unwrap_or_default();
            done += work * (now - first);
            open += work * (1.0 - now);
        }
        let known = elapsed >= ENOUGH.1 && done > 0.0 && done >= ENOUGH.0 * (done + open);
        known.then(|| open * elapsed / done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_more_work_counts_for_more_and_what_was_found_done_for_nothing() {
        let work = [("head", 1.0), ("a", 50.0), ("b", 50.0)].map(|(n, w)| (n.to_string(), w));
        let mut left = TimeLeft::new(work.into());
        assert_eq!(left.left(10.0), None, "nothing is done");
        left.ended("head");
        assert_eq!(left.left(1.0), None, "it is too early to say");
        // By the number of runs a third would be done after 10 s.
        assert!(left.left(10.0).is_none(), "a hundredth of the work says nothing");
        // Gone on with from the middle: 25 of its 50 are to do, and 5 of them are done.
        left.step("a", 50, 100);
        left.step("a", 60, 100);
        let seconds = left.left(12.0).unwrap();
        assert!((seconds - 12.0 * 70.0 / 6.0).abs() < 1e-9, "{seconds}");
        left.ended("a");
        assert!((left.left(26.0).unwrap() - 26.0 * 50.0 / 26.0).abs() < 1e-9);
        left.ended("b");
        assert_eq!(left.left(80.0), Some(0.0));
    }

    #[test]
    fn a_run_that_nobody_knows_of_changes_nothing() {
        let mut left = TimeLeft::new([("a".to_string(), 2.0)].into());
        left.ended("other");
        left.step("other", 1, 2);
        left.step("a", 0, 0);
        left.step("a", 1, 2);
        assert_eq!(left.left(5.0), Some(5.0));
    }
}
