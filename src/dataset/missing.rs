//! Simulated missing sound: some clips of a sounded data set are treated as silent, their true audio kept apart.

use super::{Dataset, Error, Split};
use compute::rng::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How silent clips are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingBy {
    /// Every clip is as likely as any other.
    #[default]
    Random,
    /// Rates differ by class, on a straight line around `rate`, as in recorded data where some actions make no sound.
    Class,
}

/// `missing: {rate, by, seed}` of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Share of the sounded clips to silence, in each split; 0 to below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rate: f64,
    /// At random, or with rates that depend on the class.
    #[serde(default)]
    pub by: MissingBy,
    /// Seed of the choice. The choice does not depend on the seeds of the runs: all runs see the same clips.
    #[serde(default)]
    pub seed: u64,
}

/// Whether each clip sounds once `missing` was applied.
///
/// Within a group (a split, or a class of a split) of n sounded clips, exactly round(rate n) fall silent: the first
/// ones of a random order, so a higher rate with the same seed silences the same clips and more.
pub(super) fn sounded(dataset: &Dataset, missing: Option<&Missing>) -> Result<Vec<bool>, Error> {
    let mut sounded: Vec<bool> = dataset.clips.iter().map(|c| c.has_audio).collect();
    let Some(missing) = missing else { return Ok(sounded) };
    if !(0.0..1.0).contains(&missing.rate) {
        return Err(Error::Usage(format!("missing.rate {} should lie from 0 to below 1", missing.rate)));
    }
    let classes = dataset.classes();
    let rates = match missing.by {
        MissingBy::Random => vec![missing.rate; classes],
        MissingBy::Class => class_rates(missing.rate, classes, missing.seed),
    };
    for split in Split::ALL {
        let mut order = Rng::new(missing.seed, &format!("missing/{}", split.name())).permutation(sounded.len());
        order.retain(|&i| sounded[i] && dataset.clips[i].split == split);
        match missing.by {
            MissingBy::Random => silence(&order, missing.rate, &mut sounded),
            MissingBy::Class => {
                for (class, &rate) in rates.iter().enumerate() {
                    let of_class: Vec<usize> =
                        order.iter().copied().filter(|&i| dataset.clips[i].label == class).collect();
                    silence(&of_class, rate, &mut sounded);
                }
            }
        }
    }
    Ok(sounded)
}

fn silence(order: &[usize], rate: f64, sounded: &mut [bool]) {
    let count = (rate * order.len() as f64).round() as usize;
    for &i in &order[..count.min(order.len())] {
        sounded[i] = false;
    }
}

/// Rates on a line from rate - s to rate + s, s = 0.9 min(rate, 1 - rate), dealt to the classes at random; their mean
/// is `rate`.
fn class_rates(rate: f64, classes: usize, seed: u64) -> Vec<f64> {
    let spread = 0.9 * rate.min(1.0 - rate);
    let ranks = Rng::new(seed, "missing/class").permutation(classes);
    let last = (classes - 1).max(1) as f64;
    ranks.into_iter().map(|rank| rate + spread * (2.0 * rank as f64 / last - 1.0)).collect()
}
