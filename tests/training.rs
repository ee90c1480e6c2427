//! Trainings are bit-identical on any number of threads, and when they go on from a checkpoint.

use crate::support::features::Source;
use crate::support::numbers::on_threads;
use dfdx::tensor::Cpu;
use std::sync::Arc;
use unmute::dataset::import::{self, Rows};
use unmute::dataset::{Dataset, Missing, MissingBy, Precision, View};
use unmute::experiment::Config;
use unmute::experiment::config::{Architecture, Classifier, Loss};
use unmute::runs::checkpoint;
use unmute::train::tsn::stream_scores;
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
        absent_is_silent: false,
    };
    let folder = dir.path().join("data");
    import::import(&dir.path().join("source"), &folder, &options, &|_, _| ()).unwrap();
    let missing = Missing { rate: 0.4, by: MissingBy::Random, seed: 7 };
    let view = View::new(Arc::new(Dataset::open(&folder).unwrap()), Some(&missing)).unwrap();
    (dir, Arc::new(view))
}

fn config() -> Arc<Config> {
    let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "test", "grid": {} })).unwrap();
    config.train.epochs = EPOCHS;
    config.train.batch = 16;
    config.lstm.hidden = 48;
    config.autoencoder.encoder = vec![64, 24];
    config.autoencoder.decoder = vec![64];
    Arc::new(config)
}

fn task(view: &Arc<View>, architecture: Architecture, loss: Loss) -> Task {
    Task {
        view: view.clone(),
        vision: Vision::new(view),
        audio: "vggish".into(),
        architecture,
        loss,
        classifier: Classifier::With,
        config: config(),
        seed: 5,
    }
}

fn train(view: &Arc<View>, architecture: Architecture, loss: Loss, threads: usize, from: Option<Checkpoint>) -> Left {
    on_threads(threads, || {
        let mut recorder = Recorder::default();
        let trained = task(view, architecture, loss).train(&Cpu::default(), from, &mut recorder).unwrap();
        Left { recorder, generated: trained.generate(&view.val).unwrap() }
    })
}

#[test]
fn trainings_are_bit_identical_on_one_and_two_threads() {
    let (_dir, view) = view();
    for (architecture, loss) in [(Architecture::Lstm, Loss::L2), (Architecture::Autoencoder, Loss::Kl)] {
        let [one, two] = [1, 2].map(|threads| train(&view, architecture, loss, threads, None));
        assert!(one.recorder.checkpoints == two.recorder.checkpoints, "{architecture}: parameters and moments");
        assert_eq!(one.recorder.epochs, two.recorder.epochs, "{architecture}");
        assert!(one.generated == two.generated, "{architecture}: generated features");
        let losses: Vec<f64> = one.recorder.epochs.iter().map(|e| e.train.loss).collect();
        assert!(losses[EPOCHS - 1] < losses[0], "{architecture} learns: {losses:?}");
    }
}

#[test]
fn trainings_go_on_from_every_checkpoint_as_if_nothing_had_happened() {
    let (dir, view) = view();
    for (architecture, loss) in [(Architecture::Lstm, Loss::Kl), (Architecture::Autoencoder, Loss::L2)] {
        let whole = train(&view, architecture, loss, 2, None);
        assert_eq!(whole.recorder.epochs.len(), EPOCHS);
        for after in 1..=EPOCHS {
            let path = dir.path().join("checkpoint.safetensors");
            checkpoint::save(&path, &whole.recorder.checkpoints[after - 1]).unwrap();
            let from = checkpoint::load(&path).unwrap();
            assert_eq!(from.epoch, after);
            let rest = train(&view, architecture, loss, 1, Some(from));
            assert_eq!(rest.recorder.epochs, whole.recorder.epochs[after..], "{architecture} after epoch {after}");
            assert!(
                rest.recorder.checkpoints == whole.recorder.checkpoints[after..],
                "{architecture} after epoch {after}"
            );
            assert!(rest.generated == whole.generated, "{architecture} after epoch {after}");
            let (done, total) = rest.recorder.steps[0];
            assert_eq!(done * EPOCHS, total * after, "progress goes on where it was");
        }
    }
}

#[test]
fn a_checkpoint_of_another_network_is_not_taken() {
    let (_dir, view) = view();
    let other = train(&view, Architecture::Autoencoder, Loss::L2, 1, None).recorder.checkpoints.remove(0);
    let anew = train(&view, Architecture::Lstm, Loss::L2, 1, Some(other));
    assert_eq!(anew.recorder.epochs.len(), EPOCHS);
}

#[test]
fn an_interrupted_training_says_so() {
    let (_dir, view) = view();
    let mut recorder = Recorder { stop_at: Some(4), ..Recorder::default() };
    let result = task(&view, Architecture::Lstm, Loss::L2).train(&Cpu::default(), None, &mut recorder);
    assert!(matches!(result.err(), Some(Error::Interrupted)));
    assert_eq!(recorder.steps.last().map(|s| s.0), Some(4));
}

#[test]
fn a_training_that_diverges_says_so() {
    let (_dir, view) = view();
    let mut config = (*config()).clone();
    config.train.lr = 1e30;
    let task = Task { config: Arc::new(config), ..task(&view, Architecture::Autoencoder, Loss::L2) };
    let message = task.train(&Cpu::default(), None, &mut Recorder::default()).err().expect("diverges").to_string();
    assert!(message.contains("diverged") && message.contains("train.lr"), "{message}");
}

#[test]
fn stream_heads_are_bit_identical_on_one_and_two_threads() {
    let (_dir, view) = view();
    let head = |threads| {
        on_threads(threads, || {
            let vision = Vision::new(&view);
            stream_scores(&Cpu::default(), &view, &vision, "rgb", &config().tsn, 5, &mut |_, _| Ok(())).unwrap()
        })
    };
    let (one, two) = (head(1), head(2));
    assert!(one == two);
    assert!(one.0.chunks_exact(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
}
