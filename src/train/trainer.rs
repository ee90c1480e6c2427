//! The training loop of one generator. It emits events and prints nothing; whoever listens keeps metrics, shows a bar or
//! saves checkpoints.

use super::batches::{Vision, audio_rows};
use super::device::{Backend, matrix, numbers};
use super::error::Error;
use super::generator::{Generator, Sizes};
use super::loss;
use super::params::{Saved, adam};
use super::scratch::Scratch;
use crate::dataset::{Features, Standardiser, View};
use crate::experiment::config::{Architecture, Classifier, Config, Loss, Target, TestFrame};
use crate::random::Stream;
use dfdx::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What one generator run trains on and with.
pub struct Task {
    /// The data.
    pub view: Arc<View>,
    /// Standardised visual input.
    pub vision: Vision,
    /// The audio feature's name.
    pub audio: String,
    /// The network.
    pub architecture: Architecture,
    /// The reconstruction loss.
    pub loss: Loss,
    /// With or without the classifier branch.
    pub classifier: Classifier,
    /// Everything else.
    pub config: Arc<Config>,
    /// Seed of init, order and frames.
    pub seed: u64,
}

/// Means over one split after one epoch. Feature errors are squared errors in units of the standardised feature (or the
/// raw one where the target is raw), mean over dimensions; they are over sounded clips, since only there is truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// The whole loss, L.
    pub loss: f64,
    /// Cross-entropy, L_cls (measured also where it has no weight).
    pub loss_cls: f64,
    /// Reconstruction loss, L_rec.
    pub loss_rec: f64,
    /// Top-1 accuracy of the classifier branch, percent.
    pub accuracy: f64,
    /// Squared error of the feature.
    pub feature_error: f64,
}

/// One epoch's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Over the sounded train clips, while training (dropout-free, so before each step).
    pub train: Measures,
    /// Over the val clips, after the epoch: losses and feature error on sounded ones, accuracy on all.
    pub val: Measures,
}

/// The state between two epochs: enough to go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Epochs done.
    pub epoch: usize,
    /// Adam's step count.
    pub step: i32,
    /// Parameters with moments.
    pub params: Vec<Saved>,
}

/// Listens to a training.
pub trait Listener {
    /// Before the first batch, and now and then: steps done so far and in all. An error ends the training.
    fn step(&mut self, done: usize, total: usize) -> Result<(), Error>;
    /// After an epoch. `checkpoint` makes the state; calling it costs a copy.
    fn epoch(&mut self, epoch: &Epoch, checkpoint: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error>;
}

/// A trained generator.
pub struct Trained<D: Backend> {
    task: Task,
    generator: Generator<D>,
    scale: Standardiser,
}

/// Clips that one forward pass without gradient handles.
const EVAL_BATCH: usize = 256;

impl Task {
    fn features(&self) -> Result<&Features, Error> {
        let missing = || Error::Listener(format!("the data set has no audio feature {:?}", self.audio));
        self.view.dataset.audio(&self.audio).ok_or_else(missing)
    }

    fn sizes(&self) -> Result<Sizes, Error> {
        Ok(Sizes {
            frames: self.vision.frames(),
            visual: self.vision.width(),
            audio: self.features()?.row_len(),
            classes: self.view.dataset.classes(),
        })
    }

    /// Batches of one epoch: a fresh order of the sounded train clips from the stream `order/EPOCH`.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut clips = self.view.train_sounded.clone();
        Stream::new(self.seed, &format!("order/{epoch}")).shuffle(&mut clips);
        clips
    }

    /// One random frame for each clip of the data set, from the stream `frame/EPOCH`.
    fn random_frames(&self, epoch: usize) -> Vec<usize> {
        let mut stream = Stream::new(self.seed, &format!("frame/{epoch}"));
        (0..self.view.dataset.clips.len()).map(|_| stream.below(self.vision.frames())).collect()
    }

    /// The network's input for clips; `frame` says which one the autoencoder sees.
    fn input(&self, clips: &[usize], frame: &dyn Fn(usize) -> usize) -> (Scratch, usize) {
        match self.architecture {
            Architecture::Lstm => (self.vision.sequences(clips), clips.len() * self.vision.frames()),
            Architecture::Autoencoder => {
                let frames: Vec<usize> = clips.iter().map(|&c| frame(c)).collect();
                (self.vision.single_frames(clips, &frames), clips.len())
            }
        }
    }

