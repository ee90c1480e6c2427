//! Runs: which there are ([`plan`]), what identifies one ([`fingerprint`]), which are trained side by side ([`queue`]), what
//! one does ([`work`]), and the workers that do them and keep the store informed (here). [`verify`] does some of them twice.

pub mod checkpoint;
pub mod engines;
pub mod environment;
mod error;
pub mod estimate;
pub mod fingerprint;
pub mod footage;
pub mod grouping;
mod keep;
mod liveness;
pub mod memory;
#[cfg(test)]
mod mutations;
pub mod plan;
pub mod portable;
pub mod publish;
pub mod queue;
pub mod rates;
mod run_recorder;
pub mod selection;
mod source;
mod stop;
pub mod trackers;
pub mod trained;
pub mod trial;
pub mod verify;
pub mod weights;
pub mod why;
pub mod work;
mod worker;

pub use error::Error;
pub use keep::merit;
pub use liveness::alive;
pub use plan::{Plan, Planned, run_name};
pub use publish::Publisher;
pub use stop::Stop;

use crate::dataset::View;
use crate::device::Which;
use crate::experiment::Part;
use crate::experiment::config::Keep;
use crate::store::{self, NewRun, Store, Worker};
use crate::train::{Epoch, Vision};
use checkpoint::Saved;
use memory::Memory;
use plan::Open;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What the workers tell whoever watches.
#[derive(Clone, Debug)]
pub enum Event {
    /// A run began; `attempt` counts from 1.
    Started {
        /// Cell and seed.
        name: String,
        /// How often it was begun.
        attempt: i64,
    },
    /// Runs begin to be trained side by side; each has begun by itself as well.
    Together {
        /// `8 cells (lstm, seed 0)`.
        name: String,
        /// Cells and seeds.
        runs: Vec<String>,
    },
    /// What the device does with a group of runs, or cannot do.
    Note {
        /// The group, or cell and seed.
        name: String,
        /// What a user should know.
        text: String,
    },
    /// Steps done so far and in all, of a run, or of all that are trained with it.
    Step {
        /// The group, or cell and seed.
        name: String,
        /// Done.
        done: usize,
        /// In all.
        total: usize,
    },
    /// A run is stored.
    Finished {
        /// Cell and seed.
        name: String,
        /// Its top-1, percent.
        top1: Option<f64>,
        /// Seconds it took.
        seconds: f64,
    },
    /// A run failed and is tried again.
    Retried {
        /// Cell and seed.
        name: String,
        /// Why.
        error: String,
    },
    /// A group could not be trained side by side, and is tried again in halves.
    Divided {
        /// The group.
        name: String,
        /// Why.
        error: String,
    },
    /// A run failed; the others go on.
    Failed {
        /// Cell and seed.
        name: String,
        /// Why.
        error: String,
    },
    /// A run was stopped; what is kept of it.
    Kept {
        /// Cell and seed.
        name: String,
        /// Epochs that its checkpoint has behind it; none where it begins again.
        epochs: Option<usize>,
        /// Epochs in all; 0 where it has none.
        of: usize,
    },
    /// A run is left to another process that works on it.
    Theirs {
        /// Cell and seed.
        name: String,
        /// Its machine.
        host: String,
        /// Its process.
        pid: i64,
    },
}

impl Event {
    /// The cell and seed, or the group, that it is about.
    pub fn name(&self) -> &str {
        match self {
            Event::Started { name, .. }
            | Event::Together { name, .. }
            | Event::Note { name, .. }
            | Event::Divided { name, .. }
            | Event::Step { name, .. }
            | Event::Finished { name, .. }
            | Event::Retried { name, .. }
            | Event::Failed { name, .. }
            | Event::Kept { name, .. }
            | Event::Theirs { name, .. } => name,
        }
    }
}

/// How to run.
pub struct Options {
    /// Groups of runs worked on at once; a GPU is for one at a time.
    pub workers: usize,
    /// Generators trained side by side at most; as many as the device thinks good where nobody says.
    pub cells: Option<usize>,
    /// Threads in all.
    pub threads: usize,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// How often a failed run is tried again.
    pub retries: usize,
    /// Seconds between checkpoints.
    pub checkpoint_every: Duration,
    /// Which trained weights stay.
    pub keep: Keep,
    /// Where checkpoints lie; beside the store where nobody says.
    pub checkpoints: Option<PathBuf>,
    /// Where copies of the store go, after each run and at the end.
    pub publish: Option<Publisher>,
}

