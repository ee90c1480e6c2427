//! One run: train what its cell says, score it, and hand back what the store keeps. Generators are trained elsewhere, side by
//! side where the device can; here is what each trains on ([`task`]) and what comes of it ([`score`]).

use super::Error;
use crate::dataset::external::External;
use crate::dataset::{Features, Split, Standardiser, View};
use crate::device::Device;
use crate::experiment::config::{Control, Match, Svm, SvmTraining};
use crate::experiment::{Cell, Part};
use crate::score::bank::Bank;
use crate::score::controls::{self, Material};
use crate::score::fusion::fill;
use crate::score::metrics::{FeatureError, feature_error, top_k};
use crate::score::platt::Sigmoid;
use crate::score::{Scores, Solver};
use crate::store::{BankRecord, RunResult};
use crate::train::batches::audio_rows;
use crate::train::heads::{Head, HeadData, TrainedHead};
use crate::train::{self, Checkpoint, Task, Trainer, Vision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a run works with.
pub struct Job<'a> {
    /// What to train.
    pub cell: &'a Cell,
    /// Its seed; 0 where none is used.
    pub seed: u64,
    /// The data.
    pub view: Arc<View>,
    /// Standardised vision.
    pub vision: Vision,
    /// The bank of its audio feature (generators and controls).
    pub bank: Option<Arc<BankInUse>>,
    /// The features to score, where another program generated them.
    pub external: Option<Arc<External>>,
    /// Where to go on.
    pub from: Option<Checkpoint>,
}

/// An SVM bank with its scores of recorded audio, by split.
pub struct BankInUse {
    /// The bank.
    pub bank: Bank,
    /// Scores of val clips, and of test clips where there are any.
    pub real: Vec<(Split, Scores)>,
}

impl BankInUse {
    fn real(&self, split: Split) -> Result<&Scores, train::Error> {
        let found = self.real.iter().find(|(of, _)| *of == split);
        found.map(|(_, scores)| scores).ok_or(train::Error::NoBank)
    }
}

impl Job<'_> {
    /// Epochs that it has behind it.
    pub fn done(&self) -> usize {
        self.from.as_ref().map_or(0, |checkpoint| checkpoint.epoch)
    }
}

/// Trains and scores what is no generator; `step` is told how far a training is, and its error ends it.
pub fn run(
    device: &dyn Device,
    job: &Job,
    step: &mut dyn FnMut(usize, usize) -> Result<(), train::Error>,
) -> Result<RunResult, Error> {
    match &job.cell.part {
        Part::Stream { stream } => match job.view.dataset.scores(stream) {
            Some(given) => given_scores(&job.view, given),
            None => run_stream(device, job, stream, step),
        },
        Part::Bank { audio } => run_bank(&*device.solver()?, job, audio),
        Part::Control { audio, control } => run_control(&*device.solver()?, job, audio, *control),
        Part::External { audio, external } => run_external(&*device.solver()?, job, audio, external),
        Part::Generator { .. } => Err(train::Error::Unsupported("a generator is trained with its group".into()).into()),
    }
}

fn run_stream(
    device: &dyn Device,
    job: &Job,
    stream: &str,
    step: &mut dyn FnMut(usize, usize) -> Result<(), train::Error>,
) -> Result<RunResult, Error> {
    let config = &job.cell.config;
    let HeadData { train, labels, val } = HeadData::of(&job.view, &job.vision, stream)?;
    let classes = job.view.dataset.classes();
    let head = Head { stream, train: &train, labels: &labels, val: &val, classes, tsn: &config.tsn, seed: job.seed };
    let TrainedHead { probabilities, loss, weights, bias } = device.head(&head, config.train.engine, step)?;
    let mut values = BTreeMap::from([("loss".to_string(), loss)]);
    let mut kept = Vec::new();
    let mut rest = &probabilities[..];
    for &split in job.view.scored() {
        let (here, after) = rest.split_at(job.view.clips(split).len() * classes);
        rest = after;
        let scores = Scores::complete(here.to_vec(), classes);
        scores.check("lower tsn.lr")?;
        values.extend(named(split, accuracies(&scores, &job.view, split)));
        kept.push((format!("{}vision", split.prefix()), scores));
    }
    Ok(RunResult { scores: kept, values, bank: None, head: Some([weights, bias]) })
}

