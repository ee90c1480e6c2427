//! Networks, losses and optimiser against PyTorch, finite differences and their own slow forms.

use crate::support::call::Place;
use crate::support::features::Source;
use crate::support::fixture::{self, cases, doubles, floats, indices, size};
use crate::support::numbers::*;
use dfdx::prelude::*;
use serde_json::Value;
use unmute::dataset::Dataset;
use unmute::experiment::Config;
use unmute::experiment::config::{Architecture, L2Reduction, Loss, Train};
use unmute::train::generator::{Generator, Output, Sizes};
use unmute::train::params::{Params, Saved, adam, adam_with_decay};
use unmute::train::weight::{InPlace, OnTape, State, Weight};
use unmute::train::{Host, Matrix, affine, loss, lstm};

/// Relative difference that f32 is allowed against a float64 reference.
const TOLERANCE: f64 = 1e-4;

type Tape = OwnedTape<f32, Cpu>;

fn config() -> Config {
    serde_json::from_value(serde_json::json!({ "name": "test", "grid": {} })).unwrap()
}

/// A network's input from a matrix.
fn host(x: &Matrix<Cpu>) -> Host {
    Host::all(x.as_vec().into(), x.shape().0)
}

/// A trained matrix of the CPU from numbers.
fn in_place_of(values: Vec<f32>, rows: usize, cols: usize) -> InPlace {
    Weight::new(&Cpu::default(), State::fresh(values), rows, cols).unwrap()
}

/// The same from a matrix.
fn in_place(matrix: &Matrix<Cpu>) -> InPlace {
    let (rows, cols) = *matrix.shape();
    in_place_of(matrix.as_vec(), rows, cols)
}

/// What goes to an LSTM's gates, from a matrix.
fn of_gates(matrix: &Matrix<Cpu>) -> InPlace {
    let (rows, cols) = *matrix.shape();
    Weight::of_gates(&Cpu::default(), State::fresh(matrix.as_vec()), rows, cols / 4).unwrap()
}

/// The loss a fixture's case declares.
struct Objective {
    loss: Loss,
    train: Train,
    labels: Matrix<Cpu>,
    target: Matrix<Cpu>,
}

impl Objective {
    fn of(fixture: &Value, case: &Value) -> Objective {
        let [b, k, a] = ["b", "k", "a"].map(|d| size(&fixture["dims"][d]));
        Objective {
            loss: Loss::of_word(case["loss"].as_str().unwrap()).unwrap(),
            train: Train {
                l2: L2Reduction::of_word(case["reduction"].as_str().unwrap()).unwrap(),
                kl_block: case["kl_block"].as_u64().map(|n| n as usize),
                w_cls: case["w_cls"].as_f64().unwrap(),
                w_rec: case["w_rec"].as_f64().unwrap(),
                ..Train::default()
            },
            labels: one_hot(&indices(&fixture["labels"]), k),
            target: matrix(floats(&fixture["target"]), b, a),
        }
    }

    /// L_cls, L_rec, L, and the gradients of L.
    fn backward(&self, output: Output<Cpu, Tape>) -> ([f32; 3], Gradients<f32, Cpu>) {
        let rec = loss::reconstruction(self.loss, &self.train, output.audio, self.target.clone()).unwrap();
        let cls = loss::cross_entropy(output.logits, self.labels.clone()).unwrap();
        let (l_cls, l_rec) = (cls.array(), rec.array());
        let total = rec * self.train.w_rec as f32 + cls * self.train.w_cls as f32;
        ([l_cls, l_rec, total.array()], total.backward())
    }
}

