//! The two generators: a trunk over the frames, a classifier head (p) and an audio head (r).
//!
//! LSTM: x = h_T; p = softmax(x W_p + b_p), r = x W_r + b_r (Equations 2 to 4 of the paper).
//! Autoencoder: latent l = encoder(frame), x = decoder(l), ReLU after every layer; p from l, r from x (Equations 5, 6).

use super::device::{Backend, Matrix};
use super::error::Error;
use super::host::Host;
use super::params::Params;
use crate::experiment::config::{Architecture, Autoencoder, Config};
use dfdx::prelude::*;

/// Sizes that a generator is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Frames, T.
    pub frames: usize,
    /// Width of all streams, D_v.
    pub visual: usize,
    /// Width of the audio feature, D_a.
    pub audio: usize,
    /// Classes, K.
    pub classes: usize,
}

/// An affine layer's places among the parameters.
#[derive(Clone, Copy, Debug)]
struct Layer {
    w: usize,
    b: usize,
}

enum Trunk {
    Lstm { w: usize, u: usize, b: usize },
    Autoencoder { encoder: Vec<Layer>, decoder: Vec<Layer> },
}

/// What a generator makes of a batch.
pub struct Output<D: Backend, T> {
    /// Class logits, (B, K).
    pub logits: Matrix<D, T>,
    /// The generated feature, (B, D_a), on the scale of the target.
    pub audio: Matrix<D, T>,
}

/// A generator with its parameters.
pub struct Generator<D: Backend> {
    /// Its parameters.
    pub params: Params<D>,
    trunk: Trunk,
    classify: Layer,
    sound: Layer,
    frames: usize,
}

impl<D: Backend> Generator<D> {
    /// A generator with fresh parameters: uniform in +-1/sqrt(H) for the LSTM, +-1/sqrt(inputs) for affine layers.
    pub fn new(device: D, architecture: Architecture, config: &Config, sizes: Sizes, seed: u64) -> Result<Self, Error> {
        let mut params = Params::new(device);
        let (trunk, p_width, r_width) = match architecture {
            Architecture::Lstm => {
                let hidden = config.lstm.hidden;
                let bound = 1.0 / (hidden as f64).sqrt();
                let w = params.gates("lstm.w", sizes.visual, hidden, bound, seed)?;
                let u = params.gates("lstm.u", hidden, hidden, bound, seed)?;
                let b = params.gates("lstm.b", 1, hidden, bound, seed)?;
                (Trunk::Lstm { w, u, b }, hidden, hidden)
            }
            Architecture::Autoencoder => {
                let Autoencoder { encoder, decoder, .. } = &config.autoencoder;
                let mut width = sizes.visual;
                let mut stack = |name: &str, widths: &[usize]| -> Result<Vec<Layer>, Error> {
                    let mut layers = Vec::new();
                    for (i, &next) in widths.iter().enumerate() {
                        layers.push(layer(&mut params, &format!("{name}{i}"), width, next, seed)?);
                        width = next;
                    }
                    Ok(layers)
                };
                let encoder_layers = stack("encoder", encoder)?;
                let decoder_layers = stack("decoder", decoder)?;
                let latent = encoder.last().copied().unwrap_or(sizes.visual);
                (Trunk::Autoencoder { encoder: encoder_layers, decoder: decoder_layers }, latent, width)
            }
        };
        let classify = layer(&mut params, "classify", p_width, sizes.classes, seed)?;
        let sound = layer(&mut params, "audio", r_width, sizes.audio, seed)?;
        Ok(Generator { params, trunk, classify, sound, frames: sizes.frames })
    }