impl Default for Options {
    /// One worker with one thread, a checkpoint every half minute, nothing published.
    fn default() -> Options {
        Options {
            workers: 1,
            cells: None,
            threads: 1,
            fail_fast: false,
            retries: 0,
            checkpoint_every: Duration::from_secs(30),
            keep: Keep::Best,
            checkpoints: None,
            publish: None,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs done now.
    pub finished: usize,
    /// Runs that failed.
    pub failed: usize,
    /// Whether somebody pressed Ctrl-C.
    pub interrupted: bool,
}

/// What the workers of a call have in common.
struct RunContext<'a> {
    which: Which,
    store: &'a Store,
    plan: &'a Plan,
    worker: Worker,
    options: &'a Options,
    interrupt: &'a Stop,
    memory: Memory,
    checkpoints: PathBuf,
    /// Set by a failure under `fail_fast`, or by a store that cannot be written any more.
    stop: AtomicBool,
    fatal: Mutex<Option<store::Error>>,
    vision: OnceLock<Vision>,
    banks: Mutex<HashMap<String, Arc<work::BankInUse>>>,
    views: HashMap<String, i64>,
    /// What has been said of what the device does.
    told: Mutex<HashSet<String>>,
    summary: Mutex<Summary>,
    watch: &'a (dyn Fn(Event) + Sync),
}

/// Runs all that is open: stream heads and SVM banks first, then what needs the banks.
pub fn run_all(
    which: Which,
    store: &Store,
    plan: &Plan,
    options: &Options,
    command: &str,
    interrupt: &Stop,
    watch: &(dyn Fn(Event) + Sync),
) -> Result<Summary, store::Error> {
    let dataset_id = store.put_dataset(&plan.dataset)?;
    let mut views = HashMap::new();
    for view in plan.cells.iter().filter_map(|p| p.view.as_ref()) {
        if !views.contains_key(&view.fingerprint) {
            views.insert(view.fingerprint.clone(), store.put_view(view, dataset_id)?);
        }
    }
    let mut record = environment::record(options.threads, options.workers, &which.name());
    record["experiment"] = source::source(&plan.folder);
    let worker = Worker {
        id: environment::worker_id(),
        machine: environment::machine(),
        host: environment::host(),
        pid: std::process::id(),
        command: command.into(),
        environment: record.to_string(),
    };
    // A GPU counts its own.
    let free_memory = if which == Which::Cpu { memory::free() } else { None };
    let shared = RunContext {
        which,
        store,
        plan,
        worker,
        options,
        interrupt,
        memory: Memory::new(free_memory),
        checkpoints: options.checkpoints.clone().unwrap_or_else(|| checkpoint::folder(store.path())),
        stop: AtomicBool::new(false),
        fatal: Mutex::new(None),
        vision: OnceLock::new(),
        banks: Mutex::new(HashMap::new()),
        views,
        told: Mutex::default(),
        summary: Mutex::default(),
        watch,
    };
    std::thread::scope(|scope| {
        // Dropped when the work ends, however it ends; the heart then stops.
        let (_working, ended) = std::sync::mpsc::channel::<()>();
        let beat = std::thread::Builder::new().spawn_scoped(scope, || shared.beat(ended));
        beat.map_err(|e| store::Error::of_file(store.path(), &e))?;
        shared.work_through()
    })?;
    // What was interrupted, or failed, is told as well.
    shared.publish()?;
    let counts = shared.summary.into_inner().unwrap_or_default();
    if let Some(error) = shared.fatal.into_inner().unwrap_or_default() {
        return Err(error);
    }
    Ok(Summary { interrupted: interrupt.is_asked(), ..counts })
}

impl<'a> RunContext<'a> {
    /// Gives a sign of life for all runs of this process until `ended` is closed.
    fn beat(&self, ended: std::sync::mpsc::Receiver<()>) {
        while ended.recv_timeout(liveness::HEARTBEAT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            if let Err(error) = self.store.heartbeat(&self.worker) {
                self.give_up(error);
            }
        }
    }

