//! Cells trained together on an engine, against the CPU's training of each of them.

use super::host::{self, Host};
use crate::support::features::Source;
use crate::support::networks::train_on;
use crate::support::numbers::{assert_close, assert_near, wide};
use std::sync::Arc;
use unmute::dataset::import::{self, Rows};
use unmute::dataset::{Dataset, Missing, MissingBy, Precision, View};
use unmute::device::Which;
use unmute::experiment::Config;
use unmute::experiment::config::{Architecture, Classifier, L2Reduction, Loss, Target, TestFrame};
use unmute::gpu::batched_trainer::{BatchedTrainer, demand, free_bytes, side_by_side};
use unmute::gpu::feature_cache::KeepsFeatures;
use unmute::gpu::memory::{Features, MemoryPlan};
use unmute::train::{Checkpoint, Epoch, Error, Listener, Measures, Task, Trainer, Vision};

/// A data set with two streams and two audio features of different widths.
pub fn data(precision: Precision) -> (tempfile::TempDir, Arc<View>) {
    let dir = tempfile::tempdir().unwrap();
    let streams = vec![("rgb", 7), ("flow", 4)];
    let audio = vec![("vggish", 5), ("aenet", 4)];
    let source = Source { clips: 48, streams, audio, silent_every: 7, ..Source::default() };
    source.write(&dir.path().join("source"));
    let rows = [("vggish".to_string(), Rows::Sample(3)), ("aenet".to_string(), Rows::Mean)].into();
    let options = import::Options { frames: 4, rows, name: None, precision, ..Default::default() };
    import::import(&dir.path().join("source"), &dir.path().join("data"), &options, &|_, _| ()).unwrap();
    let missing = Missing { rate: 0.4, by: MissingBy::Random, seed: 7 };
    let data = Dataset::open(&dir.path().join("data")).unwrap();
    let view = View::new(Arc::new(data), Some(&missing)).unwrap();
    (dir, Arc::new(view))
}

fn config(change: impl Fn(&mut Config)) -> Arc<Config> {
    let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "test", "grid": {} })).unwrap();
    config.train.batch = 8;
    config.train.epochs = 4;
    config.lstm.hidden = 10;
    config.autoencoder.encoder = vec![12, 6];
    config.autoencoder.decoder = vec![9];
    change(&mut config);
    Arc::new(config)
}

/// Generators that the kernels know.
pub fn architectures() -> impl Iterator<Item = Architecture> {
    Architecture::ALL.iter().copied().filter(|a| a.with_defaults().describe().fused().is_some())
}

/// Losses that the kernels know.
fn losses() -> impl Iterator<Item = Loss> {
    let settings = config(|_| ()).train.loss_settings();
    Loss::ALL.iter().copied().filter(move |loss| loss.on_gpu(&settings, 1).is_some())
}

pub struct Cells {
    pub view: Arc<View>,
    vision: Vision,
    _dir: tempfile::TempDir,
}

impl Cells {
    pub fn new(precision: Precision) -> Cells {
        let (dir, view) = data(precision);
        Cells { vision: Vision::new(&view), view, _dir: dir }
    }

    fn task(&self, architecture: Architecture, audio: &str, loss: Loss, classifier: Classifier) -> Task {
        self.with(architecture, audio, loss, classifier, |_| ())
    }

    fn with(
        &self,
        architecture: Architecture,
        audio: &str,
        loss: Loss,
        classifier: Classifier,
        change: impl Fn(&mut Config),
    ) -> Task {
        let config = config(change);
        Task {
            view: self.view.clone(),
            vision: self.vision.clone(),
            audio: audio.into(),
            generator: config.generator(architecture),
            loss,
            classifier,
            config,
            seed: 5,
        }
    }

    /// A grid's cells and some that differ in reductions, weights, targets and frames.
    pub fn grid(&self, architecture: Architecture) -> Vec<Task> {
        let mut tasks = Vec::new();
        for loss in losses() {
            for audio in ["vggish", "aenet"] {
                for &classifier in Classifier::ALL {
                    tasks.push(self.task(architecture, audio, loss, classifier));
                }
            }
        }
        type Change = (Loss, fn(&mut Config));
        let changes: [Change; 6] = [
            (Loss::Kl, |c| c.train.kl_block = Some(5)),
            (Loss::Kl, |c| c.train.kl_block = Some(3)),
            (Loss::L2, |c| c.train.l2 = L2Reduction::Sum),
            (Loss::L2, |c| (c.train.w_cls, c.train.w_rec) = (0.25, 3.0)),
            (Loss::L2, |c| c.train.target = Target::Raw),
            (Loss::Kl, |c| (c.autoencoder.test_frame, c.train.w_rec) = (TestFrame::Mean, 2.0)),
        ];
        tasks.extend(changes.map(|(loss, change)| self.with(architecture, "vggish", loss, Classifier::With, change)));
        tasks
    }

