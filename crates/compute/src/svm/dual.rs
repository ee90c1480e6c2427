//! Linear SVMs with squared hinge loss by their duals, many at once, for problems that few rows decide.
//!
//! The dual of the problem in [`super::newton`] has a number for every row, and w is made of them:
//!
//! max D(a) = sum_i a_i - 1/2 |w|^2 - sum_i a_i^2 / (4 C), a_i >= 0, w = sum_i a_i y_i x_i
//!
//! Where classes can be separated and losses weigh much, a is 0 for most rows, and Newton's method on the primal, whose every
//! step meets another set of rows with a loss, gets there slowly. Here a problem begins with coordinate ascent, one row at a
//! time: a_i <- max(0, a_i - (y_i w.x_i - 1 + a_i / 2C) / (|x_i|^2 + 1 / 2C)) (Hsieh and others, A dual coordinate descent
//! method for large-scale linear SVM, 2008), until the rows that have an a are hardly more than there are
//! dimensions. From then on the program over these rows and those with the worst losses is solved by
//! itself ([`super::bounded_qp`]), again and again.
//!
//! All rows are looked at in products that all problems share. In coordinate ascent rows come in blocks: one product gives a
//! block's decision values for all problems, its Gram matrix keeps these up to date while a problem goes through the block,
//! and one product adds what has changed to w. Blocks and the rows in them come in a random order that depends on nothing. A
//! problem is done when f(w) - D(a), which bounds f(w) - min f, is at most `tolerance` f(w).

use super::bounded_qp::{minimise, times};
use super::problem::{Fit, Problem, TrainingSet, dot, retain, retain_rows};
use crate::matmul::{Mat, product};
use crate::rng::Rng;
use crate::simd;
use rayon::prelude::*;

/// Rows of a block: enough for a product to be fast, few enough for its Gram matrix to stay in a cache.
const BLOCK: usize = 128;

/// Rows of a Gram matrix that are made in one product.
const STRETCH: usize = 256;

/// Passes of coordinate ascent between two looks at all rows: a look costs about as much as a pass.
const PASSES: usize = 8;

/// Looks at all rows, at most, and how many of them may find too many rows for a program of their own.
const MAX_LOOKS: usize = 60;
const MAX_ROUGH: usize = 12;

/// How many rows are solved for by themselves, at most.
fn few(width: usize) -> usize {
    (width + width / 2).max(256)
}

