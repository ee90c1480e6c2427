//! Networks on both engines, losses and optimiser against PyTorch, finite differences, dfdx's own operations and each other.

use crate::support::adam::OfDfdx;
use crate::support::call::Place;
use crate::support::features::Source;
use crate::support::fixture::{self, cases, doubles, floats, indices, size};
use crate::support::layers::*;
use crate::support::networks::{OnEngine, rows_of};
use crate::support::numbers::*;
use compute::nn::packed_param::Rows;
use compute::nn::{AdamConfig, InputBatch, ParamState, WeightDecay, linear, lstm};
use dfdx::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use unmute::dataset::Dataset;
use unmute::experiment::config::{Architecture, Classifier, Engine, L2Reduction, Loss, Train};
use unmute::model::generator::autoencoder::Autoencoder;
use unmute::model::generator::lstm::Lstm;
use unmute::model::generator::mlp::Mlp;
use unmute::model::generator::transformer::Transformer;
use unmute::model::generator::{Forward, Generator, Params};
use unmute::model::{Matrix, Sizes};
use unmute::train::Batch;
use unmute::train::cell_trainer::adam;
use unmute::train::objective::Objective;
use unmute::train::trainer::SavedParam;

/// Relative difference that f32 is allowed against a float64 reference.
const TOLERANCE: f64 = 1e-4;

type Tape = OwnedTape<f32, Cpu>;

/// What a fixture's case minimises.
fn settings(case: &Value) -> (Loss, Train) {
    let train = Train {
        l2: L2Reduction::of_word(case["reduction"].as_str().unwrap()).unwrap(),
        kl_block: case["kl_block"].as_u64().map(|n| n as usize),
        w_cls: case["w_cls"].as_f64().unwrap(),
        w_rec: case["w_rec"].as_f64().unwrap(),
        ..Train::default()
    };
    (Loss::of_word(case["loss"].as_str().unwrap()).unwrap(), train)
}

/// Holds losses of a case, [L, L_cls, L_rec], and outputs against the fixture.
#[track_caller]
fn check_losses(what: &str, case: &Value, [total, cls, rec]: [f32; 3], logits: &[f32], audio: &[f32]) {
    for (name, ours) in [("l_cls", cls), ("l_rec", rec), ("total", total)] {
        assert_near(&format!("{what} {name}"), f64::from(ours), case[name].as_f64().unwrap(), TOLERANCE);
    }
    assert_close(&format!("{what} logits"), logits, &doubles(&case["logits"]), TOLERANCE);
    assert_close(&format!("{what} r"), audio, &doubles(&case["r"]), TOLERANCE);
}

/// `l2 mean w 1 0.3`: a case in a message.
fn name(case: &Value) -> String {
    format!("{} {} block {} w {} {}", case["loss"], case["reduction"], case["kl_block"], case["w_cls"], case["w_rec"])
}

