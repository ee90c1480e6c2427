//! SVM banks on the host engine: each kernel against plain Rust, and banks against the CPU's and LIBLINEAR.

use super::host::{self, Host};
use crate::support::fixture::{self, cases, doubles, floats, indices, size};
use crate::support::numbers::{assert_close, assert_near, normal, wide};
use compute::svm::{self, Fit, Problem};
use unmute::experiment::config::{Probability, Scale, Svm};
use unmute::gpu::api::Buffer;
use unmute::gpu::binary_classifiers::{self, BinaryClassifiers, Learned};
use unmute::gpu::column_matrix::{ColumnMatrix, Index, Sums};
use unmute::gpu::svm::{OnDevice, block};
use unmute::score::bank::Bank;
use unmute::score::solver::{OnCpu, Rows, Solver};
use unmute::train::Error;

/// More than any test needs.
const PLENTY: u64 = 1 << 32;

fn solver(free: u64) -> Option<OnDevice<Host>> {
    host::engine().map(|engine| OnDevice::new(engine, free))
}

/// Rows of which those of a class are apart from the others, in clusters that overlap.
pub fn clusters(rows: usize, width: usize, classes: usize) -> (Vec<f32>, Vec<usize>) {
    let labels: Vec<usize> = (0..rows).map(|i| (i * i + i / 7) % classes).collect();
    let mut x = normal(rows * width, 1.0, &format!("clusters/{rows}/{width}"));
    for (row, label) in x.chunks_exact_mut(width).zip(&labels) {
        row[label % width] += 1.5;
    }
    (x, labels)
}

#[test]
fn columns_are_chosen_scaled_and_added() {
    let Some(engine) = host::engine() else { return };
    let (rows, wide, columns) = (29, 7, [1, 2, 5]);
    let of = |numbers: &[f32]| Buffer::of(&*engine, numbers).unwrap();
    let (from, to, by) = (normal(rows * 3, 1.0, "from"), normal(rows * wide, 1.0, "to"), [2.0, -0.5, 0.25]);
    let index = Index::new(&*engine, &columns).unwrap();
    let (from_there, to_there, by_there) = (of(&from), of(&to), of(&by));
    let narrow = ColumnMatrix::new(from_there.all(), rows, 3).unwrap();
    let broad = ColumnMatrix::new(to_there.all(), rows, wide).unwrap();

    let chosen = Buffer::<Host>::zeros(&*engine, rows * 3).unwrap();
    let chosen = ColumnMatrix::new(chosen.all(), rows, 3).unwrap();
    chosen.select(&*engine, broad, &index).unwrap();
    let want: Vec<f32> = (0..rows * 3).map(|i| to[i / 3 * wide + columns[i % 3]]).collect();
    assert_eq!(chosen.numbers().read(&*engine).unwrap(), want);

    chosen.turn(&*engine, by_there.all(), narrow).unwrap();
    let turned: Vec<f32> = (0..rows * 3).map(|i| from[i] + by[i % 3] * want[i]).collect();
    assert_eq!(chosen.numbers().read(&*engine).unwrap(), turned);

    broad.rows(3..20).unwrap().add(&*engine, &index, by_there.all(), narrow.rows(3..20).unwrap()).unwrap();
    let mut want = to.clone();
    (9..60).for_each(|i| want[i / 3 * wide + columns[i % 3]] += by[i % 3] * from[i]);
    assert_eq!(to_there.all().read(&*engine).unwrap(), want);

    let refused = |what: &str, result: Result<(), Error>| assert!(result.is_err(), "{what}");
    refused("no such column", narrow.select(&*engine, ColumnMatrix::new(to_there.all(), rows, 5).unwrap(), &index));
    refused("other rows", narrow.select(&*engine, broad.rows(1..rows).unwrap(), &index));
    refused("other columns", broad.select(&*engine, broad, &index));
    refused("too few factors", broad.add(&*engine, &index, by_there.all().part(0, 2).unwrap(), narrow));
    assert!(Index::new(&*engine, &[1, 1]).is_err() && Index::new(&*engine, &[2, 1]).is_err(), "a column twice");
    assert!(ColumnMatrix::new(to_there.all(), rows + 1, wide).is_err() && broad.rows(1..rows + 1).is_err());
}

