//! `dataset.yaml`: what a data set calls itself and what it holds.

use super::Error;
use crate::files;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Bytes of `dataset.yaml` that are read.
const LARGEST_FILE: u64 = 16 << 20;

/// Frames per clip at most: hours of video at one frame a second.
pub(super) const MOST_FRAMES: usize = 65_536;

/// Numbers per frame, and per clip, at most.
const MOST_WIDTH: usize = 1 << 24;
const MOST_ROW: usize = 1 << 28;

/// Classes at most.
const MOST_CLASSES: usize = 100_000;

/// Streams and audio features at most.
const MOST_FEATURES: usize = 64;

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
    /// Streams whose class probabilities come with the data set, as `STREAM.scores.safetensors` (N, K): no head is trained on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<String>,
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
        let (path, text) = text_of(dir)?;
        Manifest::parse(&text).map_err(|message| Error::Manifest { path, message })
    }

    /// Writes `DIR/dataset.yaml`.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(Self::FILE);
        let text =
            serde_yaml::to_string(self).map_err(|e| Error::Manifest { path: path.clone(), message: e.to_string() })?;
        std::fs::write(&path, text).map_err(|source| Error::Io { path, source })
    }

    /// Reads and checks the text of a manifest.
    pub(super) fn parse(text: &str) -> Result<Manifest, String> {
        shallow(text)?;
        let manifest: Manifest = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Widths, names and counts make sense; says what does not.
    pub fn check(&self) -> Result<(), String> {
        check_outline(self.frames, &self.classes, &self.streams, &self.audio)?;
        if self.classes.len() < 2 {
            return Err(format!("{} class(es); recognition needs at least 2", self.classes.len()));
        }
        if self.streams.is_empty() {
            return Err("no stream; the generators need at least one".into());
        }
        if self.audio.is_empty() {
            return Err("no audio feature; there would be nothing to generate".into());
        }
        for (i, name) in self.scores.iter().enumerate() {
            if self.stream(name).is_none() || self.scores[..i].contains(name) {
                return Err(format!("scores names {name:?}; it lists streams, each once"));
            }
        }
        Ok(())
    }

    /// The hash of what changes a number: not of the name, the notes or the command line.
    pub fn content_hash(&self) -> String {
        let mut parts = serde_json::json!([self.kind, self.frames, self.classes, self.streams, self.audio]);
        // Data sets without scores keep the hash that they had before there were any.
        if let (false, Some(parts)) = (self.scores.is_empty(), parts.as_array_mut()) {
            parts.push(serde_json::json!(self.scores));
        }
        blake3::hash(parts.to_string().as_bytes()).to_hex().to_string()
    }

    /// The audio feature called `name`, if the data set has it.
    pub fn audio(&self, name: &str) -> Option<&Feature> {
        self.audio.iter().find(|f| f.name == name)
    }

    /// The stream called `name`, if the data set has it.
    pub fn stream(&self, name: &str) -> Option<&Feature> {
        self.streams.iter().find(|f| f.name == name)
    }

    /// Whether the scores of a stream come with the data set.
    pub fn gives_scores(&self, stream: &str) -> bool {
        self.scores.iter().any(|s| s == stream)
    }

    /// The name, without its ending, of the file with a stream's scores. No feature can be called so.
    pub fn scores_file(stream: &str) -> String {
        format!("{stream}.scores")
    }

    /// D_v, the width of all streams side by side.
    pub fn visual_width(&self) -> usize {
        self.streams.iter().map(|s| s.width).sum()
    }
}

/// Widths, names and counts are possible, whatever is there; says what is not.
fn check_outline(frames: usize, classes: &[String], streams: &[Feature], audio: &[Feature]) -> Result<(), String> {
    if frames == 0 {
        return Err("frames is 0; a clip needs at least one".into());
    }
    if frames > MOST_FRAMES {
        return Err(format!("frames is {frames}; at most {MOST_FRAMES} are possible"));
    }
    if classes.len() > MOST_CLASSES {
        return Err(format!("{} classes; at most {MOST_CLASSES} are possible", classes.len()));
    }
    let features = streams.len() + audio.len();
    if features > MOST_FEATURES {
        return Err(format!("{features} streams and audio features; at most {MOST_FEATURES} are possible"));
    }
    let mut seen = std::collections::HashSet::new();
    for class in classes {
        if class.trim().is_empty() {
            return Err("a class has an empty name".into());
        }
        plain_text("class", class)?;
        if !seen.insert(class.as_str()) {
            return Err(format!("class {class:?} is listed twice"));
        }
    }
    let mut seen = std::collections::HashSet::new();
    for Feature { name, width } in streams.iter().chain(audio) {
        check_name(name)?;
        if !seen.insert(name.as_str()) {
            return Err(format!("two features are named {name:?}"));
        }
        if *width == 0 {
            return Err(format!("{name} has width 0"));
        }
        if *width > MOST_WIDTH {
            return Err(format!("{name} has width {width}; at most {MOST_WIDTH} is possible"));
        }
    }
    for Feature { name, width } in streams {
        let row = frames * width;
        if row > MOST_ROW {
            return Err(format!(
                "{name} has {frames} frames of {width} numbers, {row} a clip; at most {MOST_ROW} are possible"
            ));
        }
    }
    Ok(())
}

