//! The affine map y = x W + b; x (N, D), W (D, E), b (1, E), y (N, E).
//!
//! Gradients: dW = x^T dy, db = sum over rows of dy, dx = dy W^T.

use super::device::{Backend, Matrix, matrix, numbers};
use super::error::Error;
use super::scratch::Scratch;
use crate::product::{Mat, product};
use dfdx::prelude::*;

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
    w: &Matrix<Cpu>,
    b: &Matrix<Cpu>,
    wants_dx: bool,
) -> Result<Matrix<Cpu, T>, Error> {
    let ((n, d), (_, e)) = (*x.shape(), *w.shape());
    let (x, mut tape) = x.split_tape();
    let (xs, ws, bs) = (numbers(&x), numbers(w), numbers(b));
    let mut y = Scratch::repeat(&bs, n);
    product(&mut y, Mat::new(&xs, n, d), Mat::new(&ws, d, e), 1.0, true);
    let y = matrix(x.device(), &y, n, e)?;
    if T::OWNS_TAPE {
        let (x, w, b, y) = (x.ghost(), w.ghost(), b.ghost(), y.ghost());
        tape.add_backward_op(move |grads| {
            let dy = grads.get(&y);
            let mut dys = Scratch::take(n * e);
            dy.copy_into(&mut dys);
            let dy = Mat::new(&dys, n, e);
            product(grads.get_or_alloc_mut(&w)?, Mat::new(&xs, n, d).t(), dy, 1.0, true);
            let db = grads.get_or_alloc_mut(&b)?;
            for row in dys.chunks_exact(e) {
                db.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            if wants_dx {
                product(grads.get_or_alloc_mut(&x)?, dy, Mat::new(&ws, d, e).t(), 1.0, true);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}
