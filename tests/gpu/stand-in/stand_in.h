// What the stand-ins share: of the driver, as the stand-in for cuBLAS uses it.

#ifndef STAND_IN_H
#define STAND_IN_H

#include <stddef.h>
#include <stdint.h>

// Begins a piece of work in a stream, which later ranges belong to; not 0 where that cannot be. Ends with stand_in_end.
int stand_in_begin(void *stream, const char *what);
// Where the bytes of a matrix of the work lie, or NULL, which was said, where they are not all allocated.
void *stand_in_range(uint64_t at, size_t bytes, int writes);
// Not 0 where a range was refused or lacks order with other streams' work.
int stand_in_end(void);
// Says what is wrong, and counts it.
void stand_in_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Counts a product of matrices.
void stand_in_product(double operations);

// One kernel: where its arguments lie behind another, and what runs it.
struct launch;
struct kernel {
    char *name;
    const char *ptx; // of the whole module
    int params;
    uint32_t offset[64], bytes[64], param_bytes;
    void (*run)(struct launch *);
    char refusal[256];
    uint64_t launches;
};

// C of one kernel of a module, which the caller frees; NULL, with the kernel's refusal, where the PTX has what is not known here.
char *ptx_to_c(struct kernel *kernel);
// Whether a module has a kernel.
int ptx_has(const char *ptx, const char *name);

#endif
