// That the stand-in's checks can fail: small programs, each wrong in one way, and the right ones beside them. Every program is
// a process of its own, because nothing answers after a fault.

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint64_t Address;
typedef void *Handle;
int cuInit(unsigned), cuDevicePrimaryCtxRetain(Handle *, int), cuCtxSetCurrent(Handle);
int cuMemAllocAsync(Address *, size_t, Handle), cuMemFreeAsync(Address, Handle), cuMemAllocHost_v2(Handle *, size_t);
int cuMemcpyHtoDAsync_v2(Address, const void *, size_t, Handle), cuMemcpyDtoHAsync_v2(void *, Address, size_t, Handle);
int cuMemsetD8Async(Address, unsigned char, size_t, Handle);
int cuStreamCreate(Handle *, unsigned), cuStreamSynchronize(Handle), cuStreamWaitEvent(Handle, Handle, unsigned);
int cuEventCreate(Handle *, unsigned), cuEventRecord(Handle, Handle);
int cuModuleLoadData(Handle *, const void *), cuModuleGetFunction(Handle *, Handle, const char *);
int cuLaunchKernel(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void **, void **);
int cublasCreate_v2(Handle *);
int cublasSgemm_v2(Handle, int, int, int, int, int, const float *, const float *, int, const float *, int, const float *, float *, int);

enum { OUT_OF_MEMORY = 2, NON_BLOCKING = 1 };

static const char *PTX = ".version 7.0\n.target sm_80\n.address_size 64\n"
                         ".visible .entry number(\n.param .u64 number_param_0\n)\n{\n"
                         ".reg .b32 %r<2>;\n.reg .b64 %rd<4>;\n"
                         "ld.param.u64 %rd1, [number_param_0];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\n"
                         "add.s64 %rd3, %rd1, %rd2;\nst.global.u32 [%rd3], %r1;\nret;\n}\n";

static void need(int ok, const char *what) {
    if (ok) return;
    printf("%s\n", what);
    fflush(stdout);
    _exit(1);
}
#define GOOD(call) need((call) == 0, "refused: " #call)

static Address take(size_t bytes) {
    Address at;
    GOOD(cuMemAllocAsync(&at, bytes, NULL));
    return at;
}
static Handle stream(void) {
    Handle s;
    GOOD(cuStreamCreate(&s, NON_BLOCKING));
    return s;
}
static int number(Address at, unsigned threads, Handle s) {
    Handle module, kernel;
    void *arguments[] = {&at};
    GOOD(cuModuleLoadData(&module, PTX));
    GOOD(cuModuleGetFunction(&kernel, module, "number"));
    return cuLaunchKernel(kernel, 1, 1, 1, threads, 1, 1, 0, s, arguments, NULL);
}
// (m, k) x (k, n), columns one after another.
static int product(int m, int n, int k, int lda, Address a, Address b, Address c) {
    Handle blas;
    float one = 1, zero = 0;
    GOOD(cublasCreate_v2(&blas));
    return cublasSgemm_v2(blas, 0, 0, m, n, k, &one, (float *)a, lda, (float *)b, k, &zero, (float *)c, m);
}

