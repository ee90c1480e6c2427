//! One LSTM layer (Hochreiter and Schmidhuber; gates in the order i, f, g, o, a single bias, h_0 = c_0 = 0).
//!
//! With x_t (B, D), W (D, 4H), U (H, 4H), b (1, 4H):
//! a_t = x_t W + h_{t-1} U + b; i, f, o = sigmoid(a), g = tanh(a); c_t = f c_{t-1} + i g; h_t = o tanh(c_t).
//! The result is h_T, (B, H). The input is (T B, D), time-major: row t B + k is frame t of clip k. It gets no gradient.
//!
//! Three large products (projection, dW, dU) and one small one for each step and direction. In the time loop a thread has some
//! of the units to itself: their part of the product with U, their gates and states, and on the way back their gradients;
//! threads wait for each other once a step. Columns of W, U and b lie as [`gate_column`](super::lstm_cell::gate_column) says.

use super::input_batch::InputBatch;
use super::linear;
use super::lstm_cell::{BLOCK, Backward, Forward, GateInputs};
use super::packed_param::{GradFactors, PackedParam, Rows};
use crate::buffer_pool::Scratch;
use crate::matmul::bf16::{self, Pairs, pairs};
use crate::matmul::{self, MatMut, Packed, Panels, Places};
use rayon::prelude::*;
use std::rc::Rc;

/// What the products of a training step are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Both factors of each product rounded to [bfloat16](crate::matmul::bf16), and added up in f32. Parameters, moments, gates and states are f32
    /// as ever.
    Bf16,
}

/// A forward pass, with what its backward pass needs.
pub struct Pass {
    trace: Trace,
    /// [steps, batch, hidden].
    sizes: [usize; 3],
    /// What the backward pass computes with, where all steps were kept.
    kept: Option<Precision>,
}

/// Runs the layer. Where a backward pass will follow, in the precision that is given, all that it needs is kept, otherwise no
/// more than a step, and it runs in f32.
///
/// # Panics
/// If the parameters are not [of gates](PackedParam::of_gates).
pub fn forward(x: &InputBatch, steps: usize, [w, u, b]: [&PackedParam; 3], keep: Option<Precision>) -> Pass {
    assert!([w, u, b].iter().all(|p| p.is_of_gates()), "parameters of gates");
    let hidden = u.shape().0;
    let sizes = [steps, x.rows / steps, hidden];
    let mut projected = Scratch::take(x.distinct() * 4 * hidden);
    let (w, u, b) = (w.value(), u.value(), b.value());
    let rounded;
    let u = match keep {
        Some(Precision::Bf16) => {
            Packed::rounded(&w).product(&mut projected, &Pairs::along(&x.numbers, x.cols), false);
            rounded = Packed::rounded(&u);
            Right::Rounded(&rounded)
        }
        Some(Precision::F32) | None => {
            w.product(&mut projected, &x.numbers, false);
            Right::Whole(&u)
        }
    };
    let bias = &b.numbers()[..4 * hidden];
    let inputs = GateInputs { projected: &projected, index: x.index.as_ref().map(|index| &index[..]), bias };
    Pass { trace: run_steps(&inputs, &u, sizes, keep.is_some()), sizes, kept: keep }
}

/// The right-hand side of a product in the time loop.
enum Right<'a> {
    Whole(&'a Packed),
    Rounded(&'a Packed<u32>),
}

impl Right<'_> {
    fn is_rounded(&self) -> bool {
        matches!(self, Right::Rounded(_))
    }

    /// Some columns of the product with clips, of which there are rows or, where this is rounded, their pairs.
    fn product_of(
        &self,
        first: usize,
        out: &mut MatMut,
        clips: std::ops::Range<usize>,
        (rows, pairs): (&[f32], &[u32]),
    ) {
        match self {
            Right::Whole(right) => {
                let k = right.rows();
                right.product_of(first, out, &rows[clips.start * k..clips.end * k], false);
            }
            Right::Rounded(right) => {
                let k = right.rows();
                right.product_of(first, out, &pairs[clips.start * k..clips.end * k], false);
            }
        }
    }
}

impl Pass {
    /// h_T, (B, H), row-major.
    pub fn last_state(&self) -> &[f32] {
        let [steps, batch, hidden] = self.sizes;
        let last = if self.kept.is_some() { steps } else { steps % 2 };
        &self.trace.h[last * batch * hidden..][..batch * hidden]
    }

