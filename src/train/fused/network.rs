//! Generators and heads on the CPU's fused operations.

use super::super::batches::Batch;
use super::super::cell_trainer::{StepOutcome, TrainedNetwork};
use super::super::error::Error;
use super::super::heads::{Head, HeadNetwork};
use super::super::objective::{Objective, total_loss};
use super::super::trainer::SavedParam;
use super::ops::{affine, affine_of_input, lstm_layer};
use crate::model::generator::{FusedTrunk, Output};
use crate::model::loss::cross_entropy;
use crate::model::network::Network;
use crate::model::tensor::{DeviceError, Matrix, matrix, numbers, one_hot, relu, value};
use compute::buffer_pool::Scratch;
use compute::nn::{AdamConfig, InputBatch, PackedParam, ParamState};
use dfdx::prelude::*;
use std::collections::HashMap;

/// A generator whose trunk the fused engine knows.
pub struct FusedNetwork {
    device: Cpu,
    trunk: FusedTrunk,
    frames: usize,
    /// In the order of checkpoints.
    params: Vec<(String, PackedParam)>,
    by_name: HashMap<String, usize>,
    steps: i32,
}

impl FusedNetwork {
    /// With fresh parameters.
    pub fn new(trunk: FusedTrunk, network: &Network, frames: usize, seed: u64) -> FusedNetwork {
        let device = Cpu::default();
        device.enable_cache();
        let fresh = |param: &crate::model::network::Param| {
            let (state, (rows, cols)) = (ParamState::fresh(param.initial(seed)), param.shape);
            let packed = match &trunk {
                // Everything that an LSTM has goes to its gates.
                FusedTrunk::Lstm { hidden, .. } if param.name.starts_with("lstm.") => {
                    PackedParam::of_gates(state, rows, *hidden)
                }
                _ => PackedParam::new(state, rows, cols),
            };
            (param.name.clone(), packed)
        };
        let params: Vec<(String, PackedParam)> = network.params.iter().map(fresh).collect();
        let by_name = params.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
        FusedNetwork { device, trunk, frames, params, by_name, steps: 0 }
    }

    fn param(&self, name: &str) -> Result<&PackedParam, Error> {
        let at = self.by_name.get(name).copied().ok_or(Error::OtherNetwork)?;
        Ok(&self.params[at].1)
    }

    fn pair(&self, name: &str) -> Result<[&PackedParam; 2], Error> {
        Ok([self.param(&format!("{name}.w"))?, self.param(&format!("{name}.b"))?])
    }

    fn layer<T: Tape<f32, Cpu> + 'static>(&self, name: &str, x: Matrix<Cpu, T>) -> Result<Matrix<Cpu, T>, Error> {
        let [w, b] = self.pair(name)?;
        Ok(affine(x, w, b, true)?)
    }

    /// Runs a batch.
    pub fn forward<T: Tape<f32, Cpu> + 'static>(&self, x: &InputBatch, tape: T) -> Result<Output<Cpu, T>, Error> {
        let (for_classes, for_audio) = match &self.trunk {
            FusedTrunk::Lstm { precision, .. } => {
                let params = [self.param("lstm.w")?, self.param("lstm.u")?, self.param("lstm.b")?];
                let (h, tape) = lstm_layer(&self.device, x, tape, (self.frames, *precision), params)?.split_tape();
                (h.retaped::<T>(), h.put_tape(tape))
            }
            FusedTrunk::Autoencoder { encoder, decoder } => {
                let mut x = match encoder.first() {
                    Some(_) => {
                        let [w, b] = self.pair("encoder0")?;
                        relu(affine_of_input(&self.device, x, tape, w, b)?)?
                    }
                    None => matrix(&self.device, &x.all_rows(), x.rows, x.cols)?.put_tape(tape),
                };
                for i in 1..encoder.len() {
                    x = relu(self.layer(&format!("encoder{i}"), x)?)?;
                }
                let (latent, tape) = x.split_tape();
                let mut x = latent.clone().put_tape(tape);
                for i in 0..decoder.len() {
                    x = relu(self.layer(&format!("decoder{i}"), x)?)?;
                }
                (latent.retaped::<T>(), x)
            }
        };
        Ok(Output { logits: self.layer("classify", for_classes)?, audio: self.layer("audio", for_audio)? })
    }

    /// The gradients of the backward passes since the last update, by name; the next backward pass begins anew.
    pub fn take_gradients(&self) -> Vec<(String, Vec<f32>)> {
        self.params.iter().map(|(name, param)| (name.clone(), param.take_gradient())).collect()
    }
}

