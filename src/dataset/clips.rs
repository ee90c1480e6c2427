//! `clips.csv`: one line for each clip, `clip,label,split,has_audio`.

use super::Error;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The half of the data a clip belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Used to fit.
    Train,
    /// Used to score.
    Val,
}

impl Split {
    /// `train` or `val`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
        }
    }
}

/// One video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// The clip's name, unique in its data set.
    pub name: String,
    /// Index into the manifest's classes.
    pub label: usize,
    /// Train or val.
    pub split: Split,
    /// Whether the data set holds audio features of this clip.
    pub has_audio: bool,
}

/// A line of `clips.csv` before its label is looked up.
#[derive(Debug)]
pub(super) struct Row {
    pub line: u64,
    pub clip: String,
    pub label: String,
    pub split: Split,
    pub has_audio: Option<bool>,
}

/// Reads the lines of a `clips.csv`; `has_audio` may be left out (in folders to import).
pub(super) fn read_rows(path: &Path) -> Result<Vec<Row>, Error> {
    let bad = |line: u64, message: String| Error::Clips { path: path.into(), line, message };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|e| bad(0, e.to_string()))?;
    let header = reader.headers().map_err(|e| bad(1, e.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|h| h.trim_start_matches('\u{feff}') == name);
    let need = |name: &str| {
        column(name).ok_or_else(|| {
            let found: Vec<&str> = header.iter().collect();
            bad(1, format!("no column {name:?} (found: {}); expected clip,label,split,has_audio", found.join(",")))
        })
    };
    let (clip, label, split) = (need("clip")?, need("label")?, need("split")?);
    let has_audio = column("has_audio");
    let mut rows = Vec::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| {
            let line = e.position().map_or(0, |p| p.line());
            bad(line, e.to_string())
        })?;
        let line = record.position().map_or(0, |p| p.line());
        let field = |i: usize| record.get(i).unwrap_or_default().to_string();
        let row = Row {
            line,
            clip: field(clip),
            label: field(label),
            split: match field(split).as_str() {
                "train" => Split::Train,
                "val" => Split::Val,
                other => return Err(bad(line, format!("split {other:?} should be train or val"))),
            },
            has_audio: match has_audio.map(field).as_deref() {
                None => None,
                Some("true" | "1" | "yes") => Some(true),
                Some("false" | "0" | "no") => Some(false),
                Some(other) => return Err(bad(line, format!("has_audio {other:?} should be true or false"))),
            },
        };
        if row.clip.is_empty() {
            return Err(bad(line, "the clip has no name".into()));
        }
        if let Some(first) = seen.insert(row.clip.clone(), line) {
            return Err(bad(line, format!("clip {:?} stands twice, first on line {first}", row.clip)));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(bad(1, "no clips; one line for each clip should follow the header".into()));
    }
    Ok(rows)
}

/// Reads `clips.csv` of a data set and looks every label up among `classes`.
pub(super) fn read(path: &Path, classes: &[String]) -> Result<Vec<Clip>, Error> {
    let index: HashMap<&str, usize> = classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
    read_rows(path)?
        .into_iter()
        .map(|row| {
            let bad = |message: String| Error::Clips { path: path.into(), line: row.line, message };
            let label = *index.get(row.label.as_str()).ok_or_else(|| {
                let hint = crate::suggest::nearest(&row.label, classes);
                bad(format!(
                    "label {:?} of clip {:?} is not among the classes of dataset.yaml{hint}",
                    row.label, row.clip
                ))
            })?;
            let has_audio =
                row.has_audio.ok_or_else(|| bad("no has_audio column; every clip needs true or false".into()))?;
            Ok(Clip { name: row.clip, label, split: row.split, has_audio })
        })
        .collect()
}

/// Writes `clips.csv`.
pub(super) fn write(path: &Path, clips: &[Clip], classes: &[String]) -> Result<(), Error> {
    let fail = |e: csv::Error| Error::Io { path: path.into(), source: e.into() };
    let mut writer = csv::Writer::from_path(path).map_err(fail)?;
    writer.write_record(["clip", "label", "split", "has_audio"]).map_err(fail)?;
    for c in clips {
        let has_audio = if c.has_audio { "true" } else { "false" };
        writer.write_record([c.name.as_str(), &classes[c.label], c.split.name(), has_audio]).map_err(fail)?;
    }
    writer.flush().map_err(|source| Error::Io { path: path.into(), source })
}

/// Every split has clips, and every val class has train clips (nothing could be learned of it otherwise).
pub(super) fn check(path: &Path, clips: &[Clip], classes: &[String]) -> Result<(), Error> {
    let bad = |message: String| Error::Clips { path: path.into(), line: 0, message };
    let mut count = [vec![0usize; classes.len()], vec![0usize; classes.len()]];
    for c in clips {
        count[c.split as usize][c.label] += 1;
    }
    let [train, val] = count;
    for (split, counts) in [("train", &train), ("val", &val)] {
        if counts.iter().all(|&n| n == 0) {
            return Err(bad(format!("no {split} clips; both splits are needed")));
        }
    }
    for (class, (&train, &val)) in classes.iter().zip(train.iter().zip(&val)) {
        if train == 0 && val > 0 {
            return Err(bad(format!(
                "class {class:?} has {val} val clip(s) but no train clip; nothing could be learned of it"
            )));
        }
    }
    let present = train.iter().filter(|&&n| n > 0).count();
    if present < 2 {
        return Err(bad(format!("train clips of {present} class only; recognition needs at least 2")));
    }
    Ok(())
}