/// A stream whose class probabilities come with the data set: nothing is trained.
fn given_scores(view: &View, given: &Features) -> Result<RunResult, Error> {
    let classes = view.dataset.classes();
    let mut result = RunResult::default();
    for &split in view.scored() {
        let clips = view.clips(split);
        let mut probabilities = vec![0.0; clips.len() * classes];
        for (row, &clip) in probabilities.chunks_exact_mut(classes).zip(clips) {
            given.read_row(clip, row);
        }
        let scores = Scores::complete(probabilities, classes);
        scores.check("extract the class scores again, or import without them (--no-scores)")?;
        result.values.extend(named(split, accuracies(&scores, view, split)));
        result.scores.push((format!("{}vision", split.prefix()), scores));
    }
    Ok(result)
}

/// Numbers about a split's clips under their names in the store.
fn named(split: Split, values: BTreeMap<String, f64>) -> impl Iterator<Item = (String, f64)> {
    values.into_iter().map(move |(name, value)| (format!("{}{name}", split.prefix()), value))
}

/// Clips of a split that sound, and their places in it.
fn sounded_of(view: &View, split: Split) -> (Vec<usize>, Vec<usize>) {
    let clips = view.clips(split).iter().enumerate();
    clips.filter(|(_, c)| view.sounded[**c]).map(|(place, c)| (*c, place)).unzip()
}

fn real_rows(view: &View, audio: &str, clips: &[usize]) -> Result<Vec<f32>, Error> {
    let missing = || train::Error::NoSuchFeature { kind: "audio feature", name: audio.into() };
    Ok(audio_rows(view, view.dataset.audio(audio).ok_or_else(missing)?, clips))
}

/// A bank's probabilities of real audio of a split: sounded clips only.
fn real_scores(bank: &Bank, view: &View, split: Split, audio: &str, solver: &dyn Solver) -> Result<Scores, Error> {
    let (classes, n) = (view.dataset.classes(), view.clips(split).len());
    let (clips, places) = sounded_of(view, split);
    let p = bank.probabilities(&real_rows(view, audio, &clips)?, classes, solver)?;
    let mut scores = Scores { classes, values: vec![0.0; n * classes], present: vec![false; n] };
    for (row, place) in p.chunks_exact(classes).zip(places) {
        scores.values[place * classes..][..classes].copy_from_slice(row);
        scores.present[place] = true;
    }
    Ok(scores)
}

fn run_bank(solver: &dyn Solver, job: &Job, audio: &str) -> Result<RunResult, Error> {
    let view = &job.view;
    let x = real_rows(view, audio, &view.train_sounded)?;
    let (labels, classes) = (view.labels(&view.train_sounded), view.dataset.classes());
    let bank = Bank::train(&x, &labels, classes, &job.cell.config.svm, solver)?;
    let (mut kept, mut values) = (Vec::new(), BTreeMap::new());
    for &split in view.scored() {
        let scores = real_scores(&bank, view, split, audio, solver)?;
        values.extend(named(split, accuracies(&scores, view, split)));
        kept.push((format!("{}real", split.prefix()), scores));
    }
    values.extend(bank.quality().values());
    Ok(RunResult { scores: kept, values, bank: Some(bank_record(&bank)), head: None })
}

/// What a generator's training begins with.
pub fn task(cell: &Cell, seed: u64, view: &Arc<View>, vision: &Vision) -> Result<Task, train::Error> {
    let Part::Generator { audio, generator, loss, classifier } = &cell.part else {
        return Err(train::Error::Unsupported("not a generator".into()));
    };
    Ok(Task {
        view: view.clone(),
        vision: vision.clone(),
        audio: audio.clone(),
        generator: cell.config.generator(*generator),
        loss: *loss,
        classifier: *classifier,
        config: cell.config.clone(),
        seed,
    })
}

