//! Generators in training: what they train to ([`Trainer`]), what they measure, keep between epochs, and tell.
//!
//! Generators that are trained side by side are one trainer: the same batches in the same order, each cell with numbers of its
//! own. What a cell computes does not depend on its company.

use super::error::Error;
use compute::nn::ParamState;
use serde::{Deserialize, Serialize};

/// One or more generators in training. Cells are numbered from 0.
pub trait Trainer {
    /// How many cells there are.
    fn cells(&self) -> usize;

    /// One pass over the sounded train clips, epochs counted from 1. `step` is told the number of steps behind it in this
    /// epoch; an error of its ends the pass. Measures of every cell, in order; a loss that is not finite says that the cell
    /// has diverged, which ends it and no other.
    fn epoch(&mut self, epoch: usize, step: &mut dyn FnMut(usize) -> Result<(), Error>)
    -> Result<Vec<Measures>, Error>;

    /// Every cell's measures on the val clips: losses and feature error on sounded ones, accuracy on all.
    fn measure(&mut self) -> Result<Vec<Measures>, Error>;

    /// A cell's state after `epoch` epochs.
    fn save(&self, cell: usize, epoch: usize) -> Result<Checkpoint, Error>;

    /// Puts a cell back to an earlier state of its own, for good: it is generated from, and trained no more.
    fn restore(&mut self, cell: usize, state: Checkpoint) -> Result<(), Error>;

    /// Says that a cell is trained no more, whatever becomes of its company; its state stays.
    fn leave(&mut self, _cell: usize) {}

    /// A cell's generated feature of clips on the raw feature's scale, (N, D_a), row-major.
    fn generate(&self, cell: usize, clips: &[usize]) -> Result<Vec<f32>, Error>;

    /// Number of trained numbers of a cell.
    fn parameters(&self, cell: usize) -> usize;
}

/// Means over one split after one epoch. Feature errors are squared errors in units of the standardised feature (or the
/// raw one where the target is raw), mean over dimensions; they are over sounded clips, since only there is truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// The whole loss, L.
    pub loss: f64,
    /// Cross-entropy, L_cls (measured also where it has no weight).
    pub loss_cls: f64,
    /// Reconstruction loss, L_rec.
    pub loss_rec: f64,
    /// Top-1 accuracy of the classifier branch, percent.
    pub accuracy: f64,
    /// Squared error of the feature.
    pub feature_error: f64,
}

/// One epoch's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Over the sounded train clips, while training (dropout-free, so before each step).
    pub train: Measures,
    /// Over the val clips, after the epoch: losses and feature error on sounded ones, accuracy on all.
    pub val: Measures,
}

/// A parameter as plain numbers, for checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedParam {
    /// `lstm.w`, `audio.b`, ...
    pub name: String,
    /// (rows, columns); vectors are (1, n).
    pub shape: (usize, usize),
    /// Values and moments.
    pub state: ParamState,
}

/// The state between two epochs: enough to go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Epochs done.
    pub epoch: usize,
    /// Adam's step count.
    pub step: i32,
    /// Parameters with moments.
    pub params: Vec<SavedParam>,
    /// The best epoch so far, where training stops early.
    pub best: Option<Box<Best>>,
}

/// The best epoch so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// What epochs are compared by, so that the higher is the better.
    pub merit: f64,
    /// The state after it; its own `best` is none.
    pub state: Checkpoint,
}

/// Listens to a training.
pub trait Listener {
    /// Before the first batch, and now and then: steps done so far and in all. An error ends the training.
    fn step(&mut self, done: usize, total: usize) -> Result<(), Error>;
    /// After an epoch. `checkpoint` makes the state; calling it costs a copy.
    fn epoch(&mut self, epoch: &Epoch, checkpoint: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error>;
}