    /// Five unlike cells.
    pub fn five(&self, architecture: Architecture) -> Vec<Task> {
        let mut grid = self.grid(architecture).into_iter().enumerate();
        std::iter::from_fn(|| grid.next()).filter(|(i, _)| [1, 2, 7, 8, 10].contains(i)).map(|(_, task)| task).collect()
    }
}

pub fn resident(cells: usize) -> MemoryPlan {
    MemoryPlan { features: Features::Resident, cells, part: 8, words: Vec::new() }
}

/// What a training said and left.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub epochs: Vec<Epoch>,
    pub generated: Vec<f32>,
    last: Option<Checkpoint>,
}

#[derive(Default)]
struct Recorder {
    epochs: Vec<Epoch>,
    checkpoints: Vec<Checkpoint>,
}

impl Listener for Recorder {
    fn step(&mut self, _: usize, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch, checkpoint: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
        self.epochs.push(*epoch);
        self.checkpoints.push(checkpoint()?);
        Ok(())
    }
}

/// The CPU's training of one cell, and its checkpoints.
pub fn on_cpu(task: Task) -> (Told, Vec<Checkpoint>) {
    let (mut recorder, val) = (Recorder::default(), task.view.val.clone());
    let trained = train_on(Which::Cpu, task, None, &mut recorder).unwrap();
    let generated = trained.generate(0, &val).unwrap();
    let last = recorder.checkpoints.last().cloned();
    (Told { epochs: recorder.epochs, generated, last }, recorder.checkpoints)
}

/// Epochs `from + 1` to `to` of a program, and what it leaves of every cell.
pub fn go_on(program: &mut dyn Trainer, clips: &[usize], from: usize, to: usize) -> Vec<Told> {
    let mut epochs = vec![Vec::new(); program.cells()];
    for epoch in from + 1..=to {
        let mut steps = Vec::new();
        let train = program.epoch(epoch, &mut |done| {
            steps.push(done);
            Ok(())
        });
        let (train, val) = (train.unwrap(), program.measure().unwrap());
        assert_eq!(steps, (1..=steps.len()).collect::<Vec<usize>>());
        assert!(steps.len() > 1);
        let each = epochs.iter_mut().zip(train.into_iter().zip(val));
        each.for_each(|(all, (train, val))| all.push(Epoch { epoch, train, val }));
    }
    let told = |(cell, epochs): (usize, Vec<Epoch>)| Told {
        epochs,
        generated: program.generate(cell, clips).unwrap(),
        last: Some(program.save(cell, to).unwrap()),
    };
    epochs.into_iter().enumerate().map(told).collect()
}

fn begin(tasks: Vec<Task>, from: Vec<Option<Checkpoint>>, plan: &MemoryPlan) -> BatchedTrainer<Host> {
    attempt(tasks, from, plan).unwrap()
}

fn attempt(tasks: Vec<Task>, from: Vec<Option<Checkpoint>>, plan: &MemoryPlan) -> Result<BatchedTrainer<Host>, Error> {
    BatchedTrainer::new(host::engine().unwrap(), tasks, from, plan)
}

fn together(tasks: Vec<Task>, plan: &MemoryPlan) -> Vec<Told> {
    let val = tasks[0].view.val.clone();
    go_on(&mut begin(tasks, Vec::new(), plan), &val, 0, 4)
}

pub fn same_measures(what: &str, ours: &[Epoch], theirs: &[Epoch], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let numbers = |m: &Measures| [m.loss, m.loss_cls, m.loss_rec, m.accuracy, m.feature_error];
    for (ours, theirs) in ours.iter().zip(theirs) {
        let epoch = theirs.epoch;
        assert_eq!(ours.epoch, epoch, "{what}");
        for (split, ours, theirs) in [("train", ours.train, theirs.train), ("val", ours.val, theirs.val)] {
            for (i, (o, t)) in numbers(&ours).into_iter().zip(numbers(&theirs)).enumerate() {
                assert_near(&format!("{what}, epoch {epoch}, {split}, measure {i}"), o, t, tolerance);
            }
        }
    }
}

