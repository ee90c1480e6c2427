//! max(x, 0) and its gradient.

use super::launcher::kernels;
use crate::gpu::api::{GpuApi, View};
use crate::train::Error;

kernels! { "relu":
    relu_forward(numbers: usize, x: View);
    relu_backward(numbers: usize, y: View, gradient: View);
}

/// x = max(x, 0), in place.
pub fn relu_forward<E: GpuApi>(engine: &E, x: View) -> Result<(), Error> {
    // SAFETY: as long as the view.
    unsafe { launch::relu_forward(engine, x.len(), x.len(), x) }
}

/// The gradient of the same, in place: 0 wherever `y`, what it gave, is not above 0.
pub fn relu_backward<E: GpuApi>(engine: &E, y: View, gradient: View) -> Result<(), Error> {
    gradient.holds("a gradient", y.len())?;
    // SAFETY: sizes were checked.
    unsafe { launch::relu_backward(engine, y.len(), y.len(), y, gradient) }
}