/// Scores a trained generator, the one of this place in its trainer.
pub fn score(job: &Job, trainer: &dyn Trainer, cell: usize, solver: &dyn Solver) -> Result<RunResult, Error> {
    let Part::Generator { audio, .. } = &job.cell.part else {
        return Err(train::Error::Unsupported("not a generator".into()).into());
    };
    let (view, config) = (&job.view, &job.cell.config);
    let classes = view.dataset.classes();
    let real_train = real_rows(view, audio, &view.train_sounded)?;
    let matched: Box<dyn Fn(Vec<f32>) -> Vec<f32>> = match config.match_generated {
        Match::None => Box::new(|g| g),
        Match::Moments => {
            let width = real_train.len() / view.train_sounded.len().max(1);
            let from = Standardiser::of_matrix(&trainer.generate(cell, &view.train_sounded)?, width);
            let to = Standardiser::of_matrix(&real_train, width);
            Box::new(move |mut g| {
                from.apply(&mut g);
                to.undo(&mut g);
                g
            })
        }
    };
    let silent_train: Vec<usize> = view.train.iter().copied().filter(|&c| !view.sounded[c]).collect();
    let on_silent_train = matched(trainer.generate(cell, &silent_train)?);
    let silent_labels = view.labels(&silent_train);
    let shared = job.bank.clone().ok_or(train::Error::NoBank)?;
    let own = match config.svm.train_on {
        SvmTraining::Real => None,
        SvmTraining::RealAndGenerated => {
            let x = [real_train, on_silent_train.clone()].concat();
            let labels = [view.labels(&view.train_sounded), silent_labels.clone()].concat();
            let bank = Bank::train(&x, &labels, classes, &config.svm, solver)?;
            let real = view.scored().iter().map(|&split| Ok((split, real_scores(&bank, view, split, audio, solver)?)));
            let real = real.collect::<Result<Vec<_>, Error>>()?;
            Some(Arc::new(BankInUse { bank, real }))
        }
    };
    let used = own.as_ref().unwrap_or(&shared);
    let mut result = RunResult::default();
    for &split in view.scored() {
        let generated = matched(trainer.generate(cell, view.clips(split))?);
        score_generated(&mut result, job, used, (audio, split), &generated, solver)?;
    }
    result.values.extend(own.iter().flat_map(|own| own.bank.quality().values()));
    if !silent_train.is_empty() {
        let on_train = Scores::complete(used.bank.probabilities(&on_silent_train, classes, solver)?, classes);
        let top1 = top_k(&on_train, &silent_labels, 1, |_| true);
        result.values.extend(top1.map(|v| ("top1/silent_train".to_string(), v)));
    }
    result.values.insert("parameters".into(), trainer.parameters(cell) as f64);
    if let Some(own) = &own {
        result.scores.extend(own.real.iter().map(|(split, real)| (format!("{}real", split.prefix()), real.clone())));
        result.bank = Some(bank_record(&own.bank));
    }
    Ok(result)
}

/// Scores the generated feature of a split's clips, (N, D_a), with a bank: class probabilities, accuracies with the recorded
/// feature wherever a clip sounds, and how near the features come to the true ones.
fn score_generated(
    result: &mut RunResult,
    job: &Job,
    used: &BankInUse,
    (audio, split): (&str, Split),
    generated: &[f32],
    solver: &dyn Solver,
) -> Result<(), Error> {
    let view = &job.view;
    let classes = view.dataset.classes();
    let scores = Scores::complete(used.bank.probabilities(generated, classes, solver)?, classes);
    let sounded: Vec<bool> = view.clips(split).iter().map(|&c| view.sounded[c]).collect();
    let mut values = accuracies(&fill(used.real(split)?, &scores, &sounded), view, split);
    feature_errors(&mut values, generated, (view, split), audio)?;
    result.values.extend(named(split, values));
    result.scores.push((format!("{}generated", split.prefix()), scores));
    Ok(())
}

fn run_control(solver: &dyn Solver, job: &Job, audio: &str, control: Control) -> Result<RunResult, Error> {
    let view = &job.view;
    let config = &job.cell.config;
    let looks_at_vision = matches!(control, Control::Ridge | Control::Knn);
    let means = |clips: &[usize]| if looks_at_vision { job.vision.frame_means(clips) } else { vec![0.0; clips.len()] };
    let visual_width = if looks_at_vision { job.vision.width() } else { 1 };
    let train_audio = real_rows(view, audio, &view.train_sounded)?;
    let shared = job.bank.clone().ok_or(train::Error::NoBank)?;
    let train_vision = means(&view.train_sounded);
    let mut result = RunResult::default();
    for &split in view.scored() {
        let clips = view.clips(split);
        let truth = if control == Control::Oracle { real_rows(view, audio, clips)? } else { Vec::new() };
        let material = Material {
            train_vision: &train_vision,
            train_audio: &train_audio,
            vision: &means(clips),
            truth: &truth,
            visual_width,
            audio_width: train_audio.len() / view.train_sounded.len().max(1),
        };
        let generated = controls::generate(control, &material, &config.knn, &config.ridge);
        score_generated(&mut result, job, &shared, (audio, split), &generated, solver)?;
    }
    Ok(result)
}

