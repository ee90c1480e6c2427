//! Generators that train side by side on an engine, as one program: [`Trainer`] for G cells whose batches, networks and steps
//! are the same; see [`crate::runs::grouping`] for what they may differ in.
//!
//! A step gathers its batch, runs the networks of all cells, and reads nothing back: what is measured goes to a log on the
//! device, which is read at the end of an epoch and folded as on the CPU.

use super::api::{Buffer, GpuApi, View};
use super::batched_params::BatchedParams;
use super::feature_cache::KeepsFeatures;
use super::feed::{Feed, Piece, Row, Target as Wanted};
use super::kernels::adam::Adam;
use super::losses::Generated;
use super::memory::{Demand, Kept, MemoryPlan, plan};
use super::network::{Activation, BackwardTape, Network, Pass};
use crate::dataset::Precision;
use crate::experiment::config::{Classifier, Target};
use crate::model::generator::FusedTrunk;
use crate::model::loss::GpuLoss;
use crate::model::network::Sizes;
use crate::train::tally::Tally;
use crate::train::trainer::SavedParam;
use crate::train::{Checkpoint, Error, Measures, Task, Trainer};
use compute::nn::ParamState;
use std::ops::Range;
use std::rc::Rc;

/// Clips of an evaluation that are worked on at once at most.
const EVAL_BATCH: usize = 256;

/// L_rec added up over clips, from sums over clips and dimensions.
fn total_loss(loss: GpuLoss, squares: f64, divergences: f64, width: usize) -> f64 {
    match loss {
        GpuLoss::L2Mean => squares / width as f64,
        GpuLoss::L2Sum => squares,
        GpuLoss::Kl(_) => divergences,
    }
}

/// A task's loss as the kernels know it.
fn loss_of(task: &Task, width: usize) -> Result<GpuLoss, Error> {
    let unknown = || Error::Unsupported(format!("the GPU has no kernels for the loss {}", task.loss));
    task.loss.on_gpu(&task.config.train.loss_settings(), width).ok_or_else(unknown)
}

/// A task's trunk as the kernels know it.
fn trunk_of(task: &Task) -> Result<FusedTrunk, Error> {
    let unknown =
        || Error::Unsupported(format!("the GPU has no kernels for the generator {}", task.generator.architecture()));
    task.generator.describe().fused().ok_or_else(unknown)
}

/// What a step writes to the log, for every cell: sums over the clips that it worked on.
#[derive(Clone, Copy)]
enum Sum {
    Classes,
    Hits,
    Squares,
    Divergences,
}

/// Kinds of [`Sum`].
const SUMS: usize = 4;

/// Sums on the device, (pieces, [`SUMS`], G).
struct Log<E: GpuApi> {
    numbers: Buffer<E>,
    cells: usize,
}

impl<E: GpuApi> Log<E> {
    fn new(engine: &E, pieces: usize, cells: usize) -> Result<Self, Error> {
        Ok(Log { numbers: Buffer::zeros(engine, pieces * SUMS * cells)?, cells })
    }

    fn at(&self, piece: usize, sum: Sum, cells: &Range<usize>) -> Result<View<'_>, Error> {
        self.numbers.all().part((piece * SUMS + sum as usize) * self.cells + cells.start, cells.len())
    }
}

/// Rows that are worked on at once.
#[derive(Clone, Debug)]
struct Part {
    rows: Range<usize>,
    /// Whether reconstruction is measured; for silent clips it is not.
    sounded: bool,
    /// Clips of the batch that it is a part of.
    batch: usize,
    /// Whether it is the batch's first, and its last.
    ends: [bool; 2],
}

/// Cells with one loss, inside a branch.
struct Span {
    cells: Range<usize>,
    form: GpuLoss,
}

/// G generators on an engine. Cells are numbered as the caller gave them; on the device, cells with the same audio head and
/// loss lie together.
pub struct BatchedTrainer<E: GpuApi> {
    engine: Rc<E>,
    /// As they lie on the device, like everything below.
    tasks: Vec<Task>,
    /// Where each of the caller's cells lies.
    places: Vec<usize>,
    network: Network<E>,
    /// The losses of each branch.
    spans: Vec<Vec<Span>>,
    targets: Vec<Wanted>,
    feed: Feed<E>,
    /// Weights of the classification losses; 0 without the classifier.
    w_cls: Buffer<E>,
    w_rec: Buffer<E>,
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

