//! Linear SVMs with squared hinge loss, many at once, by truncated Newton.
//!
//! Problem p has weights w_p (D + 1; the last one multiplies a constant feature of 1, so the bias is regularised too) and
//! a sign y (+-1) for every row:
//!
//! f(w) = 1/2 |w|^2 + C sum_i max(0, 1 - y_i w.x_i)^2   (LIBLINEAR's -s 2 -B 1)
//!
//! All problems share X, so each pass is one product for all of them: margins W X^T, gradients A X, and the same two for
//! each step of conjugate gradients on the (generalised) Hessian I + 2 C X_I^T X_I, I the rows with a loss. Problems that
//! have converged leave the block. Since f is 1-strongly convex, f(w) - min f <= |gradient|^2 / 2; training stops when
//! that bound is below `tolerance` f(w), so the tolerance bounds the relative error of the objective.
//!
//! Where classes can be separated and losses weigh much, the rows with a loss are few, and others after every step; what
//! takes too long is handed to the dual ([`super::dual`]).
//!
//! Features of networks are far from independent, and conjugate gradients alone would take many steps. They are
//! preconditioned: X_I^T X_I is about |I| / N of X^T X, which all problems share, so one inverse of I + 2 C |I| / N X^T X
//! serves them all, those on folds of X included.

use super::cg::{Work, directions};
use super::dual;
use super::prepared::Prepared;
use super::problem::{Fit, Problem, TrainingSet, add, dot, retain, retain_rows};
use crate::matmul::{Mat, product};
use rayon::prelude::*;

/// Newton steps at most; a problem that needs more keeps what it has, with its gap.
pub const MAX_NEWTON: usize = 200;
/// Products with the Hessian after which a problem is one for the dual, where a pass over the rows costs about as much.
pub const PATIENCE: usize = 40;

/// Rows with a loss, for each dimension, beyond which the dual has nothing to gain.
const FEW: usize = 4;

/// Problems trained as one block; bounds memory to a few N x BLOCK matrices.
const BLOCK: usize = 256;

/// Whether a problem that has taken so many products with the Hessian, and has so many rows with a loss, is one for the dual.
pub fn for_the_dual(cg_steps: usize, patience: usize, lossy: impl FnOnce() -> usize, width: usize) -> bool {
    cg_steps > patience && lossy() <= FEW * width
}

/// Trains every problem from the given weights, (P, D + 1), in place.
pub fn train(set: &TrainingSet, problems: &[Problem], weights: &mut [f32]) -> Vec<Fit> {
    let mut prepared = Prepared::new(set.x, set.width);
    train_with(set, problems, weights, &mut prepared)
}

/// [`train`] with what other problems on the same X may have prepared already.
pub fn train_with(set: &TrainingSet, problems: &[Problem], weights: &mut [f32], prepared: &mut Prepared) -> Vec<Fit> {
    let block = problems.len().div_ceil(problems.len().div_ceil(BLOCK).max(1)).max(1);
    let blocks = problems.chunks(block).zip(weights.chunks_mut(block * set.width));
    blocks.flat_map(|(problems, weights)| train_block(set, problems, weights, prepared)).collect()
}

/// How a block is trained: Newton's method; where that drags on, the dual; and where even that does not end, Newton's method
/// again from there.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Stage {
    Newton { patience: usize },
    Dual,
}

fn train_block(set: &TrainingSet, problems: &[Problem], weights: &mut [f32], prepared: &mut Prepared) -> Vec<Fit> {
    let [first, last] = [PATIENCE, usize::MAX].map(|patience| Stage::Newton { patience });
    let stages = [first, Stage::Dual, last];
    staged(set, problems, weights, prepared, if prepared.dual { &stages[1..] } else { &stages })
}

/// Each stage trains what those before have not done.
pub(super) fn staged(
    set: &TrainingSet,
    problems: &[Problem],
    weights: &mut [f32],
    prepared: &mut Prepared,
    stages: &[Stage],
) -> Vec<Fit> {
    let d = set.width;
    let mut fits = vec![Fit::default(); problems.len()];
    let mut open: Vec<usize> = (0..problems.len()).collect();
    for &stage in stages {
        if open.is_empty() {
            break;
        }
        let these: Vec<Problem> = open.iter().map(|&place| problems[place].clone()).collect();
        let mut w: Vec<f32> = open.iter().flat_map(|&place| weights[place * d..][..d].to_vec()).collect();
        let ended = match stage {
            Stage::Newton { patience } => newton(set, &these, &mut w, prepared, patience),
            Stage::Dual => dual::train(set, &these, &mut w),
        };
        for ((&place, (fit, _)), w) in open.iter().zip(&ended).zip(w.chunks_exact(d)) {
            weights[place * d..][..d].copy_from_slice(w);
            fits[place] = fit.after(&fits[place]);
        }
        let still: Vec<bool> = ended.iter().map(|(_, done)| !done).collect();
        retain(&mut open, &still);
        prepared.dual |= stage == Stage::Newton { patience: PATIENCE } && 2 * open.len() > problems.len();
    }
    fits
}

