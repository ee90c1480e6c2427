//! One memory-mapped `NAME.safetensors`: the features of all clips, f32 or f16, read row by row.

use super::Error;
use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// How numbers lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats: half the disk and page cache, about three decimal digits.
    F16,
}

impl Precision {
    fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }
}

/// A matrix of rows on disk: a row is one clip's (T, D) of a stream, or its D_a audio numbers.
#[derive(Debug)]
pub struct Features {
    name: String,
    path: PathBuf,
    map: Mmap,
    start: usize,
    rows: usize,
    row_len: usize,
    precision: Precision,
}

impl Features {
    /// Maps `DIR/NAME.safetensors` and checks that it holds one tensor of exactly `shape`.
    pub fn open(dir: &Path, name: &str, shape: &[usize]) -> Result<Features, Error> {
        let path = dir.join(format!("{name}.safetensors"));
        let bad = |message: String| Error::Feature { path: path.clone(), message };
        let file = File::open(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        // SAFETY: the map is read only; a data set is not rewritten in place while it is open (importing and
        // synthesising write a new folder and rename it).
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::Io { path: path.clone(), source })?;
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
        Ok(Features { name: name.into(), path, map, start, rows, row_len, precision })
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

    /// The tensor's bytes, little-endian, row after row.
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

    /// Whether numbers `from..from + n` of a row are, bit for bit, the `n` before them.
    pub fn repeats(&self, row: usize, from: usize, n: usize) -> bool {
        let size = self.precision.bytes();
        let at = (row * self.row_len + from) * size;
        let bytes = self.bytes();
        from >= n && bytes[at - n * size..at] == bytes[at..at + n * size]
    }

    /// Copies a whole row into `out` as f32.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        self.read(row, 0, out);
    }

    /// The first number that is not finite, as (row, place in the row, value).
    pub fn first_not_finite(&self) -> Option<(usize, usize, f32)> {
        (0..self.rows).into_par_iter().find_map_first(|row| {
            let mut values = vec![0.0; self.row_len];
            self.read_row(row, &mut values);
            values.iter().position(|v| !v.is_finite()).map(|at| (row, at, values[at]))
        })
    }
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

/// Writes a `NAME.safetensors` row by row, in constant memory; the shape is fixed when it begins.
pub struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    precision: Precision,
    missing: usize,
}

impl Writer {
    /// Begins `DIR/NAME.safetensors` with a tensor of `shape`.
    pub fn create(dir: &Path, name: &str, shape: &[usize], precision: Precision) -> Result<Writer, Error> {
        let path = dir.join(format!("{name}.safetensors"));
        let numbers: usize = shape.iter().product();
        let dtype = match precision {
            Precision::F32 => "F32",
            Precision::F16 => "F16",
        };
        let info =
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [0, numbers * precision.bytes()] });
        let mut header = serde_json::json!({ name: info }).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let write = || {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            Ok(out)
        };
        let out = write().map_err(|source| Error::Io { path: path.clone(), source })?;
        Ok(Writer { path, out, precision, missing: numbers })
    }

    /// Appends numbers; f16 rounds to the nearest.
    pub fn push(&mut self, values: &[f32]) -> Result<(), Error> {
        self.missing = self.missing.checked_sub(values.len()).ok_or_else(|| Error::Feature {
            path: self.path.clone(),
            message: "more numbers than its shape holds".into(),
        })?;
        let result = match self.precision {
            Precision::F32 if cfg!(target_endian = "little") => self.out.write_all(bytemuck::cast_slice(values)),
            Precision::F32 => values.iter().try_for_each(|v| self.out.write_all(&v.to_le_bytes())),
            Precision::F16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                halves.iter().try_for_each(|v| self.out.write_all(&v.to_le_bytes()))
            }
        };
        result.map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// Flushes and checks that every number came.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.missing > 0 {
            let message = format!("{} numbers fewer than its shape holds", self.missing);
            return Err(Error::Feature { path: self.path, message });
        }
        let flush = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        flush.map_err(|source| Error::Io { path: self.path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_in_both_precisions() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..24).map(|i| i as f32 / 8.0).collect();
        for (name, precision) in [("a", Precision::F32), ("b", Precision::F16)] {
            let mut w = Writer::create(dir.path(), name, &[4, 2, 3], precision).unwrap();
            w.push(&values[..7]).unwrap();
            w.push(&values[7..]).unwrap();
            w.finish().unwrap();
            let f = Features::open(dir.path(), name, &[4, 2, 3]).unwrap();
            let mut row = vec![0.0; 6];
            f.read_row(2, &mut row);
            assert_eq!(row, &values[12..18]);
            f.read(1, 3, &mut row[..3]);
            assert_eq!(&row[..3], &values[9..12]);
            assert_eq!(f.first_not_finite(), None);
        }
    }

    #[test]
    fn wrong_shape_truncation_and_infinity_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut w = Writer::create(dir.path(), "a", &[2, 3], Precision::F32).unwrap();
        w.push(&[0.0, 1.0, 2.0, 3.0, f32::INFINITY, 5.0]).unwrap();
        w.finish().unwrap();
        let f = Features::open(dir.path(), "a", &[2, 3]).unwrap();
        assert_eq!(f.first_not_finite(), Some((1, 1, f32::INFINITY)));
        let message = Features::open(dir.path(), "a", &[3, 3]).unwrap_err().to_string();
        assert!(message.contains("[2, 3]") && message.contains("[3, 3]"), "{message}");
        let path = dir.path().join("a.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        let message = Features::open(dir.path(), "a", &[2, 3]).unwrap_err().to_string();
        assert!(message.contains("truncated"), "{message}");
    }
}
