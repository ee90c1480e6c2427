//! Trained matrices: values, the gradient of the backward passes since the last update, and Adam's moments.
//!
//! [`OnTape`] keeps values in a dfdx tensor and updates them with dfdx's own Adam: any device, and the reference that
//! [`InPlace`] is tested against. dfdx does not show a tensor's numbers to other code, so on the CPU that costs a copy of
//! every parameter in each direction, a cleared gradient, and an update on one thread. [`InPlace`] keeps numbers that
//! products read where they lie. Its gradient is a product that is made when Adam takes its step, a piece at a time: a
//! piece is used while it is in the cache, and the whole never lies anywhere.

use super::device::{Backend, Buffer, Matrix, matrix, numbers};
use super::error::Error;
use super::gates;
use compute::buffer_pool::Scratch;
use compute::matmul::{Mat, Packed};
use compute::simd;
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::prelude::*;
use std::cell::{Ref, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

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

    /// [`Weight::new`] of what goes to the gates of an LSTM, (rows, 4 `hidden`): i, f, g, o. A device may keep the columns in
    /// another order, which nobody else sees.
    fn of_gates(device: &D, state: State, rows: usize, hidden: usize) -> Result<Self, Error> {
        Self::new(device, state, rows, 4 * hidden)
    }

    /// Takes other numbers, row-major, of the same shape.
    fn restore(&mut self, device: &D, state: State) -> Result<(), Error> {
        let (rows, cols) = self.shape();
        *self = Self::new(device, state, rows, cols)?;
        Ok(())
    }

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

/// Values and moments on the CPU, laid out as products read them: a forward pass packs nothing. Clones are the same matrix:
/// an operation on the tape keeps one for its backward pass.
#[derive(Clone)]
pub struct InPlace(Rc<RefCell<Numbers>>);

struct Numbers {
    value: Packed,
    moment1: Packed,
    moment2: Packed,
    /// Units of an LSTM whose gates the columns go to, and lie as [`gates::place`] says.
    hidden: Option<usize>,
    /// The gradient of the backward passes since the last update, their sum.
    gradient: Vec<Outer>,
    /// Whether a backward pass has ever reached it.
    reached: bool,
}

/// A gradient x^T dy: x (K, rows), row-major, and dy (K, columns).
pub(super) struct Outer {
    /// x.
    pub(super) x: Rows,
    /// dy, its columns in the order of the parameter's.
    pub(super) dy: Rc<Packed>,
}

/// Numbers, row after row.
pub(super) enum Rows {
    /// Those of a network's input.
    Shared(Arc<Vec<f32>>),
    /// Some of the numbers that a forward pass has made.
    Made(Scratch, Range<usize>),
}

impl Rows {
    /// All of them.
    pub(super) fn all(made: Scratch) -> Rows {
        let len = made.len();
        Rows::Made(made, 0..len)
    }

    fn numbers(&self) -> &[f32] {
        match self {
            Rows::Shared(numbers) => numbers,
            Rows::Made(numbers, range) => &numbers[range.clone()],
        }
    }
}

impl Numbers {
    fn new(state: State, rows: usize, cols: usize, hidden: Option<usize>) -> Numbers {
        let [value, moment1, moment2] = [state.value, state.moment1, state.moment2].map(|numbers| {
            let numbers = match hidden {
                Some(hidden) => moved(&numbers, cols, |column| (gates::place(column, hidden), column)),
                None => numbers,
            };
            Packed::new(Mat::new(&numbers, rows, cols))
        });
        Numbers { value, moment1, moment2, hidden, gradient: Vec::new(), reached: false }
    }

    /// A matrix of its kind, row after row, its columns in the usual order.
    fn to_rows(&self, packed: &Packed) -> Vec<f32> {
        let numbers = packed.to_rows();
        match self.hidden {
            Some(hidden) => moved(&numbers, packed.columns(), |column| (column, gates::place(column, hidden))),
            None => numbers,
        }
    }
}

/// The numbers with their columns in another order: `places` says of each column where one goes and where that comes from.
fn moved(numbers: &[f32], cols: usize, places: impl Fn(usize) -> (usize, usize)) -> Vec<f32> {
    let places: Vec<(usize, usize)> = (0..cols).map(places).collect();
    let mut moved = vec![0.0; numbers.len()];
    for (to, from) in moved.chunks_exact_mut(cols.max(1)).zip(numbers.chunks_exact(cols.max(1))) {
        places.iter().for_each(|(at, of)| to[*at] = from[*of]);
    }
    moved
}

/// The sum of gradients, piece by piece; see [`Packed::transposed_products`].
fn sum<const N: usize>(gradient: &[Outer], of: [&mut Packed; N], with: impl Fn([&mut [f32]; N], &[f32]) + Sync) {
    let pairs: Vec<(&[f32], &Packed)> = gradient.iter().map(|outer| (outer.x.numbers(), &*outer.dy)).collect();
    Packed::transposed_products(&pairs, of, with);
}

impl InPlace {
    /// The values.
    pub fn value(&self) -> Ref<'_, Packed> {
        Ref::map(self.0.borrow(), |n| &n.value)
    }

    /// Whether its columns go to an LSTM's gates and lie as [`gates::place`] has them.
    pub(super) fn is_of_gates(&self) -> bool {
        self.0.borrow().hidden.is_some()
    }

    /// What a backward pass adds to the gradient.
    pub(super) fn reach(&self, gradient: Outer) {
        let mut numbers = self.0.borrow_mut();
        numbers.gradient.push(gradient);
        numbers.reached = true;
    }
}

