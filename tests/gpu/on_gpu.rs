//! On a GPU, against the CPU: `just test-cuda` runs these, which plain `cargo test` leaves out. Without a GPU they fail and say
//! what is missing.

use super::fused::generators_are_the_cpus;
use super::kernels::{clips, resident};
use super::program::{self, Cells, Told, architectures, go_on, on_cpu, same_measures};
use super::svm::clusters;
use crate::support::networks::train_on;
use crate::support::numbers::{assert_close, assert_near, wide};
use compute::nn::InputBatch;
use std::rc::Rc;
use std::sync::Arc;
use unmute::dataset::Precision;
use unmute::device::api::HAS_DFDX_CUDA;
use unmute::device::choice::choose;
use unmute::device::{Device, Which};
use unmute::experiment::Config;
use unmute::experiment::config::{Architecture, Classifier, Engine, Loss, Svm, Tsn};
use unmute::gpu::api::Buffer;
use unmute::gpu::batched_trainer::{BatchedTrainer, free_bytes, side_by_side};
use unmute::gpu::detect::find;
use unmute::gpu::driver::Driver;
use unmute::gpu::feature_cache::Places;
use unmute::gpu::memory::{Features, MemoryPlan};
use unmute::gpu::probe::Wanted;
use unmute::model::Sizes;
use unmute::score::bank::Bank;
use unmute::score::solver::OnCpu;
use unmute::train::heads::Head;
use unmute::train::{Checkpoint, Epoch, Error, Listener, Task, Vision};

/// Relative to the largest number, for one pass forward and backward.
pub const TOLERANCE: f64 = 1e-4;

/// The GPU's number.
pub fn ordinal() -> usize {
    let wanted = Wanted::Cuda(None);
    let choice = choose(wanted, &find(wanted)).unwrap_or_else(|why| panic!("{why}"));
    eprintln!("{}", choice.say.unwrap_or_default());
    choice.gpu.unwrap()
}

fn driver() -> Rc<Driver> {
    Driver::open(ordinal()).unwrap()
}

fn gpu() -> Box<dyn Device> {
    Which::Cuda(ordinal()).open().unwrap()
}

pub fn config() -> Config {
    let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "test", "grid": {} })).unwrap();
    config.train.batch = 8;
    config.train.epochs = 5;
    config.lstm.hidden = 48;
    config.autoencoder.encoder = vec![64, 24];
    config.autoencoder.decoder = vec![64];
    config
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn outputs_and_gradients_are_the_cpus() {
    let sizes = Sizes { frames: 18, visual: 96, audio: 20, classes: 5 };
    generators_are_the_cpus(&driver(), sizes, 33, TOLERANCE);
}

/// Engines that the program has on a GPU.
fn engines() -> &'static [Engine] {
    if HAS_DFDX_CUDA { Engine::ALL } else { &[Engine::Fused] }
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn batches_gathered_on_the_gpu_are_those_of_the_host_to_the_bit() {
    let engine = driver();
    for precision in [Precision::F32, Precision::F16] {
        let (_dir, view) = clips(precision);
        let features = resident(&*engine, &view);
        let (batch, mut host) = ([3, 0, 11, 3, 7], InputBatch::default());
        Vision::new(&view).sequences(&batch, &mut host);
        let want = host.all_rows().to_vec();
        let out = Buffer::<Driver>::zeros(&*engine, want.len()).unwrap();
        features.gather(&*engine, &Places::new(&*engine, &batch.map(Some), None).unwrap(), out.all()).unwrap();
        assert!(out.all().read(&*engine).unwrap() == want, "{precision:?}");
    }
}

/// Keeps every epoch.
#[derive(Default)]
struct Recorder(Vec<Epoch>);

