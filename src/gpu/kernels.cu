// The kernels of training on a GPU, in the part of C that CUDA and C share: nvcc and NVRTC make PTX of this file, and a
// C compiler makes host code of it (host.c beside it), on which the tests run every kernel without a GPU.
//
// One thread works on one number (column_sums: one sum). Nothing is shared between threads and nothing is added
// atomically, so that a result does not depend on the order in which threads run.
//
// G cells are trained side by side: G leads every shape, and a cell reads and writes numbers of its own only. Numbers of
// one cell follow another's at a stride that is given where it is not the product of the sizes that follow G.

typedef long long count;

// The number of this thread.
#define HERE ((count)blockIdx.x * blockDim.x + threadIdx.x)

#ifdef __cplusplus
#define KERNEL extern "C" __global__ void
#else
#define KERNEL __global__ void
#endif

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

// y += b for every row; y (G, N, E), bias (G, E).
KERNEL add_bias(count cells, count rows, count width, float *y, const float *bias) {
    count n = HERE;
    if (n >= cells * rows * width) return;
    y[n] += bias[n / width / rows * width + n % width];
}

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

// Matrices of SVMs have a column for each problem, so that threads side by side read numbers side by side. P problems;
// those that a kernel works on are its columns, W of them, and index (W) says which columns of another matrix they are.

// to (rows, W) = columns index of from (rows, from_width).
KERNEL select_columns(count rows, count width, const float *from, count from_width, const count *index, float *to) {
    count n = HERE;
    if (n >= rows * width) return;
    to[n] = from[n / width * from_width + index[n % width]];
}

// Columns index of to (rows, to_width) += by from, with a number of by (W) for each column of from (rows, W).
KERNEL add_columns(count rows, count width, float *to, count to_width, const count *index, const float *by,
                   const float *from) {
    count n = HERE;
    if (n >= rows * width) return;
    to[n / width * to_width + index[n % width]] += by[n % width] * from[n];
}

// v = z + by v, with a number of by (W) for each column; v and z (rows, W).
KERNEL turn_columns(count rows, count width, float *v, const float *by, const float *z) {
    count n = HERE;
    if (n >= rows * width) return;
    v[n] = z[n] + by[n % width] * v[n];
}

// Partial sums over rows of the products of two matrices (rows, W), number by number: sums (parts, W),
// parts = ceil(rows / block).
KERNEL column_dots(count rows, count width, count block, const float *a, const float *b, double *sums) {
    count n = HERE;
    if (n >= (rows + block - 1) / block * width) return;
    count column = n % width, from = n / width * block, to = from + block < rows ? from + block : rows;
    double sum = 0.0;
    for (count at = from * width + column; at < to * width; at += width) sum += (double)a[at] * (double)b[at];
    sums[n] = sum;
}

// The sums of partial sums (parts, W): sums (W).
KERNEL add_parts(count parts, count width, const double *partial, double *sums) {
    count n = HERE;
    if (n >= width) return;
    double sum = 0.0;
    for (count part = 0; part < parts; part++) sum += partial[part * width + n];
    sums[n] = sum;
}

// The sign of a row for the machine of a class.
__device__ static float sign_of(count label, count of) {
    return label == of ? 1.0f : -1.0f;
}

// Slopes of the losses C max(0, 1 - y z)^2: a (rows, W) = -2 C y max(0, 1 - y z), with c2 = 2 C. z (rows, P) are decision
// values; y is 1 where the row's label (rows) is the machine's class (W), else -1.
KERNEL svm_slopes(count rows, count width, const float *z, count problems, const count *index, const count *labels,
                  const count *classes, float c2, float *a) {
    count n = HERE;
    if (n >= rows * width) return;
    count column = n % width, row = n / width;
    float y = sign_of(labels[row], classes[column]);
    float margin = 1.0f - y * z[row * problems + index[column]];
    a[n] = margin > 0.0f ? -c2 * y * margin : 0.0f;
}

