//! The clips of a training in the order in which they are worked on, gathered on the device into standardised batches: from
//! features that stay there, or from blocks of them that come one after another while the block before is worked on. The
//! numbers are the same.

use super::api::{Buffer, GpuApi, Transfer, View};
use super::feature_cache::{KeepsFeatures, Numbers, Places, Resident, Stream};
use super::losses::{Classified, Labels};
use super::memory;
use crate::dataset::{Features, Precision, Standardiser, View as Clips};
use crate::train::Error;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// Bytes of a file that are announced before they are copied.
const AHEAD: usize = 16 << 20;

/// A clip, and the frame of it that the network sees where it sees one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// A clip of the data set.
    pub clip: usize,
    /// The frame.
    pub frame: usize,
}

/// What targets are made of.
#[derive(Clone, Debug)]
pub struct Target {
    /// The audio feature's place in the data set.
    pub audio: usize,
    /// Its scale.
    pub scale: Standardiser,
}

/// Features as networks see them, and as they should say them.
struct Set<E: GpuApi> {
    vision: Resident<E>,
    targets: Vec<Resident<E>>,
}

enum Kept<E: GpuApi> {
    All(Set<E>),
    Blocks {
        /// One block is worked on while the next one comes.
        slots: [Slot<E>; 2],
        /// Where they come from.
        pinned: RefCell<Vec<E::Pinned>>,
    },
}

/// Room for a block.
struct Slot<E: GpuApi> {
    set: Set<E>,
    /// One for each of the [`Files`].
    numbers: Vec<Rc<Numbers<E>>>,
}

/// What is done with a piece, the first being 0.
pub type Work<'a, E> = dyn FnMut(usize, &Piece<E>) -> Result<(), Error> + 'a;

/// What is done with a block in a slot: which pieces it has.
type BlockWork<'a, E> = dyn FnMut(&Slot<E>, &Range<usize>) -> Result<(), Error> + 'a;

/// Batches of one view.
pub struct Feed<E: GpuApi> {
    engine: Rc<E>,
    files: Files,
    kept: Kept<E>,
}

impl<E: KeepsFeatures> Feed<E> {
    /// Where `features` says so, all files that are needed are on the device afterwards. `vision` are the standardisers of the
    /// data set's streams; a network sees all frames of a clip, or a `single` one.
    pub fn new(
        engine: &Rc<E>,
        view: &Arc<Clips>,
        vision: &[Standardiser],
        single: bool,
        targets: &[Target],
        features: memory::Features,
    ) -> Result<Self, Error> {
        let (dataset, e) = (&view.dataset, &**engine);
        let mut audio: Vec<usize> = targets.iter().map(|t| t.audio).collect();
        audio.sort_unstable();
        audio.dedup();
        let block = match features {
            memory::Features::Resident => 0,
            memory::Features::Streamed { block } => block.max(1),
        };
        let files = Files { view: view.clone(), single, audio, block };
        // From the numbers of every file, with so many frames in a row of a stream.
        let set = |numbers: &[Rc<Numbers<E>>], frames: usize| {
            let streams = numbers.iter().zip(vision);
            let streams = streams.map(|(numbers, scale)| Stream::new(e, numbers.clone(), frames, scale));
            let target = |target: &Target| {
                let place = files.audio.iter().position(|&a| a == target.audio).unwrap_or(0);
                let numbers = numbers[vision.len() + place].clone();
                Resident::new(vec![Stream::new(e, numbers, 1, &target.scale)?])
            };
            Ok::<_, Error>(Set {
                vision: Resident::new(streams.collect::<Result<_, Error>>()?)?,
                targets: targets.iter().map(target).collect::<Result<_, Error>>()?,
            })
        };
        let kept = match features {
            memory::Features::Resident => {
                let names: Vec<&str> = files.all().map(Features::name).collect();
                e.feature_cache().keep(dataset, &names);
                let numbers = files.all().map(|file| e.feature_cache().file(e, dataset, file));
                Kept::All(set(&numbers.collect::<Result<Vec<_>, Error>>()?, dataset.frames())?)
            }
            memory::Features::Streamed { .. } => {
                e.feature_cache().keep(dataset, &[]);
                let slot = || {
                    let numbers = files.all().enumerate().map(|(i, file)| {
                        let len = files.row_bytes(i) / number_bytes(file) * block;
                        Ok(Rc::new(Numbers::zeros(e, file.precision(), len)?))
                    });
                    let numbers = numbers.collect::<Result<Vec<_>, Error>>()?;
                    let frames = if single { 1 } else { dataset.frames() };
                    Ok::<_, Error>(Slot { set: set(&numbers, frames)?, numbers })
                };
                Kept::Blocks { slots: [slot()?, slot()?], pinned: RefCell::default() }
            }
        };
        Ok(Feed { engine: engine.clone(), kept, files })
    }