impl Weight<Cpu> for InPlace {
    fn new(_: &Cpu, state: State, rows: usize, cols: usize) -> Result<Self, Error> {
        Ok(InPlace(Rc::new(RefCell::new(Numbers::new(state, rows, cols, None)))))
    }

    fn of_gates(_: &Cpu, state: State, rows: usize, hidden: usize) -> Result<Self, Error> {
        Ok(InPlace(Rc::new(RefCell::new(Numbers::new(state, rows, 4 * hidden, Some(hidden))))))
    }

    fn restore(&mut self, _: &Cpu, state: State) -> Result<(), Error> {
        let ((rows, cols), hidden) = (self.shape(), self.0.borrow().hidden);
        *self = InPlace(Rc::new(RefCell::new(Numbers::new(state, rows, cols, hidden))));
        Ok(())
    }

    fn shape(&self) -> (usize, usize) {
        self.0.borrow().value.shape()
    }

    fn state(&self) -> Result<State, Error> {
        let numbers = self.0.borrow();
        let [value, moment1, moment2] =
            [&numbers.value, &numbers.moment1, &numbers.moment2].map(|packed| numbers.to_rows(packed));
        Ok(State { value, moment1, moment2 })
    }

    fn take_gradient(&self, _: &mut Gradients<f32, Cpu>) -> Result<Vec<f32>, Error> {
        let gradient = std::mem::take(&mut self.0.borrow_mut().gradient);
        let (rows, cols) = self.shape();
        let mut all = Packed::zeros(rows, cols);
        sum(&gradient, [&mut all], |[all], piece| all.copy_from_slice(piece));
        Ok(self.0.borrow().to_rows(&all))
    }

    fn update(&mut self, adam: &AdamConfig, step: i32, _: &mut Gradients<f32, Cpu>) -> Result<(), Error> {
        let mut numbers = self.0.borrow_mut();
        if !numbers.reached {
            return Ok(());
        }
        let gradient = std::mem::take(&mut numbers.gradient);
        let Numbers { value, moment1, moment2, .. } = &mut *numbers;
        let adam = Adam::new(adam, step);
        sum(&gradient, [value, moment1, moment2], |[p, m, v], g| adam.update(p, g, m, v));
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
