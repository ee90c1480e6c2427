//! Transformer: frames plus learned positions through pre-norm encoder layers, mean pooled (Vaswani and others, 2017; the
//! order of the norms as Xiong and others, 2020).
//!
//! z_t = x_t W_in + b_in + p_t; in each layer z += MHA(LN(z)), z += W_2 relu(W_1 LN(z) + b_1) + b_2, where
//! MHA(y) = concat_h(softmax(Q_h K_h^T / sqrt(d)) V_h) W_o + b_o with Q, K, V = y W_qkv + b_qkv and d = width / heads; both
//! heads of the generator read 1/T sum_t LN(z_t). LN(y) = (y - mean) / sqrt(var + 1e-5) g + b over the width.

use super::super::network::{Init, Network, Sees, Sizes};
use super::super::tensor::{DeviceError, fork, relu, rows_of};
use super::{Describe, Forward, Params, Taped, Trunk};
use dfdx::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The transformer generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Transformer {
    /// Encoder layers.
    #[schemars(range(min = 1))]
    pub layers: usize,
    /// Attention heads; they divide the width.
    #[schemars(range(min = 1))]
    pub heads: usize,
    /// Width of the frames inside; the feed-forward layer is four times as wide.
    #[schemars(range(min = 1))]
    pub width: usize,
}

impl Default for Transformer {
    fn default() -> Self {
        Transformer { layers: 2, heads: 4, width: 256 }
    }
}

