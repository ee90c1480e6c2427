//! From a group of runs to what the store keeps of each: claimed run by run, trained side by side, scored one by one.

use super::liveness::Watch;
use super::memory::{self, Share, TooLarge};
use super::plan::Open;
use super::queue::{evenly, name};
use super::run_recorder::{GroupProgress, RunRecorder};
use super::work::{self, Job};
use super::{Error, Event, RunContext, alive, checkpoint, environment};
use crate::device::Device;
use crate::experiment::Part;
use crate::store::{self, Claim, State};
use crate::train::{self, Checkpoint, Listener, Trainer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A run that this process has claimed.
struct Claimed<'p> {
    open: Open<'p>,
    attempt: i64,
    /// How often it is tried again if it fails.
    retries: usize,
    /// Seconds spent on it in this attempt; of a time that several share, its part.
    spent: f64,
}

/// How working on a run ended.
enum Ended {
    Finished,
    Failed,
    /// It failed and is to be tried again, so often at most.
    Again(usize),
    /// It was stopped, or somebody else has it.
    Elsewhere,
}

/// A trainer whose cells have ended, with its device, and what came of each cell.
struct Trained {
    device: Box<dyn Device>,
    trainer: Box<dyn Trainer>,
    outcomes: Vec<Result<usize, train::Error>>,
}

