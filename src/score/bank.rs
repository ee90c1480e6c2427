//! The SVM bank of one audio feature: standardise, one-vs-rest SVMs, probabilities.

use super::error::{Error, LOWER_C, LOWER_LR, finite};
use super::platt::Sigmoid;
use super::quality::{FittedOn, Quality};
use super::solver::{Loaded, Rows, Solver};
use crate::dataset::Standardiser;
use crate::experiment::config::{Probability, Scale, Svm};
use compute::rng::Rng;
use compute::svm::{Fit, Problem};
use rayon::prelude::*;

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
    /// What each sigmoid was fitted on; empty where there are none, and of a bank that comes from a store.
    pub fitted_on: Vec<FittedOn>,
    /// The relative error that the machines were trained to.
    pub tolerance: f64,
}

impl Bank {
    /// Trains on features (N, D), row-major, with labels from 0 to K - 1. What the solver says, if it fails; and the first
    /// weight or decision value that is not finite.
    pub fn train(
        features: &[f32],
        labels: &[usize],
        classes: usize,
        config: &Svm,
        solver: &dyn Solver,
    ) -> Result<Bank, Error> {
        let n = labels.len();
        let width = features.len() / n.max(1);
        finite(features, width, "the audio feature", ("train clip", "dimension"), LOWER_LR)?;
        let scale = match config.scale {
            Scale::Standardised => Standardiser::of_matrix(features, width),
            Scale::Raw => Standardiser::identity(width),
        };
        let platt = config.probability != Probability::Softmax;
        let split = Split::new(labels, classes, if platt { config.folds } else { 1 });
        let problems: Vec<Problem> = (0..classes).map(|class| Problem { class }).collect();
        let mut weights = vec![0.0; classes * (width + 1)];
        let mut rows = solver.load(split.rows(&scale, features, labels, config))?;
        let fits = rows.train(0..0, &problems, &mut weights)?;
        finite(&weights, width + 1, "the weight", ("the machine of class", "dimension"), LOWER_C)?;
        let (mut sigmoids, mut fitted_on) = (Vec::new(), Vec::new());
        if platt {
            let clips = (0..classes).map(|class| labels.iter().filter(|l| **l == class).count()).collect();
            let data = Calibration { features, labels, scale: &scale, config, solver, weights: &weights, clips };
            let held_out = held_out(&mut *rows, &split, &problems, &weights)?;
            (sigmoids, fitted_on) = data.sigmoids(&mut *rows, &split, &held_out)?.into_iter().unzip();
        }
        let probability = config.probability;
        Ok(Bank { scale, weights, sigmoids, probability, fits, fitted_on, tolerance: config.tolerance })
    }

    /// Class probabilities of features (N, D): (N, K), row-major. What the solver says, if it fails; and the first feature or
    /// decision value that is not finite.
    pub fn probabilities(&self, features: &[f32], classes: usize, solver: &dyn Solver) -> Result<Vec<f32>, Error> {
        let width = self.scale.width();
        let n = features.len() / width;
        finite(features, width, "the audio feature", ("clip", "dimension"), LOWER_LR)?;
        let x = with_bias(&self.scale, features, &(0..n).collect::<Vec<_>>());
        let z = solver.decisions(&x, width + 1, &self.weights)?;
        finite(&z, n, "the decision value", ("class", "clip"), LOWER_C)?;
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
        finite(&out, classes, "the probability", ("clip", "class"), LOWER_C)?;
        Ok(out)
    }

    /// What is to be said of its fits, over all classes.
    pub fn quality(&self) -> Quality {
        Quality::of(&self.fits, self.tolerance, &self.fitted_on)
    }
}

/// The clips in another order: fold after fold, so that all rows but one fold's are one or two slices.
struct Split {
    /// Which clip comes in place i.
    order: Vec<usize>,
    /// Clips of each fold.
    sizes: Vec<usize>,
}

impl Split {
    fn new(labels: &[usize], classes: usize, folds: usize) -> Split {
        let fold_of = stratified_folds(labels, classes, folds);
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|i| fold_of[*i]);
        let mut sizes = vec![0; folds];
        fold_of.iter().for_each(|fold| sizes[*fold] += 1);
        Split { order, sizes }
    }

    fn rows(&self, scale: &Standardiser, features: &[f32], labels: &[usize], config: &Svm) -> Rows {
        Rows {
            x: with_bias(scale, features, &self.order),
            width: scale.width() + 1,
            labels: self.order.iter().map(|&i| labels[i]).collect(),
            c: config.c as f32,
            tolerance: config.tolerance,
        }
    }
}

