//! What is solved: binary problems over shared rows, how their training ended, and the vector operations that all solvers use.

use crate::matmul::{Mat, product};

/// One binary problem over the rows of X.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The class whose rows are positive.
    pub class: usize,
}

/// What the problems share.
pub struct TrainingSet<'a> {
    /// Features with a last column of 1, (N, D + 1).
    pub x: &'a [f32],
    /// D + 1.
    pub width: usize,
    /// Class of each row.
    pub labels: &'a [usize],
    /// Weight of the losses.
    pub c: f32,
    /// Relative error of the objective to stop at.
    pub tolerance: f64,
}

/// How a problem's training ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Fit {
    /// f(w).
    pub objective: f64,
    /// |gradient|.
    pub gradient_norm: f64,
    /// (f(w) - dual) / f(w): an upper bound of the objective's relative error, from the feasible dual point
    /// alpha_i = 2 C max(0, 1 - y_i w.x_i).
    pub duality_gap: f64,
    /// Newton steps.
    pub newton_steps: usize,
    /// Products with the Hessian.
    pub cg_steps: usize,
    /// Looks at all rows in the dual, 0 where it was not needed.
    #[serde(default)]
    pub dual_looks: usize,
}

impl Fit {
    /// The smaller of two upper bounds of the objective's relative error: the duality gap, and |gradient|^2 / 2 f(w), since f is
    /// 1-strongly convex.
    pub fn error_bound(&self) -> f64 {
        let by_gradient = 0.5 * self.gradient_norm * self.gradient_norm / self.objective.max(f64::MIN_POSITIVE);
        // Of two bounds one of which is no number, neither can be relied on.
        if self.duality_gap.is_nan() || by_gradient.is_nan() { f64::NAN } else { self.duality_gap.min(by_gradient) }
    }

    /// Of a problem that went on from where `before` left it.
    pub fn after(self, before: &Fit) -> Fit {
        Fit {
            newton_steps: before.newton_steps + self.newton_steps,
            cg_steps: before.cg_steps + self.cg_steps,
            dual_looks: before.dual_looks + self.dual_looks,
            ..self
        }
    }
}

/// Decision values of all rows, (P, N): W X^T.
pub fn decisions(x: &[f32], width: usize, weights: &[f32]) -> Vec<f32> {
    let (n, p) = (x.len() / width, weights.len() / width);
    let mut z = vec![0.0; p * n];
    product(&mut z, Mat::new(weights, p, width), Mat::new(x, n, width).t(), 1.0, false);
    z
}

impl Problem {
    /// +1 or -1 for a row.
    #[inline]
    pub(super) fn sign(&self, set: &TrainingSet, row: usize) -> f32 {
        if set.labels[row] == self.class { 1.0 } else { -1.0 }
    }
}

/// Keeps the rows that are marked, in order.
pub(super) fn retain_rows(values: &mut Vec<f32>, width: usize, keep: &[bool]) {
    let mut to = 0;
    for (from, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
        values.copy_within(from * width..(from + 1) * width, to * width);
        to += 1;
    }
    values.truncate(to * width);
}

/// to += by from.
pub(super) fn add(to: &mut [f32], from: &[f32], by: f64) {
    to.iter_mut().zip(from).for_each(|(t, f)| *t += by as f32 * f);
}

/// Keeps the items that are marked, in order.
pub(super) fn retain<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut i = 0;
    items.retain(|_| {
        i += 1;
        keep[i - 1]
    });
}

/// a . b.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    // Eight sums at once; the order is fixed, so the result does not depend on threads.
    let mut sums = [0.0f64; 8];
    let (ac, bc) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = ac.remainder().iter().zip(bc.remainder()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    for (a, b) in ac.zip(bc) {
        for k in 0..8 {
            sums[k] += f64::from(a[k]) * f64::from(b[k]);
        }
    }
    sums.iter().sum::<f64>() + tail
}
