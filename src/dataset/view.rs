//! A data set as an experiment sees it: which clips sound once `missing` was applied, and which clips train and score.

use super::{Dataset, Error, Missing, Split};
use std::sync::Arc;

/// A data set with an experiment's silent clips.
#[derive(Clone, Debug)]
pub struct View {
    /// The data set.
    pub dataset: Arc<Dataset>,
    /// The simulated silence, if any.
    pub missing: Option<Missing>,
    /// For each clip of the data set, whether it sounds here.
    pub sounded: Vec<bool>,
    /// Train clips (indices into the data set's), in file order.
    pub train: Vec<usize>,
    /// Val clips, in file order: what is chosen on. Scores have one row for each of them.
    pub val: Vec<usize>,
    /// Test clips, in file order; none where the data set has no such split. Scored, and looked at by nothing that chooses.
    pub test: Vec<usize>,
    /// Train clips that sound here: what generators and SVMs are fitted on.
    pub train_sounded: Vec<usize>,
    /// The view's fingerprint: the data set's, and which clips sound.
    pub fingerprint: String,
}

impl View {
    /// Applies `missing` and checks that there is something to learn from and something to fill in.
    pub fn new(dataset: Arc<Dataset>, missing: Option<&Missing>) -> Result<View, Error> {
        let sounded = super::missing::sounded(&dataset, missing)?;
        let of = |split: Split| -> Vec<usize> {
            (0..dataset.clips.len()).filter(|&i| dataset.clips[i].split == split).collect()
        };
        let (train, val, test) = (of(Split::Train), of(Split::Val), of(Split::Test));
        let train_sounded: Vec<usize> = train.iter().copied().filter(|&i| sounded[i]).collect();
        let name = &dataset.manifest.name;
        if train_sounded.is_empty() {
            return Err(Error::Sound(format!(
                "data set {name:?}: every train clip is silent; generators learn from sounded ones\n  next: lower missing.rate, or import clips with audio"
            )));
        }
        if missing.is_none() && val.iter().all(|&i| sounded[i]) {
            return Err(Error::Sound(format!(
                "data set {name:?}: no val clip is silent, so there is nothing to generate\n  next: declare `missing: {{rate: 0.44}}` in experiment.yaml, or pass --set missing.rate=0.44"
            )));
        }
        let mut classes: Vec<usize> = train_sounded.iter().map(|&i| dataset.clips[i].label).collect();
        classes.sort_unstable();
        classes.dedup();
        if classes.len() < 2 {
            return Err(Error::Sound(format!(
                "data set {name:?}: sounded train clips of one class only; the SVMs need at least two classes\n  next: lower missing.rate, or import more clips"
            )));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(dataset.fingerprint.as_bytes());
        hasher.update(&sounded.iter().map(|&s| s as u8).collect::<Vec<_>>());
        let fingerprint = hasher.finalize().to_hex().to_string();
        Ok(View { missing: missing.cloned(), dataset, sounded, train, val, test, train_sounded, fingerprint })
    }

    /// Labels of the given clips.
    pub fn labels(&self, clips: &[usize]) -> Vec<usize> {
        clips.iter().map(|&i| self.dataset.clips[i].label).collect()
    }

    /// Clips of a split.
    pub fn clips(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
            Split::Test => &self.test,
        }
    }

    /// The splits whose clips are scored: val, and test where the data set has one.
    pub fn scored(&self) -> &'static [Split] {
        if self.test.is_empty() { &[Split::Val] } else { &[Split::Val, Split::Test] }
    }

    /// Number of (sounded, silent) clips of a split.
    pub fn counts(&self, split: Split) -> (usize, usize) {
        let clips = self.clips(split);
        let sounded = clips.iter().filter(|&&i| self.sounded[i]).count();
        (sounded, clips.len() - sounded)
    }
}
