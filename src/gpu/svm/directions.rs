//! Conjugate gradients: the Newton steps of all open problems at once.

use super::rows::OnRows;
use super::work::Work;
use crate::gpu::api::{Factor, GpuApi};
use crate::gpu::binary_classifiers::{Learned, lossy};
use crate::gpu::column_matrix::Index;
use crate::train::Error;
use compute::svm::{Fit, MAX_CG, SOLVED};
use std::ops::Range;

impl<E: GpuApi> OnRows<'_, E> {
    /// Conjugate gradients for all open problems: Newton steps s and X s from the gradients.
    pub(super) fn directions(
        &self,
        pieces: &[Range<usize>],
        work: &mut Work<E>,
        open: &[usize],
        fits: &mut [Fit],
    ) -> Result<(), Error> {
        let (engine, wide) = (self.engine, open.len());
        let inverse = Factor::new(self.inverse.all(), 0);
        // Problems still worked on, by their place among the open ones, which is their column of a, s and X s; and their
        // column of what is kept for these alone.
        let mut at: Vec<usize> = (0..wide).collect();
        let mut columns = Index::new(engine, &at)?;
        let mut own = Index::new(engine, &at)?;
        self.short(&work.step, wide)?.numbers().fill_zeros(engine)?;
        self.long(&work.x_step, wide)?.numbers().fill_zeros(engine)?;
        let (residual, turned) = (self.short(&work.residual, wide)?, self.short(&work.turned, wide)?);
        residual.numbers().fill_zeros(engine)?;
        work.put(engine, at.iter().map(|_| -1.0))?;
        residual.add(engine, &own, work.by.all(), self.short(&work.gradient, wide)?)?;
        turned.product(engine, inverse, residual, false)?;
        turned.numbers().copy_to(engine, self.short(&work.direction, wide)?.numbers())?;
        work.sums.dot(engine, residual, turned)?;
        work.sums.dot(engine, residual, residual)?;
        let sums = work.sums.read(engine)?;
        let mut energies = sums[..wide].to_vec();
        // Rounding made the preconditioner indefinite here.
        let odd: Vec<usize> = (0..wide).filter(|&i| sums[i] <= 0.0).collect();
        if !odd.is_empty() {
            let (index, some) = (Index::new(engine, &odd)?, self.short(&work.spare, odd.len())?);
            for (from, sign) in [(turned, -1.0), (residual, 1.0)] {
                some.select(engine, from, &index)?;
                work.put(engine, odd.iter().map(|_| sign))?;
                self.short(&work.direction, wide)?.add(engine, &index, work.by.all(), some)?;
            }
            odd.iter().for_each(|&i| energies[i] = sums[wide + i]);
        }
        let mut goals: Vec<f64> = energies.iter().map(|energy| SOLVED * energy).collect();
        for _ in 0..MAX_CG {
            let width = at.len();
            let (direction, hv) = (self.short(&work.direction, width)?, self.short(&work.hv, width)?);
            let (xv, with_loss) = (self.long(&work.xv, width)?, self.long(&work.lossy, width)?);
            let rows = Learned { pieces, labels: self.labels.all(), c2: 2.0 * self.c };
            self.forward(pieces, direction, xv)?;
            lossy(engine, &rows, self.long(&work.a, wide)?, &columns, xv, with_loss)?;
            direction.numbers().copy_to(engine, hv.numbers())?;
            self.backward(pieces, with_loss, hv)?;
            work.sums.dot(engine, direction, hv)?;
            let curvatures = work.sums.read(engine)?;
            let length = |(energy, curvature): (&f64, &f64)| energy / curvature.max(f64::MIN_POSITIVE);
            let lengths: Vec<f64> = energies.iter().zip(&curvatures).map(length).collect();
            work.put(engine, lengths.iter().copied())?;
            self.short(&work.step, wide)?.add(engine, &columns, work.by.all(), direction)?;
            self.move_along(pieces, self.long(&work.x_step, wide)?, &columns, &work.by, xv)?;
            work.put(engine, lengths.iter().map(|length| -length))?;
            let (residual, turned) = (self.short(&work.residual, width)?, self.short(&work.turned, width)?);
            residual.add(engine, &own, work.by.all(), hv)?;
            at.iter().for_each(|&i| fits[open[i]].cg_steps += 1);
            turned.product(engine, inverse, residual, false)?;
            work.sums.dot(engine, residual, turned)?;
            let after: Vec<f64> = work.sums.read(engine)?.iter().map(|energy| energy.max(0.0)).collect();
            let turn = |(after, before): (&f64, &f64)| after / before.max(f64::MIN_POSITIVE);
            work.put(engine, after.iter().zip(&energies).map(turn))?;
            direction.turn(engine, work.by.all(), turned)?;
            let stay: Vec<usize> = (0..width).filter(|&i| after[i] > goals[i]).collect();
            if stay.is_empty() {
                break;
            }
            energies = stay.iter().map(|&i| after[i]).collect();
            if stay.len() < width {
                let index = Index::new(engine, &stay)?;
                self.short(&work.spare, stay.len())?.select(engine, residual, &index)?;
                std::mem::swap(&mut work.residual, &mut work.spare);
                self.short(&work.spare, stay.len())?.select(engine, self.short(&work.direction, width)?, &index)?;
                std::mem::swap(&mut work.direction, &mut work.spare);
                goals = stay.iter().map(|&i| goals[i]).collect();
                at = stay.iter().map(|&i| at[i]).collect();
                columns = Index::new(engine, &at)?;
                own = Index::new(engine, &(0..at.len()).collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }
}
