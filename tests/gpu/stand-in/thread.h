// What the C that `ptx.c` makes of a kernel needs: the launch that it runs in, and device memory with every access checked.

#ifndef STAND_IN_THREAD_H
#define STAND_IN_THREAD_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;

// Device memory in pieces of so many bytes.
enum { GRANULE = 512, STREAMS = 8 };

// Of each piece: how many of its bytes, from the first, are allocated, and which work wrote and read it last. Work is
// known by a stamp, its number times STREAMS plus its stream; readers of the default stream and of others apart.
struct granule {
    u32 written, read_default, read_other;
    u16 room, unused;
};

struct launch {
    const char *kernel;
    u32 grid[3], block[3];
    const u8 *params;
    struct granule *granules;
    u64 base, size, to_host; // device addresses base .. base + size; to_host is added to one to get at its bytes
    u32 stamp;
    u8 nowhere[64]; // where an access goes that is refused
    void (*refuse)(struct launch *, u64 at, u32 bytes, const char *what);
    void (*order)(struct launch *, struct granule *, u64 at, int writes);
};

static inline void *reach(struct launch *l, u64 at, u32 bytes, int reads, int writes) {
    u64 offset = at - l->base;
    struct granule *g = &l->granules[offset / GRANULE];
    if (__builtin_expect(offset >= l->size || offset % GRANULE + bytes > g->room, 0)) {
        l->refuse(l, at, bytes, writes ? "writes outside of what is allocated" : "reads outside of what is allocated");
        memset(l->nowhere, 0, sizeof l->nowhere);
        return l->nowhere;
    }
    if (__builtin_expect(at & (bytes - 1), 0)) l->refuse(l, at, bytes, "is not aligned");
    u32 stream = l->stamp % STREAMS;
    int others = ((g->written ^ l->stamp) % STREAMS) != 0;
    if (writes) {
        others |= (g->read_default != 0 && stream != 0) | (g->read_other != 0 && g->read_other % STREAMS != stream);
    }
    if (__builtin_expect(others, 0)) l->order(l, g, at, writes);
    if (writes) g->written = l->stamp;
    if (reads) *(stream == 0 ? &g->read_default : &g->read_other) = l->stamp;
    return (void *)(at + l->to_host);
}

// Shared memory by offset, as in PTX.
static inline void *share(struct launch *l, u8 *shared, u32 size, u64 at, u32 bytes) {
    if (__builtin_expect(at + bytes > size, 0)) {
        l->refuse(l, at, bytes, "is outside of shared memory");
        return l->nowhere;
    }
    return shared + at;
}

static inline f32 F(u32 bits) {
    f32 x;
    memcpy(&x, &bits, 4);
    return x;
}
static inline u32 F_BITS(f32 x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline f64 D(u64 bits) {
    f64 x;
    memcpy(&x, &bits, 8);
    return x;
}
static inline u64 D_BITS(f64 x) {
    u64 bits;
    memcpy(&bits, &x, 8);
    return bits;
}

static inline f32 of_f16(u16 bits) {
    u32 exponent = bits >> 10 & 31, mantissa = bits & 1023;
    f32 x = exponent == 0    ? ldexpf((f32)mantissa, -24)
            : exponent == 31 ? (mantissa ? NAN : INFINITY)
                             : ldexpf((f32)(mantissa | 1024), (int)exponent - 25);
    return bits >> 15 ? -x : x;
}
static inline u16 to_f16(f32 x) {
    u16 sign = signbit(x) ? 0x8000 : 0;
    f32 size = fabsf(x);
    if (isnan(x)) return 0x7fff;
    if (size >= 65520.0f) return sign | 0x7c00;
    int exponent;
    frexpf(size, &exponent); // size in [2^(exponent-1), 2^exponent)
    int low = exponent - 1 < -14 ? -14 : exponent - 1;
    u32 steps = (u32)nearbyintf(ldexpf(size, 10 - low)); // may be 2048, which carries into the exponent
    return sign | (u16)(size == 0 ? 0 : steps < 1024 ? steps : (((u32)(low + 15) << 10) + (steps - 1024)));
}

static inline f32 saturate(f32 x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
// Towards minus infinity, plus infinity, zero.
static inline f32 fma_rm(f32 a, f32 b, f32 c) {
    f64 exact = (f64)a * b + c;
    f32 x = (f32)exact;
    return (f64)x > exact ? nextafterf(x, -INFINITY) : x;
}
static inline f32 fma_rp(f32 a, f32 b, f32 c) {
    f64 exact = (f64)a * b + c;
    f32 x = (f32)exact;
    return (f64)x < exact ? nextafterf(x, INFINITY) : x;
}
static inline f32 fma_rz(f32 a, f32 b, f32 c) {
    return (f64)a * b + c < 0 ? fma_rp(a, b, c) : fma_rm(a, b, c);
}
static inline f32 max_nan(f32 a, f32 b) { return isnan(a) || isnan(b) ? NAN : fmaxf(a, b); }
static inline f32 min_nan(f32 a, f32 b) { return isnan(a) || isnan(b) ? NAN : fminf(a, b); }
// Out of range: the nearest; not a number: 0.
static inline s64 to_int(f64 x, f64 least, f64 most) {
    return isnan(x) ? 0 : x <= least ? (least <= -9.2e18 ? INT64_MIN : (s64)least) : x >= most ? (most >= 9.2e18 ? INT64_MAX : (s64)most) : (s64)x;
}
static inline u64 to_uint(f64 x, f64 most) {
    return isnan(x) || x <= 0 ? 0 : x >= most ? (most >= 1.8e19 ? UINT64_MAX : (u64)most) : (u64)x;
}
static inline u32 lop3(u32 a, u32 b, u32 c, u32 table) {
    u32 x = 0;
    for (int bit = 0; bit < 32; bit++) {
        x |= (table >> ((a >> bit & 1) << 2 | (b >> bit & 1) << 1 | (c >> bit & 1)) & 1) << bit;
    }
    return x;
}
static inline u32 prmt(u32 a, u32 b, u32 select) {
    u64 bytes = (u64)b << 32 | a;
    u32 x = 0;
    for (int i = 0; i < 4; i++) {
        u32 s = select >> 4 * i & 15, byte = bytes >> 8 * (s & 7) & 255;
        if (s & 8) byte = byte & 128 ? 255 : 0;
        x |= byte << 8 * i;
    }
    return x;
}
static inline u64 bfe(u64 a, u32 from, u32 bits, u32 width, int with_sign) {
    from &= 255, bits &= 255;
    if (bits == 0 || from >= width) return 0;
    if (from + bits > width) bits = width - from;
    u64 x = a >> from & (bits == 64 ? ~0ull : (1ull << bits) - 1);
    return with_sign && x >> (bits - 1) & 1 ? x | ~0ull << (bits - 1) : x;
}
static inline u64 bfi(u64 a, u64 b, u32 from, u32 bits, u32 width) {
    from &= 255, bits &= 255;
    if (from >= width || bits == 0) return b;
    if (from + bits > width) bits = width - from;
    u64 mask = (bits == 64 ? ~0ull : (1ull << bits) - 1) << from;
    return (b & ~mask) | (a << from & mask);
}

#endif
