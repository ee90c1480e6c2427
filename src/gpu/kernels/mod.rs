//! The kernels: for each operation a `.cu`, where formulas and shapes stand, its PTX, which `just ptx` makes and every build
//! carries, and typed launchers.
//!
//! `launch` of each module takes a kernel's arguments by type and trusts their sizes; the functions beside it, and those of
//! [`super::losses`], [`super::column_matrix`] and [`super::binary_classifiers`], check that what they are given has the
//! sizes that the kernel will touch. PTX is for compute capability 8.0, and the driver compiles it for the GPU at hand.

pub mod adam;
pub mod affine;
pub(super) mod columns;
pub(super) mod cross_entropy;
pub mod gather;
mod launcher;
pub mod lstm;
pub(super) mod reconstruction;
pub mod relu;
pub(super) mod svm;

use super::api::Source;

/// All of them.
pub const SOURCES: [Source; 9] = [
    adam::SOURCE,
    affine::SOURCE,
    columns::SOURCE,
    cross_entropy::SOURCE,
    gather::SOURCE,
    lstm::SOURCE,
    reconstruction::SOURCE,
    relu::SOURCE,
    svm::SOURCE,
];

/// What every `.cu` includes.
pub const SHARED: &str = include_str!("thread.cuh");
