//! Small quadratic programs with bounds, exactly.
//!
//! min 1/2 a^T G a + q^T a, a >= 0, for a symmetric positive definite G (n, n). A set F of places is guessed to be positive:
//! there the gradient vanishes, G_FF a_F = -q_F, and elsewhere a = 0. Places where a is negative, or the gradient, change
//! sides, all at once while that makes them fewer, else the last of them alone, which ends for certain (block principal
//! pivoting: Portugal, Judice and Vicente, A comparison of block pivoting and interior-point algorithms for linear least
//! squares problems with nonnegative variables, 1994).

use crate::simd;

/// How often all may change sides without becoming fewer.
const TRIES: usize = 3;

/// Guesses, at most.
const MAX_GUESSES: usize = 60;

/// Solves the program from the guess that `a` is positive where it is. Where no guess holds in [`MAX_GUESSES`], it says
/// `false` and leaves `a` as it was.
pub(super) fn minimise(gram: &[f64], q: &[f64], a: &mut [f64]) -> bool {
    let n = q.len();
    let mut inside: Vec<bool> = a.iter().map(|a| *a > 0.0).collect();
    let (mut fewest, mut tries) = (n + 1, TRIES);
    let scale = q.iter().fold(0.0f64, |most, q| most.max(q.abs()));
    for _ in 0..MAX_GUESSES {
        let free: Vec<usize> = (0..n).filter(|i| inside[*i]).collect();
        let Some(values) = solve(gram, q, &free) else { return false };
        let mut wrong = Vec::new();
        for i in 0..n {
            let row = &gram[i * n..][..n];
            if inside[i] {
                continue;
            }
            let slope: f64 = q[i] + free.iter().zip(&values).map(|(&j, v)| row[j] * v).sum::<f64>();
            if slope < -1e-10 * scale {
                wrong.push(i);
            }
        }
        wrong.extend(free.iter().zip(&values).filter(|(_, v)| **v < 0.0).map(|(i, _)| *i));
        if wrong.is_empty() {
            a.fill(0.0);
            free.iter().zip(values).for_each(|(&i, v)| a[i] = v);
            return true;
        }
        let all = wrong.len() < fewest || tries > 0;
        if wrong.len() < fewest {
            (fewest, tries) = (wrong.len(), TRIES);
        } else {
            tries = tries.saturating_sub(1);
        }
        match all {
            true => wrong.iter().for_each(|&i| inside[i] = !inside[i]),
            false => wrong.iter().max().into_iter().for_each(|&i| inside[i] = !inside[i]),
        }
    }
    false
}

/// v with G_FF v = -q_F, by Cholesky's decomposition; none where G_FF is not positive definite.
fn solve(gram: &[f64], q: &[f64], free: &[usize]) -> Option<Vec<f64>> {
    let (n, f) = (q.len(), free.len());
    // The lower half, row after row: G_FF = L L^T.
    let mut l = vec![0.0f64; f * f];
    for (row, &i) in l.chunks_exact_mut(f.max(1)).zip(free) {
        row.iter_mut().zip(free).for_each(|(l, &j)| *l = gram[i * n + j]);
    }
    for i in 0..f {
        let (before, here) = l.split_at_mut(i * f);
        let row = &mut here[..f];
        for j in 0..i {
            let other = &before[j * f..][..=j];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let rest = row[i] - dot(&row[..i], &row[..i]);
        if rest <= 0.0 {
            return None;
        }
        row[i] = rest.sqrt();
    }
    let mut v: Vec<f64> = free.iter().map(|&i| -q[i]).collect();
    for i in 0..f {
        let row = &l[i * f..][..f];
        v[i] = (v[i] - dot(&row[..i], &v[..i])) / row[i];
    }
    for i in (0..f).rev() {
        v[i] /= l[i * f + i];
        let (value, row) = (v[i], &l[i * f..][..i]);
        v[..i].iter_mut().zip(row).for_each(|(v, l)| *v -= value * l);
    }
    Some(v)
}

/// a . b, always added in the same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    simd::vectorise(
        #[inline(always)]
        || {
            let mut sums = [0.0f64; 16];
            let (ac, bc) = (a.chunks_exact(16), b.chunks_exact(16));
            let tail: f64 = ac.remainder().iter().zip(bc.remainder()).map(|(a, b)| a * b).sum();
            for (a, b) in ac.zip(bc) {
                for k in 0..16 {
                    sums[k] += a[k] * b[k];
                }
            }
            sums.iter().sum::<f64>() + tail
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// G = A A^T + ridge, A (n, rank).
    fn program(n: usize, rank: usize, ridge: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut stream = Stream::new(seed, "pivoting");
        let a: Vec<f64> = (0..n * rank).map(|_| stream.normal()).collect();
        let row = |i: usize| &a[i * rank..][..rank];
        let mut gram = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                gram[i * n + j] = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
            }
            gram[i * n + i] += ridge;
        }
        (gram, (0..n).map(|_| stream.normal() - 0.3).collect())
    }

    #[test]
    fn the_conditions_of_a_minimum_hold_from_any_guess() {
        for (seed, (n, rank, ridge)) in
            [(1, 1, 1.0), (7, 3, 0.5), (40, 50, 0.1), (90, 20, 0.5), (130, 130, 1e-3)].into_iter().enumerate()
        {
            let (gram, q) = program(n, rank, ridge, seed as u64);
            let mut found = Vec::new();
            for guess in [0.0, 1.0] {
                let mut a = vec![guess; n];
                assert!(minimise(&gram, &q, &mut a), "{n} x {rank}");
                for i in 0..n {
                    let slope = q[i] + (0..n).map(|j| gram[i * n + j] * a[j]).sum::<f64>();
                    assert!(a[i] >= 0.0 && slope > -1e-6, "{n} x {rank}: place {i}, {} {slope}", a[i]);
                    assert!(a[i] * slope < 1e-6, "{n} x {rank}: place {i} is {} and slopes {slope}", a[i]);
                }
                found.push(a);
            }
            let apart = found[0].iter().zip(&found[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-6, "{n} x {rank}: two minima, {apart}");
        }
    }

    #[test]
    fn a_matrix_that_is_not_definite_is_refused() {
        let mut a = [1.0, 1.0];
        assert!(!minimise(&[1.0, 2.0, 2.0, 1.0], &[-1.0, -1.0], &mut a));
        assert_eq!(a, [1.0, 1.0]);
    }
}
