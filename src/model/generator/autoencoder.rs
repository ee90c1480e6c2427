//! Autoencoder: on a single frame, ReLU after every layer.
//!
//! Latent l = encoder(frame), x = decoder(l); p from l, r from x (Equations 5 and 6 of the paper).

use super::super::network::{Network, Sees, Sizes, TestFrame};
use super::super::tensor::relu;
use super::{Describe, Forward, FusedTrunk, Params, Taped, Trunk};
use dfdx::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The autoencoder generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Autoencoder {
    /// Widths of the encoder's layers; the last is the latent's.
    pub encoder: Vec<usize>,
    /// Widths of the decoder's layers.
    pub decoder: Vec<usize>,
    /// What it sees of a val clip.
    pub test_frame: TestFrame,
}

impl Default for Autoencoder {
    fn default() -> Self {
        Autoencoder { encoder: vec![512, 256], decoder: vec![512], test_frame: TestFrame::Centre }
    }
}

impl Describe for Autoencoder {
    fn check(&self) -> Result<(), (String, String)> {
        for (name, widths) in [("encoder", &self.encoder), ("decoder", &self.decoder)] {
            if widths.is_empty() {
                return Err((name.into(), "0 should be at least 1".into()));
            }
            if let Some(i) = widths.iter().position(|w| *w == 0) {
                return Err((format!("{name}[{i}]"), "0 should be at least 1".into()));
            }
        }
        Ok(())
    }

    fn network(&self, sizes: Sizes) -> Network {
        let mut net = Network::new(Sees::OneFrame, sizes);
        let (mut last, mut width) = (0, sizes.visual);
        let mut latent = (last, width);
        for (part, widths) in [("encoder", &self.encoder), ("decoder", &self.decoder)] {
            for (i, &next) in widths.iter().enumerate() {
                net.affine(&format!("{part}{i}"), width, next);
                let is_latent = part == "encoder" && i + 1 == widths.len();
                let name = if is_latent { "latent (ReLU)".into() } else { format!("{part} (ReLU)") };
                last = net.stage(&name, next.to_string(), &[last], width * next, 2 * next);
                width = next;
            }
            if part == "encoder" {
                latent = (last, width);
            }
        }
        net.heads(sizes, latent, (last, width))
    }

    fn fused(&self) -> Option<FusedTrunk> {
        Some(FusedTrunk::Autoencoder { encoder: self.encoder.clone(), decoder: self.decoder.clone() })
    }

    fn test_frame(&self) -> TestFrame {
        self.test_frame
    }
}

impl Forward for Autoencoder {
    const ALWAYS_STORED: bool = true;

    fn trunk<D: Device<f32>>(&self, p: &Params<D>, mut x: Taped<D>, _: usize) -> Trunk<D> {
        for i in 0..self.encoder.len() {
            x = relu(p.affine(&format!("encoder{i}"), x)?)?;
        }
        let (latent, tape) = x.split_tape();
        let mut x = latent.clone().put_tape(tape);
        for i in 0..self.decoder.len() {
            x = relu(p.affine(&format!("decoder{i}"), x)?)?;
        }
        Ok((latent.retaped::<OwnedTape<f32, D>>(), x))
    }
}
