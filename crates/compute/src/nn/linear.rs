//! The affine map y = x W + b; x (N, D), W (D, E), b (1, E), y (N, E).
//!
//! Gradients: dW = x^T dy, db = sum over rows of dy, dx = dy W^T.

use super::packed_param::{GradFactors, PackedParam, Rows};
use crate::buffer_pool::Scratch;
use crate::matmul::bf16::Pairs;
use crate::matmul::{Mat, Packed};
use std::rc::Rc;

/// x W + b, (N, E).
pub fn forward(x: &[f32], w: &PackedParam, b: &PackedParam, [n, e]: [usize; 2]) -> Scratch {
    let mut y = Scratch::repeat(&b.value().numbers()[..e], n);
    w.value().product(&mut y, x, true);
    y
}

/// dW = x^T dy and db = 1^T dy.
pub fn backward(x: Rows, dy: Packed, w: &PackedParam, b: &PackedParam) {
    let ones = Scratch::repeat(&[1.0], dy.rows());
    let dy = Rc::new(dy);
    w.accumulate(GradFactors::Whole { x, dy: dy.clone() });
    b.accumulate(GradFactors::Whole { x: Rows::all(ones), dy });
}

/// [`backward`] with rounded factors of so many rows: x [two rows together](Pairs::across).
pub fn backward_rounded(x: Pairs, dy: Packed<u32>, rows: usize, w: &PackedParam, b: &PackedParam) {
    let ones = Pairs::across(&Scratch::repeat(&[1.0], rows), 1);
    let dy = Rc::new(dy);
    w.accumulate(GradFactors::Rounded { x, dy: dy.clone() });
    b.accumulate(GradFactors::Rounded { x: ones, dy });
}

/// dx = dy W^T, added to `dx`; dy (N, E).
pub fn backward_input(dy: &[f32], w: &PackedParam, dx: &mut [f32]) {
    w.value().transposed().product(dx, dy, true);
}

/// dy (N, E) as [`backward`] takes it.
pub fn packed(dy: &[f32], columns: usize) -> Packed {
    Packed::new(Mat::new(dy, dy.len() / columns.max(1), columns))
}
