//! What a block of problems needs on the device, and how many fit.

use crate::gpu::api::{Buffer, GpuApi};
use crate::gpu::column_matrix::{Sums, sums_bytes};
use crate::gpu::memory::{budget, gib};
use crate::train::Error;

/// How many problems are trained at once with so many bytes free: all, or equal shares. An error says what one needs.
pub fn block(rows: usize, width: usize, problems: usize, free: u64) -> Result<usize, String> {
    let float = size_of::<f32>();
    // X and labels; Gram and the preconditioner.
    let shared = (rows * width * float + rows * size_of::<i64>() + 2 * width * width * float) as u64;
    // The matrices of `Work`, with a column each.
    let each = (5 * rows + 8 * width + 1) * float + sums_bytes(rows.max(width), 1, TOGETHER);
    let each = each as u64;
    let room = budget(free).saturating_sub(shared) / each;
    if room == 0 {
        return Err(format!(
            "an SVM of {rows} clips with {width} numbers needs {} and {} of GPU memory are free\n  next: end what else runs on the GPU, or use --device cpu",
            gib(shared + each),
            gib(free)
        ));
    }
    let problems = problems.max(1);
    Ok(problems.div_ceil(problems.div_ceil(room.min(problems as u64) as usize)))
}

/// Sums that are read together at most: three of the losses, w.w, w.g and g.g.
const TOGETHER: usize = 6;

/// Matrices and sums of a block of P problems, of which W are still open.
pub(super) struct Work<E: GpuApi> {
    /// Decision values, (N, P).
    pub(super) z: Buffer<E>,
    /// Slopes of the losses, (N, W).
    pub(super) a: Buffer<E>,
    /// X v for the directions v of conjugate gradients, (N, W).
    pub(super) xv: Buffer<E>,
    /// 2 C X v where rows have a loss, (N, W).
    pub(super) lossy: Buffer<E>,
    /// X s for the Newton steps s, (N, W).
    pub(super) x_step: Buffer<E>,
    /// Weights, (D + 1, P).
    pub(super) w: Buffer<E>,
    /// All that follow: (D + 1, W).
    pub(super) gradient: Buffer<E>,
    pub(super) step: Buffer<E>,
    pub(super) residual: Buffer<E>,
    /// What the preconditioner makes of the residual.
    pub(super) turned: Buffer<E>,
    pub(super) direction: Buffer<E>,
    /// The Hessian's product with the direction.
    pub(super) hv: Buffer<E>,
    pub(super) spare: Buffer<E>,
    /// A number for each problem, (W).
    pub(super) by: Buffer<E>,
    pub(super) sums: Sums<E>,
}

impl<E: GpuApi> Work<E> {
    pub(super) fn new(engine: &E, rows: usize, width: usize, problems: usize) -> Result<Self, Error> {
        let long = || Buffer::zeros(engine, rows * problems);
        let short = || Buffer::zeros(engine, width * problems);
        Ok(Work {
            z: long()?,
            a: long()?,
            xv: long()?,
            lossy: long()?,
            x_step: long()?,
            w: short()?,
            gradient: short()?,
            step: short()?,
            residual: short()?,
            turned: short()?,
            direction: short()?,
            hv: short()?,
            spare: short()?,
            by: Buffer::zeros(engine, problems)?,
            sums: Sums::new(engine, rows.max(width), problems, TOGETHER)?,
        })
    }

    /// Writes a number for each problem.
    pub(super) fn put(&self, engine: &E, numbers: impl Iterator<Item = f64>) -> Result<(), Error> {
        let numbers: Vec<f32> = numbers.map(|number| number as f32).collect();
        self.by.all().write(engine, &numbers)
    }
}
