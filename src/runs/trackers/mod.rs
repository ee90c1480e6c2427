//! Runs for programs that show experiments: [`mod@mlflow`], [`mod@tensorboard`], [`mod@wandb`]. A format is one file behind one trait
//! ([`Tracker`]).

mod mlflow;
mod tensorboard;
mod tracker;
mod wandb;

pub use tracker::{Tracked, Tracker, tracked};

/// MLflow's file store.
pub fn mlflow() -> Box<dyn Tracker> {
    Box::new(mlflow::FileStore)
}

/// TensorBoard's event files.
pub fn tensorboard() -> Box<dyn Tracker> {
    Box::new(tensorboard::EventFiles)
}

/// Offline runs of Weights & Biases.
pub fn wandb() -> Box<dyn Tracker> {
    Box::new(wandb::OfflineRuns)
}