#[test]
fn sums_of_columns_are_those_of_doubles_and_come_in_order() {
    let Some(engine) = host::engine() else { return };
    let (rows, width) = (1003, 5);
    let (a, b) = (normal(rows * width, 1.0, "a"), normal(rows * width, 1.0, "b"));
    let (there, and_b) = (Buffer::of(&*engine, &a).unwrap(), Buffer::of(&*engine, &b).unwrap());
    let matrix = ColumnMatrix::new(there.all(), rows, width).unwrap();
    let other = ColumnMatrix::new(and_b.all(), rows, width).unwrap();
    let mut sums = Sums::<Host>::new(&*engine, rows, width, 2).unwrap();
    // Twice: what was read is gone.
    for _ in 0..2 {
        sums.dot(&*engine, matrix, other).unwrap();
        sums.dot(&*engine, matrix.rows(0..7).unwrap(), matrix.rows(0..7).unwrap()).unwrap();
        let read = sums.read(&*engine).unwrap();
        assert_eq!(read.len(), 2 * width);
        for column in 0..width {
            let dot = |rows, a: &[f32], b: &[f32]| -> f64 {
                (0..rows).map(|r| f64::from(a[r * width + column]) * f64::from(b[r * width + column])).sum()
            };
            assert_near("a.b", read[column], dot(rows, &a, &b), 1e-10);
            assert_near("a.a of seven", read[width + column], dot(7, &a, &a), 1e-10);
        }
    }
    sums.dot(&*engine, matrix, other).unwrap();
    sums.dot(&*engine, matrix, other).unwrap();
    assert!(sums.dot(&*engine, matrix, other).is_err(), "no room for a third");
}

#[test]
fn there_is_room_for_sums_of_fewer_rows_and_of_two_pieces() {
    let Some(engine) = host::engine() else { return };
    let ones = Buffer::of(&*engine, &[1.0; 1100]).unwrap();
    // Around squares, where fewer rows may make more partial sums.
    for most in [1, 15, 16, 17, 255, 256, 257, 1023, 1024, 1025, 1089, 1100] {
        let mut sums = Sums::<Host>::new(&*engine, most, 1, 4).unwrap();
        for rows in [1, most / 2, most.saturating_sub(2), most - 1, most].into_iter().filter(|rows| *rows > 0) {
            let a = ColumnMatrix::new(ones.all(), rows, 1).unwrap();
            sums.dot(&*engine, a, a).unwrap();
            let pieces = [0..rows / 2, rows / 2..rows];
            binary_classifiers::losses(&*engine, if rows > 1 { &pieces } else { &pieces[1..] }, a, &mut sums).unwrap();
            assert_eq!(sums.read(&*engine).unwrap(), [rows as f64; 4], "{rows} of {most}");
        }
    }
}

