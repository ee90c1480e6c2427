//! Writes a `NAME.safetensors` row by row, in constant memory.

use super::Error;
use super::features::{CLIPS_KEY, Precision};
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that is being written; its shape is fixed when it begins.
pub struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    precision: Precision,
    missing: usize,
}

impl Writer {
    /// Begins `DIR/NAME.safetensors` with a tensor of `shape`, whose rows belong to `clips` in this order.
    pub fn create<'a>(
        dir: &Path,
        name: &str,
        shape: &[usize],
        precision: Precision,
        clips: impl IntoIterator<Item = &'a str>,
    ) -> Result<Writer, Error> {
        let path = dir.join(format!("{name}.safetensors"));
        let numbers: usize = shape.iter().product();
        let dtype = match precision {
            Precision::F32 => "F32",
            Precision::F16 => "F16",
        };
        let info =
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [0, numbers * precision.bytes()] });
        let clips: Vec<&str> = clips.into_iter().collect();
        debug_assert_eq!(clips.len(), shape[0]);
        let metadata = serde_json::json!({ CLIPS_KEY: clips.join("\n") });
        let mut header = serde_json::json!({ "__metadata__": metadata, name: info }).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let write = || {
            let mut out = BufWriter::with_capacity(1 << 20, File::create_new(&path)?);
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
