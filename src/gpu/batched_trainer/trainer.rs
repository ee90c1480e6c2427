//! The trainer: cells laid out on the device, and an epoch over them.

use super::log::{Log, Part};
use super::start::{begin, check, loss_of, runs, trunk_of};
use crate::experiment::config::{Classifier, Target};
use crate::gpu::api::{Buffer, GpuApi};
use crate::gpu::batched_params::BatchedParams;
use crate::gpu::feature_cache::KeepsFeatures;
use crate::gpu::feed::{Feed, Piece, Row, Target as Wanted};
use crate::gpu::kernels::adam::Adam;
use crate::gpu::memory::MemoryPlan;
use crate::gpu::network::{Activation, BackwardTape, Network, Pass};
use crate::model::loss::GpuLoss;
use crate::model::network::Sizes;
use crate::train::{Checkpoint, Error, Measures, Task, Trainer};
use std::ops::Range;
use std::rc::Rc;

/// Clips of an evaluation that are worked on at once at most.
const EVAL_BATCH: usize = 256;

/// Cells with one loss, inside a branch.
pub(super) struct Span {
    pub(super) cells: Range<usize>,
    pub(super) form: GpuLoss,
}

/// G generators on an engine. Cells are numbered as the caller gave them; on the device, cells with the same audio head and
/// loss lie together.
pub struct BatchedTrainer<E: GpuApi> {
    pub(super) engine: Rc<E>,
    /// As they lie on the device, like everything below.
    pub(super) tasks: Vec<Task>,
    /// Where each of the caller's cells lies.
    pub(super) places: Vec<usize>,
    pub(super) network: Network<E>,
    /// The losses of each branch.
    pub(super) spans: Vec<Vec<Span>>,
    targets: Vec<Wanted>,
    feed: Feed<E>,
    /// Weights of the classification losses; 0 without the classifier.
    pub(super) w_cls: Buffer<E>,
    pub(super) w_rec: Buffer<E>,
    adam: Adam,
    /// Clips worked on at once.
    part: usize,
}

