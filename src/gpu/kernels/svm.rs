//! Losses of SVMs in training, and what a line search asks of them.

use super::launcher::kernels;
use crate::gpu::api::View;

kernels! { "svm":
    svm_slopes(
        rows: usize, width: usize, z: View, problems: usize, index: View<i64>, labels: View<i64>, classes: View<i64>,
        c2: f32, a: View,
    );
    svm_losses(rows: usize, width: usize, block: usize, a: View, sums: View<f64>);
    svm_lossy(
        rows: usize, width: usize, a: View, a_width: usize, index: View<i64>, xv: View, c2: f32, out: View,
    );
    svm_line(
        rows: usize, width: usize, block: usize, z: View, problems: usize, index: View<i64>, labels: View<i64>,
        classes: View<i64>, xs: View, t: View, sums: View<f64>,
    );
}
