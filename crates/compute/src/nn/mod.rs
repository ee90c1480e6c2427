//! Layers of neural networks on the CPU, forward and backward, and Adam: plain functions over row-major numbers.

pub mod adam;
pub mod input_batch;
pub mod linear;
pub mod lstm;
pub mod lstm_cell;
pub mod packed_param;

pub use adam::{AdamConfig, WeightDecay};
pub use input_batch::InputBatch;
pub use lstm_cell::gate_column;
pub use packed_param::{PackedParam, ParamState};
