//! Trainings are bit-identical on any number of threads, and when they go on from a checkpoint.

use crate::support::features::Source;
use crate::support::networks::train_on;
use crate::support::numbers::{assert_close, on_threads, wide};
use std::sync::Arc;
use unmute::dataset::import::{self, Rows};
use unmute::dataset::{Dataset, Missing, MissingBy, Precision, View};
use unmute::device::Which;
use unmute::experiment::Config;
use unmute::experiment::config::{Architecture, Classifier, Engine, Loss};
use unmute::runs::checkpoint;
use unmute::train::heads::{Head, HeadData};
use unmute::train::{Checkpoint, Epoch, Error, Listener, Task, Vision};

const EPOCHS: usize = 4;

/// Keeps every epoch and every checkpoint.
#[derive(Default)]
struct Recorder {
    epochs: Vec<Epoch>,
    checkpoints: Vec<Checkpoint>,
    steps: Vec<(usize, usize)>,
    /// Interrupts at this step.
    stop_at: Option<usize>,
}

impl Listener for Recorder {
    fn step(&mut self, done: usize, total: usize) -> Result<(), Error> {
        self.steps.push((done, total));
        if self.stop_at == Some(done) { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn epoch(&mut self, epoch: &Epoch, checkpoint: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
        self.epochs.push(*epoch);
        self.checkpoints.push(checkpoint()?);
        Ok(())
    }
}

/// What a training leaves.
struct Left {
    recorder: Recorder,
    generated: Vec<f32>,
}

/// A data set wide enough that products are divided among threads.
fn view() -> (tempfile::TempDir, Arc<View>) {
    let dir = tempfile::tempdir().unwrap();
    let source = Source {
        clips: 96,
        streams: vec![("rgb", 40), ("flow", 24)],
        audio: vec![("vggish", 20)],
        ..Source::default()
    };
    source.write(&dir.path().join("source"));
    let options = import::Options {
        frames: 5,
        rows: [("vggish".to_string(), Rows::Sample(3))].into(),
        name: None,
        precision: Precision::F32,
        ..Default::default()
    };
    let folder = dir.path().join("data");
    import::import(&dir.path().join("source"), &folder, &options, &|_, _| ()).unwrap();
    let missing = Missing { rate: 0.4, by: MissingBy::Random, seed: 7 };
    let view = View::new(Arc::new(Dataset::open(&folder).unwrap()), Some(&missing)).unwrap();
    (dir, Arc::new(view))
}

fn config(engine: Engine) -> Arc<Config> {
    let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "test", "grid": {} })).unwrap();
    config.train.engine = engine;
    config.train.epochs = EPOCHS;
    config.train.batch = 16;
    config.lstm.hidden = 48;
    config.autoencoder.encoder = vec![64, 24];
    config.autoencoder.decoder = vec![64];
    config.mlp.width = 32;
    (config.transformer.layers, config.transformer.heads, config.transformer.width) = (1, 2, 16);
    Arc::new(config)
}

fn task(view: &Arc<View>, engine: Engine, architecture: Architecture, loss: Loss) -> Task {
    let config = config(engine);
    Task {
        view: view.clone(),
        vision: Vision::new(view),
        audio: "vggish".into(),
        generator: config.generator(architecture),
        loss,
        classifier: Classifier::With,
        config,
        seed: 5,
    }
}

fn train(
    view: &Arc<View>,
    (engine, architecture, loss): (Engine, Architecture, Loss),
    threads: usize,
    from: Option<Checkpoint>,
) -> Left {
    on_threads(threads, || {
        let mut recorder = Recorder::default();
        let task = task(view, engine, architecture, loss);
        let trained = train_on(Which::Cpu, task, from, &mut recorder).unwrap();
        Left { recorder, generated: trained.generate(0, &view.val).unwrap() }
    })
}

/// Whether the fused engine has a form of its own for a generator.
fn is_fused(architecture: Architecture) -> bool {
    architecture.with_defaults().describe().fused().is_some()
}

