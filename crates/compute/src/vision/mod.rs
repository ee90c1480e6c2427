//! What image networks take for input: frames resized, cropped and normalised as the networks' authors do.

pub mod crops;
pub mod image;
pub mod jpeg;
pub mod pil;
pub mod resize;