#[test]
fn cells_together_train_as_the_cpu_trains_each() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    for architecture in architectures() {
        let program = begin(cells.grid(architecture), Vec::new(), &resident(14));
        let parameters: Vec<usize> = (0..program.cells()).map(|cell| program.parameters(cell)).collect();
        let asked = demand(&cells.grid(architecture)).unwrap();
        assert_eq!(Some(asked.cell_bytes), parameters.iter().max().map(|&n| 16 * n as u64), "{architecture}");
        drop(program);
        let ours = together(cells.grid(architecture), &resident(14));
        for (i, (task, ours)) in cells.grid(architecture).into_iter().zip(ours).enumerate() {
            let what = format!("{architecture} {i}: {} {}", task.audio, task.loss);
            let trained = task.config.train.epochs;
            let (theirs, _) = on_cpu(task);
            assert_eq!(ours.epochs.len(), trained);
            same_measures(&what, &ours.epochs, &theirs.epochs, 1e-4);
            assert_close(&what, &ours.generated, &wide(&theirs.generated), 1e-3);
            let (ours, theirs) = (ours.last.unwrap(), theirs.last.unwrap());
            assert_eq!((ours.epoch, ours.step), (theirs.epoch, theirs.step), "{what}");
            assert_eq!(parameters[i], theirs.params.iter().map(|p| p.state.value.len()).sum::<usize>(), "{what}");
            for (ours, theirs) in ours.params.iter().zip(&theirs.params) {
                assert_eq!((&ours.name, ours.shape), (&theirs.name, theirs.shape), "{what}");
                assert_close(&format!("{what} {}", ours.name), &ours.state.value, &wide(&theirs.state.value), 1e-3);
            }
        }
    }
}

#[test]
fn a_cell_alone_is_the_same_as_among_five_to_the_bit() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    for architecture in architectures() {
        let all = together(cells.five(architecture), &resident(5));
        for (i, task) in cells.five(architecture).into_iter().enumerate() {
            assert!(together(vec![task], &resident(1))[0] == all[i], "{architecture} {i}");
        }
        let mut backwards = cells.five(architecture);
        backwards.reverse();
        let mut backwards = together(backwards, &resident(5));
        backwards.reverse();
        assert!(backwards == all, "cells are numbered as the caller gave them");
        assert!(all[0] != all[1]);
    }
}

#[test]
fn streamed_features_train_as_resident_ones_to_the_bit() {
    if host::engine().is_none() {
        return;
    }
    for precision in [Precision::F32, Precision::F16] {
        let cells = Cells::new(precision);
        for architecture in architectures() {
            let here = together(cells.five(architecture), &resident(5));
            // A batch at a time, and two batches with a clip to spare.
            for block in [8, 17] {
                let plan = MemoryPlan { features: Features::Streamed { block }, ..resident(5) };
                assert!(together(cells.five(architecture), &plan) == here, "{architecture}, blocks of {block}");
            }
        }
    }
}

#[test]
fn parts_of_a_batch_add_up() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    for architecture in architectures() {
        let whole = together(cells.five(architecture), &resident(5));
        for part in [1, 3] {
            let parts = together(cells.five(architecture), &MemoryPlan { part, ..resident(5) });
            for (i, (parts, whole)) in parts.iter().zip(&whole).enumerate() {
                let what = format!("{architecture} {i} in parts of {part}");
                same_measures(&what, &parts.epochs, &whole.epochs, 1e-5);
                assert_close(&what, &parts.generated, &wide(&whole.generated), 1e-4);
            }
        }
        let plan = MemoryPlan { part: 3, features: Features::Streamed { block: 10 }, ..resident(5) };
        assert!(
            together(cells.five(architecture), &plan)
                == together(cells.five(architecture), &MemoryPlan { part: 3, ..resident(5) })
        );
    }
}

#[test]
fn a_training_goes_on_from_checkpoints_to_the_bit() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    let val = cells.view.val.clone();
    for architecture in architectures() {
        let whole = together(cells.five(architecture), &resident(5));
        let half = go_on(&mut begin(cells.five(architecture), Vec::new(), &resident(5)), &val, 0, 2);
        let from = half.into_iter().map(|told| told.last).collect();
        let rest = go_on(&mut begin(cells.five(architecture), from, &resident(5)), &val, 2, 4);
        for (rest, whole) in rest.iter().zip(&whole) {
            assert!(rest.epochs == whole.epochs[2..] && rest.last == whole.last && rest.generated == whole.generated);
        }
    }
}

