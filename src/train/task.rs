//! What one generator run trains on and with.

use super::batches::{Batch, Vision, audio_rows_into};
use super::error::Error;
use super::schedule::Schedule;
use super::trainer::{Checkpoint, SavedParam};
use crate::dataset::{Features, Standardiser, View};
use crate::experiment::config::{Classifier, Config, Loss, Target, TestFrame};
use crate::model::generator::Generator;
use crate::model::network::{Network, Sees, Sizes};
use compute::rng::Rng;
use std::sync::Arc;

/// What one generator run trains on and with.
pub struct Task {
    /// The data.
    pub view: Arc<View>,
    /// Standardised visual input.
    pub vision: Vision,
    /// The audio feature's name.
    pub audio: String,
    /// The network with its settings.
    pub generator: Generator,
    /// The reconstruction loss.
    pub loss: Loss,
    /// With or without the classifier branch.
    pub classifier: Classifier,
    /// Everything else.
    pub config: Arc<Config>,
    /// Seed of init, order and frames.
    pub seed: u64,
}

impl Task {
    pub(crate) fn features(&self) -> Result<&Features, Error> {
        let missing = || Error::NoSuchFeature { kind: "audio feature", name: self.audio.clone() };
        self.view.dataset.audio(&self.audio).ok_or_else(missing)
    }

    pub(crate) fn sizes(&self) -> Result<Sizes, Error> {
        Ok(Sizes {
            frames: self.vision.frames(),
            visual: self.vision.width(),
            audio: self.features()?.row_len(),
            classes: self.view.dataset.classes(),
        })
    }

    /// The centre frame.
    pub(crate) fn centre(&self) -> usize {
        self.vision.frames() / 2
    }

    /// Batches of one epoch: a fresh order of the sounded train clips from the stream `order/EPOCH`.
    pub(crate) fn order(&self, epoch: usize) -> Vec<usize> {
        let mut clips = self.view.train_sounded.clone();
        Rng::new(self.seed, &format!("order/{epoch}")).shuffle(&mut clips);
        clips
    }

    /// One random frame for each clip of the data set, from the stream `frame/EPOCH`.
    pub(crate) fn random_frames(&self, epoch: usize) -> Vec<usize> {
        let mut stream = Rng::new(self.seed, &format!("frame/{epoch}"));
        (0..self.view.dataset.clips.len()).map(|_| stream.below(self.vision.frames())).collect()
    }

    /// The network's input for clips, into `batch`; `frame` says which one a network of one frame sees.
    pub(super) fn gather_input(
        &self,
        clips: &[usize],
        one_frame: bool,
        frame: impl Fn(usize) -> usize,
        batch: &mut Batch,
    ) {
        match one_frame {
            false => self.vision.sequences(clips, &mut batch.x),
            true => self.vision.single_frames(clips, frame, &mut batch.x),
        }
    }

    /// Labels and targets of clips, into `batch`.
    pub(super) fn gather_truth(&self, features: &Features, scale: &Standardiser, clips: &[usize], batch: &mut Batch) {
        batch.labels.clear();
        batch.labels.extend(clips.iter().map(|&c| self.view.dataset.clips[c].label));
        audio_rows_into(&self.view, features, clips, &mut batch.target);
        scale.apply(&mut batch.target);
    }

    /// The scale of the target: statistics of the sounded train clips, or none.
    pub(crate) fn scale(&self) -> Result<Standardiser, Error> {
        let features = self.features()?;
        Ok(match self.config.train.target {
            Target::Raw => Standardiser::identity(features.row_len()),
            Target::Standardised => {
                let rows: Vec<usize> =
                    self.view.train_sounded.iter().filter_map(|&c| self.view.dataset.audio_row[c]).collect();
                Standardiser::of_features(features, &rows, features.row_len())
            }
        })
    }

    /// The network, described.
    pub fn network(&self) -> Result<Network, Error> {
        Ok(self.generator.describe().network(self.sizes()?))
    }

    /// Whether the network sees a single frame of a clip.
    pub(crate) fn sees_one_frame(&self) -> Result<bool, Error> {
        Ok(self.network()?.sees == Sees::OneFrame)
    }

    /// Whether a val clip's output is the mean over all of its frames.
    pub(crate) fn averages_frames(&self) -> Result<bool, Error> {
        Ok(self.sees_one_frame()? && self.generator.describe().test_frame() == TestFrame::Mean)
    }

    /// Whether a checkpoint is one of this task's network; another's is not gone on from.
    pub fn takes(&self, checkpoint: &Checkpoint) -> Result<bool, Error> {
        let network = self.network()?;
        let same = |(saved, (name, shape)): (&SavedParam, (&str, _))| saved.name == name && saved.shape == shape;
        Ok(checkpoint.params.len() == network.params.len() && checkpoint.params.iter().zip(network.shapes()).all(same))
    }

    /// The epochs and steps to take after `done` epochs.
    pub fn schedule(&self, done: usize) -> Schedule {
        let t = &self.config.train;
        let steps = self.view.train_sounded.len().div_ceil(t.batch);
        Schedule { epochs: t.epochs, done, steps, lr: t.lr, stop: t.stop }
    }
}
