//! Times the parts that cost: `cargo bench --bench parts -- [PART [KEY=VALUE...]]...`.
//!
//! Without a part, all of them at the sizes of docs/benchmarks.md. `repeat=N` sets how often a part is timed, `json=1`
//! prints one line of JSON for each instead of a row. benches/peers/compare.py reads that and times the peers in turn. Where the operations of
//! a part can be counted, the FMA limit of the machine ([`limit`]) is measured before each repetition, and the part's share of it is printed.
//! `device=cuda` or `device=cuda:N` trains generators on a GPU, in a program built with the feature `cuda`, and `engine=dfdx` by
//! dfdx's own operations. `precision=bf16` has an LSTM's products multiply bfloat16 numbers.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod generators;
mod limit;
mod on_gpu;

use compute::matmul::{Mat, Packed, product};
use compute::nn::packed_param::{GradFactors, Rows};
use compute::nn::{AdamConfig, PackedParam, ParamState};
use compute::rng::Rng;
use compute::svm::{self, Problem, TrainingSet};
use generators::{autoencoder_step, lstm_step};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use unmute::dataset::{Dataset, Standardiser, View, synth};
use unmute::device::{Which, cpu};
use unmute::experiment::Config;
use unmute::experiment::config::{Architecture, Classifier, Engine, Loss, Svm};
use unmute::model::Sizes;
use unmute::score::bank::Bank;
use unmute::score::solver::OnCpu;
use unmute::train::cell_trainer::adam;
use unmute::train::objective::Objective;
use unmute::train::{Batch, Checkpoint, Epoch, Error, Listener, Task, Vision, train};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Runs and times a part.
type Run = fn(&mut Part) -> Outcome;

/// A part's name, its default arguments, and what runs it.
const PARTS: &[(&str, &str, Run)] = &[
    ("product", "m=2304 k=2048 n=2048 repeat=20", products),
    ("product", "m=2304 k=2048 n=2048 packed=1 repeat=20", products),
    ("gradient", "m=2048 k=2304 n=2048 repeat=20", gradient),
    ("lstm", "dims=2048 hidden=512 batch=128 frames=18 audio=384 classes=200 repeat=20", lstm_step),
    ("lstm", "dims=1024 hidden=256 batch=128 frames=18 audio=384 classes=200 repeat=40", lstm_step),
    ("lstm", "dims=1024 hidden=512 batch=32 frames=18 audio=384 classes=200 repeat=40", lstm_step),
    ("lstm", "dims=2048 hidden=512 batch=128 frames=18 audio=384 classes=200 precision=bf16 repeat=20", lstm_step),
    ("lstm", "dims=1024 hidden=512 batch=32 frames=18 audio=384 classes=200 precision=bf16 repeat=40", lstm_step),
    ("autoencoder", "dims=2048 batch=128 audio=384 classes=200 repeat=100", autoencoder_step),
    ("feeding", "clips=3000 batch=128 hidden=512 repeat=3", feeding),
    ("svm", "clips=20000 dims=1024 classes=100 c=0.01 tolerance=0.001 repeat=3", svm_bank),
    ("svm", "clips=20000 dims=1024 classes=100 c=1 tolerance=0.001 repeat=1", svm_bank),
    ("platt", "clips=20000 dims=1024 classes=100 c=0.01 tolerance=0.001 repeat=1", platt_bank),
];

/// One part with its arguments, and the seconds that it took.
struct Part {
    name: &'static str,
    arguments: BTreeMap<String, String>,
    seconds: Vec<f64>,
    /// Processor seconds of all threads: what a busy machine disturbs least.
    busy: Vec<f64>,
    /// Operations of one repetition, where counting them says something.
    flops: f64,
    /// The FMA limit before each repetition of a part with counted operations, FLOP/s.
    limits: Vec<f64>,
    facts: serde_json::Map<String, serde_json::Value>,
}

impl Part {
    fn number(&self, key: &str) -> Result<f64, String> {
        let value = self.arguments.get(key).ok_or_else(|| format!("{}: no {key}=", self.name))?;
        value.parse().map_err(|_| format!("{key}={value}: should be a number"))
    }

    fn size(&self, key: &str) -> Result<usize, String> {
        self.number(key).map(|n| n as usize)
    }

