//! The fused operations, run by the host's engine, against the CPU's fused and dfdx's composite forms.

use super::host::{self, Host};
use crate::support::numbers::{assert_close, matrix, normal, wide};
use dfdx::optim::AdamConfig;
use dfdx::prelude::*;
use std::sync::Arc;
use unmute::gpu::engine::Buffer;
use unmute::gpu::lstm::{self, Shape, Trace};
use unmute::gpu::tape;
use unmute::gpu::weight::OnEngine;
use unmute::train::params::adam;
use unmute::train::weight::{InPlace, OnTape, State, Weight};
use unmute::train::{Host as Input, affine};

/// Relative to the largest number.
const TOLERANCE: f64 = 1e-5;

type Tape = OwnedTape<f32, Cpu>;

fn weight<W: Weight<Cpu>>(name: &str, rows: usize, cols: usize) -> W {
    let scale = 1.0 / (rows.max(cols) as f64).sqrt();
    W::new(&Cpu::default(), State::fresh(normal(rows * cols, scale, name)), rows, cols).unwrap()
}

/// What goes to an LSTM's gates.
fn of_gates<W: Weight<Cpu>>(name: &str, rows: usize, hidden: usize) -> W {
    let plain: OnTape<Cpu> = weight(name, rows, 4 * hidden);
    W::of_gates(&Cpu::default(), plain.state().unwrap(), rows, hidden).unwrap()
}

fn input(rows: usize, cols: usize, seed: usize) -> Input {
    Input::all(Arc::new(normal(rows * cols, 1.0, &format!("x/{seed}"))), rows)
}

/// Of the sum of out times given numbers: every element has a gradient of its own.
fn backward(out: Matrix<Tape>, seed: usize) -> (Vec<f32>, Gradients<f32, Cpu>) {
    let (rows, cols) = *out.shape();
    let values = out.as_vec();
    let by = matrix(normal(rows * cols, 1.0, &format!("dy/{seed}")), rows, cols);
    (values, (out * by).sum().backward())
}

type Matrix<T = NoneTape> = unmute::train::Matrix<Cpu, T>;

/// (T, B, D, H).
const SIZES: [[usize; 4]; 4] = [[5, 7, 13, 10], [1, 3, 4, 5], [18, 16, 40, 32], [3, 1, 2, 1]];

#[test]
fn the_lstm_agrees_with_the_cpu_and_with_dfdx() {
    if host::engine().is_none() {
        return;
    }
    let device = Cpu::default();
    for [steps, batch, d, hidden] in SIZES {
        // The last two of the rows are the first again.
        let mut x = input((steps * batch).saturating_sub(2).max(1), d, 0);
        let distinct = x.rows;
        let places = (0..steps * batch).map(|row| (row % distinct) as u32);
        (x.places, x.rows) = (Some(Arc::new(places.collect())), steps * batch);
        let sizes = [("w", d, hidden), ("u", hidden, hidden), ("b", 1, hidden)];
        fn all<W: Weight<Cpu>>(sizes: [(&str, usize, usize); 3]) -> [W; 3] {
            sizes.map(|(name, rows, hidden)| of_gates(name, rows, hidden))
        }
        let ours: [OnEngine<Host>; 3] = all(sizes);
        let (h, mut grads) = backward(tape::lstm(&device, &x, Tape::default(), steps, ours.each_ref()).unwrap(), 0);
        let our_grads = ours.each_ref().map(|w| Weight::<Cpu>::take_gradient(w, &mut grads).unwrap());

        let fused: [InPlace; 3] = all(sizes);
        let out = unmute::train::lstm::fused(&device, &x, Tape::default(), steps, fused.each_ref()).unwrap();
        let (want, mut grads) = backward(out, 0);
        assert_close("h", &h, &wide(&want), TOLERANCE);
        for (i, w) in fused.iter().enumerate() {
            let want = w.take_gradient(&mut grads).unwrap();
            assert_close(&format!("d{} of {steps} steps", sizes[i].0), &our_grads[i], &wide(&want), TOLERANCE);
        }

        let plain: [OnTape<Cpu>; 3] = all(sizes);
        let on = x.to(&device).unwrap().put_tape(Tape::default());
        let out = unmute::train::lstm::composite(on, steps, plain.each_ref().map(|w| &w.value)).unwrap();
        let (want, mut grads) = backward(out, 0);
        assert_close("h by dfdx", &h, &wide(&want), TOLERANCE);
        for (i, w) in plain.iter().enumerate() {
            let want = w.take_gradient(&mut grads).unwrap();
            assert_close(&format!("d{} by dfdx", sizes[i].0), &our_grads[i], &wide(&want), TOLERANCE);
        }
    }
}

