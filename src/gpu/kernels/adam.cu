// Adam on all parameters of all cells at once.

#include "thread.cuh"

// One step of Adam (Kingma and Ba) on n numbers, those of all cells: with the gradient g += decay p,
// m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, p -= lr m' / (sqrt(v') + eps),
// m' = m correction1, correction1 = 1 / (1 - beta1^t), and v' likewise.
KERNEL adam(count numbers, float *value, float *moment1, float *moment2, const float *gradient, float lr, float beta1,
            float beta2, float eps, float correction1, float correction2, float decay) {
    count n = HERE;
    if (n >= numbers) return;
    float p = value[n];
    float g = gradient[n] + decay * p;
    float m = moment1[n] * beta1 + g * (1.0f - beta1);
    float v = moment2[n] * beta2 + g * g * (1.0f - beta2);
    moment1[n] = m;
    moment2[n] = v;
    value[n] = p - lr * (m * correction1) / (sqrtf(v * correction2) + eps);
}
