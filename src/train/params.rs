//! Named parameters and their initial values; all of it, Adam's moments included, can be saved.

use super::device::Backend;
use super::error::Error;
use super::weight::{State, Weight};
use crate::experiment::config::Train;
use compute::rng::Rng;
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::prelude::*;

/// A flat list of named parameters and the number of steps taken.
pub struct Params<D: Backend> {
    device: D,
    list: Vec<(String, D::Weight)>,
    step: i32,
}

/// A parameter as plain numbers, for checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// `lstm.w`, `audio.b`, ...
    pub name: String,
    /// (rows, columns); vectors are (1, n).
    pub shape: (usize, usize),
    /// Values and moments.
    pub state: State,
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
        self.add(name, drawn(name, rows * cols, bound, seed), rows, cols)
    }

    /// [`Params::uniform`] of what goes to the gates of an LSTM, (rows, 4 `hidden`).
    pub fn gates(&mut self, name: &str, rows: usize, hidden: usize, bound: f64, seed: u64) -> Result<usize, Error> {
        let state = State::fresh(drawn(name, rows * 4 * hidden, bound, seed));
        self.list.push((name.into(), D::Weight::of_gates(&self.device, state, rows, hidden)?));
        Ok(self.list.len() - 1)
    }

    /// Adds a parameter with given values.
    pub fn add(&mut self, name: &str, values: Vec<f32>, rows: usize, cols: usize) -> Result<usize, Error> {
        self.list.push((name.into(), D::Weight::new(&self.device, State::fresh(values), rows, cols)?));
        Ok(self.list.len() - 1)
    }

    /// The parameter at a place.
    pub fn get(&self, place: usize) -> &D::Weight {
        &self.list[place].1
    }

    /// Every parameter, in order.
    pub fn iter(&self) -> impl Iterator<Item = &D::Weight> {
        self.list.iter().map(|(_, weight)| weight)
    }

    /// Number of trained numbers.
    pub fn count(&self) -> usize {
        self.iter().map(|w| w.shape().0 * w.shape().1).sum()
    }

    /// One step of Adam. A parameter that no loss ever reached keeps its value.
    pub fn update(&mut self, adam: &AdamConfig, grads: &mut Gradients<f32, D>) -> Result<(), Error> {
        self.step += 1;
        self.list.iter_mut().try_for_each(|(_, weight)| weight.update(adam, self.step, grads))
    }

    /// Steps taken.
    pub fn step(&self) -> i32 {
        self.step
    }

    /// All of it as plain numbers.
    pub fn save(&self) -> Result<Vec<Saved>, Error> {
        let saved = |(name, weight): &(String, D::Weight)| {
            Ok(Saved { name: name.clone(), shape: weight.shape(), state: weight.state()? })
        };
        self.list.iter().map(saved).collect()
    }

    /// Takes saved values back; `false`, and nothing is changed, where names or shapes are not these.
    pub fn restore(&mut self, saved: Vec<Saved>, step: i32) -> Result<bool, Error> {
        let fits = saved.len() == self.list.len()
            && saved.iter().zip(&self.list).all(|(s, (name, weight))| s.name == *name && s.shape == weight.shape());
        if !fits {
            return Ok(false);
        }
        for (s, (_, weight)) in saved.into_iter().zip(&mut self.list) {
            weight.restore(&self.device, s.state)?;
        }
        self.step = step;
        Ok(true)
    }
}

/// Numbers drawn uniformly from [-bound, bound), from the stream `init/NAME` of the seed.
pub fn drawn(name: &str, len: usize, bound: f64, seed: u64) -> Vec<f32> {
    let mut stream = Rng::new(seed, &format!("init/{name}"));
    (0..len).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect()
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
