//! Features that another program generated, one vector a clip: `external:NAME` of an audio feature `A`.
//!
//! They are files of NumPy, `CLIP_A.NAME.npy` with D_a numbers each, or one `A.NAME.safetensors`: either a tensor for each clip,
//! called by the clip's name, or a single one (N, D_a) whose rows the header's metadata names (`clips`, one a line). They lie in a
//! folder that the user names or in the data set's own, or in `features` below either. They are no part of the data set: its
//! fingerprint does not change with them, and theirs is a hash over what they say.

use super::clips::Split;
use super::features::CLIPS_KEY;
use super::import::array::ArrayReader;
use super::import::npy::Npy;
use super::range::LARGEST;
use super::{Dataset, Error};
use crate::files;
use half::f16;
use rayon::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Bytes of a file of features that are read.
const LARGEST_FILE: u64 = 1 << 36;

/// Features of an audio feature's clips that another program generated.
#[derive(Debug)]
pub struct External {
    /// D_a.
    pub width: usize,
    /// BLAKE3 over names of clips and their numbers, 64 hexadecimal digits.
    pub fingerprint: String,
    /// For each clip of the data set its row.
    row: Vec<Option<usize>>,
    values: Vec<f32>,
}

/// A clip's numbers, with the file that they are from.
type Found = (usize, PathBuf, Vec<f32>);

impl External {
    /// Looks for the features of `audio` that the program `name` made, in `folder` or, without one, in the data set's own;
    /// `None` where there are none. All val and test clips have to have theirs, and every number of them is finite.
    pub fn open(dataset: &Dataset, folder: Option<&Path>, audio: &str, name: &str) -> Result<Option<External>, Error> {
        let Some(feature) = dataset.manifest.audio(audio) else { return Ok(None) };
        let clips: HashMap<&str, usize> =
            dataset.clips.iter().enumerate().map(|(i, clip)| (clip.name.as_str(), i)).collect();
        let folder = folder.unwrap_or(&dataset.dir);
        let look = Look { dataset, clips, name: format!("{audio}.{name}"), audio, width: feature.width };
        for place in [folder.to_path_buf(), folder.join("features")] {
            let whole = place.join(format!("{}.safetensors", look.name));
            let found = match whole.is_file() {
                true => look.whole(&whole)?,
                false => look.by_clip(&place)?,
            };
            if !found.is_empty() {
                return look.gather(found, &place).map(Some);
            }
        }
        Ok(None)
    }

    /// The features of these clips, (N, D_a); `None` where one of them has none.
    pub fn rows(&self, clips: &[usize]) -> Option<Vec<f32>> {
        let mut out = Vec::with_capacity(clips.len() * self.width);
        for &clip in clips {
            let row = self.row.get(clip).copied().flatten()?;
            out.extend_from_slice(&self.values[row * self.width..][..self.width]);
        }
        Some(out)
    }
}

/// What is looked for.
struct Look<'a> {
    dataset: &'a Dataset,
    clips: HashMap<&'a str, usize>,
    /// `vggish.mygan`.
    name: String,
    audio: &'a str,
    width: usize,
}