    /// Runs a batch. `x` is (T B, D_v), time-major, for the LSTM, and (B, D_v) for the autoencoder.
    pub fn forward<T: Tape<f32, D> + 'static>(&self, x: &Host, tape: T) -> Result<Output<D, T>, Error> {
        let (for_classes, for_audio) = match &self.trunk {
            Trunk::Lstm { w, u, b } => {
                let p = |place: &usize| self.params.get(*place);
                let h = self.params.device().lstm(x, tape, self.frames, [p(w), p(u), p(b)])?;
                let (h, tape) = h.split_tape();
                (h.retaped::<T>(), h.put_tape(tape))
            }
            Trunk::Autoencoder { encoder, decoder } => {
                let relu = |x: Matrix<D, T>| x.try_relu().map_err(Error::device);
                let p = |place: usize| self.params.get(place);
                let mut layers = encoder.iter();
                let mut x = match layers.next() {
                    Some(first) => relu(self.params.device().affine_of_input(x, tape, p(first.w), p(first.b))?)?,
                    None => x.to(self.params.device())?.put_tape(tape),
                };
                for layer in layers {
                    x = relu(self.affine(x, *layer)?)?;
                }
                let (latent, tape) = x.split_tape();
                let mut x = latent.clone().put_tape(tape);
                for layer in decoder {
                    x = relu(self.affine(x, *layer)?)?;
                }
                (latent.retaped::<T>(), x)
            }
        };
        Ok(Output { logits: self.affine(for_classes, self.classify)?, audio: self.affine(for_audio, self.sound)? })
    }

    fn affine<T: Tape<f32, D> + 'static>(&self, x: Matrix<D, T>, layer: Layer) -> Result<Matrix<D, T>, Error> {
        D::affine(x, self.params.get(layer.w), self.params.get(layer.b), true)
    }
}

fn layer<D: Backend>(params: &mut Params<D>, name: &str, from: usize, to: usize, seed: u64) -> Result<Layer, Error> {
    let bound = 1.0 / (from as f64).sqrt();
    Ok(Layer {
        w: params.uniform(&format!("{name}.w"), from, to, bound, seed)?,
        b: params.uniform(&format!("{name}.b"), 1, to, bound, seed)?,
    })
}

/// Names and shapes of a generator's parameters, in the order of [`Generator::params`].
pub fn shapes(architecture: Architecture, config: &Config, sizes: Sizes) -> Vec<(String, (usize, usize))> {
    let mut shapes = Vec::new();
    let mut add = |name: &str, from: usize, to: usize| {
        shapes.push((format!("{name}.w"), (from, to)));
        shapes.push((format!("{name}.b"), (1, to)));
    };
    let (p_width, r_width) = match architecture {
        Architecture::Lstm => {
            let hidden = config.lstm.hidden;
            add("lstm", sizes.visual, 4 * hidden);
            (hidden, hidden)
        }
        Architecture::Autoencoder => {
            let Autoencoder { encoder, decoder, .. } = &config.autoencoder;
            let mut width = sizes.visual;
            for (name, widths) in [("encoder", encoder), ("decoder", decoder)] {
                for (i, &next) in widths.iter().enumerate() {
                    add(&format!("{name}{i}"), width, next);
                    width = next;
                }
            }
            (encoder.last().copied().unwrap_or(sizes.visual), width)
        }
    };
    add("classify", p_width, sizes.classes);
    add("audio", r_width, sizes.audio);
    if architecture == Architecture::Lstm {
        shapes.insert(1, ("lstm.u".into(), (config.lstm.hidden, 4 * config.lstm.hidden)));
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_parameters() {
        let sizes = Sizes { frames: 3, visual: 7, audio: 5, classes: 4 };
        let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "test", "grid": {} })).unwrap();
        config.lstm.hidden = 6;
        for (encoder, decoder) in [(vec![9, 8], vec![10]), (vec![], vec![]), (vec![3], vec![])] {
            config.autoencoder.encoder = encoder;
            config.autoencoder.decoder = decoder;
            for architecture in [Architecture::Lstm, Architecture::Autoencoder] {
                let generator = Generator::new(Cpu::default(), architecture, &config, sizes, 0).unwrap();
                let saved = generator.params.save().unwrap();
                let saved: Vec<_> = saved.into_iter().map(|p| (p.name, p.shape)).collect();
                assert_eq!(shapes(architecture, &config, sizes), saved);
            }
        }
    }
}
