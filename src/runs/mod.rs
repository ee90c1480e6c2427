//! Runs: which there are ([`plan`]), what identifies one ([`fingerprint`]), what one does ([`work`]), and the workers that
//! do them and keep the store informed (here). [`verify`] does some of them twice.

pub mod checkpoint;
pub mod environment;
pub mod estimate;
pub mod fingerprint;
pub mod plan;
pub mod verify;
pub mod why;
pub mod work;

pub use plan::{Plan, Planned};

use crate::dataset::View;
use crate::experiment::Part;
use crate::experiment::config::Probability;
use crate::score::Scores;
use crate::score::bank::Bank;
use crate::store::{self, Claim, NewRun, State, Store, Worker};
use crate::train::{Backend, Checkpoint, Epoch, Error, Listener, Vision};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

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
    /// Steps done so far and in all.
    Step {
        /// Cell and seed.
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
    /// A run failed; the others go on.
    Failed {
        /// Cell and seed.
        name: String,
        /// Why.
        error: String,
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
    /// The cell and seed that it is about.
    pub fn name(&self) -> &str {
        match self {
            Event::Started { name, .. }
            | Event::Step { name, .. }
            | Event::Finished { name, .. }
            | Event::Retried { name, .. }
            | Event::Failed { name, .. }
            | Event::Theirs { name, .. } => name,
        }
    }
}

/// How to run.
pub struct Options {
    /// Runs worked on at once.
    pub workers: usize,
    /// Threads in all.
    pub threads: usize,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// How often a failed run is tried again.
    pub retries: usize,
    /// Seconds between checkpoints.
    pub checkpoint_every: Duration,
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

/// A worker that gives no sign of life for this long on another machine is taken for dead.
const GRACE: Duration = Duration::from_secs(120);
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Whether somebody still works on a run: a process of this machine is asked, one of another machine has to have given
/// a sign of life within the grace period.
pub fn alive(host: &str, pid: i64, heartbeat: &str) -> bool {
    if host == environment::host() {
        // A process that began after the last sign of life has only inherited the number.
        let inherited = environment::process_began(pid).is_some_and(|began| began.as_str() > heartbeat);
        return environment::process_runs(pid) && !inherited;
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default() - GRACE;
    heartbeat > store::timestamp(since.as_secs() as i64, 0).as_str()
}

struct Shared<'a, D: Backend> {
    which: D::Which,
    store: &'a Store,
    plan: &'a Plan,
    worker: Worker,
    options: &'a Options,
    interrupt: &'a AtomicBool,
    /// Set by a failure under `fail_fast`, or by a store that cannot be written any more.
    stop: AtomicBool,
    fatal: Mutex<Option<store::Error>>,
    vision: OnceLock<Vision>,
    banks: Mutex<HashMap<String, Arc<(Bank, Scores)>>>,
    views: HashMap<String, i64>,
    summary: Mutex<Summary>,
    watch: &'a (dyn Fn(Event) + Sync),
}

/// Runs all that is open: stream heads and SVM banks first, then what needs the banks.
pub fn run_all<D: Backend>(
    which: D::Which,
    store: &Store,
    plan: &Plan,
    options: &Options,
    command: &str,
    interrupt: &AtomicBool,
    watch: &(dyn Fn(Event) + Sync),
) -> Result<Summary, store::Error> {
    let dataset_id = store.put_dataset(&plan.dataset)?;
    let mut views = HashMap::new();
    for view in plan.cells.iter().filter_map(|p| p.view.as_ref()) {
        if !views.contains_key(&view.fingerprint) {
            views.insert(view.fingerprint.clone(), store.put_view(view, dataset_id)?);
        }
    }
    let record = environment::record(options.threads, options.workers, &D::name(&which));
    let worker = Worker {
        host: environment::host(),
        pid: std::process::id(),
        command: command.into(),
        environment: record.to_string(),
    };
    let shared = Shared::<D> {
        which,
        store,
        plan,
        worker,
        options,
        interrupt,
        stop: AtomicBool::new(false),
        fatal: Mutex::new(None),
        vision: OnceLock::new(),
        banks: Mutex::new(HashMap::new()),
        views,
        summary: Mutex::default(),
        watch,
    };
    std::thread::scope(|scope| {
        // Dropped when the work ends, however it ends; the heart then stops.
        let (_working, ended) = std::sync::mpsc::channel::<()>();
        scope.spawn(|| shared.beat(ended));
        shared.work_through()
    })?;
    let counts = shared.summary.into_inner().unwrap_or_default();
    if let Some(error) = shared.fatal.into_inner().unwrap_or_default() {
        return Err(error);
    }
    Ok(Summary { interrupted: interrupt.load(Ordering::Relaxed), ..counts })
}

enum Ended {
    Finished,
    Failed,
    Again,
    Elsewhere,
}

impl<D: Backend> Shared<'_, D> {
    /// Gives a sign of life for all runs of this process until `ended` is closed.
    fn beat(&self, ended: std::sync::mpsc::Receiver<()>) {
        while ended.recv_timeout(HEARTBEAT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            if let Err(error) = self.store.heartbeat(&self.worker) {
                self.give_up(error);
            }
        }
    }

    fn work_through(&self) -> Result<(), store::Error> {
        let states = self.store.states()?;
        let mut open = self.plan.open(&states);
        let pending: Vec<NewRun> = open.iter().map(|(planned, seed, id)| self.new_run(planned, *seed, id)).collect();
        self.store.declare(&pending)?;
        // The longest first, so that no worker is left alone with one at the end.
        open.sort_by(|a, b| plan::cost(b.0).total_cmp(&plan::cost(a.0)));
        let (first, second): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(p, ..)| matches!(p.cell.part, Part::Stream { .. } | Part::Bank { .. }));
        for phase in [first, second] {
            let next = AtomicUsize::new(0);
            let workers = self.options.workers.min(phase.len()).max(1);
            let threads = (self.options.threads / workers).max(1);
            std::thread::scope(|scope| {
                for _ in 0..workers {
                    let body = || loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(&(planned, seed, id)) = phase.get(i) else { break };
                        if self.stopped() {
                            break;
                        }
                        let ended = self.attend(planned, seed, id);
                        if let Ok(mut summary) = self.summary.lock() {
                            match ended {
                                Ended::Finished => summary.finished += 1,
                                Ended::Failed => summary.failed += 1,
                                Ended::Elsewhere | Ended::Again => {}
                            }
                        }
                    };
                    scope.spawn(move || match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
                        Ok(pool) => pool.install(body),
                        Err(_) => body(),
                    });
                }
            });
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// A store that cannot be written ends everything: what comes next could not be kept.
    fn give_up(&self, error: store::Error) {
        self.stop.store(true, Ordering::Relaxed);
        if let Ok(mut fatal) = self.fatal.lock() {
            fatal.get_or_insert(error);
        }
    }

    /// Claims a run and works on it; waits for a process that has it already.
    fn attend(&self, planned: &Planned, seed: Option<u64>, id: &str) -> Ended {
        let name = run_name(planned, seed);
        let run = self.new_run(planned, seed, id);
        let mut told = false;
        let mut retries = self.options.retries;
        // The clock of another machine may be ahead of ours: no new sign of life while we watch is death as well.
        let mut seen: Option<(String, Instant)> = None;
        loop {
            let silent = |beat: &str| seen.as_ref().is_some_and(|(last, at)| last == beat && at.elapsed() > GRACE);
            let lives = |host: &str, pid: i64, beat: &str| {
                alive(host, pid, beat) && (host == self.worker.host || !silent(beat))
            };
            match self.store.claim(&run, &self.worker, &lives) {
                Err(error) => {
                    self.give_up(error);
                    return Ended::Elsewhere;
                }
                Ok(Claim::Done) => return Ended::Elsewhere,
                Ok(Claim::Theirs { .. }) if self.stopped() => return Ended::Elsewhere,
                // Runs that others need must be waited for; the rest too, so that a table is complete when we return.
                Ok(Claim::Theirs { host, pid, heartbeat }) => {
                    if seen.as_ref().is_none_or(|(last, _)| *last != heartbeat) {
                        seen = Some((heartbeat, Instant::now()));
                    }
                    if !told {
                        (self.watch)(Event::Theirs { name: name.clone(), host, pid });
                        told = true;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                Ok(Claim::Ours(attempt)) => match self.work(planned, seed, id, name.clone(), attempt, retries > 0) {
                    Ended::Again => retries -= 1,
                    ended => return ended,
                },
            }
        }
    }

    fn new_run(&self, planned: &Planned, seed: Option<u64>, id: &str) -> NewRun {
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

    fn work(&self, planned: &Planned, seed: Option<u64>, id: &str, name: String, attempt: i64, again: bool) -> Ended {
        let started = Instant::now();
        (self.watch)(Event::Started { name: name.clone(), attempt });
        let checkpoint = checkpoint::path(self.store.path(), id);
        let mut keeper = Keeper {
            shared: self,
            id,
            name: name.clone(),
            checkpoint: checkpoint.clone(),
            epochs: Vec::new(),
            kept: 0,
            saved: Instant::now(),
        };
        let work = || {
            let device = D::open(&self.which)?;
            let job = self.job(planned, seed, id, &checkpoint)?;
            let result = work::run(&device, job, &mut keeper);
            device.end_run();
            result
        };
        // A bug that one run meets should not take the others with it.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| t.to_string())).unwrap_or_default();
            Err(Error::Listener(format!("a bug in unmute: {text}\n  next: report it, with this message")))
        });
        crate::scratch::clear();
        let seconds = started.elapsed().as_secs_f64();
        let ended = match result {
            Ok(result) => {
                let new = &keeper.epochs[keeper.kept..];
                let stored = self.store.finish(id, new, &result, seconds, environment::peak_memory());
                stored.map(|()| {
                    let _ = std::fs::remove_file(&checkpoint);
                    (self.watch)(Event::Finished { name, top1: result.values.get("top1").copied(), seconds });
                    Ended::Finished
                })
            }
            Err(Error::Interrupted) => {
                self.store.stop(id, &self.worker, State::Interrupted, None, seconds).map(|()| Ended::Elsewhere)
            }
            Err(error) => {
                let error = error.to_string();
                self.store.stop(id, &self.worker, State::Failed, Some(&error), seconds).map(|()| {
                    if again && !self.stopped() {
                        (self.watch)(Event::Retried { name, error });
                        return Ended::Again;
                    }
                    (self.watch)(Event::Failed { name, error });
                    if self.options.fail_fast {
                        self.stop.store(true, Ordering::Relaxed);
                    }
                    Ended::Failed
                })
            }
        };
        ended.unwrap_or_else(|error| {
            self.give_up(error);
            Ended::Failed
        })
    }

    fn job<'p>(
        &self,
        planned: &'p Planned,
        seed: Option<u64>,
        id: &str,
        checkpoint: &std::path::Path,
    ) -> Result<work::Job<'p>, Error> {
        let view = planned.view.clone().ok_or_else(|| Error::Listener("a skipped cell".into()))?;
        let vision = self.vision.get_or_init(|| Vision::new(&view)).with_view(&view);
        let bank = match &planned.cell.part {
            Part::Generator { audio, .. } | Part::Control { audio, .. } => Some(self.bank(planned, audio, &view)?),
            _ => None,
        };
        let from = match checkpoint::load(checkpoint) {
            // One whose epochs the store does not have (an older copy of it was put back, say) would leave a hole in the curve.
            Some(from) => {
                let told = |e: store::Error| Error::Listener(e.to_string());
                let kept = self.store.curve(id).map_err(told)?;
                (1..=from.epoch).all(|n| kept.iter().any(|e| e.epoch == n)).then_some(from)
            }
            None => None,
        };
        Ok(work::Job { cell: &planned.cell, seed: seed.unwrap_or(0), view, vision, bank, from })
    }

    /// The stored bank that a generator or control is scored with.
    fn bank(&self, planned: &Planned, audio: &str, view: &View) -> Result<Arc<(Bank, Scores)>, Error> {
        let wanted = Part::Bank { audio: audio.into() };
        let same = |p: &&Planned| {
            p.cell.part == wanted
                && p.cell.overrides == planned.cell.overrides
                && p.view.as_ref().is_some_and(|v| v.fingerprint == view.fingerprint)
        };
        let missing = |why: &str| Error::Listener(format!("the SVM bank of {audio}: {why}"));
        let bank = self.plan.cells.iter().find(same).ok_or_else(|| missing("not in the plan"))?;
        let id = &bank.runs[0].1;
        if let Some(found) = self.banks.lock().map_err(|_| missing("lost"))?.get(id) {
            return Ok(found.clone());
        }
        let told = |e: store::Error| Error::Listener(e.to_string());
        let record = self.store.bank(id).map_err(told)?.ok_or_else(|| missing("its run failed; see `unmute ls`"))?;
        let scores = self.store.scores(id, "real").map_err(told)?.ok_or_else(|| missing("no scores"))?;
        let probability: Probability = bank.cell.config.svm.probability;
        let found = Arc::new((work::bank_of_record(record, probability), scores));
        self.banks.lock().map_err(|_| missing("lost"))?.insert(id.clone(), found.clone());
        Ok(found)
    }
}