#[test]
fn kernels_of_svms_are_plain_arithmetic_on_every_piece_of_the_rows() {
    let Some(engine) = host::engine() else { return };
    let (rows, all, open, c) = (61, 6, [0, 3, 4], 0.7f32);
    let (pieces, classes) = ([0..23, 40..61], [5, 1, 9, 2, 0, 3]);
    let inside = |row: usize| pieces.iter().any(|piece| piece.contains(&row));
    let labels: Vec<i64> = (0..rows as i64).map(|i| i * i % 6).collect();
    let (z, xs) = (normal(rows * all, 1.0, "z"), normal(rows * 3, 1.0, "xs"));
    let t = [0.0f32, 0.5, 2.0];
    let of = |numbers: &[f32]| Buffer::of(&*engine, numbers).unwrap();
    let (z_there, xs_there, a_there, t_there) = (of(&z), of(&xs), of(&vec![7.0; rows * 3]), of(&t));
    let labels_there = Buffer::of(&*engine, &labels).unwrap();
    let rows_there = Learned { pieces: &pieces, labels: labels_there.all(), c2: 2.0 * c };
    let machines = BinaryClassifiers::new(&*engine, &classes, &open).unwrap();
    let matrix = |buffer| ColumnMatrix::new(buffer, rows, 3).unwrap();
    let (z_there, a_there) = (ColumnMatrix::new(z_there.all(), rows, all).unwrap(), matrix(a_there.all()));

    machines.slopes(&*engine, &rows_there, z_there, a_there).unwrap();
    let sign = |row: usize, k: usize| if labels[row] == classes[open[k]] as i64 { 1.0f32 } else { -1.0 };
    let margin = |row: usize, k: usize, at: f32| (1.0 - sign(row, k) * (z[row * all + open[k]] + at)).max(0.0);
    let slope = |row: usize, k: usize| -2.0 * c * sign(row, k) * margin(row, k, 0.0);
    let places = || (0..rows).flat_map(|row| (0..3).map(move |k| (row, k)));
    let a: Vec<f32> = places().map(|(row, k)| if inside(row) { slope(row, k) } else { 7.0 }).collect();
    assert_close("slopes", &a_there.numbers().read(&*engine).unwrap(), &wide(&a), 1e-6);
    assert!(a.contains(&0.0), "some rows have no loss");

    let mut sums = Sums::new(&*engine, rows, 3, 5).unwrap();
    binary_classifiers::losses(&*engine, &pieces, a_there, &mut sums).unwrap();
    machines.line(&*engine, &rows_there, z_there, matrix(xs_there.all()), t_there.all(), &mut sums).unwrap();
    let sums = sums.read(&*engine).unwrap();
    for k in 0..3 {
        let over = |f: &dyn Fn(usize) -> f64| (0..rows).filter(|&row| inside(row)).map(f).sum::<f64>();
        let step = |row: usize| xs[row * 3 + k];
        let after = |row: usize| f64::from(margin(row, k, t[k] * step(row)));
        let want = [
            over(&|row| f64::from(slope(row, k)).powi(2)),
            over(&|row| f64::from(slope(row, k)).abs()),
            over(&|row| f64::from(u8::from(slope(row, k) != 0.0))),
            over(&|row| after(row) * f64::from(sign(row, k) * step(row))),
            over(&|row| if after(row) > 0.0 { f64::from(step(row)).powi(2) } else { 0.0 }),
        ];
        for (which, want) in want.into_iter().enumerate() {
            assert_near(&format!("sum {which} of machine {k}"), sums[which * 3 + k], want, 1e-5);
        }
    }

    // Two of the three machines go on.
    let (index, out) = (Index::new(&*engine, &[0, 2]).unwrap(), of(&vec![7.0; rows * 2]));
    let xv = ColumnMatrix::new(xs_there.all(), rows, 2).unwrap();
    let out = ColumnMatrix::new(out.all(), rows, 2).unwrap();
    binary_classifiers::lossy(&*engine, &rows_there, a_there, &index, xv, out).unwrap();
    let masked = |row: usize, k: usize| if a[row * 3 + 2 * k] == 0.0 { 0.0 } else { 2.0 * c * xs[row * 2 + k] };
    let want = (0..rows * 2).map(|i| if inside(i / 2) { masked(i / 2, i % 2) } else { 7.0 });
    assert_close("2 C X v", &out.numbers().read(&*engine).unwrap(), &wide(&want.collect::<Vec<_>>()), 1e-6);
    assert!(BinaryClassifiers::new(&*engine, &classes, &[6]).is_err(), "a machine that there is not");
}

/// Trains on all rows but some from zero, by both solvers.
fn trained(solver: &dyn Solver, rows: &Rows, classes: usize, out: std::ops::Range<usize>) -> (Vec<Fit>, Vec<f32>) {
    let problems: Vec<Problem> = (0..classes).map(|class| Problem { class }).collect();
    let mut weights = vec![0.0; classes * rows.width];
    let mut loaded = solver.load(rows.clone()).unwrap();
    let fits = loaded.train(out, &problems, &mut weights).unwrap();
    (fits, weights)
}

fn rows(x: &[f32], width: usize, labels: &[usize], c: f32, tolerance: f64) -> Rows {
    let x = x.chunks_exact(width).flat_map(|row| row.iter().copied().chain([1.0])).collect();
    Rows { x, width: width + 1, labels: labels.to_vec(), c, tolerance }
}