static void right(void) {
    Address at = take(4 * 64);
    unsigned numbers[64];
    GOOD(number(at, 64, NULL));
    GOOD(cuMemcpyDtoHAsync_v2(numbers, at, sizeof numbers, NULL));
    GOOD(cuStreamSynchronize(NULL));
    for (unsigned i = 0; i < 64; i++) need(numbers[i] == i, "another number");
    GOOD(cuMemFreeAsync(at, NULL));
}
static void beyond_the_end(void) {
    need(number(take(4 * 64), 65, NULL) != 0, "the launch was accepted");
}
static void not_aligned(void) {
    need(number(take(4 * 64) + 2, 8, NULL) != 0, "the launch was accepted");
}
static void after_free(void) {
    Address at = take(4 * 64);
    GOOD(cuMemFreeAsync(at, NULL));
    need(number(at, 64, NULL) != 0, "the launch was accepted");
}
static void freed_twice(void) {
    Address at = take(64);
    GOOD(cuMemFreeAsync(at, NULL));
    need(cuMemFreeAsync(at, NULL) != 0, "the free was accepted");
}
static void copied_beyond_the_end(void) {
    char bytes[100] = {0};
    need(cuMemcpyHtoDAsync_v2(take(99), bytes, 100, NULL) != 0, "the copy was accepted");
}
// Work of one stream on what another one copies, with an event between them or without.
static int after_copy(int waits) {
    Handle copies = stream(), pinned, event;
    Address at = take(256);
    GOOD(cuMemAllocHost_v2(&pinned, 256));
    memset(pinned, 7, 256);
    GOOD(cuStreamSynchronize(NULL));
    GOOD(cuMemcpyHtoDAsync_v2(at, pinned, 256, copies));
    GOOD(cuEventCreate(&event, 2));
    GOOD(cuEventRecord(event, copies));
    if (waits) GOOD(cuStreamWaitEvent(NULL, event, 0));
    return number(at, 64, NULL);
}
static void behind_an_event(void) { GOOD(after_copy(1)); }
static void without_an_event(void) { need(after_copy(0) != 0, "the launch was accepted"); }
static void pinned_memory_changed(void) {
    Handle copies = stream(), pinned;
    Address at = take(256);
    GOOD(cuMemAllocHost_v2(&pinned, 256));
    memset(pinned, 7, 256);
    GOOD(cuStreamSynchronize(NULL));
    GOOD(cuMemcpyHtoDAsync_v2(at, pinned, 256, copies));
    memset(pinned, 8, 256);
    need(cuStreamSynchronize(copies) != 0, "nobody noticed");
}
// A copy to pinned memory is not there before it was waited for, and memory that nobody wrote holds no numbers.
static void read_too_early(void) {
    Handle pinned;
    Address at = take(4);
    GOOD(cuMemAllocHost_v2(&pinned, 4));
    float *number = pinned;
    GOOD(cuMemcpyDtoHAsync_v2(number, at, 4, NULL));
    GOOD(cuStreamSynchronize(NULL));
    need(isnan(*number), "fresh memory holds a number");
    GOOD(cuMemsetD8Async(at, 0, 4, NULL));
    GOOD(cuMemcpyDtoHAsync_v2(number, at, 4, NULL));
    need(*number != 0, "the copy arrived before it was waited for");
    GOOD(cuStreamSynchronize(NULL));
    need(*number == 0, "the copy did not arrive");
}
static Address zeros(size_t bytes) {
    Address at = take(bytes);
    GOOD(cuMemsetD8Async(at, 0, bytes, NULL));
    return at;
}
static void right_product(void) { GOOD(product(3, 4, 5, 3, zeros(60), zeros(80), take(48))); }
static void small_leading_dimension(void) { need(product(3, 4, 5, 2, zeros(60), zeros(80), take(48)) != 0, "it was accepted"); }
static void large_leading_dimension(void) { need(product(3, 4, 5, 4, zeros(60), zeros(80), take(48)) != 0, "it was accepted"); }
static void on_a_factor(void) {
    Address a = zeros(80);
    need(product(3, 4, 5, 3, a, zeros(80), a) != 0, "it was accepted");
}
static void without_memory(void) {
    Address at, other;
    GOOD(cuMemAllocAsync(&at, 60 << 20, NULL));
    need(cuMemAllocAsync(&other, 60 << 20, NULL) == OUT_OF_MEMORY, "there is more memory than there is");
    // Which is no fault: what is freed can be had.
    GOOD(cuMemFreeAsync(at, NULL));
    GOOD(cuMemAllocAsync(&other, 60 << 20, NULL));
}

static const struct { const char *name; void (*run)(void); const char *says; } PROGRAMS[] = {
    {"a right program", right, NULL},
    {"a kernel beyond the end of its memory", beyond_the_end, "the kernel number writes outside of what is allocated"},
    {"a kernel at an odd address", not_aligned, "the kernel number is not aligned"},
    {"a kernel on memory that is freed", after_free, "the kernel number writes outside of what is allocated"},
    {"a free of what is freed", freed_twice, "which is not allocated"},
    {"a copy beyond the end", copied_beyond_the_end, "are not allocated"},
    {"work behind another stream's copy", behind_an_event, NULL},
    {"the same without the event", without_an_event, "and does not wait for that work"},
    {"pinned memory changed under a copy", pinned_memory_changed, "was changed while a copy from it was under way"},
    {"pinned memory read before and after a wait", read_too_early, NULL},
    {"a right product", right_product, NULL},
    {"a leading dimension below the rows", small_leading_dimension, "cuBLAS: sizes 3 x 4 x 5, leading dimensions 2, 5, 3"},
    {"a leading dimension that leads out of the memory", large_leading_dimension, "are not allocated"},
    {"a product on its own factor", on_a_factor, "a factor lies where its product does"},
    {"more memory than there is", without_memory, NULL},
};

int main(void) {
    setenv("UNMUTE_STAND_IN_MEMORY", "419430400", 1); // 400 MiB, of which a context takes 300
    unsetenv("UNMUTE_STAND_IN_COUNTS");
    int wrong = 0;
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof *PROGRAMS; i++) {
        int pipes[2];
        if (pipe(pipes)) return 2;
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            dup2(pipes[1], 1), dup2(pipes[1], 2);
            Handle context;
            GOOD(cuInit(0));
            GOOD(cuDevicePrimaryCtxRetain(&context, 0));
            GOOD(cuCtxSetCurrent(context));
            PROGRAMS[i].run();
            fflush(NULL);
            _exit(0);
        }
        close(pipes[1]);
        char said[8192];
        size_t length = 0;
        for (ssize_t n; length < sizeof said - 1 && (n = read(pipes[0], said + length, sizeof said - 1 - length)) > 0;) length += n;
        said[length] = 0;
        close(pipes[0]);
        int status;
        waitpid(child, &status, 0);
        // The first line is the stand-in's greeting.
        const char *after = strchr(said, '\n');
        after = after ? after + 1 : said;
        const char *says = PROGRAMS[i].says;
        int ok = status == 0 && (says ? strstr(after, says) != NULL : *after == 0);
        printf("%s: %s\n", PROGRAMS[i].name, ok ? (says ? "told" : "ok") : "WRONG");
        if (!ok) printf("  exit status %d; it should say: %s\n  it said: %s\n", status, says ? says : "nothing", said);
        wrong += !ok;
    }
    return wrong != 0;
}
