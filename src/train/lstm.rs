//! One LSTM layer (Hochreiter and Schmidhuber; gates in the order i, f, g, o, a single bias, h_0 = c_0 = 0).
//!
//! With x_t (B, D), W (D, 4H), U (H, 4H), b (1, 4H):
//! a_t = x_t W + h_{t-1} U + b; i, f, o = sigmoid(a), g = tanh(a); c_t = f c_{t-1} + i g; h_t = o tanh(c_t).
//! The result is h_T, (B, H). The input is (T B, D), time-major: row t B + k is frame t of clip k. It gets no gradient.

use super::affine;
use super::device::{Backend, Matrix, matrix};
use super::error::Error;
use super::gates::{BLOCK, Backward, Forward, Inputs};
use super::host::Host;
use super::weight::{InPlace, Outer, Rows, Weight};
use compute::buffer_pool::Scratch;
use compute::matmul::{MatMut, Packed, chunk_len};
use dfdx::prelude::*;
use rayon::prelude::*;
use std::rc::Rc;

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

/// One operation on dfdx's tape, on the CPU, with hand-derived gradients. Three large products (projection, dW, dU) and
/// one small one for each step and direction. In the time loop a thread has some of the units to itself: their part of the
/// product with U, their gates and states, and on the way back their gradients; threads wait for each other once a step.
/// Columns of W, U and b lie as [`super::gates::place`] has them. Without a tape no more than a step is kept.
///
/// # Panics
/// If the parameters are not [of gates](Weight::of_gates).
pub fn fused<T: Tape<f32, Cpu> + 'static>(
    device: &Cpu,
    x: &Host,
    mut tape: T,
    steps: usize,
    [w, u, b]: [&InPlace; 3],
) -> Result<Matrix<Cpu, T>, Error> {
    assert!([w, u, b].iter().all(|p| p.is_of_gates()), "parameters of gates");
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
            let x_of_u = Rows::Made(h, batch * hidden..steps * batch * hidden);
            u.reach(Outer { x: x_of_u, dy: Rc::new(of_h_u) });
            affine::backward(Rows::Shared(x.numbers.clone()), of_x_w, &w, &b);
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

/// Units that a task has in a step: whole blocks of gates, and whole panels of that product which makes `each` numbers of a unit.
fn units([_, batch, hidden]: [usize; 3], each: usize) -> usize {
    chunk_len(hidden, (Packed::wide() / each).max(BLOCK), batch * hidden * 4 * hidden)
}

fn forward(inputs: &Inputs, u: &Packed, sizes: [usize; 3], all: bool) -> Trace {
    let ([steps, batch, hidden], units) = (sizes, units(sizes, 4));
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
        let (h_before, h) = step_of(&mut trace.h, t, step, all);
        let (c_before, c) = step_of(&mut trace.c, t, step, all);
        let tanh_c = &mut trace.tanh_c[at * step..(at + 1) * step];
        let gates = &mut trace.gates[at * wide..(at + 1) * wide];
        let gates = MatMut::whole(gates, 4 * hidden).column_chunks(4 * units);
        let [c, tanh_c, h] = [c, tanh_c, h].map(|states| MatMut::whole(states, hidden).column_chunks(units));
        let parts = gates.zip(c).zip(tanh_c.zip(h)).enumerate().collect::<Vec<_>>();
        parts.into_par_iter().for_each(|(i, ((mut gates, c), (tanh_c, h)))| {
            match t {
                0 => (0..batch).for_each(|clip| gates.row(clip).fill(0.0)),
                _ => u.product_of(4 * i * units, &mut gates, h_before, false),
            }
            Forward { gates, c, tanh_c, h }.run(inputs, t * batch, c_before, i * units);
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

fn backward(trace: Trace, mut dh: Scratch, u: &Packed, x: &Host, sizes: [usize; 3]) -> Gradients {
    let ([steps, batch, hidden], units) = (sizes, units(sizes, 1));
    let (step, wide) = (batch * hidden, batch * 4 * hidden);
    let Trace { mut gates, c, tanh_c, h } = trace;
    let u = u.transposed();
    let mut dc = Scratch::zeros(step);
    let mut seen = vec![false; x.distinct()];
    let mut of_x_w = Packed::take(x.distinct(), 4 * hidden);
    let mut of_h_u = Packed::take((steps - 1) * batch, 4 * hidden);
    for t in (0..steps).rev() {
        let (now, after) = gates.split_at_mut((t + 1) * wide);
        let now = MatMut::whole(&mut now[t * wide..], 4 * hidden).column_chunks(4 * units);
        let [dh, dc] = [&mut dh, &mut dc].map(|states| MatMut::whole(states, hidden).column_chunks(units));
        let packed = of_x_w.column_chunks(4 * units).zip(of_h_u.column_chunks(4 * units));
        let parts = now.zip(dh.zip(dc)).zip(packed).enumerate().collect::<Vec<_>>();
        let places = x.places(t * batch..(t + 1) * batch, &mut seen);
        let [c_before, tanh_c] = [&c, &tanh_c].map(|states| &states[t * step..(t + 1) * step]);
        parts.into_par_iter().for_each(|(i, ((gates, (mut dh, dc)), (mut of_x_w, mut of_h_u)))| {
            if t + 1 < steps {
                u.product_of(i * units, &mut dh, &after[..wide], false);
            }
            // They are packed while they are in the cache.
            Backward { gates, dh, dc }.run(c_before, tanh_c, [i * units, hidden], |clip, gradients| {
                let (row, add) = places[clip];
                of_x_w.put(row, gradients, add);
                if t > 0 {
                    of_h_u.put((t - 1) * batch + clip, gradients, false);
                }
            });
        });
    }
    Gradients { of_x_w, of_h_u, h }
}