    /// Trains from the beginning, or from a checkpoint.
    pub fn train<D: Backend>(
        self,
        device: &D,
        from: Option<Checkpoint>,
        listener: &mut dyn Listener,
    ) -> Result<Trained<D>, Error> {
        let train = self.config.train.clone();
        let features = self.features()?;
        let scale = match train.target {
            Target::Raw => Standardiser::identity(features.row_len()),
            Target::Standardised => {
                let rows: Vec<usize> =
                    self.view.train_sounded.iter().filter_map(|&c| self.view.dataset.audio_row[c]).collect();
                Standardiser::of_features(features, &rows, features.row_len())
            }
        };
        let mut generator = Generator::new(device.clone(), self.architecture, &self.config, self.sizes()?, self.seed)?;
        let mut done = 0;
        if let Some(checkpoint) = from
            && generator.params.restore(checkpoint.params, checkpoint.step)?
        {
            done = checkpoint.epoch;
        }
        let mut trained = Trained { task: self, generator, scale };
        let steps = trained.task.view.train_sounded.len().div_ceil(train.batch);
        let total = steps * train.epochs;
        listener.step(done * steps, total)?;
        for epoch in done + 1..=train.epochs {
            let on_train = trained.epoch(epoch, (epoch - 1) * steps, total, listener)?;
            let on_val = trained.measure()?;
            let numbers = Epoch { epoch, train: on_train, val: on_val };
            let generator = &trained.generator;
            let checkpoint =
                || Ok(Checkpoint { epoch, step: generator.params.step(), params: generator.params.save()? });
            listener.epoch(&numbers, &checkpoint)?;
        }
        Ok(trained)
    }
}

/// Sums that become [`Measures`].
#[derive(Default)]
struct Tally {
    clips: f64,
    loss_cls: f64,
    loss_rec: f64,
    squares: f64,
    seen: f64,
    right: f64,
}

impl Tally {
    fn measures(&self, config: &Config, classifier: Classifier) -> Measures {
        let n = self.clips.max(1.0);
        let (loss_cls, loss_rec) = (self.loss_cls / n, self.loss_rec / n);
        let w_cls = match classifier {
            Classifier::With => config.train.w_cls,
            Classifier::Without => 0.0,
        };
        Measures {
            loss: w_cls * loss_cls + config.train.w_rec * loss_rec,
            loss_cls,
            loss_rec,
            accuracy: 100.0 * self.right / self.seen.max(1.0),
            feature_error: self.squares / n,
        }
    }

    fn count_right(&mut self, logits: &[f32], labels: &[usize], classes: usize) {
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            let best = row.iter().enumerate().fold(0, |best, (k, v)| if *v > row[best] { k } else { best });
            self.right += f64::from(best == label);
            self.seen += 1.0;
        }
    }

    fn count_squares(&mut self, output: &[f32], target: &[f32], width: usize) {
        let sum: f64 = output.iter().zip(target).map(|(o, t)| f64::from(o - t).powi(2)).sum();
        self.squares += sum / width as f64;
    }
}

impl<D: Backend> Trained<D> {
    fn target(&self, clips: &[usize]) -> Result<Vec<f32>, Error> {
        let mut rows = audio_rows(&self.task.view, self.task.features()?, clips);
        self.scale.apply(&mut rows);
        Ok(rows)
    }

    fn one_hot(&self, labels: &[usize]) -> Result<super::Matrix<D>, Error> {
        let classes = self.task.view.dataset.classes();
        let mut values = vec![0.0; labels.len() * classes];
        for (row, &label) in values.chunks_exact_mut(classes).zip(labels) {
            row[label] = 1.0;
        }
        matrix(self.generator.params.device(), &values, labels.len(), classes)
    }

