//! Newton's method for a block of problems at once.

use super::rows::{OnRows, transposed};
use super::work::Work;
use crate::gpu::api::{Buffer, GpuApi};
use crate::gpu::binary_classifiers::{BinaryClassifiers, Learned, losses};
use crate::gpu::column_matrix::{ColumnMatrix, Index};
use crate::train::Error;
use compute::svm::{Fit, MAX_NEWTON, PATIENCE, for_the_dual, inverse_level, preconditioner};
use std::ops::Range;

/// What one problem's numbers sum up to.
struct Measured {
    /// Of all rows.
    loss: f64,
    /// The sum of the dual point alpha_i = 2 C max(0, 1 - y_i z_i).
    alphas: f64,
    /// Rows with a loss.
    lossy: f64,
    /// w.w, w.g and g.g, g the gradient.
    ww: f64,
    wg: f64,
    gg: f64,
}

impl Measured {
    fn objective(&self) -> f64 {
        0.5 * self.ww + self.loss
    }

    /// The dual's value at alpha: sum alpha - |w - g|^2 / 2 - losses, since X^T a = g - w.
    fn dual(&self) -> f64 {
        self.alphas - 0.5 * (self.ww - 2.0 * self.wg + self.gg) - self.loss
    }
}

impl<E: GpuApi> OnRows<'_, E> {
    /// One block of problems: how they ended, and the places of those for the dual.
    pub(super) fn newton(
        &mut self,
        pieces: &[Range<usize>],
        classes: &[usize],
        weights: &mut [f32],
    ) -> Result<(Vec<Fit>, Vec<usize>), Error> {
        let (engine, problems) = (self.engine, classes.len());
        let c2 = 2.0 * self.c;
        let mut work = Work::new(engine, self.rows, self.width, problems)?;
        work.w.all().write(engine, &transposed(weights, self.width))?;
        self.forward(pieces, self.short(&work.w, problems)?, self.long(&work.z, problems)?)?;
        let (mut fits, mut left) = (vec![Fit::default(); problems], Vec::new());
        let mut open: Vec<usize> = (0..problems).collect();
        for newton in 0..=MAX_NEWTON {
            let rows = Learned { pieces, labels: self.labels.all(), c2 };
            let mut machines = BinaryClassifiers::new(engine, classes, &open)?;
            let measured = self.measure(&rows, &machines, &mut work, open.len())?;
            for (&place, m) in open.iter().zip(&measured) {
                let (objective, dual) = (m.objective(), m.dual());
                fits[place].objective = objective;
                fits[place].gradient_norm = m.gg.sqrt();
                fits[place].duality_gap = ((objective - dual) / objective.max(f64::MIN_POSITIVE)).max(0.0);
                fits[place].newton_steps = newton;
            }
            let going = |m: &Measured| 0.5 * m.gg > self.tolerance * m.objective() && newton < MAX_NEWTON;
            let mut stay: Vec<usize> = (0..open.len()).filter(|&i| going(&measured[i])).collect();
            stay.retain(|&i| {
                let lossy = || measured[i].lossy as usize;
                let leaves = for_the_dual(fits[open[i]].cg_steps, PATIENCE, lossy, self.width);
                if leaves {
                    left.push(open[i]);
                }
                !leaves
            });
            if stay.is_empty() {
                break;
            }
            if stay.len() < open.len() {
                self.short(&work.spare, stay.len())?.select(
                    engine,
                    self.short(&work.gradient, open.len())?,
                    &Index::new(engine, &stay)?,
                )?;
                std::mem::swap(&mut work.gradient, &mut work.spare);
                open = stay.iter().map(|&i| open[i]).collect();
                machines = BinaryClassifiers::new(engine, classes, &open)?;
                machines.slopes(engine, &rows, self.long(&work.z, problems)?, self.long(&work.a, open.len())?)?;
            }
            let rows_with_loss: f64 = stay.iter().map(|&i| measured[i].lossy).sum();
            self.precondition(rows_with_loss / open.len() as f64)?;
            self.directions(pieces, &mut work, &open, &mut fits)?;
            let rows = Learned { pieces, labels: self.labels.all(), c2 };
            let lengths = self.line_search(&rows, &machines, &mut work, open.len())?;
            work.put(engine, lengths.iter().copied())?;
            let (step, x_step) = (self.short(&work.step, open.len())?, self.long(&work.x_step, open.len())?);
            self.short(&work.w, problems)?.add(engine, machines.index(), work.by.all(), step)?;
            self.move_along(pieces, self.long(&work.z, problems)?, machines.index(), &work.by, x_step)?;
            // No progress left in f32: what there is, is the answer; its gap is reported.
            let mut moved = lengths.iter().map(|length| *length > 0.0);
            open.retain(|_| moved.next().unwrap_or(false));
            if open.is_empty() {
                break;
            }
            // z drifts by rounding when it is only ever added to.
            if newton % 8 == 7 {
                self.forward(pieces, self.short(&work.w, problems)?, self.long(&work.z, problems)?)?;
            }
        }
        weights.copy_from_slice(&transposed(&work.w.all().read(engine)?, problems));
        Ok((fits, left))
    }

    /// Slopes and gradient of the open problems at their decision values, and what they sum up to.
    fn measure(
        &self,
        rows: &Learned,
        machines: &BinaryClassifiers<E>,
        work: &mut Work<E>,
        open: usize,
    ) -> Result<Vec<Measured>, Error> {
        let (engine, problems) = (self.engine, work.by.all().len());
        let (a, w, gradient) =
            (self.long(&work.a, open)?, self.short(&work.spare, open)?, self.short(&work.gradient, open)?);
        machines.slopes(engine, rows, self.long(&work.z, problems)?, a)?;
        losses(engine, rows.pieces, a, &mut work.sums)?;
        w.select(engine, self.short(&work.w, problems)?, machines.index())?;
        w.numbers().copy_to(engine, gradient.numbers())?;
        self.backward(rows.pieces, a, gradient)?;
        for (a, b) in [(w, w), (w, gradient), (gradient, gradient)] {
            work.sums.dot(engine, a, b)?;
        }
        let sums = work.sums.read(engine)?;
        let of = |which: usize, i: usize| sums[which * open + i];
        let measured = (0..open).map(|i| Measured {
            // The squares of slopes 2 C m are 4 C times the losses C m^2.
            loss: of(0, i) / (2.0 * f64::from(rows.c2)),
            alphas: of(1, i),
            lossy: of(2, i),
            ww: of(3, i),
            wg: of(4, i),
            gg: of(5, i),
        });
        Ok(measured.collect())
    }

    /// Puts the preconditioner of problems that have so many rows with a loss, on average, on the device.
    fn precondition(&mut self, lossy: f64) -> Result<(), Error> {
        let d = self.width;
        if self.gram.is_empty() {
            let (x, gram) = (self.x(&(0..self.rows))?, Buffer::zeros(self.engine, d * d)?);
            ColumnMatrix::new(gram.all(), d, d)?.product(
                self.engine,
                x.t(),
                ColumnMatrix::new(self.x.all(), self.rows, d)?,
                false,
            )?;
            self.gram = gram.all().read(self.engine)?;
        }
        let level = inverse_level(lossy / self.rows as f64);
        if self.level != Some(level) {
            let made = self.inverses.entry(level);
            let inverse = made.or_insert_with(|| preconditioner(&self.gram, d, self.c, level));
            self.inverse.all().write(self.engine, inverse)?;
            self.level = Some(level);
        }
        Ok(())
    }
}
