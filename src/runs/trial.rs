//! A small training on a device and on the CPU: whether a GPU computes what it should.

use super::Error;
use crate::dataset::synth::{self, Preset};
use crate::dataset::{Dataset, Missing, MissingBy, View};
use crate::device::{Device, Which};
use crate::experiment::Config;
use crate::experiment::config::{Architecture, Classifier, Loss, Svm};
use crate::score::bank::Bank;
use crate::train::batches::audio_rows;
use crate::train::{self, Checkpoint, Epoch, Listener, Task, Vision, train};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// How far a device may be from the CPU: losses and generated features relative to the largest, probabilities as they are.
const LOSSES: f64 = 1e-4;
const FEATURES: f64 = 1e-3;
const PROBABILITIES: f64 = 1e-3;

/// How far a device is from the CPU.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Trial {
    /// Generators that were trained.
    pub cells: usize,
    /// Losses of every epoch, of train and val clips: the largest difference, relative to the CPU's.
    pub losses: f64,
    /// Generated features: the largest difference, relative to the largest number.
    pub features: f64,
    /// Probabilities of an SVM bank: the largest difference.
    pub probabilities: f64,
    /// Seconds on the device.
    pub seconds: f64,
    /// Seconds on the CPU.
    pub cpu_seconds: f64,
}

impl Trial {
    /// Whether the device computes what the CPU does.
    pub fn holds(&self) -> bool {
        // Not a number is no agreement.
        self.losses <= LOSSES && self.features <= FEATURES && self.probabilities <= PROBABILITIES
    }
}

/// Trains generators that have kernels, side by side, and an SVM bank on a small synthetic data set, which is made in `folder`.
pub fn trial(which: Which, folder: &Path) -> Result<Trial, Error> {
    let size =
        synth::Options { preset: Preset::Mini, seed: 0, train_clips: Some(200), val_clips: Some(60), sounded: true };
    synth::synth(folder, &size, &|_, _| ())?;
    let missing = Missing { rate: 0.4, by: MissingBy::Random, seed: 0 };
    let view = Arc::new(View::new(Arc::new(Dataset::open(folder)?), Some(&missing))?);
    let mut trial = Trial::default();
    for architecture in [Architecture::Lstm, Architecture::Autoencoder] {
        let (ours, seconds) = timed(|| generators(&*which.open()?, tasks(&view, architecture)?))?;
        let (cpus, cpu_seconds) = timed(|| generators(&*Which::Cpu.open()?, tasks(&view, architecture)?))?;
        trial.cells += ours.len();
        trial.seconds += seconds;
        trial.cpu_seconds += cpu_seconds;
        for (ours, cpus) in ours.iter().zip(&cpus) {
            let losses = |cell: &Cell| cell.epochs.iter().flat_map(|e| [e.train.loss, e.val.loss]).collect::<Vec<_>>();
            for (ours, cpu) in losses(ours).iter().zip(losses(cpus)) {
                trial.losses = worse(trial.losses, (ours - cpu).abs() / cpu.abs());
            }
            let largest = cpus.generated.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (ours, cpu) in ours.generated.iter().zip(&cpus.generated) {
                trial.features = worse(trial.features, f64::from((ours - cpu).abs() / largest));
            }
        }
    }
    let (ours, seconds) = timed(|| bank(&*which.open()?, &view))?;
    let (cpus, cpu_seconds) = timed(|| bank(&*Which::Cpu.open()?, &view))?;
    trial.seconds += seconds;
    trial.cpu_seconds += cpu_seconds;
    for (ours, cpu) in ours.iter().zip(&cpus) {
        trial.probabilities = worse(trial.probabilities, f64::from((ours - cpu).abs()));
    }
    Ok(trial)
}

/// The larger of both; not a number where one is none.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn timed<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<(T, f64), Error> {
    let began = Instant::now();
    Ok((work()?, began.elapsed().as_secs_f64()))
}

/// Cells of one group, with narrow networks.
fn tasks(view: &Arc<View>, architecture: Architecture) -> Result<Vec<Task>, Error> {
    let config = serde_json::from_value(serde_json::json!({ "name": "trial", "grid": {} }));
    let mut config: Config = config.map_err(|e| Error::Bug(e.to_string()))?;
    config.train.batch = 32;
    config.train.epochs = 2;
    config.lstm.hidden = 32;
    config.autoencoder.encoder = vec![48, 24];
    config.autoencoder.decoder = vec![48];
    let (config, vision) = (Arc::new(config), Vision::new(view));
    let cells =
        view.dataset.audio.iter().flat_map(|file| [Loss::L2, Loss::Kl].map(|loss| (file.name().to_string(), loss)));
    let task = |(audio, loss)| Task {
        view: view.clone(),
        vision: vision.clone(),
        audio,
        generator: config.generator(architecture),
        loss,
        classifier: Classifier::With,
        config: config.clone(),
        seed: 0,
    };
    Ok(cells.map(task).collect())
}

/// What came of a cell.
struct Cell {
    epochs: Vec<Epoch>,
    generated: Vec<f32>,
}

/// Keeps every epoch.
#[derive(Default)]
struct Recorder(Vec<Epoch>);

impl Listener for Recorder {
    fn step(&mut self, _: usize, _: usize) -> Result<(), train::Error> {
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch, _: &dyn Fn() -> Result<Checkpoint, train::Error>) -> Result<(), train::Error> {
        self.0.push(*epoch);
        Ok(())
    }
}

fn generators(device: &dyn Device, tasks: Vec<Task>) -> Result<Vec<Cell>, Error> {
    let plan = device.room(&tasks)?;
    let Some(first) = tasks.first() else { return Ok(Vec::new()) };
    let (schedule, clips) = (first.schedule(0), first.view.val.clone());
    let mut recorders: Vec<Recorder> = tasks.iter().map(|_| Recorder::default()).collect();
    let from = tasks.iter().map(|_| None).collect();
    let mut trainer = device.trainer(tasks, from, plan)?;
    let mut listeners: Vec<&mut dyn Listener> = recorders.iter_mut().map(|r| r as &mut dyn Listener).collect();
    train(&mut *trainer, &schedule, &mut listeners)?.into_iter().collect::<Result<(), train::Error>>()?;
    let cell = |(cell, recorder): (usize, Recorder)| {
        Ok(Cell { epochs: recorder.0, generated: trainer.generate(cell, &clips)? })
    };
    recorders.into_iter().enumerate().map(cell).collect()
}

fn bank(device: &dyn Device, view: &View) -> Result<Vec<f32>, Error> {
    let (solver, classes) = (device.solver()?, view.dataset.classes());
    let Some(features) = view.dataset.audio.first() else { return Ok(Vec::new()) };
    let rows = |clips: &[usize]| audio_rows(view, features, clips);
    let svm = Svm { c: 0.01, tolerance: 1e-8, ..Svm::default() };
    let labels = view.labels(&view.train_sounded);
    let bank = Bank::train(&rows(&view.train_sounded), &labels, classes, &svm, &*solver)?;
    Ok(bank.probabilities(&rows(&view.val), classes, &*solver)?)
}
