//! Linear heads on the visual streams, where a data set brings no TSN scores.
//!
//! TSN averages a linear head's logits over the frames before the softmax (segment consensus). A linear map of frames
//! averaged afterwards is the linear map of their average, so the head is trained on each clip's mean frame: the same
//! model, T times cheaper. Sound plays no part: all train clips are used.

use super::batches::Vision;
use super::error::Error;
use crate::dataset::View;
use crate::experiment::config::Tsn;
use crate::model::network::drawn;
use compute::nn::{AdamConfig, WeightDecay};
use compute::rng::Rng;

/// A head's training: the mean frames of N clips of one stream, (N, D), and their classes.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The stream's name, of which initial values and orders depend.
    pub stream: &'a str,
    /// (N, D), row-major.
    pub train: &'a [f32],
    /// (N), below K.
    pub labels: &'a [usize],
    /// Mean frames of the clips to score, (M, D).
    pub val: &'a [f32],
    /// K.
    pub classes: usize,
    /// Epochs, batch, learning rate, L2 penalty.
    pub tsn: &'a Tsn,
    /// The run's seed.
    pub seed: u64,
}

impl Head<'_> {
    /// D.
    pub fn width(&self) -> usize {
        self.train.len() / self.labels.len().max(1)
    }

    /// Steps of an epoch.
    pub fn steps(&self) -> usize {
        self.labels.len().div_ceil(self.tsn.batch)
    }

    /// The order of the clips in an epoch, from 1.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        Rng::new(self.seed, &format!("tsn/{}/order/{epoch}", self.stream)).permutation(self.labels.len())
    }

    /// Initial weights (D, K) and biases (K).
    pub fn initial(&self) -> [Vec<f32>; 2] {
        let (width, bound) = (self.width(), 1.0 / (self.width() as f64).sqrt());
        [("w", width * self.classes), ("b", self.classes)]
            .map(|(name, len)| drawn(&self.name(name), len, bound, self.seed))
    }

    fn name(&self, parameter: &str) -> String {
        format!("tsn.{}.{parameter}", self.stream)
    }
}

/// What a head on a stream is trained on.
pub struct HeadData {
    /// Mean frames of the train clips, (N, D).
    pub train: Vec<f32>,
    /// Their classes.
    pub labels: Vec<usize>,
    /// Mean frames of the clips to score, (M, D): val, then test where there is one.
    pub val: Vec<f32>,
}

impl HeadData {
    /// Of a stream.
    pub fn of(view: &View, vision: &Vision, stream: &str) -> Result<HeadData, Error> {
        let means = |clips: &[usize]| {
            let missing = || Error::NoSuchFeature { kind: "stream", name: stream.into() };
            vision.stream_means(stream, clips).ok_or_else(missing)
        };
        let scored = view.scored().iter().flat_map(|&split| view.clips(split)).copied().collect::<Vec<usize>>();
        Ok(HeadData { train: means(&view.train)?, labels: view.labels(&view.train), val: means(&scored)? })
    }
}

/// What training a head gives.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedHead {
    /// Softmax probabilities of the clips to score, (M, K).
    pub probabilities: Vec<f32>,
    /// The final train loss.
    pub loss: f64,
    /// W, (D, K).
    pub weights: Vec<f32>,
    /// b, (K).
    pub bias: Vec<f32>,
}

/// A linear head with its optimiser, on one engine or the other.
pub trait HeadNetwork {
    /// One step of Adam on rows (B, D) and their classes; gives the loss, and changes nothing where that is not finite.
    fn step(&mut self, adam: &AdamConfig, x: &[f32], labels: &[usize]) -> Result<f32, Error>;

    /// Softmax probabilities of rows, (M, K).
    fn probabilities(&self, x: &[f32]) -> Result<Vec<f32>, Error>;

    /// Weights (D, K) and biases (K).
    fn weights(&self) -> Result<[Vec<f32>; 2], Error>;
}

/// Adam with an L2 penalty.
fn adam(tsn: &Tsn) -> AdamConfig {
    let decay = (tsn.weight_decay > 0.0).then_some(WeightDecay::L2(tsn.weight_decay));
    AdamConfig { lr: tsn.lr, betas: [0.9, 0.999], eps: 1e-8, decay }
}

/// Trains a head batch by batch. `step` is told the steps done and all that there are.
pub fn train_head(
    head: &Head,
    network: &mut dyn HeadNetwork,
    step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
) -> Result<TrainedHead, Error> {
    let Head { train, labels, val, tsn, .. } = *head;
    let (width, steps, adam) = (head.width(), head.steps(), adam(tsn));
    let mut mean_loss = 0.0;
    for epoch in 1..=tsn.epochs {
        mean_loss = 0.0;
        for (i, rows) in head.order(epoch).chunks(tsn.batch).enumerate() {
            let x: Vec<f32> = rows.iter().flat_map(|&r| train[r * width..][..width].to_vec()).collect();
            let of_rows: Vec<usize> = rows.iter().map(|&r| labels[r]).collect();
            let value = network.step(&adam, &x, &of_rows)?;
            if !value.is_finite() {
                return Err(Error::Diverged { quantity: "the loss", epoch, value, key: "tsn.lr", lr: tsn.lr });
            }
            mean_loss += f64::from(value) * rows.len() as f64 / labels.len() as f64;
            step((epoch - 1) * steps + i + 1, steps * tsn.epochs)?;
        }
    }
    let [weights, bias] = network.weights()?;
    Ok(TrainedHead { probabilities: network.probabilities(val)?, loss: mean_loss, weights, bias })
}
