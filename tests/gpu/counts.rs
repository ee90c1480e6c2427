//! What is asked of a device while generators train, counted by the stand-in for the driver (`stand_in.rs`): how often the
//! host waits and what it uploads. On a GPU nothing counts, and these tests say so.

use super::program::{Cells, architectures, resident};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::rc::Rc;
use unmute::dataset::Precision;
use unmute::device::choice::choose;
use unmute::experiment::config::Architecture;
use unmute::gpu::batched_trainer::BatchedTrainer;
use unmute::gpu::detect::find;
use unmute::gpu::driver::Driver;
use unmute::gpu::feature_cache::KeepsFeatures;
use unmute::gpu::probe::Wanted;
use unmute::train::{Task, Trainer};

#[link(name = "dl")]
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Asks the stand-in what this thread asked of it.
struct Counter(unsafe extern "C" fn(*mut u64));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    launches: u64,
    waits: u64,
    copies: u64,
    bytes: u64,
}

impl Counter {
    /// `None` where the driver is a real one.
    fn find() -> Option<Counter> {
        const NOW: c_int = 2;
        let name = |text: &'static CStr| text.as_ptr();
        // SAFETY: the driver that is loaded already, and a name; what has this name is this function.
        unsafe {
            let function = dlsym(dlopen(name(c"libcuda.so.1"), NOW), name(c"stand_in_counts_of_thread"));
            crate::support::require::found("stand-in", (!function.is_null()).then_some(()))?;
            Some(Counter(std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut u64)>(function)))
        }
    }

    fn now(&self) -> Counts {
        let mut counts = [0; 4];
        // SAFETY: a place for four numbers.
        unsafe { (self.0)(counts.as_mut_ptr()) };
        let [launches, waits, copies, bytes] = counts;
        Counts { launches, waits, copies, bytes }
    }

    /// What `work` asks for.
    fn of<T>(&self, work: impl FnOnce() -> T) -> (T, Counts) {
        let before = self.now();
        let result = work();
        let after = self.now();
        let counts = Counts {
            launches: after.launches - before.launches,
            waits: after.waits - before.waits,
            copies: after.copies - before.copies,
            bytes: after.bytes - before.bytes,
        };
        (result, counts)
    }
}

fn gpu() -> Rc<Driver> {
    let wanted = Wanted::Cuda(None);
    let choice = choose(wanted, &find(wanted)).unwrap_or_else(|why| panic!("{why}"));
    Driver::open(choice.gpu.unwrap()).unwrap()
}

fn begin(driver: &Rc<Driver>, tasks: Vec<Task>) -> BatchedTrainer<Driver> {
    let plan = resident(tasks.len());
    BatchedTrainer::new(driver.clone(), tasks, Vec::new(), &plan).unwrap()
}

#[test]
#[ignore = "needs the stand-in for a GPU: stand_in.rs"]
fn an_epoch_waits_once_and_uploads_its_order_once_however_many_steps_it_has() {
    let (driver, cells) = (gpu(), Cells::new(Precision::F16));
    let Some(counter) = Counter::find() else { return };
    for architecture in architectures() {
        let of_batch = |batch: usize| {
            let mut tasks = cells.grid(architecture);
            for task in &mut tasks {
                let mut config = (*task.config).clone();
                config.train.batch = batch;
                task.config = config.into();
            }
            let mut program = begin(&driver, tasks);
            let mut steps = 0;
            // What is done only once is done in the first epoch.
            program.epoch(0, &mut |_| Ok(())).unwrap();
            let epoch = counter.of(|| program.epoch(1, &mut |done| (steps = done, Ok(())).1).unwrap()).1;
            let measure = counter.of(|| program.measure().unwrap()).1;
            (steps, epoch, measure)
        };
        let ((few, one, measure), (many, other, _)) = (of_batch(8), of_batch(2));
        eprintln!("{architecture}: {few} steps {one:?}, {many} steps {other:?}, val {measure:?}");
        assert!(many > 3 * few && other.launches > 3 * one.launches, "{one:?}, {other:?}");
        assert_eq!([one.waits, other.waits, measure.waits], [1; 3], "the log of measures is read, nothing else");
        assert_eq!((one.copies, one.bytes), (other.copies, other.bytes), "order, frames and labels");
    }
}

#[test]
#[ignore = "needs the stand-in for a GPU: stand_in.rs"]
fn groups_after_each_other_upload_their_features_once() {
    let (driver, cells) = (gpu(), Cells::new(Precision::F16));
    let Some(counter) = Counter::find() else { return };
    let uploads = |architecture| counter.of(|| drop(begin(&driver, cells.grid(architecture)))).1.bytes;
    let dataset = &cells.view.dataset;
    let files = dataset.streams.iter().chain(&dataset.audio);
    let features: u64 = files.map(|file| file.bytes().len() as u64).sum();
    let first = uploads(Architecture::Lstm);
    assert_eq!(driver.feature_cache().bytes(), features);
    let other = uploads(Architecture::Autoencoder);
    eprintln!("features {features}, the first group {first}, the second {other}");
    assert_eq!(uploads(Architecture::Lstm), first - features);
    assert_eq!(uploads(Architecture::Autoencoder), other);
}