impl<E: KeepsFeatures + 'static> BatchedTrainer<E> {
    /// From the beginning, or from checkpoints of the same epoch, one for each task or none at all.
    pub fn new(
        engine: Rc<E>,
        tasks: Vec<Task>,
        from: Vec<Option<Checkpoint>>,
        plan: &MemoryPlan,
    ) -> Result<Self, Error> {
        check(&tasks)?;
        let mut found = Vec::new();
        for (i, task) in tasks.iter().enumerate() {
            let sizes = task.sizes()?;
            let raw = task.config.train.target == Target::Raw;
            let audio = task.view.dataset.audio.iter().position(|f| f.name() == task.audio).unwrap_or(0);
            found.push(((audio, raw), loss_of(task, sizes.audio)?, i, sizes));
        }
        found.sort_by_key(|(target, form, i, _)| (*target, *form, *i));
        let mut places = vec![0; tasks.len()];
        found.iter().enumerate().for_each(|(place, (.., i, _))| places[*i] = place);
        let mut slots: Vec<Option<(Task, Option<Checkpoint>)>> = Vec::new();
        let mut from = from.into_iter();
        slots.extend(tasks.into_iter().map(|task| Some((task, from.next().flatten()))));
        let (tasks, from): (Vec<Task>, Vec<Option<Checkpoint>>) =
            found.iter().filter_map(|(.., i, _)| slots[*i].take()).unzip();
        let branches = runs(&found, |(target, ..)| *target);
        let spans = branches.iter().map(|cells| {
            let inside = runs(&found[cells.clone()], |(_, form, ..)| *form).into_iter();
            let moved = inside.map(|r| r.start + cells.start..r.end + cells.start);
            moved.map(|cells| Span { form: found[cells.start].1, cells }).collect()
        });
        let spans: Vec<Vec<Span>> = spans.collect();
        let (saved, step) = begin(&tasks, &branches, &found.iter().map(|f| f.3).collect::<Vec<Sizes>>(), from)?;
        let params = BatchedParams::new(&engine, &saved.iter().map(Vec::as_slice).collect::<Vec<_>>(), step)?;
        drop(saved);
        let first = &tasks[0];
        let (config, frames) = (first.config.clone(), first.vision.frames());
        let network = Network::new(params, &trunk_of(first)?, frames, &branches)?;
        let target =
            |cells: &Range<usize>| Ok(Wanted { audio: found[cells.start].0.0, scale: tasks[cells.start].scale()? });
        let targets = branches.iter().map(target).collect::<Result<Vec<Wanted>, Error>>()?;
        let single = first.sees_one_frame()?;
        let scales = first.vision.standardisers();
        let feed = Feed::new(&engine, &first.view, scales, single, &targets, plan.features)?;
        let w_cls = |task: &Task| match task.classifier {
            Classifier::With => task.config.train.w_cls as f32,
            Classifier::Without => 0.0,
        };
        let train = &config.train;
        Ok(BatchedTrainer {
            w_cls: Buffer::of(&*engine, &tasks.iter().map(w_cls).collect::<Vec<f32>>())?,
            w_rec: Buffer::of(&*engine, &tasks.iter().map(|t| t.config.train.w_rec as f32).collect::<Vec<f32>>())?,
            adam: Adam { lr: train.lr, beta1: train.beta1, beta2: train.beta2, eps: train.eps, decay: 0.0 },
            part: plan.part.clamp(1, train.batch.max(1)),
            engine,
            tasks,
            places,
            network,
            spans,
            targets,
            feed,
        })
    }

    /// Clips of an evaluation that are worked on at once.
    fn eval_part(&self) -> usize {
        EVAL_BATCH.min(self.part)
    }

    /// Forward, losses, and where something is to be learned, backward.
    fn work(&self, piece: &Piece<E>, part: &Part, place: usize, log: &Log<E>, learn: bool) -> Result<(), Error> {
        let cells = 0..self.tasks.len();
        if !learn {
            let mut pass = Pass::forward_only(&self.network, cells, piece.clips());
            let trunks = pass.trunks(piece.input()?)?;
            let logits = pass.logits(&trunks)?;
            let mut audio = Vec::new();
            if part.sounded {
                for branch in &self.network.branches {
                    audio.push(pass.audio(&trunks, branch)?);
                }
            }
            return self.compute_losses(piece, part, [place, 0], log, &logits, &audio);
        }
        let mut pass = Pass::recorded(&self.network, cells, piece.clips(), !part.ends[0]);
        let trunks = pass.trunks(piece.input()?)?;
        let logits = pass.logits(&trunks)?;
        let audio = self.network.branches.iter().map(|branch| pass.audio(&trunks, branch));
        let audio = audio.collect::<Result<Vec<Rc<Activation<E>>>, Error>>()?;
        self.compute_losses(piece, part, [place, part.batch], log, &logits, &audio)?;
        pass.tape.map_or(Ok(()), BackwardTape::backward)
    }

    /// Rows of clips with the frame that the network sees outside of training.
    fn centred(&self, clips: impl Iterator<Item = usize>) -> Vec<Row> {
        clips.map(|clip| Row { clip, frame: self.tasks[0].centre() }).collect()
    }
}

