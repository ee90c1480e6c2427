//! dfdx's tensors with sizes known at run time, and numbers in and out of them.

use compute::buffer_pool::Scratch;
use dfdx::prelude::*;

/// A matrix on a device, with or without a tape.
pub type Matrix<D, T = NoneTape> = Tensor<(usize, usize), f32, D, T>;

/// A number on a device.
pub type Scalar<D, T = NoneTape> = Tensor<(), f32, D, T>;

/// What a device says when it refuses: out of memory, driver trouble.
#[derive(Debug, thiserror::Error)]
#[error("device: {0}\n  next: lower train.batch, or use --device cpu")]
pub struct DeviceError(pub String);

impl DeviceError {
    /// Wraps what a device says.
    pub fn of(e: impl std::fmt::Debug) -> DeviceError {
        DeviceError(format!("{e:?}"))
    }
}

/// A matrix's numbers, row after row.
pub fn numbers<D: Device<f32>, T>(matrix: &Matrix<D, T>) -> Scratch {
    let (rows, cols) = *matrix.shape();
    let mut values = Scratch::take(rows * cols);
    matrix.copy_into(&mut values);
    values
}

/// A matrix from numbers, row after row.
///
/// The tensor is asked of the device and filled, not made of a vector: dfdx keeps every dropped tensor for reuse, so
/// vectors made into tensors would pile up.
pub fn matrix<D: Device<f32>>(device: &D, values: &[f32], rows: usize, cols: usize) -> Result<Matrix<D>, DeviceError> {
    let mut matrix: Matrix<D> = device.try_zeros_like(&(rows, cols)).map_err(DeviceError::of)?;
    matrix.copy_from(values);
    Ok(matrix)
}

/// Rows of zeros with a one at the label, (B, K).
pub fn one_hot<D: Device<f32>>(device: &D, labels: &[usize], classes: usize) -> Result<Matrix<D>, DeviceError> {
    let mut values = vec![0.0; labels.len() * classes];
    for (row, &label) in values.chunks_exact_mut(classes).zip(labels) {
        row[label] = 1.0;
    }
    matrix(device, &values, labels.len(), classes)
}

/// The number itself.
pub fn value<D: Device<f32>, T>(scalar: &Scalar<D, T>) -> f32 {
    let mut out = [0.0];
    scalar.copy_into(&mut out);
    out[0]
}

/// y = x W + b in dfdx's own operations; x (N, D), W (D, E), b (1, E), y (N, E).
pub fn affine<D: Device<f32>, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    w: &Matrix<D>,
    b: &Matrix<D>,
) -> Result<Matrix<D, T>, DeviceError> {
    let (n, e) = (x.shape().0, w.shape().1);
    let y = x.try_matmul(w.clone()).map_err(DeviceError::of)?;
    y.try_add(rows_of::<D, T>(b, n, e)?).map_err(DeviceError::of)
}

/// A (1, E) parameter as (N, E): the same row N times.
pub fn rows_of<D: Device<f32>, T: Tape<f32, D>>(
    b: &Matrix<D>,
    n: usize,
    e: usize,
) -> Result<Matrix<D, T>, DeviceError> {
    let row: Tensor<(usize,), f32, D, T> = b.retaped::<T>().try_reshape_like(&(e,)).map_err(DeviceError::of)?;
    row.try_broadcast_like::<_, Axis<0>>(&(n, e)).map_err(DeviceError::of)
}

/// max(x, 0).
pub fn relu<D: Device<f32>, T: Tape<f32, D>>(x: Matrix<D, T>) -> Result<Matrix<D, T>, DeviceError> {
    x.try_relu().map_err(DeviceError::of)
}

/// Some rows and columns.
pub fn slice<D: Device<f32>, T: Tape<f32, D>>(
    x: Matrix<D, T>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> Result<Matrix<D, T>, DeviceError> {
    let part = x.try_slice((rows, columns)).map_err(DeviceError::of)?;
    part.try_realize().map_err(|_| DeviceError("a slice of another shape".into()))
}

/// Twice the same matrix; the first keeps the tape.
pub fn fork<D: Device<f32>, T: Tape<f32, D>>(x: Matrix<D, T>) -> (Matrix<D, T>, Matrix<D, T>) {
    let (x, tape) = x.split_tape();
    let other = x.retaped::<T>();
    (x.put_tape(tape), other)
}