/// A generator's fixture.
struct Reference {
    fixture: Value,
    generator: Generator,
    sizes: Sizes,
    /// Our names of the parameters and the fixture's, in the order of checkpoints.
    names: Vec<(&'static str, &'static str)>,
    /// What lies between trunk and heads, as the fixture calls it: for the classifier, and for the feature.
    between: [&'static str; 2],
    /// Computes that, from dfdx's operations.
    trunk: Box<dyn Fn(&Params<Cpu>, Matrix<Cpu, Tape>) -> [Vec<f32>; 2]>,
    batch: Batch,
}

const HEADS: [(&str, &str); 4] = [("classify.w", "wp"), ("classify.b", "bp"), ("audio.w", "wr"), ("audio.b", "br")];

/// Parameters of a transformer's trunk with two layers.
const TRANSFORMER: [&str; 29] = [
    "input.w",
    "input.b",
    "positions",
    "layer0.norm0.g",
    "layer0.norm0.b",
    "layer0.qkv.w",
    "layer0.qkv.b",
    "layer0.out.w",
    "layer0.out.b",
    "layer0.norm1.g",
    "layer0.norm1.b",
    "layer0.up.w",
    "layer0.up.b",
    "layer0.down.w",
    "layer0.down.b",
    "layer1.norm0.g",
    "layer1.norm0.b",
    "layer1.qkv.w",
    "layer1.qkv.b",
    "layer1.out.w",
    "layer1.out.b",
    "layer1.norm1.g",
    "layer1.norm1.b",
    "layer1.up.w",
    "layer1.up.b",
    "layer1.down.w",
    "layer1.down.b",
    "norm.g",
    "norm.b",
];

/// Every generator's fixture.
fn references() -> Vec<Reference> {
    let dims =
        |fixture: &Value, names: &[&str]| names.iter().map(|d| size(&fixture["dims"][d])).collect::<Vec<usize>>();
    let lstm = fixture::read("lstm.json");
    let settings = Lstm { hidden: dims(&lstm, &["h"])[0], ..Lstm::default() };
    let (frames, names) = (dims(&lstm, &["t"])[0], [("lstm.w", "w"), ("lstm.u", "u"), ("lstm.b", "b")]);
    let lstm = Reference::new(lstm, Generator::Lstm, settings, frames, &names, ["h_t"; 2]);

    let autoencoder = fixture::read("autoencoder.json");
    let (encoder, decoder) = (dims(&autoencoder, &["e", "l"]), dims(&autoencoder, &["o"]));
    let settings = Autoencoder { encoder, decoder, ..Autoencoder::default() };
    let names = [
        ("encoder0.w", "enc0_w"),
        ("encoder0.b", "enc0_b"),
        ("encoder1.w", "enc1_w"),
        ("encoder1.b", "enc1_b"),
        ("decoder0.w", "dec0_w"),
        ("decoder0.b", "dec0_b"),
    ];
    let between = ["latent", "decoded"];
    let autoencoder = Reference::new(autoencoder, Generator::Autoencoder, settings, 1, &names, between);

    let mlp = fixture::read("mlp.json");
    let (settings, frames) = (Mlp { width: dims(&mlp, &["h"])[0] }, dims(&mlp, &["t"])[0]);
    let names = [("mlp0.w", "w0"), ("mlp0.b", "b0"), ("mlp1.w", "w1"), ("mlp1.b", "b1")];
    let mlp = Reference::new(mlp, Generator::Mlp, settings, frames, &names, ["h"; 2]);

    let transformer = fixture::read("transformer.json");
    let [frames, layers, heads, width] = ["t", "layers", "heads", "width"].map(|d| dims(&transformer, &[d])[0]);
    let settings = Transformer { layers, heads, width };
    // The fixture calls the trunk's parameters what we call them.
    let names = TRANSFORMER.map(|name| (name, name));
    let transformer = Reference::new(transformer, Generator::Transformer, settings, frames, &names, ["z"; 2]);
    vec![lstm, autoencoder, mlp, transformer]
}

impl Reference {
    fn new<S: Forward + Clone + 'static>(
        fixture: Value,
        generator: impl Fn(S) -> Generator,
        settings: S,
        frames: usize,
        trunk: &[(&'static str, &'static str)],
        between: [&'static str; 2],
    ) -> Reference {
        let dim = |name: &str| size(&fixture["dims"][name]);
        let sizes = Sizes { frames, visual: dim("d"), audio: dim("a"), classes: dim("k") };
        let x = InputBatch::all(floats(&fixture["x"]).into(), frames * dim("b"));
        let (labels, target) = (indices(&fixture["labels"]), floats(&fixture["target"]));
        let (generator, names) = (generator(settings.clone()), [trunk, &HEADS[..]].concat());
        let trunk = move |params: &Params<Cpu>, x| {
            let (for_classes, for_audio) = settings.trunk::<Cpu>(params, x, frames).unwrap();
            [for_classes.as_vec(), for_audio.as_vec()]
        };
        let batch = Batch { x, labels, target };
        Reference { generator, sizes, names, between, trunk: Box::new(trunk), batch, fixture }
    }

    fn architecture(&self) -> Architecture {
        self.generator.architecture()
    }

