//! Each kernel over its grid on host memory, against the CPU's own code.

use super::host::{self, Host};
use crate::support::adam::OfDfdx;
use crate::support::features::Source;
use crate::support::numbers::normal;
use compute::matmul::MatMut;
use compute::nn::lstm_cell::{self, gate_column};
use compute::nn::{AdamConfig, InputBatch, WeightDecay};
use std::sync::Arc;
use unmute::dataset::import::{self, Rows};
use unmute::dataset::{Dataset, Missing, MissingBy, Precision, Standardiser, View as Clips};
use unmute::gpu::api::{Buffer, GpuApi, View};
use unmute::gpu::feature_cache::{Places, Resident, Stream};
use unmute::gpu::kernels::adam::{Adam, Learned, adam as update};
use unmute::gpu::kernels::affine::{add_bias, column_sums};
use unmute::gpu::kernels::lstm::{Step, Trace, gates_backward, gates_forward};
use unmute::train::Vision;
use unmute::train::batches::audio_rows;
use unmute::train::cell_trainer::adam;

/// What GPU and CPU may differ by where both compute in f32 and order their operations differently.
const TOLERANCE: f32 = 2e-6;

fn random(n: usize, seed: u64) -> Vec<f32> {
    normal(n, 1.0, &format!("kernels/{seed}"))
}

fn near(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (o, t)) in ours.iter().zip(theirs).enumerate() {
        assert!((o - t).abs() <= TOLERANCE * t.abs().max(1.0), "{what}[{i}]: {o} instead of {t}");
    }
}

/// G, B, H that no block divides, with gaps between cells.
const STEP: Step = Step { cells: 3, batch: 5, hidden: 19, gates: 4 * 95 + 7, state: 95 + 5, tanh: 95 + 3 };

/// Rows of gates i, f, g, o with those of a unit near each other, as the CPU has them.
fn side_by_side(rows: &[f32], hidden: usize) -> Vec<f32> {
    let mut moved = vec![0.0; rows.len()];
    for (to, from) in moved.chunks_mut(4 * hidden).zip(rows.chunks(4 * hidden)) {
        from.iter().enumerate().for_each(|(column, value)| to[gate_column(column, hidden)] = *value);
    }
    moved
}

/// Undoes [`side_by_side`].
fn one_after_another(rows: &[f32], hidden: usize) -> Vec<f32> {
    let row = |row: &[f32]| (0..4 * hidden).map(|column| row[gate_column(column, hidden)]).collect::<Vec<_>>();
    rows.chunks(4 * hidden).flat_map(row).collect()
}

/// Gradients before the nonlinearities, and of c of the step before, by the CPU.
fn backward(hidden: usize, gates: &[f32], c_before: &[f32], tanh_c: &[f32], dh: &[f32], dc: &[f32]) -> [Vec<f32>; 2] {
    let (mut a, mut dh, mut dc) = (side_by_side(gates, hidden), dh.to_vec(), dc.to_vec());
    let [on_dh, on_dc] = [&mut dh, &mut dc].map(|states| MatMut::whole(states, hidden));
    let backward = lstm_cell::Backward { gates: MatMut::whole(&mut a, 4 * hidden), dh: on_dh, dc: on_dc };
    backward.run(c_before, tanh_c, [0, hidden], |_, _| ());
    [one_after_another(&a, hidden), dc]
}

/// The numbers of a step's buffers before it.
struct Before {
    gates: Vec<f32>,
    c_before: Vec<f32>,
    bias: Vec<f32>,
}

impl Before {
    fn new() -> Before {
        let s = STEP;
        Before {
            gates: random(s.cells * s.gates, 1),
            c_before: random(s.cells * s.state, 2),
            bias: random(s.cells * 4 * s.hidden, 3),
        }
    }

    /// Activations, c, tanh c and h of one cell by the CPU.
    fn forward(&self, cell: usize) -> [Vec<f32>; 4] {
        let (s, one) = (STEP, STEP.batch * STEP.hidden);
        let bias = &self.bias[cell * 4 * s.hidden..][..4 * s.hidden];
        let mut a: Vec<f32> = self.gates[cell * s.gates..][..4 * one].to_vec();
        let bias = side_by_side(bias, s.hidden);
        let inputs = lstm_cell::GateInputs { projected: &vec![0.0; 4 * one], index: None, bias: &bias };
        let (mut c, mut tanh_c, mut h) = (vec![0.0; one], vec![0.0; one], vec![0.0; one]);
        let [on_c, on_tanh, on_h] = [&mut c, &mut tanh_c, &mut h].map(|states| MatMut::whole(states, s.hidden));
        a = side_by_side(&a, s.hidden);
        let forward =
            lstm_cell::Forward { gates: MatMut::whole(&mut a, 4 * s.hidden), c: on_c, tanh_c: on_tanh, h: on_h };
        forward.run(&inputs, 0, &self.c_before[cell * s.state..][..one], 0, |_, _| ());
        [one_after_another(&a, s.hidden), c, tanh_c, h]
    }
}

