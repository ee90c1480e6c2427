//! The fused engine on the CPU: layers of [`compute::nn`] on packed parameters, strung together on dfdx's tape.
//!
//! Of dfdx, the tape, ReLU and the losses are used; affine maps, the LSTM and Adam are ours. The same networks in dfdx's own
//! operations are [`reference`](super::reference).

mod network;
mod ops;

pub use network::{FusedNetwork, head, head_of};
