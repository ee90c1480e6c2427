//! Newton steps of many problems at once by preconditioned conjugate gradients.

use super::prepared::Prepared;
use super::problem::{TrainingSet, add, dot, retain, retain_rows};
use crate::matmul::{Mat, product};
use rayon::prelude::*;

/// Steps of conjugate gradients within a Newton step, at most.
pub const MAX_CG: usize = 100;

/// How much is left of the energy of a Newton step's linear system when it counts as solved.
pub const SOLVED: f64 = 0.1;

/// Matrices of a number for each problem and row: large, so one block's Newton steps use the same memory again.
#[derive(Default)]
pub(super) struct Work {
    /// Slopes of the losses.
    pub(super) a: Vec<f32>,
    /// X v for the directions of conjugate gradients.
    pub(super) xv: Vec<f32>,
    /// The same, where rows have a loss.
    pub(super) masked: Vec<f32>,
    /// X s for the Newton steps.
    pub(super) x_step: Vec<f32>,
}

/// One problem's state of preconditioned conjugate gradients.
struct Conjugate {
    direction: Vec<f32>,
    /// r . z, the energy that is left where the preconditioner is the inverse.
    energy: f64,
}

impl Conjugate {
    fn new(residual: &[f32], z: Vec<f32>) -> Conjugate {
        let energy = dot(residual, &z);
        if energy > 0.0 {
            return Conjugate { energy, direction: z };
        }
        // Rounding made the preconditioner indefinite here.
        Conjugate { energy: dot(residual, residual), direction: residual.to_vec() }
    }

    /// How far to go along the direction v, from H v.
    fn length(&self, hv: &[f32]) -> f64 {
        self.energy / dot(&self.direction, hv).max(f64::MIN_POSITIVE)
    }

    /// The next direction from the new residual and what the preconditioner makes of it.
    fn turn(&mut self, residual: &[f32], z: &[f32]) {
        let energy = dot(residual, z);
        if energy < 0.0 {
            self.energy = 0.0;
            return;
        }
        let beta = energy / self.energy.max(f64::MIN_POSITIVE);
        self.energy = energy;
        self.direction.iter_mut().zip(z).for_each(|(v, z)| *v = z + beta as f32 * *v);
    }
}

/// Conjugate gradients, all problems in one block: the steps s, (P, D + 1), and how many products with the Hessian each took. X s is put together from the products X v that the steps need anyway.
pub(super) fn directions(
    set: &TrainingSet,
    x: Mat,
    work: &mut Work,
    gradient: &[f32],
    prepared: &Prepared,
    inverse: &[f32],
) -> (Vec<f32>, Vec<usize>) {
    let d = set.width;
    let n = set.x.len() / d;
    let inverse = Mat::new(inverse, d, d);
    let Work { a, xv, masked, x_step } = work;
    x_step.resize(a.len(), 0.0);
    x_step.par_chunks_mut(n).for_each(|row| row.fill(0.0));
    masked.resize(a.len(), 0.0);
    let mut step = vec![0.0f32; gradient.len()];
    let mut steps = vec![0; gradient.len() / d];
    // Rows of what follows belong to the problems in `open`.
    let mut open: Vec<usize> = (0..steps.len()).collect();
    let mut residual: Vec<f32> = gradient.iter().map(|g| -g).collect();
    let mut z = vec![0.0f32; residual.len()];
    product(&mut z, Mat::new(&residual, open.len(), d), inverse, 1.0, false);
    let mut states: Vec<Conjugate> =
        residual.chunks(d).zip(z.chunks(d)).map(|(r, z)| Conjugate::new(r, z.to_vec())).collect();
    let mut goals: Vec<f64> = states.iter().map(|s| SOLVED * s.energy).collect();
    for _ in 0..MAX_CG {
        let directions: Vec<f32> = states.iter().flat_map(|s| s.direction.iter().copied()).collect();
        prepared.decisions(&directions, open.len(), xv);
        let masked = &mut masked[..open.len() * n];
        masked.par_chunks_mut(n).zip(xv.par_chunks(n)).zip(&open).for_each(|((masked, xv), &i)| {
            for ((masked, v), a) in masked.iter_mut().zip(xv).zip(&a[i * n..][..n]) {
                *masked = if *a == 0.0 { 0.0 } else { 2.0 * set.c * *v };
            }
        });
        let mut hv = directions;
        product(&mut hv, Mat::new(masked, open.len(), n), x, 1.0, true);
        let lengths: Vec<f64> = states.iter().zip(hv.chunks(d)).map(|(state, hv)| state.length(hv)).collect();
        for (k, (&i, &alpha)) in open.iter().zip(&lengths).enumerate() {
            add(&mut step[i * d..][..d], &states[k].direction, alpha);
            add(&mut residual[k * d..][..d], &hv[k * d..][..d], -alpha);
            steps[i] += 1;
        }
        // Problems in `open` are in order: each meets its own row.
        let mut rows = x_step.chunks_mut(n).enumerate();
        let rows = open.iter().filter_map(|i| rows.find(|(at, _)| at == i)).map(|(_, row)| row).collect::<Vec<_>>();
        let rows = rows.into_par_iter().zip(xv.par_chunks(n)).zip(&lengths);
        rows.for_each(|((to, xv), &alpha)| add(to, xv, alpha));
        product(&mut z[..open.len() * d], Mat::new(&residual, open.len(), d), inverse, 1.0, false);
        let turned = states.par_iter_mut().zip(residual.par_chunks(d)).zip(z.par_chunks(d));
        turned.for_each(|((state, r), z)| state.turn(r, z));
        let keep: Vec<bool> = states.iter().zip(&goals).map(|(s, goal)| s.energy > *goal).collect();
        retain_rows(&mut residual, d, &keep);
        retain(&mut states, &keep);
        retain(&mut goals, &keep);
        retain(&mut open, &keep);
        if open.is_empty() {
            break;
        }
    }
    (step, steps)
}
