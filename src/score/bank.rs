//! The SVM bank of one audio feature: standardise, one-vs-rest SVMs, probabilities.

use super::platt::Sigmoid;
use super::solver::{Loaded, Rows, Solver};
use crate::dataset::Standardiser;
use crate::experiment::config::{Probability, Scale, Svm};
use crate::train::Error;
use compute::rng::Rng;
use compute::svm::{Fit, Problem};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A trained bank.
#[derive(Clone, Debug, PartialEq)]
pub struct Bank {
    /// Scale of the input.
    pub scale: Standardiser,
    /// Weights and bias, (K, D + 1).
    pub weights: Vec<f32>,
    /// One sigmoid a class; empty where probabilities are a softmax.
    pub sigmoids: Vec<Sigmoid>,
    /// How decision values become probabilities.
    pub probability: Probability,
    /// How each class's training ended.
    pub fits: Vec<Fit>,
}

/// How well a bank was fitted, over its classes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Quality {
    /// Largest relative duality gap.
    pub worst_gap: f64,
    /// Most Newton steps.
    pub newton_steps: usize,
    /// Products with the Hessian, all classes.
    pub cg_steps: usize,
}

impl Bank {
    /// Trains on features (N, D), row-major, with labels from 0 to K - 1. What the solver says, if it fails.
    pub fn train(
        features: &[f32],
        labels: &[usize],
        classes: usize,
        config: &Svm,
        solver: &dyn Solver,
    ) -> Result<Bank, Error> {
        let n = labels.len();
        let width = features.len() / n.max(1);
        let scale = match config.scale {
            Scale::Standardised => Standardiser::of_matrix(features, width),
            Scale::Raw => Standardiser::identity(width),
        };
        let fold_of = match config.probability {
            Probability::Softmax => vec![0; n],
            Probability::Platt | Probability::PlattRaw => stratified_folds(labels, classes, config.folds),
        };
        // Fold after fold, so that all rows but one fold's are one or two slices.
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|i| fold_of[*i]);
        let labels: Vec<usize> = order.iter().map(|&i| labels[i]).collect();
        let problems: Vec<Problem> = (0..classes).map(|class| Problem { class }).collect();
        let mut weights = vec![0.0; classes * (width + 1)];
        let mut rows = solver.load(Rows {
            x: with_bias(&scale, features, &order),
            width: width + 1,
            labels: labels.clone(),
            c: config.c as f32,
            tolerance: config.tolerance,
        })?;
        let fits = rows.train(0..0, &problems, &mut weights)?;
        let sigmoids = match config.probability {
            Probability::Softmax => Vec::new(),
            Probability::Platt | Probability::PlattRaw => {
                let sizes: Vec<usize> =
                    (0..config.folds).map(|f| fold_of.iter().filter(|of| **of == f).count()).collect();
                sigmoids(&mut *rows, &labels, &sizes, &problems, &weights)?
            }
        };
        Ok(Bank { scale, weights, sigmoids, probability: config.probability, fits })
    }

    /// Class probabilities of features (N, D): (N, K), row-major. What the solver says, if it fails.
    pub fn probabilities(&self, features: &[f32], classes: usize, solver: &dyn Solver) -> Result<Vec<f32>, Error> {
        let width = self.scale.width();
        let n = features.len() / width;
        let x = with_bias(&self.scale, features, &(0..n).collect::<Vec<_>>());
        let z = solver.decisions(&x, width + 1, &self.weights)?;
        let mut out = vec![0.0f32; n * classes];
        out.par_chunks_mut(classes).enumerate().for_each(|(i, row)| {
            let mut p: Vec<f64> = (0..classes).map(|k| f64::from(z[k * n + i])).collect();
            match self.probability {
                Probability::Platt | Probability::PlattRaw => {
                    p.iter_mut().zip(&self.sigmoids).for_each(|(p, s)| *p = s.probability(*p));
                }
                Probability::Softmax => {
                    let top = p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    p.iter_mut().for_each(|p| *p = (*p - top).exp());
                }
            }
            if self.probability != Probability::PlattRaw {
                let sum: f64 = p.iter().sum();
                let even = 1.0 / classes as f64;
                p.iter_mut().for_each(|p| *p = if sum > 0.0 { *p / sum } else { even });
            }
            row.iter_mut().zip(p).for_each(|(o, p)| *o = p as f32);
        });
        Ok(out)
    }

    /// The worst of its fits.
    pub fn quality(&self) -> Quality {
        Quality {
            worst_gap: self.fits.iter().map(|f| f.duality_gap).fold(0.0, f64::max),
            newton_steps: self.fits.iter().map(|f| f.newton_steps).max().unwrap_or(0),
            cg_steps: self.fits.iter().map(|f| f.cg_steps).sum(),
        }
    }
}

