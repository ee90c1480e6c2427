//! Small quadratic programs with bounds, exactly.
//!
//! min 1/2 a^T (G + ridge I) a + q^T a, a >= 0, for a symmetric G (n, n) that the ridge makes positive definite. A set F of places is guessed to be positive:
//! there the gradient vanishes, G_FF a_F = -q_F, and elsewhere a = 0. Places where a is negative, or the gradient, change
//! sides, all at once while that makes them fewer, else the last of them alone, which ends for certain (block principal
//! pivoting: Portugal, Judice and Vicente, A comparison of block pivoting and interior-point algorithms for linear least
//! squares problems with nonnegative variables, 1994).

use crate::simd;

/// How often all may change sides without becoming fewer.
const TRIES: usize = 3;

/// Guesses, at most.
const MAX_GUESSES: usize = 60;

/// Steps of conjugate gradients after which Cholesky's decomposition is cheaper.
const MAX_CG: usize = 120;

/// What is left of a linear system, relatively, when it counts as solved.
const SOLVED: f64 = 1e-9;

/// Solves the program from the guess that `a` is positive where it is. Where no guess holds in [`MAX_GUESSES`], it says
/// `false` and leaves `a` as it was.
pub(super) fn minimise(gram: &[f32], ridge: f64, q: &[f64], a: &mut [f64]) -> bool {
    let n = q.len();
    let mut near = a.to_vec();
    let mut inside: Vec<bool> = a.iter().map(|a| *a > 0.0).collect();
    let (mut fewest, mut tries) = (n + 1, TRIES);
    let scale = q.iter().fold(0.0f64, |most, q| most.max(q.abs()));
    for _ in 0..MAX_GUESSES {
        let free: Vec<usize> = (0..n).filter(|i| inside[*i]).collect();
        let Some(values) = solve(gram, ridge, q, &free, &near) else { return false };
        free.iter().zip(&values).for_each(|(&i, v)| near[i] = *v);
        let mut wrong = Vec::new();
        for i in 0..n {
            let row = &gram[i * n..][..n];
            if inside[i] {
                continue;
            }
            let slope: f64 = q[i] + free.iter().zip(&values).map(|(&j, v)| f64::from(row[j]) * v).sum::<f64>();
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

/// v with (G_FF + ridge I) v = -q_F, from what `near` says of it: by conjugate gradients where they are quick, else by
/// Cholesky's decomposition; none where the matrix is not positive definite.
fn solve(gram: &[f32], ridge: f64, q: &[f64], free: &[usize], near: &[f64]) -> Option<Vec<f64>> {
    let (n, f) = (q.len(), free.len());
    let mut part = vec![0.0f32; f * f];
    for (row, &i) in part.chunks_exact_mut(f.max(1)).zip(free) {
        row.iter_mut().zip(free).for_each(|(g, &j)| *g = gram[i * n + j]);
    }
    let right: Vec<f64> = free.iter().map(|&i| -q[i]).collect();
    let start = free.iter().map(|&i| near[i]).collect();
    conjugate(&part, ridge, &right, start).or_else(|| cholesky(&part, ridge, &right))
}

/// Conjugate gradients from `v`; none where they take too long.
fn conjugate(gram: &[f32], ridge: f64, right: &[f64], mut v: Vec<f64>) -> Option<Vec<f64>> {
    let apply = |v: &[f64]| -> Vec<f64> {
        simd::vectorise(
            #[inline(always)]
            || gram.chunks_exact(v.len().max(1)).zip(v).map(|(row, x)| mixed(row, v) + ridge * x).collect(),
        )
    };
    let mut residual: Vec<f64> = right.iter().zip(apply(&v)).map(|(r, gv)| r - gv).collect();
    let goal = SOLVED * SOLVED * dot(right, right);
    let mut energy = dot(&residual, &residual);
    let mut direction = residual.clone();
    for _ in 0..MAX_CG {
        if energy <= goal {
            return Some(v);
        }
        let g = apply(&direction);
        let length = energy / dot(&direction, &g);
        v.iter_mut().zip(&direction).for_each(|(v, d)| *v += length * d);
        residual.iter_mut().zip(&g).for_each(|(r, g)| *r -= length * g);
        let next = dot(&residual, &residual);
        let beta = next / energy;
        energy = next;
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + beta * *d);
    }
    None
}

/// Cholesky's decomposition and two substitutions.
fn cholesky(gram: &[f32], ridge: f64, right: &[f64]) -> Option<Vec<f64>> {
    let f = right.len();
    // The lower half, row after row: L L^T.
    let mut l: Vec<f64> = gram.iter().map(|g| f64::from(*g)).collect();
    l.iter_mut().step_by(f + 1).for_each(|g| *g += ridge);
    if !decompose(&mut l, f) {
        return None;
    }
    let mut v = right.to_vec();
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

/// Rows of L that are made side by side, so that those before them are read once for all.
const ROWS: usize = 16;

/// Cholesky's decomposition in place, in the lower half of an (f, f) matrix: L_ij = (G_ij - sum_k<j L_ik L_jk) / L_jj. It says
/// whether the matrix is positive definite.
fn decompose(l: &mut [f64], f: usize) -> bool {
    simd::vectorise(
        #[inline(always)]
        || decompose_in_place(l, f),
    )
}

#[inline(always)]
fn decompose_in_place(l: &mut [f64], f: usize) -> bool {
    for from in (0..f).step_by(ROWS) {
        let to = (from + ROWS).min(f);
        for j in 0..to {
            let (before, here) = l.split_at_mut(j.max(from) * f);
            let (other, here) = if j < from {
                (&before[j * f..][..=j], here)
            } else {
                let (row, after) = here.split_at_mut(f);
                let rest = row[j] - dots([&row[..j]], &row[..j])[0];
                if rest <= 0.0 {
                    return false;
                }
                row[j] = rest.sqrt();
                (&row[..=j], after)
            };
            let rows = to - (j + 1).max(from);
            let mut four = here[..rows * f].chunks_exact_mut(4 * f);
            for rows in &mut four {
                let sums = dots([0, 1, 2, 3].map(|r| &rows[r * f..][..j]), &other[..j]);
                sums.iter().enumerate().for_each(|(r, sum)| rows[r * f + j] = (rows[r * f + j] - sum) / other[j]);
            }
            for row in four.into_remainder().chunks_exact_mut(f) {
                row[j] = (row[j] - dots([&row[..j]], &other[..j])[0]) / other[j];
            }
        }
    }
    true
}

/// a . b, a in single precision, always added in the same order.
#[inline(always)]
fn mixed(a: &[f32], b: &[f64]) -> f64 {
    const LANES: usize = 16;
    let ((a_lanes, a_tail), (b_lanes, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f64; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for k in 0..LANES {
            sums[k] += f64::from(a[k]) * b[k];
        }
    }
    sums.iter().sum::<f64>() + a_tail.iter().zip(b_tail).map(|(a, b)| f64::from(*a) * b).sum::<f64>()
}

#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    dots([a], b)[0]
}

/// a . b for several a as long as b, each always added in the same order.
#[inline(always)]
fn dots<const R: usize>(a: [&[f64]; R], b: &[f64]) -> [f64; R] {
    const LANES: usize = 8;
    let (b_lanes, b_tail) = b.as_chunks::<LANES>();
    let a = a.map(|a| a[..b.len()].as_chunks::<LANES>());
    let mut sums = [[0.0f64; LANES]; R];
    for (at, b) in b_lanes.iter().enumerate() {
        for (sums, (a, _)) in sums.iter_mut().zip(&a) {
            let a = &a[at];
            for k in 0..LANES {
                sums[k] += a[k] * b[k];
            }
        }
    }
    let mut out = [0.0; R];
    for ((out, sums), (_, a)) in out.iter_mut().zip(&sums).zip(&a) {
        *out = sums.iter().sum::<f64>() + a.iter().zip(b_tail).map(|(a, b)| a * b).sum::<f64>();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// G = A A^T, A (n, rank).
    fn program(n: usize, rank: usize, seed: u64) -> (Vec<f32>, Vec<f64>) {
        let mut stream = Stream::new(seed, "pivoting");
        let a: Vec<f64> = (0..n * rank).map(|_| stream.normal()).collect();
        let row = |i: usize| &a[i * rank..][..rank];
        let mut gram = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                gram[i * n + j] = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum::<f64>() as f32;
            }
        }
        (gram, (0..n).map(|_| stream.normal() - 0.3).collect())
    }

    #[test]
    fn the_conditions_of_a_minimum_hold_from_any_guess() {
        for (seed, (n, rank, ridge)) in
            [(1, 1, 1.0), (7, 3, 0.5), (40, 50, 0.1), (90, 20, 0.5), (130, 130, 1e-3)].into_iter().enumerate()
        {
            let (gram, q) = program(n, rank, seed as u64);
            let mut found = Vec::new();
            for guess in [0.0, 1.0] {
                let mut a = vec![guess; n];
                assert!(minimise(&gram, ridge, &q, &mut a), "{n} x {rank}");
                for i in 0..n {
                    let along: f64 = (0..n).map(|j| f64::from(gram[i * n + j]) * a[j]).sum();
                    let slope = q[i] + along + ridge * a[i];
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
        assert!(!minimise(&[-1.0, 0.0, 0.0, -1.0], 0.5, &[-1.0, -2.0], &mut a));
        assert_eq!(a, [1.0, 1.0]);
    }

    #[test]
    fn both_ways_solve_a_linear_system() {
        let (n, ridge) = (77, 0.3);
        let (gram, right) = program(n, 100, 9);
        let (quick, sure) = (conjugate(&gram, ridge, &right, right.clone()), cholesky(&gram, ridge, &right));
        let (quick, sure) = (quick.unwrap(), sure.unwrap());
        let apart = quick.iter().zip(&sure).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-7, "{apart}");
    }
}
