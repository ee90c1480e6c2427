//! The reference engine: generators, losses, heads and Adam in dfdx's own operations, on any of its devices.
//!
//! A network is written here first: its forward pass stands with its settings in [`crate::model::generator`]. The fused
//! engines are tested against this one, and `unmute verify --engine dfdx` compares runs.

use super::batches::Batch;
use super::cell_trainer::{StepOutcome, TrainedNetwork};
use super::error::Error;
use super::heads::{Head, HeadNetwork};
use super::objective::{Objective, total_loss};
use super::trainer::SavedParam;
use crate::model::generator::{Generator, Output, Params};
use crate::model::loss::cross_entropy;
use crate::model::network::Network;
use crate::model::tensor::{DeviceError, Matrix, affine, matrix, numbers, one_hot, value};
use compute::buffer_pool::Scratch;
use compute::nn::{AdamConfig, InputBatch, ParamState, WeightDecay};
use dfdx::prelude::*;

/// Matrices' numbers by name, row-major.
pub type ByName = Vec<(String, Vec<f32>)>;

/// A device of dfdx whose memory can be read and written outside of tensors, where Adam's moments are.
pub trait DfdxDevice: Device<f32> {
    /// A buffer's numbers, on the host.
    fn to_host(&self, buffer: &<Self as Storage<f32>>::Vec) -> Result<Vec<f32>, DeviceError>;

    /// A buffer on the device.
    fn to_device(&self, values: &[f32]) -> Result<<Self as Storage<f32>>::Vec, DeviceError>;
}

impl DfdxDevice for Cpu {
    fn to_host(&self, buffer: &<Self as Storage<f32>>::Vec) -> Result<Vec<f32>, DeviceError> {
        Ok(buffer.to_vec())
    }

    fn to_device(&self, values: &[f32]) -> Result<<Self as Storage<f32>>::Vec, DeviceError> {
        let mut buffer = Storage::<f32>::try_alloc_len(self, values.len()).map_err(DeviceError::of)?;
        buffer.copy_from_slice(values);
        Ok(buffer)
    }
}

#[cfg(feature = "dfdx-cuda")]
impl DfdxDevice for Cuda {
    fn to_host(&self, buffer: &<Self as Storage<f32>>::Vec) -> Result<Vec<f32>, DeviceError> {
        buffer.device().dtoh_sync_copy(buffer).map_err(DeviceError::of)
    }

    fn to_device(&self, values: &[f32]) -> Result<<Self as Storage<f32>>::Vec, DeviceError> {
        let mut buffer = Storage::<f32>::try_alloc_len(self, values.len()).map_err(DeviceError::of)?;
        let device = buffer.device();
        device.htod_sync_copy_into(values, &mut buffer).map_err(DeviceError::of)?;
        Ok(buffer)
    }
}

/// A matrix in a dfdx tensor, with Adam's moments.
struct Param<D: DfdxDevice> {
    name: String,
    value: Matrix<D>,
    moments: [<D as Storage<f32>>::Vec; 2],
}

impl<D: DfdxDevice> Param<D> {
    fn new(device: &D, name: &str, state: &ParamState, (rows, cols): (usize, usize)) -> Result<Self, DeviceError> {
        let moments = [device.to_device(&state.moment1)?, device.to_device(&state.moment2)?];
        Ok(Param { name: name.into(), value: matrix(device, &state.value, rows, cols)?, moments })
    }

    /// One step of dfdx's Adam. A parameter that the loss does not reach has a gradient of zeros.
    fn update(&mut self, adam: &AdamConfig, step: i32, grads: &mut Gradients<f32, D>) -> Result<(), DeviceError> {
        let weight_decay = adam.decay.map(|decay| match decay {
            WeightDecay::L2(decay) => dfdx::optim::WeightDecay::L2(decay),
            WeightDecay::Decoupled(decay) => dfdx::optim::WeightDecay::Decoupled(decay),
        });
        let adam = dfdx::optim::AdamConfig { lr: adam.lr, betas: adam.betas, eps: adam.eps, weight_decay };
        let [moment1, moment2] = &mut self.moments;
        let gradient = grads.get_or_alloc_mut(&self.value).map_err(DeviceError::of)?;
        adam.try_update(step, &mut self.value, moment1, moment2, gradient).map_err(DeviceError::of)
    }

    fn state(&self) -> Result<ParamState, DeviceError> {
        let device = self.value.device();
        let [moment1, moment2] = self.moments.each_ref().map(|m| device.to_host(m));
        Ok(ParamState { value: numbers(&self.value).to_vec(), moment1: moment1?, moment2: moment2? })
    }
}

/// A generator in dfdx's operations.
pub struct ReferenceNetwork<D: DfdxDevice> {
    device: D,
    generator: Generator,
    frames: usize,
    /// In the order of checkpoints.
    params: Vec<Param<D>>,
    steps: i32,
}

impl<D: DfdxDevice> ReferenceNetwork<D> {
    /// With fresh parameters, those of the fused engine.
    pub fn new(
        device: D,
        generator: Generator,
        network: &Network,
        frames: usize,
        seed: u64,
    ) -> Result<Self, DeviceError> {
        let fresh = network.params.iter().map(|p| {
            let state = ParamState::fresh(p.initial(seed));
            Param::new(&device, &p.name, &state, p.shape)
        });
        let params = fresh.collect::<Result<Vec<_>, DeviceError>>()?;
        Ok(ReferenceNetwork { device, generator, frames, params, steps: 0 })
    }

