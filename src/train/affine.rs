//! The affine map y = x W + b; x (N, D), W (D, E), b (1, E), y (N, E).
//!
//! Gradients: dW = x^T dy, db = sum over rows of dy, dx = dy W^T.

use super::device::{Backend, Matrix, matrix, numbers};
use super::error::Error;
use super::host::Host;
use super::weight::{InPlace, Outer, Rows, Weight};
use compute::buffer_pool::Scratch;
use compute::matmul::{Mat, Packed};
use dfdx::prelude::*;
use std::rc::Rc;

/// From dfdx's own operations; any device.
pub fn composite<D: Backend, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    w: &Matrix<D>,
    b: &Matrix<D>,
) -> Result<Matrix<D, T>, Error> {
    let (n, e) = (x.shape().0, w.shape().1);
    let y = x.try_matmul(w.clone()).map_err(Error::device)?;
    let rows: Tensor<(usize,), f32, D, T> = b.retaped::<T>().try_reshape_like(&(e,)).map_err(Error::device)?;
    let rows: Matrix<D, T> = rows.try_broadcast_like::<_, Axis<0>>(&(n, e)).map_err(Error::device)?;
    y.try_add(rows).map_err(Error::device)
}

/// One operation on dfdx's tape, on the CPU: no gradient of x unless asked for, the bias added in the product's pass.
pub fn fused<T: Tape<f32, Cpu> + 'static>(
    x: Matrix<Cpu, T>,
    w: &InPlace,
    b: &InPlace,
    wants_dx: bool,
) -> Result<Matrix<Cpu, T>, Error> {
    let (n, e) = (x.shape().0, w.shape().1);
    let (x, mut tape) = x.split_tape();
    let xs = numbers(&x);
    let y = matrix(x.device(), &forward(&xs, w, b, [n, e]), n, e)?;
    if T::OWNS_TAPE {
        let (x, w, b, out) = (x.ghost(), w.clone(), b.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let mut dy = Scratch::take(n * e);
            grads.get(&out).copy_into(&mut dy);
            backward(Rows::all(xs), Packed::new(Mat::new(&dy, n, e)), &w, &b);
            if wants_dx {
                w.value().transposed().product(grads.get_or_alloc_mut(&x)?, &dy, true);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// [`fused`] on a network's input, which gets no gradient and is not copied.
pub fn of_input<T: Tape<f32, Cpu> + 'static>(
    device: &Cpu,
    x: &Host,
    mut tape: T,
    w: &InPlace,
    b: &InPlace,
) -> Result<Matrix<Cpu, T>, Error> {
    let e = w.shape().1;
    let y = x.spread(forward(&x.numbers, w, b, [x.distinct(), e]), e);
    let y = matrix(device, &y, x.rows, e)?;
    if T::OWNS_TAPE {
        let (x, w, b, out) = (x.clone(), w.clone(), b.clone(), y.ghost());
        tape.add_backward_op(move |grads| {
            let mut dy = Scratch::take(x.rows * e);
            grads.get(&out).copy_into(&mut dy);
            backward(Rows::Shared(x.numbers.clone()), x.add_up(&dy, e), &w, &b);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// x W + b, (N, E).
fn forward(x: &[f32], w: &InPlace, b: &InPlace, [n, e]: [usize; 2]) -> Scratch {
    let mut y = Scratch::repeat(&b.value().numbers()[..e], n);
    w.value().product(&mut y, x, true);
    y
}

/// dW = x^T dy and db = 1^T dy.
pub(super) fn backward(x: Rows, dy: Packed, w: &InPlace, b: &InPlace) {
    let ones = Scratch::repeat(&[1.0], dy.rows());
    let dy = Rc::new(dy);
    w.reach(Outer { x, dy: dy.clone() });
    b.reach(Outer { x: Rows::all(ones), dy });
}
