//! LSTM: one layer over the frames; both heads read its last hidden state.
//!
//! x = h_T; p = softmax(x W_p + b_p), r = x W_r + b_r (Equations 2 to 4 of the paper). The layer's formulas stand in
//! [`compute::nn::lstm`].

use super::super::network::{Init, Network, Sees, Sizes};
use super::super::settings::left_out;
use super::super::tensor::{DeviceError, Matrix, affine, fork, slice};
use super::{Describe, Forward, FusedTrunk, Params, Taped, Trunk};
use crate::words;
use dfdx::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

words!(
    /// What products of the layer multiply in training.
    Precision {
        /// f32 numbers.
        F32 = "f32",
        /// Numbers rounded to bfloat16, added up in f32: on processors with AVX512-BF16 twice as many at once. Parameters, moments, gates and
        /// states stay f32, and what is measured or generated is computed in f32.
        Bf16 = "bf16",
    }
);

impl Precision {
    /// Whether it is left out of a record.
    fn is_unset(&self) -> bool {
        left_out(*self == Precision::F32)
    }
}

/// The LSTM generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lstm {
    /// H, width of the hidden state.
    #[schemars(range(min = 1))]
    pub hidden: usize,
    /// What products of the layer multiply in training.
    #[serde(skip_serializing_if = "Precision::is_unset")]
    pub precision: Precision,
}

impl Default for Lstm {
    fn default() -> Self {
        Lstm { hidden: 512, precision: Precision::F32 }
    }
}

impl Describe for Lstm {
    fn check(&self) -> Result<(), (String, String)> {
        if self.hidden > 0 { Ok(()) } else { Err(("hidden".into(), "0 should be at least 1".into())) }
    }

    fn network(&self, sizes: Sizes) -> Network {
        let (hidden, steps) = (self.hidden, sizes.frames);
        let mut net = Network::new(Sees::Frames, sizes);
        let bound = Init::Uniform(1.0 / (hidden as f64).sqrt());
        net.param("lstm.w", (sizes.visual, 4 * hidden), bound);
        net.param("lstm.u", (hidden, 4 * hidden), bound);
        net.param("lstm.b", (1, 4 * hidden), bound);
        // Gates, cell state, its tanh and hidden state of each step, and what the way back needs beside them.
        let kept = hidden * (7 * steps + 6) + steps * hidden / 8;
        // The input rounded for the way forward and for the way back, and the gradients of the gates.
        let kept = match self.precision {
            Precision::F32 => kept,
            Precision::Bf16 => kept + steps * sizes.visual + 5 * steps * hidden,
        };
        let projection =
            net.stage("LSTM", format!("{hidden}, {steps} steps"), &[0], steps * sizes.visual * 4 * hidden, kept);
        let state = net.stage("last state", format!("x: {hidden}"), &[projection], steps * hidden * 4 * hidden, 0);
        net.heads(sizes, (state, hidden), (state, hidden))
    }

    fn fused(&self) -> Option<FusedTrunk> {
        let precision = match self.precision {
            Precision::F32 => compute::nn::lstm::Precision::F32,
            Precision::Bf16 => compute::nn::lstm::Precision::Bf16,
        };
        Some(FusedTrunk::Lstm { hidden: self.hidden, precision })
    }
}

impl Forward for Lstm {
    const ALWAYS_STORED: bool = true;

    fn trunk<D: Device<f32>>(&self, p: &Params<D>, x: Taped<D>, frames: usize) -> Trunk<D> {
        let (e, u, hidden) = (DeviceError::of, p.get("lstm.u")?, self.hidden);
        let batch = x.shape().0 / frames;
        let zeros = |device: &D| device.try_zeros_like(&(batch, hidden)).map_err(e);
        let (mut h, mut c): (Matrix<D>, Matrix<D>) = (zeros(x.device())?, zeros(x.device())?);
        // All frames in one product before the loop.
        let (projected, mut tape) = affine(x, p.get("lstm.w")?, p.get("lstm.b")?)?.split_tape();
        for t in 0..frames {
            let of_frame = slice(projected.clone().put_tape(tape), t * batch..(t + 1) * batch, 0..4 * hidden)?;
            let a = h.retaped::<OwnedTape<f32, D>>().try_matmul(u.clone()).map_err(e)?.try_add(of_frame).map_err(e)?;
            let (a, rest) = a.split_tape();
            let gate = |k: usize, tape: OwnedTape<f32, D>| {
                slice(a.clone().put_tape(tape), 0..batch, k * hidden..(k + 1) * hidden)
            };
            let i = gate(0, rest)?.try_sigmoid().map_err(e)?;
            let f = gate(1, OwnedTape::default())?.try_sigmoid().map_err(e)?;
            let g = gate(2, OwnedTape::default())?.try_tanh().map_err(e)?;
            let o = gate(3, OwnedTape::default())?.try_sigmoid().map_err(e)?;
            let next = i.try_mul(g).map_err(e)?.try_add(f.try_mul(c.clone()).map_err(e)?).map_err(e)?;
            let (next_c, rest) = next.split_tape();
            let next_h = o.try_mul(next_c.clone().put_tape(rest).try_tanh().map_err(e)?).map_err(e)?;
            c = next_c;
            (h, tape) = next_h.split_tape();
        }
        Ok(fork(h.put_tape(tape)))
    }
}