    /// The fixture's numbers in parameters as a network saves them.
    fn parameters(&self, mut saved: Vec<SavedParam>) -> Vec<SavedParam> {
        let ours: Vec<&str> = saved.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(ours, self.names.iter().map(|n| n.0).collect::<Vec<_>>());
        for (s, (_, theirs)) in saved.iter_mut().zip(&self.names) {
            s.state = ParamState::fresh(floats(&self.fixture[theirs]));
            assert_eq!(s.state.value.len(), s.shape.0 * s.shape.1, "{theirs}");
        }
        saved
    }
}

#[test]
fn every_generator_is_held_against_pytorch_and_finite_differences() {
    let architectures: Vec<Architecture> = references().iter().map(Reference::architecture).collect();
    assert_eq!(architectures, Architecture::ALL, "each needs a fixture, and a line in `references`");
    let architectures: Vec<Architecture> = small().iter().map(Generator::architecture).collect();
    assert_eq!(architectures, Architecture::ALL, "each needs a line in `small`");
}

#[test]
fn every_generator_agrees_with_pytorch_on_each_engine() {
    for reference in references() {
        let architecture = reference.architecture();
        for (engine, mut network) in OnEngine::all(&reference.generator, reference.sizes, 0) {
            let saved = reference.parameters(network.save());
            network.restore(&saved);
            let [logits, audio] = network.outputs(&reference.batch.x);
            for case in cases(&reference.fixture) {
                let what = format!("{architecture} on {engine}: {}", name(case));
                let (loss, train) = settings(case);
                let objective = Objective { loss, classifier: Classifier::With, train: &train };
                let (losses, gradients) = network.gradients(&objective, &reference.batch);
                check_losses(&what, case, losses, &logits, &audio);
                assert_eq!(gradients.len(), reference.names.len());
                for ((name, gradient), (ours, theirs)) in gradients.iter().zip(&reference.names) {
                    assert_eq!(name, ours);
                    let expected = doubles(&case["grads"][theirs]);
                    assert_close(&format!("{what} d{ours}"), gradient, &expected, TOLERANCE);
                }
                // A step minimises the same; at a rate of 0 it moves nothing.
                let still = AdamConfig { lr: 0.0, ..adam(&train) };
                let before = network.steps();
                let outcome = network.step(&still, &objective, &reference.batch);
                let losses = [outcome.loss, outcome.loss_cls, outcome.loss_rec];
                check_losses(&format!("{what}, a step,"), case, losses, &outcome.logits, &outcome.audio);
                assert_eq!(network.steps(), before + 1);
                assert!(network.save().iter().zip(&saved).all(|(now, before)| now.state.value == before.state.value));
            }
        }
    }
}

/// Gradients of a step are those that were just compared: moments after the first step are (1 - beta1) g and (1 - beta2) g^2.
#[test]
fn a_step_learns_from_the_gradients_that_pytorch_has() {
    for reference in references() {
        let architecture = reference.architecture();
        for case in cases(&reference.fixture) {
            for (engine, mut network) in OnEngine::all(&reference.generator, reference.sizes, 0) {
                network.restore(&reference.parameters(network.save()));
                let (loss, train) = settings(case);
                let objective = Objective { loss, classifier: Classifier::With, train: &train };
                let adam = AdamConfig { betas: [0.5, 0.75], ..adam(&train) };
                network.step(&adam, &objective, &reference.batch);
                for (saved, (ours, theirs)) in network.save().iter().zip(&reference.names) {
                    let what = format!("{architecture} on {engine}: {} d{ours}", name(case));
                    let twice: Vec<f32> = saved.state.moment1.iter().map(|m| 2.0 * m).collect();
                    assert_close(&what, &twice, &doubles(&case["grads"][theirs]), TOLERANCE);
                    let squares = saved.state.moment2.iter().zip(&twice).all(|(v, g)| near(*v, 0.25 * g * g));
                    assert!(squares, "{what}: squares");
                }
            }
        }
    }
}

fn near(ours: f32, theirs: f32) -> bool {
    (ours - theirs).abs() <= 1e-5 * theirs.abs().max(1e-12)
}

#[test]
fn what_trunks_hand_to_the_heads_agrees_with_pytorch() {
    for reference in references() {
        let architecture = reference.architecture();
        let shapes = reference.generator.describe().network(reference.sizes);
        let of = |((_, theirs), (ours, (rows, cols))): (&(&str, &str), (&str, (usize, usize)))| {
            (ours.to_string(), matrix(floats(&reference.fixture[theirs]), rows, cols))
        };
        let params = Params(reference.names.iter().zip(shapes.shapes()).map(of).collect());
        let x = matrix(reference.batch.x.all_rows().to_vec(), reference.batch.x.rows, reference.batch.x.cols);
        let ours = (reference.trunk)(&params, x.leaky_trace());
        for case in cases(&reference.fixture) {
            for (name, ours) in reference.between.iter().zip(&ours) {
                assert_close(&format!("{architecture} {name}"), ours, &doubles(&case[name]), TOLERANCE);
            }
        }
    }
}

/// Generators small enough for finite differences, of every architecture.
fn small() -> Vec<Generator> {
    let autoencoder = Autoencoder { encoder: vec![14, 9], decoder: vec![13], ..Autoencoder::default() };
    let (mlp, transformer) = (Mlp { width: 13 }, Transformer { layers: 2, heads: 2, width: 8 });
    vec![
        Generator::Lstm(Lstm { hidden: 11, ..Lstm::default() }),
        Generator::Autoencoder(autoencoder),
        Generator::Mlp(mlp),
        Generator::Transformer(transformer),
    ]
}

#[test]
fn the_fused_engine_agrees_with_the_reference_on_random_inputs() {
    let sizes = Sizes { frames: 6, visual: 23, audio: 12, classes: 5 };
    for generator in small().into_iter().filter(|generator| generator.describe().fused().is_some()) {
        for (clips, repeats) in [(1, false), (17, false), (9, true)] {
            let what = format!("{}, {clips} clips", generator.architecture());
            let rows = rows_of(&generator, sizes, clips);
            let random = |n: usize, name: &str| normal(n, 1.0, &format!("engines {what} {name}"));
            // Every third row is the one before it.
            let index: Vec<u32> = (0..rows as u32).map(|row| row - row.div_ceil(3)).collect();
            let distinct = if repeats { index[rows - 1] as usize + 1 } else { rows };
            let x = InputBatch {
                numbers: random(distinct * sizes.visual, "x").into(),
                rows,
                cols: sizes.visual,
                index: repeats.then(|| index.into()),
            };
            let labels = (0..clips).map(|clip| clip * 2 % sizes.classes).collect();
            let batch = Batch { x, labels, target: random(clips * sizes.audio, "target") };
            for &loss in Loss::ALL {
                for &classifier in Classifier::ALL {
                    let train = Train { w_cls: 0.7, w_rec: 1.3, ..Train::default() };
                    let objective = Objective { loss, classifier, train: &train };
                    let both = OnEngine::all(&generator, sizes, 4);
                    let [(Engine::Fused, fused), (Engine::Dfdx, reference)] = &both[..] else { panic!("two engines") };
                    assert_eq!(fused.save(), reference.save(), "{what}: first values");
                    let (ours, theirs) = (fused.outputs(&batch.x), reference.outputs(&batch.x));
                    for (ours, theirs) in ours.iter().zip(&theirs) {
                        assert_close(&format!("{what}: outputs"), ours, &wide(theirs), TOLERANCE);
                    }
                    let (ours, theirs) = (fused.gradients(&objective, &batch), reference.gradients(&objective, &batch));
                    assert_close(&format!("{what} {loss}: losses"), &ours.0, &wide(&theirs.0), TOLERANCE);
                    for ((name, ours), (same, theirs)) in ours.1.iter().zip(&theirs.1) {
                        assert_eq!(name, same);
                        assert_close(&format!("{what} {loss} d{name}"), ours, &wide(theirs), TOLERANCE);
                    }
                }
            }
        }
    }
}

#[test]
fn the_fused_lstm_agrees_with_the_composite_one_on_random_inputs() {
    // (T, B, D, H): odd sizes, one frame, one clip, units for several tasks.
    for (t, b, d, h) in [(7, 33, 50, 37), (1, 5, 9, 8), (4, 1, 3, 2), (18, 40, 64, 48), (5, 20, 30, 200)] {
        let what = format!("T {t} B {b} D {d} H {h}");
        let random = |n: usize, scale: f64, name: &str| normal(n, scale, &format!("{what} {name}"));
        let x = random(t * b * d, 1.0, "x");
        let w = random(d * 4 * h, 1.0 / (d as f64).sqrt(), "w");
        let u = random(h * 4 * h, 1.0 / (h as f64).sqrt(), "u");
        let bias = random(4 * h, 0.5, "b");
        let weights = random(b * h, 1.0, "loss");
        let composite = composite_lstm(&x, t, [&w, &u, &bias], h, &weights);
        let params = [of_gates(&w, d), of_gates(&u, h), of_gates(&bias, 1)];
        let fused = fused_lstm(&InputBatch::all(x.into(), t * b), t, params.each_ref(), |_| weights.clone());
        for ((name, ours), reference) in ["h_T", "dW", "dU", "db"].iter().zip(&fused).zip(&composite) {
            if t == 1 && *name == "dU" {
                assert!(ours.iter().all(|g| *g == 0.0), "h_0 = 0 meets U in the only step");
                continue;
            }
            assert_close(&format!("{what} {name}"), ours, &wide(reference), TOLERANCE);
        }
    }
}

/// Threads share units and clips; which ones does not matter.
#[test]
fn the_fused_lstm_gives_the_same_bits_on_any_number_of_threads() {
    let (t, b, d, h) = (4, 24, 40, 200);
    let outcome = |twins: bool| {
        let random = |n: usize, name: &str| normal(n, 0.2, &format!("threads {name}"));
        let mut x = InputBatch::all(random(t * b * d, "x").into(), t * b);
        if twins {
            // Every other clip is the one before it, so that gradients of a step go to the same row.
            let half: Vec<f32> = x.numbers.chunks(d).step_by(2).flatten().copied().collect();
            x = InputBatch {
                numbers: half.into(),
                index: Some((0..t * b).map(|row| row as u32 / 2).collect::<Vec<_>>().into()),
                ..x
            };
        }
        let params = [(d, "w"), (h, "u"), (1, "b")].map(|(n, name)| of_gates(&random(n * 4 * h, name), n));
        let params = params.each_ref();
        let twice = |h: &[f32]| h.iter().map(|h| 2.0 * h).collect();
        let [h_t, dw, du, db] = fused_lstm(&x, t, params, twice);
        let without = lstm::forward(&x, t, params, None).last_state().to_vec();
        [h_t, dw, du, db, without]
    };
    for twins in [false, true] {
        let on = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| outcome(twins))
        };
        let one = on(1);
        assert!(one[0] == one[4], "without a tape");
        // From 3 threads on there are fewer than two tasks of whole columns for each, and tasks share clips too.
        for threads in [2, 3, 8, 16] {
            assert!(on(threads) == one, "{threads} threads, twins: {twins}");
        }
    }
}

