//! KL(t || q) = sum_d t_d (log t_d - log q_d), t = softmax(target), q = softmax(output), mean over the batch.
//!
//! With `kl_block`, the softmax is taken within blocks of that many dimensions and the blocks' divergences are added.

use super::{GpuLoss, LossSettings, Reconstruction};
use crate::model::tensor::{DeviceError, Matrix, Scalar};
use dfdx::prelude::*;

/// Kullback-Leibler divergence between softmax-normalised target and output.
pub struct Kl;

impl Reconstruction for Kl {
    const READS: &'static [&'static str] = &["kl_block"];

    fn of<D: Device<f32>, T: Tape<f32, D>>(
        settings: &LossSettings,
        output: Matrix<D, T>,
        target: Matrix<D>,
    ) -> Result<Scalar<D, T>, DeviceError> {
        let e = DeviceError::of;
        let (batch, width) = *output.shape();
        let block = settings.kl_block.unwrap_or(width);
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

    fn on_gpu(settings: &LossSettings, width: usize) -> Option<GpuLoss> {
        Some(GpuLoss::Kl(settings.kl_block.unwrap_or(width)))
    }
}