    /// Measures a part's losses into row `place` of the log and, for a batch of so many clips (0: none is wanted), writes the
    /// gradients of outputs: nothing comes after a loss, so they are known at once.
    fn compute_losses(
        &self,
        piece: &Piece<E>,
        part: &Part,
        [place, batch]: [usize; 2],
        log: &Log<E>,
        logits: &Activation<E>,
        audio: &[Rc<Activation<E>>],
    ) -> Result<(), Error> {
        let (engine, all) = (&*self.engine, 0..self.tasks.len());
        let said = piece.classified(all.len(), logits.value.all())?;
        said.hits(engine, log.at(place, Sum::Hits, &all)?)?;
        if !part.sounded {
            return Ok(());
        }
        let log_sums = said.log_sums(engine)?;
        said.losses(engine, log_sums.all(), log.at(place, Sum::Classes, &all)?)?;
        let share = 1.0 / batch.max(1) as f32;
        if batch > 0 {
            said.gradient(engine, log_sums.all(), self.w_cls.all(), share, logits.gradient.all())?;
        }
        for (i, (branch, audio)) in self.network.branches.iter().zip(audio).enumerate() {
            let target = piece.target(i)?;
            let numbers = |cells: &Range<usize>| (cells.start - branch.cells.start) * piece.clips() * branch.width;
            let made = |cells: &Range<usize>| {
                let sizes = [cells.len(), piece.clips(), branch.width];
                Generated::new(sizes, audio.value.all().from(numbers(cells))?, target.all())
            };
            made(&branch.cells)?.squares(engine, log.at(place, Sum::Squares, &branch.cells)?)?;
            for Span { cells, form } in &self.spans[i] {
                let (mut made, mut log_sums) = (made(cells)?, None);
                if let GpuLoss::Kl(block) = form {
                    made = made.blocks(*block)?;
                    let sums = made.log_sums(engine)?;
                    made.divergences(engine, &sums, log.at(place, Sum::Divergences, cells)?)?;
                    log_sums = Some(sums);
                }
                if batch == 0 {
                    continue;
                }
                let gradient = audio.gradient.all().from(numbers(cells))?;
                let weights = self.w_rec.all().part(cells.start, cells.len())?;
                let scale = if *form == GpuLoss::L2Mean { 1.0 / (batch * branch.width) as f32 } else { share };
                match log_sums {
                    Some(sums) => made.kl_gradient(engine, &sums, weights, scale, gradient)?,
                    None => made.l2_gradient(engine, weights, scale, gradient)?,
                }
            }
        }
        Ok(())
    }

