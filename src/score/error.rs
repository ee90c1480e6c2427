//! What can go wrong while scoring.

use crate::train;

/// An error of scoring.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A number that nothing can be ranked or averaged by.
    #[error("{quantity} {place} is {value}, which is no number to go on with\n  next: {next}")]
    NotFinite {
        /// What it is, `the decision value`.
        quantity: &'static str,
        /// Whose, `of clip 3 for class 0`; clips and classes count from 0, in the order of the matrix.
        place: String,
        /// NaN or an infinity.
        value: f64,
        /// What to change.
        next: &'static str,
    },
    /// What the device that trains the machines says.
    #[error(transparent)]
    Device(#[from] train::Error),
}

/// What to change where a support vector machine leaves the range of its numbers.
pub(super) const LOWER_C: &str = "lower svm.c, or take svm.scale: standardised; `unmute data stats` shows the features";

/// What to change where a feature that was generated is no number.
pub(super) const LOWER_LR: &str = "lower train.lr, or leave out the generator or control that made it";

/// The first number of a matrix that is not finite, as an error; `columns` is what a column stands for.
pub(super) fn finite(
    values: &[f32],
    width: usize,
    quantity: &'static str,
    (row, column): (&str, &str),
    next: &'static str,
) -> Result<(), Error> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (r, c) = (at / width.max(1), at % width.max(1));
            let place = format!("of {row} {r}, {column} {c},");
            Err(Error::NotFinite { quantity, place, value: f64::from(values[at]), next })
        }
    }
}
