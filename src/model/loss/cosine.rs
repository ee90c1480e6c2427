//! Cosine: 1 - o . t / (|o| |t|), mean over the batch.
//!
//! Where output or target is the zero vector, which has no direction, the loss is 1 and its gradient 0.

use super::{LossSettings, Reconstruction};
use crate::model::tensor::{DeviceError, Matrix, Scalar};
use dfdx::prelude::*;

/// One minus cosine similarity.
pub struct Cosine;

/// A vector shorter than the root of this counts as the zero vector.
const LEAST_SQUARE: f32 = 1e-12;

/// A number for each clip.
type Vector<D, T = NoneTape> = Tensor<(usize,), f32, D, T>;

impl Reconstruction for Cosine {
    const READS: &'static [&'static str] = &[];

    fn of<D: Device<f32>, T: Tape<f32, D>>(
        _: &LossSettings,
        output: Matrix<D, T>,
        target: Matrix<D>,
    ) -> Result<Scalar<D, T>, DeviceError> {
        let e = DeviceError::of;
        let (output, tape) = output.split_tape();
        let squares = |x: Matrix<D>| -> Result<Vector<D>, DeviceError> {
            x.try_square().map_err(e)?.try_sum::<_, Axis<1>>().map_err(e)
        };
        let (of_output, of_target) = (squares(output.clone())?, squares(target.clone())?);
        // 1 where both have a direction; elsewhere the quotient is 0 / 1, whatever the numbers.
        let has_direction = of_output.as_vec().into_iter().zip(of_target.as_vec());
        let has_direction = has_direction.map(|(o, t)| f32::from(o >= LEAST_SQUARE && t >= LEAST_SQUARE));
        let counts: Vec<f32> = has_direction.collect();
        let batch = counts.len();
        let vector = |values: Vec<f32>| -> Result<Vector<D>, DeviceError> {
            let mut vector: Vector<D> = output.device().try_zeros_like(&(batch,)).map_err(e)?;
            vector.copy_from(&values);
            Ok(vector)
        };
        let missing = vector(counts.iter().map(|c| 1.0 - c).collect())?;
        let counts = vector(counts)?;
        let dot = output.clone().put_tape(tape).try_mul(target).map_err(e)?;
        let dot: Vector<D, T> = dot.try_sum::<_, Axis<1>>().map_err(e)?;
        let square = output.retaped::<T>().try_square().map_err(e)?;
        let square: Vector<D, T> = square.try_sum::<_, Axis<1>>().map_err(e)?;
        let lengths = square.try_mul(counts.clone()).map_err(e)?.try_add(missing.clone()).map_err(e)?;
        let of_target = of_target.try_mul(counts.clone()).map_err(e)?.try_add(missing).map_err(e)?;
        let lengths = lengths.try_mul(of_target).map_err(e)?.try_sqrt().map_err(e)?;
        let cosines = dot.try_mul(counts).map_err(e)?.try_div(lengths).map_err(e)?;
        let sum: Scalar<D, T> = cosines.try_sum().map_err(e)?;
        sum.try_mul(-1.0 / batch as f32).map_err(e)?.try_add(1.0).map_err(e)
    }
}
