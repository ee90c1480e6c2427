//! One LSTM layer (Hochreiter and Schmidhuber; gates in the order i, f, g, o, a single bias, h_0 = c_0 = 0).
//!
//! With x_t (B, D), W (D, 4H), U (H, 4H), b (1, 4H):
//! a_t = x_t W + h_{t-1} U + b; i, f, o = sigmoid(a), g = tanh(a); c_t = f c_{t-1} + i g; h_t = o tanh(c_t).
//! The result is h_T, (B, H). The input is (T B, D), time-major: row t B + k is frame t of clip k. It gets no gradient.

use super::affine;
use super::device::{Backend, Matrix, matrix};
use super::error::Error;
use super::gates;
use super::host::Host;
use super::weight::{InPlace, Weight};
use crate::product::{Mat, Packed, product};
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

/// What the backward pass needs of the forward pass.
struct Trace {
    /// Gate activations (T B, 4H).
    gates: Scratch,
    /// c_0 to c_T, (T + 1, B, H).
    c: Scratch,
    /// tanh of c_1 to c_T, (T, B, H).
    tanh_c: Scratch,
    /// h_0 to h_T, (T + 1, B, H).
    h: Scratch,
}

/// Clips that one task of the element-wise passes handles.
const ROWS: usize = 16;

/// One operation on dfdx's tape, on the CPU, with hand-derived gradients. Three large products (projection, dW, dU) and
/// one small one for each step and direction, with U packed once for each direction; the rest in one vectorised pass a
/// step.
pub fn fused<T: Tape<f32, Cpu> + 'static>(
    device: &Cpu,
    x: &Host,
    mut tape: T,
    steps: usize,
    [w, u, b]: [&InPlace; 3],
) -> Result<Matrix<Cpu, T>, Error> {
    let (n, d, hidden) = (x.rows, x.cols, u.shape().0);
    let batch = n / steps;
    let projected = x.spread(affine::forward(&x.numbers, w, b, [x.distinct(), d, 4 * hidden]), 4 * hidden);
    let trace = forward(projected, &u.value(), [steps, batch, hidden]);
    let last = &trace.h[steps * batch * hidden..];
    let h = matrix(device, last, batch, hidden)?;
    if T::OWNS_TAPE {
        let (x, w, u, b, out) = (x.clone(), w.clone(), u.clone(), b.clone(), h.ghost());
        tape.add_backward_op(move |grads| {
            let mut dh = Scratch::take(batch * hidden);
            grads.get(&out).copy_into(&mut dh);
            let (da, h) = backward(trace, dh, &u.value(), [steps, batch, hidden]);
            // h_{t-1} meets a_t: all steps in one product. h_0 = 0 adds nothing and is left out.
            let later = (steps - 1) * batch;
            let before = Mat::new(&h[batch * hidden..steps * batch * hidden], later, hidden);
            let after = Mat::new(&da[batch * 4 * hidden..], later, 4 * hidden);
            let (mut du, add) = u.gradient();
            product(&mut du, before.t(), after, 1.0, add);
            affine::backward(&x.numbers, &x.add_up(da, 4 * hidden), &w, &b, [x.distinct(), d, 4 * hidden]);
            Ok(())
        });
    }
    Ok(h.put_tape(tape))
}

/// `gates` is x W + b for all frames, (T B, 4H).
fn forward(gates: Scratch, u: &[f32], [steps, batch, hidden]: [usize; 3]) -> Trace {
    let (step, wide) = (batch * hidden, batch * 4 * hidden);
    let mut trace = Trace {
        gates,
        c: Scratch::take((steps + 1) * step),
        tanh_c: Scratch::take(steps * step),
        h: Scratch::take((steps + 1) * step),
    };
    let u = Packed::new(Mat::new(u, hidden, 4 * hidden));
    trace.c[..step].fill(0.0);
    trace.h[..step].fill(0.0);
    for t in 0..steps {
        let a = &mut trace.gates[t * wide..(t + 1) * wide];
        let (h_before, h) = trace.h[t * step..].split_at_mut(step);
        if t > 0 {
            u.product(a, h_before, true);
        }
        let (c_before, c) = trace.c[t * step..].split_at_mut(step);
        let tanh_c = &mut trace.tanh_c[t * step..(t + 1) * step];
        let rows = a.par_chunks_mut(ROWS * 4 * hidden).zip(c_before.par_chunks(ROWS * hidden));
        let outs = c[..step]
            .par_chunks_mut(ROWS * hidden)
            .zip(tanh_c.par_chunks_mut(ROWS * hidden))
            .zip(h[..step].par_chunks_mut(ROWS * hidden));
        rows.zip(outs).for_each(|((a, p), ((c, t), h))| gates::forward(hidden, a, p, c, t, h));
    }
    trace
}

/// The gradient of the gates before their nonlinearities, (T B, 4H), and the h of the trace.
fn backward(trace: Trace, mut dh: Scratch, u: &[f32], [steps, batch, hidden]: [usize; 3]) -> (Scratch, Scratch) {
    let (step, wide) = (batch * hidden, batch * 4 * hidden);
    let Trace { mut gates, c, tanh_c, h } = trace;
    let u = Packed::new(Mat::new(u, hidden, 4 * hidden).t());
    let mut dc = Scratch::zeros(step);
    for t in (0..steps).rev() {
        let a = &mut gates[t * wide..(t + 1) * wide];
        let rows = a.par_chunks_mut(ROWS * 4 * hidden).zip(c[t * step..(t + 1) * step].par_chunks(ROWS * hidden));
        let ins = tanh_c[t * step..(t + 1) * step]
            .par_chunks(ROWS * hidden)
            .zip(dh.par_chunks(ROWS * hidden))
            .zip(dc.par_chunks_mut(ROWS * hidden));
        rows.zip(ins).for_each(|((a, p), ((tanh_c, dh), dc))| gates::backward(hidden, a, p, tanh_c, dh, dc));
        if t > 0 {
            u.product(&mut dh, a, false);
        }
    }
    (gates, h)
}
