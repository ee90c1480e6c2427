//! Training with dfdx: generators, their losses, and the heads on the visual streams.
//!
//! [`device::Backend`] is a dfdx device; [`generator`] builds the two networks on it. What is trained is a [`program`] of one
//! generator or several: [`trainer`] has the program of one, [`turns`] of several that take turns. [`course`] runs the epochs
//! and emits events; [`tsn`] trains the linear heads. Networks have run-time sizes, so parameters are a flat list
//! ([`params`]) instead of a dfdx module.

pub mod affine;
pub mod batches;
pub mod course;
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
pub mod turns;
pub mod weight;

pub use batches::Vision;
pub use course::{Course, train};
pub use device::{Backend, Matrix};
pub use error::Error;
pub use host::Host;
pub use program::Program;
pub use trainer::{Checkpoint, Epoch, Listener, Measures, Task, Trained};
pub use turns::Turns;
