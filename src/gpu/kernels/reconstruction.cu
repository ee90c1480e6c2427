// How far generated features are from the true ones, for G cells side by side, and the gradients.

#include "thread.cuh"

// Squared errors, summed over blocks of columns: output (G, N, E), target (N, E) -> sums (G, N, P), P = ceil(E / block).
KERNEL squared_errors(count cells, count rows, count width, count block, const float *output, const float *target,
                      float *sums) {
    count parts = (width + block - 1) / block;
    count n = HERE;
    if (n >= cells * rows * parts) return;
    count from = n % parts * block, to = from + block < width ? from + block : width, row = n / parts;
    const float *o = output + row * width, *t = target + row % rows * width;
    float sum = 0.0f;
    for (count i = from; i < to; i++) sum += (o[i] - t[i]) * (o[i] - t[i]);
    sums[n] = sum;
}

// The gradient of squared errors: 2 (output - target) weight[cell] scale, (G, N, E).
KERNEL l2_gradient(count cells, count rows, count width, const float *output, const float *target, const float *weights,
                   float scale, float *gradient) {
    count n = HERE;
    if (n >= cells * rows * width) return;
    count row = n / width;
    float apart = output[n] - target[row % rows * width + n % width];
    gradient[n] = 2.0f * apart * (weights[row / rows] * scale);
}

// KL divergence of softmax(output) from softmax(target), summed over blocks of columns: output (G, N, E), target (N, E),
// their log sum exp (G, N) and (N) -> sums (G, N, P) of t (log t - log q), P = ceil(E / block).
KERNEL divergences(count cells, count rows, count width, count block, const float *output, const float *output_sums,
                   const float *target, const float *target_sums, float *sums) {
    count parts = (width + block - 1) / block;
    count n = HERE;
    if (n >= cells * rows * parts) return;
    count from = n % parts * block, to = from + block < width ? from + block : width, row = n / parts;
    const float *o = output + row * width, *t = target + row % rows * width;
    float of_output = output_sums[row], of_target = target_sums[row % rows], sum = 0.0f;
    for (count i = from; i < to; i++) {
        float log_t = t[i] - of_target;
        sum += expf(log_t) * (log_t - (o[i] - of_output));
    }
    sums[n] = sum;
}

// The gradient of the same: (softmax(output) - softmax(target)) weight[cell] scale, (G, N, E).
KERNEL kl_gradient(count cells, count rows, count width, const float *output, const float *output_sums,
                   const float *target, const float *target_sums, const float *weights, float scale, float *gradient) {
    count n = HERE;
    if (n >= cells * rows * width) return;
    count row = n / width;
    float q = expf(output[n] - output_sums[row]);
    float t = expf(target[row % rows * width + n % width] - target_sums[row % rows]);
    gradient[n] = (q - t) * (weights[row / rows] * scale);
}
