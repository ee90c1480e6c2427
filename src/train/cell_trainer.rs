//! One generator in training, whatever computes its network.

use super::batches::Batch;
use super::error::Error;
use super::objective::Objective;
use super::prefetch::prefetch;
use super::tally::Tally;
use super::task::Task;
use super::trainer::{Checkpoint, Measures, SavedParam, Trainer};
use crate::dataset::Standardiser;
use crate::experiment::config::Train;
use crate::model::loss::cross_entropy;
use crate::model::tensor::{matrix, one_hot, value};
use compute::buffer_pool::Scratch;
use compute::nn::{AdamConfig, InputBatch};
use dfdx::tensor::Cpu;

/// A network with its parameters, on one engine or the other.
pub trait TrainedNetwork {
    /// One step of the optimiser: forward, losses, backward, update.
    fn step(&mut self, adam: &AdamConfig, objective: &Objective, batch: &Batch) -> Result<StepOutcome, Error>;

    /// Logits (B, K) and generated features (B, D_a) of an input.
    fn outputs(&self, x: &InputBatch) -> Result<(Scratch, Scratch), Error>;

    /// Steps taken.
    fn steps(&self) -> i32;

    /// All parameters as plain numbers.
    fn save(&self) -> Result<Vec<SavedParam>, Error>;

    /// Takes parameters of the same names and shapes, and the number of steps behind them.
    fn restore(&mut self, saved: Vec<SavedParam>, steps: i32) -> Result<(), Error>;

    /// Number of trained numbers.
    fn count(&self) -> usize;
}

/// Losses and outputs of a step, from before its update.
#[derive(Debug)]
pub struct StepOutcome {
    /// L.
    pub loss: f32,
    /// L_cls, measured also where it has no weight.
    pub loss_cls: f32,
    /// L_rec.
    pub loss_rec: f32,
    /// (B, K).
    pub logits: Scratch,
    /// (B, D_a).
    pub audio: Scratch,
}

/// Adam as the experiment declares it.
pub fn adam(train: &Train) -> AdamConfig {
    AdamConfig { lr: train.lr, betas: [train.beta1, train.beta2], eps: train.eps, decay: None }
}

/// A [`Trainer`] of one cell.
pub struct CellTrainer {
    task: Task,
    network: Box<dyn TrainedNetwork>,
    scale: Standardiser,
    /// What the network as it is now generates for the val clips, on the scale of its output, (M, D_a); measuring leaves it.
    on_val: Option<Vec<f32>>,
    /// Whether the network sees a single frame of a clip.
    one_frame: bool,
}

/// Clips that one forward pass without gradient handles: so few that what it keeps of them stays in the cache.
const EVAL_BATCH: usize = 64;

impl CellTrainer {
    /// Before the first step, or after those of a checkpoint of its own network ([`Task::takes`]).
    pub fn new(task: Task, mut network: Box<dyn TrainedNetwork>, from: Option<Checkpoint>) -> Result<Self, Error> {
        let scale = task.scale()?;
        if let Some(checkpoint) = from {
            if !task.takes(&checkpoint)? {
                return Err(Error::OtherNetwork);
            }
            network.restore(checkpoint.params, checkpoint.step)?;
        }
        Ok(CellTrainer { one_frame: task.sees_one_frame()?, task, network, scale, on_val: None })
    }

