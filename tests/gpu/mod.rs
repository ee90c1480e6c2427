//! What training on a GPU is made of, without a GPU: the kernels compiled for the host and run there, one by one and as
//! the fused operations, against the CPU's own code; and the kernels compiled to PTX where a CUDA compiler is found.

#[cfg(feature = "cuda")]
mod counts;
#[cfg(feature = "cuda")]
mod end_to_end;
mod fused;
#[cfg(feature = "cuda")]
mod gpu;
mod head;
mod host;
mod kernels;
mod losses;
mod program;
mod ptx;
mod svm;