impl Drop for FusedNetwork {
    fn drop(&mut self) {
        // dfdx's cache has no Drop of its own.
        self.device.empty_cache();
    }
}

impl TrainedNetwork for FusedNetwork {
    fn step(&mut self, adam: &AdamConfig, objective: &Objective, batch: &Batch) -> Result<StepOutcome, Error> {
        let output = self.forward(&batch.x, OwnedTape::default())?;
        let (logits, audio) = (numbers(&output.logits), numbers(&output.audio));
        let (total, [loss, loss_cls, loss_rec]) = total_loss(&self.device, output, objective, batch)?;
        total.try_backward().map_err(DeviceError::of)?;
        self.steps += 1;
        self.params.iter_mut().for_each(|(_, param)| param.update(adam, self.steps));
        Ok(StepOutcome { loss, loss_cls, loss_rec, logits, audio })
    }

    fn outputs(&self, x: &InputBatch) -> Result<(Scratch, Scratch), Error> {
        let output = self.forward(x, NoneTape)?;
        Ok((numbers(&output.logits), numbers(&output.audio)))
    }

    fn steps(&self) -> i32 {
        self.steps
    }

    fn save(&self) -> Result<Vec<SavedParam>, Error> {
        let saved = |(name, param): &(String, PackedParam)| SavedParam {
            name: name.clone(),
            shape: param.shape(),
            state: param.state(),
        };
        Ok(self.params.iter().map(saved).collect())
    }

    fn restore(&mut self, saved: Vec<SavedParam>, steps: i32) -> Result<(), Error> {
        let same =
            |(s, (name, param)): (&SavedParam, &(String, PackedParam))| s.name == *name && s.shape == param.shape();
        if saved.len() != self.params.len() || !saved.iter().zip(&self.params).all(same) {
            return Err(Error::OtherNetwork);
        }
        saved.into_iter().zip(&mut self.params).for_each(|(s, (_, param))| param.restore(s.state));
        self.steps = steps;
        Ok(())
    }

    fn count(&self) -> usize {
        self.params.iter().map(|(_, param)| param.shape().0 * param.shape().1).sum()
    }
}

/// A head on a stream.
struct FusedHead {
    device: Cpu,
    w: PackedParam,
    b: PackedParam,
    steps: i32,
}

/// A head with its first values.
pub fn head(head: &Head) -> Box<dyn HeadNetwork> {
    head_of(head.initial(), head.width(), head.classes)
}

/// A head with these weights (D, K) and biases (K).
pub fn head_of(values: [Vec<f32>; 2], width: usize, classes: usize) -> Box<dyn HeadNetwork> {
    let device = Cpu::default();
    device.enable_cache();
    let [w, b] = values.map(ParamState::fresh);
    let w = PackedParam::new(w, width, classes);
    Box::new(FusedHead { device, w, b: PackedParam::new(b, 1, classes), steps: 0 })
}

impl HeadNetwork for FusedHead {
    fn step(&mut self, adam: &AdamConfig, x: &[f32], labels: &[usize]) -> Result<f32, Error> {
        let (classes, rows) = (self.w.shape().1, labels.len());
        let x = matrix(&self.device, x, rows, self.w.shape().0)?.put_tape(OwnedTape::default());
        let logits = affine(x, &self.w, &self.b, false)?;
        let loss = cross_entropy(logits, one_hot(&self.device, labels, classes)?)?;
        let loss_value = value(&loss);
        if loss_value.is_finite() {
            loss.try_backward().map_err(DeviceError::of)?;
            self.steps += 1;
            self.w.update(adam, self.steps);
            self.b.update(adam, self.steps);
        }
        Ok(loss_value)
    }

    fn probabilities(&self, x: &[f32]) -> Result<Vec<f32>, Error> {
        let width = self.w.shape().0;
        let x = matrix(&self.device, x, x.len() / width.max(1), width)?;
        let p = affine(x, &self.w, &self.b, false)?.try_softmax::<Axis<1>>().map_err(DeviceError::of)?;
        Ok(numbers(&p).to_vec())
    }

    fn weights(&self) -> Result<[Vec<f32>; 2], Error> {
        Ok([self.w.state().value, self.b.state().value])
    }
}

impl Drop for FusedHead {
    fn drop(&mut self) {
        self.device.empty_cache();
    }
}