/// Trains `problems` from `weights`, (P, D + 1), in place, and says how each ended and whether it is done; those that are
/// not have the weights that they have come to.
pub(super) fn train(set: &TrainingSet, problems: &[Problem], weights: &mut [f32]) -> Vec<(Fit, bool)> {
    let (d, c) = (set.width, set.c);
    let n = set.x.len() / d;
    let x = Mat::new(set.x, n, d);
    let mut fits = vec![(Fit::default(), false); problems.len()];
    let mut places: Vec<usize> = (0..problems.len()).collect();
    let mut alpha = start(set, problems, weights);
    let mut rough_looks = vec![0; problems.len()];
    let mut ascent = None;
    for look in 1..=MAX_LOOKS {
        // From a anew each time: w drifts by rounding when it is only ever added to.
        let mut margins = signed(set, problems, &places, &alpha);
        let mut w = vec![0.0f32; places.len() * d];
        product(&mut w, Mat::new(&margins, places.len(), n), x, 1.0, false);
        product(&mut margins, Mat::new(&w, places.len(), d), x.t(), 1.0, false);
        let each = margins.par_chunks_mut(n).zip(w.par_chunks(d)).zip(alpha.par_chunks(n)).zip(&places);
        let looked = each.map(|(((z, w), alpha), &place)| {
            let positive = |row: usize| set.labels[row] == problems[place].class;
            Look::at(w, alpha, z, positive, c)
        });
        let looked: Vec<Look> = looked.collect();
        places.iter().zip(&looked).for_each(|(&place, l)| rough_looks[place] += usize::from(l.rough));
        let open: Vec<bool> = looked.iter().map(|l| l.fit.duality_gap > set.tolerance).collect();
        let last = |i: usize| look == MAX_LOOKS || rough_looks[places[i]] > MAX_ROUGH;
        let leaves: Vec<bool> = (0..places.len()).map(|i| !open[i] || last(i)).collect();
        let norms = gradient_norms(set, problems, &places, &w, &margins, &leaves);
        for ((i, l), norm) in looked.iter().enumerate().filter(|(i, _)| leaves[*i]).zip(norms) {
            weights[places[i] * d..][..d].copy_from_slice(&w[i * d..][..d]);
            fits[places[i]] = (Fit { gradient_norm: norm, dual_looks: look, ..l.fit }, !open[i]);
        }
        let stays: Vec<bool> = leaves.iter().map(|leaves| !leaves).collect();
        let mut looked = looked;
        retain_rows(&mut w, d, &stays);
        retain_rows(&mut alpha, n, &stays);
        retain_rows(&mut margins, n, &stays);
        retain(&mut looked, &stays);
        retain(&mut places, &stays);
        if places.is_empty() {
            break;
        }
        let each = alpha.par_chunks_mut(n).zip(margins.par_chunks(n)).zip(&looked).zip(&places);
        each.for_each(|(((alpha, margins), look), &place)| {
            let positive = |row: usize| set.labels[row] == problems[place].class;
            if !look.rough {
                solve(set, &look.rows, alpha, margins, positive);
            }
        });
        let rough: Vec<bool> = looked.iter().map(|l| l.rough).collect();
        if rough.contains(&true) {
            retain_rows(&mut w, d, &rough);
            let these = alpha.chunks_exact_mut(n).zip(&places).zip(&rough).filter(|(_, rough)| **rough);
            let (mut alphas, these): (Vec<&mut [f32]>, Vec<usize>) = these.map(|((a, p), _)| (a, *p)).unzip();
            let ascent = ascent.get_or_insert_with(|| Ascent::new(set));
            (0..PASSES).for_each(|_| ascent.pass(set, problems, &these, &mut alphas, &mut w));
        }
    }
    fits
}

/// |gradient| of the problems that leave.
fn gradient_norms(
    set: &TrainingSet,
    problems: &[Problem],
    places: &[usize],
    w: &[f32],
    margins: &[f32],
    leaves: &[bool],
) -> Vec<f64> {
    let (d, n) = (set.width, set.labels.len());
    let going: Vec<usize> = (0..places.len()).filter(|i| leaves[*i]).collect();
    let mut gradients: Vec<f32> = going.iter().flat_map(|&i| w[i * d..][..d].to_vec()).collect();
    let mut slopes = vec![0.0f32; going.len() * n];
    slopes.par_chunks_mut(n).zip(&going).for_each(|(slopes, &i)| {
        for ((s, &m), &label) in slopes.iter_mut().zip(&margins[i * n..]).zip(set.labels) {
            let y = if label == problems[places[i]].class { 1.0 } else { -1.0 };
            *s = -2.0 * set.c * y * m.max(0.0);
        }
    });
    product(&mut gradients, Mat::new(&slopes, going.len(), n), Mat::new(set.x, n, d), 1.0, true);
    gradients.chunks_exact(d).map(|g| dot(g, g).sqrt()).collect()
}

