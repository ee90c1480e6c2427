//! One LSTM layer (Hochreiter and Schmidhuber; gates in the order i, f, g, o, a single bias, h_0 = c_0 = 0).
//!
//! With x_t (B, D), W (D, 4H), U (H, 4H), b (1, 4H):
//! a_t = x_t W + h_{t-1} U + b; i, f, o = sigmoid(a), g = tanh(a); c_t = f c_{t-1} + i g; h_t = o tanh(c_t).
//! The result is h_T, (B, H). The input is (T B, D), time-major: row t B + k is frame t of clip k. It gets no gradient.

use super::affine;
use super::device::{Backend, Matrix, matrix};
use super::error::Error;
use super::gates::{self, Inputs};
use super::host::Host;
use super::weight::{InPlace, Weight};
use crate::product::Packed;
use crate::scratch::Scratch;
use dfdx::prelude::*;
use rayon::prelude::*;

/// From dfdx's own operations; any device. The readable reference of [`fused`].
pub fn composite<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    steps: usize,
    [w, u, b]: [&Matrix<D>; 3],
) -> Result<Matrix<D, T>, Error> {
    let (batch, hidden) = (x.shape().0 / steps, u.shape().0);
    let device = x.device().clone();
    let e = Error::device;
    // All frames in one product before the loop.
    let (projected, mut tape) = affine::composite(x, w, b)?.split_tape();
    let zeros = || device.try_zeros_like(&(batch, hidden)).map_err(e);
    let (mut h, mut c): (Matrix<D>, Matrix<D>) = (zeros()?, zeros()?);
    for t in 0..steps {
        let rows = t * batch..(t + 1) * batch;
        let a: Matrix<D, T> = projected
            .clone()
            .put_tape(tape)
            .try_slice((rows, 0..4 * hidden))
            .map_err(e)?
            .try_realize()
            .map_err(|_| Error::Device("a slice of another shape".into()))?;
        let a = h.retaped::<T>().try_matmul(u.clone()).map_err(e)?.try_add(a).map_err(e)?;
        let (a, rest) = a.split_tape();
        let gate = |k: usize, tape: T| -> Result<Matrix<D, T>, Error> {
            let slice = a.clone().put_tape(tape).try_slice((0..batch, k * hidden..(k + 1) * hidden)).map_err(e)?;
            slice.try_realize().map_err(|_| Error::Device("a slice of another shape".into()))
        };
        let i = gate(0, rest)?.try_sigmoid().map_err(e)?;
        let f = gate(1, T::default())?.try_sigmoid().map_err(e)?;
        let g = gate(2, T::default())?.try_tanh().map_err(e)?;
        let o = gate(3, T::default())?.try_sigmoid().map_err(e)?;
        let next = i.try_mul(g).map_err(e)?.try_add(f.try_mul(c.clone()).map_err(e)?).map_err(e)?;
        let (next_c, rest) = next.split_tape();
        let next_h = o.try_mul(next_c.clone().put_tape(rest).try_tanh().map_err(e)?).map_err(e)?;
        c = next_c;
        (h, tape) = next_h.split_tape();
    }
    Ok(h.put_tape(tape))
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

/// Clips that one task of the element-wise passes handles.
const ROWS: usize = 16;

/// One operation on dfdx's tape, on the CPU, with hand-derived gradients. Three large products (projection, dW, dU) and
/// one small one for each step and direction; the rest in one vectorised pass a step. Without a tape no more than a step is
/// kept.
pub fn fused<T: Tape<f32, Cpu> + 'static>(
    device: &Cpu,
    x: &Host,
    mut tape: T,
    steps: usize,
    [w, u, b]: [&InPlace; 3],
) -> Result<Matrix<Cpu, T>, Error> {
    let hidden = u.shape().0;
    let batch = x.rows / steps;
    let sizes = [steps, batch, hidden];
    let mut projected = Scratch::take(x.distinct() * 4 * hidden);
    w.value().product(&mut projected, &x.numbers, false);
    let trace = {
        let (u, b) = (u.value(), b.value());
        let bias = &b.numbers()[..4 * hidden];
        let inputs = Inputs { projected: &projected, places: x.places.as_ref().map(|p| &p[..]), bias };
        forward(&inputs, &u, sizes, T::OWNS_TAPE)
    };
    drop(projected);
    let last = if T::OWNS_TAPE { steps } else { steps % 2 };
    let h = matrix(device, &trace.h[last * batch * hidden..][..batch * hidden], batch, hidden)?;
    if T::OWNS_TAPE {
        let (x, w, u, b, out) = (x.clone(), w.clone(), u.clone(), b.clone(), h.ghost());
        tape.add_backward_op(move |grads| {
            let mut dh = Scratch::take(batch * hidden);
            grads.get(&out).copy_into(&mut dh);
            let Gradients { of_x_w, of_h_u, h } = backward(trace, dh, &u.value(), &x, sizes);
            // h_{t-1} meets a_t: all steps in one product. h_0 = 0 adds nothing and is left out.
            let (mut du, add) = u.gradient();
            of_h_u.transposed_product(&mut du, &h[batch * hidden..steps * batch * hidden], add);
            affine::backward(&x.numbers, &of_x_w, &w, &b);
            Ok(())
        });
    }
    Ok(h.put_tape(tape))
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

fn forward(inputs: &Inputs, u: &Packed, [steps, batch, hidden]: [usize; 3], all: bool) -> Trace {
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
    for t in 0..steps {
        let at = if all { t } else { 0 };
        let a = &mut trace.gates[at * wide..(at + 1) * wide];
        let (h_before, h) = step_of(&mut trace.h, t, step, all);
        match t {
            0 => a.fill(0.0),
            _ => u.product(a, h_before, false),
        }
        let (c_before, c) = step_of(&mut trace.c, t, step, all);
        let tanh_c = &mut trace.tanh_c[at * step..(at + 1) * step];
        let rows = a.par_chunks_mut(ROWS * 4 * hidden).zip(c_before.par_chunks(ROWS * hidden));
        let outs = c
            .par_chunks_mut(ROWS * hidden)
            .zip(tanh_c.par_chunks_mut(ROWS * hidden))
            .zip(h.par_chunks_mut(ROWS * hidden));
        rows.zip(outs).enumerate().for_each(|(i, ((a, p), ((c, tanh_c), h)))| {
            gates::forward(inputs, t * batch + i * ROWS, a, p, c, tanh_c, h);
        });
    }
    trace
}

/// Gradients of the gates before their nonlinearities, as the products with them read them.
struct Gradients {
    /// For the distinct rows of x, 4H wide: sums over the rows that are the same.
    of_x_w: Packed,
    /// For the steps from the second on, ((T - 1) B, 4H).
    of_h_u: Packed,
    /// h_0 to h_T, (T + 1, B, H).
    h: Scratch,
}

fn backward(trace: Trace, mut dh: Scratch, u: &Packed, x: &Host, [steps, batch, hidden]: [usize; 3]) -> Gradients {
    let (step, wide) = (batch * hidden, batch * 4 * hidden);
    let Trace { mut gates, c, tanh_c, h } = trace;
    let u = u.transposed();
    let mut dc = Scratch::zeros(step);
    let mut seen = vec![false; x.distinct()];
    let mut of_x_w = Packed::take(x.distinct(), 4 * hidden);
    let mut of_h_u = Packed::take((steps - 1) * batch, 4 * hidden);
    for t in (0..steps).rev() {
        let a = &mut gates[t * wide..(t + 1) * wide];
        let rows = a.par_chunks_mut(ROWS * 4 * hidden).zip(c[t * step..(t + 1) * step].par_chunks(ROWS * hidden));
        let ins = tanh_c[t * step..(t + 1) * step]
            .par_chunks(ROWS * hidden)
            .zip(dh.par_chunks(ROWS * hidden))
            .zip(dc.par_chunks_mut(ROWS * hidden));
        rows.zip(ins).for_each(|((a, p), ((tanh_c, dh), dc))| gates::backward(hidden, a, p, tanh_c, dh, dc));
        // While they are in the cache.
        let places = x.places(t * batch..(t + 1) * batch, &mut seen);
        of_x_w.put(a, |b| places[b]);
        if t > 0 {
            of_h_u.put(a, |b| ((t - 1) * batch + b, false));
            u.product(&mut dh, a, false);
        }
    }
    Gradients { of_x_w, of_h_u, h }
}