/// Rows that repeat lie in memory once: the network's output and all gradients are those of all rows.
#[test]
fn repeated_rows_of_an_input_count_as_often_as_they_stand_there() {
    let (t, b, d, h) = (6, 5, 8, 7);
    // Clip k has its own number of frames; clip 0 one, clip 4 all of them.
    let own = [1, 2, 3, 4, 6];
    let (mut index, mut distinct) = (Vec::new(), 0);
    for t_at in 0..t {
        for (k, own) in own.iter().enumerate() {
            if t_at > 0 && t_at * own / t == (t_at - 1) * own / t {
                index.push(index[(t_at - 1) * b + k]);
            } else {
                index.push(distinct);
                distinct += 1;
            }
        }
    }
    let rows = distinct as usize;
    assert_eq!(rows, own.iter().sum::<usize>());
    let random = |n: usize, scale: f64, name: &str| normal(n, scale, &format!("repeats {name}"));
    let numbers = random(rows * d, 1.0, "x");
    let all: Vec<f32> = index.iter().flat_map(|at| numbers[*at as usize * d..][..d].to_vec()).collect();
    let once = InputBatch { numbers: numbers.into(), rows: t * b, cols: d, index: Some(index.into()) };
    let whole = InputBatch::all(all.clone().into(), t * b);
    assert_eq!(once.all_rows()[..], all);
    let params = [(d, "w"), (h, "u"), (1, "b")].map(|(n, name)| (random(n * 4 * h, 0.4, name), n));
    let weights = |y: &[f32]| random(y.len(), 1.0, "loss");
    let same = |what: &str, ours: &[Vec<f32>], reference: &[Vec<f32>]| {
        for (i, (ours, reference)) in ours.iter().zip(reference).enumerate() {
            assert!(ours.iter().any(|v| *v != 0.0), "{what} {i}");
            let off = ours.iter().zip(reference).map(|(o, r)| (o - r).abs()).fold(0.0, f32::max);
            assert!(ours.len() == reference.len() && off < 2e-5, "{what} {i}: {off}");
        }
    };
    let lstm = |x: &InputBatch| {
        let params = params.each_ref().map(|(numbers, rows)| of_gates(numbers, *rows));
        fused_lstm(x, t, params.each_ref(), weights)
    };
    same("the LSTM's h, dW, dU, db", &lstm(&once), &lstm(&whole));
    let affine = |x: &InputBatch| {
        let [w, _, b] = params.each_ref().map(|(numbers, rows)| packed(numbers, *rows));
        fused_of_input(x, &w, &b, weights)
    };
    same("the affine map's y, dW, db", &affine(&once), &affine(&whole));
}