/// Solves the program over some rows, all others staying at 0. What is known of the gradient, -m_i + a_i / 2C, comes
/// from all digits of w; so rounding in the rows' Gram matrix does not stay, but becomes less with each look.
fn solve(set: &TrainingSet, rows: &[usize], alpha: &mut [f32], margins: &[f32], positive: impl Fn(usize) -> bool) {
    let (d, k) = (set.width, rows.len());
    let mut x = vec![0.0f32; k * d];
    for (x, &row) in x.chunks_exact_mut(d).zip(rows) {
        let sign = if positive(row) { 1.0 } else { -1.0 };
        x.iter_mut().zip(&set.x[row * d..]).for_each(|(x, of)| *x = sign * of);
    }
    let gram = gram(&x, d);
    let ridge = 1.0 / (2.0 * f64::from(set.c));
    let mut a: Vec<f64> = rows.iter().map(|&row| f64::from(alpha[row])).collect();
    // The ridge's part of the gradient and of what the program adds to it are the same.
    let along = times(&gram, &a);
    let q: Vec<f64> = rows.iter().zip(along).map(|(&row, along)| -f64::from(margins[row]) - along).collect();
    minimise(&gram, ridge, &q, &mut a);
    rows.iter().zip(a).for_each(|(&row, a)| alpha[row] = a as f32);
}

/// X X^T, (k, k), from X (k, d): what lies up to the diagonal, a chunk of rows at a time, and the same beyond it.
fn gram(x: &[f32], d: usize) -> Vec<f32> {
    let k = x.len() / d;
    let mut gram = vec![0.0f32; k * k];
    for first in (0..k).step_by(STRETCH) {
        let end = k.min(first + STRETCH);
        let mut these = vec![0.0f32; (end - first) * end];
        let rows = Mat::new(&x[first * d..end * d], end - first, d);
        product(&mut these, rows, Mat::new(&x[..end * d], end, d).t(), 1.0, false);
        for (to, from) in gram[first * k..].chunks_exact_mut(k).zip(these.chunks_exact(end)) {
            to[..end].copy_from_slice(from);
        }
        // A few rows at a time, so that what is read column by column stays in the cache.
        for (at, from) in (first..).step_by(16).zip(these.chunks(16 * end)) {
            for (column, to) in gram.chunks_exact_mut(k).enumerate().take(first) {
                to[at..].iter_mut().zip(from[column..].iter().step_by(end)).for_each(|(to, from)| *to = *from);
            }
        }
    }
    gram
}

/// Coordinate ascent.
struct Ascent {
    /// X X^T of the rows of every block.
    grams: Vec<Vec<f32>>,
    stream: Rng,
    decisions: Vec<f32>,
    changes: Vec<f32>,
}