/// Scores features that another program generated, as if one of ours had.
fn run_external(solver: &dyn Solver, job: &Job, audio: &str, name: &str) -> Result<RunResult, Error> {
    let (view, shared) = (&job.view, job.bank.clone().ok_or(train::Error::NoBank)?);
    let missing = || train::Error::NoSuchFeature { kind: "feature from elsewhere", name: format!("{audio}.{name}") };
    let external = job.external.as_ref().ok_or_else(missing)?;
    let mut result = RunResult::default();
    for &split in view.scored() {
        let generated = external.rows(view.clips(split)).ok_or_else(missing)?;
        score_generated(&mut result, job, &shared, (audio, split), &generated, solver)?;
    }
    // Of silent train clips, where they are there: `fusion.select_on: train` looks at them.
    let silent: Vec<usize> = view.train.iter().copied().filter(|&c| !view.sounded[c]).collect();
    if let (Some(on_train), false) = (external.rows(&silent), silent.is_empty()) {
        let classes = view.dataset.classes();
        let scores = Scores::complete(shared.bank.probabilities(&on_train, classes, solver)?, classes);
        let top1 = top_k(&scores, &view.labels(&silent), 1, |_| true);
        result.values.extend(top1.map(|v| ("top1/silent_train".to_string(), v)));
    }
    Ok(result)
}

/// top1 and top5 in percent over all clips of a split, and over sounded and silent ones.
fn accuracies(scores: &Scores, view: &View, split: Split) -> BTreeMap<String, f64> {
    let clips = view.clips(split);
    let labels = view.labels(clips);
    let mut values = BTreeMap::new();
    for (name, k) in [("top1", 1), ("top5", 5)] {
        for (suffix, wanted) in [("", None), ("/sounded", Some(true)), ("/silent", Some(false))] {
            let of = |place: usize| wanted.is_none_or(|w| view.sounded[clips[place]] == w);
            values.extend(top_k(scores, &labels, k, of).map(|v| (format!("{name}{suffix}"), v)));
        }
    }
    values
}

/// Errors of a split's generated features wherever the truth is known, for sounded and silent clips.
fn feature_errors(
    values: &mut BTreeMap<String, f64>,
    generated: &[f32],
    (view, split): (&View, Split),
    audio: &str,
) -> Result<(), Error> {
    let of_split = view.clips(split);
    let width = generated.len() / of_split.len().max(1);
    let scale = Standardiser::centring(&real_rows(view, audio, &view.train_sounded)?, width);
    for (name, wanted) in [("sounded", true), ("silent", false)] {
        let known = |c: usize| view.sounded[c] == wanted && view.dataset.audio_row[c].is_some();
        let (clips, places): (Vec<usize>, Vec<usize>) =
            of_split.iter().enumerate().filter(|(_, c)| known(**c)).map(|(place, c)| (*c, place)).unzip();
        let mut truth = real_rows(view, audio, &clips)?;
        let mut ours: Vec<f32> = places.iter().flat_map(|&p| generated[p * width..][..width].to_vec()).collect();
        scale.apply(&mut truth);
        scale.apply(&mut ours);
        if let Some(FeatureError { cosine, r2, mse, .. }) = feature_error(&ours, &truth, width) {
            values.insert(format!("cosine/{name}"), cosine);
            // Where the truth does not vary there is nothing to explain.
            values.extend(r2.map(|r2| (format!("r2/{name}"), r2)));
            values.insert(format!("mse/{name}"), mse);
        }
    }
    Ok(())
}

fn bank_record(bank: &Bank) -> BankRecord {
    let width = bank.scale.width();
    BankRecord {
        classes: bank.weights.len() / (width + 1),
        width,
        fits: bank.fits.clone(),
        numbers: [&bank.scale.mean[..], &bank.scale.inverse_sd, &bank.weights].concat(),
        sigmoids: bank.sigmoids.iter().map(|s| (s.a, s.b)).collect(),
    }
}

/// A stored bank, ready to score.
pub fn bank_of_record(record: BankRecord, svm: &Svm) -> Bank {
    let d = record.width;
    Bank {
        scale: Standardiser { mean: record.numbers[..d].to_vec(), inverse_sd: record.numbers[d..2 * d].to_vec() },
        weights: record.numbers[2 * d..].to_vec(),
        sigmoids: record.sigmoids.iter().map(|&(a, b)| Sigmoid { a, b }).collect(),
        probability: svm.probability,
        fits: record.fits,
        fitted_on: Vec::new(),
        tolerance: svm.tolerance,
    }
}
