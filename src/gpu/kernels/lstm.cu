// One step of G LSTMs, forward and backward.

#include "thread.cuh"

__device__ static float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

// One step of G LSTMs, forward; gates in the order i, f, g, o:
// i, f, o = sigmoid(a + b), g = tanh(a + b), c = f c_before + i g, h = o tanh(c).
// a (G, B, 4H; a_stride apart): x W + h_before U, becomes the activations. bias (G, 4H).
// c_before, c, h (G, B, H; state_stride apart), tanh_c (G, B, H; tanh_stride apart).
KERNEL gates_forward(count cells, count batch, count hidden, float *a, count a_stride, const float *bias,
                     const float *c_before, float *c, float *h, count state_stride, float *tanh_c, count tanh_stride) {
    count n = HERE;
    if (n >= cells * batch * hidden) return;
    count j = n % hidden, row = n / hidden % batch, cell = n / hidden / batch;
    float *gates = a + cell * a_stride + row * 4 * hidden + j;
    const float *b = bias + cell * 4 * hidden + j;
    count at = cell * state_stride + row * hidden + j;
    float i = sigmoid(gates[0] + b[0]);
    float f = sigmoid(gates[hidden] + b[hidden]);
    float g = tanhf(gates[2 * hidden] + b[2 * hidden]);
    float o = sigmoid(gates[3 * hidden] + b[3 * hidden]);
    float state = f * c_before[at] + i * g;
    float bounded = tanhf(state);
    gates[0] = i;
    gates[hidden] = f;
    gates[2 * hidden] = g;
    gates[3 * hidden] = o;
    c[at] = state;
    tanh_c[cell * tanh_stride + row * hidden + j] = bounded;
    h[at] = o * bounded;
}

// The same step, backward. gates holds the activations and becomes the gradient before the nonlinearities; dh (G, B, H)
// is the gradient of h; dc (G, B, H) that of c from the step after, and becomes that of c_before.
KERNEL gates_backward(count cells, count batch, count hidden, float *gates, count a_stride, const float *c_before,
                      count state_stride, const float *tanh_c, count tanh_stride, const float *dh, float *dc) {
    count n = HERE;
    if (n >= cells * batch * hidden) return;
    count j = n % hidden, row = n / hidden % batch, cell = n / hidden / batch;
    float *a = gates + cell * a_stride + row * 4 * hidden + j;
    float i = a[0], f = a[hidden], g = a[2 * hidden], o = a[3 * hidden];
    float before = c_before[cell * state_stride + row * hidden + j];
    float bounded = tanh_c[cell * tanh_stride + row * hidden + j];
    float d = dc[n] + dh[n] * o * (1.0f - bounded * bounded);
    a[0] = d * g * i * (1.0f - i);
    a[hidden] = d * before * f * (1.0f - f);
    a[2 * hidden] = d * i * (1.0f - g * g);
    a[3 * hidden] = dh[n] * bounded * o * (1.0f - o);
    dc[n] = d * f;
}
