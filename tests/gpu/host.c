// The kernels of src/gpu/kernels.cu as host code: `run_NAME(arguments, blocks, threads)` runs NAME's whole grid, one thread after another.
// Arguments are pointers to the values, as cuLaunchKernel takes them. A C compiler checks their number and types here.

#include <math.h>
#include <string.h>

#define __global__ static
#define __device__

typedef struct {
    unsigned x;
} place;
static __thread place blockIdx, blockDim, threadIdx;

static float __uint_as_float(unsigned bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

#include "kernels.cu"

#define A(i, type) (*(type *)arguments[i])
#define N(i) A(i, count)
#define P(i) A(i, float *)
#define F(i) A(i, float)
#define I(i) A(i, count *)
#define D(i) A(i, double *)

// From the last thread to the first: no kernel may count on an order.
#define RUN(NAME, ...)                                                                                                 \
    void run_##NAME(void **arguments, unsigned blocks, unsigned threads) {                                             \
        blockDim.x = threads;                                                                                          \
        for (blockIdx.x = blocks; blockIdx.x-- > 0;)                                                                   \
            for (threadIdx.x = threads; threadIdx.x-- > 0;) NAME(__VA_ARGS__);                                         \
    }

RUN(gates_forward, N(0), N(1), N(2), P(3), N(4), P(5), P(6), P(7), P(8), N(9), P(10), N(11))
RUN(gates_backward, N(0), N(1), N(2), P(3), N(4), P(5), N(6), P(7), N(8), P(9), P(10))
RUN(column_sums, N(0), N(1), N(2), N(3), P(4), P(5))
RUN(add_bias, N(0), N(1), N(2), P(3), P(4))
RUN(adam, N(0), P(1), P(2), P(3), P(4), F(5), F(6), F(7), F(8), F(9), F(10), F(11))
RUN(select_columns, N(0), N(1), P(2), N(3), I(4), P(5))
RUN(add_columns, N(0), N(1), P(2), N(3), I(4), P(5), P(6))
RUN(turn_columns, N(0), N(1), P(2), P(3), P(4))
RUN(column_dots, N(0), N(1), N(2), P(3), P(4), D(5))
RUN(add_parts, N(0), N(1), D(2), D(3))
RUN(svm_slopes, N(0), N(1), P(2), N(3), I(4), I(5), I(6), F(7), P(8))
RUN(svm_losses, N(0), N(1), N(2), P(3), D(4))
RUN(svm_lossy, N(0), N(1), P(2), N(3), I(4), P(5), F(6), P(7))
RUN(svm_line, N(0), N(1), N(2), P(3), N(4), I(5), I(6), I(7), P(8), P(9), D(10))
RUN(gather_f32, N(0), N(1), N(2), N(3), P(4), A(5, count *), A(6, count *), P(7), P(8), P(9), N(10), N(11))
RUN(gather_f16, N(0), N(1), N(2), N(3), A(4, unsigned short *), A(5, count *), A(6, count *), P(7), P(8), P(9), N(10),
    N(11))
RUN(relu_forward, N(0), P(1))
RUN(relu_backward, N(0), P(1), P(2))
RUN(log_sums, N(0), N(1), N(2), P(3), P(4))
RUN(label_losses, N(0), N(1), N(2), P(3), P(4), A(5, count *), P(6))
RUN(label_hits, N(0), N(1), N(2), P(3), A(4, count *), P(5))
RUN(label_gradient, N(0), N(1), N(2), P(3), P(4), A(5, count *), P(6), F(7), P(8))
RUN(squared_errors, N(0), N(1), N(2), N(3), P(4), P(5), P(6))
RUN(l2_gradient, N(0), N(1), N(2), P(3), P(4), P(5), F(6), P(7))
RUN(divergences, N(0), N(1), N(2), N(3), P(4), P(5), P(6), P(7), P(8))
RUN(kl_gradient, N(0), N(1), N(2), P(3), P(4), P(5), P(6), P(7), F(8), P(9))