/// Decision values (P, N) of rows that the machine behind them has not seen, in the order of the split. The folds' problems
/// start from the weights trained on all rows.
fn held_out(rows: &mut dyn Loaded, split: &Split, problems: &[Problem], weights: &[f32]) -> Result<Vec<f32>, Error> {
    let n = split.order.len();
    let mut held_out = vec![0.0f32; problems.len() * n];
    let mut from = 0;
    // A fold without a row has nothing to say; one that has them all leaves nothing to train on.
    for &size in split.sizes.iter().filter(|size| **size > 0 && **size < n) {
        let mut weights = weights.to_vec();
        rows.train(from..from + size, problems, &mut weights)?;
        let z = rows.decisions(from..from + size, &weights)?;
        for (out, z) in held_out.chunks_exact_mut(n).zip(z.chunks_exact(size)) {
            out[from..from + size].copy_from_slice(z);
        }
        from += size;
    }
    finite(&held_out, n, "the decision value of a fold's machine", ("class", "clip"), LOWER_C)?;
    Ok(held_out)
}

/// What sigmoids are fitted from.
struct Calibration<'a> {
    features: &'a [f32],
    labels: &'a [usize],
    scale: &'a Standardiser,
    config: &'a Svm,
    solver: &'a dyn Solver,
    /// Of the machines trained on all rows, (K, D + 1).
    weights: &'a [f32],
    /// Clips of each class.
    clips: Vec<usize>,
}

