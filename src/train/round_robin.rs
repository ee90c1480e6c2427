//! Cells of a group on a device that cannot train them side by side.

use super::cell_trainer::CellTrainer;
use super::error::Error;
use super::trainer::{Checkpoint, Measures, Trainer};

/// Cells that take turns, an epoch each; what each computes is what it computes alone, to the bit.
pub struct RoundRobin {
    cells: Vec<CellTrainer>,
    /// Cells that have diverged or are trained no more; nothing more is done for them.
    left: Vec<bool>,
}

impl RoundRobin {
    /// Of these cells.
    pub fn new(cells: Vec<CellTrainer>) -> Self {
        RoundRobin { left: vec![false; cells.len()], cells }
    }

    fn cell(&self, cell: usize) -> Result<&CellTrainer, Error> {
        self.cells.get(cell).ok_or(Error::NoSuchCell(cell))
    }
}

/// Of a cell that is no longer trained.
const NOTHING: Measures =
    Measures { loss: f64::NAN, loss_cls: f64::NAN, loss_rec: f64::NAN, accuracy: f64::NAN, feature_error: f64::NAN };

impl Trainer for RoundRobin {
    fn cells(&self) -> usize {
        self.cells.len()
    }

    fn epoch(
        &mut self,
        epoch: usize,
        step: &mut dyn FnMut(usize) -> Result<(), Error>,
    ) -> Result<Vec<Measures>, Error> {
        let live = self.left.iter().filter(|left| !**left).count().max(1);
        // Steps of all cells; together they have come as far as their mean.
        let mut taken = 0;
        let mut all = Vec::with_capacity(self.cells.len());
        for (cell, left) in self.cells.iter_mut().zip(&mut self.left) {
            if *left {
                all.push(NOTHING);
                continue;
            }
            let measures = cell.epoch(epoch, &mut |_| {
                taken += 1;
                step(taken / live)
            })?;
            *left = measures.iter().any(|m| !m.loss.is_finite());
            all.extend(measures);
        }
        Ok(all)
    }

    fn measure(&mut self) -> Result<Vec<Measures>, Error> {
        let mut all = Vec::with_capacity(self.cells.len());
        for (cell, left) in self.cells.iter_mut().zip(&self.left) {
            all.extend(if *left { vec![NOTHING] } else { cell.measure()? });
        }
        Ok(all)
    }

    fn save(&self, cell: usize, epoch: usize) -> Result<Checkpoint, Error> {
        self.cell(cell)?.save(0, epoch)
    }

    fn restore(&mut self, cell: usize, state: Checkpoint) -> Result<(), Error> {
        self.cells.get_mut(cell).ok_or(Error::NoSuchCell(cell))?.restore(0, state)
    }

    fn leave(&mut self, cell: usize) {
        self.left.get_mut(cell).into_iter().for_each(|left| *left = true);
    }

    fn generate(&self, cell: usize, clips: &[usize]) -> Result<Vec<f32>, Error> {
        self.cell(cell)?.generate(clips)
    }

    fn parameters(&self, cell: usize) -> usize {
        self.cells.get(cell).map_or(0, |cell| cell.parameters(0))
    }
}
