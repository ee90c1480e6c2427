// What an affine map needs beside its products: its bias, and the gradient of that.

#include "thread.cuh"

// y += b for every row; y (G, N, E), bias (G, E).
KERNEL add_bias(count cells, count rows, count width, float *y, const float *bias) {
    count n = HERE;
    if (n >= cells * rows * width) return;
    y[n] += bias[n / width / rows * width + n % width];
}

// Partial sums over rows, always of the same rows in the same order: rows (G, N, E) -> sums (G, P, E) with
// P = ceil(N / block); sum p is over rows p block .. (p + 1) block. A second call over the partial sums gives the whole.
KERNEL column_sums(count cells, count rows, count width, count block, const float *numbers, float *sums) {
    count parts = (rows + block - 1) / block;
    count n = HERE;
    if (n >= cells * parts * width) return;
    count column = n % width, part = n / width % parts, cell = n / width / parts;
    count from = part * block, to = from + block < rows ? from + block : rows;
    const float *at = numbers + (cell * rows + from) * width + column;
    float sum = 0.0f;
    for (count row = from; row < to; row++, at += width) sum += *at;
    sums[n] = sum;
}