    fn forward(&self, x: &InputBatch) -> Result<Output<D, OwnedTape<f32, D>>, DeviceError> {
        let x = matrix(&self.device, &x.all_rows(), x.rows, x.cols)?.put_tape(OwnedTape::default());
        let params = Params(self.params.iter().map(|p| (p.name.clone(), p.value.clone())).collect());
        self.generator.forward(&params, x, self.frames)
    }

    /// Losses of a batch and dL/dW of every parameter by name, row-major; nothing is updated.
    pub fn gradients(&self, objective: &Objective, batch: &Batch) -> Result<([f32; 3], ByName), Error> {
        let output = self.forward(&batch.x)?;
        let (total, losses) = total_loss(&self.device, output, objective, batch)?;
        let mut grads = total.try_backward().map_err(DeviceError::of)?;
        let of = |p: &Param<D>| -> Result<(String, Vec<f32>), DeviceError> {
            let gradient = grads.get_or_alloc_mut(&p.value).map_err(DeviceError::of)?;
            Ok((p.name.clone(), self.device.to_host(gradient)?))
        };
        let gradients = self.params.iter().map(of).collect::<Result<Vec<_>, DeviceError>>()?;
        Ok((losses, gradients))
    }
}

impl<D: DfdxDevice> TrainedNetwork for ReferenceNetwork<D> {
    fn step(&mut self, adam: &AdamConfig, objective: &Objective, batch: &Batch) -> Result<StepOutcome, Error> {
        let output = self.forward(&batch.x)?;
        let (logits, audio) = (numbers(&output.logits), numbers(&output.audio));
        let (total, [loss, loss_cls, loss_rec]) = total_loss(&self.device, output, objective, batch)?;
        let mut grads = total.try_backward().map_err(DeviceError::of)?;
        self.steps += 1;
        self.params.iter_mut().try_for_each(|p| p.update(adam, self.steps, &mut grads))?;
        Ok(StepOutcome { loss, loss_cls, loss_rec, logits, audio })
    }

    fn outputs(&self, x: &InputBatch) -> Result<(Scratch, Scratch), Error> {
        let output = self.forward(x)?;
        Ok((numbers(&output.logits), numbers(&output.audio)))
    }

    fn steps(&self) -> i32 {
        self.steps
    }

    fn save(&self) -> Result<Vec<SavedParam>, Error> {
        let saved = |p: &Param<D>| -> Result<SavedParam, Error> {
            Ok(SavedParam { name: p.name.clone(), shape: *p.value.shape(), state: p.state()? })
        };
        self.params.iter().map(saved).collect()
    }

    fn restore(&mut self, saved: Vec<SavedParam>, steps: i32) -> Result<(), Error> {
        let same = |(s, p): (&SavedParam, &Param<D>)| s.name == p.name && s.shape == *p.value.shape();
        if saved.len() != self.params.len() || !saved.iter().zip(&self.params).all(same) {
            return Err(Error::OtherNetwork);
        }
        for (p, s) in self.params.iter_mut().zip(saved) {
            *p = Param::new(&self.device, &s.name, &s.state, s.shape)?;
        }
        self.steps = steps;
        Ok(())
    }

    fn count(&self) -> usize {
        self.params.iter().map(|p| p.value.shape().num_elements()).sum()
    }
}

/// A head on a stream.
struct ReferenceHead<D: DfdxDevice> {
    device: D,
    w: Param<D>,
    b: Param<D>,
    steps: i32,
}

/// A head with its first values.
pub fn head<D: DfdxDevice>(device: D, head: &Head) -> Result<Box<dyn HeadNetwork>, Error> {
    let [w, b] = head.initial().map(ParamState::fresh);
    let w = Param::new(&device, "w", &w, (head.width(), head.classes))?;
    let b = Param::new(&device, "b", &b, (1, head.classes))?;
    Ok(Box::new(ReferenceHead { device, w, b, steps: 0 }))
}

impl<D: DfdxDevice> HeadNetwork for ReferenceHead<D> {
    fn step(&mut self, adam: &AdamConfig, x: &[f32], labels: &[usize]) -> Result<f32, Error> {
        let (width, classes) = *self.w.value.shape();
        let x = matrix(&self.device, x, labels.len(), width)?.put_tape(OwnedTape::default());
        let logits = affine(x, &self.w.value, &self.b.value)?;
        let loss = cross_entropy(logits, one_hot(&self.device, labels, classes)?)?;
        let loss_value = value(&loss);
        if loss_value.is_finite() {
            let mut grads = loss.try_backward().map_err(DeviceError::of)?;
            self.steps += 1;
            self.w.update(adam, self.steps, &mut grads)?;
            self.b.update(adam, self.steps, &mut grads)?;
        }
        Ok(loss_value)
    }

    fn probabilities(&self, x: &[f32]) -> Result<Vec<f32>, Error> {
        let width = self.w.value.shape().0;
        let x = matrix(&self.device, x, x.len() / width.max(1), width)?;
        let logits = affine(x, &self.w.value, &self.b.value)?;
        let p = logits.try_softmax::<Axis<1>>().map_err(DeviceError::of)?;
        Ok(numbers(&p).to_vec())
    }

    fn weights(&self) -> Result<[Vec<f32>; 2], Error> {
        Ok([numbers(&self.w.value).to_vec(), numbers(&self.b.value).to_vec()])
    }
}
