//! Two engines on one run: how far their losses, features and scores lie apart, and whether a table would change.

use crate::experiment::config::Engine;
use crate::score::Scores;
use crate::train::{Epoch, Measures};
use serde::Serialize;
use std::collections::BTreeMap;

/// Probabilities of two engines may lie this far apart before their runs count as different.
pub const NEAR: f64 = 1e-2;

/// A largest difference, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Largest {
    /// |a - b|.
    pub difference: f64,
    /// `val loss_rec, epoch 2`; empty where nothing differs.
    pub at: String,
}

impl Largest {
    fn see(&mut self, a: f64, b: f64, at: impl FnOnce() -> String) {
        let difference = (a - b).abs();
        // What is not finite on one side only is as far as can be.
        let difference = if a.to_bits() == b.to_bits() { 0.0 } else { difference };
        if difference > self.difference || difference.is_nan() {
            *self = Largest { difference: if difference.is_nan() { f64::INFINITY } else { difference }, at: at() };
        }
    }
}

/// A stored run beside the same run on another engine.
#[derive(Clone, Debug, Serialize)]
pub struct EngineDifference {
    /// The engine that it was trained with now.
    pub engine: Engine,
    /// Of the losses of all epochs.
    pub losses: Largest,
    /// Of the feature's errors: of all epochs, and cosine, R^2 and squared error at the end.
    pub features: Largest,
    /// Of the probabilities.
    pub scores: Largest,
    /// Val clips whose most probable class is another.
    pub clips: usize,
    /// Accuracies that come out differently in a table, to two decimals: name, then, now.
    pub tables: Vec<(String, f64, f64)>,
}

impl EngineDifference {
    /// Before anything was compared.
    pub fn new(engine: Engine) -> EngineDifference {
        let none = Largest::default;
        EngineDifference { engine, losses: none(), features: none(), scores: none(), clips: 0, tables: Vec::new() }
    }

    /// Whether the engines agree as far as single precision lets them.
    pub fn is_near(&self) -> bool {
        self.scores.difference <= NEAR
    }

    /// Looks at the curves.
    pub fn see_curves(&mut self, a: &[Epoch], b: &[Epoch]) {
        for (a, b) in a.iter().zip(b) {
            for (split, x, y) in [("train", &a.train, &b.train), ("val", &a.val, &b.val)] {
                type Of = fn(&Measures) -> f64;
                let losses: [(&str, Of); 3] =
                    [("loss", |m| m.loss), ("loss_cls", |m| m.loss_cls), ("loss_rec", |m| m.loss_rec)];
                for (name, of) in losses {
                    self.losses.see(of(x), of(y), || format!("{split} {name}, epoch {}", a.epoch));
                }
                let at = || format!("{split} feature_error, epoch {}", a.epoch);
                self.features.see(x.feature_error, y.feature_error, at);
            }
        }
    }

    /// Looks at the numbers that the runs ended with.
    pub fn see_values(&mut self, a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) {
        for (name, &x) in a {
            let Some(&y) = b.get(name) else { continue };
            match name.split('/').next() {
                Some("cosine" | "r2" | "mse") => self.features.see(x, y, || name.clone()),
                Some("top1" | "top5") if (100.0 * x).round() != (100.0 * y).round() => {
                    self.tables.push((name.clone(), x, y));
                }
                _ => {}
            }
        }
    }

    /// Looks at scores of val clips.
    pub fn see_scores(&mut self, what: &str, a: &Scores, b: &Scores) {
        let rows = a.values.chunks_exact(a.classes.max(1)).zip(b.values.chunks_exact(b.classes.max(1)));
        for (clip, (x, y)) in rows.enumerate() {
            for (class, (x, y)) in x.iter().zip(y).enumerate() {
                self.scores.see(f64::from(*x), f64::from(*y), || format!("{what}, val clip {clip}, class {class}"));
            }
            let best = |row: &[f32]| (0..row.len()).max_by(|i, j| row[*i].total_cmp(&row[*j]).then(j.cmp(i)));
            self.clips += usize::from(best(x) != best(y));
        }
    }
}