impl<'a> RunContext<'a> {
    /// Does what of a group can be done now; what another process works on is put off.
    pub(super) fn do_group(&self, group: &[Open<'a>], put_off: &Mutex<Vec<Open<'a>>>) {
        for part in self.parts(group) {
            let mut ours = Vec::new();
            for &open in part {
                if self.stopped() {
                    break;
                }
                match self.store.claim(&self.new_run(open), &self.worker, &alive) {
                    Ok(Claim::Ours(attempt)) => {
                        ours.push(Claimed { open, attempt, retries: self.options.retries, spent: 0.0 });
                    }
                    Ok(Claim::Done) => {}
                    Ok(Claim::Theirs(_)) => {
                        if let Ok(mut put_off) = put_off.lock() {
                            put_off.push(open);
                        }
                    }
                    Err(error) => self.give_up(error),
                }
            }
            for (open, ended) in self.work(ours) {
                match ended {
                    Ended::Again(retries) => self.wait_for(open, retries),
                    ended => self.count(&ended),
                }
            }
        }
    }

    /// A group in parts that the device has room for.
    fn parts<'g>(&self, group: &'g [Open<'a>]) -> Vec<&'g [Open<'a>]> {
        let generators = group.iter().all(|run| matches!(run.planned.cell.part, Part::Generator { .. }));
        if !generators || (group.len() == 1 && self.which.side_by_side() == 1) {
            return vec![group];
        }
        let room = caught(|| {
            let tasks = group.iter().map(|run| {
                let (view, vision) = self.sight(run)?;
                Ok(work::task(&run.planned.cell, run.seed.unwrap_or(0), &view, &vision)?)
            });
            let tasks = tasks.collect::<Result<Vec<_>, Error>>()?;
            Ok(self.which.open()?.room(&tasks)?)
        });
        match room {
            Ok(plan) => {
                self.tell(&name(group), plan.words);
                evenly(group, plan.cells).collect()
            }
            // Each says by itself what keeps it from being trained.
            Err(_) => group.chunks(1).collect(),
        }
    }

    /// The memory of runs that are worked on together, once there is room for it.
    fn share(&self, runs: &[Open]) -> Result<Share<'_>, Error> {
        let need = runs.iter().fold(0u64, |sum, run| sum.saturating_add(memory::need(run.planned)));
        let share = self.memory.share(need, || self.stopped());
        share.map_err(|TooLarge { need, free }| Error::TooLarge { need, free })
    }

    /// Tells what a device has to say of a group, once.
    fn tell(&self, group: &str, words: Vec<String>) {
        let Ok(mut told) = self.told.lock() else { return };
        for text in words {
            if told.insert(text.clone()) {
                (self.watch)(Event::Note { name: group.into(), text });
            }
        }
    }

    fn count(&self, ended: &Ended) {
        if let Ok(mut summary) = self.summary.lock() {
            match ended {
                Ended::Finished => summary.finished += 1,
                Ended::Failed => summary.failed += 1,
                Ended::Again(_) | Ended::Elsewhere => {}
            }
        }
    }

    /// Claims a run and does it alone; waits for a process that has it already.
    pub(super) fn wait_for(&self, open: Open<'a>, mut retries: usize) {
        let run = self.new_run(open);
        let mut told = false;
        let mut watch = Watch::default();
        loop {
            match self.store.claim(&run, &self.worker, &|owner| watch.lives(owner)) {
                Err(error) => return self.give_up(error),
                Ok(Claim::Done) => return,
                Ok(Claim::Theirs(_)) if self.stopped() => return,
                // Runs that others need must be waited for; the rest too, so that a table is complete when we return.
                Ok(Claim::Theirs(owner)) => {
                    if !told {
                        (self.watch)(Event::Theirs { name: open.name(), host: owner.host.clone(), pid: owner.pid });
                        told = true;
                    }
                    watch.saw(owner);
                    std::thread::sleep(Duration::from_millis(200));
                }
                Ok(Claim::Ours(attempt)) => {
                    let ours = vec![Claimed { open, attempt, retries, spent: 0.0 }];
                    match self.work(ours).pop() {
                        Some((_, Ended::Again(left))) => retries = left,
                        ended => return ended.iter().for_each(|(_, ended)| self.count(ended)),
                    }
                }
            }
        }
    }

    fn work(&self, mut runs: Vec<Claimed<'a>>) -> Vec<(Open<'a>, Ended)> {
        let generator = |run: &Claimed| matches!(run.open.planned.cell.part, Part::Generator { .. });
        let mut others = Vec::new();
        while let Some(place) = runs.iter().position(|run| !generator(run)) {
            others.push(runs.remove(place));
        }
        let mut ended: Vec<_> = others.into_iter().map(|run| (run.open, self.by_itself(run))).collect();
        ended.extend(self.generators(runs));
        ended
    }

    /// Does a run that is no generator.
    fn by_itself(&self, mut run: Claimed<'a>) -> Ended {
        (self.watch)(Event::Started { name: run.open.name(), attempt: run.attempt });
        let started = Instant::now();
        let progress = GroupProgress::new(run.open.name());
        let mut recorder = RunRecorder::new(self, &progress, (run.open.id, run.attempt), Vec::new());
        let result = self.share(&[run.open]).and_then(|_share| {
            caught(|| {
                let device = self.which.open()?;
                let job = self.job(&run.open)?.0;
                // It has no epochs to end at.
                let mut step = |done, total| match self.stopped() {
                    true => Err(train::Error::Interrupted),
                    false => recorder.step(done, total),
                };
                let result = work::run(&*device, &job, &mut step)?;
                self.keep_head(&run.open, &job, &result)?;
                Ok(result)
            })
        });
        compute::buffer_pool::clear();
        run.spent += started.elapsed().as_secs_f64();
        match result {
            Ok(result) => self.finish(&run, &recorder, &result),
            Err(error) => self.fail(&run, &error),
        }
    }

    /// Does generators of one group.
    fn generators(&self, runs: Vec<Claimed<'a>>) -> Vec<(Open<'a>, Ended)> {
        let (mut ready, mut ended) = (Vec::new(), Vec::new());
        for mut run in runs {
            let started = Instant::now();
            let job = caught(|| self.job(&run.open));
            run.spent += started.elapsed().as_secs_f64();
            match job {
                Ok((job, attempt)) => {
                    run.attempt = run.attempt.max(attempt);
                    ready.push((run, job));
                }
                Err(error) => {
                    (self.watch)(Event::Started { name: run.open.name(), attempt: run.attempt });
                    ended.push((run.open, self.fail(&run, &error)));
                }
            }
        }
        // A checkpoint that turned out to be of no use leaves its run behind the others.
        while let Some(epoch) = ready.first().map(|(_, job)| job.done()) {
            let (same, others) = ready.into_iter().partition(|(_, job)| job.done() == epoch);
            ready = others;
            ended.extend(self.side_by_side(same));
        }
        ended
    }

    /// Trains generators side by side, then scores each.
    fn side_by_side(&self, mut group: Vec<(Claimed<'a>, Job<'a>)>) -> Vec<(Open<'a>, Ended)> {
        let name = name(&group.iter().map(|(run, _)| run.open).collect::<Vec<_>>());
        if group.len() > 1 {
            let runs = group.iter().map(|(run, _)| run.open.name()).collect();
            (self.watch)(Event::Together { name: name.clone(), runs });
        }
        for (run, _) in &group {
            (self.watch)(Event::Started { name: run.open.name(), attempt: run.attempt });
        }
        let progress = GroupProgress::new(name.clone());
        let behind = |run: &Claimed, job: &Job| {
            let mut epochs =
                if job.done() > 0 { self.store.curve(run.open.id).unwrap_or_default() } else { Vec::new() };
            epochs.retain(|epoch| epoch.epoch <= job.done());
            epochs
        };
        let recorder = |(run, job): &(Claimed<'a>, Job<'a>)| {
            RunRecorder::new(self, &progress, (run.open.id, run.attempt), behind(run, job))
        };
        let mut recorders: Vec<_> = group.iter().map(recorder).collect();
        let started = Instant::now();
        let share = self.share(&group.iter().map(|(run, _)| run.open).collect::<Vec<_>>());
        // Kept until they are scored as well.
        let (memory, trained) = match share {
            Ok(share) => (Some(share), caught(|| self.train(&mut group, &mut recorders))),
            Err(error) => (None, Err(error)),
        };
        let share = started.elapsed().as_secs_f64() / group.len().max(1) as f64;
        group.iter_mut().for_each(|(run, _)| run.spent += share);
        let ended = match trained {
            Ok(Trained { device, trainer, outcomes }) => {
                let runs = group.into_iter().zip(&recorders).zip(outcomes).enumerate();
                runs.map(|(cell, (((run, job), recorder), outcome))| match outcome {
                    Ok(epoch) => self.score(run, &job, recorder, (&*device, &*trainer), (cell, epoch)),
                    Err(error) => (run.open, self.fail(&run, &error.into())),
                })
                .collect()
            }
            // Whether memory gave out or one of them met a bug, fewer may do.
            Err(error) if group.len() > 1 && !error.is_interruption() && !self.stopped() => {
                (self.watch)(Event::Divided { name, error: error.to_string() });
                compute::buffer_pool::clear();
                drop(memory);
                let mut first: Vec<Claimed> = group.into_iter().map(|(run, _)| run).collect();
                let second = first.split_off(first.len().div_ceil(2));
                [first, second].into_iter().flat_map(|half| self.generators(half)).collect()
            }
            Err(error) => group.iter().map(|(run, _)| (run.open, self.fail(run, &error))).collect(),
        };
        compute::buffer_pool::clear();
        ended
    }

    fn train(
        &self,
        group: &mut [(Claimed<'a>, Job<'a>)],
        recorders: &mut [RunRecorder<'_, 'a>],
    ) -> Result<Trained, Error> {
        let device = self.which.open()?;
        let tasks = group.iter().map(|(_, job)| work::task(job.cell, job.seed, &job.view, &job.vision));
        let tasks = tasks.collect::<Result<Vec<_>, train::Error>>()?;
        let plan = device.room(&tasks)?;
        if plan.cells < tasks.len() {
            let text = format!("there is memory for {} of {} cells", plan.cells, tasks.len());
            return Err(train::Error::Memory(text).into());
        }
        let (Some((_, first)), Some(task)) = (group.first(), tasks.first()) else {
            return Err(train::Error::Nothing.into());
        };
        let schedule = task.schedule(first.done());
        let mut from: Vec<Option<Checkpoint>> = group.iter_mut().map(|(_, job)| job.from.take()).collect();
        let best = from.iter_mut().map(|from| from.as_mut().and_then(|from| from.best.take()).map(|best| *best));
        let best = best.collect();
        let mut trainer = device.trainer(tasks, from, plan)?;
        let mut listeners: Vec<&mut dyn Listener> = recorders.iter_mut().map(|k| k as &mut dyn Listener).collect();
        let outcomes = train::train_on(&mut *trainer, &schedule, best, &mut listeners)?;
        Ok(Trained { device, trainer, outcomes })
    }

    fn score(
        &self,
        mut run: Claimed<'a>,
        job: &Job<'a>,
        recorder: &RunRecorder<'_, 'a>,
        (device, trainer): (&dyn Device, &dyn Trainer),
        (cell, epoch): (usize, usize),
    ) -> (Open<'a>, Ended) {
        let started = Instant::now();
        let result = caught(|| {
            let mut result = work::score(job, trainer, cell, &*device.solver()?)?;
            if job.cell.config.train.stop.is_some() {
                result.values.insert("best_epoch".into(), epoch as f64);
            }
            self.keep_generator(&run.open, job, trainer, cell, &result)?;
            Ok(result)
        });
        run.spent += started.elapsed().as_secs_f64();
        let ended = match result {
            Ok(result) => self.finish(&run, recorder, &result),
            Err(error) => self.fail(&run, &error),
        };
        (run.open, ended)
    }

    fn finish(&self, run: &Claimed, recorder: &RunRecorder<'_, 'a>, result: &crate::store::RunResult) -> Ended {
        // Numbers are kept under the fingerprint of the data that were there at the beginning.
        if let Err(error) = self.plan.dataset.check_unchanged() {
            recorder.forget();
            return self.fail(run, &error.into());
        }
        let (id, seconds) = (run.open.id, run.spent);
        let memory = environment::peak_memory();
        match self.store.finish(id, &self.worker, recorder.new_epochs(), result, seconds, memory) {
            Ok(true) => {}
            // We gave no sign of life for so long that another worker has it now.
            Ok(false) => return Ended::Elsewhere,
            Err(error @ store::Error::NotFinite { .. }) => return self.fail(run, &Error::Store(error)),
            Err(error) => {
                self.give_up(error);
                return Ended::Failed;
            }
        }
        if let Err(error) = self.keep_the_best(&run.open) {
            self.give_up(error);
            return Ended::Failed;
        }
        if let Err(error) = self.publish() {
            self.give_up(error);
            return Ended::Failed;
        }
        recorder.forget();
        for text in crate::score::quality::remarks(&result.values) {
            (self.watch)(Event::Note { name: run.open.name(), text });
        }
        let top1 = result.values.get("top1").copied();
        (self.watch)(Event::Finished { name: run.open.name(), top1, seconds });
        Ended::Finished
    }

    fn fail(&self, run: &Claimed, error: &Error) -> Ended {
        let stop = |state, text: Option<&str>| self.store.stop(run.open.id, &self.worker, state, text, run.spent);
        let text = error.to_string();
        let stored = match error {
            error if error.is_interruption() => stop(State::Interrupted, None),
            _ => stop(State::Failed, Some(&text)),
        };
        if let Err(error) = stored {
            self.give_up(error);
            return Ended::Failed;
        }
        let name = run.open.name();
        match error {
            error if error.is_interruption() => {
                let epochs = checkpoint::epoch(&checkpoint::path(&self.checkpoints, run.open.id));
                let cell = &run.open.planned.cell;
                let of = if matches!(cell.part, Part::Generator { .. }) { cell.config.train.epochs } else { 0 };
                (self.watch)(Event::Kept { name, epochs, of });
                Ended::Elsewhere
            }
            _ if run.retries > 0 && !self.stopped() => {
                (self.watch)(Event::Retried { name, error: text });
                Ended::Again(run.retries - 1)
            }
            _ => {
                (self.watch)(Event::Failed { name, error: text });
                if self.options.fail_fast {
                    self.stop.store(true, Ordering::Relaxed);
                }
                Ended::Failed
            }
        }
    }
}

/// A bug that one run meets should not take the others with it.
fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| t.to_string())).unwrap_or_default();
        Err(Error::Bug(text))
    })
}