/// Platt's sigmoids on decision values of rows that the SVM behind them has not seen. Rows come fold after fold, of the
/// given sizes. The folds' problems start from the weights trained on all rows.
fn sigmoids(
    rows: &mut dyn Loaded,
    labels: &[usize],
    sizes: &[usize],
    problems: &[Problem],
    weights: &[f32],
) -> Result<Vec<Sigmoid>, Error> {
    let n = labels.len();
    let mut held_out = vec![0.0f32; problems.len() * n];
    let mut from = 0;
    // A fold without a row has nothing to say; one that has them all leaves nothing to train on.
    for &size in sizes.iter().filter(|size| **size > 0 && **size < n) {
        let mut weights = weights.to_vec();
        rows.train(from..from + size, problems, &mut weights)?;
        let z = rows.decisions(from..from + size, &weights)?;
        for (out, z) in held_out.chunks_exact_mut(n).zip(z.chunks_exact(size)) {
            out[from..from + size].copy_from_slice(z);
        }
        from += size;
    }
    let fits = held_out.par_chunks(n).zip(problems);
    Ok(fits.map(|(decisions, problem)| Sigmoid::fit(decisions, |i| labels[i] == problem.class)).collect())
}

/// Folds of equal size with equal shares of each class, dealt in a random order that depends on nothing but the labels.
fn stratified_folds(labels: &[usize], classes: usize, folds: usize) -> Vec<usize> {
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for i in Rng::new(0, "svm/folds").permutation(labels.len()) {
        of_class[labels[i]].push(i);
    }
    let mut fold_of = vec![0; labels.len()];
    for (dealt, i) in of_class.into_iter().flatten().enumerate() {
        fold_of[i] = dealt % folds;
    }
    fold_of
}

/// Scaled features with a last column of 1, row `order[i]` in place i.
fn with_bias(scale: &Standardiser, features: &[f32], order: &[usize]) -> Vec<f32> {
    let width = scale.width();
    let mut x = vec![1.0f32; order.len() * (width + 1)];
    x.par_chunks_exact_mut(width + 1).zip(order).for_each(|(x, &i)| {
        x[..width].copy_from_slice(&features[i * width..][..width]);
        scale.apply(&mut x[..width]);
    });
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::solver::OnCpu;
    use compute::svm::{self, TrainingSet};

    /// The sigmoids against folds left out one row at a time, trained from zero.
    #[test]
    fn sigmoids_see_decisions_of_machines_that_did_not_see_the_row() {
        let (n, d, k) = (97, 6, 4);
        let mut stream = Rng::new(3, "bank");
        let labels: Vec<usize> = (0..n).map(|i| (i * i) % k).collect();
        let classes = labels.iter().max().map_or(0, |m| m + 1);
        let features: Vec<f32> =
            (0..n * d).map(|at| stream.normal() as f32 + (labels[at / d] == at % d) as i32 as f32).collect();
        let config = Svm { c: 0.1, tolerance: 1e-9, folds: 3, ..Svm::default() };
        let bank = Bank::train(&features, &labels, classes, &config, &OnCpu).unwrap();
        let fold_of = stratified_folds(&labels, classes, config.folds);
        let problems: Vec<Problem> = (0..classes).map(|class| Problem { class }).collect();
        let mut held_out = vec![0.0f32; classes * n];
        for fold in 0..config.folds {
            let (out, kept): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| fold_of[*i] == fold);
            let x = with_bias(&bank.scale, &features, &kept);
            let of: Vec<usize> = kept.iter().map(|&i| labels[i]).collect();
            let mut weights = vec![0.0; classes * (d + 1)];
            let (width, c, tolerance) = (d + 1, config.c as f32, config.tolerance);
            svm::train(&TrainingSet { x: &x, width, labels: &of, c, tolerance }, &problems, &mut weights);
            let z = svm::decisions(&with_bias(&bank.scale, &features, &out), d + 1, &weights);
            for class in 0..classes {
                out.iter().enumerate().for_each(|(at, &i)| held_out[class * n + i] = z[class * out.len() + at]);
            }
        }
        for (class, ours) in bank.sigmoids.iter().enumerate() {
            let expected = Sigmoid::fit(&held_out[class * n..][..n], |i| labels[i] == class);
            let off = (ours.a - expected.a).abs().max((ours.b - expected.b).abs());
            assert!(off < 1e-3 * expected.a.abs(), "class {class}: {ours:?}, expected {expected:?}");
        }
    }

    #[test]
    fn a_bank_bears_fewer_clips_than_folds() {
        for n in 1..4 {
            let features: Vec<f32> = (0..n * 2).map(|i| i as f32).collect();
            let labels: Vec<usize> = (0..n).map(|i| i % 2).collect();
            let bank = Bank::train(&features, &labels, 2, &Svm { folds: 3, ..Svm::default() }, &OnCpu).unwrap();
            let p = bank.probabilities(&features, 2, &OnCpu).unwrap();
            assert!(p.iter().all(|p| p.is_finite()), "{n} clips");
        }
    }
}
