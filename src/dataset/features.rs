//! One memory-mapped `NAME.safetensors`: the features of all clips, f32 or f16, read row by row.

use super::Error;
use super::guard::GuardedMap;
use super::identity::Identity;
use super::range::LARGEST;
use crate::files;
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// How numbers lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats: half the disk and page cache, about three decimal digits.
    F16,
}

impl Precision {
    pub(super) fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }
}

/// The key of the header's metadata under which the clips' names stand, one a line, in the order of the rows.
pub(super) const CLIPS_KEY: &str = "clips";

/// A header may have this many bytes, and as many more for the name of each clip.
const HEADER_BYTES: usize = 64 * 1024;
const HEADER_BYTES_PER_CLIP: usize = 1024;

/// A matrix of rows on disk: a row is one clip's (T, D) of a stream, or its D_a audio numbers.
#[derive(Debug)]
pub struct Features {
    name: String,
    path: PathBuf,
    file: File,
    identity: Identity,
    confirmed: Mutex<Identity>,
    map: GuardedMap,
    /// The same bytes for whoever reads rows in no order; mapped when somebody does, none where there is no room for it.
    scattered: OnceLock<Option<GuardedMap>>,
    start: usize,
    rows: usize,
    row_len: usize,
    shape: Vec<usize>,
    precision: Precision,
}

/// What reading every number of a file found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Survey {
    /// The first number that is not finite or too large, as (row, place in the row, value).
    pub refused: Option<(usize, usize, f32)>,
    /// The largest magnitude of all, where nothing was refused.
    pub largest: f32,
}

impl Features {
    /// Maps `DIR/NAME.safetensors` and checks that it holds one tensor of exactly `shape`.
    pub fn open(dir: &Path, name: &str, shape: &[usize]) -> Result<Features, Error> {
        let path = dir.join(format!("{name}.safetensors"));
        let bad = |message: String| Error::Feature { path: path.clone(), message };
        let io = |source| Error::Io { path: path.clone(), source };
        let file = files::open(&path).map_err(io)?;
        let identity = Identity::of(&file.metadata().map_err(io)?);
        let map = GuardedMap::new(&file).map_err(io)?;
        check_header_length(&map, shape[0]).map_err(bad)?;
        let (start, found, dtype) = {
            let tensors = SafeTensors::deserialize(&map)
                .map_err(|e| bad(format!("not a whole safetensors file ({e}); it may be truncated, make it again")))?;
            let mut views = tensors.tensors();
            if views.len() != 1 {
                return Err(bad(format!("holds {} tensors; one was expected", views.len())));
            }
            let (_, view) = views.swap_remove(0);
            let start = view.data().as_ptr() as usize - map.as_ptr() as usize;
            (start, view.shape().to_vec(), view.dtype())
        };
        let precision = match dtype {
            Dtype::F32 => Precision::F32,
            Dtype::F16 => Precision::F16,
            other => return Err(bad(format!("numbers are {other:?}; F32 or F16 was expected"))),
        };
        if found != shape {
            let hint = match (found.first(), shape.first()) {
                (Some(f), Some(s)) if f != s => format!("; clips.csv and dataset.yaml call for {s} rows"),
                _ => "; dataset.yaml gives frames and width".to_string(),
            };
            return Err(bad(format!("shape is {found:?}, expected {shape:?}{hint}")));
        }
        let rows = shape[0];
        let row_len = shape[1..].iter().product();
        Ok(Features {
            name: name.into(),
            path,
            file,
            identity,
            confirmed: Mutex::new(identity),
            map,
            scattered: OnceLock::new(),
            start,
            rows,
            row_len,
            shape: shape.into(),
            precision,
        })
    }

    /// The same file, opened once more.
    pub(super) fn again(&self) -> Result<Features, Error> {
        Features::open(self.path.parent().unwrap_or(Path::new(".")), &self.name, &self.shape)
    }

    /// The names of the clips that the rows belong to, where the file has them.
    pub(super) fn clip_names(&self) -> Option<Vec<String>> {
        let (_, metadata) = SafeTensors::read_metadata(&self.map).ok()?;
        let names = metadata.metadata().as_ref()?.get(CLIPS_KEY)?;
        Some(names.split('\n').map(str::to_string).collect())
    }

