//! Numbers near enough, random numbers, and matrices on dfdx's CPU.

use compute::rng::Rng;
use dfdx::prelude::*;
use unmute::model::Matrix;

/// Fails unless each number is within `tolerance` of the expected one, relative to the largest expected magnitude (or
/// to 1e-6 where all are tiny).
#[track_caller]
pub fn assert_close(what: &str, ours: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}: how many numbers");
    let scale = expected.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    for (i, (o, e)) in ours.iter().zip(expected).enumerate() {
        let off = (f64::from(*o) - e).abs() / scale;
        assert!(off <= tolerance, "{what}[{i}]: {o}, expected {e} ({off:.1e} of the largest, {scale})");
    }
}

/// [`assert_close`] for one number.
#[track_caller]
pub fn assert_near(what: &str, ours: f64, expected: f64, tolerance: f64) {
    let off = (ours - expected).abs() / expected.abs().max(1e-6);
    assert!(off <= tolerance, "{what}: {ours}, expected {expected} ({off:.1e})");
}

/// Standard normal numbers from a stream of their own.
pub fn normal(n: usize, scale: f64, purpose: &str) -> Vec<f32> {
    let mut stream = Rng::new(1, purpose);
    (0..n).map(|_| (stream.normal() * scale) as f32).collect()
}

/// As f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// A matrix on the CPU.
pub fn matrix(values: Vec<f32>, rows: usize, cols: usize) -> Matrix<Cpu> {
    Cpu::default().tensor_from_vec(values, (rows, cols))
}

/// Labels as rows with a single 1.
pub fn one_hot(labels: &[usize], classes: usize) -> Matrix<Cpu> {
    let mut values = vec![0.0; labels.len() * classes];
    for (row, label) in values.chunks_exact_mut(classes).zip(labels) {
        row[*label] = 1.0;
    }
    matrix(values, labels.len(), classes)
}

/// Runs something on a pool of so many threads.
pub fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}