#[test]
fn one_cell_is_put_back_and_the_others_stay() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    let val = cells.view.val.clone();
    for architecture in architectures() {
        let mut program = begin(cells.five(architecture), Vec::new(), &resident(5));
        let early = go_on(&mut program, &val, 0, 2);
        let late = go_on(&mut program, &val, 2, 4);
        program.restore(3, early[3].last.clone().unwrap()).unwrap();
        for cell in 0..5 {
            let expected = if cell == 3 { &early } else { &late };
            assert!(program.generate(cell, &val).unwrap() == expected[cell].generated, "{architecture} {cell}");
        }
    }
}

#[test]
fn a_checkpoint_of_the_cpu_is_taken_up() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    let val = cells.view.val.clone();
    for architecture in architectures() {
        let (whole, checkpoints): (Vec<Told>, Vec<Vec<Checkpoint>>) =
            cells.five(architecture).into_iter().map(on_cpu).unzip();
        let from = |epoch: usize| checkpoints.iter().map(|c| Some(c[epoch - 1].clone())).collect::<Vec<_>>();
        let mut program = begin(cells.five(architecture), from(2), &resident(5));
        assert!((0..5).all(|cell| Some(program.save(cell, 2).unwrap()) == from(2)[cell]), "unchanged");
        let rest = go_on(&mut program, &val, 2, 4);
        for (rest, whole) in rest.iter().zip(&whole) {
            same_measures("after the CPU", &rest.epochs, &whole.epochs[2..], 1e-4);
        }
        let refused = |from: Vec<Option<Checkpoint>>| {
            let program = attempt(cells.five(architecture), from, &resident(5));
            program.err().expect("an error").to_string()
        };
        let mut mixed = from(2);
        mixed[3] = None;
        assert!(refused(mixed.clone()).contains("the epochs behind them"));
        mixed[3] = from(3)[3].clone();
        assert!(refused(mixed).contains("the epochs behind them"));
        let mut other = from(2);
        other[1].as_mut().unwrap().params[0].shape.0 += 1;
        assert!(refused(other).contains("another network"));
    }
}

#[test]
fn a_cell_that_diverges_says_so_and_leaves_the_others_alone() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    for architecture in architectures() {
        let mut tasks = cells.five(architecture);
        // Beyond what a float holds.
        tasks[2].config = config(|c| c.train.w_rec = 1e300);
        let ours = together(tasks, &resident(5));
        let sound = together(cells.five(architecture), &resident(5));
        for (i, (ours, sound)) in ours.iter().zip(&sound).enumerate() {
            match i {
                2 => assert!(ours.epochs.iter().all(|e| !e.train.loss.is_finite()), "{:?}", ours.epochs),
                _ => assert!(ours == sound, "{architecture} {i}"),
            }
        }
    }
}

#[test]
fn a_loss_that_no_float_holds_is_not_finite_though_its_parts_are() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    let large = |c: &mut Config| (c.train.l2, c.train.w_rec) = (L2Reduction::Sum, 4e37);
    let task = || cells.with(Architecture::Lstm, "vggish", Loss::L2, Classifier::Without, large);
    let stopped = train_on(Which::Cpu, task(), None, &mut Recorder::default());
    assert!(matches!(stopped.err(), Some(Error::Diverged { epoch: 1, .. })));
    let measures = begin(vec![task()], Vec::new(), &resident(1)).epoch(1, &mut |_| Ok(())).unwrap()[0];
    assert!(measures.loss_rec.is_finite() && !measures.loss.is_finite(), "{measures:?}");
}

#[test]
fn an_error_of_the_listener_ends_an_epoch_and_the_next_one_is_sound() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    for features in [Features::Resident, Features::Streamed { block: 8 }] {
        let mut program = begin(cells.five(Architecture::Lstm), Vec::new(), &MemoryPlan { features, ..resident(5) });
        let stopped = program.epoch(1, &mut |done| if done == 2 { Err(Error::Interrupted) } else { Ok(()) });
        assert!(matches!(stopped, Err(Error::Interrupted)));
        assert_eq!(program.save(0, 0).unwrap().step, 2);
        assert!(program.epoch(1, &mut |_| Ok(())).unwrap().iter().all(|m| m.loss.is_finite()));
        assert!(program.generate(0, &[]).unwrap().is_empty());
    }
}

