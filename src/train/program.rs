//! Generators that are trained side by side, as one program: the same batches in the same order, each cell with numbers of
//! its own. What a cell computes does not depend on its company.

use super::error::Error;
use super::trainer::{Checkpoint, Measures};

/// One or more generators in training. Cells are numbered from 0.
pub trait Program {
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

    /// A cell's generated feature of clips on the raw feature's scale, (N, D_a), row-major.
    fn generate(&self, cell: usize, clips: &[usize]) -> Result<Vec<f32>, Error>;

    /// Number of trained numbers of a cell.
    fn parameters(&self, cell: usize) -> usize;
}
