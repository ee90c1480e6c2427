//! [`compute::nn`]'s layers as operations on dfdx's tape, on the CPU.

use crate::model::tensor::{DeviceError, Matrix, matrix, numbers};
use compute::buffer_pool::Scratch;
use compute::nn::lstm::Precision;
use compute::nn::packed_param::Rows;
use compute::nn::{InputBatch, PackedParam, linear, lstm};
use dfdx::prelude::*;

/// y = x W + b, with the gradient of x where it is asked for.
pub fn affine<T: Tape<f32, Cpu> + 'static>(
    x: Matrix<Cpu, T>,
    w: &PackedParam,
    b: &PackedParam,
    wants_dx: bool,
) -> Result<Matrix<Cpu, T>, DeviceError> {
    let (n, e) = (x.shape().0, w.shape().1);
    let (x, mut tape) = x.split_tape();
    let xs = numbers(&x);
    let y = matrix(x.device(), &linear::forward(&xs, w, b, [n, e]), n, e)?;
    if T::OWNS_TAPE {
        let (x, w, b, out) = (x.ghost(), w.clone(), b.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let mut dy = Scratch::take(n * e);
            grads.get(&out).copy_into(&mut dy);
            linear::backward(Rows::all(xs), linear::packed(&dy, e), &w, &b);
            if wants_dx {
                linear::backward_input(&dy, &w, grads.get_or_alloc_mut(&x)?);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// [`affine`] on a network's input, which gets no gradient and is not copied.
pub fn affine_of_input<T: Tape<f32, Cpu> + 'static>(
    device: &Cpu,
    x: &InputBatch,
    mut tape: T,
    w: &PackedParam,
    b: &PackedParam,
) -> Result<Matrix<Cpu, T>, DeviceError> {
    let e = w.shape().1;
    let y = x.repeat_rows(linear::forward(&x.numbers, w, b, [x.distinct(), e]), e);
    let y = matrix(device, &y, x.rows, e)?;
    if T::OWNS_TAPE {
        let (x, w, b, out) = (x.clone(), w.clone(), b.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let mut dy = Scratch::take(x.rows * e);
            grads.get(&out).copy_into(&mut dy);
            linear::backward(Rows::Shared(x.numbers.clone()), x.sum_rows(&dy, e), &w, &b);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// h_T of an LSTM, (B, H), from a network's input, (T B, D), time-major, which gets no gradient. Without a tape no more than a
/// step is kept, and it is computed in f32.
pub fn lstm_layer<T: Tape<f32, Cpu> + 'static>(
    device: &Cpu,
    x: &InputBatch,
    mut tape: T,
    (steps, precision): (usize, Precision),
    [w, u, b]: [&PackedParam; 3],
) -> Result<Matrix<Cpu, T>, DeviceError> {
    let (batch, hidden) = (x.rows / steps, u.shape().0);
    let pass = lstm::forward(x, steps, [w, u, b], T::OWNS_TAPE.then_some(precision));
    let h = matrix(device, pass.last_state(), batch, hidden)?;
    if T::OWNS_TAPE {
        let (x, w, u, b, out) = (x.clone(), w.clone(), u.clone(), b.clone(), h.ghost());
        tape.add_backward_op(move |grads| {
            let mut dh = Scratch::take(batch * hidden);
            grads.get(&out).copy_into(&mut dh);
            pass.backward(dh, &x, [&w, &u, &b]);
            Ok(())
        });
    }
    Ok(h.put_tape(tape))
}