/// What of `dataset.yaml` has to be there for the use of what was trained elsewhere.
#[derive(Debug, Deserialize)]
pub(super) struct Outline {
    pub name: String,
    pub frames: usize,
    pub streams: Vec<Feature>,
    #[serde(default)]
    pub classes: Vec<String>,
    #[serde(default)]
    pub audio: Vec<Feature>,
}

impl Outline {
    /// Reads and checks `DIR/dataset.yaml`.
    pub fn read(dir: &Path) -> Result<Outline, Error> {
        let (path, text) = text_of(dir)?;
        Outline::parse(&text).map_err(|message| Error::Manifest { path, message })
    }

    pub fn parse(text: &str) -> Result<Outline, String> {
        shallow(text)?;
        let outline: Outline = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        check_outline(outline.frames, &outline.classes, &outline.streams, &outline.audio)?;
        match outline.streams.is_empty() {
            true => Err("no stream; nothing could be generated or predicted".into()),
            false => Ok(outline),
        }
    }
}

fn text_of(dir: &Path) -> Result<(std::path::PathBuf, String), Error> {
    let path = dir.join(Manifest::FILE);
    match files::read_text(&path, LARGEST_FILE) {
        Ok(text) => Ok((path, text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::NotADataset { dir: dir.into() }),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// A feature's name becomes a file name and a word of `tables.yaml`, so it must be plain.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("feature name {name:?} should be letters, digits, '_' and '-' only"));
    }
    if name == "__metadata__" || name.len() > 64 {
        return Err(format!("feature name {name:?} is kept for the file's own use, or too long (64 letters at most)"));
    }
    Ok(())
}

/// The name of a clip or class is one line of a table, a CSV and a terminal: no control characters, and a bounded length.
pub(super) fn plain_text(what: &str, name: &str) -> Result<(), String> {
    const MOST_BYTES: usize = 400;
    if let Some(c) = name.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        let start: String = name.chars().take(40).collect();
        return Err(format!("{what} {start:?} holds a control character or line break ({c:?})"));
    }
    if name.len() > MOST_BYTES {
        let start: String = name.chars().take(40).collect();
        return Err(format!("{what} {start:?}... has {} bytes; at most {MOST_BYTES} are possible", name.len()));
    }
    Ok(())
}

/// Deep nesting costs a YAML parser time that grows with its square; a manifest nests three levels.
fn shallow(text: &str) -> Result<(), String> {
    const DEEPEST: usize = 64;
    let mut open = 0usize;
    for (number, line) in text.lines().enumerate() {
        let mut dashes = 0;
        for c in line.chars() {
            match c {
                '[' | '{' => open += 1,
                ']' | '}' => open = open.saturating_sub(1),
                '-' | '?' | ' ' | '\t' => dashes += usize::from(c == '-' || c == '?'),
                _ => dashes = 0,
            }
            if open > DEEPEST || dashes > DEEPEST {
                return Err(format!("nested more than {DEEPEST} levels deep on line {}", number + 1));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: x\nkind: real\nframes: 3\nclasses: [a, b]\nstreams: [{name: rgb, width: 6}]\naudio: [{name: vggish, width: 3}]\n";

    #[test]
    fn sizes_and_names_are_bounded() {
        assert!(Manifest::parse(GOOD).is_ok());
        for (from, to, says) in [
            ("frames: 3", "frames: 4611686018427387904", "at most 65536"),
            ("width: 6", "width: 999999999999", "at most 16777216"),
            ("frames: 3", "frames: 60000", "at most"),
            ("[a, b]", "[a, \"b\\e[2J\"]", "control character"),
            ("[a, b]", "[a, \"b\\nc\"]", "line break"),
            ("name: rgb", "name: __metadata__", "__metadata__"),
        ] {
            let text = GOOD
                .replace(from, to)
                .replace("width: 6", if to.contains("60000") { "width: 8000000" } else { "width: 6" });
            let message = Manifest::parse(&text).unwrap_err();
            assert!(message.contains(says), "{to}: {message}");
        }
    }

    #[test]
    fn an_outline_may_lack_classes_and_sound_and_nothing_else() {
        let bare = "name: x\nframes: 3\nstreams: [{name: rgb, width: 6}]\n";
        assert!(Outline::parse(bare).is_ok() && Outline::parse(GOOD).is_ok());
        for (from, to, says) in [
            ("frames: 3", "frames: 0", "frames is 0"),
            ("frames: 3", "frames: 4611686018427387904", "at most 65536"),
            ("[{name: rgb, width: 6}]", "[]", "no stream"),
            ("name: rgb", "name: ../rgb", "letters, digits"),
            ("x\n", &format!("{}\n", "[".repeat(1 << 18)), "levels deep"),
        ] {
            let message = Outline::parse(&bare.replacen(from, to, 1)).unwrap_err();
            assert!(message.contains(says), "{to:.40}: {message}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_at_once() {
        for text in ["[".repeat(1 << 20), "- ".repeat(1 << 20), "{a: ".repeat(1 << 20), "? ".repeat(1 << 20)] {
            assert!(Manifest::parse(&text).unwrap_err().contains("levels deep"));
        }
    }
}
