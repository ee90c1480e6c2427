//! What training on a GPU is made of, without a GPU: the kernels compiled for the host and run there, one by one and as
//! the fused operations, against the CPU's own code; their PTX; and the whole program on a stand-in for NVIDIA's libraries.
//! Tests that need a GPU are ignored by themselves; [`stand_in`] runs them without one, `just test-cuda` on one.

mod counts;
#[cfg(feature = "dfdx-cuda")]
mod dfdx;
mod end_to_end;
mod fused;
mod head;
mod host;
mod kernels;
mod losses;
mod on_gpu;
mod program;
mod ptx;
mod stand_in;
mod svm;
