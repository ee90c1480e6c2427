//! Heads on visual streams, on an engine: mean frames stay on the device, batches are gathered there, and an epoch's losses
//! are read when it ends. The host waits for nothing in between.
//!
//! The model and its numbers are those of [`crate::train::heads`].

use super::api::{Buffer, GpuApi, View};
use super::kernels::adam::{Adam, Learned, adam as update};
use super::kernels::gather::{Source, gather};
use super::linear::{self, Shape};
use super::losses::Labels;
use super::memory::budget;
use crate::train::Error;
use crate::train::heads::{Head, TrainedHead};
use rayon::prelude::*;

/// Whether mean frames, parameters and a batch fit into so many bytes.
pub fn fits(head: &Head, free: u64) -> bool {
    let (rows, batch) = (head.labels.len() + head.val.len() / head.width().max(1), head.tsn.batch);
    let (width, classes) = (head.width(), head.classes);
    // Places and labels of an epoch; logits, and those of all val clips at the end.
    let numbers = rows * width + 4 * (width + 1) * classes + batch * width + 3 * (batch + rows) * classes;
    (numbers * size_of::<f32>() + 2 * rows * size_of::<i64>()) as u64 <= budget(free)
}

/// Trains. `step` is told the steps done and all that there are.
pub fn train<E: GpuApi>(
    engine: &E,
    head: &Head,
    step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
) -> Result<TrainedHead, Error> {
    let Head { labels, classes, tsn, .. } = *head;
    let (width, steps, n) = (head.width(), head.steps(), labels.len());
    let x = Buffer::of(engine, head.train)?;
    // Weights and biases one behind the other, so that a step of Adam is one kernel.
    let value = Buffer::of(engine, &head.initial().concat())?;
    let [moment1, moment2, gradient] = [(); 3].map(|()| Buffer::zeros(engine, value.all().len()));
    let (moment1, moment2, gradient) = (moment1?, moment2?, gradient?);
    let learned =
        Learned { value: value.all(), moment1: moment1.all(), moment2: moment2.all(), gradient: gradient.all() };
    let ([w, b], gradients) = (parts(value.all(), width * classes)?, parts(gradient.all(), width * classes)?);
    let (zeros, ones) = (Buffer::zeros(engine, width)?, Buffer::of(engine, &vec![1.0f32; width.max(1)])?);
    let source = Source { features: x.all(), frames: 1, width, mean: zeros.all(), inverse_sd: ones.all() };
    let adam = Adam { lr: tsn.lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: tsn.weight_decay };
    let most = tsn.batch.min(n);
    let batch = Buffer::zeros(engine, most * width)?;
    let [logits, back] = [(); 2].map(|()| Buffer::zeros(engine, most * classes));
    let (logits, back, losses) = (logits?, back?, Buffer::zeros(engine, steps)?);
    let mut mean_loss = 0.0;
    for epoch in 1..=tsn.epochs {
        let order = head.order(epoch);
        let places: Vec<i64> = order.iter().map(|&row| row as i64).collect();
        let places = Buffer::of(engine, &places)?;
        let labels = Labels::new(engine, &order.iter().map(|&row| labels[row]).collect::<Vec<_>>(), classes)?;
        for i in 0..steps {
            let clips = i * tsn.batch..n.min((i + 1) * tsn.batch);
            let rows = clips.len();
            // SAFETY: an order of the rows that there are.
            unsafe {
                gather(engine, &source, 1, places.all().part(clips.start, rows)?, None, batch.all(), [width, 0])
            }?;
            let shape = Shape { cells: 1, rows, from: width, to: classes, shared: false };
            linear::forward(engine, &shape, batch.all(), w, b, logits.all())?;
            let classified = labels.of(1, clips, logits.all())?;
            let sums = classified.log_sums(engine)?;
            classified.losses(engine, sums.all(), losses.all().part(i, 1)?)?;
            classified.gradient(engine, sums.all(), ones.all(), 1.0 / rows as f32, back.all())?;
            linear::backward_weights(engine, &shape, batch.all(), back.all(), gradients, false)?;
            let done = (epoch - 1) * steps + i + 1;
            update(engine, &adam, done as i32, &learned)?;
            step(done, steps * tsn.epochs)?;
        }
        let losses = losses.all().read(engine)?;
        if let Some(&value) = losses.iter().find(|loss| !loss.is_finite()) {
            return Err(Error::Diverged { quantity: "the loss", epoch, value, key: "tsn.lr", lr: tsn.lr });
        }
        mean_loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / n as f64;
    }
    let rows = head.val.len() / width.max(1);
    let mut trained =
        TrainedHead { probabilities: Vec::new(), loss: mean_loss, weights: w.read(engine)?, bias: b.read(engine)? };
    if rows == 0 {
        return Ok(trained);
    }
    let (val, logits) = (Buffer::of(engine, head.val)?, Buffer::zeros(engine, rows * classes)?);
    let shape = Shape { cells: 1, rows, from: width, to: classes, shared: false };
    linear::forward(engine, &shape, val.all(), w, b, logits.all())?;
    trained.probabilities = logits.all().read(engine)?;
    trained.probabilities.par_chunks_exact_mut(classes.max(1)).for_each(softmax);
    Ok(trained)
}

/// Weights, of which there are so many, and biases.
fn parts(numbers: View<'_>, weights: usize) -> Result<[View<'_>; 2], Error> {
    Ok([numbers.part(0, weights)?, numbers.from(weights)?])
}

fn softmax(logits: &mut [f32]) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|x| *x /= sum);
}
