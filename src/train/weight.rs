//! Trained matrices: values, the gradient of the last backward pass, and Adam's moments.
//!
//! [`OnTape`] keeps values in a dfdx tensor and updates them with dfdx's own Adam: any device, and the reference that
//! [`InPlace`] is tested against. dfdx does not show a tensor's numbers to other code, so on the CPU that costs a copy of
//! every parameter in each direction, a cleared gradient, and an update on one thread. [`InPlace`] keeps numbers that
//! products read and write where they lie, and takes Adam's step in one vectorised pass on all threads.

use super::device::{Backend, Buffer, Matrix, matrix, numbers};
use super::error::Error;
use crate::product::{Mat, Packed};
use crate::simd;
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::prelude::*;
use rayon::prelude::*;
use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

/// What training keeps of a matrix, as plain numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Values.
    pub value: Vec<f32>,
    /// Adam's first moment.
    pub moment1: Vec<f32>,
    /// Adam's second moment.
    pub moment2: Vec<f32>,
}

impl State {
    /// Fresh values with moments of zero.
    pub fn fresh(value: Vec<f32>) -> State {
        let zeros = vec![0.0; value.len()];
        State { moment1: zeros.clone(), moment2: zeros, value }
    }
}

/// A matrix that is trained on a device.
pub trait Weight<D: Backend>: Sized {
    /// Row-major numbers; vectors are (1, n).
    fn new(device: &D, state: State, rows: usize, cols: usize) -> Result<Self, Error>;

    /// (rows, columns).
    fn shape(&self) -> (usize, usize);

    /// Its numbers.
    fn state(&self) -> Result<State, Error>;

    /// dL/dW of the backward passes since the last update; zeros where the loss did not reach it. The next backward pass
    /// begins anew.
    fn take_gradient(&self, grads: &mut Gradients<f32, D>) -> Result<Vec<f32>, Error>;

    /// One step of Adam (Kingma and Ba; bias-corrected), the `step`-th, from 1.
    fn update(&mut self, adam: &AdamConfig, step: i32, grads: &mut Gradients<f32, D>) -> Result<(), Error>;
}

/// Values in a dfdx tensor.
pub struct OnTape<D: Backend> {
    /// What operations of dfdx take.
    pub value: Matrix<D>,
    moment1: Buffer<D>,
    moment2: Buffer<D>,
}

impl<D: Backend> Weight<D> for OnTape<D> {
    fn new(device: &D, state: State, rows: usize, cols: usize) -> Result<Self, Error> {
        let value = matrix(device, &state.value, rows, cols)?;
        Ok(OnTape { value, moment1: device.to_device(state.moment1)?, moment2: device.to_device(state.moment2)? })
    }

    fn shape(&self) -> (usize, usize) {
        *self.value.shape()
    }

    fn state(&self) -> Result<State, Error> {
        let device = self.value.device();
        let [moment1, moment2] = [&self.moment1, &self.moment2].map(|m| device.to_host(m));
        Ok(State { value: numbers(&self.value).to_vec(), moment1: moment1?, moment2: moment2? })
    }

    fn take_gradient(&self, grads: &mut Gradients<f32, D>) -> Result<Vec<f32>, Error> {
        let buffer = grads.get_or_alloc_mut(&self.value).map_err(Error::device)?;
        self.value.device().to_host(buffer)
    }

    fn update(&mut self, adam: &AdamConfig, step: i32, grads: &mut Gradients<f32, D>) -> Result<(), Error> {
        let grad = grads.get_or_alloc_mut(&self.value).map_err(Error::device)?;
        adam.try_update(step, &mut self.value, &mut self.moment1, &mut self.moment2, grad).map_err(Error::device)
    }
}

/// Values, gradient and moments on the CPU, laid out as products read them: a forward pass packs nothing. Clones are the same
/// matrix: an operation on the tape keeps one for its backward pass.
#[derive(Clone)]
pub struct InPlace(Rc<RefCell<Numbers>>);

struct Numbers {
    value: Packed,
    moment1: Packed,
    moment2: Packed,
    /// None until the first backward pass.
    gradient: Option<Packed>,
    /// Whether a backward pass has written the gradient since the last update.
    reached: bool,
}

impl Numbers {
    fn gradient(&mut self) -> &mut Packed {
        let (rows, cols) = (self.value.rows(), self.value.columns());
        self.gradient.get_or_insert_with(|| Packed::zeros(rows, cols))
    }
}

