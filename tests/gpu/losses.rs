//! Losses and ReLU on an engine against plain formulas in f64, finite differences, and dfdx's own.

use super::host::{self, Host};
use crate::support::numbers::{assert_close, matrix, normal, one_hot, wide};
use dfdx::prelude::*;
use unmute::experiment::config::{L2Reduction, Loss};
use unmute::gpu::api::{Buffer, View};
use unmute::gpu::kernels::relu::{relu_backward, relu_forward};
use unmute::gpu::losses::{Generated, Labels};
use unmute::model::loss::{LossSettings, cross_entropy};

/// G, N and numbers of a clip: fewer than a block of columns, as many, and more than one block of blocks.
const SIZES: [[usize; 3]; 4] = [[1, 1, 1], [3, 5, 7], [2, 70, 64], [2, 3, 64 * 64 + 5]];

const TOLERANCE: f64 = 1e-5;

fn of(engine: &Host, numbers: &[f32]) -> Buffer<Host> {
    Buffer::of(engine, numbers).unwrap()
}

fn zeros(engine: &Host, n: usize) -> Buffer<Host> {
    // Whatever is not written shows.
    of(engine, &vec![f32::NAN; n])
}

fn read(engine: &Host, view: View) -> Vec<f32> {
    view.read(engine).unwrap()
}

/// log sum exp in f64.
fn log_sum(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::MIN, f32::max);
    f64::from(most) + row.iter().map(|&x| f64::from(x - most).exp()).sum::<f64>().ln()
}

/// KL(softmax(target) || softmax(output)) of one row.
fn divergence(output: &[f32], target: &[f32]) -> f64 {
    let (q, t) = (log_sum(output), log_sum(target));
    let term = |(o, x): (&f32, &f32)| {
        let log_t = f64::from(*x) - t;
        log_t.exp() * (log_t - (f64::from(*o) - q))
    };
    output.iter().zip(target).map(term).sum()
}

#[test]
fn relu_is_the_greater_of_a_number_and_zero_and_its_gradient_follows() {
    let Some(engine) = host::engine() else { return };
    let x: Vec<f32> = [vec![0.0, 1e-40, -1e-40, f32::MAX], normal(97, 1.0, "relu")].concat();
    let (y, dy) = (of(&engine, &x), normal(x.len(), 1.0, "dy"));
    relu_forward(&*engine, y.all()).unwrap();
    let want: Vec<f32> = x.iter().map(|x| x.max(0.0)).collect();
    assert_eq!(read(&engine, y.all()), want);
    let gradient = of(&engine, &dy);
    relu_backward(&*engine, y.all(), gradient.all()).unwrap();
    let n = x.len();
    let on = matrix(x, 1, n);
    let loss = (on.retaped::<OwnedTape<f32, Cpu>>().relu() * matrix(dy, 1, n)).sum();
    assert_eq!(read(&engine, gradient.all()), loss.backward().get(&on).as_vec());
}

#[test]
fn cross_entropy_and_its_gradient_are_the_formulas() {
    let Some(engine) = host::engine() else { return };
    for [cells, rows, classes] in SIZES {
        let logits = normal(cells * rows * classes, 2.0, "logits");
        // More clips than are looked at: a part of an order.
        let all: Vec<usize> = (0..rows + 3).map(|i| (i * 7 + 1) % classes).collect();
        let labels = Labels::new(&*engine, &all, classes).unwrap();
        let on = of(&engine, &logits);
        let said = labels.of(cells, 2..rows + 2, on.all()).unwrap();
        let label = |row: usize| all[2 + row];
        let row = |cell: usize, row: usize| &logits[(cell * rows + row) * classes..][..classes];
        let (total, hits) = (zeros(&engine, cells), zeros(&engine, cells));
        let sums = said.log_sums(&*engine).unwrap();
        said.losses(&*engine, sums.all(), total.all()).unwrap();
        said.hits(&*engine, hits.all()).unwrap();
        let of_row = |cell, r| log_sum(row(cell, r)) - f64::from(row(cell, r)[label(r)]);
        let want: Vec<f64> = (0..cells).map(|cell| (0..rows).map(|r| of_row(cell, r)).sum()).collect();
        assert_close("losses", &read(&engine, total.all()), &want, TOLERANCE);
        let best = |row: &[f32]| row.iter().enumerate().fold(0, |best, (k, v)| if *v > row[best] { k } else { best });
        let right = |cell| (0..rows).filter(|&r| best(row(cell, r)) == label(r)).count() as f32;
        assert_eq!(read(&engine, hits.all()), (0..cells).map(right).collect::<Vec<f32>>());

        let weights: Vec<f32> = (0..cells).map(|cell| cell as f32 * 0.5).collect();
        let gradient = zeros(&engine, logits.len());
        said.gradient(&*engine, sums.all(), of(&engine, &weights).all(), 0.25, gradient.all()).unwrap();
        let gradient = read(&engine, gradient.all());
        assert!(gradient[..rows * classes].iter().all(|&g| g == 0.0), "weight 0");
        for cell in 0..cells {
            let on = matrix(logits[cell * rows * classes..][..rows * classes].to_vec(), rows, classes);
            let truth: Vec<usize> = (0..rows).map(label).collect();
            let loss = cross_entropy(on.retaped::<OwnedTape<f32, Cpu>>(), one_hot(&truth, classes)).unwrap();
            let theirs = loss.backward().get(&on).as_vec();
            let scale = weights[cell] * 0.25 * rows as f32;
            let theirs: Vec<f64> = theirs.iter().map(|g| f64::from(g * scale)).collect();
            assert_close("gradient", &gradient[cell * rows * classes..][..rows * classes], &theirs, TOLERANCE);
        }
    }
    assert!(Labels::new(&*engine, &[3], 3).is_err());
    let labels = Labels::new(&*engine, &[0, 1], 3).unwrap();
    assert!(labels.of(1, 0..3, zeros(&engine, 9).all()).is_err(), "more clips than labels");
    assert!(labels.of(2, 0..2, zeros(&engine, 11).all()).is_err(), "too few logits");
}

