// Losses of SVMs in training and what a line search asks of them; matrices as in columns.cu.

#include "thread.cuh"

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