/// Holds losses and outputs of a case against the fixture.
#[track_caller]
fn check_losses(what: &str, case: &Value, [cls, rec, total]: [f32; 3], logits: &[f32], audio: &[f32]) {
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

/// A generator with the fixture's numbers in it; `names` maps ours to theirs.
fn generator(
    architecture: Architecture,
    config: &Config,
    sizes: Sizes,
    fixture: &Value,
    names: &[(&str, &str)],
) -> Generator<Cpu> {
    let mut generator = Generator::new(Cpu::default(), architecture, config, sizes, 0).unwrap();
    let mut saved = generator.params.save().unwrap();
    assert_eq!(
        saved.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        names.iter().map(|n| n.0).collect::<Vec<_>>()
    );
    for (s, (_, theirs)) in saved.iter_mut().zip(names) {
        s.state.value = floats(&fixture[theirs]);
        assert_eq!(s.state.value.len(), s.shape.0 * s.shape.1, "{theirs}");
    }
    assert!(generator.params.restore(saved, 0).unwrap());
    generator
}

/// Runs every case through a generator (the fused forms) and checks outputs, losses and all gradients.
fn check_generator(generator: &Generator<Cpu>, x: &Matrix<Cpu>, fixture: &Value, names: &[(&str, &str)]) {
    for case in cases(fixture) {
        let output = generator.forward(&host(x), Tape::default()).unwrap();
        let (logits, audio) = (output.logits.as_vec(), output.audio.as_vec());
        let (losses, mut grads) = Objective::of(fixture, case).backward(output);
        check_losses(&name(case), case, losses, &logits, &audio);
        for (param, (ours, theirs)) in generator.params.iter().zip(names) {
            let grad = param.take_gradient(&mut grads).unwrap();
            assert_close(&format!("{} d{ours}", name(case)), &grad, &doubles(&case["grads"][theirs]), TOLERANCE);
        }
    }
}

const LSTM_NAMES: [(&str, &str); 7] = [
    ("lstm.w", "w"),
    ("lstm.u", "u"),
    ("lstm.b", "b"),
    ("classify.w", "wp"),
    ("classify.b", "bp"),
    ("audio.w", "wr"),
    ("audio.b", "br"),
];

const AUTOENCODER_NAMES: [(&str, &str); 10] = [
    ("encoder0.w", "enc0_w"),
    ("encoder0.b", "enc0_b"),
    ("encoder1.w", "enc1_w"),
    ("encoder1.b", "enc1_b"),
    ("decoder0.w", "dec0_w"),
    ("decoder0.b", "dec0_b"),
    ("classify.w", "wp"),
    ("classify.b", "bp"),
    ("audio.w", "wr"),
    ("audio.b", "br"),
];

/// The fixture's parameters as matrices, with the shapes that the generators give them.
fn parameters(fixture: &Value, generator: &Generator<Cpu>, names: &[(&str, &str)]) -> Vec<Matrix<Cpu>> {
    let shapes = generator.params.iter().map(|p| p.shape());
    names.iter().zip(shapes).map(|((_, theirs), (r, c))| matrix(floats(&fixture[theirs]), r, c)).collect()
}

fn lstm_fixture() -> (Value, Generator<Cpu>, Matrix<Cpu>) {
    let f = fixture::read("lstm.json");
    let [t, b, d, h, k, a] = ["t", "b", "d", "h", "k", "a"].map(|n| size(&f["dims"][n]));
    let mut config = config();
    config.lstm.hidden = h;
    let sizes = Sizes { frames: t, visual: d, audio: a, classes: k };
    let generator = generator(Architecture::Lstm, &config, sizes, &f, &LSTM_NAMES);
    let x = matrix(floats(&f["x"]), t * b, d);
    (f, generator, x)
}

#[test]
fn the_lstm_generator_agrees_with_pytorch() {
    let (f, generator, x) = lstm_fixture();
    check_generator(&generator, &x, &f, &LSTM_NAMES);
}

#[test]
fn the_composite_lstm_agrees_with_pytorch() {
    let (f, generator, x) = lstm_fixture();
    let steps = size(&f["dims"]["t"]);
    let p = parameters(&f, &generator, &LSTM_NAMES);
    for case in cases(&f) {
        let h = lstm::composite(x.leaky_trace(), steps, [&p[0], &p[1], &p[2]]).unwrap();
        assert_close(&format!("{} h_T", name(case)), &h.as_vec(), &doubles(&case["h_t"]), TOLERANCE);
        let (h, tape) = h.split_tape();
        let output = Output {
            logits: affine::composite(h.retaped::<Tape>(), &p[3], &p[4]).unwrap(),
            audio: affine::composite(h.put_tape(tape), &p[5], &p[6]).unwrap(),
        };
        let (logits, audio) = (output.logits.as_vec(), output.audio.as_vec());
        let (losses, grads) = Objective::of(&f, case).backward(output);
        check_losses(&name(case), case, losses, &logits, &audio);
        for (p, (_, theirs)) in p.iter().zip(&LSTM_NAMES) {
            let expected = doubles(&case["grads"][theirs]);
            assert_close(&format!("{} d{theirs}", name(case)), &grads.get(p).as_vec(), &expected, TOLERANCE);
        }
    }
}

#[test]
fn the_autoencoder_generator_agrees_with_pytorch() {
    let f = fixture::read("autoencoder.json");
    let [b, d, e, l, o, k, a] = ["b", "d", "e", "l", "o", "k", "a"].map(|n| size(&f["dims"][n]));
    let mut config = config();
    config.autoencoder.encoder = vec![e, l];
    config.autoencoder.decoder = vec![o];
    let sizes = Sizes { frames: 1, visual: d, audio: a, classes: k };
    let generator = generator(Architecture::Autoencoder, &config, sizes, &f, &AUTOENCODER_NAMES);
    let x = matrix(floats(&f["x"]), b, d);
    check_generator(&generator, &x, &f, &AUTOENCODER_NAMES);

    // The same from dfdx's own operations.
    let p = parameters(&f, &generator, &AUTOENCODER_NAMES);
    for case in cases(&f) {
        let encoded = affine::composite(x.leaky_trace(), &p[0], &p[1]).unwrap().relu();
        let latent = affine::composite(encoded, &p[2], &p[3]).unwrap().relu();
        assert_close("latent", &latent.as_vec(), &doubles(&case["latent"]), TOLERANCE);
        let (latent, tape) = latent.split_tape();
        let decoded = affine::composite(latent.clone().put_tape(tape), &p[4], &p[5]).unwrap().relu();
        assert_close("decoded", &decoded.as_vec(), &doubles(&case["decoded"]), TOLERANCE);
        let output = Output {
            logits: affine::composite(latent.retaped::<Tape>(), &p[6], &p[7]).unwrap(),
            audio: affine::composite(decoded, &p[8], &p[9]).unwrap(),
        };
        let (logits, audio) = (output.logits.as_vec(), output.audio.as_vec());
        let (losses, grads) = Objective::of(&f, case).backward(output);
        check_losses(&name(case), case, losses, &logits, &audio);
        for (p, (_, theirs)) in p.iter().zip(&AUTOENCODER_NAMES) {
            let expected = doubles(&case["grads"][theirs]);
            assert_close(&format!("{} d{theirs}", name(case)), &grads.get(p).as_vec(), &expected, TOLERANCE);
        }
    }
}

#[test]
fn the_fused_lstm_agrees_with_the_composite_one_on_random_inputs() {
    // (T, B, D, H): odd sizes, one frame, one clip, units for several tasks.
    for (t, b, d, h) in [(7, 33, 50, 37), (1, 5, 9, 8), (4, 1, 3, 2), (18, 40, 64, 48), (5, 20, 30, 200)] {
        let what = format!("T {t} B {b} D {d} H {h}");
        let random = |n: usize, scale: f64, name: &str| normal(n, scale, &format!("{what} {name}"));
        let x = matrix(random(t * b * d, 1.0, "x"), t * b, d);
        let w = matrix(random(d * 4 * h, 1.0 / (d as f64).sqrt(), "w"), d, 4 * h);
        let u = matrix(random(h * 4 * h, 1.0 / (h as f64).sqrt(), "u"), h, 4 * h);
        let bias = matrix(random(4 * h, 0.5, "b"), 1, 4 * h);
        let weights = matrix(random(b * h, 1.0, "loss"), b, h);
        let loss = |out: Matrix<Cpu, Tape>| (out * weights.clone()).sum::<Rank0, _>().backward();
        let composite = {
            let out = lstm::composite(x.leaky_trace(), t, [&w, &u, &bias]).unwrap();
            let h_t = out.as_vec();
            let grads = loss(out);
            [h_t, grads.get(&w).as_vec(), grads.get(&u).as_vec(), grads.get(&bias).as_vec()]
        };
        let fused = {
            let [w, u, b] = [&w, &u, &bias].map(of_gates);
            let out = lstm::fused(&Cpu::default(), &host(&x), Tape::default(), t, [&w, &u, &b]).unwrap();
            let h_t = out.as_vec();
            let mut grads = loss(out);
            let [dw, du, db] = [w, u, b].map(|p| p.take_gradient(&mut grads).unwrap());
            [h_t, dw, du, db]
        };
        for ((name, ours), reference) in ["h_T", "dW", "dU", "db"].iter().zip(&fused).zip(&composite) {
            if t == 1 && *name == "dU" {
                assert!(ours.iter().all(|g| *g == 0.0), "h_0 = 0 meets U in the only step");
                continue;
            }
            assert_close(&format!("{what} {name}"), ours, &wide(reference), TOLERANCE);
        }
    }
}

/// Threads share units; which ones does not matter.
#[test]
fn the_fused_lstm_gives_the_same_bits_on_any_number_of_threads() {
    let (t, b, d, h) = (4, 24, 40, 200);
    let outcome = || {
        let random = |n: usize, name: &str| normal(n, 0.2, &format!("threads {name}"));
        let x = matrix(random(t * b * d, "x"), t * b, d);
        let [w, u, bias] =
            [(d, "w"), (h, "u"), (1, "b")].map(|(n, name)| of_gates(&matrix(random(n * 4 * h, name), n, 4 * h)));
        let out = lstm::fused(&Cpu::default(), &host(&x), Tape::default(), t, [&w, &u, &bias]).unwrap();
        let h_t = out.as_vec();
        let mut grads = out.square().sum::<Rank0, _>().backward();
        let [dw, du, db] = [&w, &u, &bias].map(|p| p.take_gradient(&mut grads).unwrap());
        let without = lstm::fused(&Cpu::default(), &host(&x), NoneTape, t, [&w, &u, &bias]).unwrap().as_vec();
        [h_t, dw, du, db, without]
    };
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(outcome);
    let one = on(1);
    assert!(one[0] == one[4], "without a tape");
    for threads in [2, 3, 7] {
        assert!(on(threads) == one, "{threads} threads");
    }
}

/// Rows that repeat lie in memory once: the network's output and all gradients are those of all rows.
#[test]
fn repeated_rows_of_an_input_count_as_often_as_they_stand_there() {
    let (t, b, d, h) = (6, 5, 8, 7);
    // Clip k has its own number of frames; clip 0 one, clip 4 all of them.
    let own = [1, 2, 3, 4, 6];
    let (mut places, mut distinct) = (Vec::new(), 0);
    for t_at in 0..t {
        for (k, own) in own.iter().enumerate() {
            if t_at > 0 && t_at * own / t == (t_at - 1) * own / t {
                places.push(places[(t_at - 1) * b + k]);
            } else {
                places.push(distinct);
                distinct += 1;
            }
        }
    }
    let rows = distinct as usize;
    assert_eq!(rows, own.iter().sum::<usize>());
    let random = |n: usize, scale: f64, name: &str| normal(n, scale, &format!("repeats {name}"));
    let numbers = random(rows * d, 1.0, "x");
    let all: Vec<f32> = places.iter().flat_map(|p| numbers[*p as usize * d..][..d].to_vec()).collect();
    let once = Host { numbers: numbers.into(), rows: t * b, cols: d, places: Some(places.into()) };
    let whole = Host::all(all.clone().into(), t * b);
    assert_eq!(once.to(&Cpu::default()).unwrap().as_vec(), all);
    let weights = [(d, "w"), (h, "u"), (1, "b")].map(|(n, name)| matrix(random(n * 4 * h, 0.4, name), n, 4 * h));
    for lstm in [true, false] {
        let outcome = |x: &Host| {
            let [w, u, bias] = [0, 1, 2].map(|i| if lstm { of_gates(&weights[i]) } else { in_place(&weights[i]) });
            let y = if lstm {
                lstm::fused(&Cpu::default(), x, Tape::default(), t, [&w, &u, &bias]).unwrap()
            } else {
                affine::of_input(&Cpu::default(), x, Tape::default(), &w, &bias).unwrap()
            };
            let (values, (n, width)) = (y.as_vec(), *y.shape());
            let loss = matrix(random(n * width, 1.0, "loss"), n, width);
            let mut grads = (y * loss).sum::<Rank0, _>().backward();
            let [dw, du, db] = [w, u, bias].map(|p| p.take_gradient(&mut grads).unwrap());
            [values, dw, du, db]
        };
        for ((name, ours), reference) in ["y", "dW", "dU", "db"].iter().zip(outcome(&once)).zip(outcome(&whole)) {
            assert!(ours.iter().any(|v| *v != 0.0) || (!lstm && *name == "dU"), "{name}");
            let off = ours.iter().zip(&reference).map(|(o, r)| (o - r).abs()).fold(0.0, f32::max);
            assert!(off < 2e-5, "{name}, lstm {lstm}: {off}");
        }
    }
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
        let (mut sequences, mut single) = (Host::default(), Host::default());
        vision.sequences(&clips, &mut sequences);
        assert_eq!(sequences.places.is_some(), repeats);
        assert_eq!(sequences.distinct(), clips.iter().map(|c| frames.min(4 + c % 3)).sum::<usize>());
        let all = sequences.to(&Cpu::default()).unwrap().as_vec();
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
        let (x, w) = (matrix(random(n * d, "x"), n, d), matrix(random(d * e, "w"), d, e));
        let (b, weights) = (matrix(random(e, "b"), 1, e), matrix(random(n * e, "loss"), n, e));
        let loss = |y: Matrix<Cpu, Tape>| (y * weights.clone()).sum::<Rank0, _>().backward();
        let composite = {
            let y = affine::composite(x.leaky_trace(), &w, &b).unwrap();
            let values = y.as_vec();
            let grads = loss(y);
            [values, grads.get(&x).as_vec(), grads.get(&w).as_vec(), grads.get(&b).as_vec()]
        };
        let fused = {
            let [w, b] = [&w, &b].map(in_place);
            let y = affine::fused(x.leaky_trace(), &w, &b, true).unwrap();
            let values = y.as_vec();
            let mut grads = loss(y);
            let [dw, db] = [w, b].map(|p| p.take_gradient(&mut grads).unwrap());
            [values, grads.get(&x).as_vec(), dw, db]
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
    let mut config = config();
    config.lstm.hidden = 11;
    config.autoencoder.encoder = vec![14, 9];
    config.autoencoder.decoder = vec![13];
    let labels: Vec<usize> = (0..b).map(|i| i * 2 % classes).collect();
    for (architecture, rows) in [(Architecture::Lstm, 4 * b), (Architecture::Autoencoder, b)] {
        for (loss, kl_block) in [(Loss::L2, None), (Loss::Kl, None), (Loss::Kl, Some(4))] {
            let x = matrix(normal(rows * sizes.visual, 1.0, "finite x"), rows, sizes.visual);
            let objective = Objective {
                loss,
                train: Train { kl_block, w_cls: 0.7, w_rec: 1.3, ..Train::default() },
                labels: one_hot(&labels, classes),
                target: matrix(normal(b * width, 1.0, "finite target"), b, width),
            };
            let mut generator = Generator::new(Cpu::default(), architecture, &config, sizes, 3).unwrap();
            let mut saved = generator.params.save().unwrap();
            move_off_kinks(&mut saved);
            assert!(generator.params.restore(saved.clone(), 0).unwrap());
            let (_, mut grads) = objective.backward(generator.forward(&host(&x), Tape::default()).unwrap());
            let gradients: Vec<Vec<f32>> =
                generator.params.iter().map(|p| p.take_gradient(&mut grads).unwrap()).collect();
            for (place, gradient) in gradients.iter().enumerate() {
                let what = format!("{architecture} {loss} block {kl_block:?} d{}", saved[place].name);
                let direction = normal(gradient.len(), 1.0, &format!("direction {what}"));
                let analytic: f64 = gradient.iter().zip(&direction).map(|(g, v)| f64::from(g * v)).sum();
                let step = 2e-3f32;
                let mut at = |sign: f32| {
                    let mut moved: Vec<Saved> = saved.clone();
                    moved[place].state.value.iter_mut().zip(&direction).for_each(|(p, v)| *p += sign * step * v);
                    assert!(generator.params.restore(moved, 0).unwrap());
                    let ([_, _, total], _) = objective.backward(generator.forward(&host(&x), Tape::default()).unwrap());
                    f64::from(total)
                };
                let numeric = (at(1.0) - at(-1.0)) / (2.0 * f64::from(step));
                let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                let off = (numeric - analytic).abs() / length.max(1e-3);
                assert!(length > 1e-5 && off < 0.02, "{what}: {analytic}, numerically {numeric}, |g| {length}");
            }
        }
    }
}

/// Biases that leave each ReLU clearly on or clearly off: across its kink no difference can be taken.
fn move_off_kinks(saved: &mut [Saved]) {
    for p in saved.iter_mut().filter(|p| p.name.ends_with(".b")) {
        let far = match p.name.split_once('.') {
            Some(("encoder0", _)) => 3.0,
            Some(("encoder1" | "decoder0", _)) => 10.0,
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
    let mut params = Params::new(Cpu::default());
    params.add("p", start.clone(), 1, n).unwrap();
    params.add("b", vec![0.0; n], 1, n).unwrap();
    let one = host(&matrix(vec![1.0], 1, 1));
    let steps = f["grads"].as_array().unwrap().iter().zip(f["after"].as_array().unwrap());
    for (step, (grads, after)) in steps.enumerate() {
        // The gradient of sum_i g_i (1 p_i + b_i) is g.
        let y = affine::of_input(&Cpu::default(), &one, Tape::default(), params.get(0), params.get(1)).unwrap();
        let mut gradients = (y * matrix(floats(grads), 1, n)).sum::<Rank0, _>().backward();
        params.update(&adam(&train), &mut gradients).unwrap();
        let (ours, theirs) = (params.get(0).state().unwrap().value, doubles(after));
        for i in 0..n {
            // A step is at most about lr long; f32 holds a parameter near 1 to 6e-8.
            let off = (f64::from(ours[i]) - theirs[i]).abs();
            assert!(off < 5e-7, "step {} parameter {i}: {}, expected {}", step + 1, ours[i], theirs[i]);
        }
    }
    assert_eq!(params.step(), 7);
    assert_eq!(params.get(0).state().unwrap().value[0], start[0], "a parameter without a gradient stays");
}

/// The vectorised Adam of the CPU against dfdx's, with and without weight decay, also where the loss does not reach a
/// parameter any more.
#[test]
fn adam_in_place_gives_the_same_bits_as_dfdxs() {
    let (rows, cols) = (37, 1100);
    let start = normal(rows * cols, 0.1, "adam start");
    for decay in [0.0, 0.01] {
        let adam = adam_with_decay(0.003, decay);
        let device = Cpu::default();
        let fresh = || State::fresh(start.clone());
        let mut on_tape: OnTape<Cpu> = Weight::new(&device, fresh(), rows, cols).unwrap();
        let mut in_place: InPlace = Weight::new(&device, fresh(), rows, cols).unwrap();
        let bias = in_place_of(vec![0.0; cols], 1, cols);
        for step in 1..=6 {
            let x = matrix(normal(5 * rows, 1.0, &format!("adam x {step}")), 5, rows);
            let y = affine::of_input(&device, &host(&x), Tape::default(), &in_place, &bias).unwrap();
            let mut grads = y.square().sum::<Rank0, _>().backward();
            // The same gradient, to the bit, for both.
            let gradient = if step < 6 {
                let gradient = in_place.take_gradient(&mut grads).unwrap();
                let y = affine::of_input(&device, &host(&x), Tape::default(), &in_place, &bias).unwrap();
                y.square().sum::<Rank0, _>().backward();
                gradient
            } else {
                in_place.take_gradient(&mut grads).unwrap();
                vec![0.0; rows * cols]
            };
            let mut reference =
                (on_tape.value.leaky_trace() * matrix(gradient, rows, cols)).sum::<Rank0, _>().backward();
            on_tape.update(&adam, step, &mut reference).unwrap();
            in_place.update(&adam, step, &mut grads).unwrap();
            let bits =
                |w: State| [w.value, w.moment1, w.moment2].map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>());
            assert!(bits(on_tape.state().unwrap()) == bits(in_place.state().unwrap()), "step {step}, decay {decay}");
        }
    }
}
