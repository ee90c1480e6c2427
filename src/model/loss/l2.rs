//! L2: the squared error's mean over batch and dimensions, or its sum over dimensions and mean over the batch.

use super::{GpuLoss, L2Reduction, LossSettings, Reconstruction};
use crate::model::tensor::{DeviceError, Matrix, Scalar};
use dfdx::prelude::*;

/// Squared error.
pub struct L2;

impl Reconstruction for L2 {
    const READS: &'static [&'static str] = &["l2"];

    fn of<D: Device<f32>, T: Tape<f32, D>>(
        settings: &LossSettings,
        output: Matrix<D, T>,
        target: Matrix<D>,
    ) -> Result<Scalar<D, T>, DeviceError> {
        let (batch, width) = *output.shape();
        let scale = match settings.l2 {
            L2Reduction::Mean => 1.0 / (batch * width) as f32,
            L2Reduction::Sum => 1.0 / batch as f32,
        };
        let squares = output.try_sub(target).map_err(DeviceError::of)?.try_square().map_err(DeviceError::of)?;
        let sum: Scalar<D, T> = squares.try_sum().map_err(DeviceError::of)?;
        sum.try_mul(scale).map_err(DeviceError::of)
    }

    fn on_gpu(settings: &LossSettings, _: usize) -> Option<GpuLoss> {
        Some(match settings.l2 {
            L2Reduction::Mean => GpuLoss::L2Mean,
            L2Reduction::Sum => GpuLoss::L2Sum,
        })
    }
}
