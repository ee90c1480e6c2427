//! What one generator run trains on, and the training of one on any device of dfdx: a [`Program`] of one cell. The loop
//! over the epochs is [`super::course`]'s.

use super::batches::{Vision, audio_rows_into};
use super::course::{Course, train};
use super::device::{Backend, matrix, numbers};
use super::error::Error;
use super::feed::feed;
use super::generator::{Generator, Sizes, shapes};
use super::loss;
use super::params::{Saved, adam};
use super::program::Program;
use super::step::{Batch, Objective, one_hot, step};
use crate::dataset::{Features, Standardiser, View};
use crate::experiment::config::{Architecture, Classifier, Config, Loss, Target, TestFrame};
use compute::buffer_pool::Scratch;
use compute::rng::Rng;
use dfdx::tensor::NoneTape;
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
    /// What the network as it is now generates for the val clips, on the scale of its output, (M, D_a); measuring leaves it.
    on_val: Option<Vec<f32>>,
}

/// Clips that one forward pass without gradient handles: so few that what it keeps of them stays in the cache.
const EVAL_BATCH: usize = 64;

impl Task {
    pub(crate) fn features(&self) -> Result<&Features, Error> {
        let missing = || Error::Listener(format!("the data set has no audio feature {:?}", self.audio));
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

    /// The frame that the autoencoder sees of a val clip.
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

    /// The network's input for clips, into `batch`; `frame` says which one the autoencoder sees.
    fn gather_input(&self, clips: &[usize], frame: impl Fn(usize) -> usize, batch: &mut Batch) {
        match self.architecture {
            Architecture::Lstm => self.vision.sequences(clips, &mut batch.x),
            Architecture::Autoencoder => self.vision.single_frames(clips, frame, &mut batch.x),
        }
    }

    /// Labels and targets of clips, into `batch`.
    fn gather_truth(&self, features: &Features, scale: &Standardiser, clips: &[usize], batch: &mut Batch) {
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

    /// Whether a checkpoint is one of this task's network; another's is not gone on from.
    pub fn takes(&self, checkpoint: &Checkpoint) -> Result<bool, Error> {
        let shapes = shapes(self.architecture, &self.config, self.sizes()?);
        let same = |(saved, (name, shape)): (&Saved, &(String, _))| saved.name == *name && saved.shape == *shape;
        Ok(checkpoint.params.len() == shapes.len() && checkpoint.params.iter().zip(&shapes).all(same))
    }

    /// The epochs and steps to take after `done` epochs.
    pub fn course(&self, done: usize) -> Course {
        let t = &self.config.train;
        let steps = self.view.train_sounded.len().div_ceil(t.batch);
        Course { epochs: t.epochs, done, steps, lr: t.lr }
    }

    /// Trains alone, from the beginning or from a checkpoint.
    pub fn train<D: Backend>(
        self,
        device: &D,
        from: Option<Checkpoint>,
        listener: &mut dyn Listener,
    ) -> Result<Trained<D>, Error> {
        let from = match from {
            Some(checkpoint) if self.takes(&checkpoint)? => Some(checkpoint),
            _ => None,
        };
        let course = self.course(from.as_ref().map_or(0, |checkpoint| checkpoint.epoch));
        let mut trained = Trained::new(device, self, from)?;
        train(&mut trained, &course, &mut [listener])?.into_iter().collect::<Result<(), Error>>()?;
        Ok(trained)
    }
}

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
    /// Before the first step, or after those of a checkpoint of its own network ([`Task::takes`]).
    pub fn new(device: &D, task: Task, from: Option<Checkpoint>) -> Result<Self, Error> {
        let scale = task.scale()?;
        let mut generator = Generator::new(device.clone(), task.architecture, &task.config, task.sizes()?, task.seed)?;
        if let Some(checkpoint) = from
            && !generator.params.restore(checkpoint.params, checkpoint.step)?
        {
            return Err(Error::Listener("a checkpoint of another network".into()));
        }
        Ok(Trained { task, generator, scale, on_val: None })
    }

    /// One pass over the sounded train clips, which ends at the first loss that is not finite.
    fn pass(&mut self, epoch: usize, step_done: &mut dyn FnMut(usize) -> Result<(), Error>) -> Result<Measures, Error> {
        let Trained { task, generator, scale, on_val } = self;
        *on_val = None;
        let (train, features) = (&task.config.train, task.features()?);
        let (adam, width, classes) = (adam(train), scale.width(), task.view.dataset.classes());
        let objective = Objective { loss: task.loss, classifier: task.classifier, train };
        let order = task.order(epoch);
        let frames = match task.architecture {
            Architecture::Autoencoder => task.random_frames(epoch),
            Architecture::Lstm => Vec::new(),
        };
        let gather = |clips: &&[usize], batch: &mut Batch| {
            task.gather_input(clips, |clip| frames[clip], batch);
            task.gather_truth(features, scale, clips, batch);
        };
        let mut tally = Tally::default();
        feed(&order.chunks(train.batch).collect::<Vec<_>>(), gather, |i, batch| {
            let outcome = step(generator, &adam, &objective, batch)?;
            if !outcome.loss.is_finite() {
                return Err(Error::Diverged { epoch, value: outcome.loss, lr: train.lr });
            }
            let clips = batch.labels.len() as f64;
            tally.clips += clips;
            tally.loss_rec += f64::from(outcome.loss_rec) * clips;
            tally.loss_cls += f64::from(outcome.loss_cls) * clips;
            tally.count_squares(&outcome.audio, &batch.target, width);
            tally.count_right(&outcome.logits, &batch.labels, classes);
            step_done(i + 1)
        })?;
        Ok(tally.measures(&task.config, task.classifier))
    }

    /// Losses on sounded val clips, classifier accuracy on all.
    fn measure(&mut self) -> Result<Measures, Error> {
        let Trained { task, generator, scale, .. } = &*self;
        let (view, device) = (&task.view, generator.params.device());
        let (features, width, classes) = (task.features()?, scale.width(), view.dataset.classes());
        let (sounded, silent): (Vec<usize>, Vec<usize>) =
            (0..view.val.len()).partition(|&place| view.sounded[view.val[place]]);
        let batches = sounded.chunks(EVAL_BATCH).map(|places| (places, true));
        let batches: Vec<(&[usize], bool)> =
            batches.chain(silent.chunks(EVAL_BATCH).map(|places| (places, false))).collect();
        let gather = |(places, _): &(&[usize], bool), batch: &mut Batch| {
            let clips: Vec<usize> = places.iter().map(|&place| view.val[place]).collect();
            task.gather_input(&clips, |_| task.centre(), batch);
            task.gather_truth(features, scale, &clips, batch);
        };
        let mut all = vec![0.0; view.val.len() * width];
        let mut tally = Tally::default();
        feed(&batches, gather, |i, batch| {
            let (logits, audio) = self.outputs(batch)?;
            let (labels, target) = (&batch.labels, &batch.target);
            tally.count_right(&logits, labels, classes);
            for (place, row) in batches[i].0.iter().zip(audio.chunks_exact(width)) {
                all[place * width..][..width].copy_from_slice(row);
            }
            if batches[i].1 {
                tally.count_squares(&audio, target, width);
                let n = labels.len();
                let (audio, target) = (matrix(device, &audio, n, width)?, matrix(device, target, n, width)?);
                let rec = loss::reconstruction(task.loss, &task.config.train, audio, target)?;
                let logits = matrix(device, &logits, n, classes)?;
                let cls = loss::cross_entropy(logits, one_hot(device, labels, classes)?)?;
                tally.loss_rec += f64::from(loss::value(&rec)) * n as f64;
                tally.loss_cls += f64::from(loss::value(&cls)) * n as f64;
                tally.clips += n as f64;
            }
            Ok(())
        })?;
        let measures = tally.measures(&task.config, task.classifier);
        self.on_val = Some(all);
        Ok(measures)
    }

    /// Logits and generated features of a batch, without a tape.
    fn outputs(&self, batch: &Batch) -> Result<(Scratch, Scratch), Error> {
        let output = self.generator.forward(&batch.x, NoneTape)?;
        Ok((numbers(&output.logits), numbers(&output.audio)))
    }

    /// The generated feature of clips on the raw feature's scale, (N, D_a), row-major.
    pub fn generate(&self, clips: &[usize]) -> Result<Vec<f32>, Error> {
        let task = &self.task;
        let mean_of_frames =
            task.architecture == Architecture::Autoencoder && task.config.autoencoder.test_frame == TestFrame::Mean;
        // Their last measures were taken of the same numbers.
        if let (Some(on_val), false) = (&self.on_val, mean_of_frames)
            && clips == task.view.val
        {
            let mut out = on_val.clone();
            self.scale.undo(&mut out);
            return Ok(out);
        }
        let frames: Vec<usize> = if mean_of_frames { (0..task.vision.frames()).collect() } else { vec![task.centre()] };
        let batches: Vec<(&[usize], usize)> =
            clips.chunks(EVAL_BATCH).flat_map(|clips| frames.iter().map(move |&t| (clips, t))).collect();
        let gather = |(clips, t): &(&[usize], usize), batch: &mut Batch| task.gather_input(clips, |_| *t, batch);
        let mut out: Vec<f32> = Vec::with_capacity(clips.len() * self.scale.width());
        feed(&batches, gather, |i, batch| {
            let audio = self.outputs(batch)?.1;
            if frames.len() == 1 {
                out.extend_from_slice(&audio);
                return Ok(());
            }
            if i % frames.len() == 0 {
                out.resize(out.len() + audio.len(), 0.0);
            }
            let from = out.len() - audio.len();
            out[from..].iter_mut().zip(audio.iter()).for_each(|(s, a)| *s += a / frames.len() as f32);
            Ok(())
        })?;
        self.scale.undo(&mut out);
        Ok(out)
    }

    /// Number of trained numbers.
    pub fn parameters(&self) -> usize {
        self.generator.params.count()
    }
}

impl<D: Backend> Program for Trained<D> {
    fn cells(&self) -> usize {
        1
    }

    fn epoch(
        &mut self,
        epoch: usize,
        step: &mut dyn FnMut(usize) -> Result<(), Error>,
    ) -> Result<Vec<Measures>, Error> {
        match self.pass(epoch, step) {
            Err(Error::Diverged { value, .. }) => Ok(vec![Measures { loss: f64::from(value), ..Measures::default() }]),
            measures => Ok(vec![measures?]),
        }
    }

    fn measure(&mut self) -> Result<Vec<Measures>, Error> {
        Ok(vec![Trained::measure(self)?])
    }

    fn save(&self, _: usize, epoch: usize) -> Result<Checkpoint, Error> {
        Ok(Checkpoint { epoch, step: self.generator.params.step(), params: self.generator.params.save()? })
    }

    fn generate(&self, _: usize, clips: &[usize]) -> Result<Vec<f32>, Error> {
        Trained::generate(self, clips)
    }

    fn parameters(&self, _: usize) -> usize {
        Trained::parameters(self)
    }
}
