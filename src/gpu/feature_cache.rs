//! Features that stay on the device: uploaded once, f16 where they are f16, and gathered there into standardised batches,
//! as [`crate::train::Vision`] gathers them on the host, to the same bits.

use super::api::{Buffer, GpuApi, View};
use super::kernels::gather::{Source, gather};
use crate::dataset::{Dataset, Features, Precision, Standardiser};
use crate::train::Error;
use half::f16;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Numbers that [`Numbers::upload`] copies at once: large enough for the bus, small beside the features.
const PIECE: usize = 1 << 26;

/// Numbers of a feature file on the device, as they lie on disk.
pub enum Numbers<E: GpuApi> {
    /// f32.
    Single(Buffer<E, f32>),
    /// f16.
    Half(Buffer<E, f16>),
}

impl<E: GpuApi> Numbers<E> {
    /// Room for `len` numbers.
    pub fn zeros(engine: &E, precision: Precision, len: usize) -> Result<Self, Error> {
        Ok(match precision {
            Precision::F32 => Numbers::Single(Buffer::zeros(engine, len)?),
            Precision::F16 => Numbers::Half(Buffer::zeros(engine, len)?),
        })
    }

    /// Copies all of a file, piece by piece.
    pub fn upload(engine: &E, features: &Features) -> Result<Self, Error> {
        let numbers = Self::zeros(engine, features.precision(), features.rows() * features.row_len())?;
        match &numbers {
            Numbers::Single(numbers) => copy(engine, features.bytes(), numbers)?,
            Numbers::Half(numbers) => copy(engine, features.bytes(), numbers)?,
        }
        Ok(numbers)
    }

    /// Where they begin, as the device counts.
    pub fn address(&self) -> u64 {
        match self {
            Numbers::Single(numbers) => numbers.all().address(),
            Numbers::Half(numbers) => numbers.all().address(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Numbers::Single(numbers) => numbers.all().len(),
            Numbers::Half(numbers) => numbers.all().len(),
        }
    }
}

/// Little-endian numbers, copied in pieces.
fn copy<E: GpuApi, T: bytemuck::Pod>(engine: &E, bytes: &[u8], to: &Buffer<E, T>) -> Result<(), Error> {
    let mut pieces = bytes.chunks(PIECE * size_of::<T>()).enumerate();
    pieces.try_for_each(|(i, piece)| to.all().from(i * PIECE)?.write_bytes(engine, piece))
}

/// A device that keeps features from one training to the next.
pub trait KeepsFeatures: GpuApi {
    /// What it keeps.
    fn feature_cache(&self) -> &FeatureCache<Self>;
}

/// Feature files that stay on the device from one training to the next, all of one data set.
pub struct FeatureCache<E: GpuApi> {
    kept: RefCell<Kept<E>>,
}

struct Kept<E: GpuApi> {
    /// The data set's fingerprint.
    dataset: String,
    files: HashMap<String, Rc<Numbers<E>>>,
}

impl<E: GpuApi> Default for FeatureCache<E> {
    fn default() -> Self {
        FeatureCache { kept: RefCell::new(Kept { dataset: String::new(), files: HashMap::new() }) }
    }
}

impl<E: GpuApi> FeatureCache<E> {
    /// Gives back the memory of all but these files of this data set.
    pub fn keep(&self, dataset: &Dataset, names: &[&str]) {
        let mut kept = self.kept.borrow_mut();
        if kept.dataset != dataset.fingerprint {
            kept.files.clear();
            kept.dataset.clone_from(&dataset.fingerprint);
        }
        kept.files.retain(|name, _| names.contains(&name.as_str()));
    }

    /// A file of a data set; uploaded where it is not here yet.
    pub fn file(&self, engine: &E, dataset: &Dataset, features: &Features) -> Result<Rc<Numbers<E>>, Error> {
        let mut kept = self.kept.borrow_mut();
        if kept.dataset != dataset.fingerprint {
            kept.files.clear();
            kept.dataset.clone_from(&dataset.fingerprint);
        }
        if let Some(numbers) = kept.files.get(features.name()) {
            return Ok(numbers.clone());
        }
        let numbers = Rc::new(Numbers::upload(engine, features)?);
        kept.files.insert(features.name().into(), numbers.clone());
        Ok(numbers)
    }

    /// Bytes of all files here.
    pub fn bytes(&self) -> u64 {
        let bytes = |numbers: &Rc<Numbers<E>>| match &**numbers {
            Numbers::Single(_) => 4 * numbers.len() as u64,
            Numbers::Half(_) => 2 * numbers.len() as u64,
        };
        self.kept.borrow().files.values().map(bytes).sum()
    }
}

/// Rows of F frames of D numbers on the device, and how they are standardised.
pub struct Stream<E: GpuApi> {
    numbers: Rc<Numbers<E>>,
    rows: usize,
    frames: usize,
    width: usize,
    mean: Buffer<E>,
    inverse_sd: Buffer<E>,
}

impl<E: GpuApi> Stream<E> {
    /// All rows of a file, copied for this alone.
    pub fn upload(engine: &E, features: &Features, standardiser: &Standardiser) -> Result<Self, Error> {
        let frames = features.row_len() / standardiser.width().max(1);
        Stream::new(engine, Rc::new(Numbers::upload(engine, features)?), frames, standardiser)
    }