#[test]
fn every_machine_ends_where_the_cpus_does_whatever_is_left_out() {
    let Some(solver) = solver(PLENTY) else { return };
    // More rows than numbers, and fewer; class 4 has one row and class 5 none.
    for (n, d) in [(331, 40), (50, 120)] {
        let (mut x, mut labels) = clusters(n, d, 4);
        labels[9] = 4;
        // Rows that are there twice.
        x.copy_within(0..3 * d, 20 * d);
        for out in [0..0, 0..n / 3, n / 3..n / 2, n / 2..n] {
            let rows = rows(&x, d, &labels, 0.1, 1e-9);
            let (fits, weights) = trained(&solver, &rows, 6, out.clone());
            let (theirs, expected) = trained(&OnCpu, &rows, 6, out.clone());
            for (class, (fit, cpu)) in fits.iter().zip(&theirs).enumerate() {
                let what = format!("{n} x {d} without {out:?}, class {class}");
                assert_near(&format!("{what}: objective"), fit.objective, cpu.objective, 1e-6);
                assert!(fit.duality_gap < 1e-3, "{what}: {fit:?}");
                assert!(0.5 * fit.gradient_norm.powi(2) <= 1e-8 * fit.objective, "{what}: {fit:?}");
                assert!(fit.newton_steps > 0 && fit.cg_steps >= fit.newton_steps, "{what}: {fit:?}");
                let width = d + 1;
                let (w, cpu) = (&weights[class * width..][..width], &expected[class * width..][..width]);
                assert_close(&what, w, &wide(cpu), 1e-3);
            }
        }
    }
}

#[test]
fn as_many_steps_are_taken_as_by_the_cpu() {
    let Some(solver) = solver(PLENTY) else { return };
    // Columns that nearly repeat one another, for which plain conjugate gradients take long.
    let (mut x, labels) = clusters(400, 60, 4);
    x.chunks_exact_mut(60).for_each(|row| (20..60).for_each(|i| row[i] = row[i % 20] + 0.05 * row[i]));
    let rows = rows(&x, 60, &labels, 0.05, 1e-6);
    let (fits, _) = trained(&solver, &rows, 4, 0..0);
    let (theirs, _) = trained(&OnCpu, &rows, 4, 0..0);
    for (ours, cpu) in fits.iter().zip(&theirs) {
        assert!(ours.newton_steps.abs_diff(cpu.newton_steps) <= 1, "{ours:?}, the CPU {cpu:?}");
        assert!(ours.cg_steps.abs_diff(cpu.cg_steps) <= 2 + cpu.cg_steps / 8, "{ours:?}, the CPU {cpu:?}");
    }
}

/// The relative duality gap that single precision may leave to a problem that the dual has solved.
///
/// At the minimum a_i = 2 C m_i, where m_i is what row i lacks of its margin, and the gap is C sum_i (m_i - a_i / 2C)^2. The
/// solver adds w_k = sum_i a_i y_i x_ik up in single precision. Each addition is off by at most 2^-24 of the sum so far, some
/// up and some down, so that their squares add up to that of w_k's error, and these, times x_ik^2, to that of m_i's. How much
/// of it remains depends on the order of the additions, and thus on how wide the processor's vectors are: no number of looks
/// brings every problem below it on every processor.
fn least_gap(rows: &Rows, out: &std::ops::Range<usize>, class: usize, weights: &[f32], objective: f64) -> f64 {
    let (c, rounding) = (f64::from(rows.c), f64::from(f32::EPSILON) / 2.0);
    let (mut losing, mut sums, mut errors) = (Vec::new(), vec![0.0f64; rows.width], vec![0.0f64; rows.width]);
    for (row, x) in rows.x.chunks_exact(rows.width).enumerate().filter(|(row, _)| !out.contains(row)) {
        let x = wide(x);
        let y = if rows.labels[row] == class { 1.0f64 } else { -1.0 };
        let m = 1.0 - y * x.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum::<f64>();
        if m > 0.0 {
            for ((sum, error), x) in sums.iter_mut().zip(&mut errors).zip(&x) {
                *sum += 2.0 * c * m * y * x;
                *error += (rounding * *sum).powi(2);
            }
            losing.push(x);
        }
    }
    let squares = losing.iter().flat_map(|x| x.iter().zip(&errors)).map(|(x, error)| x * x * error);
    c * squares.sum::<f64>() / objective
}

