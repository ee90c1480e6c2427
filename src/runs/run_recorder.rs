//! What listens to a run's training: epochs, checkpoints, Ctrl-C.

use super::{Event, RunContext, checkpoint};
use crate::store;
use crate::train::{Checkpoint, Epoch, Error, Listener};
use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What runs that are trained side by side have in common: they are shown as one, and keep their states after the same
/// epochs, so that they can go on side by side.
pub(super) struct GroupProgress {
    name: String,
    /// The steps that were told last.
    told: Cell<Option<usize>>,
    saved: Cell<Instant>,
    /// When the epoch began that is under way, or nearly so.
    began: Cell<Instant>,
    /// An epoch, and what comes after it.
    decided: Cell<(usize, After)>,
}

/// What comes after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next.
    Next,
    /// The next, when the state is kept.
    Keep,
    /// The end, when the state is kept: the process was asked to stop.
    Leave,
}

/// An epoch that takes longer is kept when it ends: should the process be asked to stop, the next may not end in time.
const LONG: Duration = Duration::from_secs(15);

impl GroupProgress {
    /// For a group, or a run, of this name.
    pub(super) fn new(name: String) -> GroupProgress {
        let now = Cell::new(Instant::now());
        GroupProgress {
            name,
            told: Cell::new(None),
            saved: now.clone(),
            began: now,
            decided: Cell::new((0, After::Next)),
        }
    }

    /// What comes after an epoch; the same for all that ask.
    fn after(&self, epoch: usize, every: Duration, stopped: bool) -> After {
        if self.decided.get().0 != epoch {
            let took = self.began.replace(Instant::now()).elapsed();
            let due = self.saved.get().elapsed() >= every || took >= LONG;
            let after = match (stopped, due) {
                (true, _) => After::Leave,
                (false, true) => After::Keep,
                (false, false) => After::Next,
            };
            self.decided.set((epoch, after));
        }
        self.decided.get().1
    }
}

/// Listens to the training of one run.
pub(super) struct RunRecorder<'a, 'b> {
    shared: &'a RunContext<'b>,
    progress: &'a GroupProgress,
    id: &'a str,
    attempt: i64,
    checkpoint: PathBuf,
    /// Epochs of earlier attempts.
    behind: Vec<Epoch>,
    epochs: Vec<Epoch>,
    /// How many of `epochs` the store has.
    kept: usize,
}

impl<'a, 'b> RunRecorder<'a, 'b> {
    /// For the `attempt`th of a run that has `behind` it.
    pub(super) fn new(
        shared: &'a RunContext<'b>,
        progress: &'a GroupProgress,
        (id, attempt): (&'a str, i64),
        behind: Vec<Epoch>,
    ) -> Self {
        let checkpoint = checkpoint::path(&shared.checkpoints, id);
        RunRecorder { shared, progress, id, attempt, checkpoint, behind, epochs: Vec::new(), kept: 0 }
    }

    /// Epochs that the store does not have yet.
    pub(super) fn new_epochs(&self) -> &[Epoch] {
        &self.epochs[self.kept..]
    }

    /// Takes away what a finished run no longer needs.
    pub(super) fn forget(&self) {
        let _ = std::fs::remove_file(&self.checkpoint);
    }

    /// A disk that takes nothing more is no failure of the run: it goes on when there is room again.
    fn give_up(&self, error: store::Error) -> Error {
        self.shared.give_up(error);
        Error::Interrupted
    }
}

impl Listener for RunRecorder<'_, '_> {
    fn step(&mut self, done: usize, total: usize) -> Result<(), Error> {
        if self.progress.told.replace(Some(done)) != Some(done) {
            (self.shared.watch)(Event::Step { name: self.progress.name.clone(), done, total });
        }
        if self.shared.has_to_leave() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn epoch(&mut self, epoch: &Epoch, checkpoint: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
        self.epochs.push(*epoch);
        let stopped = self.shared.interrupt.is_asked();
        let after = self.progress.after(epoch.epoch, self.shared.options.checkpoint_every, stopped);
        if after != After::Next {
            // A state that was reached with other data is not gone on from once the old ones are back.
            let data = self.shared.plan.dataset.check_unchanged();
            data.map_err(|changed| Error::Unsupported(changed.to_string()))?;
            // The epochs first: a checkpoint whose epochs are lost would leave a hole in the curve.
            match self.shared.store.put_epochs(self.id, &self.shared.worker, self.new_epochs()) {
                Ok(true) => {}
                // We gave no sign of life for so long that another worker has it now; its checkpoint is not ours to write.
                Ok(false) => return Err(Error::Interrupted),
                Err(error @ store::Error::NotFinite { .. }) => return Err(Error::Refused(error.to_string())),
                Err(error) => return Err(self.give_up(error)),
            }
            self.kept = self.epochs.len();
            let epochs = self.behind.iter().chain(&self.epochs).copied().collect();
            let saved = checkpoint::Saved { checkpoint: checkpoint()?, epochs, attempt: self.attempt };
            let written = checkpoint::save(&self.checkpoint, &saved);
            written.map_err(|e| self.give_up(store::Error::of_file(&self.checkpoint, &e)))?;
            self.progress.saved.set(Instant::now());
        }
        if after == After::Leave { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_group_keep_their_states_after_the_same_epochs() {
        let progress = GroupProgress::new("2 cells".into());
        let (soon, late) = (Duration::ZERO, Duration::from_secs(3600));
        let after = |epoch, every, stopped| progress.after(epoch, every, stopped);
        assert_eq!([after(1, late, false), after(1, soon, true)], [After::Next; 2], "decided by the first that asks");
        assert_eq!([after(2, soon, false), after(2, late, false)], [After::Keep; 2]);
        assert_eq!(after(3, late, false), After::Next);
        assert_eq!([after(4, late, true), after(4, late, false)], [After::Leave; 2], "nobody is left behind");
        progress.began.set(Instant::now() - LONG);
        assert_eq!([after(5, late, false), after(6, late, false)], [After::Keep, After::Next], "a long epoch is kept");
    }
}