    /// Waits for the log and makes measures of it, in the caller's order.
    fn measures(&self, log: &Log<E>, parts: &[Part]) -> Result<Vec<Measures>, Error> {
        let (numbers, cells) = (log.numbers.all().read(&*self.engine)?, log.cells);
        let of = |cell: usize| {
            let branch = self.network.branches.iter().position(|b| b.cells.contains(&cell)).unwrap_or(0);
            let width = self.network.branches[branch].width;
            let config = &self.tasks[cell].config;
            let form =
                self.spans[branch].iter().find(|span| span.cells.contains(&cell)).map_or(GpuLoss::L2Mean, |s| s.form);
            let w_rec = config.train.w_rec as f32;
            // A loss without weight breaks nothing.
            let cls = |loss: f64| match self.tasks[cell].classifier {
                Classifier::With => config.train.w_cls as f32 * loss as f32,
                Classifier::Without => 0.0,
            };
            let (mut tally, mut broken) = (Tally::default(), None);
            for (row, part) in numbers.chunks_exact(SUMS * cells).zip(parts) {
                let sum = |sum: Sum| f64::from(row[sum as usize * cells + cell]);
                let clips = part.rows.len() as f64;
                tally.seen += clips;
                tally.right += sum(Sum::Hits);
                if part.sounded {
                    tally.clips += clips;
                    tally.loss_cls += sum(Sum::Classes);
                    tally.squares += sum(Sum::Squares) / width as f64;
                    let loss_rec = total_loss(form, sum(Sum::Squares), sum(Sum::Divergences), width);
                    tally.loss_rec += loss_rec;
                    let loss = w_rec * (loss_rec / clips) as f32 + cls(sum(Sum::Classes) / clips);
                    if part.batch > 0 && !loss.is_finite() {
                        broken = broken.or(Some(f64::from(loss)));
                    }
                }
            }
            let measures = tally.measures(config, self.tasks[cell].classifier);
            // What is not finite as the float that the CPU watches may still be as a sum of doubles.
            Measures { loss: broken.unwrap_or(measures.loss), ..measures }
        };
        Ok(self.places.iter().map(|&place| of(place)).collect())
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

/// Ranges of neighbours with the same key.
fn runs<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if key(&items[run.start]) == key(item) => run.end = i + 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// That tasks have in common what a program takes for one.
fn check(tasks: &[Task]) -> Result<(), Error> {
    let Some(first) = tasks.first() else { return Err(Error::Nothing) };
    for task in tasks {
        let (t, u) = (&first.config.train, &task.config.train);
        let same_network = trunk_of(first)? == trunk_of(task)?;
        let adam = [t.lr, t.beta1, t.beta2, t.eps] == [u.lr, u.beta1, u.beta2, u.eps];
        for (what, same) in [
            ("their data", first.view.fingerprint == task.view.fingerprint),
            ("seed", first.seed == task.seed),
            ("network", same_network),
            ("epochs, batch or Adam's numbers", (t.epochs, t.batch, t.stop) == (u.epochs, u.batch, u.stop) && adam),
        ] {
            if !same {
                return Err(Error::Unlike(what));
            }
        }
    }
    Ok(())
}

/// Every cell's parameters and the steps behind them: the CPU's initial values, or what checkpoints say.
fn begin(
    tasks: &[Task],
    branches: &[Range<usize>],
    sizes: &[Sizes],
    from: Vec<Option<Checkpoint>>,
) -> Result<(Vec<Vec<SavedParam>>, i32), Error> {
    let steps: Vec<Option<(usize, i32)>> = from.iter().map(|c| c.as_ref().map(|c| (c.epoch, c.step))).collect();
    if steps.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(Error::Unlike("the epochs behind them"));
    }
    let mut from = from.into_iter();
    let mut all = Vec::new();
    for cells in branches {
        let task = &tasks[cells.start];
        let fresh = task.generator.describe().network(sizes[cells.start]).params.into_iter();
        let fresh =
            fresh.map(|p| SavedParam { state: ParamState::fresh(p.initial(task.seed)), name: p.name, shape: p.shape });
        let fresh: Vec<SavedParam> = fresh.collect();
        for _ in cells.clone() {
            let Some(checkpoint) = from.next().flatten() else {
                all.push(fresh.clone());
                continue;
            };
            let fits = |(a, b): (&SavedParam, &SavedParam)| a.name == b.name && a.shape == b.shape;
            if checkpoint.params.len() != fresh.len() || !checkpoint.params.iter().zip(&fresh).all(fits) {
                return Err(Error::OtherNetwork);
            }
            all.push(checkpoint.params);
        }
    }
    Ok((all, steps.first().copied().flatten().map_or(0, |(_, step)| step)))
}

/// Bytes that a plan may count on: free memory, and cached features of earlier trainings, which are evicted.
pub fn free_bytes<E: KeepsFeatures>(api: &E) -> Result<u64, Error> {
    Ok(api.free_bytes()? + api.feature_cache().bytes())
}

/// What becomes of `tasks`, which could be trained side by side, in so much memory: features on the device or streamed, so many
/// cells at a time, a batch in parts; an error where not even one clip of one cell fits.
pub fn side_by_side(tasks: &[Task], free_bytes: u64) -> Result<MemoryPlan, Error> {
    plan(&demand(tasks)?, free_bytes).map_err(Error::Memory)
}

/// What tasks ask of the device.
pub fn demand(tasks: &[Task]) -> Result<Demand, Error> {
    let first = tasks.first().ok_or(Error::Nothing)?;
    let dataset = &first.view.dataset;
    let mut audio: Vec<&str> = tasks.iter().map(|t| t.audio.as_str()).collect();
    audio.sort_unstable();
    audio.dedup();
    let files = dataset.streams.iter().chain(audio.iter().filter_map(|name| dataset.audio(name)));
    let kept = |file: &crate::dataset::Features| Kept {
        name: file.name().into(),
        clips: file.rows() as u64,
        clip_bytes: (file.row_len()
            * match file.precision() {
                Precision::F32 => 4,
                Precision::F16 => 2,
            }) as u64,
    };
    let (mut cell, mut cell_clip, mut targets) = (0, 0, 0);
    for task in tasks {
        let sizes = task.sizes()?;
        let network = task.generator.describe().network(sizes);
        let (parameters, numbers) = (network.count(), network.numbers_of_a_clip());
        // Values, gradients, and two moments.
        cell = cell.max(4 * 4 * parameters);
        cell_clip = cell_clip.max(4 * numbers);
        targets += 4 * sizes.audio;
    }
    let steps = if first.sees_one_frame()? { 1 } else { first.vision.frames() };
    Ok(Demand {
        features: files.map(kept).collect(),
        cells: tasks.len(),
        batch: first.config.train.batch,
        cell_bytes: cell as u64,
        cell_clip_bytes: cell_clip as u64,
        clip_bytes: (4 * steps * first.vision.width() + targets) as u64,
    })
}