#[test]
fn problems_for_the_dual_end_where_they_do_on_the_cpu() {
    let Some(all) = solver(PLENTY) else { return };
    let (n, d, k) = (600, 80, 7);
    let (x, labels) = clusters(n, d, k);
    let rows = rows(&x, d, &labels, 10.0, 1e-7);
    // Room for three problems.
    let free = (1..1 << 14).map(|kib| kib << 10).find(|&free| block(n, d + 1, k, free) == Ok(3)).unwrap();
    for solver in [&all, &solver(free).unwrap()] {
        for out in [0..0, 100..300] {
            let (fits, weights) = trained(solver, &rows, k, out.clone());
            let (theirs, expected) = trained(&OnCpu, &rows, k, out.clone());
            assert!(fits.iter().any(|fit| fit.dual_looks > 0), "{fits:?}");
            for (class, (fit, cpu)) in fits.iter().zip(&theirs).enumerate() {
                let what = format!("without {out:?}, class {class}: {fit:?}, the CPU {cpu:?}");
                assert_near(&what, fit.objective, cpu.objective, 1e-5);
                let w = &weights[class * rows.width..][..rows.width];
                let least = least_gap(&rows, &out, class, w, fit.objective);
                // A bound that is no stricter than the objective's, above, would say nothing.
                assert!(least < 1e-5, "{what}: single precision leaves {least:e}");
                assert!(fit.duality_gap <= least.max(rows.tolerance) || fit.dual_looks == 0, "{what}: {least:e}");
            }
            assert_close("weights", &weights, &wide(&expected), 5e-3);
        }
    }
}

#[test]
fn training_goes_on_from_the_weights_that_are_given() {
    let Some(solver) = solver(PLENTY) else { return };
    let (x, labels) = clusters(200, 30, 3);
    let rows = rows(&x, 30, &labels, 0.1, 1e-8);
    let problems: Vec<Problem> = (0..3).map(|class| Problem { class }).collect();
    let mut loaded = solver.load(rows.clone()).unwrap();
    let mut weights = vec![0.0; 3 * 31];
    loaded.train(0..0, &problems, &mut weights).unwrap();
    let before = weights.clone();
    let fits = loaded.train(0..0, &problems, &mut weights).unwrap();
    assert!(fits.iter().all(|fit| fit.newton_steps == 0) && weights == before, "what is trained stays: {fits:?}");
    let z = loaded.decisions(50..120, &weights).unwrap();
    let cpu = svm::decisions(&rows.x[50 * 31..120 * 31], 31, &weights);
    assert_close("decisions", &z, &wide(&cpu), 1e-5);
    assert_close("decisions", &solver.decisions(&rows.x[50 * 31..120 * 31], 31, &weights).unwrap(), &wide(&z), 1e-5);
    assert!(solver.decisions(&[], 31, &weights).unwrap().is_empty());
}

#[test]
fn machines_agree_with_liblinear() {
    let Some(solver) = solver(PLENTY) else { return };
    let f = fixture::read("svm.json");
    for case in cases(&f) {
        let what = case["name"].as_str().unwrap();
        let [n, d, k] = ["n", "d", "k"].map(|e| size(&case[e]));
        let (x, labels) = (floats(&case["x"]), indices(&case["labels"]));
        let rows = rows(&x, d, &labels, case["c"].as_f64().unwrap() as f32, 1e-6);
        let (fits, weights) = trained(&solver, &rows, k, 0..0);
        let decisions = solver.decisions(&rows.x, d + 1, &weights).unwrap();
        let theirs = doubles(&case["decisions"]);
        for class in 0..k {
            let what = format!("{what}, class {class}");
            let best = case["classes"][class]["objective"].as_f64().unwrap();
            assert_near(&format!("{what}: objective"), fits[class].objective, best, 1e-4);
            assert!(fits[class].duality_gap < 1e-2, "{what}: {:?}", fits[class]);
            let column: Vec<f64> = (0..n).map(|i| theirs[i * k + class]).collect();
            assert_close(&format!("{what}: decisions"), &decisions[class * n..][..n], &column, 5e-3);
        }
    }
}