#[test]
fn a_tie_goes_to_the_first_class_and_numbers_that_are_none_stay_in_their_cell() {
    let Some(engine) = host::engine() else { return };
    let labels = Labels::new(&*engine, &[0, 2, 1], 3).unwrap();
    let logits = [1.0, 1.0, 0.0, 2.0, 2.0, 0.0, f32::NAN, 5.0, 1.0].repeat(2);
    let logits = [&logits[..9], &[0.0, 0.0, 9.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0][..]].concat();
    let on = of(&engine, &logits);
    let said = labels.of(2, 0..3, on.all()).unwrap();
    let (total, hits, gradient) = (zeros(&engine, 2), zeros(&engine, 2), zeros(&engine, 18));
    let sums = said.log_sums(&*engine).unwrap();
    said.losses(&*engine, sums.all(), total.all()).unwrap();
    said.hits(&*engine, hits.all()).unwrap();
    // The CPU's rule: nothing is greater than what is not a number.
    assert_eq!(read(&engine, hits.all()), [1.0, 1.0]);
    let total = read(&engine, total.all());
    assert!(total[0].is_nan() && total[1].is_finite());
    said.gradient(&*engine, sums.all(), of(&engine, &[0.0, 1.0]).all(), 1.0, gradient.all()).unwrap();
    let gradient = read(&engine, gradient.all());
    assert!(gradient[..9].iter().all(|&g| g == 0.0), "no weight, no gradient, whatever the logits");
    assert!(gradient[9..].iter().all(|g| g.is_finite()) && gradient[9..].iter().any(|&g| g != 0.0));
}