    /// Runs `body` once to warm up where `warm`, then as often as `repeat` says.
    fn time(&mut self, warm: usize, mut body: impl FnMut() -> Outcome) -> Outcome {
        for _ in 0..warm {
            body()?;
        }
        for _ in 0..self.size("repeat")? {
            if self.flops > 0.0 && self.arguments.get("device").is_none_or(|device| device == "cpu") {
                self.limits.push(limit::measure(self.arguments.get("precision").is_some_and(|of| of == "bf16")));
            }
            let (start, busy) = (Instant::now(), busy());
            body()?;
            self.seconds.push(start.elapsed().as_secs_f64());
            self.busy.push(crate::busy() - busy);
        }
        Ok(())
    }

    fn print(&mut self) {
        let settings = |part: &Part| {
            let shown = part.arguments.iter().filter(|(k, _)| !["repeat", "json"].contains(&k.as_str()));
            shown.map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
        };
        if self.arguments.contains_key("json") {
            let line = serde_json::json!({
                "part": self.name, "arguments": self.arguments, "threads": rayon::current_num_threads(),
                "seconds": self.seconds, "busy": self.busy, "flops": self.flops, "limits": self.limits, "facts": self.facts,
            });
            println!("{line}");
            return;
        }
        self.seconds.sort_by(f64::total_cmp);
        self.busy.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (self.seconds.first(), self.seconds.last()) else { return };
        let median = self.seconds[self.seconds.len() / 2];
        let mut rate = String::new();
        if self.flops > 0.0 {
            rate = format!("{:7.1} GFLOP/s", self.flops / median / 1e9);
        }
        if !self.limits.is_empty() {
            self.limits.sort_by(f64::total_cmp);
            let limit = self.limits[self.limits.len() / 2];
            rate += &format!(", {:5.1} % of {:.1}", 100.0 * self.flops / median / limit, limit / 1e9);
        }
        let facts: String = self.facts.iter().map(|(k, v)| format!(" {k}={v}")).collect();
        let times = [*min, median, *max].map(|s| format!("{:10.3}", 1e3 * s)).join(" ");
        let busy = self.busy.get(self.busy.len() / 2).map(|busy| format!("{:10.3} ms busy", 1e3 * busy));
        println!("{:<12} {times} ms {:18} {rate:>32}  {}{facts}", self.name, busy.unwrap_or_default(), settings(self));
    }
}

fn main() -> Outcome {
    // A word that nobody knows would be timed as the widest vectors.
    compute::simd::asked()?;
    let mut parts: Vec<(Part, Run)> = Vec::new();
    let part = |&(name, defaults, run): &(&'static str, &str, Run)| {
        let arguments = defaults.split(' ').filter_map(|a| a.split_once('='));
        let arguments = arguments.map(|(k, v)| (k.to_string(), v.to_string())).collect();
        (
            Part {
                name,
                arguments,
                seconds: Vec::new(),
                busy: Vec::new(),
                flops: 0.0,
                limits: Vec::new(),
                facts: Default::default(),
            },
            run,
        )
    };
    let mut for_all: Vec<(String, String)> = Vec::new();
    // cargo itself adds --bench.
    for argument in std::env::args().skip(1).filter(|a| a != "--bench") {
        match argument.split_once('=') {
            Some((key, value)) => match parts.last_mut() {
                Some((part, _)) => drop(part.arguments.insert(key.into(), value.into())),
                None => for_all.push((key.into(), value.into())),
            },
            None => {
                let names = || PARTS.iter().map(|p| p.0).collect::<Vec<_>>().join(", ");
                let found = PARTS.iter().find(|p| p.0 == argument);
                parts.push(part(found.ok_or_else(|| format!("no part {argument:?}; there are {}", names()))?));
            }
        }
    }
    if parts.is_empty() {
        parts = PARTS.iter().map(part).collect();
    }
    for (mut part, run) in parts {
        part.arguments.extend(for_all.iter().cloned());
        // On a thread of the pool, as the workers of a run are.
        rayon::scope(|_| run(&mut part).map_err(|error| error.to_string()))?;
        part.print();
    }
    Ok(())
}

