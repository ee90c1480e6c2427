// A stand-in for libcuda.so.1, for machines without a GPU: the calls of the CUDA driver that this program makes, with memory
// of the host's behind them, every access checked, and kernels run from their PTX, thread by thread. It is no GPU: nothing
// that it takes time for says how long a GPU would take.
//
// Work is done when it is called, which is one of the orders that a GPU may choose. Whether it is the only one is checked:
// every stream and event keeps which work of which stream is known to be done before it (one number a stream), and work
// that touches bytes of another stream's work without knowing it done is a fault. So is pinned memory that the host changes
// while a copy from it may still be under way; a copy to pinned memory arrives when the host has waited for it.
// A fault is said, counted, and every later call answers with an error, as after a fault on a GPU.
//
// UNMUTE_STAND_IN_MEMORY   bytes of device memory (default 8 GiB)
// UNMUTE_STAND_IN_LATER    bytes that are left of it, others having taken the rest, as soon as kernels are loaded
// UNMUTE_STAND_IN_LOST     bytes that are said to be free and cannot be had, as where memory lies in small pieces
// UNMUTE_STAND_IN_COMPUTE  compute capability (default 90)
// UNMUTE_STAND_IN_VERSION  the CUDA version that the driver runs, as CUDA counts (default 13000, which is 13.0)
// UNMUTE_STAND_IN_POOLS    0: memory pools are not supported
// UNMUTE_STAND_IN_COUNTS   file for the counts, one JSON object, when the program ends (- for standard error)
// UNMUTE_STAND_IN_KERNELS  folder for compiled kernels (default: stand-in-kernels beside this library)

#define _GNU_SOURCE
#include "stand_in.h"
#include "thread.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef int CUresult, CUdevice;
typedef u64 CUdeviceptr;
typedef struct stream *CUstream;
typedef struct event *CUevent;
typedef void *CUcontext, *CUmemoryPool;
typedef struct kernel *CUfunction;
typedef struct module *CUmodule;

enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, INVALID_PTX = 218, FILE_NOT_FOUND = 301, INVALID_HANDLE = 400, NOT_FOUND = 500,
    NOT_READY = 600, ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801,
};

// What is known to be done: of every stream, the number of the last piece of work.
typedef struct { u32 of[STREAMS]; } Known;

struct stream { int index, blocking, open; Known known; };
struct event { Known known; int recorded, asked; struct timespec at; };
struct module { char *ptx; struct kernel **kernels; int count; };
struct allocation { u64 at, bytes; int pooled; struct allocation *next; };
// Freed pieces of one size, the longest freed first.
struct freed { u64 bytes; u64 *at; int count, room; struct freed *next; };
struct pinned { u8 *at; size_t bytes; struct pinned *next; };
// A copy from or to pinned memory that the host does not know done.
struct copy { int stream; u32 work; int to_host; u8 *pinned, *bytes; size_t count; struct copy *next; };

static const u64 ARENA = 1ull << 38;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int initialised, faults, compute = 90, pools = 1;
static u64 memory = 8ull << 30, later, lost, base, storage, used_up, live, live_pooled, kept, kept_threshold, context_bytes = 300ull << 20;
static struct granule *granules;
static struct allocation *allocations[1 << 16];
static struct freed *freed;
static struct pinned *all_pinned;
static struct copy *copies;
static struct stream streams[STREAMS] = {{.open = 1}};
static u32 work;
static Known host;
static int contexts;
static __thread CUcontext current;
static struct launch launching;
static int device_handle;

static struct {
    u64 launches, products, copies_to, bytes_to, copies_from, bytes_from, copies_on, bytes_on, clears, waits, allocations, peak;
    double operations;
} counts;
static struct kernel **launched;
static int launched_count;

// What one thread of the host asked for, so that tests beside each other can count: it waits where it asked for work since it
// last did, whether another thread has waited for that or not.
static __thread u64 launches_here, waits_here, copies_here, bytes_here;
static __thread int asked_here;

// Launches, waits, copies to the device and their bytes, of the thread that asks.
void stand_in_counts_of_thread(u64 counts[4]) {
    counts[0] = launches_here, counts[1] = waits_here, counts[2] = copies_here, counts[3] = bytes_here;
}

void stand_in_fault(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (++faults <= 20) {
        fprintf(stderr, "stand-in: ");
        vfprintf(stderr, format, arguments);
        fprintf(stderr, "\n");
    }
    va_end(arguments);
}

