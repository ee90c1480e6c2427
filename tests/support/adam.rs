//! dfdx's Adam, which ours are held against.

use super::numbers::matrix;
use compute::nn::{AdamConfig, ParamState, WeightDecay};
use dfdx::prelude::*;
use unmute::model::Matrix;
use unmute::train::reference::DfdxDevice;

/// dfdx's Adam of a matrix.
pub struct OfDfdx {
    value: Matrix<Cpu>,
    moments: [Vec<f32>; 2],
}

impl OfDfdx {
    /// Of so many rows, moments 0.
    pub fn new(start: &[f32], rows: usize) -> OfDfdx {
        let zeros = || vec![0.0; start.len()];
        OfDfdx { value: matrix(start.to_vec(), rows, start.len() / rows), moments: [zeros(), zeros()] }
    }

    /// A step, from 1.
    pub fn update(&mut self, config: &AdamConfig, step: i32, gradient: &[f32]) {
        let weight_decay = config.decay.map(|decay| match decay {
            WeightDecay::L2(decay) => dfdx::optim::WeightDecay::L2(decay),
            WeightDecay::Decoupled(decay) => dfdx::optim::WeightDecay::Decoupled(decay),
        });
        let adam = dfdx::optim::AdamConfig { lr: config.lr, betas: config.betas, eps: config.eps, weight_decay };
        let device = Cpu::default();
        let [mut m, mut v] = self.moments.each_ref().map(|moment| device.to_device(moment).unwrap());
        let gradient = device.to_device(gradient).unwrap();
        adam.try_update(step, &mut self.value, &mut m, &mut v, &gradient).unwrap();
        self.moments = [m, v].map(|moment| device.to_host(&moment).unwrap());
    }

    /// Its numbers.
    pub fn state(&self) -> ParamState {
        let [moment1, moment2] = self.moments.clone();
        ParamState { value: self.value.as_vec(), moment1, moment2 }
    }
}