#[test]
fn a_step_forward_is_that_of_the_cpu_in_every_cell() {
    let Some(engine) = host::engine() else { return };
    let (s, one, before) = (STEP, STEP.batch * STEP.hidden, Before::new());
    let of = |numbers: &[f32]| Buffer::of(&*engine, numbers).unwrap();
    let (gates, c_before, bias) = (of(&before.gates), of(&before.c_before), of(&before.bias));
    let [c, h] = [8.0, 9.0].map(|x| of(&vec![x; s.cells * s.state]));
    let tanh_c = of(&vec![7.0; s.cells * s.tanh]);
    let trace = Trace { gates: gates.all(), c_before: c_before.all(), c: c.all(), tanh_c: tanh_c.all(), h: h.all() };
    gates_forward(&*engine, &s, &trace, bias.all()).unwrap();
    let read = |view: View| view.read(&*engine).unwrap();
    let (gates, c, tanh_c, h) = (read(gates.all()), read(c.all()), read(tanh_c.all()), read(h.all()));
    for cell in 0..s.cells {
        let [a, want_c, want_tanh, want_h] = before.forward(cell);
        near("gates", &gates[cell * s.gates..][..4 * one], &a);
        near("c", &c[cell * s.state..][..one], &want_c);
        near("tanh c", &tanh_c[cell * s.tanh..][..one], &want_tanh);
        near("h", &h[cell * s.state..][..one], &want_h);
    }
    // What lies between cells is nobody's.
    assert_eq!(gates[4 * one..s.gates], before.gates[4 * one..s.gates]);
    assert_eq!((c[one], tanh_c[one], h[one]), (8.0, 7.0, 9.0));
}

#[test]
fn a_step_backward_is_that_of_the_cpu_in_every_cell() {
    let Some(engine) = host::engine() else { return };
    let (s, one, before) = (STEP, STEP.batch * STEP.hidden, Before::new());
    let (mut gates, mut tanh_c) = (vec![0.0; s.cells * s.gates], vec![0.0; s.cells * s.tanh]);
    for cell in 0..s.cells {
        let [a, _, tanh, _] = before.forward(cell);
        gates[cell * s.gates..][..4 * one].copy_from_slice(&a);
        tanh_c[cell * s.tanh..][..one].copy_from_slice(&tanh);
    }
    let (dh, dc) = (random(s.cells * one, 4), random(s.cells * one, 5));
    let of = |numbers: &[f32]| Buffer::of(&*engine, numbers).unwrap();
    let (on_gates, on_c, on_tanh, on_dh, on_dc) = (of(&gates), of(&before.c_before), of(&tanh_c), of(&dh), of(&dc));
    let unused = on_c.all();
    let trace = Trace { gates: on_gates.all(), c_before: on_c.all(), c: unused, tanh_c: on_tanh.all(), h: unused };
    gates_backward(&*engine, &s, &trace, on_dh.all(), on_dc.all()).unwrap();
    let (da, dc_before) = (on_gates.all().read(&*engine).unwrap(), on_dc.all().read(&*engine).unwrap());
    for cell in 0..s.cells {
        let c_before = &before.c_before[cell * s.state..][..one];
        let tanh_c = &tanh_c[cell * s.tanh..][..one];
        let (gates, dh, dc) = (&gates[cell * s.gates..], &dh[cell * one..], &dc[cell * one..]);
        let [a, want_dc] = backward(s.hidden, &gates[..4 * one], c_before, tanh_c, &dh[..one], &dc[..one]);
        near("da", &da[cell * s.gates..][..4 * one], &a);
        near("dc", &dc_before[cell * one..][..one], &want_dc);
    }
}