/// Clips shorter than T repeat frames on import; what is gathered for the LSTM is what is gathered frame by frame.
#[test]
fn frames_that_repeat_are_gathered_once() {
    let place = Place::with_data(&Source { silent_every: 5, ..Source::default() });
    // 4 to 6 frames a clip in the files.
    for (frames, repeats) in [(9, true), (4, false)] {
        let folder = format!("data{frames}");
        place.call(&format!("data import source {folder} --frames {frames}")).success();
        let dataset = std::sync::Arc::new(Dataset::open(&place.path(&folder)).unwrap());
        let view = std::sync::Arc::new(unmute::dataset::View::new(dataset, None).unwrap());
        let vision = unmute::train::Vision::new(&view);
        let clips = [3, 10, 2, 7, 29];
        let (mut sequences, mut single) = (InputBatch::default(), InputBatch::default());
        vision.sequences(&clips, &mut sequences);
        assert_eq!(sequences.index.is_some(), repeats);
        assert_eq!(sequences.distinct(), clips.iter().map(|c| frames.min(4 + c % 3)).sum::<usize>());
        let all = sequences.all_rows();
        for t in 0..frames {
            vision.single_frames(&clips, |_| t, &mut single);
            let n = single.numbers.len();
            assert_eq!(all[t * n..(t + 1) * n], single.numbers[..], "frame {t} of {frames}");
        }
    }
}