#[test]
fn what_cannot_be_one_program_is_refused() {
    if host::engine().is_none() {
        return;
    }
    let cells = Cells::new(Precision::F32);
    let refused = |second: Task| {
        let tasks = vec![cells.task(Architecture::Lstm, "vggish", Loss::L2, Classifier::With), second];
        let program = attempt(tasks, Vec::new(), &resident(2));
        program.err().map(|e| e.to_string()).unwrap_or_default()
    };
    let lstm = |change: fn(&mut Config)| cells.with(Architecture::Lstm, "aenet", Loss::Kl, Classifier::Without, change);
    assert_eq!(refused(lstm(|_| ())), "");
    assert_eq!(refused(lstm(|c| c.autoencoder.encoder = vec![1])), "");
    assert!(refused(lstm(|c| c.lstm.hidden += 1)).contains("network"));
    assert!(refused(lstm(|c| c.train.lr *= 2.0)).contains("Adam"));
    assert!(refused(lstm(|c| c.train.batch += 1)).contains("batch"));
    assert!(refused(Task { seed: 6, ..lstm(|_| ()) }).contains("seed"));
    assert!(
        refused(Task { generator: config(|_| ()).generator(Architecture::Autoencoder), ..lstm(|_| ()) })
            .contains("network")
    );
    assert!(refused(Task { audio: "none".into(), ..lstm(|_| ()) }).contains("\"none\""));
    let other = Cells::new(Precision::F16);
    let elsewhere = other.task(Architecture::Lstm, "vggish", Loss::L2, Classifier::With);
    assert!(refused(elsewhere).contains("data"));
    assert!(attempt(Vec::new(), Vec::new(), &resident(1)).is_err());
}

#[test]
fn features_stay_for_the_next_program_and_give_way_to_others() {
    let Some(engine) = host::engine() else { return };
    let cells = Cells::new(Precision::F32);
    let task = |audio: &str| vec![cells.task(Architecture::Lstm, audio, Loss::L2, Classifier::With)];
    let dataset = &cells.view.dataset;
    let rgb = || engine.feature_cache().file(&*engine, dataset, &dataset.streams[0]).unwrap().address();
    let bytes = |names: &[&str]| -> u64 {
        let files = dataset.streams.iter().chain(&dataset.audio).filter(|f| names.contains(&f.name()));
        files.map(|f| f.bytes().len() as u64).sum()
    };
    drop(begin(task("vggish"), Vec::new(), &resident(1)));
    assert_eq!(engine.feature_cache().bytes(), bytes(&["rgb", "flow", "vggish"]));
    assert_eq!(free_bytes(&*engine).unwrap(), engine.free + engine.feature_cache().bytes());
    let before = rgb();
    drop(begin(task("aenet"), Vec::new(), &resident(1)));
    assert_eq!(engine.feature_cache().bytes(), bytes(&["rgb", "flow", "aenet"]), "what nobody needs goes");
    assert_eq!(rgb(), before, "and what is needed stays where it is");
    let other = Cells::new(Precision::F16);
    drop(begin(other.five(Architecture::Lstm), Vec::new(), &resident(5)));
    let theirs = other.view.dataset.streams.iter().chain(&other.view.dataset.audio);
    assert_eq!(engine.feature_cache().bytes(), theirs.map(|f| f.bytes().len() as u64).sum::<u64>(), "another data set");
    let plan = MemoryPlan { features: Features::Streamed { block: 8 }, ..resident(1) };
    drop(begin(task("vggish"), Vec::new(), &plan));
    assert_eq!(engine.feature_cache().bytes(), 0, "a plan without room");
}

#[test]
fn a_plan_is_made_of_what_tasks_ask_for() {
    let cells = Cells::new(Precision::F16);
    for architecture in architectures() {
        let tasks = cells.grid(architecture);
        let asked = demand(&tasks).unwrap();
        let names: Vec<&str> = asked.features.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["rgb", "flow", "aenet", "vggish"]);
        assert_eq!((asked.cells, asked.batch), (14, 8));
        let files: u64 = asked.features.iter().map(|f| f.clips * f.clip_bytes).sum();
        let dataset = &cells.view.dataset;
        assert_eq!(files, dataset.streams.iter().chain(&dataset.audio).map(|f| f.bytes().len() as u64).sum::<u64>());
        let rich = side_by_side(&tasks, 1 << 30).unwrap();
        assert_eq!((rich.features, rich.cells, rich.part), (Features::Resident, 14, 8));
        let poor = side_by_side(&tasks, 2 * (files + asked.cell_bytes)).unwrap();
        assert!(poor.cells < 14 || poor.part < 8 || poor.features != Features::Resident, "{poor:?}");
        assert!(side_by_side(&tasks, 100).unwrap_err().to_string().contains("next:"));
    }
    assert!(side_by_side(&[], 1 << 30).is_err());
}
