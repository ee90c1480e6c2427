//! What products multiply: f32 numbers, or [pairs of bfloat16](super::bf16), which are two steps of the inner dimension at once.

use super::bf16;
use super::microkernel::{Kernels, Left, Tile};

/// A kind of numbers, four bytes each.
pub trait Number: bytemuck::Pod + Send + Sync {
    /// tile = left panel, or tile += left panel where `add`; the panel has `deep` rows of `width` numbers.
    ///
    /// # Safety
    /// The tile can be written, and nobody else touches it.
    unsafe fn run(kernels: &Kernels, tile: Tile, left: Left<Self>, panel: &[Self], size: [usize; 2], add: bool);
}

impl Number for f32 {
    #[inline(always)]
    unsafe fn run(kernels: &Kernels, tile: Tile, left: Left<f32>, panel: &[f32], size: [usize; 2], add: bool) {
        // SAFETY: the caller's promise.
        unsafe { kernels.run(tile, left, panel, size, add) }
    }
}

impl Number for u32 {
    #[inline(always)]
    unsafe fn run(_: &Kernels, tile: Tile, left: Left<u32>, panel: &[u32], size: [usize; 2], add: bool) {
        // SAFETY: the caller's promise.
        unsafe { bf16::run(tile, left, panel, size, add) }
    }
}
