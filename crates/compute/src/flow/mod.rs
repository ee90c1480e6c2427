//! Optical flow: where the pixels of one grey frame are in the next.

pub mod dis;
mod field;
mod median;
pub mod quantise;
mod refine;
pub mod tvl1;
mod warp;

pub use field::Field;
