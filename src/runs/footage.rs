//! Clips to use a trained network on: a data set, of which only the streams have to be there. Labels, splits and sound may be
//! missing, and classes and name may be others than those that the network was trained on.

use crate::dataset::{Dataset, Error, Feature, Features, Missing, Standardiser, View};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FootageClip {
    /// Its name.
    pub name: String,
    /// Its class, if anybody knows it.
    pub label: Option<String>,
    /// `train`, `val`, ..., if anybody said so.
    pub split: Option<String>,
    /// Its row in the audio features, if it has one.
    pub audio_row: Option<usize>,
    /// Whether it sounds: it has audio that no experiment silenced.
    pub sounded: bool,
}

/// Clips with their features.
pub struct Footage {
    /// The data set's folder.
    pub dir: PathBuf,
    /// Its name.
    pub name: String,
    /// T.
    pub frames: usize,
    /// Its streams.
    pub streams: Vec<Feature>,
    /// Its audio features.
    pub audio: Vec<Feature>,
    /// Its clips, in the order of the streams' rows.
    pub clips: Vec<FootageClip>,
    /// The whole data set, where it is one that could be trained on.
    pub dataset: Option<Arc<Dataset>>,
    files: Vec<Features>,
}

/// What of `dataset.yaml` is needed here.
#[derive(Deserialize)]
struct Outline {
    name: String,
    frames: usize,
    streams: Vec<Feature>,
    #[serde(default)]
    classes: Vec<String>,
    #[serde(default)]
    audio: Vec<Feature>,
}

impl Footage {
    /// Opens a data set. One that is fit for training is checked as such; what lacks labels, splits or sound is read as far as
    /// it goes.
    pub fn open(dir: &Path) -> Result<Footage, Error> {
        match Dataset::open(dir) {
            Ok(dataset) => Ok(Footage::of(dataset)),
            // What is wrong beside what is missing is told by whoever found it.
            Err(error) => match Footage::incomplete(dir) {
                Ok(Some(footage)) => Ok(footage),
                Ok(None) => Err(error),
                Err(worse) => Err(worse),
            },
        }
    }

    fn of(dataset: Dataset) -> Footage {
        let manifest = &dataset.manifest;
        let clip = |(clip, row): (&crate::dataset::Clip, &Option<usize>)| FootageClip {
            name: clip.name.clone(),
            label: manifest.classes.get(clip.label).cloned(),
            split: Some(clip.split.name().into()),
            audio_row: *row,
            sounded: row.is_some(),
        };
        Footage {
            dir: dataset.dir.clone(),
            name: manifest.name.clone(),
            frames: manifest.frames,
            streams: manifest.streams.clone(),
            audio: manifest.audio.clone(),
            clips: dataset.clips.iter().zip(&dataset.audio_row).map(clip).collect(),
            files: Vec::new(),
            dataset: Some(Arc::new(dataset)),
        }
    }

    /// A data set that lacks labels, splits or sound; `None` where it lacks none of them.
    fn incomplete(dir: &Path) -> Result<Option<Footage>, Error> {
        let path = dir.join("dataset.yaml");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let outline: Outline =
            serde_yaml::from_str(&text).map_err(|e| Error::Manifest { path, message: e.to_string() })?;
        let clips = clips(&dir.join("clips.csv"))?;
        let has = |split: &str| clips.iter().any(|c| c.split.as_deref() == Some(split));
        let complete = clips.iter().all(|c| c.label.is_some() && c.split.is_some()) && has("train") && has("val");
        if complete && outline.classes.len() > 1 && !outline.audio.is_empty() {
            return Ok(None);
        }
        let rows = clips.iter().filter(|c| c.audio_row.is_some()).count();
        let mut files = Vec::new();
        for stream in &outline.streams {
            files.push(Features::open(dir, &stream.name, &[clips.len(), outline.frames, stream.width])?);
        }
        for audio in outline.audio.iter().filter(|_| rows > 0) {
            files.push(Features::open(dir, &audio.name, &[rows, audio.width])?);
        }
        let Outline { name, frames, streams, audio, .. } = outline;
        let audio = if rows > 0 { audio } else { Vec::new() };
        Ok(Some(Footage { dir: dir.into(), name, frames, streams, audio, clips, files, dataset: None }))
    }

    /// Applies an experiment's simulated silence.
    pub fn silence(&mut self, missing: &Missing) -> Result<(), Error> {
        if let Some(dataset) = &self.dataset {
            let view = View::new(dataset.clone(), Some(missing))?;
            self.clips.iter_mut().zip(&view.sounded).for_each(|(clip, sounded)| clip.sounded = *sounded);
        }
        Ok(())
    }

    /// A stream's or audio feature's rows.
    pub fn features(&self, name: &str) -> Option<&Features> {
        let own = self.files.iter().find(|f| f.name() == name);
        let whole = || self.dataset.as_ref().and_then(|d| d.stream(name).or_else(|| d.audio(name)));
        own.or_else(whole)
    }

    /// One frame of a clip in several streams side by side, standardised.
    pub fn frame(&self, streams: &[&Features], scale: &Standardiser, clip: usize, frame: usize, out: &mut [f32]) {
        let mut rest = &mut *out;
        for features in streams {
            let (here, after) = rest.split_at_mut(features.row_len() / self.frames);
            features.read(clip, frame * here.len(), here);
            rest = after;
        }
        scale.apply(out);
    }
}

/// `clips.csv`, of which only the column `clip` has to be there.
fn clips(path: &Path) -> Result<Vec<FootageClip>, Error> {
    let bad = |line: u64, message: String| Error::Clips { path: path.into(), line, message };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|e| bad(0, e.to_string()))?;
    let header = reader.headers().map_err(|e| bad(1, e.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|h| h.trim_start_matches('\u{feff}') == name);
    let clip = column("clip").ok_or_else(|| bad(1, "no column \"clip\"".into()))?;
    let (label, split, has_audio) = (column("label"), column("split"), column("has_audio"));
    let mut clips: Vec<FootageClip> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut rows = 0;
    for record in reader.records() {
        let record = record.map_err(|e| bad(e.position().map_or(0, |p| p.line()), e.to_string()))?;
        let line = record.position().map_or(0, |p| p.line());
        let field =
            |column: Option<usize>| column.and_then(|i| record.get(i)).filter(|t| !t.is_empty()).map(String::from);
        let name = field(Some(clip)).ok_or_else(|| bad(line, "the clip has no name".into()))?;
        if !seen.insert(name.clone()) {
            return Err(bad(line, format!("clip {name:?} stands twice")));
        }
        let sounded = match field(has_audio).as_deref() {
            None | Some("false" | "0" | "no") => false,
            Some("true" | "1" | "yes") => true,
            Some(other) => return Err(bad(line, format!("has_audio {other:?} should be true or false"))),
        };
        rows += usize::from(sounded);
        let audio_row = sounded.then(|| rows - 1);
        clips.push(FootageClip { name, label: field(label), split: field(split), audio_row, sounded });
    }
    if clips.is_empty() {
        return Err(bad(1, "no clips; one line for each clip should follow the header".into()));
    }
    Ok(clips)
}