static void print_counts(void) {
    const char *where = getenv("UNMUTE_STAND_IN_COUNTS");
    if (!where || !initialised) return;
    FILE *file = strcmp(where, "-") ? fopen(where, "w") : stderr;
    if (!file) return;
    fprintf(file, "{\"faults\": %d, \"launches\": %llu, \"products\": %llu, \"operations\": %.0f, ", faults, (long long)counts.launches, (long long)counts.products, counts.operations);
    fprintf(file, "\"copies_to_device\": %llu, \"bytes_to_device\": %llu, \"copies_to_host\": %llu, \"bytes_to_host\": %llu, ", (long long)counts.copies_to, (long long)counts.bytes_to, (long long)counts.copies_from, (long long)counts.bytes_from);
    fprintf(file, "\"copies_on_device\": %llu, \"bytes_on_device\": %llu, \"clears\": %llu, \"waits\": %llu, ", (long long)counts.copies_on, (long long)counts.bytes_on, (long long)counts.clears, (long long)counts.waits);
    fprintf(file, "\"allocations\": %llu, \"peak_bytes\": %llu, \"live_bytes\": %llu, \"kernels\": {", (long long)counts.allocations, (long long)counts.peak, (long long)live);
    for (int i = 0; i < launched_count; i++) {
        u64 all = 0;
        int first = 1;
        for (int k = 0; k < launched_count; k++) {
            if (strcmp(launched[i]->name, launched[k]->name)) continue;
            first &= k >= i;
            all += launched[k]->launches;
        }
        if (first) fprintf(file, "%s\"%s\": %llu", i ? ", " : "", launched[i]->name, (long long)all);
    }
    fprintf(file, "}}\n");
    if (file != stderr) fclose(file);
}

