// What the kernels have in common, in the part of C that CUDA and C share: nvcc makes PTX of each .cu here (`just ptx`),
// and a C compiler makes host code of it, on which the tests run every kernel without a GPU.
//
// One thread works on one number (column_sums: one sum). Nothing is shared between threads and nothing is added
// atomically, so that a result does not depend on the order in which threads run.
//
// G cells are trained side by side: G leads every shape, and a cell reads and writes numbers of its own only. Numbers of
// one cell follow another's at a stride that is given where it is not the product of the sizes that follow G.

#ifndef UNMUTE_THREAD
#define UNMUTE_THREAD

typedef long long count;

// The number of this thread.
#define HERE ((count)blockIdx.x * blockDim.x + threadIdx.x)

#ifdef __cplusplus
#define KERNEL extern "C" __global__ void
#else
#define KERNEL __global__ void
#endif

#endif
