//! `unmute data import`: a folder of per-clip `.npy` files, as feature extractors leave behind, becomes a data set.
//!
//! The source holds `clips.csv` (`clip,label,split[,has_audio]`) and `features/CLIP_NAME.npy`, each (t, D) with a t
//! of its own. Streams are sampled to T frames, audio features to a fixed number of rows, flattened.

use super::clips::{self, Clip, Row};
use super::features::Writer;
use super::manifest::{Feature, Kind, Manifest, check_name};
use super::npy::Npy;
use super::{Error, Precision};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// How an audio feature of (t, D) becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// This many rows, sampled at the centres of equal segments and laid side by side: n D numbers.
    Sample(usize),
    /// The mean over rows: D numbers.
    Mean,
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rows::Sample(n) => write!(f, "{n}"),
            Rows::Mean => write!(f, "mean"),
        }
    }
}

/// What to make of the source folder.
#[derive(Clone, Debug)]
pub struct Options {
    /// T.
    pub frames: usize,
    /// Audio features and how their rows are folded. A feature of the folder that is not named here is a stream.
    pub rows: BTreeMap<String, Rows>,
    /// The data set's name; the source folder's by default.
    pub name: Option<String>,
    /// Numbers on disk.
    pub precision: Precision,
    /// A clip without audio files is silent (where clips.csv has no has_audio column) instead of an error.
    pub absent_is_silent: bool,
}

/// What [`import`] did.
#[derive(Debug)]
pub enum Outcome {
    /// A new data set was written.
    Imported(Manifest),
    /// The destination already held this import of an unchanged source.
    AlreadyThere(Manifest),
}

/// Identifies a source and the options it was imported with; kept beside the result, so that a second call is free.
#[derive(Serialize, Deserialize, PartialEq)]
struct Stamp {
    version: u32,
    options: String,
    source: String,
}

const STAMP: &str = ".import.json";
const VERSION: u32 = 1;

/// Clips read at once; bounds memory.
const BLOCK: usize = 256;

/// Imports `src` into the new folder `dst`; `progress(done, total)` counts clips.
pub fn import(src: &Path, dst: &Path, options: &Options, progress: &dyn Fn(usize, usize)) -> Result<Outcome, Error> {
    if options.frames == 0 {
        return Err(Error::Usage("--frames 0: a clip needs at least one frame".into()));
    }
    for (name, rows) in &options.rows {
        check_name(name).map_err(Error::Usage)?;
        if *rows == Rows::Sample(0) {
            return Err(Error::Usage(format!("--rows {name}=0: an audio feature needs at least one row")));
        }
    }
    let clips_path = src.join("clips.csv");
    if !clips_path.is_file() {
        return Err(Error::Usage(format!(
            "{}: nothing to import: no clips.csv in it\n  next: give a folder with clips.csv (clip,label,split) and features/CLIP_NAME.npy",
            src.display()
        )));
    }
    let rows = clips::read_rows(&clips_path)?;
    let files = list(src)?;
    let stamp = Stamp {
        version: VERSION,
        options: format!(
            "{} {:?} {:?} {:?} {}",
            options.frames, options.rows, options.name, options.precision, options.absent_is_silent
        ),
        source: digest(&clips_path, &files)?,
    };
    if dst.exists() {
        return already_there(dst, &stamp);
    }
    let plan = Plan::new(src, &clips_path, rows, &files, options)?;
    super::write_folder(dst, |dir| {
        plan.write(dir, options, progress)?;
        let path = dir.join(STAMP);
        std::fs::write(&path, serde_json::to_string(&stamp).unwrap_or_default())
            .map_err(|source| Error::Io { path, source })
    })?;
    Ok(Outcome::Imported(plan.manifest))
}

fn already_there(dst: &Path, stamp: &Stamp) -> Result<Outcome, Error> {
    let found = std::fs::read_to_string(dst.join(STAMP)).ok().and_then(|t| serde_json::from_str::<Stamp>(&t).ok());
    match found {
        Some(found) if found == *stamp => Manifest::read(dst).map(Outcome::AlreadyThere),
        Some(_) => Err(Error::Usage(format!(
            "{}: holds an import of another or since changed source, or one with other options\n  next: remove it, or import to another folder",
            dst.display()
        ))),
        None => Err(Error::Usage(format!("{}: exists already\n  next: import to a new folder", dst.display()))),
    }
}

/// The `.npy` files of the source, by name without ending.
fn list(src: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
    let dir = src.join("features");
    let io = |source| Error::Io { path: dir.clone(), source };
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(&dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "npy")
            && let Some(stem) = path.file_stem().and_then(|s| s.to_str())
        {
            files.insert(stem.to_string(), path.clone());
        }
    }
    Ok(files)
}

