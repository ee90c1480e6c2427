//! The fused operations, run by the host's engine, against the CPU's fused and dfdx's composite forms.

use super::host::{self, Host};
use crate::support::layers::{composite_lstm, fused_affine, fused_lstm, of_gates, packed};
use crate::support::networks::{OnEngine, rows_of};
use crate::support::numbers::{assert_close, normal, wide};
use compute::nn::{AdamConfig, InputBatch, ParamState};
use std::rc::Rc;
use std::sync::Arc;
use unmute::experiment::config::{Classifier, Engine, Loss, Train};
use unmute::gpu::api::{Buffer, GpuApi, View};
use unmute::gpu::batched_params::BatchedParams;
use unmute::gpu::forward::ForwardNetwork;
use unmute::gpu::kernels::adam::Adam;
use unmute::gpu::linear;
use unmute::gpu::losses::{Generated, Labels};
use unmute::gpu::lstm::{self, Shape, Trace};
use unmute::gpu::network::{BackwardTape, Network, Pass};
use unmute::model::Sizes;
use unmute::model::generator::Generator;
use unmute::model::generator::autoencoder::Autoencoder;
use unmute::model::generator::lstm::Lstm;
use unmute::model::loss::GpuLoss;
use unmute::train::cell_trainer::{TrainedNetwork, adam};
use unmute::train::objective::Objective;
use unmute::train::trainer::SavedParam;
use unmute::train::{Batch, Error};

/// Relative to the largest number.
const TOLERANCE: f64 = 1e-5;

fn weights(name: &str, rows: usize, cols: usize) -> Vec<f32> {
    normal(rows * cols, 1.0 / (rows.max(cols) as f64).sqrt(), name)
}

fn input(rows: usize, cols: usize, seed: usize) -> InputBatch {
    InputBatch::all(Arc::new(normal(rows * cols, 1.0, &format!("x/{seed}"))), rows)
}

fn of(engine: &Host, numbers: &[f32]) -> Buffer<Host> {
    Buffer::of(engine, numbers).unwrap()
}

fn read(engine: &Host, view: View) -> Vec<f32> {
    view.read(engine).unwrap()
}

/// (T, B, D, H).
const SIZES: [[usize; 4]; 4] = [[5, 7, 13, 10], [1, 3, 4, 5], [18, 16, 40, 32], [3, 1, 2, 1]];

