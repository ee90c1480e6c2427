// Cross-entropy of G cells side by side, and its gradient; log sum exp, which divergences are made of too.

#include "thread.cuh"

// log sum exp over blocks of columns: x (R, E) -> sums (R, P), P = ceil(E / block). A second call over these gives that of
// the row, since log sum exp of parts is that of the whole.
KERNEL log_sums(count rows, count width, count block, const float *x, float *sums) {
    count parts = (width + block - 1) / block;
    count n = HERE;
    if (n >= rows * parts) return;
    count from = n % parts * block, to = from + block < width ? from + block : width;
    const float *row = x + n / parts * width;
    float most = row[from];
    for (count i = from + 1; i < to; i++) most = fmaxf(most, row[i]);
    float sum = 0.0f;
    for (count i = from; i < to; i++) sum += expf(row[i] - most);
    sums[n] = most + logf(sum);
}

// Cross-entropy of each row: losses (G, N) = log sum exp - the logit of the row's label; logits (G, N, K), sums (G, N),
// labels (N) below K.
KERNEL label_losses(count cells, count rows, count classes, const float *logits, const float *sums, const count *labels,
                    float *losses) {
    count n = HERE;
    if (n >= cells * rows) return;
    losses[n] = sums[n] - logits[n * classes + labels[n % rows]];
}

// 1 where the first of the greatest logits is the label's, else 0: hits (G, N).
KERNEL label_hits(count cells, count rows, count classes, const float *logits, const count *labels, float *hits) {
    count n = HERE;
    if (n >= cells * rows) return;
    const float *row = logits + n * classes;
    count best = 0;
    for (count k = 1; k < classes; k++) best = row[k] > row[best] ? k : best;
    hits[n] = best == labels[n % rows] ? 1.0f : 0.0f;
}

// The gradient of cross-entropy: (softmax(logits) - one-hot(label)) weight[cell] scale, (G, N, K). A cell of weight 0 gets
// zeros whatever its logits.
KERNEL label_gradient(count cells, count rows, count classes, const float *logits, const float *sums,
                      const count *labels, const float *weights, float scale, float *gradient) {
    count n = HERE;
    if (n >= cells * rows * classes) return;
    count k = n % classes, row = n / classes;
    float weight = weights[row / rows], p = expf(logits[n] - sums[row]);
    gradient[n] = weight == 0.0f ? 0.0f : (p - (labels[row % rows] == k ? 1.0f : 0.0f)) * (weight * scale);
}
