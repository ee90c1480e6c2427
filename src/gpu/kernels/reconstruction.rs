//! How far generated features are from the true ones, for G cells side by side, and the gradients.

use super::launcher::kernels;
use crate::gpu::api::View;

kernels! { "reconstruction":
    squared_errors(cells: usize, rows: usize, width: usize, block: usize, output: View, target: View, sums: View);
    l2_gradient(
        cells: usize, rows: usize, width: usize, output: View, target: View, weights: View, scale: f32, gradient: View,
    );
    divergences(
        cells: usize, rows: usize, width: usize, block: usize, output: View, output_sums: View, target: View,
        target_sums: View, sums: View,
    );
    kl_gradient(
        cells: usize, rows: usize, width: usize, output: View, output_sums: View, target: View, target_sums: View,
        weights: View, scale: f32, gradient: View,
    );
}