#[test]
fn the_lstm_agrees_with_the_cpu_and_with_dfdx() {
    let Some(engine) = host::engine() else { return };
    for [steps, batch, d, hidden] in SIZES {
        // The last two of the rows are the first again.
        let mut x = input((steps * batch).saturating_sub(2).max(1), d, 0);
        let distinct = x.rows;
        let index = (0..steps * batch).map(|row| (row % distinct) as u32);
        (x.index, x.rows) = (Some(Arc::new(index.collect())), steps * batch);
        let [w, u, b] = [("w", d), ("u", hidden), ("b", 1)].map(|(name, rows)| weights(name, rows, 4 * hidden));
        let by = normal(batch * hidden, 1.0, "dy/0");

        let all = of(&engine, &x.all_rows());
        let [on_w, on_u, on_b] = [&w, &u, &b].map(|numbers| of(&engine, numbers));
        let [dw, du, db] = [&w, &u, &b].map(|numbers| of(&engine, &vec![7.0; numbers.len()]));
        let trace = Trace::new(&*engine, Shape { cells: 1, steps, batch, input: d, hidden }).unwrap();
        lstm::forward(&*engine, all.all(), [on_w.all(), on_u.all(), on_b.all()], &trace).unwrap();
        let h = read(&engine, trace.last(0).unwrap());
        let gradients = [dw.all(), du.all(), db.all()];
        lstm::backward(&*engine, all.all(), on_u.all(), trace, of(&engine, &by).all(), gradients, false).unwrap();
        let [dw, du, db] = gradients.map(|gradient| read(&engine, gradient));
        let ours = [h, dw, du, db];

        let params = [of_gates(&w, d), of_gates(&u, hidden), of_gates(&b, 1)];
        let fused = fused_lstm(&x, steps, params.each_ref(), |_| by.clone());
        let plain = composite_lstm(&x.all_rows(), steps, [&w, &u, &b], hidden, &by);
        for (who, theirs) in [("the CPU", fused), ("dfdx", plain)] {
            for ((name, ours), theirs) in ["h", "dw", "du", "db"].iter().zip(&ours).zip(&theirs) {
                assert_close(&format!("{name} of {steps} steps by {who}"), ours, &wide(theirs), TOLERANCE);
            }
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
    let Some(engine) = host::engine() else { return };
    let (n, d, e) = (9, 11, 6);
    let x = normal(n * d, 1.0, "x");
    let (w, b) = (weights("w", d, e), weights("b", 1, e));
    let (on_x, on_w, on_b) = (of(&engine, &x), of(&engine, &w), of(&engine, &b));
    let (dw, db) = (of(&engine, &vec![7.0; d * e]), of(&engine, &vec![7.0; e]));
    let (w, b) = (packed(&w, d), packed(&b, 1));
    let shape = linear::Shape { cells: 1, rows: n, from: d, to: e, shared: false };
    let y = of(&engine, &vec![7.0; n * e]);
    for pass in 0..2 {
        let by = normal(n * e, 1.0, &format!("dy/{pass}"));
        let (dy, dx) = (of(&engine, &by), Buffer::<Host>::zeros(&*engine, n * d).unwrap());
        linear::forward(&*engine, &shape, on_x.all(), on_w.all(), on_b.all(), y.all()).unwrap();
        let gradients = [dw.all(), db.all()];
        linear::backward_weights(&*engine, &shape, on_x.all(), dy.all(), gradients, pass > 0).unwrap();
        linear::backward_input(&*engine, &shape, dy.all(), on_w.all(), dx.all()).unwrap();
        let [want, want_dx] = fused_affine(&x, &w, &b, &by);
        assert_close("y", &read(&engine, y.all()), &wide(&want), TOLERANCE);
        assert_close("dx", &read(&engine, dx.all()), &wide(&want_dx), TOLERANCE);
    }
    // Two passes before the gradients are taken.
    for (ours, theirs) in [(&dw, &w), (&db, &b)] {
        assert_close("dw of two passes", &read(&engine, ours.all()), &wide(&theirs.take_gradient()), TOLERANCE);
    }
    // An input that cells share.
    let twice = |numbers: &Buffer<Host>| of(&engine, &read(&engine, numbers.all()).repeat(2));
    let (both, shape) = (of(&engine, &vec![7.0; 2 * n * e]), linear::Shape { cells: 2, shared: true, ..shape });
    linear::forward(&*engine, &shape, on_x.all(), twice(&on_w).all(), twice(&on_b).all(), both.all()).unwrap();
    assert_eq!(read(&engine, both.all()), read(&engine, y.all()).repeat(2));
}

/// A generator of one cell on an engine, with given parameters.
pub fn on_engine<E: GpuApi + 'static>(
    engine: &Rc<E>,
    generator: &Generator,
    sizes: Sizes,
    params: &[SavedParam],
) -> Network<E> {
    let params = BatchedParams::new(engine, &[params], 0).unwrap();
    let fused = generator.describe().fused().unwrap();
    Network::new(params, &fused, sizes.frames, std::slice::from_ref(&(0..1))).unwrap()
}

/// [`pass`]'s logits, generated features and L_rec.
pub struct Passed {
    pub logits: Vec<f32>,
    pub audio: Vec<f32>,
    pub loss_rec: f32,
}

/// A batch forward and backward through a network of one cell; gradients stay with its parameters.
pub fn pass<E: GpuApi + 'static>(engine: &E, network: &Network<E>, objective: &Objective, batch: &Batch) -> Passed {
    let (clips, train) = (batch.labels.len(), objective.train);
    let width = batch.target.len() / clips;
    let form = objective.loss.on_gpu(&train.loss_settings(), width).unwrap();
    let one = |number: f32| Buffer::<E>::of(engine, &[number]).unwrap();
    let (w_rec, total) = (one(train.w_rec as f32), one(f32::NAN));
    let w_cls = one(if objective.classifier == Classifier::With { train.w_cls as f32 } else { 0.0 });
    let mut pass = Pass::recorded(network, 0..1, clips, false);
    let trunks = pass.trunks(Rc::new(Buffer::of(engine, &batch.x.all_rows()).unwrap())).unwrap();
    let logits = pass.logits(&trunks).unwrap();
    let audio = pass.audio(&trunks, &network.branches[0]).unwrap();
    let labels = Labels::new(engine, &batch.labels, logits.value.all().len() / clips).unwrap();
    let said = labels.of(1, 0..clips, logits.value.all()).unwrap();
    let (sums, share) = (said.log_sums(engine).unwrap(), 1.0 / clips as f32);
    said.gradient(engine, sums.all(), w_cls.all(), share, logits.gradient.all()).unwrap();
    let target = Buffer::of(engine, &batch.target).unwrap();
    let made = Generated::new([1, clips, width], audio.value.all(), target.all()).unwrap();
    let scale = if form == GpuLoss::L2Mean { share / width as f32 } else { share };
    match form {
        GpuLoss::Kl(block) => {
            let made = made.blocks(block).unwrap();
            let sums = made.log_sums(engine).unwrap();
            made.divergences(engine, &sums, total.all()).unwrap();
            made.kl_gradient(engine, &sums, w_rec.all(), scale, audio.gradient.all()).unwrap();
        }
        GpuLoss::L2Mean | GpuLoss::L2Sum => {
            made.squares(engine, total.all()).unwrap();
            made.l2_gradient(engine, w_rec.all(), scale, audio.gradient.all()).unwrap();
        }
    }
    pass.tape.map_or(Ok(()), BackwardTape::backward).unwrap();
    let read = |view: View| view.read(engine).unwrap();
    Passed { logits: read(logits.value.all()), audio: read(audio.value.all()), loss_rec: scale * read(total.all())[0] }
}

