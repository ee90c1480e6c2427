//! Small quadratic programs with bounds.
//!
//! min 1/2 a^T (G + ridge I) a + q^T a, a >= 0, for a symmetric positive semidefinite G (n, n). Sweeps of coordinate descent find
//! which places are positive, F; conjugate gradients on these find their values, (G_FF + ridge I) a_F = -q_F; what that makes
//! negative is cut off at 0, and so on in turns (after More and Toraldo, On the solution of large quadratic programming problems
//! with bound constraints, 1991). No turn makes the objective larger.

use crate::rng::Rng;
use crate::simd;

/// Turns, at most, and sweeps and steps of conjugate gradients in each. The rows of a program are not yet the right ones until
/// the last looks: to solve it further is in vain.
const TURNS: usize = 3;
const SWEEPS: usize = 30;
const STEPS: usize = 30;

/// What is left of a linear system, relatively, when it counts as solved.
const SOLVED: f64 = 1e-7;

/// Improves `a`, which is feasible, until it is the minimum or [`TURNS`] are over; it says whether it is the minimum.
pub(super) fn minimise(gram: &[f32], ridge: f64, q: &[f64], a: &mut [f64]) -> bool {
    let n = q.len();
    let mut stream = Rng::new(0, "svm/dual/program");
    for _ in 0..TURNS {
        sweeps(gram, ridge, q, a, &mut stream);
        let free: Vec<usize> = (0..n).filter(|i| a[*i] > 0.0).collect();
        let (values, solved) = solve(gram, ridge, q, &free, a);
        let mut cut = vec![0.0; n];
        free.iter().zip(&values).for_each(|(&i, v)| cut[i] = v.max(0.0));
        let whole = values.iter().all(|v| *v >= 0.0);
        let (before, _) = value(gram, ridge, q, a);
        let (after, slopes) = value(gram, ridge, q, &cut);
        if after <= before {
            a.copy_from_slice(&cut);
            let worst = q.iter().fold(0.0f64, |most, q| most.max(q.abs()));
            if solved && whole && slopes.iter().zip(&*a).all(|(s, a)| *a > 0.0 || *s >= -1e-6 * worst) {
                return true;
            }
            continue;
        }
        // As far towards the values as all stay positive.
        let reach = |(&i, v): (&usize, &f64)| if *v < 0.0 { a[i] / (a[i] - v) } else { 1.0 };
        let far = free.iter().zip(&values).map(reach).fold(1.0, f64::min);
        free.iter().zip(&values).for_each(|(&i, v)| a[i] = (a[i] + far * (v - a[i])).max(0.0));
    }
    false
}

/// The objective, and its gradient.
fn value(gram: &[f32], ridge: f64, q: &[f64], a: &[f64]) -> (f64, Vec<f64>) {
    let mut slopes = times(gram, a);
    slopes.iter_mut().zip(a.iter().zip(q)).for_each(|(s, (a, q))| *s += ridge * a + q);
    // 1/2 a^T (G + ridge I) a + q^T a = 1/2 a^T (gradient + q)
    let value = 0.5 * slopes.iter().zip(q).zip(a).map(|((s, q), a)| (s + q) * a).sum::<f64>();
    (value, slopes)
}

/// Coordinate descent: a_i <- max(0, a_i - slope_i / (G_ii + ridge)), in a random order that depends on nothing.
fn sweeps(gram: &[f32], ridge: f64, q: &[f64], a: &mut [f64], stream: &mut Rng) {
    let n = q.len();
    let mut slopes: Vec<f32> = times(gram, a).iter().zip(q).map(|(along, q)| (along + q) as f32).collect();
    let mut near: Vec<f32> = a.iter().map(|a| *a as f32).collect();
    let ridge = ridge as f32;
    for _ in 0..SWEEPS {
        let order = stream.permutation(n);
        simd::vectorise(
            #[inline(always)]
            || {
                for &i in &order {
                    let slope = slopes[i] + ridge * near[i];
                    if near[i] == 0.0 && slope >= 0.0 {
                        continue;
                    }
                    let row = &gram[i * n..][..n];
                    let next = (near[i] - slope / (row[i] + ridge)).max(0.0);
                    let change = next - near[i];
                    near[i] = next;
                    for (slope, g) in slopes.iter_mut().zip(row) {
                        *slope += change * g;
                    }
                }
            },
        );
    }
    a.iter_mut().zip(near).for_each(|(a, near)| *a = f64::from(near));
}