    /// One pass over the sounded train clips.
    fn epoch(
        &mut self,
        epoch: usize,
        steps_before: usize,
        steps: usize,
        listener: &mut dyn Listener,
    ) -> Result<Measures, Error> {
        let e = Error::device;
        let config = self.task.config.clone();
        let (train, device) = (&config.train, self.generator.params.device().clone());
        let adam = adam(train);
        let order = self.task.order(epoch);
        let frames = match self.task.architecture {
            Architecture::Autoencoder => self.task.random_frames(epoch),
            Architecture::Lstm => Vec::new(),
        };
        let mut tally = Tally::default();
        for (i, clips) in order.chunks(train.batch).enumerate() {
            let (x, rows) = self.task.input(clips, &|clip| frames[clip]);
            let x = matrix(&device, &x, rows, self.task.vision.width())?;
            let labels = self.task.view.labels(clips);
            let target = self.target(clips)?;
            let width = self.scale.width();
            let output = self.generator.forward(x.put_tape(OwnedTape::default()))?;
            tally.count_squares(&numbers(&output.audio), &target, width);
            tally.count_right(&numbers(&output.logits), &labels, self.task.view.dataset.classes());
            let target = matrix(&device, &target, clips.len(), width)?;
            let rec = loss::reconstruction(self.task.loss, train, output.audio, target)?;
            let rec_value = loss::value(&rec);
            let rec = rec.try_mul(train.w_rec as f32).map_err(e)?;
            let (total, cls_value) = match self.task.classifier {
                Classifier::With => {
                    let cls = loss::cross_entropy(output.logits, self.one_hot(&labels)?)?;
                    let value = loss::value(&cls);
                    (rec.try_add(cls.try_mul(train.w_cls as f32).map_err(e)?).map_err(e)?, value)
                }
                Classifier::Without => {
                    let (logits, _) = output.logits.split_tape();
                    (rec, loss::value(&loss::cross_entropy(logits, self.one_hot(&labels)?)?))
                }
            };
            let value = loss::value(&total);
            if !value.is_finite() {
                return Err(Error::Diverged { epoch, value, lr: train.lr });
            }
            tally.clips += clips.len() as f64;
            tally.loss_rec += f64::from(rec_value) * clips.len() as f64;
            tally.loss_cls += f64::from(cls_value) * clips.len() as f64;
            let mut grads = total.try_backward().map_err(e)?;
            self.generator.params.update(&adam, &mut grads)?;
            listener.step(steps_before + i + 1, steps)?;
        }
        Ok(tally.measures(&config, self.task.classifier))
    }

    /// Losses on sounded val clips, classifier accuracy on all.
    fn measure(&self) -> Result<Measures, Error> {
        let view = &self.task.view;
        let device = self.generator.params.device();
        let width = self.scale.width();
        let mut tally = Tally::default();
        for sounded in [true, false] {
            let clips: Vec<usize> = view.val.iter().copied().filter(|&c| view.sounded[c] == sounded).collect();
            for clips in clips.chunks(EVAL_BATCH) {
                let (logits, audio) = self.outputs(clips, &|_| self.centre())?;
                let labels = view.labels(clips);
                tally.count_right(&logits, &labels, view.dataset.classes());
                if sounded {
                    let target = self.target(clips)?;
                    tally.count_squares(&audio, &target, width);
                    let n = clips.len();
                    let rec = loss::reconstruction(
                        self.task.loss,
                        &self.task.config.train,
                        matrix(device, &audio, n, width)?,
                        matrix(device, &target, n, width)?,
                    )?;
                    let cls = loss::cross_entropy(
                        matrix(device, &logits, n, view.dataset.classes())?,
                        self.one_hot(&labels)?,
                    )?;
                    tally.loss_rec += f64::from(loss::value(&rec)) * n as f64;
                    tally.loss_cls += f64::from(loss::value(&cls)) * n as f64;
                    tally.clips += n as f64;
                }
            }
        }
        Ok(tally.measures(&self.task.config, self.task.classifier))
    }

    fn centre(&self) -> usize {
        self.task.vision.frames() / 2
    }

    /// Logits and generated features of clips, without a tape.
    fn outputs(&self, clips: &[usize], frame: &dyn Fn(usize) -> usize) -> Result<(Scratch, Scratch), Error> {
        let (x, rows) = self.task.input(clips, frame);
        let x = matrix(self.generator.params.device(), &x, rows, self.task.vision.width())?;
        let output = self.generator.forward(x)?;
        Ok((numbers(&output.logits), numbers(&output.audio)))
    }

    /// The generated feature of clips on the raw feature's scale, (N, D_a), row-major.
    pub fn generate(&self, clips: &[usize]) -> Result<Vec<f32>, Error> {
        let mean_of_frames = self.task.architecture == Architecture::Autoencoder
            && self.task.config.autoencoder.test_frame == TestFrame::Mean;
        let mut out = Vec::with_capacity(clips.len() * self.scale.width());
        for clips in clips.chunks(EVAL_BATCH) {
            if mean_of_frames {
                let frames = self.task.vision.frames();
                let mut sum = vec![0.0f32; clips.len() * self.scale.width()];
                for t in 0..frames {
                    let audio = self.outputs(clips, &|_| t)?.1;
                    sum.iter_mut().zip(audio.iter()).for_each(|(s, a)| *s += a / frames as f32);
                }
                out.extend(sum);
            } else {
                out.extend_from_slice(&self.outputs(clips, &|_| self.centre())?.1);
            }
        }
        self.scale.undo(&mut out);
        Ok(out)
    }

    /// Number of trained numbers.
    pub fn parameters(&self) -> usize {
        self.generator.params.count()
    }
}