#[test]
fn the_fused_affine_map_agrees_with_the_composite_one_on_random_inputs() {
    for (n, d, e) in [(33, 50, 37), (1, 1, 1), (200, 96, 130)] {
        let random = |len: usize, name: &str| normal(len, 1.0, &format!("affine {n} {d} {e} {name}"));
        let (x, w, b, weights) = (random(n * d, "x"), random(d * e, "w"), random(e, "b"), random(n * e, "loss"));
        let composite = composite_affine(&x, &w, &b, &weights);
        let fused = {
            let (w, b) = (packed(&w, d), packed(&b, 1));
            let [y, dx] = fused_affine(&x, &w, &b, &weights);
            [y, dx, w.take_gradient(), b.take_gradient()]
        };
        for ((name, ours), reference) in ["y", "dx", "dW", "db"].iter().zip(&fused).zip(&composite) {
            assert_close(&format!("{n} {d} {e} {name}"), ours, &wide(reference), TOLERANCE);
        }
    }
}

/// Each parameter's gradient along a random direction, against (L(p + s v) - L(p - s v)) / 2 s.
#[test]
fn gradients_agree_with_finite_differences() {
    let (b, classes, width) = (9, 5, 12);
    let sizes = Sizes { frames: 4, visual: 7, audio: width, classes };
    let labels: Vec<usize> = (0..b).map(|i| i * 2 % classes).collect();
    for generator in small() {
        let x = normal(rows_of(&generator, sizes, b) * sizes.visual, 1.0, "finite x");
        let x = InputBatch::all(x.into(), rows_of(&generator, sizes, b));
        let batch = Batch { x, labels: labels.clone(), target: normal(b * width, 1.0, "finite target") };
        for (loss, kl_block) in [(Loss::L2, None), (Loss::Kl, None), (Loss::Kl, Some(4)), (Loss::Cosine, None)] {
            let train = Train { kl_block, w_cls: 0.7, w_rec: 1.3, ..Train::default() };
            let objective = Objective { loss, classifier: Classifier::With, train: &train };
            for (engine, mut network) in OnEngine::all(&generator, sizes, 3) {
                let mut saved = network.save();
                move_off_kinks(&mut saved);
                network.restore(&saved);
                let (losses, gradients) = network.gradients(&objective, &batch);
                let fused = generator.describe().fused().is_some();
                for (place, (name, gradient)) in gradients.iter().enumerate() {
                    let of = format!("{} {loss} block {kl_block:?} d{name}", generator.architecture());
                    let what = format!("{of} on {engine}");
                    let direction = normal(gradient.len(), 1.0, &format!("direction {of}"));
                    let analytic: f64 = gradient.iter().zip(&direction).map(|(g, v)| f64::from(g * v)).sum();
                    let step = 2e-3f32;
                    let mut at = |sign: f32| {
                        let mut moved: Vec<SavedParam> = saved.clone();
                        moved[place].state.value.iter_mut().zip(&direction).for_each(|(p, v)| *p += sign * step * v);
                        network.restore(&moved);
                        f64::from(network.gradients(&objective, &batch).0[0])
                    };
                    let numeric = (at(1.0) - at(-1.0)) / (2.0 * f64::from(step));
                    let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                    // Deep in a network of dfdx's a gradient may be as small as what an f32 loses of two losses.
                    let loss = f64::from(losses[0].abs()) * f64::from(f32::EPSILON);
                    let roundings = if fused { 0.0 } else { 4.0 * loss / (2.0 * f64::from(step)) };
                    let off = ((numeric - analytic).abs() - roundings) / length.max(1e-3);
                    assert!(length > 1e-5 && off < 0.02, "{what}: {analytic}, numerically {numeric}, |g| {length}");
                }
            }
        }
    }
}

