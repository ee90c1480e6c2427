//! Named parameters, their initial values, and Adam with moments of our own, so that all of it can be saved.

use super::device::{Backend, Buffer, Matrix, matrix, numbers};
use super::error::Error;
use crate::experiment::config::Train;
use crate::random::Stream;
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::prelude::*;

/// One parameter matrix with Adam's moments.
pub struct Param<D: Backend> {
    /// `lstm.w`, `audio.b`, ...
    pub name: String,
    /// Its values; vectors are (1, n).
    pub value: Matrix<D>,
    moment1: Buffer<D>,
    moment2: Buffer<D>,
}

/// A flat list of parameters and the number of steps taken.
pub struct Params<D: Backend> {
    device: D,
    list: Vec<Param<D>>,
    step: i32,
}

/// A parameter as plain numbers, for checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Its name.
    pub name: String,
    /// (rows, columns).
    pub shape: (usize, usize),
    /// Values.
    pub value: Vec<f32>,
    /// Adam's first moment.
    pub moment1: Vec<f32>,
    /// Adam's second moment.
    pub moment2: Vec<f32>,
}

impl<D: Backend> Params<D> {
    /// An empty list on a device.
    pub fn new(device: D) -> Self {
        Params { device, list: Vec::new(), step: 0 }
    }

    /// Where they live.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Adds a parameter drawn uniformly from [-bound, bound), from the stream `init/NAME` of the seed, and returns its
    /// place.
    pub fn uniform(&mut self, name: &str, rows: usize, cols: usize, bound: f64, seed: u64) -> Result<usize, Error> {
        let mut stream = Stream::new(seed, &format!("init/{name}"));
        let values = (0..rows * cols).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect();
        self.add(name, values, rows, cols)
    }

    /// Adds a parameter with given values.
    pub fn add(&mut self, name: &str, values: Vec<f32>, rows: usize, cols: usize) -> Result<usize, Error> {
        let zeros = || Storage::<f32>::try_alloc_len(&self.device, rows * cols).map_err(Error::device);
        let (moment1, moment2) = (zeros()?, zeros()?);
        let value = matrix(&self.device, &values, rows, cols)?;
        self.list.push(Param { name: name.into(), value, moment1, moment2 });
        Ok(self.list.len() - 1)
    }

    /// The parameter at a place.
    pub fn get(&self, place: usize) -> &Matrix<D> {
        &self.list[place].value
    }

    /// Every parameter, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Param<D>> {
        self.list.iter()
    }

    /// Number of trained numbers.
    pub fn count(&self) -> usize {
        self.list.iter().map(|p| p.value.shape().0 * p.value.shape().1).sum()
    }

    /// One step of Adam (Kingma and Ba; bias-corrected). A parameter that the loss does not reach keeps its value.
    pub fn update(&mut self, adam: &AdamConfig, grads: &mut Gradients<f32, D>) -> Result<(), Error> {
        self.step += 1;
        for p in &mut self.list {
            let grad = grads.get_or_alloc_mut(&p.value).map_err(Error::device)?;
            adam.try_update(self.step, &mut p.value, &mut p.moment1, &mut p.moment2, grad).map_err(Error::device)?;
        }
        Ok(())
    }

    /// Steps taken.
    pub fn step(&self) -> i32 {
        self.step
    }

    /// All of it as plain numbers.
    pub fn save(&self) -> Result<Vec<Saved>, Error> {
        self.list
            .iter()
            .map(|p| {
                Ok(Saved {
                    name: p.name.clone(),
                    shape: *p.value.shape(),
                    value: numbers(&p.value).to_vec(),
                    moment1: self.device.to_host(&p.moment1)?,
                    moment2: self.device.to_host(&p.moment2)?,
                })
            })
            .collect()
    }

    /// Takes saved values back; `false`, and nothing is changed, where names or shapes are not these.
    pub fn restore(&mut self, saved: Vec<Saved>, step: i32) -> Result<bool, Error> {
        let fits = saved.len() == self.list.len()
            && saved.iter().zip(&self.list).all(|(s, p)| s.name == p.name && s.shape == *p.value.shape());
        if !fits {
            return Ok(false);
        }
        for (s, p) in saved.into_iter().zip(&mut self.list) {
            p.value = matrix(&self.device, &s.value, s.shape.0, s.shape.1)?;
            p.moment1 = self.device.to_device(s.moment1)?;
            p.moment2 = self.device.to_device(s.moment2)?;
        }
        self.step = step;
        Ok(true)
    }
}

/// Adam as the experiment declares it.
pub fn adam(train: &Train) -> AdamConfig {
    AdamConfig { lr: train.lr, betas: [train.beta1, train.beta2], eps: train.eps, weight_decay: None }
}

/// Adam with an L2 penalty, for the heads on the streams.
pub fn adam_with_decay(lr: f64, decay: f64) -> AdamConfig {
    let weight_decay = (decay > 0.0).then_some(WeightDecay::L2(decay));
    AdamConfig { lr, betas: [0.9, 0.999], eps: 1e-8, weight_decay }
}