static u64 number(const char *name, u64 otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void *reserve(u64 bytes, int access) {
    void *at = mmap(NULL, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        fprintf(stderr, "stand-in: no room for %llu bytes of addresses\n", (long long)bytes);
        abort();
    }
    return at;
}

static void refuse_access(struct launch *l, u64 at, u32 bytes, const char *what) {
    stand_in_fault("the kernel %s %s: %u bytes at %#llx", l->kernel, what, bytes, (long long)at);
}

static int known_done(const Known *known, u32 stamp) { return stamp == 0 || known->of[stamp % STREAMS] >= stamp / STREAMS; }

// The same fault once for a piece of work.
static void check_order(struct granule *g, u64 at, int writes, u32 stamp, const char *what) {
    static u32 said;
    const Known *known = &streams[stamp % STREAMS].known;
    int apart = !known_done(known, g->written) || (writes && (!known_done(known, g->read_default) || !known_done(known, g->read_other)));
    if (apart && said != stamp) {
        said = stamp;
        stand_in_fault("%s in stream %u %s %#llx, which work in another stream %s, and does not wait for that work", what,
                       stamp % STREAMS, writes ? "writes" : "reads", (long long)at, known_done(known, g->written) ? "reads" : "writes");
    }
}

static void order_access(struct launch *l, struct granule *g, u64 at, int writes) {
    check_order(g, at, writes, l->stamp, l->kernel);
}

static void learn(Known *to, const Known *from) {
    for (int i = 0; i < STREAMS; i++) {
        if (from->of[i] > to->of[i]) to->of[i] = from->of[i];
    }
}

// A stream by its handle: 0 and 1 are the default stream (of old), 2 that of a thread, which is not stood in for.
static struct stream *stream_of(CUstream handle) {
    if ((u64)handle <= 1) return &streams[0];
    for (int i = 1; i < STREAMS; i++) {
        if (handle == &streams[i] && handle->open) return handle;
    }
    return NULL;
}

// What work put into a stream now would know to be done.
static void look_around(struct stream *s) {
    learn(&s->known, &host);
    // The default stream and those that were not made "non-blocking" wait for each other.
    for (int i = 0; i < STREAMS; i++) {
        struct stream *other = &streams[i];
        if (other != s && other->open && (s->index == 0 ? other->blocking : i == 0 && s->blocking)) learn(&s->known, &other->known);
    }
}

// Work begins in a stream; its stamp.
static u32 begin(struct stream *s) {
    look_around(s);
    s->known.of[s->index] = ++work;
    asked_here = 1;
    return work * STREAMS + s->index;
}

// The host has waited for work: copies to pinned memory arrive, and what was copied from it has to be what it was.
static void host_knows(const Known *known) {
    learn(&host, known);
    for (struct copy **at = &copies; *at;) {
        struct copy *copy = *at;
        if (host.of[copy->stream] < copy->work) {
            at = &copy->next;
            continue;
        }
        if (copy->to_host) memcpy(copy->pinned, copy->bytes, copy->count);
        else if (memcmp(copy->pinned, copy->bytes, copy->count)) stand_in_fault("pinned memory at %p was changed while a copy from it was under way", (void *)copy->pinned);
        *at = copy->next;
        free(copy->bytes), free(copy);
    }
}

// Counted where there is something to wait for.
static void host_waits(const Known *known) {
    waits_here += asked_here;
    asked_here = 0;
    for (int i = 0; i < STREAMS; i++) {
        if (known->of[i] <= host.of[i]) continue;
        counts.waits++;
        break;
    }
    host_knows(known);
}

static void host_waits_for_all(void) {
    Known all = {{0}};
    for (int i = 0; i < STREAMS; i++) learn(&all, &streams[i].known);
    host_waits(&all);
}

static struct pinned *pinned_of(const void *at, size_t bytes) {
    for (struct pinned *p = all_pinned; p; p = p->next) {
        if ((u8 *)at >= p->at && (u8 *)at + bytes <= p->at + p->bytes) return p;
    }
    return NULL;
}

static struct allocation **allocation_at(u64 at) {
    struct allocation **a = &allocations[at / (2 * GRANULE) % (1 << 16)];
    while (*a && (*a)->at != at) a = &(*a)->next;
    return a;
}

// Bytes of a range in device memory, in order behind what touched them; NULL, said, where not all are allocated.
static u8 *range(u64 at, u64 bytes, int writes, u32 stamp, const char *what) {
    if (bytes == 0) return (u8 *)(at + launching.to_host);
    u64 offset = at - base;
    if (offset >= ARENA || bytes > ARENA - offset) {
        stand_in_fault("%s: %llu bytes at %#llx are no device memory", what, (long long)bytes, (long long)at);
        return NULL;
    }
    u32 stream = stamp % STREAMS;
    for (u64 from = offset; from < offset + bytes;) {
        u64 end = from / GRANULE * GRANULE + GRANULE;
        if (end > offset + bytes) end = offset + bytes;
        struct granule *g = &granules[from / GRANULE];
        if ((end - 1) % GRANULE >= g->room) {
            stand_in_fault("%s %s %llu bytes at %#llx, of which those from %#llx are not allocated", what, writes ? "writes" : "reads", (long long)bytes, (long long)at, (long long)(base + from));
            return NULL;
        }
        check_order(g, base + from, writes, stamp, what);
        if (writes) g->written = stamp;
        else *(stream == 0 ? &g->read_default : &g->read_other) = stamp;
        from = end;
    }
    return (u8 *)(at + launching.to_host);
}

static u64 free_bytes(void) {
    u64 taken = live - live_pooled + (kept > live_pooled ? kept : live_pooled) + (contexts ? context_bytes : 0);
    return taken < memory ? memory - taken : 0;
}

// Without a threshold, a pool gives back what it does not use when the host waits.
static void give_back(void) {
    if (kept > kept_threshold) kept = live_pooled > kept_threshold ? live_pooled : kept_threshold;
}

static CUresult take(u64 *at, u64 bytes, struct stream *s, int pooled) {
    if (bytes == 0 || !at) return INVALID_VALUE;
    if (bytes > memory || live + bytes + context_bytes + lost > memory) return OUT_OF_MEMORY;
    u64 whole = (bytes + GRANULE - 1) / GRANULE * GRANULE, offset = 0;
    // Addresses come back late, so that a use after a free is seen, and after a while, so that they do not run out.
    int quarantine = whole >= 1 << 20 ? 4 : 64;
    for (struct freed *f = freed; f; f = f->next) {
        if (f->bytes != whole || f->count <= quarantine) continue;
        offset = f->at[0];
        memmove(f->at, f->at + 1, --f->count * sizeof *f->at);
        break;
    }
    if (!offset) {
        if (used_up == 0) used_up = GRANULE;
        offset = used_up;
        used_up += whole + GRANULE; // a piece that is nobody's between any two
        if (used_up > ARENA) return OUT_OF_MEMORY;
    }
    u32 stamp = begin(s);
    for (u64 i = 0; i < whole / GRANULE; i++) {
        u64 left = bytes - i * GRANULE;
        granules[offset / GRANULE + i] = (struct granule){.written = stamp, .room = left < GRANULE ? left : GRANULE};
    }
    memset((u8 *)storage + offset, 0xff, bytes); // not a number, as f32 and as f16
    struct allocation **place = allocation_at(*at = base + offset), *a = malloc(sizeof *a);
    *a = (struct allocation){*at, bytes, pooled, *place};
    *place = a;
    live += bytes, counts.allocations++;
    if (pooled) live_pooled += bytes;
    if (live_pooled > kept) kept = live_pooled;
    if (live > counts.peak) counts.peak = live;
    return SUCCESS;
}

static CUresult drop(u64 at, struct stream *s) {
    struct allocation **place = allocation_at(at), *a = *place;
    if (!a) {
        stand_in_fault("a free of %#llx, which is not allocated", (long long)at);
        return INVALID_VALUE;
    }
    range(a->at, a->bytes, 1, begin(s), "a free");
    u64 offset = at - base, whole = (a->bytes + GRANULE - 1) / GRANULE * GRANULE;
    memset(&granules[offset / GRANULE], 0, whole / GRANULE * sizeof *granules);
    u64 page = (offset + 4095) / 4096 * 4096, end = (offset + whole) / 4096 * 4096;
    if (end > page) madvise((u8 *)storage + page, end - page, MADV_DONTNEED);
    live -= a->bytes;
    if (a->pooled) live_pooled -= a->bytes;
    *place = a->next;
    free(a);
    struct freed *f = freed;
    while (f && f->bytes != whole) f = f->next;
    if (!f) {
        f = calloc(1, sizeof *f);
        f->bytes = whole, f->next = freed, freed = f;
    }
    if (f->count == f->room) f->at = realloc(f->at, (f->room = 2 * f->room + 16) * sizeof *f->at);
    f->at[f->count++] = offset;
    return SUCCESS;
}

static CUresult answer(CUresult result) {
    int faulty = faults;
    pthread_mutex_unlock(&lock);
    return faulty && result == SUCCESS ? ILLEGAL_ADDRESS : result;
}
#define ANSWER(x) return answer(x)
// Begins a call; after a fault, every call answers with it.
#define CALL_WITHOUT_CONTEXT                                                                                           \
    pthread_mutex_lock(&lock);                                                                                         \
    if (!initialised) ANSWER(NOT_INITIALIZED);
#define CALL                                                                                                           \
    CALL_WITHOUT_CONTEXT                                                                                               \
    if (!current || !contexts) ANSWER(INVALID_CONTEXT);                                                                \
    if (faults) ANSWER(ILLEGAL_ADDRESS);
#define NEED(condition, error)                                                                                         \
    if (!(condition)) ANSWER(error)

int stand_in_begin(void *handle, const char *what) {
    pthread_mutex_lock(&lock);
    struct stream *s = stream_of(handle);
    if (!initialised || !contexts || !s || faults) return pthread_mutex_unlock(&lock), 1;
    launching.kernel = what;
    launching.stamp = begin(s);
    return 0;
}
void *stand_in_range(u64 at, size_t bytes, int writes) { return range(at, bytes, writes, launching.stamp, launching.kernel); }
int stand_in_end(void) {
    pthread_mutex_unlock(&lock);
    return faults;
}
void stand_in_product(double operations) { counts.products++, counts.operations += operations; }

CUresult cuInit(unsigned flags) {
    pthread_mutex_lock(&lock);
    NEED(flags == 0, INVALID_VALUE);
    if (!initialised) {
        memory = number("UNMUTE_STAND_IN_MEMORY", memory);
        later = number("UNMUTE_STAND_IN_LATER", memory);
        lost = number("UNMUTE_STAND_IN_LOST", lost);
        compute = number("UNMUTE_STAND_IN_COMPUTE", compute);
        pools = number("UNMUTE_STAND_IN_POOLS", pools);
        base = (u64)reserve(ARENA, PROT_NONE); // whoever uses an address of the device on the host is stopped
        storage = (u64)reserve(ARENA, PROT_READ | PROT_WRITE);
        granules = reserve(ARENA / GRANULE * sizeof *granules, PROT_READ | PROT_WRITE);
        launching = (struct launch){.granules = granules, .base = base, .size = ARENA, .to_host = storage - base, .refuse = refuse_access, .order = order_access};
        for (int i = 0; i < STREAMS; i++) streams[i].index = i;
        atexit(print_counts);
        fprintf(stderr, "stand-in: no GPU, but a stand-in for the CUDA driver; it checks what is computed, not how fast\n");
        initialised = 1;
    }
    ANSWER(SUCCESS);
}

CUresult cuDriverGetVersion(int *version) {
    *version = number("UNMUTE_STAND_IN_VERSION", 13000);
    return SUCCESS;
}

// NVRTC asks the driver, where there is one, for functions that no document names, in a table that begins with its size in
// bytes: this one has none.
CUresult cuGetExportTable(const void **table, const void *id) {
    (void)id;
    static const u64 empty[8] = {sizeof empty[0]};
    *table = empty;
    return SUCCESS;
}

static const struct { int code; const char *name, *text; } ERRORS[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"}, {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}, {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}, {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}, {INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {FILE_NOT_FOUND, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"}, {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"}, {NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};
static CUresult error_text(int code, const char **text, int name) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++) {
        if (ERRORS[i].code == code) return *text = name ? ERRORS[i].name : ERRORS[i].text, SUCCESS;
    }
    *text = NULL;
    return INVALID_VALUE;
}
CUresult cuGetErrorName(int code, const char **text) { return error_text(code, text, 1); }
CUresult cuGetErrorString(int code, const char **text) { return error_text(code, text, 0); }