/// Biases that leave each ReLU clearly on or clearly off: across its kink no difference can be taken.
fn move_off_kinks(saved: &mut [SavedParam]) {
    for p in saved.iter_mut().filter(|p| p.name.ends_with(".b")) {
        let far = match p.name.split_once('.') {
            Some(("encoder0" | "mlp0", _)) => 3.0,
            Some(("encoder1" | "decoder0" | "mlp1" | "layer0" | "layer1", "b" | "up.b")) => 10.0,
            _ => continue,
        };
        p.state.value.iter_mut().enumerate().for_each(|(j, b)| *b = if j % 3 == 0 { -far } else { far });
    }
}

#[test]
fn adam_follows_pytorchs_trajectory() {
    let f = fixture::read("adam.json");
    let start = floats(&f["params"]);
    let n = start.len();
    let number = |name: &str| f[name].as_f64().unwrap();
    let train = Train {
        lr: number("lr"),
        beta1: number("beta1"),
        beta2: number("beta2"),
        eps: number("eps"),
        ..Train::default()
    };
    let (mut p, b) = (packed(&start, 1), packed(&vec![0.0; n], 1));
    let mut of_dfdx = OfDfdx::new(&start, 1);
    let steps = f["grads"].as_array().unwrap().iter().zip(f["after"].as_array().unwrap());
    let mut taken = 0;
    for (step, (grads, after)) in steps.enumerate() {
        // The gradient of sum_i g_i (1 p_i + b_i) is g.
        linear::backward(Rows::all(scratch(&[1.0])), linear::packed(&floats(grads), n), &p, &b);
        p.update(&adam(&train), step as i32 + 1);
        of_dfdx.update(&adam(&train), step as i32 + 1, &floats(grads));
        let theirs = doubles(after);
        for (who, ours) in [("ours", p.state().value), ("dfdx's", of_dfdx.state().value)] {
            for i in 0..n {
                // A step is at most about lr long; f32 holds a parameter near 1 to 6e-8.
                let off = (f64::from(ours[i]) - theirs[i]).abs();
                assert!(off < 5e-7, "{who}, step {} parameter {i}: {}, expected {}", step + 1, ours[i], theirs[i]);
            }
        }
        taken += 1;
    }
    assert_eq!(taken, 7);
    assert_eq!(p.state().value[0], start[0], "a parameter without a gradient stays");
}