/// The state of one problem that is still being trained.
struct Active {
    place: usize,
    fit: Fit,
    /// Whether it is done, when it leaves.
    done: bool,
}

/// Newton's method from `weights`, in place; it says of every problem how it ended and whether it is done; one that needs more than
/// `patience` products with the Hessian, and whose rows with a loss are [`FEW`], is not.
fn newton(
    set: &TrainingSet,
    problems: &[Problem],
    weights: &mut [f32],
    prepared: &mut Prepared,
    patience: usize,
) -> Vec<(Fit, bool)> {
    let d = set.width;
    let n = set.x.len() / d;
    let x = Mat::new(set.x, n, d);
    let mut signs = vec![0.0f32; problems.len() * n];
    signs.par_chunks_mut(n.max(1)).zip(problems).for_each(|(signs, p)| {
        signs.iter_mut().enumerate().for_each(|(i, sign)| *sign = p.sign(set, i));
    });
    let sign = |place: usize| &signs[place * n..][..n];
    let mut fits = vec![(Fit::default(), true); problems.len()];
    let mut active: Vec<Active> =
        (0..problems.len()).map(|place| Active { place, fit: Fit::default(), done: true }).collect();
    // Rows of these belong to the active problems, in order.
    let mut w = weights.to_vec();
    let (mut z, mut work) = (Vec::new(), Work::default());
    prepared.decisions(&w, problems.len(), &mut z);
    for newton in 0..=MAX_NEWTON {
        // a_i = -2 C y_i max(0, 1 - y_i z_i); gradient = w + a X.
        let a = &mut work.a;
        a.resize(active.len() * n, 0.0);
        let losses: Vec<f64> = a
            .par_chunks_mut(n)
            .zip(z.par_chunks(n))
            .zip(&active)
            .map(|((a, z), problem)| slopes(a, z, sign(problem.place), set.c))
            .collect();
        let mut gradient = w.clone();
        product(&mut gradient, Mat::new(a, active.len(), n), x, 1.0, true);
        let measured = active.par_iter_mut().enumerate().map(|(i, problem)| {
            let (w, g) = (&w[i * d..][..d], &gradient[i * d..][..d]);
            let objective = 0.5 * dot(w, w) + losses[i];
            let g2 = dot(g, g);
            let dual = {
                let along: f64 = w.iter().zip(g).map(|(w, g)| f64::from(w - g).powi(2)).sum();
                let alphas: f64 = a[i * n..][..n].iter().map(|a| f64::from(a.abs())).sum();
                alphas - 0.5 * along - losses[i]
            };
            problem.fit.objective = objective;
            problem.fit.gradient_norm = g2.sqrt();
            // Rounding may make it negative; what is no number has to stay none.
            let gap = (objective - dual) / objective.max(f64::MIN_POSITIVE);
            problem.fit.duality_gap = if gap < 0.0 { 0.0 } else { gap };
            problem.fit.newton_steps = newton;
            let open = objective.is_finite() && 0.5 * g2 > set.tolerance * objective && newton < MAX_NEWTON;
            let lossy = || a[i * n..][..n].iter().filter(|a| **a != 0.0).count();
            problem.done = !open || !for_the_dual(problem.fit.cg_steps, patience, lossy, d);
            open && problem.done
        });
        let keep: Vec<bool> = measured.collect();
        retire(&mut active, &keep, &mut fits, weights, &mut w, d);
        retain_rows(&mut z, n, &keep);
        retain_rows(a, n, &keep);
        retain_rows(&mut gradient, d, &keep);
        if active.is_empty() {
            break;
        }
        let step = newton_direction(set, x, &mut work, &gradient, &mut active, prepared);
        let x_step = &work.x_step;
        // Exact line search along the step, then move.
        let lengths: Vec<f64> = (0..active.len())
            .into_par_iter()
            .map(|i| {
                let (w, s) = (&w[i * d..][..d], &step[i * d..][..d]);
                line_search(dot(w, s), dot(s, s), &z[i * n..][..n], &x_step[i * n..][..n], sign(active[i].place), set.c)
            })
            .collect();
        // No progress left in f32: what there is, is the answer; its gap is reported.
        let moved: Vec<bool> = lengths.iter().map(|length| *length > 0.0).collect();
        let along = |to: &mut [f32], steps: &[f32], width: usize| {
            let moves = to.par_chunks_mut(width).zip(steps.par_chunks(width)).zip(&lengths);
            moves.for_each(|((to, step), &length)| add(to, step, length));
        };
        along(&mut w, &step, d);
        along(&mut z, x_step, n);
        retire(&mut active, &moved, &mut fits, weights, &mut w, d);
        retain_rows(&mut z, n, &moved);
        if active.is_empty() {
            break;
        }
        // z drifts by rounding when it is only ever added to.
        if newton % 8 == 7 {
            prepared.decisions(&w, active.len(), &mut z);
        }
    }
    fits
}

