//! Losses: cross-entropy for the classifier branch, squared error or KL divergence for the reconstruction.
//!
//! Each takes the network's output with its tape and gives a scalar with the tape.

use super::device::{Backend, Matrix};
use super::error::Error;
use crate::experiment::config::{L2Reduction, Loss, Train};
use dfdx::prelude::*;

/// A number on a device.
pub type Scalar<D, T = NoneTape> = Tensor<(), f32, D, T>;

/// L_cls = -(1/B) sum_b log softmax(logits_b)\[label_b\]; logits (B, K), labels one-hot (B, K).
pub fn cross_entropy<D: Backend, T: Tape<f32, D>>(
    logits: Matrix<D, T>,
    one_hot: Matrix<D>,
) -> Result<Scalar<D, T>, Error> {
    let batch = logits.shape().0 as f32;
    let log_p = logits.try_log_softmax::<Axis<1>>().map_err(Error::device)?;
    let sum: Scalar<D, T> = log_p.try_mul(one_hot).map_err(Error::device)?.try_sum().map_err(Error::device)?;
    sum.try_mul(-1.0 / batch).map_err(Error::device)
}

/// The reconstruction loss that `train` and the cell declare; output and target (B, D_a).
pub fn reconstruction<D: Backend, T: Tape<f32, D>>(
    loss: Loss,
    train: &Train,
    output: Matrix<D, T>,
    target: Matrix<D>,
) -> Result<Scalar<D, T>, Error> {
    match loss {
        Loss::L2 => l2(output, target, train.l2),
        Loss::Kl => kl(output, target, train.kl_block),
    }
}

/// L2: the squared error's mean over batch and dimensions, or its sum over dimensions and mean over the batch.
pub fn l2<D: Backend, T: Tape<f32, D>>(
    output: Matrix<D, T>,
    target: Matrix<D>,
    reduction: L2Reduction,
) -> Result<Scalar<D, T>, Error> {
    let (batch, width) = *output.shape();
    let scale = match reduction {
        L2Reduction::Mean => 1.0 / (batch * width) as f32,
        L2Reduction::Sum => 1.0 / batch as f32,
    };
    let squares = output.try_sub(target).map_err(Error::device)?.try_square().map_err(Error::device)?;
    let sum: Scalar<D, T> = squares.try_sum().map_err(Error::device)?;
    sum.try_mul(scale).map_err(Error::device)
}

/// KL(t || q) = sum_d t_d (log t_d - log q_d), t = softmax(target), q = softmax(output), mean over the batch; with
/// `block`, the softmax is taken within blocks of that many dimensions and the blocks' divergences are added.
pub fn kl<D: Backend, T: Tape<f32, D>>(
    output: Matrix<D, T>,
    target: Matrix<D>,
    block: Option<usize>,
) -> Result<Scalar<D, T>, Error> {
    let e = Error::device;
    let (batch, width) = *output.shape();
    let block = block.unwrap_or(width);
    let shape = (batch * (width / block), block);
    let output: Matrix<D, T> = output.try_reshape_like(&shape).map_err(e)?;
    let target: Matrix<D> = target.try_reshape_like(&shape).map_err(e)?;
    let log_q = output.try_log_softmax::<Axis<1>>().map_err(e)?;
    let log_t = target.try_log_softmax::<Axis<1>>().map_err(e)?;
    let t = log_t.clone().try_exp().map_err(e)?;
    // sum t (log t - log q) = sum -t (log q - log t)
    let terms = log_q.try_sub(log_t).map_err(e)?.try_mul(t).map_err(e)?;
    let sum: Scalar<D, T> = terms.try_sum().map_err(e)?;
    sum.try_mul(-1.0 / batch as f32).map_err(e)
}

/// The number itself.
pub(super) fn value<D: Backend, T>(scalar: &Scalar<D, T>) -> f32 {
    let mut out = [0.0];
    scalar.copy_into(&mut out);
    out[0]
}