#[test]
fn columns_are_summed_in_blocks_and_biases_added() {
    let Some(engine) = host::engine() else { return };
    for [cells, rows, width] in [[1, 1, 5], [3, 64, 7], [2, 65, 30], [2, 700, 11]] {
        let numbers = random(cells * rows * width, 6);
        let (from, to) = (Buffer::of(&*engine, &numbers).unwrap(), Buffer::zeros(&*engine, cells * width).unwrap());
        column_sums(&*engine, [cells, rows, width], from.all(), to.all()).unwrap();
        let sums = to.all().read(&*engine).unwrap();
        for cell in 0..cells {
            for column in 0..width {
                let terms = (0..rows).map(|row| f64::from(numbers[(cell * rows + row) * width + column]));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                let apart = (f64::from(sums[cell * width + column]) - sum).abs();
                assert!(apart <= 1e-6 * size, "{rows} rows: {apart}");
            }
        }
        add_bias(&*engine, [cells, rows, width], from.all(), to.all()).unwrap();
        let added = from.all().read(&*engine).unwrap();
        for (n, (added, number)) in added.iter().zip(&numbers).enumerate() {
            assert_eq!(*added, number + sums[n / width / rows * width + n % width]);
        }
    }
}

#[test]
fn adam_takes_the_steps_that_dfdx_takes() {
    let Some(engine) = host::engine() else { return };
    let n = 101;
    let penalty = AdamConfig { lr: 3e-3, betas: [0.9, 0.999], eps: 1e-8, decay: Some(WeightDecay::L2(0.02)) };
    for config in [adam(&Default::default()), penalty] {
        let mut theirs = OfDfdx::new(&random(n, 7), 1);
        let start = theirs.state();
        let buffers = [&start.value, &start.moment1, &start.moment2].map(|v| Buffer::of(&*engine, v).unwrap());
        let gradient = Buffer::<Host>::zeros(&*engine, n).unwrap();
        let [value, moment1, moment2] = [0, 1, 2].map(|i| buffers[i].all());
        let ours = Learned { value, moment1, moment2, gradient: gradient.all() };
        let decay = match config.decay {
            Some(WeightDecay::L2(decay)) => decay,
            _ => 0.0,
        };
        let numbers = Adam { lr: config.lr, beta1: config.betas[0], beta2: config.betas[1], eps: config.eps, decay };
        for t in 1..=20 {
            let g = random(n, 100 + t as u64);
            gradient.all().write(&*engine, &g).unwrap();
            update(&*engine, &numbers, t, &ours).unwrap();
            theirs.update(&config, t, &g);
        }
        let theirs = theirs.state();
        assert_ne!(theirs.value, start.value);
        for (what, view, want) in
            [("p", value, theirs.value), ("m", moment1, theirs.moment1), ("v", moment2, theirs.moment2)]
        {
            near(what, &view.read(&*engine).unwrap(), &want);
        }
    }
}

/// A data set with two streams, in one precision.
pub fn clips(precision: Precision) -> (tempfile::TempDir, Arc<Clips>) {
    let dir = tempfile::tempdir().unwrap();
    let streams = vec![("rgb", 13), ("flow", 6)];
    let source = Source { clips: 24, streams, audio: vec![("vggish", 5)], ..Source::default() };
    source.write(&dir.path().join("source"));
    let rows = [("vggish".to_string(), Rows::Sample(3))].into();
    let options = import::Options { frames: 4, rows, name: None, precision, ..Default::default() };
    import::import(&dir.path().join("source"), &dir.path().join("data"), &options, &|_, _| ()).unwrap();
    let missing = Missing { rate: 0.4, by: MissingBy::Random, seed: 7 };
    let data = Dataset::open(&dir.path().join("data")).unwrap();
    let view = Clips::new(Arc::new(data), Some(&missing)).unwrap();
    (dir, Arc::new(view))
}

/// All streams of a data set on an engine.
pub fn resident<E: GpuApi>(engine: &E, view: &Clips) -> Resident<E> {
    let streams = view.dataset.streams.iter().zip(&view.dataset.manifest.streams).map(|(features, s)| {
        let standardiser = Standardiser::of_features(features, &view.train, s.width);
        Stream::upload(engine, features, &standardiser).unwrap()
    });
    Resident::new(streams.collect()).unwrap()
}