impl InPlace {
    /// The values.
    pub fn value(&self) -> Ref<'_, Packed> {
        Ref::map(self.0.borrow(), |n| &n.value)
    }

    /// Where a backward pass puts the gradient, and whether it has to add to what is there; if not, the numbers there mean
    /// nothing.
    pub(super) fn gradient(&self) -> (RefMut<'_, Packed>, bool) {
        let mut numbers = self.0.borrow_mut();
        let add = std::mem::replace(&mut numbers.reached, true);
        (RefMut::map(numbers, Numbers::gradient), add)
    }
}

/// Numbers that one task updates.
const CHUNK: usize = 1 << 14;

impl Weight<Cpu> for InPlace {
    fn new(_: &Cpu, state: State, rows: usize, cols: usize) -> Result<Self, Error> {
        let [value, moment1, moment2] =
            [state.value, state.moment1, state.moment2].map(|numbers| Packed::new(Mat::new(&numbers, rows, cols)));
        Ok(InPlace(Rc::new(RefCell::new(Numbers { value, moment1, moment2, gradient: None, reached: false }))))
    }

    fn shape(&self) -> (usize, usize) {
        let numbers = self.0.borrow();
        (numbers.value.rows(), numbers.value.columns())
    }

    fn state(&self) -> Result<State, Error> {
        let numbers = self.0.borrow();
        let [value, moment1, moment2] = [&numbers.value, &numbers.moment1, &numbers.moment2].map(Packed::to_rows);
        Ok(State { value, moment1, moment2 })
    }

    fn take_gradient(&self, _: &mut Gradients<f32, Cpu>) -> Result<Vec<f32>, Error> {
        let mut numbers = self.0.borrow_mut();
        let reached = std::mem::replace(&mut numbers.reached, false);
        let (rows, cols) = (numbers.value.rows(), numbers.value.columns());
        Ok(if reached { numbers.gradient().to_rows() } else { vec![0.0; rows * cols] })
    }

    fn update(&mut self, adam: &AdamConfig, step: i32, _: &mut Gradients<f32, Cpu>) -> Result<(), Error> {
        let mut numbers = self.0.borrow_mut();
        let reached = std::mem::replace(&mut numbers.reached, false);
        if !reached {
            numbers.gradient().numbers_mut().fill(0.0);
        }
        let Numbers { value, moment1, moment2, gradient: Some(gradient), .. } = &mut *numbers else { return Ok(()) };
        let adam = Adam::new(adam, step);
        let chunks = value.numbers_mut().par_chunks_mut(CHUNK).zip(gradient.numbers().par_chunks(CHUNK));
        let moments = moment1.numbers_mut().par_chunks_mut(CHUNK).zip(moment2.numbers_mut().par_chunks_mut(CHUNK));
        chunks.zip(moments).for_each(|((p, g), (m, v))| adam.update(p, g, m, v));
        Ok(())
    }
}

/// The constants of one step of Adam.
struct Adam {
    lr: f32,
    betas: [f32; 2],
    /// 1 / (1 - beta^t).
    corrections: [f32; 2],
    eps: f32,
    /// Weight decay that enters the gradient, and that which does not, times the rate.
    decay: [f32; 2],
}

impl Adam {
    fn new(config: &AdamConfig, step: i32) -> Adam {
        let betas = config.betas.map(|b| b as f32);
        let decay = match config.weight_decay {
            Some(WeightDecay::L2(decay)) => [decay as f32, 0.0],
            Some(WeightDecay::Decoupled(decay)) => [0.0, (decay * config.lr) as f32],
            None => [0.0, 0.0],
        };
        let corrections = betas.map(|b| (1.0 - b.powi(step)).recip());
        Adam { lr: config.lr as f32, betas, corrections, eps: config.eps as f32, decay }
    }

    /// m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p -= lr m' / (sqrt(v') + eps), with m' and v' corrected for their
    /// start at zero, and with the decays. In the order of dfdx's kernel, so that both give the same bits.
    fn update(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let ([b1, b2], [c1, c2], [into, beside]) = (self.betas, self.corrections, self.decay);
        simd::vectorise(
            #[inline(always)]
            || {
                for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v.iter_mut())) {
                    let g = g + into * *p;
                    *m = *m * b1 + g * (1.0 - b1);
                    *v = *v * b2 + g * g * (1.0 - b2);
                    *p -= self.lr * (*m * c1) / ((*v * c2).sqrt() + self.eps) + beside * *p;
                }
            },
        );
    }
}
