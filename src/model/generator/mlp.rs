//! MLP: two layers with ReLU on the mean over the frames; both heads read the second.
//!
//! m = 1/T sum_t x_t; h = relu(W_1 relu(W_0 m + b_0) + b_1). It knows what is to be seen, and nothing of the order.

use super::super::network::{Network, Sees, Sizes};
use super::super::tensor::{DeviceError, fork, relu};
use super::{Describe, Forward, Params, Taped, Trunk};
use dfdx::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The MLP generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mlp {
    /// Width of both layers.
    #[schemars(range(min = 1))]
    pub width: usize,
}

impl Default for Mlp {
    fn default() -> Self {
        Mlp { width: 512 }
    }
}

impl Describe for Mlp {
    fn check(&self) -> Result<(), (String, String)> {
        if self.width > 0 { Ok(()) } else { Err(("width".into(), "0 should be at least 1".into())) }
    }

    fn network(&self, sizes: Sizes) -> Network {
        let mut net = Network::new(Sees::Frames, sizes);
        let (width, visual) = (self.width, sizes.visual);
        net.affine("mlp0", visual, width);
        net.affine("mlp1", width, width);
        let mean = net.stage("mean of frames", visual.to_string(), &[0], 0, 2 * visual);
        let first = net.stage("layer (ReLU)", width.to_string(), &[mean], visual * width, 2 * width);
        let second = net.stage("layer (ReLU)", width.to_string(), &[first], width * width, 2 * width);
        net.heads(sizes, (second, width), (second, width))
    }
}

impl Forward for Mlp {
    fn trunk<D: Device<f32>>(&self, p: &Params<D>, x: Taped<D>, frames: usize) -> Trunk<D> {
        let (rows, visual) = *x.shape();
        let by_frame = (frames, rows / frames, visual);
        let x: Tensor<(usize, usize, usize), f32, D, OwnedTape<f32, D>> =
            x.try_reshape_like(&by_frame).map_err(DeviceError::of)?;
        let mean: Taped<D> = x.try_mean::<_, Axis<0>>().map_err(DeviceError::of)?;
        let first = relu(p.affine("mlp0", mean)?)?;
        Ok(fork(relu(p.affine("mlp1", first)?)?))
    }
}
