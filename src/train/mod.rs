//! Training with dfdx: generators, their losses, and the heads on the visual streams.
//!
//! [`device::Backend`] is a dfdx device; [`generator`] builds the two networks on it; [`trainer`] runs the epochs and
//! emits events; [`tsn`] trains the linear heads. Networks have run-time sizes, so parameters are a flat list
//! ([`params`]) instead of a dfdx module.

pub mod affine;
pub mod batches;
pub mod device;
pub mod error;
mod feed;
pub mod gates;
pub mod generator;
pub mod host;
pub mod loss;
pub mod lstm;
pub mod params;
pub mod program;
pub mod step;
pub mod trainer;
pub mod tsn;
pub mod weight;

pub use batches::Vision;
pub use device::{Backend, Matrix};
pub use error::Error;
pub use host::Host;
pub use program::Program;
pub use trainer::{Checkpoint, Epoch, Listener, Measures, Task, Trained};