/// h_T, dW, dU and db of cells `from..to`, which have weights and dh of their own and share x.
fn cells(engine: &Host, [steps, batch, d, hidden]: [usize; 4], from: usize, to: usize) -> Vec<[Vec<f32>; 4]> {
    let cells = to - from;
    let numbers = |n: usize, name: &str| -> Vec<f32> {
        (from..to).flat_map(|cell| normal(n, 0.3, &format!("{name} of cell {cell}"))).collect()
    };
    let (wide, one) = (4 * hidden, batch * hidden);
    let of = |n: usize, name: &str| Buffer::<Host>::of(engine, &numbers(n, name)).unwrap();
    let (w, u, b) = (of(d * wide, "w"), of(hidden * wide, "u"), of(wide, "b"));
    let [dw, du, db] = [d * wide, hidden * wide, wide].map(|n| Buffer::<Host>::zeros(engine, cells * n).unwrap());
    let dh = of(one, "dh");
    let x = Buffer::<Host>::of(engine, &input(steps * batch, d, 1).numbers).unwrap();
    let trace = Trace::new(engine, Shape { cells, steps, batch, input: d, hidden }).unwrap();
    lstm::forward(engine, x.all(), [w.all(), u.all(), b.all()], &trace).unwrap();
    let h: Vec<Vec<f32>> = (0..cells).map(|cell| trace.last(cell).unwrap().read(engine).unwrap()).collect();
    lstm::backward(engine, x.all(), u.all(), trace, dh.all(), [dw.all(), du.all(), db.all()], false).unwrap();
    let part = |buffer: &Buffer<Host>, cell: usize| {
        let n = buffer.all().len() / cells;
        buffer.all().part(cell * n, n).unwrap().read(engine).unwrap()
    };
    (0..cells).map(|cell| [h[cell].clone(), part(&dw, cell), part(&du, cell), part(&db, cell)]).collect()
}

#[test]
fn a_cells_numbers_do_not_depend_on_its_company() {
    let Some(engine) = host::engine() else { return };
    for sizes in SIZES {
        let together = cells(&engine, sizes, 0, 5);
        for (cell, ours) in together.iter().enumerate() {
            let alone = cells(&engine, sizes, cell, cell + 1);
            assert!(*ours == alone[0], "cell {cell} of {sizes:?}");
        }
        let pair = cells(&engine, sizes, 1, 3);
        assert!(together[1] == pair[0] && together[2] == pair[1], "{sizes:?}");
        assert!(together[0] != together[1]);
    }
}

#[test]
fn the_affine_map_agrees_with_the_cpu_and_two_passes_add_up() {
    if host::engine().is_none() {
        return;
    }
    let (device, n, d, e) = (Cpu::default(), 9, 11, 6);
    let x = matrix(normal(n * d, 1.0, "x"), n, d);
    let (ours_w, ours_b): (OnEngine<Host>, OnEngine<Host>) = (weight("w", d, e), weight("b", 1, e));
    let (w, b): (InPlace, InPlace) = (weight("w", d, e), weight("b", 1, e));
    for pass in 0..2 {
        let (y, mut ours) = backward(tape::affine(x.retaped::<Tape>(), &ours_w, &ours_b, true).unwrap(), pass);
        let (want, mut theirs) = backward(affine::fused(x.retaped::<Tape>(), &w, &b, true).unwrap(), pass);
        assert_close("y", &y, &wide(&want), TOLERANCE);
        assert_close("dx", &ours.get(&x).as_vec(), &wide(&theirs.get(&x).as_vec()), TOLERANCE);
        // Two passes before the gradients are taken.
        if pass == 1 {
            for (ours_w, w) in [(&ours_w, &w), (&ours_b, &b)] {
                let want = w.take_gradient(&mut theirs).unwrap();
                let got = Weight::<Cpu>::take_gradient(ours_w, &mut ours).unwrap();
                assert_close("dw of two passes", &got, &wide(&want), TOLERANCE);
            }
        }
    }
    let host = Input::all(Arc::new(x.as_vec()), n);
    let of_input = tape::affine_of_input(&device, &host, NoneTape, &ours_w, &ours_b).unwrap();
    let plain = tape::affine(x, &ours_w, &ours_b, false).unwrap();
    assert_eq!(of_input.as_vec(), plain.as_vec());
}