#[test]
fn banks_are_the_cpus() {
    let Some(solver) = solver(PLENTY) else { return };
    // The last has more folds than clips.
    for (n, d, folds) in [(331, 40, 3), (50, 120, 3), (4, 5, 6)] {
        let (mut x, mut labels) = clusters(n, d, 4);
        // A class with one clip, and another scale.
        labels[n / 2] = 4;
        x.iter_mut().for_each(|x| *x = 3.0 * *x + 5.0);
        for probability in Probability::ALL {
            for scale in [Scale::Standardised, Scale::Raw] {
                let what = format!("{n} x {d}, {probability}, {scale}");
                let config =
                    Svm { c: 0.01, tolerance: 1e-9, folds, probability: *probability, scale, ..Svm::default() };
                let ours = Bank::train(&x, &labels, 5, &config, &solver).unwrap();
                let cpu = Bank::train(&x, &labels, 5, &config, &OnCpu).unwrap();
                assert_eq!(ours.sigmoids.len(), cpu.sigmoids.len(), "{what}");
                let p = ours.probabilities(&x, 5, &solver).unwrap();
                let expected = cpu.probabilities(&x, 5, &OnCpu).unwrap();
                for (i, (p, e)) in p.iter().zip(&expected).enumerate() {
                    assert!((p - e).abs() < 1e-3, "{what}: p[{i}] {p}, by the CPU {e}");
                }
                assert!(p.iter().all(|p| p.is_finite()), "{what}");
            }
        }
    }
}

#[test]
fn blocks_of_problems_that_fit_end_where_one_block_does() {
    let Some(all) = solver(PLENTY) else { return };
    let (n, d, k) = (150, 20, 7);
    let (x, labels) = clusters(n, d, k);
    let rows = rows(&x, d, &labels, 0.1, 1e-9);
    // Room for three problems.
    let free = (1..1 << 12).map(|kib| kib << 10).find(|&free| block(n, d + 1, k, free) == Ok(3)).unwrap();
    let (ours, weights) = trained(&solver(free).unwrap(), &rows, k, 30..60);
    let (one, expected) = trained(&all, &rows, k, 30..60);
    assert_eq!(ours.len(), k);
    for (class, (ours, one)) in ours.iter().zip(&one).enumerate() {
        assert_near(&format!("class {class}"), ours.objective, one.objective, 1e-7);
    }
    assert_close("weights", &weights, &wide(&expected), 1e-4);
    let Err(refused) = solver(1 << 10).unwrap().load(rows).map(|_| ()) else { panic!("1 KiB suffices") };
    assert!(refused.to_string().contains("use --device cpu"), "{refused}");
}

#[test]
fn plans_use_what_there_is_and_divide_evenly() {
    const GIB: u64 = 1 << 30;
    // The paper's size.
    assert_eq!(block(55_196, 1025, 200, 3 * GIB), Ok(200));
    let mut before = 0;
    for free in (1..400).map(|n| n * (GIB / 100)) {
        let Ok(now) = block(55_196, 1025, 200, free) else { continue };
        assert!(now >= before && now <= 200 && (now == 200 || now <= 100), "{now} after {before}");
        let (blocks, rows) = (200usize.div_ceil(now), 55_196);
        assert!(blocks * now < 200 + blocks, "blocks of {now} leave the last one short");
        let least = 4 * (rows * 1025 + 2 * 1025 * 1025 + now * (5 * rows + 8 * 1025)) as u64;
        assert!(least <= free, "{now} problems in {free} bytes");
        before = now;
    }
    assert_eq!(before, 200);
    let refused = block(55_196, 1025, 200, GIB / 8).unwrap_err();
    assert!(refused.contains("55196 clips with 1025 numbers") && refused.contains("next:"), "{refused}");
}
