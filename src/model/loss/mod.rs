//! Losses: functions of the network's output and what it should be, each with its tape.
//!
//! A new reconstruction loss is a file beside this one and a name in the list below.

use super::tensor::{DeviceError, Matrix, Scalar};
use dfdx::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

crate::words!(
    /// How squared errors are added up over the feature's dimensions (A2).
    L2Reduction {
        /// Mean over batch and dimensions.
        Mean = "mean",
        /// Sum over dimensions, mean over the batch.
        Sum = "sum",
    }
);

/// What losses read of the experiment's `train` section.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LossSettings {
    /// L2: mean or sum over dimensions.
    pub l2: L2Reduction,
    /// KL: softmax within blocks of this many dimensions instead of over all (128 for VGGish's three rows).
    pub kl_block: Option<usize>,
}

/// A loss that the GPU's kernels know; the settings in it are all that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuLoss {
    /// The squared error's mean over dimensions.
    L2Mean,
    /// Its sum.
    L2Sum,
    /// KL divergence in blocks of so many dimensions.
    Kl(usize),
}

/// A reconstruction loss.
pub trait Reconstruction {
    /// The keys of the `train` section that it reads; others do not enter the fingerprint of its runs.
    const READS: &'static [&'static str];

    /// L_rec of output and target, (B, D_a), a mean over the batch.
    fn of<D: Device<f32>, T: Tape<f32, D>>(
        settings: &LossSettings,
        output: Matrix<D, T>,
        target: Matrix<D>,
    ) -> Result<Scalar<D, T>, DeviceError>;

    /// Its form in the GPU's kernels for a feature of this width; none says that only dfdx's operations know it.
    fn on_gpu(_settings: &LossSettings, _width: usize) -> Option<GpuLoss> {
        None
    }
}

macro_rules! registry {
    ($($module:ident $Name:ident,)+) => {
        $(pub mod $module;)+

        $crate::words!(
            /// The reconstruction loss.
            Loss {
                $(#[doc = concat!("See [`", stringify!($module), "`].")] $Name: $module,)+
            }
        );

        impl Loss {
            /// L_rec of output and target, (B, D_a).
            pub fn of<D: Device<f32>, T: Tape<f32, D>>(
                self,
                settings: &LossSettings,
                output: Matrix<D, T>,
                target: Matrix<D>,
            ) -> Result<Scalar<D, T>, DeviceError> {
                match self { $(Loss::$Name => $module::$Name::of(settings, output, target),)+ }
            }

            /// Its form in the GPU's kernels, if there is one.
            pub fn on_gpu(self, settings: &LossSettings, width: usize) -> Option<GpuLoss> {
                match self { $(Loss::$Name => $module::$Name::on_gpu(settings, width),)+ }
            }

            /// The keys of the `train` section that it reads.
            pub fn reads(self) -> &'static [&'static str] {
                match self { $(Loss::$Name => $module::$Name::READS,)+ }
            }
        }
    };
}

registry! {
    l2 L2,
    kl Kl,
    cosine Cosine,
}

/// L_cls = -(1/B) sum_b log softmax(logits_b)\[label_b\]; logits (B, K), labels one-hot (B, K).
pub fn cross_entropy<D: Device<f32>, T: Tape<f32, D>>(
    logits: Matrix<D, T>,
    one_hot: Matrix<D>,
) -> Result<Scalar<D, T>, DeviceError> {
    let batch = logits.shape().0 as f32;
    let log_p = logits.try_log_softmax::<Axis<1>>().map_err(DeviceError::of)?;
    let sum: Scalar<D, T> = log_p.try_mul(one_hot).map_err(DeviceError::of)?.try_sum().map_err(DeviceError::of)?;
    sum.try_mul(-1.0 / batch).map_err(DeviceError::of)
}
