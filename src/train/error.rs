//! What can go wrong while training.

use crate::model::DeviceError;

/// An error of training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device refused: out of memory, driver trouble.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A number of the training is none any more.
    #[error("{quantity} became {value} in epoch {epoch}; training diverged\n  next: lower {key} (now {lr})")]
    Diverged {
        /// What it is, `the loss`.
        quantity: &'static str,
        /// The epoch, from 1.
        epoch: usize,
        /// NaN or infinity.
        value: f32,
        /// The key of the learning rate.
        key: &'static str,
        /// The learning rate.
        lr: f64,
    },
    /// Ctrl-C, or somebody who listens to the training asked for its end.
    #[error("interrupted")]
    Interrupted,
    /// What whoever listens to the training cannot take, in words that say what to do.
    #[error("{0}")]
    Refused(String),
    /// A stream or audio feature that the data set does not have.
    #[error("the data set has no {kind} {name:?}\n  next: `unmute data stats` lists what it has")]
    NoSuchFeature {
        /// `stream` or `audio feature`.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// Parameters of a network with other names or shapes.
    #[error("a checkpoint of another network")]
    OtherNetwork,
    /// A cell that the trainer does not have.
    #[error("no cell {0}")]
    NoSuchCell(usize),
    /// A group that nobody should have made.
    #[error("generators that differ in {0} cannot be trained side by side")]
    Unlike(&'static str),
    /// No generator to train.
    #[error("no generator to train")]
    Nothing,
    /// A run that needs the SVM bank of its audio feature, without one.
    #[error("no SVM bank")]
    NoBank,
    /// A generator or loss that the chosen device cannot train.
    #[error("{0}")]
    Unsupported(String),
    /// What a GPU's memory does not hold, in words that say what to do.
    #[error("{0}")]
    Memory(String),
}

impl Error {
    /// What a device or its memory refuses, in words.
    pub fn refused(why: impl Into<String>) -> Error {
        Error::Device(DeviceError(why.into()))
    }

    /// Wraps what a device says.
    pub fn device(e: impl std::fmt::Debug) -> Error {
        Error::Device(DeviceError::of(e))
    }
}
