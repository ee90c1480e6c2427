//! Cross-entropy of G cells side by side, and its gradient; log sum exp, which divergences are made of too.

use super::launcher::kernels;
use crate::gpu::api::View;

kernels! { "cross_entropy":
    log_sums(rows: usize, width: usize, block: usize, x: View, sums: View);
    label_losses(cells: usize, rows: usize, classes: usize, logits: View, sums: View, labels: View<i64>, losses: View);
    label_hits(cells: usize, rows: usize, classes: usize, logits: View, labels: View<i64>, hits: View);
    label_gradient(
        cells: usize, rows: usize, classes: usize, logits: View, sums: View, labels: View<i64>, weights: View, scale: f32,
        gradient: View,
    );
}
