//! The workers: all videos of a call, several at once.

use super::claims::{Claims, TOUCH};
use super::clip::{self, Tools};
use super::cost::Seconds;
use super::error::{ClipError, Error};
use super::list::Clip;
use super::net::Ready;
use super::plan::Job;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What happens while clips are extracted.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// So many clips are to do.
    Start {
        /// Clips to do.
        todo: usize,
        /// Clips done before.
        done: usize,
    },
    /// A clip has features.
    Done {
        /// Its name.
        clip: String,
    },
    /// A clip has none.
    Failed {
        /// Its name.
        clip: String,
        /// Why.
        reason: String,
    },
    /// Another process works on a clip, or has done it meanwhile.
    Elsewhere {
        /// Its name.
        clip: String,
    },
}

/// What came of a call.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Clips that there are.
    pub listed: usize,
    /// Clips with features, of all calls.
    pub done: usize,
    /// Those of them without sound.
    pub silent: usize,
    /// Clips that this call extracted.
    pub extracted: usize,
    /// Clips that failed, and why, of all calls.
    pub failed: Vec<(String, String)>,
    /// Clips that are left: other shards', or worked on elsewhere.
    pub left: usize,
    /// Clips with frames that did not decode, with their number.
    pub undecoded: BTreeMap<String, usize>,
    /// Whether the user stopped it.
    pub interrupted: bool,
    /// Processor seconds by stage.
    pub seconds: Seconds,
    /// Seconds that passed.
    pub wall: f64,
}