impl Listener for Recorder {
    fn step(&mut self, _: usize, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn epoch(&mut self, epoch: &Epoch, _: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
        self.0.push(*epoch);
        Ok(())
    }
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn a_trained_generator_is_the_cpus_within_a_hundredth() {
    fn train(which: Which, engine: Engine, architecture: Architecture, loss: Loss) -> (Vec<f32>, Vec<f32>) {
        let (_dir, view) = clips(Precision::F32);
        let mut config = config();
        config.train.engine = engine;
        let task = Task {
            vision: Vision::new(&view),
            view: view.clone(),
            audio: "vggish".into(),
            generator: config.generator(architecture),
            loss,
            classifier: Classifier::With,
            config: Arc::new(config),
            seed: 5,
        };
        let mut recorder = Recorder::default();
        let trained = train_on(which, task, None, &mut recorder).unwrap();
        let losses = recorder.0.iter().flat_map(|e| [e.train.loss as f32, e.val.loss as f32]).collect();
        (losses, trained.generate(0, &view.val).unwrap())
    }
    let gpu = Which::Cuda(ordinal());
    for (architecture, loss) in [(Architecture::Lstm, Loss::L2), (Architecture::Autoencoder, Loss::Kl)] {
        let cpu = train(Which::Cpu, Engine::Fused, architecture, loss);
        for &engine in engines() {
            let ours = train(gpu, engine, architecture, loss);
            assert_close(&format!("{architecture} {engine}: losses"), &ours.0, &wide(&cpu.0), 1e-3);
            assert_close(&format!("{architecture} {engine}: generated"), &ours.1, &wide(&cpu.1), 1e-2);
        }
    }
}

fn together(driver: &Rc<Driver>, tasks: Vec<Task>, plan: &MemoryPlan) -> Vec<Told> {
    let val = tasks[0].view.val.clone();
    let mut program = BatchedTrainer::new(driver.clone(), tasks, Vec::new(), plan).unwrap();
    go_on(&mut program, &val, 0, 4)
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn cells_together_train_as_the_cpu_trains_each() {
    let (driver, cells) = (driver(), Cells::new(Precision::F16));
    for architecture in architectures() {
        let tasks = cells.grid(architecture);
        let free = free_bytes(&*driver).unwrap();
        let plan = side_by_side(&tasks, free).unwrap();
        assert_eq!((plan.features, plan.cells, plan.part), (Features::Resident, tasks.len(), 8), "{plan:?}");
        let ours = together(&driver, tasks, &plan);
        for (i, (task, ours)) in cells.grid(architecture).into_iter().zip(ours).enumerate() {
            let what = format!("{architecture} {i}: {} {}", task.audio, task.loss);
            let (theirs, _) = on_cpu(task);
            same_measures(&what, &ours.epochs, &theirs.epochs, TOLERANCE);
            assert_close(&what, &ours.generated, &wide(&theirs.generated), 1e-3);
        }
    }
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn company_parts_and_streaming_change_nothing_but_roundings() {
    let (driver, cells) = (driver(), Cells::new(Precision::F16));
    for architecture in architectures() {
        let all = together(&driver, cells.five(architecture), &program::resident(5));
        let near = |what: &str, ours: &Told, theirs: &Told| {
            same_measures(what, &ours.epochs, &theirs.epochs, TOLERANCE);
            assert_close(what, &ours.generated, &wide(&theirs.generated), 1e-3);
        };
        // cuBLAS may choose other kernels for other numbers of cells or rows; for the same numbers it has no reason to.
        for (i, task) in cells.five(architecture).into_iter().enumerate() {
            near("alone", &together(&driver, vec![task], &program::resident(1))[0], &all[i]);
        }
        let parts = together(&driver, cells.five(architecture), &MemoryPlan { part: 3, ..program::resident(5) });
        parts.iter().zip(&all).for_each(|(parts, all)| near("in parts", parts, all));
        for block in [8, 17] {
            let plan = MemoryPlan { features: Features::Streamed { block }, ..program::resident(5) };
            assert!(together(&driver, cells.five(architecture), &plan) == all, "{architecture}, blocks of {block}");
        }
    }
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn svm_banks_are_the_cpus_within_their_tolerance() {
    let solver = gpu().solver().unwrap();
    let (x, labels) = clusters(2000, 300, 12);
    let config = Svm { c: 0.01, tolerance: 1e-8, ..Svm::default() };
    let ours = Bank::train(&x, &labels, 12, &config, &*solver).unwrap();
    let cpu = Bank::train(&x, &labels, 12, &config, &OnCpu).unwrap();
    for (class, (ours, cpu)) in ours.fits.iter().zip(&cpu.fits).enumerate() {
        assert_near(&format!("class {class}: objective"), ours.objective, cpu.objective, 1e-5);
    }
    let p = ours.probabilities(&x, 12, &*solver).unwrap();
    let expected = cpu.probabilities(&x, 12, &OnCpu).unwrap();
    for (i, (p, e)) in p.iter().zip(&expected).enumerate() {
        assert!((p - e).abs() < 1e-3, "p[{i}] {p}, by the CPU {e}");
    }
    // The order of sums depends on sizes alone.
    let again = Bank::train(&x, &labels, 12, &config, &*solver).unwrap();
    assert!(again == ours, "the same GPU, another bank");
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn heads_are_the_cpus() {
    let (x, labels) = clusters(1200, 200, 12);
    let tsn = Tsn { epochs: 4, batch: 96, ..Tsn::default() };
    let (train, val) = x.split_at(1000 * 200);
    let head = Head { stream: "rgb", train, labels: &labels[..1000], val, classes: 12, tsn: &tsn, seed: 3 };
    let cpu = Which::Cpu.open().unwrap();
    let expected = cpu.head(&head, Engine::Fused, &mut |_, _| Ok(())).unwrap();
    for &engine in engines() {
        let ours = gpu().head(&head, engine, &mut |_, _| Ok(())).unwrap();
        assert_close("probabilities", &ours.probabilities, &wide(&expected.probabilities), 1e-3);
        assert_close("weights", &ours.weights, &wide(&expected.weights), 1e-3);
        assert_close("bias", &ours.bias, &wide(&expected.bias), 1e-3);
        assert_near("loss", ours.loss, expected.loss, 1e-3);
    }
}
