// Matrices with a column for each problem, so that threads side by side read numbers side by side. P problems;
// those that a kernel works on are its columns, W of them, and index (W) says which columns of another matrix they are.

#include "thread.cuh"

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
