//! Trained weights for other programs: PyTorch's names and layouts ([`state_dict`]), NumPy's archives ([`npz`]), graphs for ONNX
//! Runtime ([`onnx`]); and back from them ([`import`]).

pub mod import;
pub mod npz;
pub mod onnx;
pub(super) mod protobuf;
pub mod state_dict;

use super::trained::Error;
use super::weights::{Tensor, Weights};

/// A trained network or SVM bank that is to leave; there is one at a time.
#[allow(clippy::large_enum_variant)]
pub enum Portable {
    /// A generator, or a head on a stream.
    Network(Weights),
    /// An SVM bank, with the words that describe it.
    Bank(Box<crate::score::Bank>, String),
}

fn tensor<'w>(weights: &'w Weights, name: &str) -> Result<&'w Tensor, Error> {
    let why = || format!("no {name}");
    weights.get(name).ok_or_else(|| Error::Broken { of: weights.description.name(), why: why() })
}

/// The transpose of a matrix.
fn transposed(t: &Tensor) -> Tensor {
    let (rows, columns) = (t.shape.first().copied().unwrap_or(0), t.shape.get(1).copied().unwrap_or(1));
    let values = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| t.values[r * columns + c]);
    Tensor { name: t.name.clone(), shape: vec![columns, rows], values: values.collect() }
}