/// Conjugate gradients on the places of F, from `a`; and whether what is left counts as nothing.
fn solve(gram: &[f32], ridge: f64, q: &[f64], free: &[usize], a: &[f64]) -> (Vec<f64>, bool) {
    let (n, f) = (q.len(), free.len());
    let mut part = vec![0.0f32; f * f];
    for (row, &i) in part.chunks_exact_mut(f.max(1)).zip(free) {
        row.iter_mut().zip(free).for_each(|(g, &j)| *g = gram[i * n + j]);
    }
    let apply = |v: &[f64]| -> Vec<f64> {
        let mut out = times(&part, v);
        out.iter_mut().zip(v).for_each(|(out, v)| *out += ridge * v);
        out
    };
    let mut v: Vec<f64> = free.iter().map(|&i| a[i]).collect();
    let mut residual: Vec<f64> = free.iter().zip(apply(&v)).map(|(&i, along)| -q[i] - along).collect();
    let goal = SOLVED * SOLVED * free.iter().map(|&i| q[i] * q[i]).sum::<f64>();
    let mut energy = dot(&residual, &residual);
    let mut direction = residual.clone();
    for _ in 0..STEPS {
        if energy <= goal {
            return (v, true);
        }
        let along = apply(&direction);
        let length = energy / dot(&direction, &along);
        v.iter_mut().zip(&direction).for_each(|(v, d)| *v += length * d);
        residual.iter_mut().zip(&along).for_each(|(r, g)| *r -= length * g);
        let next = dot(&residual, &residual);
        let turn = next / energy;
        energy = next;
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + turn * *d);
    }
    (v, energy <= goal)
}

/// G v.
pub(super) fn times(gram: &[f32], v: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; v.len()];
    simd::vectorise(
        #[inline(always)]
        || {
            for (out, row) in out.iter_mut().zip(gram.chunks_exact(v.len().max(1))) {
                *out = mixed(row, v);
            }
        },
    );
    out
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

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G = A A^T, A (n, rank).
    fn program(n: usize, rank: usize, seed: u64) -> (Vec<f32>, Vec<f64>) {
        let mut stream = Rng::new(seed, "program");
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
    fn the_conditions_of_a_minimum_hold_from_any_start() {
        for (seed, (n, rank, ridge)) in
            [(1, 1, 1.0), (7, 3, 0.5), (40, 50, 0.1), (90, 20, 0.5), (130, 130, 0.2)].into_iter().enumerate()
        {
            let (gram, q) = program(n, rank, seed as u64);
            let mut found = Vec::new();
            for start in [0.0, 1.0] {
                let mut a = vec![start; n];
                let mut last = f64::INFINITY;
                while !minimise(&gram, ridge, &q, &mut a) {
                    let (now, _) = value(&gram, ridge, &q, &a);
                    assert!(now < last, "{n} x {rank}: {now} after {last}");
                    last = now;
                }
                for i in 0..n {
                    let along: f64 = (0..n).map(|j| f64::from(gram[i * n + j]) * a[j]).sum();
                    let slope = q[i] + along + ridge * a[i];
                    assert!(a[i] >= 0.0 && slope > -1e-5, "{n} x {rank}: place {i}, {} {slope}", a[i]);
                    assert!(a[i] * slope < 1e-5, "{n} x {rank}: place {i} is {} and slopes {slope}", a[i]);
                }
                found.push(a);
            }
            let apart = found[0].iter().zip(&found[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-4, "{n} x {rank}: two minima, {apart}");
        }
    }
}