    /// The feature's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of rows (clips).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row: T x D for a stream, D_a for an audio feature.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// f32 or f16 on disk.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The file's state when it was opened.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The last state in which the contents are known to be those that were hashed.
    pub(super) fn confirmed(&self) -> MutexGuard<'_, Identity> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's state now; none where a part of it could not be read since it was opened.
    pub(super) fn identity_now(&self) -> Result<Option<Identity>, Error> {
        let meta = self.file.metadata().map_err(|source| Error::Io { path: self.path.clone(), source })?;
        let scattered = self.scattered.get().and_then(Option::as_ref);
        let damaged = self.map.damaged() || scattered.is_some_and(GuardedMap::damaged);
        Ok((!damaged).then(|| Identity::of(&meta)))
    }

    /// The tensor's bytes, little-endian, row after row. A part that the file no longer has reads as zeros
    /// ([`Dataset::check_unchanged`](super::Dataset::check_unchanged) tells).
    pub fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.rows * self.row_len * self.precision.bytes()]
    }

    /// Copies numbers `from..from + out.len()` of row `row` into `out` as f32.
    pub fn read(&self, row: usize, from: usize, out: &mut [f32]) {
        debug_assert!(row < self.rows && from + out.len() <= self.row_len);
        let size = self.precision.bytes();
        let first = (row * self.row_len + from) * size;
        decode(&self.bytes()[first..first + out.len() * size], self.precision, out);
    }

    /// The same rows for whoever reads them in no order.
    pub fn scattered(&self) -> Scattered<'_> {
        let map = self.scattered.get_or_init(|| GuardedMap::scattered(&self.file).ok()).as_ref();
        Scattered { features: self, map: map.unwrap_or(&self.map) }
    }

    /// Copies a whole row into `out` as f32.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        self.read(row, 0, out);
    }

    /// Reads every number once.
    pub fn survey(&self) -> Survey {
        let largest_of = |row: usize| {
            let mut values = vec![0.0f32; self.row_len];
            self.read_row(row, &mut values);
            // Magnitudes are ordered as their bits are, and what is not finite comes last.
            let largest = values.iter().map(|v| v.abs().to_bits()).max().unwrap_or(0);
            let place = (largest > LARGEST.to_bits())
                .then(|| values.iter().position(|v| v.abs().to_bits() > LARGEST.to_bits()))
                .flatten();
            (place.map(|at| (row, at, values[at])), f32::from_bits(largest))
        };
        let nothing = || (None, 0.0f32);
        let (refused, largest) = (0..self.rows).into_par_iter().map(largest_of).reduce(nothing, |a, b| {
            let first = match (a.0, b.0) {
                (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
                (a, b) => a.or(b),
            };
            (first, a.1.max(b.1))
        });
        Survey { refused, largest }
    }
}

/// Rows that are read in no order, as training does: from a data set larger than memory the system would read megabytes around each of
/// them, and throw them away before they are wanted. Rows that will be read are announced, many at a time, and come side by side.
#[derive(Clone, Copy)]
pub struct Scattered<'a> {
    features: &'a Features,
    map: &'a GuardedMap,
}

impl<'a> Scattered<'a> {
    /// Where numbers `from..from + n` of a row lie among the tensor's bytes.
    fn place(&self, row: usize, from: usize, n: usize) -> Range<usize> {
        debug_assert!(row < self.features.rows && from + n <= self.features.row_len);
        let size = self.features.precision.bytes();
        let first = (row * self.features.row_len + from) * size;
        first..first + n * size
    }

    /// Some of the tensor's bytes.
    pub fn bytes(&self, place: Range<usize>) -> &'a [u8] {
        let start = self.features.start;
        &self.map[start + place.start..start + place.end]
    }

    /// Says that some of the tensor's bytes will be read soon.
    pub fn announce_bytes(&self, place: Range<usize>) {
        let start = self.features.start;
        self.map.announce(start + place.start..start + place.end);
    }

    /// Says that numbers `from..from + n` of a row will be read soon.
    pub fn announce(&self, row: usize, from: usize, n: usize) {
        self.announce_bytes(self.place(row, from, n));
    }

    /// As [`Features::read`].
    pub fn read(&self, row: usize, from: usize, out: &mut [f32]) {
        decode(self.bytes(self.place(row, from, out.len())), self.features.precision, out);
    }

    /// Whether numbers `from..from + n` of a row are, bit for bit, the `n` before them.
    pub fn repeats(&self, row: usize, from: usize, n: usize) -> bool {
        from >= n && self.bytes(self.place(row, from - n, n)) == self.bytes(self.place(row, from, n))
    }
}

