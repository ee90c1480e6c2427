// A stand-in for libcublas.so.13: products of matrices after cuBLAS's documentation, columns one after another, each
// element a sum over k, on memory of the stand-in for libcuda.

#include "stand_in.h"
#include <stdlib.h>
#include <string.h>

typedef int cublasStatus;
enum { SUCCESS = 0, NOT_INITIALIZED = 1, ALLOC_FAILED = 3, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { N = 0, T = 1, C = 2 };

typedef struct handle { void *stream; int mode, math; } *Handle;

cublasStatus cublasCreate_v2(Handle *handle) {
    *handle = calloc(1, sizeof **handle);
    return *handle ? SUCCESS : ALLOC_FAILED;
}
cublasStatus cublasDestroy_v2(Handle handle) {
    free(handle);
    return handle ? SUCCESS : NOT_INITIALIZED;
}
cublasStatus cublasSetStream_v2(Handle handle, void *stream) {
    if (!handle) return NOT_INITIALIZED;
    handle->stream = stream;
    return SUCCESS;
}
cublasStatus cublasSetWorkspace_v2(Handle handle, void *at, size_t bytes) {
    (void)at, (void)bytes;
    return handle ? SUCCESS : NOT_INITIALIZED;
}
cublasStatus cublasSetMathMode(Handle handle, int mode) {
    if (!handle) return NOT_INITIALIZED;
    handle->math = mode;
    return SUCCESS;
}
// Scalars on the device are not stood in for.
cublasStatus cublasSetPointerMode_v2(Handle handle, int mode) {
    if (!handle) return NOT_INITIALIZED;
    return mode == 0 ? SUCCESS : NOT_SUPPORTED;
}

// 13.0.0, without a handle.
cublasStatus cublasGetProperty(int which, int *value) {
    if (which < 0 || which > 2 || !value) return INVALID_VALUE;
    *value = which == 0 ? 13 : 0;
    return SUCCESS;
}

static int max(int a, int b) { return a > b ? a : b; }

// op(X) (rows, cols), columns one after another: X itself where it is so stored.
static const float *columns(const float *x, int op, int rows, int cols, int ld, float *room) {
    if (op == N && ld == rows) return x;
    for (int j = 0; j < cols; j++) {
        for (int i = 0; i < rows; i++) room[(size_t)j * rows + i] = op == N ? x[(size_t)j * ld + i] : x[(size_t)i * ld + j];
    }
    return room;
}

// The product in blocks of k, four columns of C at a time: a column of A is read once for all of them.
static void product(int m, int n, int k, float alpha, const float *a, const float *b, float beta, float *c, int ldc) {
    enum { ROWS = 512, DEPTH = 256 };
#pragma omp parallel for schedule(dynamic)
    for (int j0 = 0; j0 < n; j0 += 4) {
        int wide = n - j0 < 4 ? n - j0 : 4;
        float sums[4][ROWS];
        for (int i0 = 0; i0 < m; i0 += ROWS) {
            int rows = m - i0 < ROWS ? m - i0 : ROWS;
            memset(sums, 0, sizeof sums);
            for (int p = 0; p < k; p++) {
                const float *column = a + (size_t)p * m + i0;
                float by[4] = {0};
                for (int j = 0; j < wide; j++) by[j] = b[(size_t)(j0 + j) * k + p];
                for (int i = 0; i < rows; i++) {
                    float x = column[i];
                    sums[0][i] += x * by[0];
                    sums[1][i] += x * by[1];
                    sums[2][i] += x * by[2];
                    sums[3][i] += x * by[3];
                }
            }
            for (int j = 0; j < wide; j++) {
                float *out = c + (size_t)(j0 + j) * ldc + i0;
                // With beta = 0, C is not read: it may hold anything.
                for (int i = 0; i < rows; i++) out[i] = alpha * sums[j][i] + (beta == 0.0f ? 0.0f : beta * out[i]);
            }
        }
    }
}

cublasStatus cublasSgemmStridedBatched(Handle handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const float *a,
                                       int lda, long long stride_a, const float *b, int ldb, long long stride_b,
                                       const float *beta, float *c, int ldc, long long stride_c, int batch) {
    if (!handle) return NOT_INITIALIZED;
    int bad = m < 0 || n < 0 || k < 0 || batch < 0 || op_a < N || op_a > C || op_b < N || op_b > C ||
              lda < max(1, op_a == N ? m : k) || ldb < max(1, op_b == N ? k : n) || ldc < max(1, m) || !alpha || !beta;
    if (bad) {
        stand_in_fault("cuBLAS: sizes %d x %d x %d, leading dimensions %d, %d, %d, ops %d, %d, batch %d", m, n, k, lda, ldb, ldc, op_a, op_b, batch);
        return INVALID_VALUE;
    }
    if (m == 0 || n == 0 || batch == 0) return SUCCESS;
    if (stand_in_begin(handle->stream, "a cuBLAS product")) return EXECUTION_FAILED;
    int a_cols = op_a == N ? k : m, a_rows = op_a == N ? m : k, b_cols = op_b == N ? n : k, b_rows = op_b == N ? k : n;
    size_t a_span = k ? (size_t)lda * (a_cols - 1) + a_rows : 0, b_span = k ? (size_t)ldb * (b_cols - 1) + b_rows : 0;
    size_t c_span = (size_t)ldc * (n - 1) + m;
    float *room_a = malloc(((size_t)m * k + 1) * sizeof(float)), *room_b = malloc(((size_t)k * n + 1) * sizeof(float));
    // Apart, or column by column beside one another.
    long long apart = llabs(stride_c);
    int beside = apart >= m && (batch - 1) * apart + m <= ldc;
    if (batch > 1 && apart < (long long)c_span && !beside) stand_in_fault("cuBLAS: results of a batch lie on one another: stride %lld, %zu numbers each", stride_c, c_span);
    for (int i = 0; i < batch; i++) {
        const float *ai = a + i * stride_a, *bi = b + i * stride_b;
        float *ci = c + i * stride_c;
        if ((ai < ci + c_span && ci < ai + a_span) || (bi < ci + c_span && ci < bi + b_span)) stand_in_fault("cuBLAS: a factor lies where its product does");
        const float *on_a = stand_in_range((uint64_t)ai, 4 * a_span, 0), *on_b = stand_in_range((uint64_t)bi, 4 * b_span, 0);
        float *on_c = stand_in_range((uint64_t)ci, 4 * c_span, 1);
        if (!on_a || !on_b || !on_c) break;
        product(m, n, k, *alpha, columns(on_a, op_a, m, k, lda, room_a), columns(on_b, op_b, k, n, ldb, room_b), *beta, on_c, ldc);
    }
    free(room_a), free(room_b);
    stand_in_product(2.0 * m * n * k * batch);
    return stand_in_end() ? EXECUTION_FAILED : SUCCESS;
}

cublasStatus cublasSgemm_v2(Handle handle, int op_a, int op_b, int m, int n, int k, const float *alpha, const float *a, int lda,
                            const float *b, int ldb, const float *beta, float *c, int ldc) {
    return cublasSgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}
