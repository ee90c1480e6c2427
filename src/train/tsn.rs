//! Linear heads on the visual streams, where a data set brings no TSN scores.
//!
//! TSN averages a linear head's logits over the frames before the softmax (segment consensus). A linear map of frames
//! averaged afterwards is the linear map of their average, so the head is trained on each clip's mean frame: the same
//! model, T times cheaper. Sound plays no part: all train clips are used.

use super::batches::Vision;
use super::device::{Backend, matrix, numbers};
use super::error::Error;
use super::loss;
use super::params::{Params, adam_with_decay, drawn};
use crate::dataset::View;
use crate::experiment::config::Tsn;
use compute::rng::Rng;
use dfdx::prelude::*;

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

/// Trains the head of `stream` and gives softmax probabilities of the val clips, (N_val, K), and the final train loss.
pub fn stream_scores<D: Backend>(
    device: &D,
    view: &View,
    vision: &Vision,
    stream: &str,
    tsn: &Tsn,
    seed: u64,
    step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
) -> Result<(Vec<f32>, f64), Error> {
    let means = |clips: &[usize]| {
        let missing = || Error::Listener(format!("the data set has no stream {stream:?}"));
        vision.stream_means(stream, clips).ok_or_else(missing)
    };
    let (train, labels, val) = (means(&view.train)?, view.labels(&view.train), means(&view.val)?);
    let classes = view.dataset.classes();
    device.head(&Head { stream, train: &train, labels: &labels, val: &val, classes, tsn, seed }, step)
}

/// A head on dfdx's tape, batch by batch from the host: probabilities (M, K), and the final train loss. `step` is told the
/// steps done and all that there are.
pub fn on_tape<D: Backend>(
    device: &D,
    head: &Head,
    step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
) -> Result<(Vec<f32>, f64), Error> {
    let Head { train, labels, val, classes, tsn, .. } = *head;
    let (width, steps) = (head.width(), head.steps());
    let mut params = Params::new(device.clone());
    let [w, b] = head.initial();
    let w = params.add(&head.name("w"), w, width, classes)?;
    let b = params.add(&head.name("b"), b, 1, classes)?;
    let adam = adam_with_decay(tsn.lr, tsn.weight_decay);
    let mut mean_loss = 0.0;
    for epoch in 1..=tsn.epochs {
        mean_loss = 0.0;
        for (i, rows) in head.order(epoch).chunks(tsn.batch).enumerate() {
            let x: Vec<f32> = rows.iter().flat_map(|&r| train[r * width..][..width].to_vec()).collect();
            let mut one_hot = vec![0.0; rows.len() * classes];
            for (k, &r) in rows.iter().enumerate() {
                one_hot[k * classes + labels[r]] = 1.0;
            }
            let x = matrix(device, &x, rows.len(), width)?.put_tape(OwnedTape::default());
            let logits = D::affine(x, params.get(w), params.get(b), false)?;
            let loss = loss::cross_entropy(logits, matrix(device, &one_hot, rows.len(), classes)?)?;
            let value = loss::value(&loss);
            if !value.is_finite() {
                return Err(Error::Diverged { epoch, value, lr: tsn.lr });
            }
            mean_loss += f64::from(value) * rows.len() as f64 / labels.len() as f64;
            let mut grads = loss.try_backward().map_err(Error::device)?;
            params.update(&adam, &mut grads)?;
            step((epoch - 1) * steps + i + 1, steps * tsn.epochs)?;
        }
    }
    let x = matrix(device, val, val.len() / width.max(1), width)?;
    let logits = D::affine(x, params.get(w), params.get(b), false)?;
    let p = logits.try_softmax::<Axis<1>>().map_err(Error::device)?;
    Ok((numbers(&p).to_vec(), mean_loss))
}
