//! Training on an NVIDIA GPU: kernels of our own, the operations made of them, and trainers of many cells at once.
//!
//! [`api`] is the little that operations ask of a GPU: memory, kernels, products. [`kernels`] has the kernels and launches
//! them; [`lstm`], [`linear`] and [`losses`] are made of these. [`batched_trainer`] trains many cells as one:
//! [`batched_params`] are their parameters, [`network`] their generators, and [`feed`] hands them their batches from the
//! [`feature_cache`]. [`svm`] trains SVM banks, [`heads`] the heads on streams; [`forward`] computes what a trained generator makes; [`memory`] plans what fits. [`detect`] looks
//! for GPUs and [`libraries`] for what NVIDIA brings, both when the program runs: nothing is linked. [`driver`] is the one
//! implementation of the API that knows CUDA; the tests have another, which runs the same kernels on the host.

pub mod api;
pub mod batched_params;
pub mod batched_trainer;
pub mod binary_classifiers;
pub mod column_matrix;
pub mod cublas;
pub mod detect;
pub mod driver;
pub mod feature_cache;
pub mod feed;
pub mod forward;
pub mod heads;
pub mod kernels;
pub mod libraries;
pub mod linear;
pub mod losses;
pub mod lstm;
pub mod memory;
pub mod network;
pub mod probe;
pub mod svm;