// Partial sums over rows of slopes a (rows, W): of their squares, of their magnitudes, and how many there are,
// sums (parts, 3, W).
KERNEL svm_losses(count rows, count width, count block, const float *a, double *sums) {
    count n = HERE;
    if (n >= (rows + block - 1) / block * width) return;
    count column = n % width, part = n / width;
    count from = part * block, to = from + block < rows ? from + block : rows;
    double squares = 0.0, magnitudes = 0.0, lossy = 0.0;
    for (count at = from * width + column; at < to * width; at += width) {
        double slope = a[at];
        squares += slope * slope;
        magnitudes += slope < 0.0 ? -slope : slope;
        lossy += slope != 0.0 ? 1.0 : 0.0;
    }
    double *out = sums + part * 3 * width + column;
    out[0] = squares;
    out[width] = magnitudes;
    out[2 * width] = lossy;
}

// 2 C X v where the row has a loss, else 0: out (rows, W) from xv (rows, W) and the slopes a (rows, a_width), c2 = 2 C.
KERNEL svm_lossy(count rows, count width, const float *a, count a_width, const count *index, const float *xv, float c2,
                 float *out) {
    count n = HERE;
    if (n >= rows * width) return;
    out[n] = a[n / width * a_width + index[n % width]] == 0.0f ? 0.0f : c2 * xv[n];
}

// What a line search asks: partial sums over the rows that have a loss at z + t xs, of max(0, 1 - y (z + t xs)) y xs and
// of xs^2; sums (parts, 2, W). z (rows, P), xs (rows, W), t (W); y as for svm_slopes.
KERNEL svm_line(count rows, count width, count block, const float *z, count problems, const count *index,
                const count *labels, const count *classes, const float *xs, const float *t, double *sums) {
    count n = HERE;
    if (n >= (rows + block - 1) / block * width) return;
    count column = n % width, part = n / width;
    count from = part * block, to = from + block < rows ? from + block : rows;
    double first = 0.0, second = 0.0;
    for (count row = from; row < to; row++) {
        float y = sign_of(labels[row], classes[column]), s = xs[row * width + column];
        float margin = 1.0f - y * (z[row * problems + index[column]] + t[column] * s);
        if (margin > 0.0f) {
            first += (double)margin * (double)(y * s);
            second += (double)s * (double)s;
        }
    }
    double *out = sums + part * 2 * width + column;
    out[0] = first;
    out[width] = second;
}

// A half-precision number by its bits. Subnormal ones are made by a product, so that no mode of the device drops them.
__device__ static float of_half(unsigned short bits) {
    unsigned sign = (unsigned)(bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, mantissa = bits & 1023u;
    if (exponent == 0) {
        float small = (float)mantissa * 5.9604644775390625e-8f; // 2^-24
        return sign ? -small : small;
    }
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

// Standardised rows of resident features, beside those of other streams: features (N, F, D) of N clips with F frames ->
// columns from .. from + D of out (R, width), with R = steps batch and time-major rows: row t batch + b is frame t of
// clip clips[b], or frame frames[b] where frames is given (then steps = 1). out = (x - mean) inverse_sd; mean and
// inverse_sd (D). A clip below 0 has no features: its x is 0.
#define GATHER(NAME, NUMBER, READ)                                                                                     \
    KERNEL NAME(count steps, count batch, count features_frames, count features_width, const NUMBER *features,         \
                const count *clips, const count *frames, const float *mean, const float *inverse_sd, float *out,       \
                count width, count from) {                                                                             \
        count n = HERE;                                                                                                \
        if (n >= steps * batch * features_width) return;                                                               \
        count d = n % features_width, row = n / features_width, b = row % batch;                                       \
        count frame = frames ? frames[b] : row / batch;                                                                \
        float x = clips[b] < 0 ? 0.0f : READ(features[(clips[b] * features_frames + frame) * features_width + d]);     \
        out[row * width + from + d] = (x - mean[d]) * inverse_sd[d];                                                   \
    }

#define AS_IT_IS(x) (x)
GATHER(gather_f32, float, AS_IT_IS)
GATHER(gather_f16, unsigned short, of_half)

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