    fn work_through(&self) -> Result<(), store::Error> {
        let states = self.store.states()?;
        let open = self.plan.open(&states);
        self.store.declare(&open.iter().map(|run| self.new_run(*run)).collect::<Vec<NewRun>>())?;
        let (first, second): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|o| matches!(o.planned.cell.part, Part::Stream { .. } | Part::Bank { .. }));
        let most = self.options.cells.unwrap_or(self.which.side_by_side());
        for phase in [first, second] {
            let groups = queue::groups(phase, most, queue::checkpointed(&self.checkpoints));
            let (next, put_off) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
            let workers = self.options.workers.min(groups.len()).max(1);
            let threads = (self.options.threads / workers).max(1);
            let body = || {
                while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if self.stopped() {
                        return;
                    }
                    self.do_group(group, &put_off);
                }
                let next = || put_off.lock().ok().and_then(|mut runs: std::sync::MutexGuard<Vec<Open>>| runs.pop());
                while let Some(run) = next().filter(|_| !self.stopped()) {
                    self.wait_for(run, self.options.retries);
                }
            };
            let on_a_pool = || match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
                Ok(pool) => pool.install(body),
                Err(_) => body(),
            };
            std::thread::scope(|scope| {
                let started = (0..workers).map(|_| std::thread::Builder::new().spawn_scoped(scope, on_a_pool));
                // Where the system starts no more threads, those that it has started do the work.
                if started.filter(Result::is_ok).count() == 0 {
                    body();
                }
            });
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.interrupt.is_asked() || self.stop.load(Ordering::Relaxed)
    }

    /// Whether what is under way is to be left where it is, and not at the end of its epoch.
    fn has_to_leave(&self) -> bool {
        self.interrupt.is_over() || self.stop.load(Ordering::Relaxed)
    }

    /// A store that cannot be written ends everything: what comes next could not be kept.
    fn give_up(&self, error: store::Error) {
        self.stop.store(true, Ordering::Relaxed);
        if let Ok(mut fatal) = self.fatal.lock() {
            fatal.get_or_insert(error);
        }
    }

    fn new_run(&self, open: Open) -> NewRun {
        let Open { planned, seed, id } = open;
        let view = planned.view.as_ref().map(|v| &v.fingerprint);
        NewRun {
            id: id.into(),
            cell: planned.fingerprint.clone(),
            kind: planned.cell.part.kind().into(),
            key: planned.cell.key(),
            seed,
            view_id: view.and_then(|v| self.views.get(v)).copied().unwrap_or_default(),
            spec: planned.spec.clone(),
        }
    }

    /// The data of a run, and its standardised vision.
    fn sight(&self, run: &Open) -> Result<(Arc<View>, Vision), Error> {
        let view = run.planned.view.clone().ok_or(Error::Skipped)?;
        let vision = self.vision.get_or_init(|| Vision::new(&view)).with_view(&view);
        Ok((view, vision))
    }

    /// What a run works with, and which attempt it is as far as its checkpoint tells.
    fn job(&self, run: &Open<'a>) -> Result<(work::Job<'a>, i64), Error> {
        let Open { planned, seed, id } = *run;
        let (view, vision) = self.sight(run)?;
        let bank = match &planned.cell.part {
            Part::Generator { audio, .. } | Part::External { audio, .. } | Part::Control { audio, .. } => {
                Some(self.bank(planned, audio)?)
            }
            _ => None,
        };
        let (external, seed) = (planned.external.clone(), seed.unwrap_or(0));
        let mut job = work::Job { cell: &planned.cell, seed, view, vision, bank, external, from: None };
        let mut attempt = 0;
        if let Part::Generator { .. } = &planned.cell.part
            && let Some(saved) = self.checkpoint(id, &job)?
        {
            attempt = saved.attempt + 1;
            self.store.set_attempt(id, &self.worker, attempt)?;
            job.from = Some(saved.checkpoint);
        }
        Ok((job, attempt))
    }

    /// Where a generator can go on.
    fn checkpoint(&self, id: &str, job: &work::Job) -> Result<Option<Saved>, Error> {
        let Some(saved) = checkpoint::load(&checkpoint::path(&self.checkpoints, id)) else { return Ok(None) };
        let from = &saved.checkpoint;
        if !work::task(job.cell, job.seed, &job.view, &job.vision)?.takes(from)? {
            return Ok(None);
        }
        // One whose epochs nobody has (an older copy of the store was put back, say) would leave a hole in the curve. Those that
        // it brings along, from a store that is not this one, are taken over.
        let kept = self.store.curve(id)?;
        let has = |epochs: &[Epoch]| (1..=from.epoch).all(|n| epochs.iter().any(|e| e.epoch == n));
        if has(&kept) {
            return Ok(Some(saved));
        }
        let whole = has(&saved.epochs) && saved.epochs.iter().all(|e| e.epoch <= from.epoch);
        Ok((whole && self.store.put_epochs(id, &self.worker, &saved.epochs)?).then_some(saved))
    }

    /// Sends a copy of the store to where others take it from, if that was asked for.
    fn publish(&self) -> Result<(), store::Error> {
        self.options.publish.as_ref().map_or(Ok(()), |publisher| publisher.publish(self.store))
    }

    /// The stored bank that a generator or control is scored with.
    fn bank(&self, planned: &Planned, audio: &str) -> Result<Arc<work::BankInUse>, Error> {
        let missing = |why| Error::Bank { audio: audio.into(), why };
        let bank = self.plan.bank_of(planned).ok_or_else(|| missing("not in the plan"))?;
        let id = &bank.runs[0].1;
        if let Some(found) = self.banks.lock().map_err(|_| missing("lost"))?.get(id) {
            return Ok(found.clone());
        }
        let record = self.store.bank(id)?.ok_or_else(|| missing("its run failed; see `unmute ls`"))?;
        let view = planned.view.as_ref().ok_or(Error::Skipped)?;
        let real = view.scored().iter().map(|&split| {
            let scores = self.store.scores(id, &format!("{}real", split.prefix()))?;
            Ok((split, scores.ok_or_else(|| missing("no scores"))?))
        });
        let real = real.collect::<Result<Vec<_>, Error>>()?;
        let found = Arc::new(work::BankInUse { bank: work::bank_of_record(record, &bank.cell.config.svm), real });
        self.banks.lock().map_err(|_| missing("lost"))?.insert(id.clone(), found.clone());
        Ok(found)
    }
}
