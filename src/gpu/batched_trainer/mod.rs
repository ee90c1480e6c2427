//! Generators that train side by side on an engine, as one program: [`Trainer`](crate::train::Trainer) for G cells whose batches, networks and steps
//! are the same; see [`crate::runs::grouping`] for what they may differ in.
//!
//! A step gathers its batch, runs the networks of all cells, and reads nothing back: what is measured goes to a log on the
//! device, which is read at the end of an epoch and folded as on the CPU.

mod demand;
mod log;
mod losses;
mod start;
mod trainer;

pub use demand::{demand, free_bytes, side_by_side};
pub use trainer::BatchedTrainer;
