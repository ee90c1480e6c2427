//! Linear heads on the visual streams, where a data set brings no TSN scores.
//!
//! TSN averages a linear head's logits over the frames before the softmax (segment consensus). A linear map of frames
//! averaged afterwards is the linear map of their average, so the head is trained on each clip's mean frame: the same
//! model, T times cheaper. Sound plays no part: all train clips are used.

use super::batches::Vision;
use super::device::{Backend, matrix, numbers};
use super::error::Error;
use super::loss;
use super::params::{Params, adam_with_decay};
use crate::dataset::View;
use crate::experiment::config::Tsn;
use crate::random::Stream;
use dfdx::prelude::*;

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
    let classes = view.dataset.classes();
    let train = means(&view.train)?;
    let labels = view.labels(&view.train);
    let width = train.len() / labels.len().max(1);
    let mut params = Params::new(device.clone());
    let bound = 1.0 / (width as f64).sqrt();
    let w = params.uniform(&format!("tsn.{stream}.w"), width, classes, bound, seed)?;
    let b = params.uniform(&format!("tsn.{stream}.b"), 1, classes, bound, seed)?;
    let adam = adam_with_decay(tsn.lr, tsn.weight_decay);
    let steps = labels.len().div_ceil(tsn.batch);
    let mut mean_loss = 0.0;
    for epoch in 1..=tsn.epochs {
        let order = Stream::new(seed, &format!("tsn/{stream}/order/{epoch}")).permutation(labels.len());
        mean_loss = 0.0;
        for (i, rows) in order.chunks(tsn.batch).enumerate() {
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
    let x = matrix(device, &means(&view.val)?, view.val.len(), width)?;
    let logits = D::affine(x, params.get(w), params.get(b), false)?;
    let p = logits.try_softmax::<Axis<1>>().map_err(Error::device)?;
    Ok((numbers(&p).to_vec(), mean_loss))
}