impl Calibration<'_> {
    /// A sigmoid for each class, none of which falls. From decision values of rows that were held out, as far as there are
    /// clips for it: a class with fewer clips than folds gets as many folds as it has clips, so that every fold holds one
    /// out and trains on the others. Where that is less than two, or the sigmoid does not rise, from the decision values of
    /// rows that the machine has seen: too sure of itself, but in the right order (LIBSVM's authors expect no useful
    /// probabilities of so few clips, and scikit-learn refuses to cross-validate them). Where those do not tell the class
    /// from the others either, the share of the class.
    fn sigmoids(
        &self,
        rows: &mut dyn Loaded,
        split: &Split,
        held_out: &[f32],
    ) -> Result<Vec<(Sigmoid, FittedOn)>, Error> {
        let (labels, n, folds) = (self.labels, self.labels.len(), self.config.folds);
        let sigmoid = |decisions: &[f32], order: &[usize], class: usize| {
            Sigmoid::fit_at_any_scale(decisions, |i| labels[order[i]] == class)
        };
        let of_all = held_out.par_chunks(n.max(1)).enumerate().map(|(class, z)| sigmoid(z, &split.order, class));
        let mut found: Vec<(Sigmoid, FittedOn)> = of_all.map(|s| (s, FittedOn::HeldOut)).collect();
        for fewer in 2..folds {
            let these: Vec<usize> = (0..found.len()).filter(|class| self.clips[*class] == fewer).collect();
            if these.is_empty() {
                continue;
            }
            let problems: Vec<Problem> = these.iter().map(|&class| Problem { class }).collect();
            let width = self.scale.width() + 1;
            let weights: Vec<f32> = these.iter().flat_map(|&k| &self.weights[k * width..][..width]).copied().collect();
            let split = Split::new(self.labels, self.clips.len(), fewer);
            let mut rows = self.solver.load(split.rows(self.scale, self.features, self.labels, self.config))?;
            let held_out = self::held_out(&mut *rows, &split, &problems, &weights)?;
            for (&class, z) in these.iter().zip(held_out.chunks_exact(n)) {
                found[class] = (sigmoid(z, &split.order, class), FittedOn::FewerFolds);
            }
        }
        let falls = |class: usize, s: &Sigmoid| self.clips[class] < 2 || !s.rises();
        if found.iter().enumerate().any(|(class, (s, _))| falls(class, s)) {
            let seen = rows.decisions(0..n, self.weights)?;
            for (class, found) in found.iter_mut().enumerate().filter(|(class, (s, _))| falls(*class, s)) {
                let on_seen = sigmoid(&seen[class * n..][..n], &split.order, class);
                *found = match on_seen.rises() && self.clips[class] > 0 {
                    true => (on_seen, FittedOn::Seen),
                    false => (Sigmoid::flat(n, self.clips[class]), FittedOn::Nothing),
                };
            }
        }
        Ok(found)
    }
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

    /// Clips of classes that are told apart perfectly, so many of each, with other clips of the same classes.
    fn separable(of_each: &[usize]) -> (Vec<f32>, Vec<usize>, Vec<f32>, Vec<usize>) {
        let k = of_each.len();
        let mut stream = Rng::new(5, "separable");
        let mut clip = |class: usize| -> Vec<f32> {
            (0..k).map(|d| if d == class { 1.0 } else { 0.0 } + 0.05 * stream.normal() as f32).collect()
        };
        let labels: Vec<usize> = (0..k).flat_map(|class| vec![class; of_each[class]]).collect();
        let features = labels.iter().flat_map(|&class| clip(class)).collect();
        let others: Vec<usize> = (0..4 * k).map(|i| i % k).collect();
        let of_others = others.iter().flat_map(|&class| clip(class)).collect();
        (features, labels, of_others, others)
    }

    fn top1(bank: &Bank, features: &[f32], labels: &[usize], classes: usize) -> f64 {
        let p = bank.probabilities(features, classes, &OnCpu).unwrap();
        crate::score::metrics::top_k(&crate::score::Scores::complete(p, classes), labels, 1, |_| true).unwrap()
    }

    /// Cross-validation turns every sigmoid round where a class has one clip: the machine of its fold has never seen the class.
    #[test]
    fn a_sigmoid_never_falls_and_it_is_counted_where_it_would_have() {
        for (of_each, want) in [(vec![1; 10], [0, 10, 0]), (vec![2; 10], [10, 0, 0]), (vec![9, 9, 1, 2, 9], [1, 1, 0])]
        {
            let (features, labels, others, of_others) = separable(&of_each);
            let classes = of_each.len();
            let train = |probability| {
                let config = Svm { folds: 3, probability, ..Svm::default() };
                Bank::train(&features, &labels, classes, &config, &OnCpu).unwrap()
            };
            let (platt, softmax) = (train(Probability::Platt), train(Probability::Softmax));
            assert!(platt.sigmoids.iter().all(Sigmoid::rises), "{of_each:?}: {:?}", platt.sigmoids);
            assert_eq!(platt.quality().sigmoids, Some(want), "{of_each:?}");
            assert_eq!(softmax.quality().sigmoids, None);
            let [p, s] = [&platt, &softmax].map(|bank| top1(bank, &others, &of_others, classes));
            assert!(p >= s - 5.0 && s > 90.0, "{of_each:?}: {p} % by Platt, {s} % by decision values");
        }
    }

    #[test]
    fn classes_without_a_clip_or_without_a_difference_are_flat() {
        let (features, mut labels, ..) = separable(&[6, 6, 6]);
        labels.iter_mut().for_each(|label| *label = (*label).min(1));
        let bank = Bank::train(&features, &labels, 3, &Svm::default(), &OnCpu).unwrap();
        assert_eq!(bank.fitted_on, [FittedOn::HeldOut, FittedOn::HeldOut, FittedOn::Nothing]);
        assert_eq!(bank.sigmoids[2], Sigmoid::flat(18, 0));
        // All clips are the same: nothing can be learned.
        let bank = Bank::train(&[0.5; 36], &labels, 3, &Svm::default(), &OnCpu).unwrap();
        assert_eq!(bank.fitted_on, [FittedOn::Nothing; 3], "{:?}", bank.sigmoids);
        let p = bank.probabilities(&[0.5; 2], 3, &OnCpu).unwrap();
        assert!(p[1] > p[0] && p[0] > p[2], "the shares of the classes: {p:?}");
    }

    /// Standardised, so that the scale of features does not matter; as they are, what single precision cannot hold is named.
    #[test]
    fn features_of_any_scale_are_trained_on_or_named() {
        let (features, labels, others, of_others) = separable(&[6, 6, 6, 6]);
        for (scale, shift) in [(1.0f32, 0.0f32), (1.0, 1e4), (1e-24, 0.0), (1e-30, 0.0), (3e37, 0.0), (1e30, 0.0)] {
            let moved = |x: &[f32]| x.iter().map(|v| v * scale + shift).collect::<Vec<f32>>();
            let bank = Bank::train(&moved(&features), &labels, 4, &Svm::default(), &OnCpu).unwrap();
            assert_eq!(bank.quality().untrained, 0, "{scale} {shift}: {:?}", bank.quality());
            let right = top1(&bank, &moved(&others), &of_others, 4);
            assert!(right > 90.0, "{scale} {shift}: {right} %");
            let raw = Svm { scale: Scale::Raw, ..Svm::default() };
            let told = match Bank::train(&moved(&features), &labels, 4, &raw, &OnCpu) {
                Err(error) => error.to_string(),
                Ok(bank) => {
                    let right = top1(&bank, &moved(&others), &of_others, 4);
                    let quality = bank.quality();
                    let told = crate::score::quality::remarks(&quality.values()).join("; ");
                    assert!(
                        right > 90.0 || !told.is_empty(),
                        "{scale} {shift}: {right} % and nothing is said: {quality:?}"
                    );
                    continue;
                }
            };
            assert!(told.contains("svm.scale: standardised"), "{scale} {shift}: {told}");
        }
    }

    #[test]
    fn what_is_not_finite_is_an_error_with_its_place() {
        let (mut features, labels, ..) = separable(&[4, 4]);
        let bank = Bank::train(&features, &labels, 2, &Svm::default(), &OnCpu).unwrap();
        let told = bank.probabilities(&[0.0, f32::INFINITY], 2, &OnCpu).unwrap_err().to_string();
        assert!(told.starts_with("the audio feature of clip 0, dimension 1, is inf"), "{told}");
        let broken = Bank { weights: vec![f32::NAN; bank.weights.len()], ..bank };
        let told = broken.probabilities(&features, 2, &OnCpu).unwrap_err().to_string();
        assert!(told.starts_with("the decision value of class 0, clip 0, is NaN") && told.contains("next:"), "{told}");
        features[5] = f32::NAN;
        let told = Bank::train(&features, &labels, 2, &Svm::default(), &OnCpu).unwrap_err().to_string();
        assert!(told.starts_with("the audio feature of train clip 2, dimension 1, is NaN"), "{told}");
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
