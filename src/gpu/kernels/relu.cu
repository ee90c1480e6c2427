// max(x, 0) and its gradient.

#include "thread.cuh"

// x = max(x, 0), in place.
KERNEL relu_forward(count numbers, float *x) {
    count n = HERE;
    if (n >= numbers) return;
    x[n] = fmaxf(x[n], 0.0f);
}

// The gradient of the same, in place: 0 where y, which went out, is not above 0.
KERNEL relu_backward(count numbers, const float *y, float *gradient) {
    count n = HERE;
    if (n >= numbers) return;
    if (!(y[n] > 0.0f)) gradient[n] = 0.0f;
}
