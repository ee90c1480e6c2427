//! One optimiser step: forward, losses, backward, Adam.

use super::device::{Backend, Matrix, matrix, numbers};
use super::error::Error;
use super::generator::Generator;
use super::host::Host;
use super::loss;
use crate::experiment::config::{Classifier, Loss, Train};
use compute::buffer_pool::Scratch;
use dfdx::optim::AdamConfig;
use dfdx::prelude::*;

/// What a step learns from.
#[derive(Debug, Default)]
pub struct Batch {
    /// The network's input, (rows, D_v): T B rows, time-major, for the LSTM and B for the autoencoder.
    pub x: Host,
    /// The class of each clip, (B,).
    pub labels: Vec<usize>,
    /// The audio feature of each clip on the scale of the network's output, (B, D_a).
    pub target: Vec<f32>,
}

/// What a step minimises.
#[derive(Clone, Copy, Debug)]
pub struct Objective<'a> {
    /// The reconstruction loss.
    pub loss: Loss,
    /// Whether the classifier's loss counts.
    pub classifier: Classifier,
    /// Weights and reductions.
    pub train: &'a Train,
}

/// Losses and outputs of a step, from before its update.
#[derive(Debug)]
pub struct Outcome {
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

/// Takes one step on `batch`.
pub fn step<D: Backend>(
    generator: &mut Generator<D>,
    adam: &AdamConfig,
    objective: &Objective,
    batch: &Batch,
) -> Result<Outcome, Error> {
    let e = Error::device;
    let device = generator.params.device().clone();
    let train = objective.train;
    let output = generator.forward(&batch.x, OwnedTape::default())?;
    let (logits, audio) = (numbers(&output.logits), numbers(&output.audio));
    let (clips, width) = *output.audio.shape();
    let classes = output.logits.shape().1;
    let target = matrix(&device, &batch.target, clips, width)?;
    let one_hot = one_hot(&device, &batch.labels, classes)?;
    let rec = loss::reconstruction(objective.loss, train, output.audio, target)?;
    let loss_rec = loss::value(&rec);
    let rec = rec.try_mul(train.w_rec as f32).map_err(e)?;
    let (total, loss_cls) = match objective.classifier {
        Classifier::With => {
            let cls = loss::cross_entropy(output.logits, one_hot)?;
            let value = loss::value(&cls);
            (rec.try_add(cls.try_mul(train.w_cls as f32).map_err(e)?).map_err(e)?, value)
        }
        Classifier::Without => {
            let (logits, _) = output.logits.split_tape();
            (rec, loss::value(&loss::cross_entropy(logits, one_hot)?))
        }
    };
    let loss = loss::value(&total);
    let mut grads = total.try_backward().map_err(e)?;
    generator.params.update(adam, &mut grads)?;
    Ok(Outcome { loss, loss_cls, loss_rec, logits, audio })
}

/// Rows of zeros with a one at the label, (B, K).
pub(super) fn one_hot<D: Backend>(device: &D, labels: &[usize], classes: usize) -> Result<Matrix<D>, Error> {
    let mut values = vec![0.0; labels.len() * classes];
    for (row, &label) in values.chunks_exact_mut(classes).zip(labels) {
        row[label] = 1.0;
    }
    matrix(device, &values, labels.len(), classes)
}