/// Every generator on each engine that there is for it, with one loss or another.
fn kinds() -> Vec<(Engine, Architecture, Loss)> {
    let all = || Architecture::ALL.iter().zip(Loss::ALL.iter().cycle());
    let fused = all().filter(|(architecture, _)| is_fused(**architecture)).map(|(&a, &l)| (Engine::Fused, a, l));
    fused.chain(all().map(|(&a, &l)| (Engine::Dfdx, a, l))).collect()
}

#[test]
fn trainings_are_bit_identical_on_one_and_two_threads() {
    let (_dir, view) = view();
    for kind in kinds() {
        let [one, two] = [1, 2].map(|threads| train(&view, kind, threads, None));
        assert!(one.recorder.checkpoints == two.recorder.checkpoints, "{kind:?}: parameters and moments");
        assert_eq!(one.recorder.epochs, two.recorder.epochs, "{kind:?}");
        assert!(one.generated == two.generated, "{kind:?}: generated features");
        let losses: Vec<f64> = one.recorder.epochs.iter().map(|e| e.train.loss).collect();
        assert!(losses[EPOCHS - 1] < losses[0], "{kind:?} learns: {losses:?}");
    }
}

/// The fused engine's trainings against the reference's: the same first values, batches and steps, other roundings.
#[test]
fn the_engines_train_alike() {
    let (_dir, view) = view();
    for &architecture in Architecture::ALL.iter().filter(|architecture| is_fused(**architecture)) {
        for &loss in Loss::ALL {
            let [ours, theirs] = Engine::ALL
                .iter()
                .map(|&engine| train(&view, (engine, architecture, loss), 2, None))
                .collect::<Vec<_>>()
                .try_into()
                .ok()
                .unwrap();
            let losses = |left: &Left| -> Vec<f32> {
                left.recorder
                    .epochs
                    .iter()
                    .flat_map(|e| [e.train, e.val])
                    .flat_map(|m| [m.loss as f32, m.loss_cls as f32, m.loss_rec as f32])
                    .collect()
            };
            assert_close(&format!("{architecture} {loss}: losses"), &losses(&ours), &wide(&losses(&theirs)), 1e-3);
            assert_close(&format!("{architecture} {loss}: generated"), &ours.generated, &wide(&theirs.generated), 1e-2);
        }
    }
}

#[test]
fn trainings_go_on_from_every_checkpoint_as_if_nothing_had_happened() {
    let (dir, view) = view();
    for (engine, architecture, loss) in kinds() {
        // Not the loss that it has elsewhere.
        let kind = (engine, architecture, if loss == Loss::L2 { Loss::Kl } else { Loss::L2 });
        let whole = train(&view, kind, 2, None);
        assert_eq!(whole.recorder.epochs.len(), EPOCHS);
        for after in 1..=EPOCHS {
            let path = dir.path().join("checkpoint.safetensors");
            let state = whole.recorder.checkpoints[after - 1].clone();
            let epochs = whole.recorder.epochs[..after].to_vec();
            checkpoint::save(&path, &checkpoint::Saved { checkpoint: state, epochs, attempt: 1 }).unwrap();
            let from = checkpoint::load(&path).unwrap().checkpoint;
            assert_eq!(from.epoch, after);
            let rest = train(&view, kind, 1, Some(from));
            assert_eq!(rest.recorder.epochs, whole.recorder.epochs[after..], "{kind:?} after epoch {after}");
            assert!(rest.recorder.checkpoints == whole.recorder.checkpoints[after..], "{kind:?} after epoch {after}");
            assert!(rest.generated == whole.generated, "{kind:?} after epoch {after}");
            let (done, total) = rest.recorder.steps[0];
            assert_eq!(done * EPOCHS, total * after, "progress goes on where it was");
        }
    }
}