/// Takes problems that are done out of the block and writes their weights back.
fn retire(
    active: &mut Vec<Active>,
    keep: &[bool],
    fits: &mut [(Fit, bool)],
    weights: &mut [f32],
    w: &mut Vec<f32>,
    d: usize,
) {
    for (i, problem) in active.iter().enumerate() {
        if !keep[i] {
            fits[problem.place] = (problem.fit, problem.done);
            weights[problem.place * d..][..d].copy_from_slice(&w[i * d..][..d]);
        }
    }
    retain_rows(w, d, keep);
    retain(active, keep);
}

/// a_i = -2 C y_i max(0, 1 - y_i z_i), and the sum of losses C max(0, ...)^2.
fn slopes(a: &mut [f32], z: &[f32], y: &[f32], c: f32) -> f64 {
    let mut loss = 0.0f64;
    for ((a, z), y) in a.iter_mut().zip(z).zip(y) {
        let margin = (1.0 - y * z).max(0.0);
        *a = -2.0 * c * y * margin;
        loss += f64::from(margin) * f64::from(margin);
    }
    loss * f64::from(c)
}

/// Solves (I + 2 C X_I^T X_I) s = -gradient for every active problem. Gives s (P, D + 1), and X s
/// (P, N) in `work`.
fn newton_direction(
    set: &TrainingSet,
    x: Mat,
    work: &mut Work,
    gradient: &[f32],
    active: &mut [Active],
    prepared: &mut Prepared,
) -> Vec<f32> {
    let (n, a) = (set.x.len() / set.width, &work.a);
    let lossy: usize = a.par_chunks(n).map(|a| a.iter().filter(|a| **a != 0.0).count()).sum();
    let inverse = prepared.inverse(set, lossy as f64 / active.len() as f64);
    let (step, steps) = directions(set, x, work, gradient, prepared, &inverse);
    active.iter_mut().zip(steps).for_each(|(problem, steps)| problem.fit.cg_steps += steps);
    step
}

/// The length t that minimises phi(t) = f(w + t s), a piecewise quadratic: Newton on phi' inside a bracket. 0 where s
/// is no direction of descent any more.
fn line_search(ws: f64, ss: f64, z: &[f32], xs: &[f32], y: &[f32], c: f32) -> f64 {
    let c2 = 2.0 * f64::from(c);
    let slope = |t: f64| -> (f64, f64) {
        let (mut first, mut second) = (ws + t * ss, ss);
        let t32 = t as f32;
        for ((z, s), y) in z.iter().zip(xs).zip(y) {
            let margin = 1.0 - y * (z + t32 * s);
            if margin > 0.0 {
                first -= c2 * f64::from(margin) * f64::from(y * s);
                second += c2 * f64::from(*s) * f64::from(*s);
            }
        }
        (first, second)
    };
    let start = slope(0.0).0;
    if start >= 0.0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut t = 1.0;
    for _ in 0..30 {
        let (first, second) = slope(t);
        if first.abs() <= 0.01 * start.abs() {
            break;
        }
        if first > 0.0 {
            high = t
        } else {
            low = t
        }
        let newton = t - first / second;
        t = if newton > low && newton < high {
            newton
        } else if high.is_finite() {
            0.5 * (low + high)
        } else {
            2.0 * t
        };
    }
    t
}
