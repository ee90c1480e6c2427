//! A trained matrix: its values, the gradient of the backward passes since the last update, and Adam's moments.
//!
//! The numbers lie packed, as products read them, so a forward pass packs nothing. The gradient dW = x^T dy is never made as a
//! whole: its factors are kept, and Adam consumes the product tile by tile while a tile is in the cache.

use super::adam::{Adam, AdamConfig};
use super::lstm_cell::gate_column;
use crate::buffer_pool::Scratch;
use crate::matmul::bf16::Pairs;
use crate::matmul::{Factors, Mat, Packed};
use std::cell::{Ref, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// What training keeps of a matrix, as plain numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamState {
    /// Values.
    pub value: Vec<f32>,
    /// Adam's first moment.
    pub moment1: Vec<f32>,
    /// Adam's second moment.
    pub moment2: Vec<f32>,
}

impl ParamState {
    /// Fresh values with moments of zero.
    pub fn fresh(value: Vec<f32>) -> ParamState {
        let zeros = vec![0.0; value.len()];
        ParamState { moment1: zeros.clone(), moment2: zeros, value }
    }
}

/// A trained matrix. Clones are the same matrix: an operation keeps one for its backward pass.
#[derive(Clone)]
pub struct PackedParam(Rc<RefCell<Numbers>>);

struct Numbers {
    value: Packed,
    moment1: Packed,
    moment2: Packed,
    /// Units of an LSTM whose gates the columns go to, and lie as [`gate_column`] says.
    hidden: Option<usize>,
    /// The gradient of the backward passes since the last update, their sum.
    gradient: Vec<GradFactors>,
    /// Whether a backward pass has ever reached it.
    reached: bool,
}

/// The factors of a gradient x^T dy: x (K, rows), row-major, and dy (K, columns), its columns in the order of the parameter's.
pub enum GradFactors {
    /// As they are.
    Whole {
        /// x.
        x: Rows,
        /// dy.
        dy: Rc<Packed>,
    },
    /// Rounded.
    Rounded {
        /// x, [two rows together](Pairs::across).
        x: Pairs,
        /// dy.
        dy: Rc<Packed<u32>>,
    },
}

/// Numbers, row after row.
pub enum Rows {
    /// Those of a network's input.
    Shared(Arc<Vec<f32>>),
    /// Some of the numbers that a forward pass has made.
    Made(Scratch, Range<usize>),
}

impl Rows {
    /// All of them.
    pub fn all(made: Scratch) -> Rows {
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
    fn new(state: ParamState, rows: usize, cols: usize, hidden: Option<usize>) -> Numbers {
        let [value, moment1, moment2] = [state.value, state.moment1, state.moment2].map(|numbers| {
            let numbers = match hidden {
                Some(hidden) => reordered(&numbers, cols, |column| (gate_column(column, hidden), column)),
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
            Some(hidden) => reordered(&numbers, packed.columns(), |column| (column, gate_column(column, hidden))),
            None => numbers,
        }
    }
}

/// The numbers with their columns in another order: `places` says of each column where one goes and where that comes from.
fn reordered(numbers: &[f32], cols: usize, places: impl Fn(usize) -> (usize, usize)) -> Vec<f32> {
    let places: Vec<(usize, usize)> = (0..cols).map(places).collect();
    let mut moved = vec![0.0; numbers.len()];
    for (to, from) in moved.chunks_exact_mut(cols.max(1)).zip(numbers.chunks_exact(cols.max(1))) {
        places.iter().for_each(|(at, of)| to[*at] = from[*of]);
    }
    moved
}

/// The sum of gradients, piece by piece; see [`Packed::transposed_products`].
fn sum<const N: usize>(gradient: &[GradFactors], of: [&mut Packed; N], with: impl Fn([&mut [f32]; N], &[f32]) + Sync) {
    let factors = gradient.iter().map(|factors| match factors {
        GradFactors::Whole { x, dy } => Factors::Whole(x.numbers(), dy),
        GradFactors::Rounded { x, dy } => Factors::Rounded(x, dy),
    });
    Packed::transposed_products(&factors.collect::<Vec<_>>(), of, with);
}

impl PackedParam {
    /// The values.
    pub fn value(&self) -> Ref<'_, Packed> {
        Ref::map(self.0.borrow(), |n| &n.value)
    }

    /// Whether its columns go to an LSTM's gates and lie as [`gate_column`] has them.
    pub(super) fn is_of_gates(&self) -> bool {
        self.0.borrow().hidden.is_some()
    }

    /// Adds to the gradient, as a backward pass does.
    pub fn accumulate(&self, gradient: GradFactors) {
        let mut numbers = self.0.borrow_mut();
        numbers.gradient.push(gradient);
        numbers.reached = true;
    }

    /// From row-major numbers; vectors are (1, n).
    pub fn new(state: ParamState, rows: usize, cols: usize) -> Self {
        PackedParam(Rc::new(RefCell::new(Numbers::new(state, rows, cols, None))))
    }

    /// [`PackedParam::new`] of what goes to the gates of an LSTM, (rows, 4 `hidden`): i, f, g, o. Its columns lie as
    /// [`gate_column`] says, which nobody outside sees.
    pub fn of_gates(state: ParamState, rows: usize, hidden: usize) -> Self {
        PackedParam(Rc::new(RefCell::new(Numbers::new(state, rows, 4 * hidden, Some(hidden)))))
    }

    /// Takes other numbers, row-major, of the same shape.
    pub fn restore(&mut self, state: ParamState) {
        let ((rows, cols), hidden) = (self.shape(), self.0.borrow().hidden);
        *self = PackedParam(Rc::new(RefCell::new(Numbers::new(state, rows, cols, hidden))));
    }

    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        self.0.borrow().value.shape()
    }

    /// Its numbers, row-major.
    pub fn state(&self) -> ParamState {
        let numbers = self.0.borrow();
        let [value, moment1, moment2] =
            [&numbers.value, &numbers.moment1, &numbers.moment2].map(|packed| numbers.to_rows(packed));
        ParamState { value, moment1, moment2 }
    }

    /// dL/dW of the backward passes since the last update, row-major; zeros where the loss did not reach it. The next
    /// backward pass begins anew.
    pub fn take_gradient(&self) -> Vec<f32> {
        let gradient = std::mem::take(&mut self.0.borrow_mut().gradient);
        let (rows, cols) = self.shape();
        let mut all = Packed::zeros(rows, cols);
        sum(&gradient, [&mut all], |[all], piece| all.copy_from_slice(piece));
        self.0.borrow().to_rows(&all)
    }

    /// One step of Adam, the `step`-th, from 1. A parameter that no loss has ever reached keeps its values.
    pub fn update(&mut self, adam: &AdamConfig, step: i32) {
        let mut numbers = self.0.borrow_mut();
        if !numbers.reached {
            return;
        }
        let gradient = std::mem::take(&mut numbers.gradient);
        let Numbers { value, moment1, moment2, .. } = &mut *numbers;
        let adam = Adam::new(adam, step);
        sum(&gradient, [value, moment1, moment2], |[p, m, v], g| adam.update(p, g, m, v));
    }
}