#[test]
fn a_checkpoint_of_another_network_is_not_taken() {
    let (_dir, view) = view();
    for &engine in Engine::ALL {
        let other = train(&view, (engine, Architecture::Autoencoder, Loss::L2), 1, None);
        let other = other.recorder.checkpoints.into_iter().next().unwrap();
        let lstm = || task(&view, engine, Architecture::Lstm, Loss::L2);
        assert!(!lstm().takes(&other).unwrap());
        // Where nobody asked before, the trainer does.
        let device = Which::Cpu.open().unwrap();
        let plan = device.room(&[lstm()]).unwrap();
        let refused = device.trainer(vec![lstm()], vec![Some(other.clone())], plan).err();
        assert!(matches!(refused, Some(Error::OtherNetwork)), "{refused:?}");
        let anew = train(&view, (engine, Architecture::Lstm, Loss::L2), 1, Some(other));
        assert_eq!(anew.recorder.epochs.len(), EPOCHS);
    }
}

/// What one engine saves, the other goes on from.
#[test]
fn a_checkpoint_of_one_engine_is_taken_up_by_the_other() {
    let (_dir, view) = view();
    for &architecture in Architecture::ALL.iter().filter(|architecture| is_fused(**architecture)) {
        for (first, second) in [(Engine::Fused, Engine::Dfdx), (Engine::Dfdx, Engine::Fused)] {
            let whole = train(&view, (second, architecture, Loss::L2), 2, None);
            let half = train(&view, (first, architecture, Loss::L2), 2, None).recorder.checkpoints.swap_remove(1);
            let rest = train(&view, (second, architecture, Loss::L2), 2, Some(half));
            assert_eq!(rest.recorder.epochs.len(), EPOCHS - 2);
            assert_close(&format!("{architecture}, {first}"), &rest.generated, &wide(&whole.generated), 1e-2);
        }
    }
}

#[test]
fn an_interrupted_training_says_so() {
    let (_dir, view) = view();
    for &engine in Engine::ALL {
        let mut recorder = Recorder { stop_at: Some(4), ..Recorder::default() };
        let result = train_on(Which::Cpu, task(&view, engine, Architecture::Lstm, Loss::L2), None, &mut recorder);
        assert!(matches!(result.err(), Some(Error::Interrupted)));
        assert_eq!(recorder.steps.last().map(|s| s.0), Some(4));
    }
}

#[test]
fn a_training_that_diverges_says_so() {
    let (_dir, view) = view();
    for &engine in Engine::ALL {
        let mut config = (*config(engine)).clone();
        config.train.lr = 1e30;
        let task = Task { config: Arc::new(config), ..task(&view, engine, Architecture::Autoencoder, Loss::L2) };
        let result = train_on(Which::Cpu, task, None, &mut Recorder::default());
        let message = result.err().expect("diverges").to_string();
        assert!(message.contains("diverged") && message.contains("train.lr"), "{message}");
    }
}

#[test]
fn stream_heads_are_bit_identical_on_one_and_two_threads_and_alike_on_both_engines() {
    let (_dir, view) = view();
    let head = |threads, engine| {
        on_threads(threads, || {
            let data = HeadData::of(&view, &Vision::new(&view), "rgb").unwrap();
            let (HeadData { train, labels, val }, config) = (&data, config(engine));
            let classes = view.dataset.classes();
            let head = Head { stream: "rgb", train, labels, val, classes, tsn: &config.tsn, seed: 5 };
            Which::Cpu.open().unwrap().head(&head, engine, &mut |_, _| Ok(())).unwrap()
        })
    };
    let mut all = Vec::new();
    for &engine in Engine::ALL {
        let (one, two) = (head(1, engine), head(2, engine));
        assert!(one == two);
        assert!(one.probabilities.chunks_exact(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        all.push(one);
    }
    assert_close("probabilities", &all[0].probabilities, &wide(&all[1].probabilities), 1e-4);
    assert_close("weights", &all[0].weights, &wide(&all[1].weights), 1e-4);
    assert_close("loss", &[all[0].loss as f32], &[all[1].loss], 1e-5);
}
