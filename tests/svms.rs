//! SVMs and Platt's sigmoid against scikit-learn, SciPy and an opinion of our own on what is a minimum.

use crate::support::fixture::{self, cases, doubles, floats, indices, size};
use crate::support::numbers::*;
use compute::svm::{self, Fit, Problem, TrainingSet};
use rayon::prelude::*;
use unmute::dataset::{Dataset, Split};
use unmute::experiment::config::{Probability, Svm};
use unmute::score::bank::Bank;
use unmute::score::platt::Sigmoid;
use unmute::score::solver::OnCpu;

/// Primal value, and the dual value of a feasible point that coordinate ascent finds from alpha_i = 2 C max(0, 1 - y_i w.x_i),
/// all in f64: an opinion on a solution that owes the solver nothing.
fn certificate(x: &[f32], width: usize, w: &[f32], positive: impl Fn(usize) -> bool, c: f64) -> (f64, f64) {
    let n = x.len() / width;
    let row = |i: usize| x[i * width..][..width].iter().map(|v| f64::from(*v));
    let sign = |i: usize| if positive(i) { 1.0 } else { -1.0 };
    let mut primal: f64 = 0.5 * w.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
    let (mut alpha, mut along) = (vec![0.0; n], vec![0.0f64; width]);
    for (i, alpha) in alpha.iter_mut().enumerate() {
        let z: f64 = row(i).zip(w).map(|(x, w)| x * f64::from(*w)).sum();
        let margin = (1.0 - sign(i) * z).max(0.0);
        primal += c * margin * margin;
        *alpha = 2.0 * c * margin;
        along.iter_mut().zip(row(i)).for_each(|(s, x)| *s += *alpha * sign(i) * x);
    }
    let ridge = 1.0 / (2.0 * c);
    for _ in 0..1000 {
        for (i, alpha) in alpha.iter_mut().enumerate() {
            let (z, square) = row(i).zip(&along).fold((0.0, 0.0), |(z, s), (x, a)| (z + x * a, s + x * x));
            let next = (*alpha - (sign(i) * z - 1.0 + *alpha * ridge) / (square + ridge)).max(0.0);
            let change = (next - *alpha) * sign(i);
            *alpha = next;
            if change != 0.0 {
                along.iter_mut().zip(row(i)).for_each(|(s, x)| *s += change * x);
            }
        }
        let squares =
            0.5 * (along.iter().map(|s| s * s).sum::<f64>() + ridge * alpha.iter().map(|a| a * a).sum::<f64>());
        let dual = alpha.iter().sum::<f64>() - squares;
        if primal - dual < 1e-5 * primal {
            return (primal, dual);
        }
    }
    let squares = 0.5 * (along.iter().map(|s| s * s).sum::<f64>() + ridge * alpha.iter().map(|a| a * a).sum::<f64>());
    (primal, alpha.iter().sum::<f64>() - squares)
}

fn with_bias(x: &[f32], d: usize) -> Vec<f32> {
    x.chunks_exact(d).flat_map(|row| row.iter().copied().chain([1.0])).collect()
}

#[test]
fn svms_agree_with_scikit_learn() {
    let f = fixture::read("svm.json");
    for case in cases(&f) {
        let what = case["name"].as_str().unwrap();
        let [n, d, k] = ["n", "d", "k"].map(|e| size(&case[e]));
        let c = case["c"].as_f64().unwrap();
        let (x, labels) = (with_bias(&floats(&case["x"]), d), indices(&case["labels"]));
        let shared = TrainingSet { x: &x, width: d + 1, labels: &labels, c: c as f32, tolerance: 1e-6 };
        let problems: Vec<Problem> = (0..k).map(|class| Problem { class }).collect();
        let mut weights = vec![0.0; k * (d + 1)];
        let fits = svm::train(&shared, &problems, &mut weights);
        let decisions = svm::decisions(&x, d + 1, &weights);
        let theirs = doubles(&case["decisions"]);
        for class in 0..k {
            let what = format!("{what}, class {class}");
            let best = case["classes"][class]["objective"].as_f64().unwrap();
            let w = &weights[class * (d + 1)..][..d + 1];
            let (primal, dual) = certificate(&x, d + 1, w, |i| labels[i] == class, c);
            assert!(primal >= best * (1.0 - 1e-6), "{what}: {primal} is below the minimum {best}");
            assert!(primal <= best * (1.0 + 1e-4), "{what}: {primal}, minimum {best}");
            assert_near(&format!("{what}: reported objective"), fits[class].objective, primal, 1e-4);
            assert!(primal - dual <= 1e-3 * primal, "{what}: primal {primal}, dual {dual}");
            assert!(fits[class].duality_gap < 1e-2, "{what}: {:?}", fits[class]);
            let column: Vec<f64> = (0..n).map(|i| theirs[i * k + class]).collect();
            assert_close(&format!("{what}: decisions"), &decisions[class * n..][..n], &column, 5e-3);
        }
    }
}

/// Audio features of real recordings: (N, 384), labels of the train clips.
fn real_audio() -> Option<(Vec<f32>, usize, Vec<usize>, usize)> {
    let source = crate::support::corsmal()?;
    let dir = tempfile::tempdir().unwrap();
    let options = unmute::dataset::import::Options {
        frames: 2,
        rows: [("vggish".to_string(), unmute::dataset::import::Rows::Sample(3))].into(),
        name: None,
        precision: unmute::dataset::Precision::F32,
        ..Default::default()
    };
    let folder = dir.path().join("corsmal");
    unmute::dataset::import::import(&source, &folder, &options, &|_, _| ()).unwrap();
    let dataset = Dataset::open(&folder).unwrap();
    let features = dataset.audio("vggish").unwrap();
    let clips: Vec<usize> = (0..dataset.clips.len()).filter(|&i| dataset.clips[i].split == Split::Train).collect();
    let mut x = vec![0.0; clips.len() * features.row_len()];
    for (&clip, row) in clips.iter().zip(x.chunks_exact_mut(features.row_len())) {
        features.read_row(dataset.audio_row[clip].unwrap(), row);
    }
    let labels = clips.iter().map(|&c| dataset.clips[c].label).collect();
    Some((x, features.row_len(), labels, dataset.classes()))
}