    /// Adds the gradients of the parameters, from that of h_T, (B, H).
    ///
    /// # Panics
    /// If the steps were not kept.
    pub fn backward(self, dh: Scratch, x: &InputBatch, [w, u, b]: [&PackedParam; 3]) {
        assert!(self.kept.is_some(), "the steps were kept");
        let [steps, batch, hidden] = self.sizes;
        // h_{t-1} meets a_t: all steps in one product. h_0 = 0 adds nothing and is left out.
        let of_u = batch * hidden..steps * batch * hidden;
        match self.kept {
            Some(Precision::Bf16) => {
                let Trace { gates, h, .. } = run_back_rounded(self.trace, dh, &u.value(), self.sizes);
                let of_h_u = Packed::of_rows(&gates[batch * 4 * hidden..], 4 * hidden);
                u.accumulate(GradFactors::Rounded { x: Pairs::across(&h[of_u], hidden), dy: Rc::new(of_h_u) });
                let of_x_w = match &x.index {
                    None => Packed::of_rows(&gates, 4 * hidden),
                    Some(_) => Packed::rounded(&x.sum_rows(&gates, 4 * hidden)),
                };
                linear::backward_rounded(Pairs::across(&x.numbers, x.cols), of_x_w, x.distinct(), w, b);
            }
            Some(Precision::F32) | None => {
                let GateGradients { of_x_w, of_h_u, h } = run_back(self.trace, dh, &u.value(), x, self.sizes);
                u.accumulate(GradFactors::Whole { x: Rows::Made(h, of_u), dy: Rc::new(of_h_u) });
                linear::backward(Rows::Shared(x.numbers.clone()), of_x_w, w, b);
            }
        }
    }
}

/// Activations and states of a forward pass: all that the backward pass needs, or those of the last step only.
struct Trace {
    /// Gate activations, (T or 1, B, 4H).
    gates: Scratch,
    /// c_0 to c_T, (T + 1, B, H), or the last two.
    c: Scratch,
    /// tanh of c_1 to c_T, (T or 1, B, H).
    tanh_c: Scratch,
    /// h_0 to h_T, (T + 1, B, H), or the last two.
    h: Scratch,
}

/// Where step `t` reads, and what it writes, in `states` of so many numbers a step: all of them one after another, or two that
/// take turns.
fn step_of(states: &mut [f32], t: usize, step: usize, all: bool) -> (&[f32], &mut [f32]) {
    match t % 2 {
        1 if !all => {
            let (after, before) = states.split_at_mut(step);
            (before, after)
        }
        _ => {
            let (before, after) = states[if all { t * step } else { 0 }..].split_at_mut(step);
            (before, &mut after[..step])
        }
    }
}

/// Two halves of so many pairs that take turns: what the step before `t` made, and what this one makes. None where there are none.
fn in_turn(rounded: &mut [u32], t: usize, half: usize) -> (&[u32], &mut [u32]) {
    let (even, odd) = rounded.split_at_mut(half.min(rounded.len()));
    if t.is_multiple_of(2) { (odd, even) } else { (even, odd) }
}

/// Clips and units that a task has in a step: whole blocks of gates, and whole panels of that product which makes `each` numbers of a
/// unit.
fn task([_, batch, hidden]: [usize; 3], each: usize) -> [usize; 2] {
    matmul::task([batch, hidden], (Packed::wide() / each).max(BLOCK), batch * hidden * 4 * hidden)
}

/// How many tasks the threads of the current pool share in a step of training on `dims` numbers a frame: in the projection, in each frame
/// forward and back, and in the gradients of W and U.
pub fn tasks(dims: usize, sizes: [usize; 3]) -> [(&'static str, usize); 5] {
    let [steps, batch, hidden] = sizes;
    let count = |[rows, columns]: [usize; 2], [high, wide]: [usize; 2]| rows.div_ceil(high) * columns.div_ceil(wide);
    let product = |[m, n]: [usize; 2], k: usize| count([m, n], matmul::task([m, n], Packed::wide(), m * n * k));
    let rows = steps * batch;
    [
        ("projection", product([rows, 4 * hidden], dims)),
        ("forward", count([batch, hidden], task(sizes, 4))),
        ("back", count([batch, hidden], task(sizes, 1))),
        ("dW", product([dims, 4 * hidden], rows)),
        ("dU", product([hidden, 4 * hidden], rows)),
    ]
}

/// Parts of a matrix (B, 4H or H), without their places.
fn parts(matrix: &mut [f32], columns: usize, task: [usize; 2]) -> impl Iterator<Item = MatMut<'_>> {
    MatMut::whole(matrix, columns).parts(task).map(|(_, part)| part)
}

