//! Adam on all parameters of all cells at once.

use super::launcher::kernels;
use crate::gpu::api::{GpuApi, View};
use crate::train::Error;

kernels! { "adam":
    adam(
        numbers: usize, value: View, moment1: View, moment2: View, gradient: View, lr: f32, beta1: f32, beta2: f32,
        eps: f32, correction1: f32, correction2: f32, decay: f32,
    );
}

/// Adam's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Guard against division by zero.
    pub eps: f64,
    /// L2 penalty, added to the gradient.
    pub decay: f64,
}

/// Parameters of any shape, one behind the other, with what Adam keeps of them.
#[derive(Clone, Copy, Debug)]
pub struct Learned<'a> {
    /// Values.
    pub value: View<'a>,
    /// First moments.
    pub moment1: View<'a>,
    /// Second moments.
    pub moment2: View<'a>,
    /// Gradients.
    pub gradient: View<'a>,
}

/// Step `t` (from 1) of Adam. Its numbers are rounded to f32 before anything is computed of them, as dfdx does.
pub fn adam<E: GpuApi>(engine: &E, adam: &Adam, t: i32, learned: &Learned) -> Result<(), Error> {
    let Learned { value, moment1, moment2, gradient } = *learned;
    let n = value.len();
    for (what, view) in [("the first moment", moment1), ("the second moment", moment2), ("the gradient", gradient)] {
        view.holds(what, n)?;
    }
    let (beta1, beta2) = (adam.beta1 as f32, adam.beta2 as f32);
    let correction = |beta: f32| (1.0 - beta.powi(t)).recip();
    let [lr, eps, decay] = [adam.lr, adam.eps, adam.decay].map(|number| number as f32);
    // SAFETY: sizes were checked.
    unsafe {
        launch::adam(
            engine,
            n,
            n,
            value,
            moment1,
            moment2,
            gradient,
            lr,
            beta1,
            beta2,
            eps,
            correction(beta1),
            correction(beta2),
            decay,
        )
    }
}