#[test]
fn svms_find_the_minimum_on_real_audio_on_any_number_of_threads() {
    let Some((x, width, labels, classes)) = real_audio() else { return };
    for (c, tolerance) in [(0.01, 1e-6), (1.0, 1e-6)] {
        let config = Svm { c, tolerance, ..Svm::default() };
        let bank = on_threads(1, || Bank::train(&x, &labels, classes, &config, &OnCpu).unwrap());
        for threads in [2, 3] {
            assert!(
                on_threads(threads, || Bank::train(&x, &labels, classes, &config, &OnCpu).unwrap()) == bank,
                "{threads} threads"
            );
        }
        let mut scaled = x.clone();
        bank.scale.apply(&mut scaled);
        let scaled = with_bias(&scaled, width);
        let worst: Vec<(f64, Fit)> = (0..classes)
            .into_par_iter()
            .map(|class| {
                let w = &bank.weights[class * (width + 1)..][..width + 1];
                let (primal, dual) = certificate(&scaled, width + 1, w, |i| labels[i] == class, c);
                ((primal - dual) / primal, bank.fits[class])
            })
            .collect();
        for (class, (true_gap, fit)) in worst.iter().enumerate() {
            assert!(*true_gap < 2e-5, "C {c}, class {class}: gap {true_gap:.1e}, {fit:?}");
            let bound = match fit.dual_looks {
                0 => 0.5 * fit.gradient_norm.powi(2) / fit.objective,
                _ => fit.duality_gap,
            };
            assert!(bound <= tolerance * 1.01, "C {c}, class {class}: {fit:?}");
        }
        assert!(bank.fits.iter().any(|f| f.dual_looks > 0) == (c == 1.0), "who solves what");
        let p = bank.probabilities(&x, classes, &OnCpu).unwrap();
        let right = p.chunks_exact(classes).zip(&labels).filter(|(row, label)| row.iter().all(|v| *v <= row[**label]));
        assert!(right.count() * 100 > labels.len() * 80, "train clips are recognised");
    }
}

#[test]
fn svm_banks_are_the_same_on_any_number_of_threads() {
    let (n, d, k) = (331, 67, 9);
    let labels: Vec<usize> = (0..n).map(|i| (i * i + i / 7) % k).collect();
    let mut x = normal(n * d, 1.0, "bank");
    for (row, label) in x.chunks_exact_mut(d).zip(&labels) {
        row[*label] += 1.5;
    }
    let train = |threads| {
        on_threads(threads, || {
            let bank = Bank::train(&x, &labels, k, &Svm::default(), &OnCpu).unwrap();
            let p = bank.probabilities(&x, k, &OnCpu).unwrap();
            (bank, p)
        })
    };
    let one = train(1);
    for threads in [2, 5] {
        assert!(train(threads) == one, "{threads} threads");
    }
    assert!(one.1.chunks_exact(k).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
}

#[test]
fn svm_banks_bear_classes_with_one_clip_or_none_and_constant_features() {
    // Class 3 has one clip, class 4 none; the last column is constant.
    let labels: Vec<usize> = (0..40).map(|i| if i == 7 { 3 } else { i % 3 }).collect();
    let mut x = normal(40 * 6, 1.0, "odd bank");
    for (row, label) in x.chunks_exact_mut(6).zip(&labels) {
        row[*label] += 2.0;
        row[5] = 1e6;
    }
    for probability in Probability::ALL {
        let config = Svm { probability: *probability, ..Svm::default() };
        for x in [x.clone(), vec![0.25; 40 * 6]] {
            let bank = Bank::train(&x, &labels, 5, &config, &OnCpu).unwrap();
            let p = bank.probabilities(&x, 5, &OnCpu).unwrap();
            assert!(p.iter().all(|p| p.is_finite() && *p >= 0.0), "{probability}");
            let none = p.chunks_exact(5).filter(|row| row[..4].iter().all(|p| *p < row[4])).count();
            assert_eq!(none, 0, "{probability}: a class without clips wins nowhere");
        }
    }
}

#[test]
fn platts_sigmoid_agrees_with_scipy() {
    let f = fixture::read("platt.json");
    for case in cases(&f) {
        let what = case["name"].as_str().unwrap();
        let decisions = floats(&case["decisions"]);
        let positive: Vec<bool> = case["labels"].as_array().unwrap().iter().map(|y| y.as_i64().unwrap() > 0).collect();
        let s = Sigmoid::fit(&decisions, |i| positive[i]);
        let p: Vec<f32> = decisions.iter().map(|f| s.probability(f64::from(*f)) as f32).collect();
        for (i, (ours, theirs)) in p.iter().zip(doubles(&case["p"])).enumerate() {
            assert!((f64::from(*ours) - theirs).abs() < 1e-4, "{what}: p[{i}] {ours}, expected {theirs}");
        }
        if case["unique"].as_bool().unwrap() {
            let (a, b) = (case["a"].as_f64().unwrap(), case["b"].as_f64().unwrap());
            assert!((s.a - a).abs() <= 1e-3 * a.abs().max(0.01), "{what}: a {}, expected {a}", s.a);
            assert!((s.b - b).abs() <= 1e-3 * b.abs().max(1.0), "{what}: b {}, expected {b}", s.b);
        }
    }
}