/// The gradient of a parameter of a network of one cell.
pub fn gradient<E: GpuApi>(engine: &E, network: &Network<E>, name: &str) -> Vec<f32> {
    let place = network.params.place(name, 0).unwrap();
    network.params.gradient(place, &(0..1)).unwrap().read(engine).unwrap()
}

/// Holds a pass of every generator and loss that the kernels know against both engines of the CPU.
pub fn generators_are_the_cpus<E: GpuApi + 'static>(engine: &Rc<E>, sizes: Sizes, clips: usize, tolerance: f64) {
    let autoencoder = Autoencoder { encoder: vec![64, 24], decoder: vec![64], ..Autoencoder::default() };
    let generators = [Generator::Lstm(Lstm { hidden: 48, ..Lstm::default() }), Generator::Autoencoder(autoencoder)];
    for generator in generators {
        let rows = rows_of(&generator, sizes, clips);
        let labels: Vec<usize> = (0..clips).map(|clip| clip % sizes.classes).collect();
        let target = normal(clips * sizes.audio, 1.0, "target");
        let batch = Batch { x: input(rows, sizes.visual, 0), labels, target };
        for (loss, kl_block, classifier) in [
            (Loss::L2, None, Classifier::With),
            (Loss::L2, None, Classifier::Without),
            (Loss::Kl, None, Classifier::With),
            (Loss::Kl, Some(sizes.audio / 2), Classifier::With),
        ] {
            let train = Train { w_cls: 0.7, w_rec: 1.3, kl_block, ..Train::default() };
            let objective = Objective { loss, classifier, train: &train };
            for (cpu, theirs) in OnEngine::all(&generator, sizes, 3) {
                let what = format!("{} {loss} {classifier}, {cpu}", generator.architecture());
                let network = on_engine(engine, &generator, sizes, &theirs.save());
                let ours = pass(&**engine, &network, &objective, &batch);
                let [logits, audio] = theirs.outputs(&batch.x);
                assert_close(&format!("{what}: logits"), &ours.logits, &wide(&logits), tolerance);
                assert_close(&format!("{what}: features"), &ours.audio, &wide(&audio), tolerance);
                let ([_, _, loss_rec], gradients) = theirs.gradients(&objective, &batch);
                assert_close(&format!("{what}: L_rec"), &[ours.loss_rec], &wide(&[loss_rec]), tolerance);
                for (name, theirs) in gradients {
                    let ours = gradient(&**engine, &network, &name);
                    assert_close(&format!("{what}: d{name}"), &ours, &wide(&theirs), tolerance);
                }
            }
        }
    }
}

#[test]
fn outputs_and_gradients_of_generators_are_the_cpus() {
    let Some(engine) = host::engine() else { return };
    generators_are_the_cpus(&engine, Sizes { frames: 5, visual: 13, audio: 6, classes: 4 }, 9, 2.0 * TOLERANCE);
}