impl Describe for Transformer {
    fn check(&self) -> Result<(), (String, String)> {
        for (name, value) in [("layers", self.layers), ("heads", self.heads), ("width", self.width)] {
            if value == 0 {
                return Err((name.into(), "0 should be at least 1".into()));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(("heads".into(), format!("{} heads do not divide the width, {}", self.heads, self.width)));
        }
        Ok(())
    }

    fn network(&self, sizes: Sizes) -> Network {
        let (t, width, visual) = (sizes.frames, self.width, sizes.visual);
        let mut net = Network::new(Sees::Frames, sizes);
        let norm = |net: &mut Network, name: &str| {
            net.param(&format!("{name}.g"), (1, width), Init::Constant(1.0));
            net.param(&format!("{name}.b"), (1, width), Init::Constant(0.0));
        };
        net.affine("input", visual, width);
        net.param("positions", (t, width), Init::Uniform(0.02));
        let mut last = net.stage("+ positions", format!("{t} × {width}"), &[0], t * visual * width, 2 * t * width);
        for i in 0..self.layers {
            norm(&mut net, &format!("layer{i}.norm0"));
            net.affine(&format!("layer{i}.qkv"), width, 3 * width);
            net.affine(&format!("layer{i}.out"), width, width);
            norm(&mut net, &format!("layer{i}.norm1"));
            net.affine(&format!("layer{i}.up"), width, 4 * width);
            net.affine(&format!("layer{i}.down"), 4 * width, width);
            let attention = t * 4 * width * width + 2 * t * t * width;
            let kept = 2 * (t * 5 * width + 2 * self.heads * t * t);
            last = net.stage("attention", format!("{} heads", self.heads), &[last], attention, kept);
            last = net.stage("feed-forward", (4 * width).to_string(), &[last], t * 8 * width * width, 22 * t * width);
        }
        norm(&mut net, "norm");
        last = net.stage("mean of frames", width.to_string(), &[last], 0, 4 * t * width);
        net.heads(sizes, (last, width), (last, width))
    }
}

/// Frames of a batch, (B, T, W).
type Frames<D> = Tensor<(usize, usize, usize), f32, D, OwnedTape<f32, D>>;

/// What the heads attend with, (B, heads, T, d).
type Heads<D> = Tensor<(usize, usize, usize, usize), f32, D, OwnedTape<f32, D>>;

impl Forward for Transformer {
    fn trunk<D: Device<f32>>(&self, p: &Params<D>, x: Taped<D>, frames: usize) -> Trunk<D> {
        let (e, width, batch) = (DeviceError::of, self.width, x.shape().0 / frames);
        let z: Frames<D> = p.affine("input", x)?.try_reshape_like(&(frames, batch, width)).map_err(e)?;
        let z: Frames<D> = z.try_permute::<_, Axes3<1, 0, 2>>().map_err(e)?;
        let positions = p.get("positions")?.retaped::<OwnedTape<f32, D>>();
        let positions = positions.try_broadcast_like::<_, Axis<0>>(&(batch, frames, width)).map_err(e)?;
        let z: Frames<D> = z.try_add(positions).map_err(e)?;
        let mut z: Taped<D> = z.try_reshape_like(&(batch * frames, width)).map_err(e)?;
        for i in 0..self.layers {
            let (left, right) = fork(z);
            let attended = self.attend(p, i, normalised(p, &format!("layer{i}.norm0"), left)?, frames)?;
            let (left, right) = fork(attended.try_add(right).map_err(e)?);
            let up = relu(p.affine(&format!("layer{i}.up"), normalised(p, &format!("layer{i}.norm1"), left)?)?)?;
            z = p.affine(&format!("layer{i}.down"), up)?.try_add(right).map_err(e)?;
        }
        let z: Frames<D> = normalised(p, "norm", z)?.try_reshape_like(&(batch, frames, width)).map_err(e)?;
        Ok(fork(z.try_mean::<_, Axis<1>>().map_err(e)?))
    }
}

impl Transformer {
    /// Multi-head attention of rows (B T, W).
    fn attend<D: Device<f32>>(
        &self,
        p: &Params<D>,
        layer: usize,
        y: Taped<D>,
        frames: usize,
    ) -> Result<Taped<D>, DeviceError> {
        let (e, heads, width) = (DeviceError::of, self.heads, self.width);
        let (batch, each) = (y.shape().0 / frames, width / heads);
        let (qkv, tape) = p.affine(&format!("layer{layer}.qkv"), y)?.split_tape();
        let part = |k: usize, tape: OwnedTape<f32, D>| -> Result<Heads<D>, DeviceError> {
            let columns = k * width..(k + 1) * width;
            let rows = super::super::tensor::slice(qkv.clone().put_tape(tape), 0..batch * frames, columns)?;
            let of_heads: Heads<D> = rows.try_reshape_like(&(batch, frames, heads, each)).map_err(e)?;
            of_heads.try_permute::<_, Axes4<0, 2, 1, 3>>().map_err(e)
        };
        let (q, k, v) = (part(0, tape)?, part(1, OwnedTape::default())?, part(2, OwnedTape::default())?);
        let k = k.try_permute::<_, Axes4<0, 1, 3, 2>>().map_err(e)?;
        let scores = q.try_matmul(k).map_err(e)?.try_mul(1.0 / (each as f32).sqrt()).map_err(e)?;
        let weights = scores.try_softmax::<Axis<3>>().map_err(e)?;
        let mixed: Heads<D> = weights.try_matmul(v).map_err(e)?;
        let mixed: Heads<D> = mixed.try_permute::<_, Axes4<0, 2, 1, 3>>().map_err(e)?;
        let rows: Taped<D> = mixed.try_reshape_like(&(batch * frames, width)).map_err(e)?;
        p.affine(&format!("layer{layer}.out"), rows)
    }
}

/// Layer norm of rows, with `NAME.g` and `NAME.b`.
fn normalised<D: Device<f32>>(p: &Params<D>, name: &str, y: Taped<D>) -> Result<Taped<D>, DeviceError> {
    let (e, (n, width)) = (DeviceError::of, *y.shape());
    let y = y.try_normalize::<Axis<1>>(1e-5).map_err(e)?;
    let scaled = y.try_mul(rows_of::<D, OwnedTape<f32, D>>(p.get(&format!("{name}.g"))?, n, width)?).map_err(e)?;
    scaled.try_add(rows_of::<D, OwnedTape<f32, D>>(p.get(&format!("{name}.b"))?, n, width)?).map_err(e)
}
