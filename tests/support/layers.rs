//! Layers on the CPU with the gradients of a given one of their output: the fused forms, and dfdx's.

use super::numbers::matrix;
use compute::buffer_pool::Scratch;
use compute::nn::lstm::Precision;
use compute::nn::packed_param::Rows;
use compute::nn::{InputBatch, PackedParam, ParamState, linear, lstm};
use dfdx::prelude::*;
use unmute::model::Matrix;
use unmute::model::generator::lstm::Lstm;
use unmute::model::generator::{Forward, Params};
use unmute::model::tensor::affine;

/// A trained matrix of so many rows.
pub fn packed(values: &[f32], rows: usize) -> PackedParam {
    PackedParam::new(ParamState::fresh(values.to_vec()), rows, values.len() / rows)
}

/// What goes to an LSTM's gates.
pub fn of_gates(values: &[f32], rows: usize) -> PackedParam {
    PackedParam::of_gates(ParamState::fresh(values.to_vec()), rows, values.len() / rows / 4)
}

/// Numbers as layers take them.
pub fn scratch(numbers: &[f32]) -> Scratch {
    Scratch::repeat(numbers, 1)
}

/// h_T and the gradients of W, U and b, from that of h_T.
pub fn fused_lstm(
    x: &InputBatch,
    steps: usize,
    params: [&PackedParam; 3],
    dh: impl Fn(&[f32]) -> Vec<f32>,
) -> [Vec<f32>; 4] {
    lstm_in(Precision::F32, x, steps, params, dh)
}

/// [`fused_lstm`] with products of this precision.
pub fn lstm_in(
    precision: Precision,
    x: &InputBatch,
    steps: usize,
    params: [&PackedParam; 3],
    dh: impl Fn(&[f32]) -> Vec<f32>,
) -> [Vec<f32>; 4] {
    let pass = lstm::forward(x, steps, params, Some(precision));
    let h = pass.last_state().to_vec();
    pass.backward(scratch(&dh(&h)), x, params);
    let [dw, du, db] = params.map(PackedParam::take_gradient);
    [h, dw, du, db]
}

/// The same in dfdx's operations, of every row of x.
pub fn composite_lstm(x: &[f32], steps: usize, params: [&[f32]; 3], hidden: usize, dh: &[f32]) -> [Vec<f32>; 4] {
    let [w, u, b] = params.map(|p| matrix(p.to_vec(), p.len() / 4 / hidden, 4 * hidden));
    let named = [("lstm.w", &w), ("lstm.u", &u), ("lstm.b", &b)];
    let params = Params(named.map(|(name, matrix)| (name.to_string(), matrix.clone())).into());
    let (batch, width) = (dh.len() / hidden, w.shape().0);
    let x = matrix(x.to_vec(), steps * batch, width);
    let (h, _) = Lstm { hidden, ..Lstm::default() }.trunk(&params, x.leaky_trace(), steps).unwrap();
    let values = h.as_vec();
    let grads = (h * matrix(dh.to_vec(), batch, hidden)).sum::<Rank0, _>().backward();
    [values, grads.get(&w).as_vec(), grads.get(&u).as_vec(), grads.get(&b).as_vec()]
}

/// y = x W + b of a network's input and the gradients of W and b, from that of y.
pub fn fused_of_input(
    x: &InputBatch,
    w: &PackedParam,
    b: &PackedParam,
    dy: impl Fn(&[f32]) -> Vec<f32>,
) -> [Vec<f32>; 3] {
    let width = w.shape().1;
    let y = x.repeat_rows(linear::forward(&x.numbers, w, b, [x.distinct(), width]), width).to_vec();
    linear::backward(Rows::Shared(x.numbers.clone()), x.sum_rows(&dy(&y), width), w, b);
    [y, w.take_gradient(), b.take_gradient()]
}

/// y = x W + b and the gradient of x, from that of y; those of W and b are added to what is there.
pub fn fused_affine(x: &[f32], w: &PackedParam, b: &PackedParam, dy: &[f32]) -> [Vec<f32>; 2] {
    let ((from, to), rows) = (w.shape(), dy.len() / w.shape().1);
    let y = linear::forward(x, w, b, [rows, to]).to_vec();
    linear::backward(Rows::all(scratch(x)), linear::packed(dy, to), w, b);
    // It is added to what is there.
    let mut dx = vec![1.0; rows * from];
    linear::backward_input(dy, w, &mut dx);
    dx.iter_mut().for_each(|dx| *dx -= 1.0);
    [y, dx]
}

/// y = x W + b and the gradients of x, W and b in dfdx's operations.
pub fn composite_affine(x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> [Vec<f32>; 4] {
    let to = b.len();
    let (from, rows) = (w.len() / to, dy.len() / to);
    let (x, w, b) = (matrix(x.to_vec(), rows, from), matrix(w.to_vec(), from, to), matrix(b.to_vec(), 1, to));
    let y: Matrix<Cpu, OwnedTape<f32, Cpu>> = affine(x.leaky_trace(), &w, &b).unwrap();
    let values = y.as_vec();
    let grads = (y * matrix(dy.to_vec(), rows, to)).sum::<Rank0, _>().backward();
    [values, grads.get(&x).as_vec(), grads.get(&w).as_vec(), grads.get(&b).as_vec()]
}
