//! Named random streams: every draw of the program comes from ChaCha12 seeded by a hash of (seed, purpose).
//!
//! Two purposes never share a stream, so adding a draw in one place moves no other. The samplers on top are written
//! out here (and not taken from a distribution crate) because their exact values are part of what a fingerprint
//! promises: an update of a dependency must not change a run.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A deterministic source of random numbers for one purpose.
pub struct Rng {
    rng: ChaCha12Rng,
}

impl Rng {
    /// The stream of `seed` for `purpose` (`"init"`, `"order/3"`, ...): key = BLAKE3(seed as 8 little-endian bytes,
    /// purpose).
    ///
    /// ```
    /// use compute::rng::Rng;
    ///
    /// let draw = |purpose| Rng::new(7, purpose).uniform();
    /// assert_eq!(draw("init"), draw("init"));
    /// assert_ne!(draw("init"), draw("order/0"));
    /// ```
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(purpose.as_bytes());
        let rng = ChaCha12Rng::from_seed(*hasher.finalize().as_bytes());
        Rng { rng }
    }

    /// A uniform number in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A uniform integer in `0..n` (multiply-shift on 64 bits; the bias is below n / 2^64).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "no integer lies below 0");
        ((u128::from(self.rng.next_u64()) * n as u128) >> 64) as usize
    }

    /// A standard normal number (Box-Muller, the cosine half).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// A random permutation of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_stable_and_apart() {
        let draw = |seed, purpose| Rng::new(seed, purpose).below(1 << 30);
        assert_eq!(draw(7, "init"), draw(7, "init"));
        assert_ne!(draw(7, "init"), draw(7, "order"));
        assert_ne!(draw(7, "init"), draw(8, "init"));
    }

    #[test]
    fn normal_has_zero_mean_and_unit_variance() {
        let mut stream = Rng::new(0, "test");
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let var = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "{mean} {var}");
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = Rng::new(1, "order").permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