    /// One pass over the sounded train clips, which ends at the first loss that is not finite.
    fn pass(&mut self, epoch: usize, step_done: &mut dyn FnMut(usize) -> Result<(), Error>) -> Result<Measures, Error> {
        let CellTrainer { task, network, scale, on_val, one_frame } = self;
        *on_val = None;
        let (train, features) = (&task.config.train, task.features()?);
        let (adam, width, classes) = (adam(train), scale.width(), task.view.dataset.classes());
        let objective = Objective { loss: task.loss, classifier: task.classifier, train };
        let order = task.order(epoch);
        let frames = if *one_frame { task.random_frames(epoch) } else { Vec::new() };
        let gather = |clips: &&[usize], batch: &mut Batch| {
            task.gather_input(clips, *one_frame, |clip| frames[clip], batch);
            task.gather_truth(features, scale, clips, batch);
        };
        let mut tally = Tally::default();
        prefetch(&order.chunks(train.batch).collect::<Vec<_>>(), gather, |i, batch| {
            let outcome = network.step(&adam, &objective, batch)?;
            if !outcome.loss.is_finite() {
                let (quantity, key) = ("the loss", "train.lr");
                return Err(Error::Diverged { quantity, epoch, value: outcome.loss, key, lr: train.lr });
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
        let CellTrainer { task, scale, one_frame, .. } = &*self;
        let (view, device) = (&task.view, Cpu::default());
        let (features, width, classes) = (task.features()?, scale.width(), view.dataset.classes());
        let (sounded, silent): (Vec<usize>, Vec<usize>) =
            (0..view.val.len()).partition(|&place| view.sounded[view.val[place]]);
        let batches = sounded.chunks(EVAL_BATCH).map(|places| (places, true));
        let batches: Vec<(&[usize], bool)> =
            batches.chain(silent.chunks(EVAL_BATCH).map(|places| (places, false))).collect();
        let gather = |(places, _): &(&[usize], bool), batch: &mut Batch| {
            let clips: Vec<usize> = places.iter().map(|&place| view.val[place]).collect();
            task.gather_input(&clips, *one_frame, |_| task.centre(), batch);
            task.gather_truth(features, scale, &clips, batch);
        };
        let mut all = vec![0.0; view.val.len() * width];
        let mut tally = Tally::default();
        prefetch(&batches, gather, |i, batch| {
            let (logits, audio) = self.network.outputs(&batch.x)?;
            let (labels, target) = (&batch.labels, &batch.target);
            tally.count_right(&logits, labels, classes);
            for (place, row) in batches[i].0.iter().zip(audio.chunks_exact(width)) {
                all[place * width..][..width].copy_from_slice(row);
            }
            if batches[i].1 {
                tally.count_squares(&audio, target, width);
                let n = labels.len();
                let (audio, target) = (matrix(&device, &audio, n, width)?, matrix(&device, target, n, width)?);
                let rec = task.loss.of(&task.config.train.loss_settings(), audio, target)?;
                let logits = matrix(&device, &logits, n, classes)?;
                let cls = cross_entropy(logits, one_hot(&device, labels, classes)?)?;
                tally.loss_rec += f64::from(value(&rec)) * n as f64;
                tally.loss_cls += f64::from(value(&cls)) * n as f64;
                tally.clips += n as f64;
            }
            Ok(())
        })?;
        let measures = tally.measures(&task.config, task.classifier);
        self.on_val = Some(all);
        Ok(measures)
    }

    /// The generated feature of clips on the raw feature's scale, (N, D_a), row-major.
    pub fn generate(&self, clips: &[usize]) -> Result<Vec<f32>, Error> {
        let task = &self.task;
        let (one_frame, mean_of_frames) = (self.one_frame, task.averages_frames()?);
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
        let gather =
            |(clips, t): &(&[usize], usize), batch: &mut Batch| task.gather_input(clips, one_frame, |_| *t, batch);
        let mut out: Vec<f32> = Vec::with_capacity(clips.len() * self.scale.width());
        prefetch(&batches, gather, |i, batch| {
            let audio = self.network.outputs(&batch.x)?.1;
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
}

impl Trainer for CellTrainer {
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
        Ok(vec![CellTrainer::measure(self)?])
    }

    fn save(&self, _: usize, epoch: usize) -> Result<Checkpoint, Error> {
        Ok(Checkpoint { epoch, step: self.network.steps(), params: self.network.save()?, best: None })
    }

    fn restore(&mut self, _: usize, state: Checkpoint) -> Result<(), Error> {
        self.on_val = None;
        self.network.restore(state.params, state.step)
    }

    fn generate(&self, _: usize, clips: &[usize]) -> Result<Vec<f32>, Error> {
        CellTrainer::generate(self, clips)
    }

    fn parameters(&self, _: usize) -> usize {
        self.network.count()
    }
}
