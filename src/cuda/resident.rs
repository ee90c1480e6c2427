//! Features that stay on the device: uploaded once, f16 where they are f16, and gathered there into standardised batches,
//! as [`crate::train::Vision`] gathers them on the host, to the same bits.

use super::engine::{Buffer, Engine, View};
use super::kernels::{Source, gather};
use crate::dataset::{Features, Precision, Standardiser};
use crate::train::Error;
use half::f16;

/// Numbers that [`Stream::upload`] copies at once: large enough for the bus, small beside the features.
const PIECE: usize = 1 << 26;

/// One feature file on the device: rows of F frames of D numbers.
pub struct Stream<E: Engine> {
    numbers: Numbers<E>,
    rows: usize,
    frames: usize,
    width: usize,
    mean: Buffer<E>,
    inverse_sd: Buffer<E>,
}

enum Numbers<E: Engine> {
    Single(Buffer<E, f32>),
    Half(Buffer<E, f16>),
}

impl<E: Engine> Stream<E> {
    /// Copies all rows, piece by piece as they lie on disk.
    pub fn upload(engine: &E, features: &Features, standardiser: &Standardiser) -> Result<Self, Error> {
        let (bytes, width) = (features.bytes(), standardiser.width());
        let numbers = match features.precision() {
            Precision::F32 => Numbers::Single(copy(engine, bytes)?),
            Precision::F16 => Numbers::Half(copy(engine, bytes)?),
        };
        Ok(Stream {
            numbers,
            rows: features.rows(),
            frames: features.row_len() / width.max(1),
            width,
            mean: Buffer::of(engine, &standardiser.mean)?,
            inverse_sd: Buffer::of(engine, &standardiser.inverse_sd)?,
        })
    }

    /// Bytes that `features` take on the device.
    pub fn bytes(features: &Features) -> u64 {
        features.bytes().len() as u64
    }

    fn gather(&self, engine: &E, batch: &Places<E>, steps: usize, out: View, columns: [usize; 2]) -> Result<(), Error> {
        let frames = batch.frames.as_ref().map(Buffer::all);
        if batch.last >= self.rows as i64 || batch.last_frame >= self.frames as i64 {
            let (row, frame) = (batch.last, batch.last_frame);
            return Err(Error::Device(format!("row {row}, frame {frame}: no such features on the device")));
        }
        let (frames_of, width) = (self.frames, self.width);
        let (mean, inverse_sd) = (self.mean.all(), self.inverse_sd.all());
        match &self.numbers {
            Numbers::Single(numbers) => {
                let source = Source { features: numbers.all(), frames: frames_of, width, mean, inverse_sd };
                // SAFETY: rows and frames were checked when they were made, and are below this stream's.
                unsafe { gather(engine, &source, steps, batch.rows.all(), frames, out, columns) }
            }
            Numbers::Half(numbers) => {
                let source = Source { features: numbers.all(), frames: frames_of, width, mean, inverse_sd };
                // SAFETY: as above.
                unsafe { gather(engine, &source, steps, batch.rows.all(), frames, out, columns) }
            }
        }
    }
}

/// Little-endian numbers, copied in pieces.
fn copy<E: Engine, T: bytemuck::Pod>(engine: &E, bytes: &[u8]) -> Result<Buffer<E, T>, Error> {
    let buffer = Buffer::<E, T>::zeros(engine, bytes.len() / size_of::<T>())?;
    for (i, piece) in bytes.chunks(PIECE * size_of::<T>()).enumerate() {
        buffer.all().from(i * PIECE)?.write_bytes(engine, piece)?;
    }
    Ok(buffer)
}

/// Rows of a batch, and a frame of each where the network sees one; on the device, checked.
pub struct Places<E: Engine> {
    rows: Buffer<E, i64>,
    frames: Option<Buffer<E, i64>>,
    last: i64,
    last_frame: i64,
}

impl<E: Engine> Places<E> {
    /// `None` among the rows is a clip that has no such feature: zeros before they are standardised.
    pub fn new(engine: &E, rows: &[Option<usize>], frames: Option<&[usize]>) -> Result<Self, Error> {
        if frames.is_some_and(|f| f.len() != rows.len()) {
            return Err(Error::Device("a frame is wanted for each clip".into()));
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

    fn len(&self) -> usize {
        self.rows.all().len()
    }
}

/// Features side by side, as networks see them.
pub struct Resident<E: Engine> {
    streams: Vec<Stream<E>>,
    frames: usize,
    width: usize,
}

impl<E: Engine> Resident<E> {
    /// Streams with the same number of frames.
    pub fn new(streams: Vec<Stream<E>>) -> Result<Self, Error> {
        let frames = streams.first().map_or(0, |s| s.frames);
        if streams.iter().any(|s| s.frames != frames) {
            return Err(Error::Device("streams of different lengths".into()));
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
        let steps = if batch.frames.is_some() { 1 } else { self.frames };
        let mut from = 0;
        for stream in &self.streams {
            stream.gather(engine, batch, steps, out, [self.width, from])?;
            from += stream.width;
        }
        Ok(steps * batch.len())
    }
}
