//! What a step minimises: L = w_cls L_cls + w_rec L_rec.

use super::batches::Batch;
use crate::experiment::config::{Classifier, Loss, Train};
use crate::model::generator::Output;
use crate::model::loss::cross_entropy;
use crate::model::tensor::{DeviceError, Scalar, matrix, one_hot, value};
use dfdx::prelude::*;

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

/// The loss that is minimised, with its tape, and the values [L, L_cls, L_rec].
pub(super) fn total_loss<D: Device<f32>, T: Tape<f32, D>>(
    device: &D,
    output: Output<D, T>,
    objective: &Objective,
    batch: &Batch,
) -> Result<(Scalar<D, T>, [f32; 3]), DeviceError> {
    let e = DeviceError::of;
    let train = objective.train;
    let (clips, width) = *output.audio.shape();
    let classes = output.logits.shape().1;
    let target = matrix(device, &batch.target, clips, width)?;
    let one_hot = one_hot(device, &batch.labels, classes)?;
    let rec = objective.loss.of(&train.loss_settings(), output.audio, target)?;
    let loss_rec = value(&rec);
    let rec = rec.try_mul(train.w_rec as f32).map_err(e)?;
    let (total, loss_cls) = match objective.classifier {
        Classifier::With => {
            let cls = cross_entropy(output.logits, one_hot)?;
            let loss_cls = value(&cls);
            (rec.try_add(cls.try_mul(train.w_cls as f32).map_err(e)?).map_err(e)?, loss_cls)
        }
        Classifier::Without => {
            let (logits, _) = output.logits.split_tape();
            (rec, value(&cross_entropy(logits, one_hot)?))
        }
    };
    let loss = value(&total);
    Ok((total, [loss, loss_cls, loss_rec]))
}
