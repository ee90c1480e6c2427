//! How long a run will take: a few optimiser steps are timed here and now, at the run's own sizes, on as many threads
//! at once as will work.

use super::Planned;
use super::plan::{clip_costs, cost};
use crate::device::cpu;
use crate::experiment::Part;
use crate::experiment::config::{Architecture, Classifier, Loss};
use crate::model::network::{Sees, Sizes};
use crate::train::Error;
use crate::train::batches::{Batch, distinct_frames};
use crate::train::cell_trainer::adam;
use crate::train::objective::Objective;
use compute::matmul::{Mat, product};
use compute::nn::InputBatch;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Steps are timed for about this long for each kind of generator.
const SECONDS: f64 = 0.2;

/// Times of this machine, measured when first asked for.
pub struct Estimates {
    threads: usize,
    /// Seconds of a step by architecture, loss and audio feature.
    steps: HashMap<(Architecture, Loss, String), Option<f64>>,
    /// Seconds of one floating-point operation of a product, on one thread.
    operation: f64,
}

impl Estimates {
    /// For runs that each have a thread of their own, `threads` of them at once.
    pub fn new(threads: usize) -> Estimates {
        Estimates { threads, steps: HashMap::new(), operation: operation() }
    }

    /// Seconds that a run keeps one thread busy.
    pub fn seconds(&mut self, planned: &Planned) -> f64 {
        let operation = self.operation;
        let Part::Generator { audio, generator, loss, .. } = &planned.cell.part else {
            return 0.05 + cost(planned) * 1.5 * operation;
        };
        let threads = self.threads;
        let timed = self.steps.entry((*generator, *loss, audio.clone()));
        let of_step = *timed.or_insert_with(|| step_seconds(planned, *generator, *loss, audio, threads));
        let Some((of_step, costs)) = of_step.zip(clip_costs(planned)) else {
            return 0.05 + cost(planned) * 1.5 * operation;
        };
        let config = &planned.cell.config;
        let (mut all, trained) = (cost(planned), config.train.epochs as f64 * planned.trained_clips() * costs.trained);
        if planned.is_rounded() && compute::matmul::bf16::in_hardware() {
            // What goes forward alone goes in f32, at half the rate.
            all += all - trained;
        }
        // A step's time, shared out among the clips that are trained on and those that only go forward.
        0.05 + of_step / config.train.batch as f64 * all / costs.trained
    }
}

/// Seconds of a step while every thread does the same; `None` where it cannot be taken.
fn step_seconds(planned: &Planned, architecture: Architecture, loss: Loss, audio: &str, threads: usize) -> Option<f64> {
    let view = planned.view.as_ref()?;
    let m = &view.dataset.manifest;
    let sizes =
        Sizes { frames: m.frames, visual: m.visual_width(), audio: m.audio(audio)?.width, classes: m.classes.len() };
    let config = &planned.cell.config;
    let clips = config.train.batch.min(view.train_sounded.len());
    // Repeated frames cost less: as many of them as in a real batch, here the first.
    let generator = config.generator(architecture);
    let network = generator.describe().network(sizes);
    let (rows, (index, distinct)) = match network.sees {
        Sees::Frames => (clips * sizes.frames, distinct_frames(view, &view.train_sounded[..clips])),
        Sees::OneFrame => (clips, (None, clips)),
    };
    // Numbers of the usual size; which ones does not matter.
    let made_up = |n: usize| -> Vec<f32> { (0..n).map(|i| (i % 127) as f32 / 64.0 - 1.0).collect() };
    let numbers = Arc::new(made_up(distinct * sizes.visual));
    let x = InputBatch { numbers, rows, cols: sizes.visual, index: index.map(Arc::new) };
    let target = made_up(clips * sizes.audio);
    let timed = || -> Result<f64, Error> {
        let mut trained = cpu::engine(config.train.engine, &generator, &network, sizes.frames, 0)?;
        let labels = (0..clips).map(|i| i % sizes.classes).collect();
        let batch = Batch { x: x.clone(), labels, target: target.clone() };
        let objective = Objective { loss, classifier: Classifier::With, train: &config.train };
        let adam = adam(&config.train);
        let mut once = || trained.step(&adam, &objective, &batch);
        once()?;
        let (start, mut steps) = (Instant::now(), 0.0);
        while steps == 0.0 || start.elapsed().as_secs_f64() < SECONDS {
            once()?;
            steps += 1.0;
        }
        let seconds = start.elapsed().as_secs_f64() / steps;
        drop(trained);
        compute::buffer_pool::clear();
        Ok(seconds)
    };
    let alone = || rayon::ThreadPoolBuilder::new().num_threads(1).build().ok()?.install(|| timed().ok());
    let all: Vec<Option<f64>> = std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, alone).ok();
        let workers: Vec<_> = (0..threads).map(start).collect();
        workers.into_iter().map(|w| w.and_then(|w| w.join().ok().flatten())).collect()
    });
    let all: Option<Vec<f64>> = all.into_iter().collect();
    all.map(|all| all.iter().sum::<f64>() / all.len().max(1) as f64)
}

/// Seconds of one operation of a product of moderate size on one thread.
fn operation() -> f64 {
    let (m, k, n) = (128, 256, 1024);
    let (a, b, mut out) = (vec![0.5f32; m * k], vec![0.5f32; k * n], vec![0.0f32; m * n]);
    let mut timed = || {
        let start = Instant::now();
        product(&mut out, Mat::new(&a, m, k), Mat::new(&b, k, n), 1.0, false);
        start.elapsed().as_secs_f64()
    };
    timed();
    let best = (0..5).map(|_| timed()).fold(f64::INFINITY, f64::min);
    best * rayon::current_num_threads() as f64 / (2 * m * k * n) as f64
}