/// `vggish/lstm/l2/with seed 0`.
pub fn run_name(planned: &Planned, seed: Option<u64>) -> String {
    let key = planned.cell.key();
    seed.map_or(key.clone(), |seed| format!("{key} seed {seed}"))
}

/// Listens to one training: epochs, checkpoints, Ctrl-C.
struct Keeper<'a, 'b, D: Backend> {
    shared: &'a Shared<'b, D>,
    id: &'a str,
    name: String,
    checkpoint: std::path::PathBuf,
    epochs: Vec<Epoch>,
    /// How many of `epochs` the store has.
    kept: usize,
    saved: Instant,
}

impl<D: Backend> Keeper<'_, '_, D> {
    /// A disk that takes nothing more is no failure of the run: it goes on when there is room again.
    fn give_up(&self, error: store::Error) -> Error {
        self.shared.give_up(error);
        Error::Interrupted
    }
}

impl<D: Backend> Listener for Keeper<'_, '_, D> {
    fn step(&mut self, done: usize, total: usize) -> Result<(), Error> {
        (self.shared.watch)(Event::Step { name: self.name.clone(), done, total });
        if self.shared.stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn epoch(&mut self, epoch: &Epoch, checkpoint: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
        self.epochs.push(*epoch);
        if self.saved.elapsed() >= self.shared.options.checkpoint_every {
            // The epochs first: a checkpoint whose epochs are lost would leave a hole in the curve.
            let new = &self.epochs[self.kept..];
            self.shared.store.put_epochs(self.id, new).map_err(|e| self.give_up(e))?;
            self.kept = self.epochs.len();
            let written = checkpoint::save(&self.checkpoint, &checkpoint()?);
            written.map_err(|e| self.give_up(store::Error::of_file(&self.checkpoint, &e)))?;
            self.saved = Instant::now();
        }
        Ok(())
    }
}