/// Processor seconds of all threads so far, 0 where the system does not say.
fn busy() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |task: std::fs::DirEntry| -> Option<f64> {
        std::fs::read_to_string(task.path().join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    tasks.filter_map(of).sum::<f64>() / 1e9
}

fn normal(n: usize, purpose: &str) -> Vec<f32> {
    let mut stream = Rng::new(0, purpose);
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// A weight's gradient a^T b, of which Adam takes its step piece by piece.
fn gradient(part: &mut Part) -> Outcome {
    let [m, k, n] = [part.size("m")?, part.size("k")?, part.size("n")?];
    let (a, b) = (Arc::new(normal(k * m, "a")), Rc::new(Packed::new(Mat::new(&normal(k * n, "b"), k, n))));
    let mut weight = PackedParam::new(ParamState::fresh(normal(m * n, "w")), m, n);
    let adam = AdamConfig { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, decay: None };
    part.flops = 2.0 * (m * k * n) as f64;
    part.time(2, || {
        weight.accumulate(GradFactors::Whole { x: Rows::Shared(a.clone()), dy: b.clone() });
        weight.update(&adam, 1);
        Ok(())
    })
}

fn products(part: &mut Part) -> Outcome {
    let [m, k, n] = [part.size("m")?, part.size("k")?, part.size("n")?];
    let (a, b, mut out) = (normal(m * k, "a"), normal(k * n, "b"), vec![0.0; m * n]);
    // `ta=1` and `tb=1` store an operand transposed, as backward passes find it.
    let (ta, tb) = (part.arguments.contains_key("ta"), part.arguments.contains_key("tb"));
    part.flops = 2.0 * (m * k * n) as f64;
    // `packed=1` is a product with a matrix that lies as products read it, as weights do.
    if part.arguments.contains_key("packed") {
        let b = Packed::new(if tb { Mat::new(&b, n, k).t() } else { Mat::new(&b, k, n) });
        return part.time(2, || {
            b.product(black_box(&mut out), &a, false);
            Ok(())
        });
    }
    part.time(2, || {
        let a = if ta { Mat::new(&a, k, m).t() } else { Mat::new(&a, m, k) };
        let b = if tb { Mat::new(&b, n, k).t() } else { Mat::new(&b, k, n) };
        product(black_box(&mut out), a, b, 1.0, false);
        Ok(())
    })
}

/// Notes when the first and the last step of an epoch are due.
#[derive(Default)]
struct Clock {
    began: Option<Instant>,
    steps: f64,
}

impl Listener for Clock {
    fn step(&mut self, done: usize, total: usize) -> Result<(), Error> {
        let began = *self.began.get_or_insert_with(Instant::now);
        if done == total {
            self.steps = began.elapsed().as_secs_f64();
        }
        Ok(())
    }

    fn epoch(&mut self, _: &Epoch, _: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
        Ok(())
    }
}

/// An epoch of the LSTM from f16 on disk (in the page cache), batches gathered ahead, beside the same steps on one batch in
/// memory and the gathering alone: how much of the gathering the steps wait for.
fn feeding(part: &mut Part) -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("data");
    let options = synth::Options {
        preset: synth::Preset::Paper,
        seed: 0,
        train_clips: Some(part.size("clips")?),
        val_clips: Some(256),
        sounded: false,
    };
    synth::synth(&path, &options, &|_, _| ())?;
    let view = Arc::new(View::new(Arc::new(Dataset::open(&path)?), None)?);
    let vision = Vision::new(&view);
    let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "bench", "grid": {} }))?;
    (config.lstm.hidden, config.train.batch, config.train.epochs) = (part.size("hidden")?, part.size("batch")?, 1);
    let config = Arc::new(config);
    let audio = view.dataset.manifest.audio.first().ok_or("no audio feature")?.name.clone();
    let generator = config.generator(Architecture::Lstm);
    let batches: Vec<&[usize]> = view.train_sounded.chunks(config.train.batch).collect();
    let mut batch = Batch::default();
    let (mut gathering, mut stepping, mut waited) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..part.size("repeat")? {
        let start = Instant::now();
        batches.iter().for_each(|clips| vision.sequences(clips, &mut batch.x));
        let gather = start.elapsed().as_secs_f64();
        vision.sequences(batches[0], &mut batch.x);
        let clips = batches[0].len();
        let sizes = Sizes {
            frames: vision.frames(),
            visual: vision.width(),
            audio: view.dataset.audio(&audio).map_or(0, |f| f.row_len()),
            classes: view.dataset.classes(),
        };
        batch.labels = view.labels(batches[0]);
        batch.target = normal(clips * sizes.audio, "target");
        let described = generator.describe().network(sizes);
        let mut network = cpu::engine(Engine::Fused, &generator, &described, sizes.frames, 0)?;
        let objective = Objective { loss: Loss::L2, classifier: Classifier::With, train: &config.train };
        let adam = adam(&config.train);
        network.step(&adam, &objective, &batch)?;
        let start = Instant::now();
        for _ in &batches {
            black_box(network.step(&adam, &objective, &batch)?.loss);
        }
        let steps = start.elapsed().as_secs_f64();
        let task = Task {
            view: view.clone(),
            vision: vision.clone(),
            audio: audio.clone(),
            generator: generator.clone(),
            loss: Loss::L2,
            classifier: Classifier::With,
            config: config.clone(),
            seed: 0,
        };
        let mut clock = Clock::default();
        let (schedule, device) = (task.schedule(0), Which::Cpu.open()?);
        let plan = device.room(std::slice::from_ref(&task))?;
        let mut trainer = device.trainer(vec![task], vec![None], plan)?;
        train(&mut *trainer, &schedule, &mut [&mut clock])?.into_iter().collect::<Result<(), Error>>()?;
        part.seconds.push(clock.steps);
        gathering.push(gather);
        stepping.push(steps);
        waited.push((clock.steps - steps) / gather);
    }
    for (name, mut values) in [("gathering_s", gathering), ("steps_s", stepping), ("share_waited_for", waited)] {
        values.sort_by(f64::total_cmp);
        part.facts.insert(name.into(), values[values.len() / 2].into());
    }
    Ok(())
}

