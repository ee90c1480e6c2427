// Batches of standardised rows from features that lie on the device.

#include "thread.cuh"

// A half-precision number by its bits. Subnormal ones are made by a product, so that no mode of the device drops them.
__device__ static float of_half(unsigned short bits) {
    unsigned sign = (unsigned)(bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, mantissa = bits & 1023u;
    if (exponent == 0) {
        float small = (float)mantissa * 5.9604644775390625e-8f; // 2^-24
        return sign ? -small : small;
    }
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

// Standardised rows of resident features, beside those of other streams: features (N, F, D) of N clips with F frames ->
// columns from .. from + D of out (R, width), with R = steps batch and time-major rows: row t batch + b is frame t of
// clip clips[b], or frame frames[b] where frames is given (then steps = 1). out = (x - mean) inverse_sd; mean and
// inverse_sd (D). A clip below 0 has no features: its x is 0.

// Where number n of the batch lies among the features; below 0 for a clip that has none.
__device__ static count place(count n, count batch, count features_frames, count features_width, const count *clips,
                              const count *frames) {
    count d = n % features_width, row = n / features_width, b = row % batch;
    count frame = frames ? frames[b] : row / batch;
    return clips[b] < 0 ? -1 : (clips[b] * features_frames + frame) * features_width + d;
}

// Puts x, which is number n of the batch, into out.
__device__ static void put(count n, float x, count features_width, const float *mean, const float *inverse_sd,
                           float *out, count width, count from) {
    count d = n % features_width, row = n / features_width;
    out[row * width + from + d] = (x - mean[d]) * inverse_sd[d];
}

KERNEL gather_f32(count steps, count batch, count features_frames, count features_width, const float *features,
                  const count *clips, const count *frames, const float *mean, const float *inverse_sd, float *out,
                  count width, count from) {
    count n = HERE;
    if (n >= steps * batch * features_width) return;
    count at = place(n, batch, features_frames, features_width, clips, frames);
    put(n, at < 0 ? 0.0f : features[at], features_width, mean, inverse_sd, out, width, from);
}

KERNEL gather_f16(count steps, count batch, count features_frames, count features_width, const unsigned short *features,
                  const count *clips, const count *frames, const float *mean, const float *inverse_sd, float *out,
                  count width, count from) {
    count n = HERE;
    if (n >= steps * batch * features_width) return;
    count at = place(n, batch, features_frames, features_width, clips, frames);
    put(n, at < 0 ? 0.0f : of_half(features[at]), features_width, mean, inverse_sd, out, width, from);
}