impl Ascent {
    fn new(set: &TrainingSet) -> Ascent {
        let d = set.width;
        let gram = |rows: &[f32]| {
            let b = rows.len() / d;
            let mut gram = vec![0.0f32; b * b];
            product(&mut gram, Mat::new(rows, b, d), Mat::new(rows, b, d).t(), 1.0, false);
            gram
        };
        Ascent {
            grams: set.x.chunks(BLOCK * d).map(gram).collect(),
            stream: Rng::new(0, "svm/dual"),
            decisions: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Every row once, for some problems with a and w of their own.
    fn pass(
        &mut self,
        set: &TrainingSet,
        problems: &[Problem],
        places: &[usize],
        alphas: &mut [&mut [f32]],
        w: &mut [f32],
    ) {
        let (d, k) = (set.width, places.len());
        let Ascent { grams, stream, decisions, changes } = self;
        for block in stream.permutation(grams.len()) {
            let rows = block * BLOCK..((block + 1) * BLOCK).min(set.labels.len());
            let b = rows.len();
            let order = stream.permutation(b);
            let xs = Mat::new(&set.x[rows.start * d..rows.end * d], b, d);
            decisions.resize(k * b, 0.0);
            changes.resize(k * b, 0.0);
            product(decisions, Mat::new(w, k, d), xs.t(), 1.0, false);
            let each = alphas.par_iter_mut().zip(decisions.par_chunks_mut(b)).zip(changes.par_chunks_mut(b));
            each.zip(places).for_each(|(((alpha, z), changes), &place)| {
                let labels = &set.labels[rows.clone()];
                let positive = |i: usize| labels[i] == problems[place].class;
                ascend(&grams[block], &mut alpha[rows.clone()], z, changes, &order, positive, set.c);
            });
            product(w, Mat::new(changes, k, b), xs, 1.0, true);
        }
    }
}

/// a to begin with: what the primal weights imply, a_i = 2 C max(0, 1 - y_i w.x_i), times the number that makes most
/// of it.
fn start(set: &TrainingSet, problems: &[Problem], weights: &[f32]) -> Vec<f32> {
    let (d, c, k) = (set.width, set.c, problems.len());
    let n = set.x.len() / d;
    let x = Mat::new(set.x, n, d);
    let mut alpha = vec![0.0f32; k * n];
    product(&mut alpha, Mat::new(weights, k, d), x.t(), 1.0, false);
    alpha.par_chunks_mut(n.max(1)).zip(problems).for_each(|(alpha, problem)| {
        for (a, &label) in alpha.iter_mut().zip(set.labels) {
            let y = if label == problem.class { 1.0 } else { -1.0 };
            *a = 2.0 * c * (1.0 - y * *a).max(0.0);
        }
    });
    let places: Vec<usize> = (0..k).collect();
    let mut w = vec![0.0f32; k * d];
    product(&mut w, Mat::new(&signed(set, problems, &places, &alpha), k, n), x, 1.0, false);
    alpha.par_chunks_mut(n.max(1)).zip(w.par_chunks(d)).for_each(|(alpha, w)| {
        let sum: f64 = alpha.iter().map(|a| f64::from(*a)).sum();
        let curvature = dot(w, w) + dot(alpha, alpha) / (2.0 * f64::from(c));
        let best = if curvature > 0.0 { (sum / curvature) as f32 } else { 0.0 };
        alpha.iter_mut().for_each(|a| *a *= best);
    });
    alpha
}

/// a_i y_i for each problem and row.
fn signed(set: &TrainingSet, problems: &[Problem], places: &[usize], alpha: &[f32]) -> Vec<f32> {
    let n = set.labels.len();
    let mut signed = vec![0.0f32; alpha.len()];
    signed.par_chunks_mut(n.max(1)).zip(alpha.par_chunks(n.max(1))).zip(places).for_each(
        |((signed, alpha), &place)| {
            for ((s, a), &label) in signed.iter_mut().zip(alpha).zip(set.labels) {
                *s = if label == problems[place].class { *a } else { -*a };
            }
        },
    );
    signed
}

/// One problem's way through the rows of a block: `alpha` and the decision values `z` are kept up to date, `changes` become
/// what was added to a_i y_i.
fn ascend(
    gram: &[f32],
    alpha: &mut [f32],
    z: &mut [f32],
    changes: &mut [f32],
    order: &[usize],
    positive: impl Fn(usize) -> bool,
    c: f32,
) {
    let b = alpha.len();
    let ridge = 1.0 / (2.0 * c);
    changes.fill(0.0);
    simd::vectorise(
        #[inline(always)]
        || {
            for &i in order {
                let y = if positive(i) { 1.0 } else { -1.0 };
                let slope = y * z[i] - 1.0 + alpha[i] * ridge;
                if alpha[i] == 0.0 && slope >= 0.0 {
                    continue;
                }
                let row = &gram[i * b..][..b];
                let next = (alpha[i] - slope / (row[i] + ridge)).max(0.0);
                let change = (next - alpha[i]) * y;
                alpha[i] = next;
                changes[i] += change;
                z.iter_mut().zip(row).for_each(|(z, g)| *z += change * g);
            }
        },
    );
}

/// Where a problem stands.
struct Look {
    fit: Fit,
    /// Rows that have an a, and those that have a loss and none, the worst first, as far as there is room.
    rows: Vec<usize>,
    /// Whether so many have an a that those with a loss have no room.
    rough: bool,
}

impl Look {
    /// w being made of `alpha`, and z = X w, which becomes m_i = 1 - y_i z_i.
    ///
    /// f(w) - D(a) is a sum over rows of C (m_i - a_i / 2C)^2 where m_i is positive and of a_i^2 / 4C - a_i m_i elsewhere;
    /// none is negative, so nothing cancels.
    fn at(w: &[f32], alpha: &[f32], z: &mut [f32], positive: impl Fn(usize) -> bool, c: f32) -> Look {
        let (c, few) = (f64::from(c), few(w.len()));
        let (mut losses, mut gap, mut rows, mut losing) = (0.0f64, 0.0f64, Vec::new(), Vec::new());
        for (i, (&a, z)) in alpha.iter().zip(z).enumerate() {
            let y = if positive(i) { 1.0 } else { -1.0 };
            *z = 1.0 - y * *z;
            let (m, a) = (f64::from(*z), f64::from(a));
            losses += m.max(0.0).powi(2);
            gap += if m > 0.0 { c * (m - a / (2.0 * c)).powi(2) } else { a * a / (4.0 * c) - a * m };
            if a > 0.0 {
                rows.push(i);
            } else if m > 0.0 {
                losing.push((*z, i));
            }
        }
        let rough = rows.len() > few / 5 * 4;
        let room = few.saturating_sub(rows.len());
        if losing.len() > room {
            losing.select_nth_unstable_by(room, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            losing.truncate(room);
        }
        rows.extend(losing.iter().map(|(_, row)| *row));
        rows.sort_unstable();
        let objective = 0.5 * dot(w, w) + c * losses;
        Look {
            fit: Fit { objective, duality_gap: gap / objective.max(f64::MIN_POSITIVE), ..Fit::default() },
            rows,
            rough,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svm::newton::{Stage, staged};
    use crate::svm::prepared::Prepared;

    /// A centre for each class and noise, a last column of 1.
    fn clips(n: usize, d: usize, classes: usize) -> (Vec<f32>, Vec<usize>) {
        let mut stream = Rng::new(1, "dual");
        let centres: Vec<f64> = (0..classes * d).map(|_| stream.normal()).collect();
        let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
        let row = |&label: &usize| -> Vec<f32> {
            let numbers = (0..d).map(|j| (stream.normal() + centres[label * d + j]) as f32);
            numbers.collect::<Vec<_>>().into_iter().chain([1.0]).collect()
        };
        (labels.iter().flat_map(row).collect(), labels)
    }

    #[test]
    fn a_gram_matrix_is_that_of_the_rows() {
        for k in [1, STRETCH, 2 * STRETCH + 21] {
            let (x, _) = clips(k, 6, 2);
            let mut want = vec![0.0; k * k];
            product(&mut want, Mat::new(&x, k, 7), Mat::new(&x, k, 7).t(), 1.0, false);
            let gram = gram(&x, 7);
            assert!(gram.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-4), "{k} rows");
            assert!((0..k * k).all(|i| gram[i] == gram[i % k * k + i / k]), "{k} rows: symmetric to the bit");
        }
    }

    #[test]
    fn the_dual_finds_newtons_minimum() {
        // Fewer rows than dimensions, rows that are solved for at once, rows that take coordinate ascent first.
        for (n, d, classes) in [(60, 80, 4), (250, 30, 3), (1500, 40, 5)] {
            let (x, labels) = clips(n, d, classes);
            let set = TrainingSet { x: &x, width: d + 1, labels: &labels, c: 1.0, tolerance: 1e-7 };
            // A class without a row too.
            let problems: Vec<Problem> = (0..=classes).map(|class| Problem { class }).collect();
            let fresh = || vec![0.0; problems.len() * (d + 1)];
            let (mut ours, mut theirs) = (fresh(), fresh());
            let fits = train(&set, &problems, &mut ours);
            let newton = [Stage::Newton { patience: usize::MAX }];
            let expected = staged(&set, &problems, &mut theirs, &mut Prepared::new(&x, d + 1), &newton);
            for (class, ((fit, done), want)) in fits.iter().zip(&expected).enumerate() {
                let apart = (fit.objective - want.objective).abs() / want.objective;
                assert!(*done && fit.duality_gap <= 1e-7 && apart < 1e-5, "{n} x {d}, {class}: {fit:?} {want:?}");
            }
            let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 2e-3, "{n} x {d}: weights {apart} apart");
        }
    }
}