CUresult cuDeviceGetCount(int *count) {
    CALL_WITHOUT_CONTEXT
    *count = 1;
    ANSWER(SUCCESS);
}
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    CALL_WITHOUT_CONTEXT
    NEED(ordinal == 0, INVALID_DEVICE);
    *device = 0;
    ANSWER(SUCCESS);
}
CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
    CALL_WITHOUT_CONTEXT
    NEED(device == 0, INVALID_DEVICE);
    NEED(length > 0, INVALID_VALUE);
    snprintf(name, length, "stand-in, no GPU");
    ANSWER(SUCCESS);
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    CALL_WITHOUT_CONTEXT
    NEED(device == 0, INVALID_DEVICE);
    *bytes = memory;
    ANSWER(SUCCESS);
}
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
    CALL_WITHOUT_CONTEXT
    NEED(device == 0, INVALID_DEVICE);
    NEED(attribute > 0 && attribute < 150, INVALID_VALUE);
    switch (attribute) {
    case 1: *value = 1024; break;               // MAX_THREADS_PER_BLOCK
    case 2: case 3: *value = 1024; break;       // MAX_BLOCK_DIM_X, _Y
    case 4: *value = 64; break;                 // MAX_BLOCK_DIM_Z
    case 5: *value = 2147483647; break;         // MAX_GRID_DIM_X
    case 6: case 7: *value = 65535; break;      // MAX_GRID_DIM_Y, _Z
    case 8: *value = 49152; break;              // MAX_SHARED_MEMORY_PER_BLOCK
    case 10: *value = 32; break;                // WARP_SIZE
    case 16: *value = 4; break;                 // MULTIPROCESSOR_COUNT
    case 39: *value = 2048; break;              // MAX_THREADS_PER_MULTIPROCESSOR
    case 41: *value = 1; break;                 // UNIFIED_ADDRESSING
    case 75: *value = compute / 10; break;      // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = compute % 10; break;      // COMPUTE_CAPABILITY_MINOR
    case 115: *value = pools; break;            // MEMORY_POOLS_SUPPORTED
    default: *value = 0;
    }
    ANSWER(SUCCESS);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    CALL_WITHOUT_CONTEXT
    NEED(device == 0, INVALID_DEVICE);
    NEED(contexts || memory >= context_bytes, OUT_OF_MEMORY);
    contexts++;
    *context = &device_handle;
    ANSWER(SUCCESS);
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    CALL_WITHOUT_CONTEXT
    NEED(device == 0, INVALID_DEVICE);
    NEED(contexts > 0, INVALID_CONTEXT);
    contexts--;
    ANSWER(SUCCESS);
}
CUresult cuCtxSetCurrent(CUcontext context) {
    CALL_WITHOUT_CONTEXT
    NEED(!context || (context == &device_handle && contexts), INVALID_CONTEXT);
    current = context;
    ANSWER(SUCCESS);
}
CUresult cuCtxGetCurrent(CUcontext *context) {
    CALL_WITHOUT_CONTEXT
    *context = current;
    ANSWER(SUCCESS);
}
CUresult cuCtxSynchronize(void) {
    CALL
    host_waits_for_all();
    give_back();
    ANSWER(SUCCESS);
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    CALL
    *free = free_bytes(), *total = memory;
    ANSWER(SUCCESS);
}
CUresult cuMemAlloc_v2(CUdeviceptr *at, size_t bytes) {
    CALL
    ANSWER(take(at, bytes, &streams[0], 0));
}
CUresult cuMemAllocAsync(CUdeviceptr *at, size_t bytes, CUstream stream) {
    CALL
    NEED(pools, NOT_SUPPORTED);
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    // dfdx allocates a workspace of no bytes, and works on GPUs: nothing is had, and nothing is freed.
    if (bytes == 0) ANSWER((*at = 0, SUCCESS));
    ANSWER(take(at, bytes, s, 1));
}
CUresult cuMemFree_v2(CUdeviceptr at) {
    CALL
    if (!at) ANSWER(SUCCESS);
    // Freeing waits for everything that is under way.
    host_waits_for_all();
    ANSWER(drop(at, &streams[0]));
}
CUresult cuMemFreeAsync(CUdeviceptr at, CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    if (!at) ANSWER(SUCCESS);
    ANSWER(drop(at, s));
}
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
    CALL_WITHOUT_CONTEXT
    NEED(device == 0, INVALID_DEVICE);
    NEED(pools, NOT_SUPPORTED);
    *pool = &kept_threshold;
    ANSWER(SUCCESS);
}
CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value) {
    CALL_WITHOUT_CONTEXT
    NEED(pool == &kept_threshold, INVALID_VALUE);
    if (attribute == 4) kept_threshold = *(u64 *)value; // RELEASE_THRESHOLD
    ANSWER(SUCCESS);
}
CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value) {
    CALL_WITHOUT_CONTEXT
    NEED(pool == &kept_threshold && attribute >= 4 && attribute <= 8, INVALID_VALUE);
    u64 kept_now = kept > live_pooled ? kept : live_pooled;
    *(u64 *)value = attribute == 4 ? kept_threshold : attribute <= 6 ? kept_now : live_pooled; // reserved, used
    ANSWER(SUCCESS);
}
CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t least) {
    CALL_WITHOUT_CONTEXT
    NEED(pool == &kept_threshold, INVALID_VALUE);
    if (kept > least) kept = live_pooled > least ? live_pooled : least;
    ANSWER(SUCCESS);
}

CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
    (void)flags;
    CALL
    NEED(bytes > 0, INVALID_VALUE);
    u8 *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    NEED(memory, OUT_OF_MEMORY);
    memset(memory, 0xff, bytes);
    struct pinned *p = malloc(sizeof *p);
    *p = (struct pinned){memory, bytes, all_pinned};
    all_pinned = p;
    *at = memory;
    ANSWER(SUCCESS);
}
CUresult cuMemAllocHost_v2(void **at, size_t bytes) { return cuMemHostAlloc(at, bytes, 0); }
CUresult cuMemFreeHost(void *at) {
    pthread_mutex_lock(&lock);
    for (struct pinned **p = &all_pinned; *p; p = &(*p)->next) {
        if ((*p)->at != at) continue;
        struct pinned *gone = *p;
        for (struct copy *c = copies; c; c = c->next) {
            if (c->pinned >= gone->at && c->pinned < gone->at + gone->bytes) {
                stand_in_fault("pinned memory at %p is freed while a copy is under way", at);
                c->pinned = c->bytes;
            }
        }
        *p = gone->next;
        free(gone), free(at);
        ANSWER(SUCCESS);
    }
    ANSWER(INVALID_VALUE);
}

static struct copy *keep_copy(struct stream *s, const void *pinned, const void *bytes, size_t count, int to_host) {
    struct copy *copy = malloc(sizeof *copy);
    *copy = (struct copy){s->index, work, to_host, (u8 *)pinned, malloc(count), count, copies};
    memcpy(copy->bytes, bytes, count);
    return copies = copy;
}

