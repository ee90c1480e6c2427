//! Generators on each engine, with gradients to look at, and trainings of one cell.

use super::numbers::{matrix, one_hot};
use compute::nn::{AdamConfig, InputBatch};
use dfdx::prelude::*;
use unmute::device::Which;
use unmute::experiment::config::{Classifier, Engine};
use unmute::model::Sizes;
use unmute::model::generator::Generator;
use unmute::model::loss::cross_entropy;
use unmute::model::network::Sees;
use unmute::train::cell_trainer::{StepOutcome, TrainedNetwork};
use unmute::train::fused::FusedNetwork;
use unmute::train::objective::Objective;
use unmute::train::reference::ReferenceNetwork;
use unmute::train::trainer::SavedParam;
use unmute::train::{Batch, Checkpoint, Error, Listener, Task, Trainer, train};

/// A generator on an engine of the CPU.
pub enum OnEngine {
    Fused(FusedNetwork),
    Reference(Box<ReferenceNetwork<Cpu>>),
}

impl OnEngine {
    /// On both engines, where there is a fused form, with the same fresh parameters.
    pub fn all(generator: &Generator, sizes: Sizes, seed: u64) -> Vec<(Engine, OnEngine)> {
        let network = generator.describe().network(sizes);
        let reference = ReferenceNetwork::new(Cpu::default(), generator.clone(), &network, sizes.frames, seed).unwrap();
        let fused = generator
            .describe()
            .fused()
            .map(|trunk| (Engine::Fused, OnEngine::Fused(FusedNetwork::new(trunk, &network, sizes.frames, seed))));
        fused.into_iter().chain([(Engine::Dfdx, OnEngine::Reference(Box::new(reference)))]).collect()
    }

    fn inner(&self) -> &dyn TrainedNetwork {
        match self {
            OnEngine::Fused(network) => network,
            OnEngine::Reference(network) => &**network,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn TrainedNetwork {
        match self {
            OnEngine::Fused(network) => network,
            OnEngine::Reference(network) => &mut **network,
        }
    }

    /// The parameters.
    pub fn save(&self) -> Vec<SavedParam> {
        self.inner().save().unwrap()
    }

    /// Takes parameters.
    pub fn restore(&mut self, saved: &[SavedParam]) {
        self.inner_mut().restore(saved.to_vec(), 0).unwrap();
    }

    /// One step of the optimiser.
    pub fn step(&mut self, adam: &AdamConfig, objective: &Objective, batch: &Batch) -> StepOutcome {
        self.inner_mut().step(adam, objective, batch).unwrap()
    }

    /// Steps taken.
    pub fn steps(&self) -> i32 {
        self.inner().steps()
    }

    /// Logits and generated features, without a tape.
    pub fn outputs(&self, x: &InputBatch) -> [Vec<f32>; 2] {
        let (logits, audio) = self.inner().outputs(x).unwrap();
        [logits.to_vec(), audio.to_vec()]
    }

    /// [L, L_cls, L_rec] of a batch, and dL/dW of every parameter by name. Nothing is updated.
    pub fn gradients(&self, objective: &Objective, batch: &Batch) -> ([f32; 3], Vec<(String, Vec<f32>)>) {
        match self {
            OnEngine::Reference(network) => network.gradients(objective, batch).unwrap(),
            OnEngine::Fused(network) => {
                // The same in dfdx's plain operations: a step's own losses are compared with these elsewhere.
                let output = network.forward(&batch.x, OwnedTape::default()).unwrap();
                let ((clips, width), classes) = (*output.audio.shape(), output.logits.shape().1);
                let (target, truth) = (matrix(batch.target.clone(), clips, width), one_hot(&batch.labels, classes));
                let settings = objective.train.loss_settings();
                let rec = objective.loss.of(&settings, output.audio, target).unwrap();
                let (loss_rec, w_rec) = (rec.array(), objective.train.w_rec as f32);
                let cls = cross_entropy(output.logits, truth).unwrap();
                let (loss_cls, w_cls) = (cls.array(), objective.train.w_cls as f32);
                let total = match objective.classifier {
                    Classifier::With => rec * w_rec + cls * w_cls,
                    Classifier::Without => rec * w_rec,
                };
                let loss = total.array();
                total.backward();
                ([loss, loss_cls, loss_rec], network.take_gradients())
            }
        }
    }
}

/// Rows that a generator takes for so many clips.
pub fn rows_of(generator: &Generator, sizes: Sizes, clips: usize) -> usize {
    match generator.describe().network(sizes).sees {
        Sees::Frames => sizes.frames * clips,
        Sees::OneFrame => clips,
    }
}

/// Trains a cell on a device: from the beginning, or from a checkpoint of its network.
pub fn train_on(
    which: Which,
    task: Task,
    from: Option<Checkpoint>,
    listener: &mut dyn Listener,
) -> Result<Box<dyn Trainer>, Error> {
    let from = from.filter(|checkpoint| task.takes(checkpoint).unwrap());
    let schedule = task.schedule(from.as_ref().map_or(0, |checkpoint| checkpoint.epoch));
    let device = which.open()?;
    let plan = device.room(std::slice::from_ref(&task))?;
    let mut trainer = device.trainer(vec![task], vec![from], plan)?;
    train(&mut *trainer, &schedule, &mut [listener])?.into_iter().collect::<Result<(), Error>>()?;
    Ok(trainer)
}