impl Job {
    /// Extracts what is not done, until it is done or `stop` is set.
    pub fn run(&self, stop: &AtomicBool, watch: &(dyn Fn(Event) + Sync)) -> Result<Summary, Error> {
        let started = Instant::now();
        let claims = Claims::new(self.destination.path(".extract/claims"));
        let (part, of) = self.shard;
        let mine = |&(i, _): &(usize, &Clip)| i % of == part - 1;
        let clips: Vec<&Clip> = self.list.clips.iter().enumerate().filter(mine).map(|(_, c)| c).collect();
        let mut todo: Vec<(&Clip, Vec<usize>)> =
            clips.iter().map(|c| (*c, self.missing(c))).filter(|(_, nets)| !nets.is_empty()).collect();
        watch(Event::Start { todo: todo.len(), done: clips.len() - todo.len() });
        let extracted = AtomicUsize::new(0);
        loop {
            let left = self.pass(&todo, &claims, stop, watch, &extracted)?;
            if left.is_empty() || !self.wait || stop.load(Ordering::Relaxed) {
                left.iter().for_each(|(clip, _)| watch(Event::Elsewhere { clip: clip.name.clone() }));
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
            todo = left.into_iter().map(|(c, _)| (c, self.missing(c))).filter(|(_, nets)| !nets.is_empty()).collect();
        }
        drop(claims);
        let finished = self.destination.finish(&self.list, &self.report)?;
        Ok(Summary {
            listed: self.list.clips.len(),
            done: finished.done,
            silent: finished.silent,
            extracted: extracted.into_inner(),
            left: self.list.clips.len() - finished.done - finished.failed.len(),
            failed: finished.failed,
            undecoded: finished.undecoded,
            interrupted: stop.load(Ordering::Relaxed),
            seconds: self.cost.seconds(),
            wall: started.elapsed().as_secs_f64(),
        })
    }

    /// Networks whose features of a clip are not there, or are of another file or settings.
    fn missing(&self, clip: &Clip) -> Vec<usize> {
        let record = self.destination.record(&clip.name);
        let same = record.filter(|r| r.path == clip.shown && r.is_of(&clip.path));
        let done = |n: &usize| {
            let made = same.as_ref().and_then(|r| r.nets.get(&self.nets[*n].name));
            made.is_some_and(|made| made.settings == self.hashes[*n])
        };
        (0..self.nets.len()).filter(|n| !done(n)).collect()
    }

    /// Works on all clips once; returns those that others have.
    fn pass<'c>(
        &self,
        todo: &[(&'c Clip, Vec<usize>)],
        claims: &Claims,
        stop: &AtomicBool,
        watch: &(dyn Fn(Event) + Sync),
        extracted: &AtomicUsize,
    ) -> Result<Vec<(&'c Clip, Vec<usize>)>, Error> {
        let next = AtomicUsize::new(0);
        let ended = AtomicBool::new(false);
        let halt = AtomicBool::new(false);
        let left = Mutex::new(Vec::new());
        let fatal: Mutex<Option<Error>> = Mutex::new(None);
        let work = |worker: usize| {
            let mut tools = Tools::new();
            let slot: Vec<&Mutex<Ready>> = self.slots[worker % self.slots.len()].iter().collect();
            while !stop.load(Ordering::Relaxed) && !halt.load(Ordering::Relaxed) {
                let Some((clip, nets)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let outcome = match claims.take(&clip.name) {
                    Ok(true) => {
                        let outcome = self.clip(clip, nets, &slot, &mut tools, stop);
                        claims.release(&clip.name);
                        outcome
                    }
                    Ok(false) => {
                        left.lock().unwrap_or_else(|e| e.into_inner()).push((*clip, nets.clone()));
                        continue;
                    }
                    Err(source) => Err(Error::Io { path: self.destination.path(".extract/claims"), source }),
                };
                match outcome {
                    Ok(Outcome::Done) => {
                        extracted.fetch_add(1, Ordering::Relaxed);
                        watch(Event::Done { clip: clip.name.clone() });
                    }
                    Ok(Outcome::Elsewhere) => watch(Event::Elsewhere { clip: clip.name.clone() }),
                    Ok(Outcome::Failed(reason)) => watch(Event::Failed { clip: clip.name.clone(), reason }),
                    Ok(Outcome::Interrupted) => break,
                    Err(error) => {
                        halt.store(true, Ordering::Relaxed);
                        fatal.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new;
        let begun = std::thread::scope(|scope| {
            let touch = thread().spawn_scoped(scope, || {
                let mut since = Instant::now();
                while !ended.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_secs(1));
                    if since.elapsed() >= TOUCH {
                        claims.touch();
                        since = Instant::now();
                    }
                }
            })?;
            let start = |w| thread().spawn_scoped(scope, move || work(w)).ok();
            let workers: Vec<_> = (0..self.workers.min(todo.len())).filter_map(start).collect();
            // Where the system starts no more threads, those that it has started do the work.
            if workers.is_empty() {
                work(0);
            }
            workers.into_iter().for_each(|w| drop(w.join()));
            ended.store(true, Ordering::Relaxed);
            touch.thread().unpark();
            Ok(())
        });
        begun.map_err(|source| Error::Io { path: self.destination.path(".extract/claims"), source })?;
        match fatal.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(error) => Err(error),
            None => Ok(left.into_inner().unwrap_or_else(|e| e.into_inner())),
        }
    }

    /// One claimed clip, unless another process has done it meanwhile.
    fn clip(
        &self,
        clip: &Clip,
        nets: &[usize],
        slot: &[&Mutex<Ready>],
        tools: &mut Tools,
        stop: &AtomicBool,
    ) -> Result<Outcome, Error> {
        let nets: Vec<usize> = self.missing(clip).into_iter().filter(|n| nets.contains(n)).collect();
        if nets.is_empty() {
            return Ok(Outcome::Elsewhere);
        }
        match clip::extract(self, clip, &nets, slot, tools, stop) {
            Ok(mut record) => {
                // What earlier calls made of the same file with other networks stays.
                if let Some(before) = self.destination.record(&clip.name)
                    && before.same_source(&record)
                {
                    let sound = nets.iter().any(|&n| self.nets[n].input.is_sound());
                    record.has_audio = if sound { record.has_audio } else { before.has_audio };
                    record.undecoded = record.undecoded.max(before.undecoded);
                    for warning in before.warnings {
                        if !record.warnings.contains(&warning) {
                            record.warnings.push(warning);
                        }
                    }
                    for (name, made) in before.nets {
                        record.nets.entry(name).or_insert(made);
                    }
                }
                record.warnings.sort();
                self.destination.done(&clip.name, &record)?;
                Ok(Outcome::Done)
            }
            Err(ClipError::Interrupted) => Ok(Outcome::Interrupted),
            Err(ClipError::Fatal(error)) => Err(error),
            Err(reason) => {
                self.destination.failed(clip, &reason)?;
                Ok(Outcome::Failed(reason.to_string()))
            }
        }
    }
}

/// What came of a clip.
enum Outcome {
    Done,
    Failed(String),
    Elsewhere,
    Interrupted,
}