/// Made-up features, standardised: a centre for each class and three times as much noise; clip i is of class i mod K.
/// With `data=FILE`, they are written there too (f32, row after row), for the peers to read.
fn clips(part: &Part) -> Result<(Vec<f32>, Vec<usize>), Box<dyn std::error::Error>> {
    let (n, d, k) = (part.size("clips")?, part.size("dims")?, part.size("classes")?);
    let (centres, mut x) = (normal(k * d, "centres"), normal(n * d, "clips"));
    let labels: Vec<usize> = (0..n).map(|i| i % k).collect();
    for (x, &label) in x.chunks_exact_mut(d).zip(&labels) {
        x.iter_mut().zip(&centres[label * d..][..d]).for_each(|(x, c)| *x += 0.3 * c);
    }
    Standardiser::of_matrix(&x, d).apply(&mut x);
    if let Some(file) = part.arguments.get("data") {
        let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(file, bytes)?;
    }
    Ok((x, labels))
}

fn svm_bank(part: &mut Part) -> Outcome {
    let (mut x, labels) = clips(part)?;
    let (d, k) = (part.size("dims")?, part.size("classes")?);
    x = x.chunks_exact(d).flat_map(|row| row.iter().copied().chain([1.0])).collect();
    let (c, tolerance) = (part.number("c")? as f32, part.number("tolerance")?);
    let problems: Vec<Problem> = (0..k).map(|class| Problem { class }).collect();
    let mut fits = Vec::new();
    part.time(0, || {
        let shared = TrainingSet { x: &x, width: d + 1, labels: &labels, c, tolerance };
        fits = svm::train(&shared, &problems, &mut vec![0.0; k * (d + 1)]);
        Ok(())
    })?;
    let newton: usize = fits.iter().map(|f| f.newton_steps).sum();
    let cg: usize = fits.iter().map(|f| f.cg_steps).sum();
    part.facts.insert("newton".into(), (newton as f64 / k as f64).into());
    part.facts.insert("cg".into(), (cg as f64 / k as f64).into());
    let looks: usize = fits.iter().map(|f| f.dual_looks).sum();
    part.facts.insert("dual".into(), (looks as f64 / k as f64).into());
    part.facts.insert("worst_gap".into(), fits.iter().map(|f| f.duality_gap).fold(0.0, f64::max).into());
    if part.arguments.contains_key("json") {
        part.facts.insert("objectives".into(), fits.iter().map(|f| f.objective).collect::<Vec<_>>().into());
    }
    Ok(())
}

/// The whole bank, with three-fold calibration.
fn platt_bank(part: &mut Part) -> Outcome {
    let (x, labels) = clips(part)?;
    let config = Svm { c: part.number("c")?, tolerance: part.number("tolerance")?, ..Svm::default() };
    let classes = part.size("classes")?;
    part.time(0, || {
        black_box(Bank::train(&x, &labels, classes, &config, &OnCpu)?);
        Ok(())
    })
}
