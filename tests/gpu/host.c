// What host code of the kernels begins with. host.rs has the kernels follow, and for each a function `run_NAME(arguments, blocks,
// threads)` that runs NAME's whole grid, one thread after another, from the last to the first: no kernel may count on an order.
// Arguments are pointers to the values, as cuLaunchKernel takes them; the C compiler checks their number and types.

#include <math.h>
#include <string.h>

#define __global__ static
#define __device__

typedef struct {
    unsigned x;
} coordinates;
static __thread coordinates blockIdx, blockDim, threadIdx;

static float __uint_as_float(unsigned bits) {
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}
