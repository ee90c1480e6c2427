//! The numerics of `unmute`: pure functions of numbers. No file, no YAML, no SQL, no device but the CPU.
//!
//! [`matmul`] multiplies matrices, and everything heavy goes through it; [`nn`] has the layers of networks, [`svm`] trains linear support vector machines.
//! [`audio`], [`vision`] and [`flow`] make of sound and frames what pretrained networks take.
//! [`bootstrap`] resamples right and wrong clips for intervals. [`rng`] draws random numbers by purpose, [`simd`] says how wide vectors are, [`buffer_pool`] keeps large buffers for reuse.
//!
//! This package is always optimised, also in a debug build of the program, so that the tests can train networks.

pub mod audio;
pub mod bootstrap;
pub mod buffer_pool;
pub mod flow;
pub mod matmul;
pub mod nn;
pub mod rng;
pub mod simd;
pub mod svm;
pub mod vision;
