//! The affine map y = x W + b of G cells; x (G, N, D) or one (N, D) for all, W (G, D, E), b (G, E), y (G, N, E).
//!
//! Gradients: dW = x^T dy, db = sum over rows of dy, dx = dy W^T.

use super::api::{Factor, GpuApi, Product, View};
use super::kernels::affine::{add_bias, collect_sums};
use crate::train::Error;

/// Sizes of an affine map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// G.
    pub cells: usize,
    /// N.
    pub rows: usize,
    /// D.
    pub from: usize,
    /// E.
    pub to: usize,
    /// Whether all cells have the same x.
    pub shared: bool,
}

impl Shape {
    fn x<'a>(&self, x: View<'a>) -> Factor<'a> {
        Factor::new(x, if self.shared { 0 } else { self.rows * self.from })
    }
}

/// y = x W + b.
pub fn forward<E: GpuApi>(engine: &E, s: &Shape, x: View, w: View, b: View, y: View) -> Result<(), Error> {
    let (w, out) = (Factor::new(w, s.from * s.to), Factor::new(y, s.rows * s.to));
    Product { cells: s.cells, sizes: [s.rows, s.from, s.to], a: s.x(x), b: w, out, add: false }.run(engine)?;
    add_bias(engine, [s.cells, s.rows, s.to], y, b)
}

/// dW and db, or where `add`, what is added to them.
pub fn backward_weights<E: GpuApi>(
    engine: &E,
    s: &Shape,
    x: View,
    dy: View,
    [dw, db]: [View; 2],
    add: bool,
) -> Result<(), Error> {
    let (a, b, out) = (s.x(x).t(), Factor::new(dy, s.rows * s.to), Factor::new(dw, s.from * s.to));
    Product { cells: s.cells, sizes: [s.from, s.rows, s.to], a, b, out, add }.run(engine)?;
    collect_sums(engine, [s.cells, s.rows, s.to], dy, db, add)
}

/// dx += dy W^T.
pub fn backward_input<E: GpuApi>(engine: &E, s: &Shape, dy: View, w: View, dx: View) -> Result<(), Error> {
    let (dy, w) = (Factor::new(dy, s.rows * s.to), Factor::new(w, s.from * s.to).t());
    let out = Factor::new(dx, s.rows * s.from);
    Product { cells: s.cells, sizes: [s.rows, s.to, s.from], a: dy, b: w, out, add: true }.run(engine)
}
