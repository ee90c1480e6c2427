//! The affine map y = x W + b; x (N, D), W (D, E), b (1, E), y (N, E).
//!
//! Gradients: dW = x^T dy, db = sum over rows of dy, dx = dy W^T.

use super::device::{Backend, Host, Matrix, matrix, numbers};
use super::error::Error;
use crate::product::{Mat, product};
use crate::scratch::Scratch;
use dfdx::prelude::*;
use rayon::prelude::*;

/// Columns that one task of [`add_rows`] sums.
const COLUMNS: usize = 256;

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
    let (xs, ws) = (numbers(&x), numbers(w));
    let y = forward(&xs, &ws, b, [n, d, e])?;
    if T::OWNS_TAPE {
        let (x, w, b, y) = (x.ghost(), w.ghost(), b.ghost(), y.ghost());
        tape.add_backward_op(move |grads| {
            let mut dys = Scratch::take(n * e);
            grads.get(&y).copy_into(&mut dys);
            product(grads.get_or_alloc_mut(&w)?, Mat::new(&xs, n, d).t(), Mat::new(&dys, n, e), 1.0, true);
            add_rows(grads.get_or_alloc_mut(&b)?, &dys);
            if wants_dx {
                product(grads.get_or_alloc_mut(&x)?, Mat::new(&dys, n, e), Mat::new(&ws, d, e).t(), 1.0, true);
            }
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

/// [`fused`] on a network's input, which gets no gradient and is not copied.
pub fn of_input<T: Tape<f32, Cpu> + 'static>(
    x: &Host,
    mut tape: T,
    w: &Matrix<Cpu>,
    b: &Matrix<Cpu>,
) -> Result<Matrix<Cpu, T>, Error> {
    let (n, d, e) = (x.rows, x.cols, w.shape().1);
    let xs = x.numbers.clone();
    let y = forward(&xs, &numbers(w), b, [n, d, e])?;
    if T::OWNS_TAPE {
        let (w, b, y) = (w.ghost(), b.ghost(), y.ghost());
        tape.add_backward_op(move |grads| {
            let mut dys = Scratch::take(n * e);
            grads.get(&y).copy_into(&mut dys);
            product(grads.get_or_alloc_mut(&w)?, Mat::new(&xs, n, d).t(), Mat::new(&dys, n, e), 1.0, true);
            add_rows(grads.get_or_alloc_mut(&b)?, &dys);
            Ok(())
        });
    }
    Ok(y.put_tape(tape))
}

fn forward(x: &[f32], w: &[f32], b: &Matrix<Cpu>, [n, d, e]: [usize; 3]) -> Result<Matrix<Cpu>, Error> {
    let mut y = Scratch::repeat(&numbers(b), n);
    product(&mut y, Mat::new(x, n, d), Mat::new(w, d, e), 1.0, true);
    matrix(b.device(), &y, n, e)
}

/// sum += rows. Threads share the columns, so that the order of the sums is always the same.
pub(super) fn add_rows(sum: &mut [f32], rows: &[f32]) {
    let width = sum.len();
    sum.par_chunks_mut(COLUMNS).enumerate().for_each(|(i, sum)| {
        for row in rows.chunks_exact(width) {
            sum.iter_mut().zip(&row[i * COLUMNS..]).for_each(|(s, v)| *s += v);
        }
    });
}