impl Look<'_> {
    fn bad(&self, path: &Path, message: String) -> Error {
        Error::Feature { path: path.into(), message }
    }

    /// One file a clip.
    fn by_clip(&self, place: &Path) -> Result<Vec<Found>, Error> {
        let end = format!("_{}.npy", self.name);
        let one = |(i, clip): (usize, &super::Clip)| {
            let path = place.join(format!("{}{end}", clip.name));
            if !path.is_file() {
                return Ok(None);
            }
            let array = Npy.read(&path, None)?;
            let inner: Vec<usize> = array.shape.iter().copied().filter(|n| *n != 1).collect();
            if inner.len() > 1 {
                let shape = super::import::npy::tuple(&array.shape);
                return Err(self.bad(&path, format!("shape {shape}; a vector of {} numbers was expected", self.width)));
            }
            Ok(Some((i, path, array.values)))
        };
        let found = self.dataset.clips.par_iter().enumerate().map(one).collect::<Result<Vec<_>, Error>>()?;
        let found: Vec<Found> = found.into_iter().flatten().collect();
        // A slip in a name must not pass for a feature that nobody made.
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            if let Some(clip) = file.strip_suffix(&end)
                && !self.clips.contains_key(clip)
            {
                return Err(self.unknown(&entry.path(), clip));
            }
        }
        Ok(found)
    }

    fn unknown(&self, path: &Path, clip: &str) -> Error {
        let names: Vec<&&str> = self.clips.keys().collect();
        let near = if names.len() > 10_000 { String::new() } else { crate::suggest::nearest(clip, &names) };
        let message = format!(
            "{clip:?} is no clip of data set {}{}\n  next: generate features for this data set's clips, under their names",
            self.dataset.manifest.name,
            // Of many clips only the nearest is of use.
            near.split("; valid").next().unwrap_or_default()
        );
        self.bad(path, message)
    }

    /// All clips in one file.
    fn whole(&self, path: &Path) -> Result<Vec<Found>, Error> {
        let bytes = files::read(path, LARGEST_FILE).map_err(|source| Error::Io { path: path.into(), source })?;
        let not_whole = |e: safetensors::SafeTensorError| self.bad(path, format!("not a whole safetensors file ({e})"));
        let (_, head) = SafeTensors::read_metadata(&bytes).map_err(not_whole)?;
        let file = SafeTensors::deserialize(&bytes).map_err(not_whole)?;
        let tensors = file.tensors();
        let rows = head.metadata().as_ref().and_then(|meta| meta.get(CLIPS_KEY));
        let mut found = Vec::new();
        match (rows, &tensors[..]) {
            (Some(names), [(_, matrix)]) => {
                let values = numbers(matrix).map_err(|why| self.bad(path, why))?;
                let names: Vec<&str> = names.split('\n').collect();
                if matrix.shape() != [names.len(), self.width] {
                    let (shape, rows) = (matrix.shape(), names.len());
                    let message =
                        format!("shape is {shape:?}, expected [{rows}, {}] by its names and the data set", self.width);
                    return Err(self.bad(path, message));
                }
                for (name, row) in names.iter().zip(values.chunks_exact(self.width.max(1))) {
                    let clip = *self.clips.get(name).ok_or_else(|| self.unknown(path, name))?;
                    found.push((clip, path.to_path_buf(), row.to_vec()));
                }
            }
            (None, [(name, matrix)]) if !self.clips.contains_key(name.as_str()) && matrix.shape().len() == 2 => {
                return Err(self.bad(
                    path,
                    "it does not say which row is which clip's\n  next: write a tensor for each clip, called by its name, or the names into the metadata (clips, one a line)".into(),
                ));
            }
            _ => {
                for (name, view) in &tensors {
                    let clip = *self.clips.get(name.as_str()).ok_or_else(|| self.unknown(path, name))?;
                    found.push((clip, path.to_path_buf(), numbers(view).map_err(|why| self.bad(path, why))?));
                }
            }
        }
        found.sort_by_key(|(clip, ..)| *clip);
        if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(self.bad(path, format!("clip {:?} stands twice", self.dataset.clips[pair[0].0].name)));
        }
        Ok(found)
    }

    fn gather(&self, found: Vec<Found>, place: &Path) -> Result<External, Error> {
        let mut external = External {
            width: self.width,
            fingerprint: String::new(),
            row: vec![None; self.dataset.clips.len()],
            values: Vec::with_capacity(found.len() * self.width),
        };
        let mut hasher = blake3::Hasher::new();
        for (i, (clip, path, values)) in found.into_iter().enumerate() {
            let name = &self.dataset.clips[clip].name;
            if values.len() != self.width {
                let message = format!(
                    "clip {name:?} has {} numbers, and {} of data set {} is {} wide\n  next: generate the feature as the data set has it (`unmute data stats` gives the widths)",
                    values.len(),
                    self.audio,
                    self.dataset.manifest.name,
                    self.width
                );
                return Err(self.bad(&path, message));
            }
            if let Some(at) = values.iter().position(|v| !v.is_finite() || v.abs() > LARGEST) {
                let value = values[at];
                let message = match value.is_finite() {
                    false => format!("clip {name:?} holds {value} at place {at}; features must be finite"),
                    true => {
                        format!("clip {name:?} holds {value:e} at place {at}; magnitudes above {LARGEST:e} are refused")
                    }
                };
                return Err(self.bad(&path, message + "\n  next: see what the generator makes of this clip"));
            }
            hasher.update(format!("{}\n{name}\n", name.len()).as_bytes());
            for value in &values {
                hasher.update(&value.to_le_bytes());
            }
            external.row[clip] = Some(i);
            external.values.extend(values);
        }
        let scored = |split: Split| matches!(split, Split::Val | Split::Test);
        let wanted = self.dataset.clips.iter().zip(&external.row).filter(|(clip, _)| scored(clip.split));
        let (all, missing): (usize, Vec<&str>) = wanted.fold((0, Vec::new()), |(all, mut missing), (clip, row)| {
            missing.extend(row.is_none().then_some(clip.name.as_str()));
            (all + 1, missing)
        });
        if let Some(first) = missing.first() {
            let message = format!(
                "no {} of {} of {all} val and test clips (first: {first:?})\n  next: generate it for all of them, those that sound as well: what is near the recorded feature is told from them",
                self.name,
                missing.len()
            );
            return Err(self.bad(place, message));
        }
        external.fingerprint = hasher.finalize().to_hex().to_string();
        Ok(external)
    }
}

/// A tensor's numbers as f32.
fn numbers(view: &TensorView) -> Result<Vec<f32>, String> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F64 => {
            let eight = |b: &[u8]| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            data.chunks_exact(8).map(eight).collect()
        }
        other => return Err(format!("numbers are {other:?}; F32, F16 or F64 was expected")),
    })
}