    /// Rows of `frames` frames that are there already.
    pub fn new(engine: &E, numbers: Rc<Numbers<E>>, frames: usize, standardiser: &Standardiser) -> Result<Self, Error> {
        let width = standardiser.width();
        Ok(Stream {
            rows: numbers.len() / (frames * width).max(1),
            numbers,
            frames,
            width,
            mean: Buffer::of(engine, &standardiser.mean)?,
            inverse_sd: Buffer::of(engine, &standardiser.inverse_sd)?,
        })
    }

    fn gather(
        &self,
        engine: &E,
        batch: &Places<E>,
        part: Range<usize>,
        steps: usize,
        out: View,
        columns: [usize; 2],
    ) -> Result<(), Error> {
        if batch.last >= self.rows as i64 || batch.last_frame >= self.frames as i64 {
            let (row, frame) = (batch.last, batch.last_frame);
            return Err(Error::refused(format!("row {row}, frame {frame}: no such features on the device")));
        }
        let rows = batch.rows.all().part(part.start, part.len())?;
        let frames = match &batch.frames {
            Some(frames) => Some(frames.all().part(part.start, part.len())?),
            None => None,
        };
        let (frames_of, width) = (self.frames, self.width);
        let (mean, inverse_sd) = (self.mean.all(), self.inverse_sd.all());
        match &*self.numbers {
            Numbers::Single(numbers) => {
                let source = Source { features: numbers.all(), frames: frames_of, width, mean, inverse_sd };
                // SAFETY: rows and frames were checked when they were made, and are below this stream's.
                unsafe { gather(engine, &source, steps, rows, frames, out, columns) }
            }
            Numbers::Half(numbers) => {
                let source = Source { features: numbers.all(), frames: frames_of, width, mean, inverse_sd };
                // SAFETY: as above.
                unsafe { gather(engine, &source, steps, rows, frames, out, columns) }
            }
        }
    }
}

/// Rows of a batch, and a frame of each where the network sees one; on the device, checked.
pub struct Places<E: GpuApi> {
    rows: Buffer<E, i64>,
    frames: Option<Buffer<E, i64>>,
    last: i64,
    last_frame: i64,
}

impl<E: GpuApi> Places<E> {
    /// The rows of a batch, or of many one behind the other. `None` among them is a clip that has no such feature: zeros
    /// before they are standardised.
    pub fn new(engine: &E, rows: &[Option<usize>], frames: Option<&[usize]>) -> Result<Self, Error> {
        if frames.is_some_and(|f| f.len() != rows.len()) {
            return Err(Error::refused("a frame is wanted for each clip"));
        }
        let numbers: Vec<i64> = rows.iter().map(|row| row.map_or(-1, |row| row as i64)).collect();
        let upload = |frames: &[usize]| {
            let numbers: Vec<i64> = frames.iter().map(|&f| f as i64).collect();
            Buffer::of(engine, &numbers)
        };
        Ok(Places {
            rows: Buffer::of(engine, &numbers)?,
            frames: frames.map(upload).transpose()?,
            last: numbers.iter().copied().max().unwrap_or(-1),
            last_frame: frames.and_then(|f| f.iter().max()).map_or(-1, |&f| f as i64),
        })
    }

    /// Whether the network sees one frame of each row.
    pub(super) fn single(&self) -> bool {
        self.frames.is_some()
    }

    fn len(&self) -> usize {
        self.rows.all().len()
    }
}

/// Features side by side, as networks see them.
pub struct Resident<E: GpuApi> {
    streams: Vec<Stream<E>>,
    frames: usize,
    width: usize,
}

impl<E: GpuApi> Resident<E> {
    /// Streams with the same number of frames.
    pub fn new(streams: Vec<Stream<E>>) -> Result<Self, Error> {
        let frames = streams.first().map_or(0, |s| s.frames);
        if streams.iter().any(|s| s.frames != frames) {
            return Err(Error::refused("streams of different lengths"));
        }
        Ok(Resident { width: streams.iter().map(|s| s.width).sum(), frames, streams })
    }

    /// D_v.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Standardised rows into `out`: with frames, one row a clip, (B, D_v); without, all frames, time-major, (T B, D_v).
    /// Returns the number of rows.
    pub fn gather(&self, engine: &E, batch: &Places<E>, out: View) -> Result<usize, Error> {
        self.gather_part(engine, batch, 0..batch.len(), out)
    }

    /// [`Resident::gather`] of some of the places.
    pub fn gather_part(&self, engine: &E, batch: &Places<E>, part: Range<usize>, out: View) -> Result<usize, Error> {
        let (steps, mut from) = (self.steps(batch.frames.is_some()), 0);
        for stream in &self.streams {
            stream.gather(engine, batch, part.clone(), steps, out, [self.width, from])?;
            from += stream.width;
        }
        Ok(steps * part.len())
    }

    /// Rows that a clip becomes: one for each frame, or a single one.
    pub fn steps(&self, single: bool) -> usize {
        if single { 1 } else { self.frames }
    }
}
