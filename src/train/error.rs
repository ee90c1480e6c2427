//! What can go wrong while training.

/// An error of training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device refused: out of memory, driver trouble.
    #[error("device: {0}\n  next: lower train.batch, or use --device cpu")]
    Device(String),
    /// The loss is no longer a number.
    #[error("the loss became {value} in epoch {epoch}; training diverged\n  next: lower train.lr (now {lr})")]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// NaN or infinity.
        value: f32,
        /// The learning rate.
        lr: f64,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Somebody who listens to the training failed (a full disk, say).
    #[error("{0}")]
    Listener(String),
}

impl Error {
    /// Wraps what a device says.
    pub fn device(e: impl std::fmt::Debug) -> Error {
        Error::Device(format!("{e:?}"))
    }
}