impl<E: KeepsFeatures + 'static> Trainer for BatchedTrainer<E> {
    fn cells(&self) -> usize {
        self.tasks.len()
    }

    fn epoch(
        &mut self,
        epoch: usize,
        step: &mut dyn FnMut(usize) -> Result<(), Error>,
    ) -> Result<Vec<Measures>, Error> {
        let task = &self.tasks[0];
        let frames = if task.sees_one_frame()? { task.random_frames(epoch) } else { Vec::new() };
        let order = task.order(epoch).into_iter();
        let rows: Vec<Row> =
            order.map(|clip| Row { clip, frame: frames.get(clip).copied().unwrap_or_default() }).collect();
        let mut parts: Vec<Part> = Vec::new();
        for batch in chunks(0..rows.len(), task.config.train.batch) {
            for rows in chunks(batch.clone(), self.part) {
                let ends = [rows.start == batch.start, rows.end == batch.end];
                parts.push(Part { rows, sounded: true, batch: batch.len(), ends });
            }
        }
        let log = Log::new(&*self.engine, parts.len(), self.tasks.len())?;
        let mut done = 0;
        self.feed.each(&rows, &ranges(&parts), true, &mut |i, piece| {
            self.work(piece, &parts[i], i, &log, true)?;
            if parts[i].ends[1] {
                self.network.params.update(&self.adam)?;
                done += 1;
                step(done)?;
            }
            Ok(())
        })?;
        self.measures(&log, &parts)
    }

    fn measure(&mut self) -> Result<Vec<Measures>, Error> {
        let view = &self.tasks[0].view;
        let with = |sounds: bool| view.val.iter().copied().filter(move |&c| view.sounded[c] == sounds);
        let rows = self.centred(with(true).chain(with(false)));
        let sounded = with(true).count();
        let mut parts: Vec<Part> = Vec::new();
        for (all, sounded) in [(0..sounded, true), (sounded..rows.len(), false)] {
            let part = |rows: Range<usize>| Part { batch: 0, ends: [true; 2], rows, sounded };
            parts.extend(chunks(all, self.eval_part()).map(part));
        }
        let log = Log::new(&*self.engine, parts.len(), self.tasks.len())?;
        let work = &mut |i: usize, piece: &Piece<E>| self.work(piece, &parts[i], i, &log, false);
        self.feed.each(&rows, &ranges(&parts), true, work)?;
        self.measures(&log, &parts)
    }

    fn save(&self, cell: usize, epoch: usize) -> Result<Checkpoint, Error> {
        let params = &self.network.params;
        Ok(Checkpoint { epoch, step: params.step(), params: params.save(self.places[cell])?, best: None })
    }

    fn restore(&mut self, cell: usize, state: Checkpoint) -> Result<(), Error> {
        self.network.params.restore(self.places[cell], &state.params)
    }

    fn generate(&self, cell: usize, clips: &[usize]) -> Result<Vec<f32>, Error> {
        let place = self.places[cell];
        let task = &self.tasks[place];
        let branch = self.network.branches.iter().position(|b| b.cells.contains(&place)).unwrap_or(0);
        let mean_of_frames = task.averages_frames()?;
        let frames: Vec<usize> = if mean_of_frames { (0..task.vision.frames()).collect() } else { vec![task.centre()] };
        let (mut rows, mut pieces) = (Vec::new(), Vec::new());
        for clips in clips.chunks(self.eval_part()) {
            for &frame in &frames {
                pieces.push(rows.len()..rows.len() + clips.len());
                rows.extend(clips.iter().map(|&clip| Row { clip, frame }));
            }
        }
        let mut out: Vec<f32> = Vec::new();
        let head = &self.network.branches[branch];
        self.feed.each(&rows, &pieces, false, &mut |i, piece| {
            let mut pass = Pass::forward_only(&self.network, place..place + 1, piece.clips());
            let trunks = pass.trunks(piece.input()?)?;
            let audio = pass.audio(&trunks, head)?.value.all().read(&*self.engine)?;
            if frames.len() == 1 {
                out.extend_from_slice(&audio);
                return Ok(());
            }
            if i % frames.len() == 0 {
                out.resize(out.len() + audio.len(), 0.0);
            }
            let from = out.len() - audio.len();
            out[from..].iter_mut().zip(&audio).for_each(|(s, a)| *s += a / frames.len() as f32);
            Ok(())
        })?;
        self.targets[branch].scale.undo(&mut out);
        Ok(out)
    }

    fn parameters(&self, cell: usize) -> usize {
        self.network.params.count(self.places[cell])
    }
}

/// `range` in pieces of `most`, the last one shorter.
fn chunks(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(most.max(1)).map(move |from| from..(from + most.max(1)).min(end))
}

fn ranges(parts: &[Part]) -> Vec<Range<usize>> {
    parts.iter().map(|part| part.rows.clone()).collect()
}