/// An LSTM with a head, trained for a few steps on random batches: losses, and the head's weights at the end.
fn train<W: Weight<Cpu>>(
    lstm: impl Fn(&Input, [&W; 3]) -> Matrix<Tape>,
    head: impl Fn(Matrix<Tape>, &W, &W) -> Matrix<Tape>,
    config: &AdamConfig,
) -> (Vec<f32>, Vec<f32>) {
    let (steps, batch, d, hidden, width) = (6, 8, 12, 16, 5);
    let mut lstm_weights = [("w", d), ("u", hidden), ("b", 1)].map(|(name, rows)| of_gates::<W>(name, rows, hidden));
    let mut head_weights: [W; 2] = [weight("hw", hidden, width), weight("hb", 1, width)];
    let mut losses = Vec::new();
    for step in 1..=25 {
        let x = input(steps * batch, d, step % 4);
        let target = matrix(normal(batch * width, 1.0, &format!("t/{}", step % 4)), batch, width);
        let h = lstm(&x, lstm_weights.each_ref());
        let loss = (head(h, &head_weights[0], &head_weights[1]) - target).square().mean();
        losses.push(loss.array());
        let mut grads = loss.backward();
        for w in lstm_weights.iter_mut().chain(&mut head_weights) {
            w.update(config, step as i32, &mut grads).unwrap();
        }
    }
    (losses, head_weights[0].state().unwrap().value)
}

#[test]
fn a_training_follows_the_cpus() {
    if host::engine().is_none() {
        return;
    }
    let (device, steps) = (Cpu::default(), 6);
    let config = adam(&unmute::experiment::config::Train { lr: 0.01, ..Default::default() });
    let (ours, our_head) = train::<OnEngine<Host>>(
        |x, w| tape::lstm(&device, x, Tape::default(), steps, w).unwrap(),
        |h, w, b| tape::affine(h, w, b, true).unwrap(),
        &config,
    );
    let (theirs, their_head) = train::<InPlace>(
        |x, w| unmute::train::lstm::fused(&device, x, Tape::default(), steps, w).unwrap(),
        |h, w, b| affine::fused(h, w, b, true).unwrap(),
        &config,
    );
    assert_close("losses", &ours, &wide(&theirs), 1e-4);
    assert_close("weights of the head", &our_head, &wide(&their_head), 1e-3);
    assert!(ours[24] < 0.8 * ours[0], "it learns: {ours:?}");
}

#[test]
fn a_matrix_on_an_engine_is_saved_and_put_back() {
    if host::engine().is_none() {
        return;
    }
    let device = Cpu::default();
    let state = State { value: vec![1.0, -2.0], moment1: vec![0.5, 0.25], moment2: vec![1e-30, 4.0] };
    let put = <OnEngine<Host> as Weight<Cpu>>::new(&device, state.clone(), 2, 1).unwrap();
    assert_eq!(Weight::<Cpu>::state(&put).unwrap(), state);
    assert_eq!(Weight::<Cpu>::shape(&put), (2, 1));
    assert_eq!(Weight::<Cpu>::take_gradient(&put, &mut Gradients::leaky()).unwrap(), [0.0, 0.0]);
}
