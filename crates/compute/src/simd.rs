//! Which vectors the numeric code uses: the widest that the machine has, or fewer where `UNMUTE_SIMD` says so.
//!
//! `UNMUTE_SIMD=avx2` keeps to AVX2 on a machine with AVX-512, `UNMUTE_SIMD=scalar` to plain code; `avx512` is the same as
//! leaving it out. Numbers differ in their last bits, since sums are grouped otherwise.

use pulp::Arch;
use std::sync::OnceLock;

/// A kind of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// None.
    Scalar,
    /// ARM's: 4 numbers.
    Neon,
    /// AVX2 and FMA: 8 numbers.
    Avx2,
    /// AVX-512: 16 numbers.
    Avx512,
}

/// What this process uses; looked up once.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| widest().min(asked().unwrap_or(Level::Avx512)))
}

/// The widest vectors that `UNMUTE_SIMD` allows.
///
/// # Errors
/// A word that is none of `scalar`, `avx2` and `avx512`.
pub fn asked() -> Result<Level, String> {
    match std::env::var_os("UNMUTE_SIMD").unwrap_or_default().to_str() {
        Some("scalar") => Ok(Level::Scalar),
        Some("avx2") => Ok(Level::Avx2),
        Some("avx512" | "") => Ok(Level::Avx512),
        other => Err(format!(
            "UNMUTE_SIMD={}: no vectors of that name\n  next: scalar, avx2 or avx512, or leave it out for the widest that the machine has",
            other.unwrap_or("?")
        )),
    }
}

#[cfg(target_arch = "x86_64")]
fn widest() -> Level {
    match Arch::new() {
        Arch::V4(_) => Level::Avx512,
        Arch::V3(_) => Level::Avx2,
        _ => Level::Scalar,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest() -> Level {
    if cfg!(target_arch = "aarch64") { Level::Neon } else { Level::Scalar }
}

/// Runs element-wise code compiled for these vectors.
#[inline(always)]
pub fn vectorise<R>(body: impl FnOnce() -> R) -> R {
    arch().dispatch(body)
}

fn arch() -> Arch {
    #[cfg(target_arch = "x86_64")]
    {
        match (level(), pulp::x86::V3::try_new()) {
            (Level::Avx512, _) => Arch::new(),
            (Level::Avx2, Some(v3)) => Arch::V3(v3),
            _ => Arch::Scalar,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        if level() == Level::Scalar { Arch::Scalar } else { Arch::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_as_wide_as_the_machines_or_as_asked_for() {
        // Printed: tests/arm.rs sees by it that NEON is used there.
        println!("vectors: {:?}", level());
        assert!(level() <= asked().unwrap() && level() <= widest());
        #[cfg(target_arch = "aarch64")]
        assert_eq!(level() == Level::Neon, std::env::var("UNMUTE_SIMD").as_deref() != Ok("scalar"));
    }
}