/// Names, sizes and modification times of the source.
fn digest(clips: &Path, files: &BTreeMap<String, PathBuf>) -> Result<String, Error> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&std::fs::read(clips).map_err(|source| Error::Io { path: clips.into(), source })?);
    for (stem, path) in files {
        let meta = std::fs::metadata(path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let modified = meta.modified().ok().and_then(|m| m.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
        hasher.update(format!("{stem}\0{}\0{modified}\n", meta.len()).as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Everything settled before the first feature is read in full.
struct Plan {
    manifest: Manifest,
    clips: Vec<Clip>,
    dir: PathBuf,
}

impl Plan {
    fn new(
        src: &Path,
        clips_path: &Path,
        rows: Vec<Row>,
        files: &BTreeMap<String, PathBuf>,
        options: &Options,
    ) -> Result<Plan, Error> {
        let dir = src.join("features");
        let (streams, audio) = feature_names(&dir, &rows, files, options)?;
        let classes: Vec<String> = rows.iter().map(|r| r.label.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        let clips = rows
            .into_iter()
            .map(|row| clip(row, clips_path, &classes, &streams, &audio, files, options))
            .collect::<Result<Vec<_>, _>>()?;
        clips::check(clips_path, &clips, &classes)?;
        let width = |name: &str, of: &dyn Fn(&Clip) -> bool| -> Result<usize, Error> {
            let first = clips.iter().find(|c| of(c)).ok_or_else(|| {
                Error::Sound(format!("{}: no clip has {name:?} audio; everything is silent", src.display()))
            })?;
            Ok(Npy::read(&npy_path(&dir, &first.name, name))?.width)
        };
        let mut manifest = Manifest {
            name: options.name.clone().unwrap_or_else(|| folder_name(src)),
            kind: Kind::Real,
            frames: options.frames,
            classes,
            streams: Vec::new(),
            audio: Vec::new(),
            made_by: made_by(options, &audio),
            notes: String::new(),
        };
        for name in streams {
            let width = width(&name, &|_| true)?;
            manifest.streams.push(Feature { name, width });
        }
        for name in audio {
            let width = match options.rows[&name] {
                Rows::Sample(n) => n * width(&name, &|c| c.has_audio)?,
                Rows::Mean => width(&name, &|c| c.has_audio)?,
            };
            manifest.audio.push(Feature { name, width });
        }
        manifest.check().map_err(|message| Error::Manifest { path: src.into(), message })?;
        Ok(Plan { manifest, clips, dir })
    }

    fn write(&self, out: &Path, options: &Options, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
        let m = &self.manifest;
        let with_audio: Vec<&Clip> = self.clips.iter().filter(|c| c.has_audio).collect();
        let all: Vec<&Clip> = self.clips.iter().collect();
        let total = m.streams.len() * all.len() + m.audio.len() * with_audio.len();
        let mut done = 0;
        let mut advance = |n: usize| {
            done += n;
            progress(done, total);
        };
        for s in &m.streams {
            let shape = [all.len(), m.frames, s.width];
            let mut writer = Writer::create(out, &s.name, &shape, options.precision)?;
            for block in all.chunks(BLOCK) {
                let read = |c: &&Clip| {
                    Sampler::load(&self.dir, c, &s.name, s.width, options.precision).map(|x| x.sampled(m.frames))
                };
                for values in block.par_iter().map(read).collect::<Result<Vec<_>, _>>()? {
                    writer.push(&values)?;
                }
                advance(block.len());
            }
            writer.finish()?;
        }
        for a in &m.audio {
            let rows = options.rows[&a.name];
            let mut writer = Writer::create(out, &a.name, &[with_audio.len(), a.width], options.precision)?;
            for block in with_audio.chunks(BLOCK) {
                let read = |c: &&Clip| match rows {
                    Rows::Sample(n) => {
                        Sampler::load(&self.dir, c, &a.name, a.width / n, options.precision).map(|x| x.sampled(n))
                    }
                    Rows::Mean => Sampler::load(&self.dir, c, &a.name, a.width, options.precision).map(Sampler::mean),
                };
                for values in block.par_iter().map(read).collect::<Result<Vec<_>, _>>()? {
                    writer.push(&values)?;
                }
                advance(block.len());
            }
            writer.finish()?;
        }
        clips::write(&out.join("clips.csv"), &self.clips, &m.classes)?;
        super::write_manifest(out, m)
    }
}

fn folder_name(src: &Path) -> String {
    let absolute = std::fs::canonicalize(src).unwrap_or_else(|_| src.into());
    absolute.file_name().map_or_else(|| "data".into(), |n| n.to_string_lossy().into_owned())
}

fn made_by(options: &Options, audio: &[String]) -> String {
    let rows: String = audio.iter().map(|a| format!(" --rows {a}={}", options.rows[a])).collect();
    format!("unmute {} data import --frames {}{rows}", env!("CARGO_PKG_VERSION"), options.frames)
}

/// The names after `CLIP_` of the clips' files: (streams, audio features), each in alphabetical order, `rgb` first
/// and `flow` next among the streams where they are there.
fn feature_names(
    dir: &Path,
    rows: &[Row],
    files: &BTreeMap<String, PathBuf>,
    options: &Options,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let mut names = BTreeSet::new();
    for row in rows {
        let prefix = format!("{}_", row.clip);
        for stem in files.range(prefix.clone()..).map(|(stem, _)| stem).take_while(|s| s.starts_with(&prefix)) {
            let name = &stem[prefix.len()..];
            // Another clip's name may begin like this one's: `a` and `a_b`, file `a_b_rgb`.
            if check_name(name).is_ok() && !name.contains('_') || options.rows.contains_key(name) {
                names.insert(name.to_string());
            }
        }
    }
    if names.is_empty() {
        let first = &rows[0].clip;
        return Err(Error::Usage(format!(
            "{}: no feature file of any clip; expected names such as {first}_rgb.npy",
            dir.display()
        )));
    }
    let (audio, mut streams): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|n| options.rows.contains_key(n));
    let rank = |n: &String| ["rgb", "flow"].iter().position(|k| k == n).unwrap_or(2);
    streams.sort_by_key(|n| (rank(n), n.clone()));
    if audio.is_empty() {
        return Err(Error::Usage(format!(
            "{}: found {}, none of them an audio feature\n  next: name the audio features and their rows, such as --rows vggish=3 --rows aenet=mean",
            dir.display(),
            streams.join(", ")
        )));
    }
    if streams.is_empty() {
        return Err(Error::Usage(format!(
            "{}: found {} only; a visual stream is needed too",
            dir.display(),
            audio.join(", ")
        )));
    }
    Ok((streams, audio))
}

fn clip(
    row: Row,
    clips_path: &Path,
    classes: &[String],
    streams: &[String],
    audio: &[String],
    files: &BTreeMap<String, PathBuf>,
    options: &Options,
) -> Result<Clip, Error> {
    let bad = |message: String| Error::Clips { path: clips_path.into(), line: row.line, message };
    let there = |name: &String| files.contains_key(&format!("{}_{name}", row.clip));
    if let Some(name) = streams.iter().find(|n| !there(n)) {
        return Err(bad(format!("clip {0:?} has no features/{0}_{name}.npy; every clip needs every stream", row.clip)));
    }
    let found = audio.iter().filter(|n| there(n)).count();
    let has_audio = match row.has_audio {
        Some(false) => false,
        None if found == 0 && options.absent_is_silent => false,
        Some(true) | None => {
            if let Some(name) = audio.iter().find(|n| !there(n)) {
                return Err(bad(format!(
                    "clip {0:?} has no features/{0}_{name}.npy; if it is silent, say so in a column has_audio, or pass --absent-is-silent",
                    row.clip
                )));
            }
            true
        }
    };
    let label = classes.binary_search(&row.label).unwrap_or_default();
    Ok(Clip { name: row.clip, label, split: row.split, has_audio })
}

fn npy_path(dir: &Path, clip: &str, name: &str) -> PathBuf {
    dir.join(format!("{clip}_{name}.npy"))
}

/// A clip's array, checked, and what is made of it.
struct Sampler(Npy);

impl Sampler {
    /// Reads one clip's feature and checks its width and that it is finite, on disk too.
    fn load(dir: &Path, clip: &Clip, name: &str, width: usize, precision: Precision) -> Result<Sampler, Error> {
        let npy = Npy::read(&npy_path(dir, &clip.name, name))?;
        if npy.width != width {
            let message = format!("clip {:?}: width is {}, but {width} in the clips before it", clip.name, npy.width);
            return Err(Error::Feature { path: npy.path, message });
        }
        if let Some(place) = npy.values.iter().position(|v| !v.is_finite()) {
            let (row, value) = (place / width, npy.values[place]);
            return Err(Error::NotFinite { path: npy.path, clip: clip.name.clone(), row, place: place % width, value });
        }
        let too_large = |v: &f32| precision == Precision::F16 && half::f16::from_f32(*v).is_infinite();
        if let Some(value) = npy.values.iter().copied().find(too_large) {
            let clip = &clip.name;
            let message =
                format!("clip {clip:?} holds {value}, too large for f16\n  next: import with --precision f32");
            return Err(Error::Feature { path: npy.path, message });
        }
        Ok(Sampler(npy))
    }

    /// Rows at the centres of `n` equal segments: row floor((i + 1/2) t / n), i = 0..n.
    fn sampled(self, n: usize) -> Vec<f32> {
        let Npy { rows, width, values, .. } = self.0;
        (0..n).flat_map(|i| values[(2 * i + 1) * rows / (2 * n) * width..][..width].to_vec()).collect()
    }

    /// The mean over rows.
    fn mean(self) -> Vec<f32> {
        let Npy { rows, width, values, .. } = self.0;
        let mut sum = vec![0.0f64; width];
        for row in values.chunks_exact(width) {
            sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
        }
        sum.into_iter().map(|s| (s / rows as f64) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(rows: usize, width: usize) -> Sampler {
        let values = (0..rows * width).map(|i| i as f32).collect();
        Sampler(Npy { path: PathBuf::new(), rows, width, values })
    }

    #[test]
    fn rows_are_taken_at_the_centres_of_equal_segments() {
        assert_eq!(array(6, 1).sampled(3), [1.0, 3.0, 5.0]);
        assert_eq!(array(1, 2).sampled(2), [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(array(4, 1).sampled(4), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(array(3, 2).mean(), [2.0, 3.0]);
    }
}