    /// Hands over every piece of `rows` in order; pieces follow each other without gaps and none is longer than a block.
    /// Targets can be asked for only where `truth` is wanted.
    pub fn each(&self, rows: &[Row], pieces: &[Range<usize>], truth: bool, work: &mut Work<E>) -> Result<(), Error> {
        match &self.kept {
            Kept::All(set) => {
                let order = Order::new(&*self.engine, &self.files, rows, |i| rows[i].clip, |i| rows[i].frame)?;
                pieces.iter().enumerate().try_for_each(|(i, range)| {
                    work(i, &Piece { engine: &*self.engine, set, order: &order, range: range.clone() })
                })
            }
            Kept::Blocks { slots, pinned } => {
                let blocks = blocks(pieces, self.files.block)?;
                // In a block the first of its rows is row 0.
                let places: Vec<usize> = blocks.iter().flat_map(|block| 0..rows_of(block, pieces).len()).collect();
                let order = Order::new(&*self.engine, &self.files, rows, |i| places[i], |_| 0)?;
                let mut memory = pinned.take();
                while memory.len() < slots.len() {
                    memory.push(self.engine.pin(self.files.block_bytes())?);
                }
                let mut part = |slot: &Slot<E>, block: &Range<usize>| {
                    block.clone().try_for_each(|i| {
                        let (set, range) = (&slot.set, pieces[i].clone());
                        work(i, &Piece { engine: &*self.engine, set, order: &order, range })
                    })
                };
                let blocks: Vec<_> = blocks.into_iter().map(|block| (rows_of(&block, pieces), block)).collect();
                let done = self.stream(slots, &mut memory, rows, &blocks, truth, &mut part);
                pinned.replace(memory);
                done
            }
        }
    }

    /// Has every block, rows and pieces, copied and worked on.
    fn stream(
        &self,
        slots: &[Slot<E>; 2],
        memory: &mut Vec<E::Pinned>,
        rows: &[Row],
        blocks: &[(Range<usize>, Range<usize>)],
        truth: bool,
        work: &mut BlockWork<E>,
    ) -> Result<(), Error> {
        let (engine, files) = (&*self.engine, &self.files);
        std::thread::scope(|scope| {
            let (give_back, free) = channel::<E::Pinned>();
            let (hand_over, ready) = channel::<E::Pinned>();
            memory.drain(..).for_each(|memory| drop(give_back.send(memory)));
            // Pinned memory comes back to this thread, where the device is at home.
            let filler = std::thread::Builder::new().spawn_scoped(scope, move || {
                for (range, _) in blocks {
                    // Either end closes when the other has had enough.
                    let Ok(mut memory) = free.recv() else { break };
                    files.fill(&rows[range.clone()], truth, E::pinned(&mut memory));
                    if let Err(back) = hand_over.send(memory) {
                        return vec![back.0];
                    }
                }
                free.iter().collect()
            });
            let filler = filler.map_err(|e| Error::refused(format!("no thread to read features: {e}")))?;
            let mut one = |place: usize, used: &mut [E::GpuEvent; 2]| -> Result<(), Error> {
                let ((range, pieces), at) = (&blocks[place], place % 2);
                // Nothing comes only where filling panicked, which is passed on below.
                let Ok(filled) = ready.recv() else { return Ok(()) };
                let copies = files.transfers(&slots[at].numbers, range.len(), truth);
                // SAFETY: slots and pinned memory have room for a block. Copies begin when the slot's last block was worked on;
                // the work follows them, and the memory is kept until they are over.
                let arrived = unsafe { engine.send(&used[at], &filled, &copies) }?;
                let worked = engine.follow(&arrived).and_then(|()| work(&slots[at], pieces));
                engine.wait(&arrived)?;
                drop(give_back.send(filled));
                worked?;
                used[at] = engine.mark()?;
                Ok(())
            };
            let done = engine.mark().and_then(|mark| {
                let mut used = [mark, engine.mark()?];
                (0..blocks.len()).try_for_each(|place| one(place, &mut used))
            });
            drop(give_back);
            memory.extend(ready.try_iter());
            drop(ready);
            match filler.join() {
                Ok(back) => memory.extend(back),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            done
        })
    }
}

/// As many pieces as a block has room for, again and again.
fn blocks(pieces: &[Range<usize>], most: usize) -> Result<Vec<Range<usize>>, Error> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for (i, piece) in pieces.iter().enumerate() {
        if piece.len() > most {
            return Err(Error::refused(format!("{} clips at once from blocks of {most}", piece.len())));
        }
        match blocks.last_mut() {
            Some(block) if piece.end - pieces[block.start].start <= most => block.end = i + 1,
            _ => blocks.push(i..i + 1),
        }
    }
    Ok(blocks)
}