/// An LSTM with a head, trained for a few steps on random batches.
#[test]
fn a_training_follows_the_cpus() {
    let Some(engine) = host::engine() else { return };
    let sizes = Sizes { frames: 6, visual: 12, audio: 5, classes: 3 };
    let (generator, clips) = (Generator::Lstm(Lstm { hidden: 16, ..Lstm::default() }), 8);
    let start: Vec<SavedParam> = generator
        .describe()
        .network(sizes)
        .params
        .into_iter()
        .map(|p| SavedParam {
            state: ParamState::fresh(weights(&p.name, p.shape.0, p.shape.1)),
            name: p.name,
            shape: p.shape,
        })
        .collect();
    let train = Train { lr: 0.01, ..Train::default() };
    let objective = Objective { loss: Loss::L2, classifier: Classifier::Without, train: &train };
    let batch = |step: usize| Batch {
        x: input(sizes.frames * clips, sizes.visual, step % 4),
        labels: (0..clips).map(|clip| clip % sizes.classes).collect(),
        target: normal(clips * sizes.audio, 1.0, &format!("t/{}", step % 4)),
    };
    let AdamConfig { lr, betas: [beta1, beta2], eps, .. } = adam(&train);

    let network = on_engine(&engine, &generator, sizes, &start);
    let ours: Vec<f32> = (1..=25)
        .map(|step| {
            let passed = pass(&*engine, &network, &objective, &batch(step));
            network.params.update(&Adam { lr, beta1, beta2, eps, decay: 0.0 }).unwrap();
            passed.loss_rec
        })
        .collect();
    assert_eq!(network.params.step(), 25);
    assert!(ours[24] < 0.8 * ours[0], "it learns: {ours:?}");
    let saved = network.params.save(0).unwrap();
    for (cpu, mut theirs) in OnEngine::all(&generator, sizes, 0) {
        theirs.restore(&start);
        let losses: Vec<f32> = (1..=25).map(|step| theirs.step(&adam(&train), &objective, &batch(step)).loss).collect();
        assert_close(&format!("{cpu}: losses"), &ours, &wide(&losses), 1e-4);
        for (ours, theirs) in saved.iter().zip(theirs.save()) {
            assert_eq!((&ours.name, ours.shape), (&theirs.name, theirs.shape));
            assert_close(&format!("{cpu}: {}", ours.name), &ours.state.value, &wide(&theirs.state.value), 1e-3);
        }
    }
    assert_eq!(Engine::ALL.len(), OnEngine::all(&generator, sizes, 0).len());
}

#[test]
fn a_network_for_forward_passes_computes_what_the_cpus_does() {
    let Some(engine) = host::engine() else { return };
    let sizes = Sizes { frames: 6, visual: 10, audio: 7, classes: 4 };
    let lstm = Generator::Lstm(Lstm { hidden: 9, ..Lstm::default() });
    let autoencoder =
        Generator::Autoencoder(Autoencoder { encoder: vec![12, 8], decoder: vec![12], ..Autoencoder::default() });
    for generator in [lstm, autoencoder] {
        let (described, clips) = (generator.describe().network(sizes), 5);
        let (_, theirs) = OnEngine::all(&generator, sizes, 5).remove(0);
        let trunk = generator.describe().fused().unwrap();
        let mut ours = ForwardNetwork::new(engine.clone(), trunk, &described, sizes.frames).unwrap();
        ours.restore(theirs.save(), 3).unwrap();
        assert_eq!((ours.steps(), ours.count()), (3, described.count()));
        assert!(ours.save().unwrap() == theirs.save());
        let x = input(rows_of(&generator, sizes, clips), sizes.visual, 1);
        let (logits, audio) = ours.outputs(&x).unwrap();
        let [their_logits, their_audio] = theirs.outputs(&x);
        assert_close(&format!("{generator:?}: logits"), &logits, &wide(&their_logits), TOLERANCE);
        assert_close(&format!("{generator:?}: audio"), &audio, &wide(&their_audio), TOLERANCE);
        let others = theirs.save().split_off(1);
        assert!(matches!(ours.restore(others, 0), Err(Error::OtherNetwork)));
    }
}

#[test]
fn parameters_on_an_engine_are_saved_and_put_back() {
    let Some(engine) = host::engine() else { return };
    let state = ParamState { value: vec![1.0, -2.0], moment1: vec![0.5, 0.25], moment2: vec![1e-30, 4.0] };
    let saved = vec![SavedParam { name: "w".into(), shape: (2, 1), state }];
    let put = BatchedParams::new(&engine, &[&saved], 3).unwrap();
    assert_eq!((put.save(0).unwrap(), put.step(), put.count(0)), (saved, 3, 2));
    let place = put.place("w", 0).unwrap();
    assert_eq!(put.shape(place), (2, 1));
    assert_eq!(read(&engine, put.gradient(place, &(0..1)).unwrap()), [0.0, 0.0]);
}
