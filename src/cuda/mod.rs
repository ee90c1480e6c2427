//! Training on an NVIDIA GPU: our own kernels, the fused operations made of them, and what is decided before any of it runs.
//!
//! [`choice`] reads `--device` and says why a GPU cannot be used; [`memory`] plans what fits; [`group`] says which runs can be
//! trained side by side. [`engine`] is the little that fused operations ask of a GPU: memory, kernels, products. [`kernels`]
//! launches each kernel of `kernels.cu` with its shapes checked; [`lstm`], [`affine`], [`weight`] and [`resident`] are made of
//! these, and [`tape`] puts them on dfdx's tape. [`program`] trains many cells as one: [`stacks`] are their parameters, [`network`]
//! their generators, [`losses`] what they learn from, and [`feed`] hands them their batches. All but `driver`, the engine that runs on a GPU, and `load`, which finds NVIDIA's
//! libraries, compiles without the feature `cuda` and is tested without a GPU: the tests have an engine on the host that runs
//! the same kernels.

pub mod affine;
pub mod choice;
pub mod columns;
#[cfg(feature = "cuda")]
pub mod driver;
pub mod engine;
pub mod feed;
pub mod group;
pub mod head;
pub mod kernels;
#[cfg(feature = "cuda")]
mod load;
pub mod losses;
pub mod lstm;
pub mod machines;
pub mod memory;
pub mod network;
pub mod program;
pub mod resident;
pub mod stacks;
pub mod svm;
pub mod tape;
pub mod weight;
