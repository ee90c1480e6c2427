//! Matrices with a column for each of many problems.

use super::launcher::kernels;
use crate::gpu::api::View;

kernels! { "columns":
    select_columns(rows: usize, width: usize, from: View, from_width: usize, index: View<i64>, to: View);
    add_columns(rows: usize, width: usize, to: View, to_width: usize, index: View<i64>, by: View, from: View);
    turn_columns(rows: usize, width: usize, v: View, by: View, z: View);
    column_dots(rows: usize, width: usize, block: usize, a: View, b: View, sums: View<f64>);
    add_parts(parts: usize, width: usize, partial: View<f64>, sums: View<f64>);
}