#[test]
fn batches_gathered_from_resident_features_are_those_of_the_host_to_the_bit() {
    let Some(engine) = host::engine() else { return };
    for precision in [Precision::F32, Precision::F16] {
        let (_dir, view) = clips(precision);
        let vision = Vision::new(&view);
        let resident = resident(&*engine, &view);
        let batch = [3, 0, 11, 3, 7];
        let rows = batch.map(Some);
        let mut host = InputBatch::default();
        vision.sequences(&batch, &mut host);
        let want = host.all_rows().to_vec();
        let out = Buffer::<Host>::of(&*engine, &vec![9.0; want.len()]).unwrap();
        let places = Places::new(&*engine, &rows, None).unwrap();
        assert_eq!(resident.gather(&*engine, &places, out.all()).unwrap(), 20);
        assert!(out.all().read(&*engine).unwrap() == want, "sequences, {precision:?}");

        let (batch, frames) = ([3, 0, 11, 4, 7], [1, 3, 0, 2, 2]);
        let frame = |clip| frames[batch.iter().position(|c| *c == clip).unwrap()];
        vision.single_frames(&batch, frame, &mut host);
        let want = host.all_rows().to_vec();
        let out = Buffer::<Host>::of(&*engine, &vec![9.0; want.len()]).unwrap();
        let places = Places::new(&*engine, &batch.map(Some), Some(&frames)).unwrap();
        assert_eq!(resident.gather(&*engine, &places, out.all()).unwrap(), 5);
        assert!(out.all().read(&*engine).unwrap() == want, "single frames, {precision:?}");

        for (row, frame) in [(24, 0), (0, 4)] {
            let outside = Places::new(&*engine, &[Some(row)], Some(&[frame])).unwrap();
            assert!(resident.gather(&*engine, &outside, out.all()).is_err(), "row {row}, frame {frame}");
        }
        let small = Buffer::<Host>::zeros(&*engine, want.len() - 1).unwrap();
        assert!(resident.gather(&*engine, &places, small.all()).is_err(), "a batch does not fit");
    }
}

#[test]
fn targets_gathered_from_resident_audio_are_those_of_the_host_to_the_bit() {
    let Some(engine) = host::engine() else { return };
    let (_dir, view) = clips(Precision::F32);
    let features = view.dataset.audio("vggish").unwrap();
    let rows: Vec<usize> = view.train_sounded.iter().filter_map(|&c| view.dataset.audio_row[c]).collect();
    let scale = Standardiser::of_features(features, &rows, features.row_len());
    let batch: Vec<usize> = (0..view.dataset.clips.len()).collect();
    let mut want = audio_rows(&view, features, &batch);
    scale.apply(&mut want);
    let audio = Resident::new(vec![Stream::upload(&*engine, features, &scale).unwrap()]).unwrap();
    let mut rows: Vec<Option<usize>> = batch.iter().map(|&c| view.dataset.audio_row[c]).collect();
    // A clip without audio: zeros, standardised.
    rows.push(None);
    let mut zeros = vec![0.0; features.row_len()];
    scale.apply(&mut zeros);
    want.extend(zeros);
    let out = Buffer::<Host>::zeros(&*engine, want.len()).unwrap();
    audio.gather(&*engine, &Places::new(&*engine, &rows, None).unwrap(), out.all()).unwrap();
    assert!(out.all().read(&*engine).unwrap() == want);
}

#[test]
fn a_wrong_kernel_is_noticed() {
    let Some(engine) = host::engine() else { return };
    drop(engine);
    let spoilt = |from: &str, to: &str| {
        let change = |name: &str, text: &str| match name {
            "lstm" => {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            }
            _ => text.into(),
        };
        host::compile(&change).unwrap()
    };
    // The compiler sees what a launcher and a kernel disagree about,
    let refused = spoilt("count cells, count batch, count hidden, float *a,", "count cells, count batch, float *a,");
    assert!(refused.is_err());
    // and the comparison a wrong sign.
    let engine = spoilt("1.0f - bounded * bounded", "1.0f + bounded * bounded").unwrap();
    let s = Step { cells: 1, batch: 1, hidden: 1, gates: 4, state: 1, tanh: 1 };
    let of = |numbers: &[f32]| Buffer::of(&engine, numbers).unwrap();
    let (gates, c, tanh, dh, dc) = (of(&[0.5; 4]), of(&[0.5]), of(&[0.5]), of(&[1.0]), of(&[1.0]));
    let trace = Trace { gates: gates.all(), c_before: c.all(), c: c.all(), tanh_c: tanh.all(), h: c.all() };
    gates_backward(&engine, &s, &trace, dh.all(), dc.all()).unwrap();
    let [_, want] = backward(1, &[0.5; 4], &[0.5], &[0.5], &[1.0], &[1.0]);
    assert!((dc.all().read(&engine).unwrap()[0] - want[0]).abs() > 0.1);
}