#[test]
fn squares_and_divergences_and_their_gradients_are_dfdxs() {
    let Some(engine) = host::engine() else { return };
    for [cells, rows, width] in SIZES {
        let n = rows * width;
        let (output, target) = (normal(cells * n, 1.5, "output"), normal(n, 1.0, "target"));
        let (on_output, on_target) = (of(&engine, &output), of(&engine, &target));
        let made = Generated::new([cells, rows, width], on_output.all(), on_target.all()).unwrap();
        let weights: Vec<f32> = (0..cells).map(|cell| 0.5 + cell as f32).collect();
        let on_weights = of(&engine, &weights);
        let (total, gradient) = (zeros(&engine, cells), zeros(&engine, cells * n));

        made.squares(&*engine, total.all()).unwrap();
        let square = |(o, t): (&f32, &f32)| f64::from(o - t).powi(2);
        let of_cell = |cell: usize| output[cell * n..][..n].iter().zip(&target).map(square).sum::<f64>();
        assert_close("squares", &read(&engine, total.all()), &(0..cells).map(of_cell).collect::<Vec<f64>>(), TOLERANCE);
        made.l2_gradient(&*engine, on_weights.all(), 1.0 / n as f32, gradient.all()).unwrap();
        let ours = read(&engine, gradient.all());
        for cell in 0..cells {
            let on = matrix(output[cell * n..][..n].to_vec(), rows, width);
            let taped = on.retaped::<OwnedTape<f32, Cpu>>();
            let settings = LossSettings { l2: L2Reduction::Mean, kl_block: None };
            let loss = Loss::L2.of(&settings, taped, matrix(target.clone(), rows, width)).unwrap();
            let theirs = (loss * weights[cell]).backward().get(&on).as_vec();
            assert_close("dL2", &ours[cell * n..][..n], &wide(&theirs), TOLERANCE);
        }

        for block in [width, 1, 7, 64].into_iter().filter(|block| width.is_multiple_of(*block)) {
            let (made, total) = (made.blocks(block).unwrap(), zeros(&engine, cells));
            let sums = made.log_sums(&*engine).unwrap();
            made.divergences(&*engine, &sums, total.all()).unwrap();
            let of_cell = |cell: usize| {
                let blocks = output[cell * n..][..n].chunks_exact(block).zip(target.chunks_exact(block));
                blocks.map(|(o, t)| divergence(o, t)).sum::<f64>()
            };
            let want: Vec<f64> = (0..cells).map(of_cell).collect();
            assert_close(&format!("KL in {block}"), &read(&engine, total.all()), &want, 10.0 * TOLERANCE);
            let gradient = zeros(&engine, cells * n);
            made.kl_gradient(&*engine, &sums, on_weights.all(), 1.0 / rows as f32, gradient.all()).unwrap();
            let ours = read(&engine, gradient.all());
            for cell in 0..cells {
                let on = matrix(output[cell * n..][..n].to_vec(), rows, width);
                let taped = on.retaped::<OwnedTape<f32, Cpu>>();
                let settings = LossSettings { l2: L2Reduction::Mean, kl_block: Some(block) };
                let loss = Loss::Kl.of(&settings, taped, matrix(target.clone(), rows, width)).unwrap();
                let theirs = (loss * weights[cell]).backward().get(&on).as_vec();
                assert_close("dKL", &ours[cell * n..][..n], &wide(&theirs), 10.0 * TOLERANCE);
            }
        }
        assert!(width == 1 || made.blocks(width + 1).is_err());
    }
}

#[test]
fn gradients_are_the_slopes_of_the_losses() {
    let Some(engine) = host::engine() else { return };
    let ([cells, rows, width], step) = ([2, 3, 6], 0.02);
    let (output, target) = (normal(36, 1.0, "slopes"), of(&engine, &normal(18, 1.0, "of")));
    let labels = Labels::new(&*engine, &[0, 4, 5], width).unwrap();
    let weights = of(&engine, &[1.0, 1.0]);
    // Each loss of numbers, summed over cells; and its gradient.
    let losses = |output: &[f32]| -> [(f64, Vec<f32>); 3] {
        let on = of(&engine, output);
        let made = Generated::new([cells, rows, width], on.all(), target.all()).unwrap();
        let blocks = made.blocks(3).unwrap();
        let said = labels.of(cells, 0..rows, on.all()).unwrap();
        let (sums, of_blocks) = (said.log_sums(&*engine).unwrap(), blocks.log_sums(&*engine).unwrap());
        let [l2, kl, cls] = [0; 3].map(|_| (zeros(&engine, cells), zeros(&engine, 36)));
        made.squares(&*engine, l2.0.all()).unwrap();
        made.l2_gradient(&*engine, weights.all(), 1.0, l2.1.all()).unwrap();
        blocks.divergences(&*engine, &of_blocks, kl.0.all()).unwrap();
        blocks.kl_gradient(&*engine, &of_blocks, weights.all(), 1.0, kl.1.all()).unwrap();
        said.losses(&*engine, sums.all(), cls.0.all()).unwrap();
        said.gradient(&*engine, sums.all(), weights.all(), 1.0, cls.1.all()).unwrap();
        [l2, kl, cls]
            .map(|(total, gradient)| (wide(&read(&engine, total.all())).iter().sum(), read(&engine, gradient.all())))
    };
    let at = losses(&output);
    for i in 0..output.len() {
        let moved = |by: f32| {
            let mut output = output.clone();
            output[i] += by;
            losses(&output)
        };
        let (up, down) = (moved(step), moved(-step));
        for kind in 0..3 {
            let slope = (up[kind].0 - down[kind].0) / f64::from(2.0 * step);
            let apart = (slope - f64::from(at[kind].1[i])).abs();
            assert!(apart < 2e-3, "loss {kind}, number {i}: {slope} and {}", at[kind].1[i]);
        }
    }
}
