//! The SVM bank of one audio feature: standardise, one-vs-rest SVMs, probabilities.

use super::platt::Sigmoid;
use super::svm::{self, Fit, Prepared, Problem, Shared};
use crate::dataset::Standardiser;
use crate::experiment::config::{Probability, Scale, Svm};
use crate::random::Stream;
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
    /// Trains on features (N, D), row-major, with labels from 0 to K - 1.
    pub fn train(features: &[f32], labels: &[usize], classes: usize, config: &Svm) -> Bank {
        let n = labels.len();
        let width = features.len() / n.max(1);
        let scale = match config.scale {
            Scale::Standardised => Standardiser::of_matrix(features, width),
            Scale::Raw => Standardiser::identity(width),
        };
        let x = with_bias(&scale, features);
        let folds = match config.probability {
            Probability::Softmax => Vec::new(),
            Probability::Platt | Probability::PlattRaw => stratified_folds(labels, classes, config.folds),
        };
        let shared =
            Shared { x: &x, width: width + 1, labels, folds: &folds, c: config.c as f32, tolerance: config.tolerance };
        let problems: Vec<Problem> = (0..classes).map(|class| Problem { class, without_fold: None }).collect();
        let mut weights = vec![0.0; classes * (width + 1)];
        let mut prepared = Prepared::new(&x, width + 1);
        let fits = svm::train_with(&shared, &problems, &mut weights, &mut prepared);
        let sigmoids = if folds.is_empty() {
            Vec::new()
        } else {
            sigmoids(&shared, classes, config.folds, &weights, &mut prepared)
        };
        Bank { scale, weights, sigmoids, probability: config.probability, fits }
    }

    /// Class probabilities of features (N, D): (N, K), row-major.
    pub fn probabilities(&self, features: &[f32], classes: usize) -> Vec<f32> {
        let width = self.scale.width();
        let n = features.len() / width;
        let x = with_bias(&self.scale, features);
        let z = svm::decisions(&x, width + 1, &self.weights);
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
        out
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

/// Platt's sigmoids on decision values of rows that the SVM behind them has not seen. The folds' problems start from the
/// weights trained on all rows.
fn sigmoids(shared: &Shared, classes: usize, folds: usize, weights: &[f32], prepared: &mut Prepared) -> Vec<Sigmoid> {
    let n = shared.labels.len();
    // All folds at once: the more problems share a pass over X, the cheaper it is for each.
    let problems: Vec<Problem> = (0..folds)
        .flat_map(|fold| (0..classes).map(move |class| Problem { class, without_fold: Some(fold) }))
        .collect();
    let mut all = weights.repeat(folds);
    svm::train_with(shared, &problems, &mut all, prepared);
    let mut held_out = vec![0.0f32; classes * n];
    for (fold, weights) in all.chunks_exact(weights.len()).enumerate() {
        let z = svm::decisions(shared.x, shared.width, weights);
        for (out, z) in held_out.chunks_exact_mut(n).zip(z.chunks_exact(n)) {
            for ((out, z), f) in out.iter_mut().zip(z).zip(shared.folds) {
                if *f == fold {
                    *out = *z;
                }
            }
        }
    }
    held_out
        .par_chunks(n)
        .enumerate()
        .map(|(class, decisions)| Sigmoid::fit(decisions, |i| shared.labels[i] == class))
        .collect()
}

/// Folds of equal size with equal shares of each class, dealt in a random order that depends on nothing but the labels.
fn stratified_folds(labels: &[usize], classes: usize, folds: usize) -> Vec<usize> {
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for i in Stream::new(0, "svm/folds").permutation(labels.len()) {
        of_class[labels[i]].push(i);
    }
    let mut fold_of = vec![0; labels.len()];
    for (dealt, i) in of_class.into_iter().flatten().enumerate() {
        fold_of[i] = dealt % folds;
    }
    fold_of
}

/// Scaled features with a last column of 1.
fn with_bias(scale: &Standardiser, features: &[f32]) -> Vec<f32> {
    let width = scale.width();
    let mut x = vec![1.0f32; features.len() / width * (width + 1)];
    x.par_chunks_exact_mut(width + 1).zip(features.par_chunks_exact(width)).for_each(|(x, f)| {
        x[..width].copy_from_slice(f);
        scale.apply(&mut x[..width]);
    });
    x
}