/// A header is read into memory as a whole, so its length is bounded before.
fn check_header_length(bytes: &[u8], rows: usize) -> Result<(), String> {
    let Some(length) = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)) else { return Ok(()) };
    let most = HEADER_BYTES.saturating_add(rows.saturating_mul(HEADER_BYTES_PER_CLIP)) as u64;
    // A header longer than the file is told as a truncated file.
    if length > most && length <= bytes.len() as u64 {
        return Err(format!("its header has {length} bytes; at most {most} are read for {rows} rows"));
    }
    Ok(())
}

/// Turns little-endian bytes into f32.
fn decode(bytes: &[u8], precision: Precision, out: &mut [f32]) {
    match precision {
        Precision::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Precision::F16 => match bytemuck::try_cast_slice::<u8, f16>(bytes) {
            Ok(halves) if cfg!(target_endian = "little") => halves.convert_to_f32_slice(out),
            _ => {
                for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *o = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::writer::Writer;

    #[test]
    fn rows_come_back_in_both_precisions() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..24).map(|i| i as f32 / 8.0).collect();
        for (name, precision) in [("a", Precision::F32), ("b", Precision::F16)] {
            let mut w = Writer::create(dir.path(), name, &[4, 2, 3], precision, ["w", "x", "y", "z"]).unwrap();
            w.push(&values[..7]).unwrap();
            w.push(&values[7..]).unwrap();
            w.finish().unwrap();
            let f = Features::open(dir.path(), name, &[4, 2, 3]).unwrap();
            let mut row = vec![0.0; 6];
            f.read_row(2, &mut row);
            assert_eq!(row, &values[12..18]);
            f.read(1, 3, &mut row[..3]);
            assert_eq!(&row[..3], &values[9..12]);
            f.scattered().announce(3, 0, 6);
            f.scattered().read(3, 2, &mut row[..4]);
            assert_eq!(&row[..4], &values[20..24]);
            assert!(!f.scattered().repeats(3, 0, 3) && !f.scattered().repeats(3, 3, 3));
            assert_eq!(f.survey(), Survey { refused: None, largest: 23.0 / 8.0 });
            assert_eq!(f.clip_names().unwrap(), ["w", "x", "y", "z"]);
        }
    }

    #[test]
    fn wrong_shape_truncation_and_infinity_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = Writer::create(dir.path(), "a", &[2, 3], Precision::F32, ["x", "y"]).unwrap();
        w.push(&[0.0, 1.0, 2.0, 3.0, f32::INFINITY, 5.0]).unwrap();
        w.finish().unwrap();
        let f = Features::open(dir.path(), "a", &[2, 3]).unwrap();
        assert_eq!(f.survey().refused, Some((1, 1, f32::INFINITY)));
        let message = Features::open(dir.path(), "a", &[3, 3]).unwrap_err().to_string();
        assert!(message.contains("[2, 3]") && message.contains("[3, 3]"), "{message}");
        let path = dir.path().join("a.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        let message = Features::open(dir.path(), "a", &[2, 3]).unwrap_err().to_string();
        assert!(message.contains("truncated"), "{message}");
    }

    #[test]
    fn numbers_out_of_range_are_found_in_row_order() {
        for (value, refused) in
            [(f32::NAN, true), (f32::NEG_INFINITY, true), (-1e20, true), (3e37, true), (9e17, false)]
        {
            let dir = tempfile::tempdir().unwrap();
            let mut w = Writer::create(dir.path(), "a", &[3, 2], Precision::F32, ["x", "y", "z"]).unwrap();
            w.push(&[0.0, 1.0, 2.0, value, value, 5.0]).unwrap();
            w.finish().unwrap();
            let survey = Features::open(dir.path(), "a", &[3, 2]).unwrap().survey();
            assert_eq!(survey.refused.map(|(row, place, _)| (row, place)), refused.then_some((1, 1)), "{value}");
        }
    }

    #[test]
    fn a_header_is_bounded_by_the_rows() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = (200_000u64).to_le_bytes().to_vec();
        bytes.resize(300_000, b' ');
        std::fs::write(dir.path().join("a.safetensors"), bytes).unwrap();
        let message = Features::open(dir.path(), "a", &[3, 2]).unwrap_err().to_string();
        assert!(message.contains("200000 bytes") && message.contains("at most 68608"), "{message}");
    }
}