fn rows_of(block: &Range<usize>, pieces: &[Range<usize>]) -> Range<usize> {
    pieces[block.start].start..pieces[block.end - 1].end
}

fn number_bytes(features: &Features) -> usize {
    match features.precision() {
        Precision::F32 => 4,
        Precision::F16 => 2,
    }
}

/// The files that batches are made of: the streams, then audio features. In pinned memory and on the device, a block has room
/// for `block` rows of the first file, then of the second, and so on.
struct Files {
    view: Arc<Clips>,
    single: bool,
    /// Places in the data set.
    audio: Vec<usize>,
    block: usize,
}

impl Files {
    fn all(&self) -> impl Iterator<Item = &Features> {
        let dataset = &self.view.dataset;
        dataset.streams.iter().chain(self.audio.iter().map(|&a| &dataset.audio[a]))
    }

    /// Bytes of a clip in a block of a file.
    fn row_bytes(&self, file: usize) -> usize {
        let dataset = &self.view.dataset;
        let numbers = |features: &Features| features.row_len() * number_bytes(features);
        match dataset.streams.get(file) {
            Some(stream) if self.single => numbers(stream) / dataset.frames().max(1),
            Some(stream) => numbers(stream),
            None => numbers(&dataset.audio[self.audio[file - dataset.streams.len()]]),
        }
    }

    fn count(&self, truth: bool) -> usize {
        self.view.dataset.streams.len() + if truth { self.audio.len() } else { 0 }
    }

    fn block_bytes(&self) -> usize {
        (0..self.count(true)).map(|file| self.row_bytes(file) * self.block).sum()
    }

    /// Copies rows as they lie on disk; what a clip does not have is left as it is.
    fn fill(&self, rows: &[Row], truth: bool, memory: &mut [u8]) {
        let streams = self.view.dataset.streams.len();
        let mut rest = memory;
        for (i, file) in self.all().enumerate().take(self.count(truth)) {
            let bytes = self.row_bytes(i);
            let (here, after) = rest.split_at_mut(bytes * self.block);
            let place = |row: &Row| {
                let first = match i < streams {
                    true if self.single => Some(row.clip * self.view.dataset.frames() + row.frame),
                    true => Some(row.clip),
                    false => self.view.dataset.audio_row[row.clip],
                };
                first.map(|first| first * bytes..(first + 1) * bytes)
            };
            let file = file.scattered();
            let announce = |rows: &[Row]| rows.iter().filter_map(place).for_each(|bytes| file.announce_bytes(bytes));
            // Those of the next rows are on their way while these are copied, and no more than memory surely has room for.
            let some = (AHEAD / bytes.max(1)).max(1);
            let mut parts = rows.chunks(some).peekable();
            parts.peek().into_iter().for_each(|rows| announce(rows));
            for to in here.chunks_mut(some * bytes) {
                let Some(rows) = parts.next() else { break };
                parts.peek().into_iter().for_each(|rows| announce(rows));
                to.par_chunks_exact_mut(bytes).zip(rows).for_each(|(to, row)| {
                    if let Some(place) = place(row) {
                        to.copy_from_slice(file.bytes(place));
                    }
                });
            }
            rest = after;
        }
    }

