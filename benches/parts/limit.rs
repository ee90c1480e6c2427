//! The FMA limit of the machine: multiply-adds from registers alone, on all threads of the pool at once.
//!
//! Nothing that multiplies can be faster, so a part's operations a second are a share of it. The loop uses the vectors that products
//! use, [`simd::level`], and as many chains of dependent multiply-adds as hide their latency on any processor so far. Where a part multiplies
//! pairs of bfloat16 and the processor has instructions for that, these are what is measured.

use compute::matmul::bf16;
use compute::simd::{self, Level};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long a thread is kept busy: long against waking it up, short against what is measured.
const WHILE: Duration = Duration::from_millis(4);

/// Chains: two units times a latency of up to five steps, and some to spare; with factor and term they fit 16 registers.
const CHAINS: usize = 12;

/// Steps of all chains between two looks at the clock.
const STEPS: usize = 20_000;

/// Floating-point operations a second, two for each multiply-add, the sum over the threads of the pool.
pub fn measure(of_pairs: bool) -> f64 {
    rayon::broadcast(|_| rate(of_pairs && bf16::in_hardware())).into_iter().sum()
}

/// Those of this thread.
fn rate(of_pairs: bool) -> f64 {
    let (start, mut turns) = (Instant::now(), 0);
    let lanes = loop {
        let lanes = if of_pairs { turn_of_pairs() } else { turn() };
        turns += 1;
        if start.elapsed() >= WHILE {
            break lanes;
        }
    };
    (2 * lanes * CHAINS * STEPS * turns) as f64 / start.elapsed().as_secs_f64()
}

/// One turn with the vectors of products; the number of their lanes.
fn turn() -> usize {
    match simd::level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has what `level` says.
        Level::Avx512 => unsafe { avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; the level includes FMA.
        Level::Avx2 => unsafe { avx2() },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        Level::Neon => unsafe { neon() },
        _ => scalar(),
    }
}

/// One turn of pairs; the number of their lanes.
fn turn_of_pairs() -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: asked for where the machine has them.
    unsafe {
        avx512_of_pairs()
    }
    #[cfg(not(target_arch = "x86_64"))]
    turn()
}

/// chain = chain factor + term, [`STEPS`] times, where both have been hidden from the compiler. The chains tend to 1 (those of pairs grow) from
/// numbers of their own, so that none is denormal and no two are the same.
macro_rules! chains {
    ($set:expr, $step:expr) => {{
        let (factor, term) = ($set(black_box(0.5)), $set(black_box(0.5)));
        let mut chains: [_; CHAINS] = std::array::from_fn(|i| $set(black_box(i as f32)));
        for _ in 0..STEPS {
            for chain in &mut chains {
                *chain = $step(*chain, factor, term);
            }
        }
        black_box(chains);
    }};
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() -> usize {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    chains!(|v| _mm512_set1_ps(v), |c, f, t| _mm512_fmadd_ps(c, f, t));
    16
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn avx512_of_pairs() -> usize {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_set1_ps};
    // SAFETY: any bits are pairs.
    let pairs = |v: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(v) };
    chains!(|v| _mm512_set1_ps(v), |c, f, t| _mm512_dpbf16_ps(c, pairs(f), pairs(t)));
    32
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() -> usize {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    chains!(|v| _mm256_set1_ps(v), |c, f, t| _mm256_fmadd_ps(c, f, t));
    8
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon() -> usize {
    use std::arch::aarch64::{vdupq_n_f32, vfmaq_f32};
    chains!(|v| vdupq_n_f32(v), |c, f, t| vfmaq_f32(t, c, f));
    4
}

/// Without vectors a product multiplies, then adds.
fn scalar() -> usize {
    chains!(|v: f32| v, |c: f32, f: f32, t: f32| c * f + t);
    1
}
