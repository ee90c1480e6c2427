//! Training on an NVIDIA GPU: kernels of our own, the operations made of them, and trainers of many cells at once.
//!
//! [`api`] is the little that operations ask of a GPU: memory, kernels, products. [`kernels`] launches each kernel of
//! `kernels.cu` with its shapes checked; [`lstm`], [`linear`] and [`losses`] are made of these. [`batched_trainer`] trains many
//! cells as one: [`batched_params`] are their parameters, [`network`] their generators, and [`feed`] hands them their batches
//! from the [`feature_cache`]. [`svm`] trains SVM banks, [`heads`] the heads on streams; [`memory`] plans what fits. All but
//! `driver`, the one implementation of the API that knows CUDA, and `load`, which finds NVIDIA's libraries, compiles
//! without the feature `cuda` and is tested without a GPU: the tests run the same kernels on the host.

pub mod api;
pub mod batched_params;
pub mod batched_trainer;
pub mod binary_classifiers;
pub mod column_matrix;
#[cfg(feature = "cuda")]
pub mod driver;
pub mod feature_cache;
pub mod feed;
pub mod heads;
pub mod kernels;
pub mod linear;
#[cfg(feature = "cuda")]
mod load;
pub mod losses;
pub mod lstm;
pub mod memory;
pub mod network;
pub mod probe;
pub mod svm;