fn run_steps(inputs: &GateInputs, u: &Right, sizes: [usize; 3], all: bool) -> Trace {
    let ([steps, batch, hidden], [clips, units]) = (sizes, task(sizes, 4));
    let (step, wide) = (batch * hidden, batch * 4 * hidden);
    let (kept, states) = if all { (steps, steps + 1) } else { (1, 2) };
    let mut trace = Trace {
        gates: Scratch::take(kept * wide),
        c: Scratch::take(states * step),
        tanh_c: Scratch::take(kept * step),
        h: Scratch::take(states * step),
    };
    trace.c[..step].fill(0.0);
    trace.h[..step].fill(0.0);
    // Of h_{t-1} and of h_t, by turns.
    let of_pairs = batch * pairs(hidden);
    let mut rounded = Pairs::take(if u.is_rounded() { 2 * of_pairs } else { 0 });
    for t in 0..steps {
        let at = if all { t } else { 0 };
        let (h_before, h) = step_of(&mut trace.h, t, step, all);
        let (c_before, c) = step_of(&mut trace.c, t, step, all);
        let tanh_c = &mut trace.tanh_c[at * step..(at + 1) * step];
        let gates = &mut trace.gates[at * wide..(at + 1) * wide];
        let gates = MatMut::whole(gates, 4 * hidden).parts([clips, 4 * units]);
        let [c, tanh_c, h] = [c, tanh_c, h].map(|states| parts(states, hidden, [clips, units]));
        let (pairs_before, pairs_now) = in_turn(&mut rounded, t, of_pairs);
        let mut pairs_now = MatMut::whole(pairs_now, pairs(hidden)).parts([clips, units / 2]).map(|(_, part)| part);
        let tasks = gates.zip(c).zip(tanh_c.zip(h)).map(|part| (part, pairs_now.next())).collect::<Vec<_>>();
        tasks.into_par_iter().for_each(|(((([clip, column], mut gates), c), (tanh_c, h)), mut pairs)| {
            let clips = clip..clip + gates.shape().0;
            let c_before = &c_before[clip * hidden..clips.end * hidden];
            match t {
                0 => (0..clips.len()).for_each(|clip| gates.row(clip).fill(0.0)),
                _ => u.product_of(column, &mut gates, clips, (h_before, pairs_before)),
            }
            Forward { gates, c, tanh_c, h }.run(inputs, t * batch + clip, c_before, column / 4, |clip, h| {
                if let Some(pairs) = &mut pairs {
                    bf16::round(h, pairs.row(clip));
                }
            });
        });
    }
    trace
}

/// GateGradients of the gates before their nonlinearities, as the products with them read them.
struct GateGradients {
    /// For the distinct rows of x, 4H wide: sums over the rows that are the same.
    of_x_w: Packed,
    /// For the steps from the second on, ((T - 1) B, 4H).
    of_h_u: Packed,
    /// h_0 to h_T, (T + 1, B, H).
    h: Scratch,
}

/// A task of a step back: gates with their first clip and column, gradients of the states, and where those of the gates go.
type Task<'a> = ((([usize; 2], MatMut<'a>), (MatMut<'a>, MatMut<'a>)), Panels<'a>, Option<Panels<'a>>);