    /// The copies of a block of `rows` rows.
    fn transfers<E: GpuApi>(&self, numbers: &[Rc<Numbers<E>>], rows: usize, truth: bool) -> Vec<Transfer> {
        let mut from = 0;
        let copy = |(i, numbers): (usize, &Rc<Numbers<E>>)| {
            let transfer = Transfer { from, bytes: rows * self.row_bytes(i), to: numbers.address() };
            from += self.row_bytes(i) * self.block;
            transfer
        };
        numbers.iter().enumerate().take(self.count(truth)).map(copy).collect()
    }
}

/// Rows on the device: which lie where, and what they are.
struct Order<E: GpuApi> {
    vision: Places<E>,
    audio: Places<E>,
    labels: Labels<E>,
}

impl<E: GpuApi> Order<E> {
    /// `place` and `frame` say where the numbers of a row are.
    fn new(
        engine: &E,
        files: &Files,
        rows: &[Row],
        place: impl Fn(usize) -> usize,
        frame: impl Fn(usize) -> usize,
    ) -> Result<Self, Error> {
        let (view, resident) = (&files.view, files.block == 0);
        let vision: Vec<Option<usize>> = (0..rows.len()).map(|i| Some(place(i))).collect();
        let frames: Vec<usize> = (0..rows.len()).map(frame).collect();
        let audio = |(i, row): (usize, &Row)| {
            let on_disk = view.dataset.audio_row[row.clip];
            on_disk.map(|on_disk| if resident { on_disk } else { place(i) })
        };
        let audio: Vec<Option<usize>> = rows.iter().enumerate().map(audio).collect();
        let labels = view.labels(&rows.iter().map(|row| row.clip).collect::<Vec<usize>>());
        Ok(Order {
            vision: Places::new(engine, &vision, files.single.then_some(&frames[..]))?,
            audio: Places::new(engine, &audio, None)?,
            labels: Labels::new(engine, &labels, view.dataset.classes())?,
        })
    }
}

/// Rows that are worked on at once.
pub struct Piece<'a, E: GpuApi> {
    engine: &'a E,
    set: &'a Set<E>,
    order: &'a Order<E>,
    range: Range<usize>,
}

impl<'a, E: GpuApi> Piece<'a, E> {
    /// Number of clips, B.
    pub fn clips(&self) -> usize {
        self.range.len()
    }

    /// The networks' input: (T B, D_v), time-major, or (B, D_v).
    pub fn input(&self) -> Result<Rc<Buffer<E>>, Error> {
        let vision = &self.set.vision;
        let steps = vision.steps(self.order.vision.single());
        let x = Buffer::zeros(self.engine, steps * self.clips() * vision.width())?;
        vision.gather_part(self.engine, &self.order.vision, self.range.clone(), x.all())?;
        Ok(Rc::new(x))
    }

    /// The target of a place among the [`Feed`]'s, (B, D_a).
    pub fn target(&self, place: usize) -> Result<Buffer<E>, Error> {
        let audio = &self.set.targets[place];
        let target = Buffer::zeros(self.engine, self.clips() * audio.width())?;
        audio.gather_part(self.engine, &self.order.audio, self.range.clone(), target.all())?;
        Ok(target)
    }

    /// Logits of G cells, (G, B, K), beside the labels.
    pub fn classified<'b>(&'b self, cells: usize, logits: View<'b>) -> Result<Classified<'b>, Error> {
        self.order.labels.of(cells, self.range.clone(), logits)
    }
}