static CUresult copy_to_device(u64 to, const void *from, size_t bytes, struct stream *s, int waits) {
    u32 stamp = begin(s);
    u8 *at = range(to, bytes, 1, stamp, "a copy to the device");
    if (!at) return ILLEGAL_ADDRESS;
    if (bytes) memcpy(at, from, bytes);
    counts.copies_to++, counts.bytes_to += bytes;
    copies_here++, bytes_here += bytes;
    // From memory that is not pinned the driver copies into its own before it returns.
    if (!waits && bytes && pinned_of(from, bytes)) keep_copy(s, from, from, bytes, 0);
    if (waits) host_waits(&s->known);
    return SUCCESS;
}
static CUresult copy_to_host(void *to, u64 from, size_t bytes, struct stream *s, int waits) {
    u32 stamp = begin(s);
    u8 *at = range(from, bytes, 0, stamp, "a copy to the host");
    if (!at) return ILLEGAL_ADDRESS;
    counts.copies_from++, counts.bytes_from += bytes;
    if (!waits && bytes && pinned_of(to, bytes)) {
        keep_copy(s, to, at, bytes, 1);
        memset(to, 0xff, bytes);
        return SUCCESS;
    }
    // To memory that is not pinned it returns when the copy is done.
    if (bytes) memcpy(to, at, bytes);
    host_waits(&s->known);
    return SUCCESS;
}
static CUresult copy_on_device(u64 to, u64 from, size_t bytes, struct stream *s) {
    u32 stamp = begin(s);
    u8 *source = range(from, bytes, 0, stamp, "a copy on the device"), *at = range(to, bytes, 1, stamp, "a copy on the device");
    if (!at || !source) return ILLEGAL_ADDRESS;
    if (at < source + bytes && source < at + bytes && bytes) stand_in_fault("a copy on the device onto itself");
    memmove(at, source, bytes);
    counts.copies_on++, counts.bytes_on += bytes;
    return SUCCESS;
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    CALL
    ANSWER(copy_to_device(to, from, bytes, &streams[0], 1));
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    ANSWER(copy_to_device(to, from, bytes, s, 0));
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    CALL
    ANSWER(copy_to_host(to, from, bytes, &streams[0], 1));
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    ANSWER(copy_to_host(to, from, bytes, s, 0));
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    CALL
    ANSWER(copy_on_device(to, from, bytes, &streams[0]));
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    ANSWER(copy_on_device(to, from, bytes, s));
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char byte, size_t count, CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    u8 *at = range(to, count, 1, begin(s), "a memset");
    NEED(at, ILLEGAL_ADDRESS);
    memset(at, byte, count);
    counts.clears++;
    ANSWER(SUCCESS);
}
CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char byte, size_t count) { return cuMemsetD8Async(to, byte, count, NULL); }
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned number, size_t count, CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    NEED(to % 4 == 0, INVALID_VALUE);
    u32 *at = (u32 *)range(to, 4 * count, 1, begin(s), "a memset");
    NEED(at, ILLEGAL_ADDRESS);
    for (size_t i = 0; i < count; i++) at[i] = number;
    counts.clears++;
    ANSWER(SUCCESS);
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    CALL
    NEED(flags <= 1, INVALID_VALUE);
    for (int i = 1; i < STREAMS; i++) {
        if (streams[i].open) continue;
        streams[i].open = 1, streams[i].blocking = flags == 0;
        *stream = &streams[i];
        ANSWER(SUCCESS);
    }
    ANSWER(OUT_OF_MEMORY);
}
CUresult cuStreamDestroy_v2(CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s && s->index, INVALID_HANDLE);
    s->open = 0; // work under way goes on; what its numbers mean stays known
    ANSWER(SUCCESS);
}
CUresult cuStreamSynchronize(CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    look_around(s);
    host_waits(&s->known);
    give_back();
    ANSWER(SUCCESS);
}
CUresult cuStreamQuery(CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s, INVALID_HANDLE);
    static int asked;
    NEED(++asked % 3 == 0, NOT_READY);
    host_knows(&s->known);
    ANSWER(SUCCESS);
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s && event, INVALID_HANDLE);
    NEED(flags == 0, INVALID_VALUE);
    look_around(s);
    learn(&s->known, &event->known);
    ANSWER(SUCCESS);
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    (void)flags;
    CALL
    *event = calloc(1, sizeof **event);
    ANSWER(SUCCESS);
}
CUresult cuEventDestroy_v2(CUevent event) {
    CALL
    NEED(event, INVALID_HANDLE);
    free(event);
    ANSWER(SUCCESS);
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(s && event, INVALID_HANDLE);
    look_around(s);
    event->known = s->known, event->recorded = 1, event->asked = 0;
    clock_gettime(CLOCK_MONOTONIC, &event->at);
    ANSWER(SUCCESS);
}
CUresult cuEventSynchronize(CUevent event) {
    CALL
    NEED(event, INVALID_HANDLE);
    host_waits(&event->known);
    ANSWER(SUCCESS);
}
CUresult cuEventQuery(CUevent event) {
    CALL
    NEED(event, INVALID_HANDLE);
    if (event->recorded) NEED(++event->asked > 2, NOT_READY); // as slow as a GPU may be
    host_knows(&event->known);
    ANSWER(SUCCESS);
}
CUresult cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to) {
    CALL
    NEED(from && to && from->recorded && to->recorded, INVALID_HANDLE);
    *milliseconds = 1e3 * (to->at.tv_sec - from->at.tv_sec) + 1e-6 * (to->at.tv_nsec - from->at.tv_nsec);
    ANSWER(SUCCESS);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    CALL
    NEED(image, INVALID_VALUE);
    NEED(strstr(image, ".version") && strstr(image, ".target"), INVALID_PTX);
    memory = later;
    *module = calloc(1, sizeof **module);
    (*module)->ptx = strdup(image);
    ANSWER(SUCCESS);
}
CUresult cuModuleLoad(CUmodule *module, const char *path) {
    (void)module, (void)path;
    return FILE_NOT_FOUND;
}
CUresult cuModuleUnload(CUmodule module) {
    CALL
    NEED(module, INVALID_HANDLE);
    for (int i = 0; i < module->count; i++) module->kernels[i]->ptx = NULL;
    free(module->ptx), free(module);
    ANSWER(SUCCESS);
}

