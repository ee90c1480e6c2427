//! Training: generators and the heads on the visual streams.
//!
//! [`task`] is what a generator is trained on. One or several are a [`trainer`], which [`schedule`] takes through the epochs and
//! which emits events. [`cell_trainer`] is the trainer of one cell on the CPU, and [`round_robin`] of several that take turns;
//! their networks are computed by one of two engines: [`fused`], our own operations, or [`mod@reference`], dfdx's, which is generic
//! over dfdx's devices. GPU kernels of our own train many cells at once and stand in `gpu`. [`heads`] are the linear
//! heads on the streams.

pub mod batches;
pub mod cell_trainer;
pub mod error;
pub mod fused;
pub mod heads;
pub mod objective;
mod prefetch;
pub mod reference;
pub mod round_robin;
pub mod schedule;
pub mod tally;
pub mod task;
pub mod trainer;

pub use batches::{Batch, Vision};
pub use error::Error;
pub use schedule::{Schedule, train, train_on};
pub use task::Task;
pub use trainer::{Best, Checkpoint, Epoch, Listener, Measures, Trainer};
