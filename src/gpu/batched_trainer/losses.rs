//! Losses of a part of a batch, the gradients that follow from them, and measures from what they add up to.

use super::log::{Log, Part, SUMS, Sum};
use super::trainer::{BatchedTrainer, Span};
use crate::experiment::config::Classifier;
use crate::gpu::feature_cache::KeepsFeatures;
use crate::gpu::feed::Piece;
use crate::gpu::losses::Generated;
use crate::gpu::network::Activation;
use crate::model::loss::GpuLoss;
use crate::train::tally::Tally;
use crate::train::{Error, Measures};
use std::ops::Range;
use std::rc::Rc;

/// L_rec added up over clips, from sums over clips and dimensions.
fn total_loss(loss: GpuLoss, squares: f64, divergences: f64, width: usize) -> f64 {
    match loss {
        GpuLoss::L2Mean => squares / width as f64,
        GpuLoss::L2Sum => squares,
        GpuLoss::Kl(_) => divergences,
    }
}

impl<E: KeepsFeatures + 'static> BatchedTrainer<E> {
    /// Measures a part's losses into row `place` of the log and, for a batch of so many clips (0: none is wanted), writes the
    /// gradients of outputs: nothing comes after a loss, so they are known at once.
    pub(super) fn compute_losses(
        &self,
        piece: &Piece<E>,
        part: &Part,
        [place, batch]: [usize; 2],
        log: &Log<E>,
        logits: &Activation<E>,
        audio: &[Rc<Activation<E>>],
    ) -> Result<(), Error> {
        let (engine, all) = (&*self.engine, 0..self.tasks.len());
        let said = piece.classified(all.len(), logits.value.all())?;
        said.hits(engine, log.at(place, Sum::Hits, &all)?)?;
        if !part.sounded {
            return Ok(());
        }
        let log_sums = said.log_sums(engine)?;
        said.losses(engine, log_sums.all(), log.at(place, Sum::Classes, &all)?)?;
        let share = 1.0 / batch.max(1) as f32;
        if batch > 0 {
            said.gradient(engine, log_sums.all(), self.w_cls.all(), share, logits.gradient.all())?;
        }
        for (i, (branch, audio)) in self.network.branches.iter().zip(audio).enumerate() {
            let target = piece.target(i)?;
            let numbers = |cells: &Range<usize>| (cells.start - branch.cells.start) * piece.clips() * branch.width;
            let made = |cells: &Range<usize>| {
                let sizes = [cells.len(), piece.clips(), branch.width];
                Generated::new(sizes, audio.value.all().from(numbers(cells))?, target.all())
            };
            made(&branch.cells)?.squares(engine, log.at(place, Sum::Squares, &branch.cells)?)?;
            for Span { cells, form } in &self.spans[i] {
                let (mut made, mut log_sums) = (made(cells)?, None);
                if let GpuLoss::Kl(block) = form {
                    made = made.blocks(*block)?;
                    let sums = made.log_sums(engine)?;
                    made.divergences(engine, &sums, log.at(place, Sum::Divergences, cells)?)?;
                    log_sums = Some(sums);
                }
                if batch == 0 {
                    continue;
                }
                let gradient = audio.gradient.all().from(numbers(cells))?;
                let weights = self.w_rec.all().part(cells.start, cells.len())?;
                let scale = if *form == GpuLoss::L2Mean { 1.0 / (batch * branch.width) as f32 } else { share };
                match log_sums {
                    Some(sums) => made.kl_gradient(engine, &sums, weights, scale, gradient)?,
                    None => made.l2_gradient(engine, weights, scale, gradient)?,
                }
            }
        }
        Ok(())
    }

    /// Waits for the log and makes measures of it, in the caller's order.
    pub(super) fn measures(&self, log: &Log<E>, parts: &[Part]) -> Result<Vec<Measures>, Error> {
        let (numbers, cells) = (log.numbers.all().read(&*self.engine)?, log.cells);
        let of = |cell: usize| {
            let branch = self.network.branches.iter().position(|b| b.cells.contains(&cell)).unwrap_or(0);
            let width = self.network.branches[branch].width;
            let config = &self.tasks[cell].config;
            let form =
                self.spans[branch].iter().find(|span| span.cells.contains(&cell)).map_or(GpuLoss::L2Mean, |s| s.form);
            let w_rec = config.train.w_rec as f32;
            // A loss without weight breaks nothing.
            let cls = |loss: f64| match self.tasks[cell].classifier {
                Classifier::With => config.train.w_cls as f32 * loss as f32,
                Classifier::Without => 0.0,
            };
            let (mut tally, mut broken) = (Tally::default(), None);
            for (row, part) in numbers.chunks_exact(SUMS * cells).zip(parts) {
                let sum = |sum: Sum| f64::from(row[sum as usize * cells + cell]);
                let clips = part.rows.len() as f64;
                tally.seen += clips;
                tally.right += sum(Sum::Hits);
                if part.sounded {
                    tally.clips += clips;
                    tally.loss_cls += sum(Sum::Classes);
                    tally.squares += sum(Sum::Squares) / width as f64;
                    let loss_rec = total_loss(form, sum(Sum::Squares), sum(Sum::Divergences), width);
                    tally.loss_rec += loss_rec;
                    let loss = w_rec * (loss_rec / clips) as f32 + cls(sum(Sum::Classes) / clips);
                    if part.batch > 0 && !loss.is_finite() {
                        broken = broken.or(Some(f64::from(loss)));
                    }
                }
            }
            let measures = tally.measures(config, self.tasks[cell].classifier);
            // What is not finite as the float that the CPU watches may still be as a sum of doubles.
            Measures { loss: broken.unwrap_or(measures.loss), ..measures }
        };
        Ok(self.places.iter().map(|&place| of(place)).collect())
    }
}