/// The vectorised Adam of the CPU against dfdx's, with and without weight decay, also where the loss does not reach a
/// parameter any more.
#[test]
fn adam_in_place_gives_the_same_bits_as_dfdxs() {
    let (rows, cols) = (37, 1100);
    let start = normal(rows * cols, 0.1, "adam start");
    for decay in [None, Some(WeightDecay::L2(0.01)), Some(WeightDecay::Decoupled(0.01))] {
        let adam = AdamConfig { lr: 0.003, betas: [0.9, 0.999], eps: 1e-8, decay };
        let mut of_dfdx = OfDfdx::new(&start, rows);
        let (mut in_place, bias) = (packed(&start, rows), packed(&vec![0.0; cols], 1));
        for step in 1..=6 {
            let x = InputBatch::all(normal(5 * rows, 1.0, &format!("adam x {step}")).into(), 5);
            let reach = || {
                let y = linear::forward(&x.numbers, &in_place, &bias, [5, cols]);
                let dy: Vec<f32> = y.iter().map(|y| 2.0 * y).collect();
                linear::backward(Rows::Shared(x.numbers.clone()), x.sum_rows(&dy, cols), &in_place, &bias);
            };
            reach();
            // The same gradient, to the bit, for both.
            let mut gradient = in_place.take_gradient();
            match step {
                1..6 => reach(),
                _ => gradient.fill(0.0),
            }
            of_dfdx.update(&adam, step, &gradient);
            in_place.update(&adam, step);
            let bits = |state: ParamState| {
                [state.value, state.moment1, state.moment2].map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            assert!(bits(of_dfdx.state()) == bits(in_place.state()), "step {step}, decay {decay:?}");
        }
    }
}

/// A parameter that no loss has ever reached keeps its values, decay or not; nobody else's moments move either.
#[test]
fn an_unreached_parameter_stays_on_each_engine() {
    let sizes = Sizes { frames: 2, visual: 3, audio: 4, classes: 3 };
    for generator in small() {
        let rows = rows_of(&generator, sizes, 5);
        let x = InputBatch::all(normal(rows * sizes.visual, 1.0, "unreached x").into(), rows);
        let batch = Batch { x, labels: vec![0, 1, 2, 0, 1], target: normal(5 * 4, 1.0, "unreached target") };
        let train = Train::default();
        let objective = Objective { loss: Loss::L2, classifier: Classifier::Without, train: &train };
        for (engine, mut network) in OnEngine::all(&generator, sizes, 3) {
            let before: HashMap<String, SavedParam> = network.save().into_iter().map(|s| (s.name.clone(), s)).collect();
            network.step(&adam(&train), &objective, &batch);
            for saved in network.save() {
                let moved = saved.state != before[&saved.name].state;
                let what = format!("{} on {engine}: {}", generator.architecture(), saved.name);
                assert_eq!(moved, !saved.name.starts_with("classify."), "{what}");
            }
        }
    }
}
