//! The bank's solver on an engine: all problems on the device, what is for the dual on the host.

use super::rows::{OnRows, transposed};
use super::work::block;
use crate::gpu::api::{Buffer, Factor, GpuApi};
use crate::gpu::column_matrix::ColumnMatrix;
use crate::score;
use crate::score::solver::{Loaded, Rows, Solver};
use crate::train::Error;
use compute::svm::{Fit, Problem};
use std::ops::Range;
use std::rc::Rc;

/// Trains banks on an engine.
pub struct OnDevice<E: GpuApi> {
    engine: Rc<E>,
    free: u64,
}

impl<E: GpuApi> OnDevice<E> {
    /// On an engine with so many bytes of memory free.
    pub fn new(engine: Rc<E>, free: u64) -> Self {
        OnDevice { engine, free }
    }
}

/// Numbers of rows that [`Solver::decisions`] has on the device at once.
const PIECE: usize = 1 << 25;

impl<E: GpuApi> Solver for OnDevice<E> {
    fn load<'a>(&'a self, rows: Rows) -> Result<Box<dyn Loaded + 'a>, score::Error> {
        Ok(Box::new(OnRows::new(&*self.engine, rows, self.free)?))
    }

    fn decisions(&self, x: &[f32], width: usize, weights: &[f32]) -> Result<Vec<f32>, score::Error> {
        let (engine, problems) = (&*self.engine, weights.len() / width.max(1));
        let rows = x.len() / width.max(1);
        let mut all = vec![0.0; problems * rows];
        if all.is_empty() {
            return Ok(all);
        }
        let piece = (PIECE / width).clamp(1, rows);
        let w = Buffer::of(engine, &transposed(weights, width))?;
        let w = ColumnMatrix::new(w.all(), width, problems)?;
        let (on_device, z) = (Buffer::zeros(engine, piece * width)?, Buffer::zeros(engine, piece * problems)?);
        for (i, x) in x.chunks(piece * width).enumerate() {
            let here = x.len() / width;
            on_device.all().write(engine, x)?;
            let z = ColumnMatrix::new(z.all(), here, problems)?;
            z.product(engine, Factor::new(on_device.all(), 0), w, false)?;
            let z = transposed(&z.numbers().read(engine)?, problems);
            for (all, z) in all.chunks_exact_mut(rows).zip(z.chunks_exact(here)) {
                all[i * piece..][..here].copy_from_slice(z);
            }
        }
        Ok(all)
    }
}

impl<E: GpuApi> Loaded for OnRows<'_, E> {
    fn train(
        &mut self,
        out: Range<usize>,
        problems: &[Problem],
        weights: &mut [f32],
    ) -> Result<Vec<Fit>, score::Error> {
        let pieces: Vec<Range<usize>> =
            [0..out.start, out.end..self.rows].into_iter().filter(|piece| !piece.is_empty()).collect();
        let block = block(self.rows, self.width, problems.len(), self.free).map_err(Error::Memory)?;
        let classes: Vec<usize> = problems.iter().map(|problem| problem.class).collect();
        let mut fits = Vec::with_capacity(problems.len());
        let mut rest = Vec::new();
        for (classes, weights) in classes.chunks(block).zip(weights.chunks_mut(block * self.width)) {
            let first = fits.len();
            let (these, for_the_dual) = self.newton(&pieces, classes, weights)?;
            fits.extend(these);
            rest.extend(for_the_dual.into_iter().map(|place| first + place));
        }
        if !rest.is_empty() {
            let d = self.width;
            let these: Vec<Problem> = rest.iter().map(|&place| problems[place].clone()).collect();
            let mut w: Vec<f32> = rest.iter().flat_map(|&place| weights[place * d..][..d].to_vec()).collect();
            let ended = self.host.train(out, &these, &mut w)?;
            for ((&place, fit), w) in rest.iter().zip(ended).zip(w.chunks_exact(d)) {
                weights[place * d..][..d].copy_from_slice(w);
                fits[place] = fit.after(&fits[place]);
            }
        }
        Ok(fits)
    }

    fn decisions(&mut self, rows: Range<usize>, weights: &[f32]) -> Result<Vec<f32>, score::Error> {
        let problems = weights.len() / self.width.max(1);
        let w = Buffer::of(self.engine, &transposed(weights, self.width))?;
        let z = Buffer::zeros(self.engine, rows.len() * problems)?;
        let z = ColumnMatrix::new(z.all(), rows.len(), problems)?;
        let x = self.x.all().from(rows.start * self.width)?;
        z.product(self.engine, Factor::new(x, 0), ColumnMatrix::new(w.all(), self.width, problems)?, false)?;
        Ok(transposed(&z.numbers().read(self.engine)?, problems))
    }
}