fn run_back(trace: Trace, mut dh: Scratch, u: &Packed, x: &InputBatch, sizes: [usize; 3]) -> GateGradients {
    let ([steps, batch, hidden], [some_clips, units]) = (sizes, task(sizes, 1));
    let (step, wide) = (batch * hidden, batch * 4 * hidden);
    let Trace { mut gates, c, tanh_c, h } = trace;
    let u = u.transposed();
    let mut dc = Scratch::zeros(step);
    let mut seen = vec![false; x.distinct()];
    let mut of_x_w = Packed::take(x.distinct(), 4 * hidden);
    let mut of_h_u = Packed::take((steps - 1) * batch, 4 * hidden);
    for t in (0..steps).rev() {
        let (now, after) = gates.split_at_mut((t + 1) * wide);
        let of_x = Places::new(x.distinct_rows(t * batch..(t + 1) * batch, &mut seen));
        // Clips whose gradients are added up are all one task's.
        let clips = if of_x.different() { some_clips } else { batch };
        let [dh, dc] = [&mut dh, &mut dc].map(|states| parts(states, hidden, [clips, units]));
        // What comes before the first step is zero, and its gradient needs no packing.
        let of_h = Places::new(
            (t * batch..(t + 1) * batch).filter_map(|row| Some((row.checked_sub(batch)?, false))).collect(),
        );
        let mut of_h = of_h_u.parts(&of_h, [clips, 4 * units]);
        let now = MatMut::whole(&mut now[t * wide..], 4 * hidden).parts([clips, 4 * units]);
        let packed = of_x_w.parts(&of_x, [clips, 4 * units]);
        let tasks = now.zip(dh.zip(dc)).zip(packed).map(|(part, of_x)| (part, of_x, of_h.next())).collect::<Vec<_>>();
        let [c_before, tanh_c] = [&c, &tanh_c].map(|states| &states[t * step..(t + 1) * step]);
        tasks.into_par_iter().for_each(|((([clip, column], gates), (mut dh, dc)), mut of_x, mut of_h): Task| {
            let clips = dh.shape().0;
            let first = column / 4;
            if t + 1 < steps {
                let of_clips = clip * 4 * hidden..(clip + clips) * 4 * hidden;
                u.product_of(first, &mut dh, &after[..wide][of_clips], false);
            }
            let [c_before, tanh_c] = [c_before, tanh_c].map(|states| &states[clip * hidden..(clip + clips) * hidden]);
            // They are packed while they are in the cache.
            Backward { gates, dh, dc }.run(c_before, tanh_c, [first, hidden], |clip, gradients| {
                of_x.put(clip, gradients);
                if let Some(of_h) = &mut of_h {
                    of_h.put(clip, gradients);
                }
            });
        });
    }
    GateGradients { of_x_w, of_h_u, h }
}

/// The way back with rounded factors. The gates of the trace become gradients before their nonlinearities, of all steps.
fn run_back_rounded(mut trace: Trace, mut dh: Scratch, u: &Packed, sizes: [usize; 3]) -> Trace {
    let ([steps, batch, hidden], task) = (sizes, task(sizes, 1));
    let (step, wide, of_pairs) = (batch * hidden, batch * 4 * hidden, batch * 2 * hidden);
    let u = Packed::transpose_of(u);
    let mut dc = Scratch::zeros(step);
    let mut rounded = Pairs::take(2 * of_pairs);
    for t in (0..steps).rev() {
        let gates = MatMut::whole(&mut trace.gates[t * wide..(t + 1) * wide], 4 * hidden).parts([task[0], 4 * task[1]]);
        let [dh, dc] = [&mut dh, &mut dc].map(|states| parts(states, hidden, task));
        let (after, now) = in_turn(&mut rounded, t, of_pairs);
        let now = MatMut::whole(now, 2 * hidden).parts([task[0], 2 * task[1]]);
        let tasks = gates.zip(now).zip(dh.zip(dc)).collect::<Vec<_>>();
        let [c_before, tanh_c] = [&trace.c, &trace.tanh_c].map(|states| &states[t * step..(t + 1) * step]);
        tasks.into_par_iter().for_each(|((([clip, column], gates), (_, mut now)), (mut dh, dc))| {
            let (clips, first) = (clip..clip + dh.shape().0, column / 4);
            if t + 1 < steps {
                u.product_of(first, &mut dh, &after[clips.start * 2 * hidden..clips.end * 2 * hidden], false);
            }
            let [c_before, tanh_c] = [c_before, tanh_c].map(|states| &states[clips.start * hidden..clips.end * hidden]);
            Backward { gates, dh, dc }.run(c_before, tanh_c, [first, hidden], |clip, gradients| {
                bf16::round(gradients, now.row(clip));
            });
        });
    }
    trace
}
