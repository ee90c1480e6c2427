//! What problems on the same rows share: the rows as products want them, and preconditioners made once.

use super::precondition::{inverse_of, norm};
use super::problem::TrainingSet;
use crate::matmul::{Mat, Packed, product};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What all problems on one X share beside it, and those on most of its rows too.
pub struct Prepared {
    /// X^T.
    transposed: Packed,
    /// X^T X, made when first asked for, and the rows of that X.
    gram: (Vec<f32>, usize),
    /// Approximate inverses of I + 2 C 4^-j X^T X by j.
    inverses: BTreeMap<i32, Arc<Vec<f32>>>,
    /// Whether most problems so far were ones for the dual: those that come go there at once.
    pub(super) dual: bool,
}

impl Prepared {
    /// Lays out X, (N, `width`).
    pub fn new(x: &[f32], width: usize) -> Prepared {
        let transposed = Packed::new(Mat::new(x, x.len() / width, width).t());
        Prepared { transposed, gram: (Vec::new(), 0), inverses: BTreeMap::new(), dual: false }
    }

    /// Turns to other rows, most of which were there before: what preconditions those does for these.
    pub fn turn_to(&mut self, x: &[f32], width: usize) {
        // The memory of the old ones goes first.
        self.transposed = Packed::new(Mat::new(&[], 0, width).t());
        self.transposed = Packed::new(Mat::new(x, x.len() / width, width).t());
    }

    /// From now on problems go to the dual at once.
    pub fn begin_with_the_dual(&mut self) {
        self.dual = true;
    }

    /// Decision values of all rows, (P, N): W X^T.
    pub(super) fn decisions(&self, weights: &[f32], problems: usize, z: &mut Vec<f32>) {
        z.resize(problems * self.transposed.columns(), 0.0);
        self.transposed.product(z, weights, false);
    }

    /// The preconditioner of problems that have so many rows with a loss, on average.
    pub(super) fn inverse(&mut self, set: &TrainingSet, lossy: f64) -> Arc<Vec<f32>> {
        let d = set.width;
        let (gram, rows) = &mut self.gram;
        if gram.is_empty() {
            *rows = set.x.len() / d;
            let x = Mat::new(set.x, *rows, d);
            gram.resize(d * d, 0.0);
            product(gram, x.t(), x, 1.0, false);
        }
        let level = inverse_level(lossy / *rows as f64);
        let made = self.inverses.entry(level);
        let made = made.or_insert_with(|| preconditioner(gram, d, set.c, level).into());
        made.clone()
    }
}

/// Which preconditioner serves problems that have a loss in such a share of the rows: j, with 4^-j about the share.
pub fn inverse_level(share: f64) -> i32 {
    (-share.max(1e-9).log2() / 2.0).round() as i32
}

/// About the inverse of I + 2 C 4^-j X^T X, (D + 1, D + 1), from X^T X.
pub fn preconditioner(gram: &[f32], d: usize, c: f32, j: i32) -> Vec<f32> {
    let scale = 2.0 * c * 0.25f32.powi(j);
    let mut hessian: Vec<f32> = gram.iter().map(|g| scale * g).collect();
    // What f32 cannot resolve beside the largest eigenvalue would make the inverse indefinite.
    let floor = 1.0 + 2e-6 * norm(&hessian) as f32;
    hessian.iter_mut().step_by(d + 1).for_each(|h| *h += floor);
    inverse_of(&hessian, d)
}
