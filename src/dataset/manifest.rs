//! `dataset.yaml`: what a data set calls itself and what it holds.

use super::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Whether the features were measured or made up. Synthetic numbers are labelled wherever they appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Features of recordings.
    Real,
    /// Features drawn from a model; see `unmute data synth`.
    Synthetic,
}

/// One stream or audio feature: its name, which is also its file's, and its width in numbers per frame or clip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// `rgb`, `flow`, `aenet`, `vggish` in the paper; any name of letters, digits, `_` and `-` works.
    pub name: String,
    /// Numbers per frame (streams) or per clip (audio features).
    pub width: usize,
}

/// The contents of `dataset.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// A short name, shown in reports.
    pub name: String,
    /// Real or synthetic.
    pub kind: Kind,
    /// Frames per clip, T.
    pub frames: usize,
    /// Class names; a label's index is its place here.
    pub classes: Vec<String>,
    /// Visual streams, (N, T, D) each.
    pub streams: Vec<Feature>,
    /// Audio features, (N_with_audio, D_a) each.
    pub audio: Vec<Feature>,
    /// The command that made the data set.
    #[serde(default)]
    pub made_by: String,
    /// Anything a reader should know (source, licence).
    #[serde(default)]
    pub notes: String,
}

impl Manifest {
    /// The name of the manifest's file.
    pub const FILE: &str = "dataset.yaml";

    /// Reads and checks `DIR/dataset.yaml`.
    pub fn read(dir: &Path) -> Result<Manifest, Error> {
        let path = dir.join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotADataset { dir: dir.into() },
            _ => Error::Io { path: path.clone(), source },
        })?;
        let manifest: Manifest =
            serde_yaml::from_str(&text).map_err(|e| Error::Manifest { path: path.clone(), message: e.to_string() })?;
        manifest.check().map_err(|message| Error::Manifest { path, message })?;
        Ok(manifest)
    }

    /// Widths, names and counts make sense; says what does not.
    pub fn check(&self) -> Result<(), String> {
        if self.frames == 0 {
            return Err("frames is 0; a clip needs at least one".into());
        }
        if self.classes.len() < 2 {
            return Err(format!("{} class(es); recognition needs at least 2", self.classes.len()));
        }
        if self.streams.is_empty() {
            return Err("no stream; the generators need at least one".into());
        }
        if self.audio.is_empty() {
            return Err("no audio feature; there would be nothing to generate".into());
        }
        let mut seen = std::collections::HashSet::new();
        for class in &self.classes {
            if class.trim().is_empty() {
                return Err("a class has an empty name".into());
            }
            if !seen.insert(class.as_str()) {
                return Err(format!("class {class:?} is listed twice"));
            }
        }
        let mut seen = std::collections::HashSet::new();
        for feature in self.streams.iter().chain(&self.audio) {
            let Feature { name, width } = feature;
            check_name(name)?;
            if !seen.insert(name.as_str()) {
                return Err(format!("two features are named {name:?}"));
            }
            if *width == 0 {
                return Err(format!("{name} has width 0"));
            }
        }
        Ok(())
    }

    /// The audio feature called `name`, if the data set has it.
    pub fn audio(&self, name: &str) -> Option<&Feature> {
        self.audio.iter().find(|f| f.name == name)
    }

    /// The stream called `name`, if the data set has it.
    pub fn stream(&self, name: &str) -> Option<&Feature> {
        self.streams.iter().find(|f| f.name == name)
    }

    /// D_v, the width of all streams side by side.
    pub fn visual_width(&self) -> usize {
        self.streams.iter().map(|s| s.width).sum()
    }
}

/// A feature's name becomes a file name and a word of `tables.yaml`, so it must be plain.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("feature name {name:?} should be letters, digits, '_' and '-' only"));
    }
    Ok(())
}
