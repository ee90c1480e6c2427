//! Sums over clips that become the measures of an epoch.

use super::trainer::Measures;
use crate::experiment::config::{Classifier, Config};

/// Sums that become [`Measures`].
#[derive(Clone, Default)]
pub(crate) struct Tally {
    pub(crate) clips: f64,
    pub(crate) loss_cls: f64,
    pub(crate) loss_rec: f64,
    pub(crate) squares: f64,
    pub(crate) seen: f64,
    pub(crate) right: f64,
}

impl Tally {
    pub(crate) fn measures(&self, config: &Config, classifier: Classifier) -> Measures {
        let n = self.clips.max(1.0);
        let (loss_cls, loss_rec) = (self.loss_cls / n, self.loss_rec / n);
        let loss_rec_weighted = config.train.w_rec * loss_rec;
        Measures {
            // A classifier that nobody trains may say anything, infinity too, and the loss knows nothing of it.
            loss: match classifier {
                Classifier::With => config.train.w_cls * loss_cls + loss_rec_weighted,
                Classifier::Without => loss_rec_weighted,
            },
            loss_cls,
            loss_rec,
            accuracy: 100.0 * self.right / self.seen.max(1.0),
            feature_error: self.squares / n,
        }
    }

    pub(super) fn count_right(&mut self, logits: &[f32], labels: &[usize], classes: usize) {
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            let best = row.iter().enumerate().fold(0, |best, (k, v)| if *v > row[best] { k } else { best });
            self.right += f64::from(best == label);
            self.seen += 1.0;
        }
    }

    pub(super) fn count_squares(&mut self, output: &[f32], target: &[f32], width: usize) {
        let sum: f64 = output.iter().zip(target).map(|(o, t)| f64::from(o - t).powi(2)).sum();
        self.squares += sum / width as f64;
    }
}