static u64 hash(u64 seed, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) seed = (seed ^ (u8)text[i]) * 0x100000001b3ull;
    return seed;
}

// The kernel as a function of this process, compiled once for all processes: by what its C and what that includes are.
static void compile(struct kernel *kernel) {
    char *source = ptx_to_c(kernel);
    if (!source) return;
    Dl_info self;
    dladdr((void *)compile, &self);
    char folder[512], *slash, *header, *base_name, *unfinished, *command, included[65536];
    snprintf(folder, sizeof folder, "%s", self.dli_fname);
    if ((slash = strrchr(folder, '/'))) *slash = 0;
    const char *kernels = getenv("UNMUTE_STAND_IN_KERNELS");
    char *own = NULL;
    if (!kernels && asprintf(&own, "%s/stand-in-kernels", folder) > 0) kernels = own;
    mkdir(kernels, 0777);
    if (asprintf(&header, "%s/thread.h", folder) < 0) abort();
    FILE *file = fopen(header, "r");
    size_t length = file ? fread(included, 1, sizeof included, file) : 0;
    if (file) fclose(file);
    u64 key = hash(hash(0xcbf29ce484222325ull, source, strlen(source)), included, length);
    if (asprintf(&base_name, "%s/%s-%016llx", kernels, kernel->name, (unsigned long long)key) < 0) abort();
    if (asprintf(&unfinished, "%s.%d", base_name, getpid()) < 0) abort();
    if (asprintf(&command,
                 "cc -std=gnu11 -O2 -march=native -fwrapv -fno-strict-aliasing -ffp-contract=off -w -shared -fPIC -I '%s' "
                 "'%s.c' -o '%s.so' -lm && mv '%s.c' '%s.c' && mv '%s.so' '%s.so'",
                 folder, unfinished, unfinished, unfinished, base_name, unfinished, base_name) < 0) abort();
    char *library = malloc(strlen(unfinished) + 8);
    sprintf(library, "%s.so", base_name);
    if (access(library, R_OK)) {
        sprintf(library, "%s.c", unfinished);
        if ((file = fopen(library, "w"))) fputs(source, file), fclose(file);
        if (!file || system(command)) snprintf(kernel->refusal, sizeof kernel->refusal, "its C, %.200s, does not compile", library);
        sprintf(library, "%s.so", base_name);
    }
    void *loaded = kernel->refusal[0] ? NULL : dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (loaded) kernel->run = (void (*)(struct launch *))dlsym(loaded, "run");
    else if (!kernel->refusal[0]) snprintf(kernel->refusal, sizeof kernel->refusal, "%.200s", dlerror());
    free(source), free(own), free(header), free(base_name), free(unfinished), free(command), free(library);
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    CALL
    NEED(module && name, INVALID_VALUE);
    NEED(ptx_has(module->ptx, name), NOT_FOUND);
    struct kernel *kernel = calloc(1, sizeof *kernel);
    kernel->name = strdup(name), kernel->ptx = module->ptx;
    module->kernels = realloc(module->kernels, (module->count + 1) * sizeof *module->kernels);
    module->kernels[module->count++] = kernel;
    *function = kernel;
    ANSWER(SUCCESS);
}

CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, CUstream stream, void **arguments, void **extra) {
    CALL
    struct stream *s = stream_of(stream);
    NEED(function && function->ptx && s, INVALID_HANDLE);
    NEED(gx && gy && gz && bx && by && bz && (u64)bx * by * bz <= 1024 && gx <= 2147483647 && gy <= 65535 && gz <= 65535, INVALID_VALUE);
    NEED(!extra, NOT_SUPPORTED);
    if (!function->run && !function->refusal[0]) compile(function);
    if (!function->run) {
        stand_in_fault("the kernel %s cannot be run: %s", function->name, function->refusal);
        ANSWER(NOT_SUPPORTED);
    }
    NEED(shared == 0, NOT_SUPPORTED);
    NEED(arguments || !function->params, INVALID_VALUE);
    u8 params[4096];
    for (int i = 0; i < function->params; i++) {
        NEED(arguments[i], INVALID_VALUE);
        memcpy(params + function->offset[i], arguments[i], function->bytes[i]);
    }
    struct launch l = launching;
    l.kernel = function->name;
    l.params = params;
    l.grid[0] = gx, l.grid[1] = gy, l.grid[2] = gz;
    l.block[0] = bx, l.block[1] = by, l.block[2] = bz;
    l.stamp = begin(s);
    function->run(&l);
    counts.launches++, launches_here++;
    if (function->launches++ == 0) {
        launched = realloc(launched, (launched_count + 1) * sizeof *launched);
        launched[launched_count++] = function;
    }
    ANSWER(SUCCESS);
}
