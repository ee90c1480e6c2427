//! `clips.csv`: one line for each clip, `clip,label,split,has_audio`.

use super::Error;
use super::manifest::plain_text;
use crate::csv_lines::{self, Header, Wrong};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The part of the data a clip belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Used to fit.
    Train,
    /// Used to choose, and to score where there is no test split.
    Val,
    /// Kept from fitting and choosing.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }

    /// What stands before the names of scores and numbers of its clips: nothing for val, `test/` for test.
    pub fn prefix(self) -> &'static str {
        match self {
            Split::Test => "test/",
            Split::Train | Split::Val => "",
        }
    }

    /// The split that scores or numbers of this name are of, and the name without its prefix: `test/generated` is
    /// `generated` of test clips.
    pub fn of_name(name: &str) -> (Split, &str) {
        match name.strip_prefix(Split::Test.prefix()) {
            Some(rest) => (Split::Test, rest),
            None => (Split::Val, name),
        }
    }

    /// Reads a split, by any of the names that data sets use.
    pub(super) fn parse(text: &str) -> Option<Split> {
        match text.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Split::Train),
            "val" | "valid" | "validation" | "dev" | "development" => Some(Split::Val),
            "test" | "testing" => Some(Split::Test),
            _ => None,
        }
    }
}

/// Reads yes or no as Python, R, spreadsheets and people write it.
fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
        "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// One video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// The clip's name, unique in its data set.
    pub name: String,
    /// Index into the manifest's classes.
    pub label: usize,
    /// Train, val or test.
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

/// The lines of a `clips.csv`, and its columns that mean nothing here.
#[derive(Debug)]
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub unused_columns: Vec<String>,
    /// The file's text, as it was read.
    pub text: String,
}

/// The columns that are read.
const COLUMNS: [&str; 4] = ["clip", "label", "split", "has_audio"];

/// Bytes of `clips.csv` that are read: some million clips.
const LARGEST_FILE: u64 = 1 << 30;

/// Reads the lines of a `clips.csv`; `has_audio` may be left out (in folders to import).
pub(super) fn read_rows(path: &Path) -> Result<Rows, Error> {
    let text = files::read_text(path, LARGEST_FILE).map_err(|source| Error::Io { path: path.into(), source })?;
    parse_rows(path, text)
}

pub(super) fn parse_rows(path: &Path, text: String) -> Result<Rows, Error> {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let begin = |header: &Header| {
        let need = |name| header.need(name, "clip,label,split,has_audio");
        let columns = (need("clip")?, need("label")?, need("split")?, header.column("has_audio"));
        Ok((columns, header.others(&COLUMNS), Vec::new()))
    };
    let read = csv_lines::read(&text, &COLUMNS, begin, |((clip, label, split, has_audio), _, rows), line, record| {
        let field = |i: usize| record.get(i).unwrap_or_default().to_string();
        let row = Row {
            line,
            clip: field(*clip),
            label: field(*label),
            split: Split::parse(&field(*split)).ok_or_else(|| {
                (line, format!("split {:?} should be train or val (or test, where there is one)", field(*split)))
            })?,
            has_audio: has_audio.map(|i| sounds(line, &field(i))).transpose()?,
        };
        if row.label.is_empty() {
            return Err((line, format!("clip {:?} has no label", row.clip)));
        }
        name_once(&mut seen, line, &row.clip)?;
        plain_text("label", &row.label).map_err(|message| (line, message))?;
        rows.push(row);
        Ok(())
    });
    let (_, unused_columns, rows) = read.map_err(told(path))?;
    if rows.is_empty() {
        return Err(told(path)(none()));
    }
    Ok(Rows { rows, unused_columns, text })
}

/// A complaint of [`csv_lines`] with its file.
fn told(path: &Path) -> impl Fn(Wrong) -> Error {
    move |(line, message)| Error::Clips { path: path.into(), line, message }
}

fn none() -> Wrong {
    (1, "no clips; one line for each clip should follow the header".into())
}

fn sounds(line: u64, text: &str) -> Result<bool, Wrong> {
    parse_bool(text).ok_or_else(|| (line, format!("has_audio {text:?} should be true or false")))
}

/// A clip has a name of one line, and no other has the same.
fn name_once(seen: &mut HashMap<String, u64>, line: u64, name: &str) -> Result<(), Wrong> {
    if name.is_empty() {
        return Err((line, "the clip has no name".into()));
    }
    plain_text("clip", name).map_err(|message| (line, message))?;
    match seen.insert(name.into(), line) {
        Some(first) => Err((line, format!("clip {name:?} stands twice, first on line {first}"))),
        None => Ok(()),
    }
}

/// A line of which all but the name may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlabelled {
    /// The clip's name.
    pub name: String,
    /// Its class, if anybody knows it.
    pub label: Option<String>,
    /// `train`, `val` or `test`, or what else somebody calls it.
    pub split: Option<String>,
    /// Whether the data set holds audio features of this clip.
    pub has_audio: bool,
}

/// Reads a `clips.csv` of which only the column `clip` has to be there.
pub(super) fn read_unlabelled(path: &Path) -> Result<Vec<Unlabelled>, Error> {
    let text = files::read_text(path, LARGEST_FILE).map_err(|source| Error::Io { path: path.into(), source })?;
    parse_unlabelled(path, &text)
}

pub(super) fn parse_unlabelled(path: &Path, text: &str) -> Result<Vec<Unlabelled>, Error> {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let begin = |header: &Header| {
        let clip = header.need("clip", "clip, and label,split,has_audio where they are known")?;
        Ok(([Some(clip), header.column("label"), header.column("split"), header.column("has_audio")], Vec::new()))
    };
    let read = csv_lines::read(text, &COLUMNS, begin, |(columns, clips), line, record| {
        let field = |i: usize| columns[i].and_then(|at| record.get(at)).filter(|t| !t.is_empty()).map(str::to_string);
        let name = field(0).unwrap_or_default();
        name_once(&mut seen, line, &name)?;
        let label = field(1);
        label.iter().try_for_each(|l| plain_text("label", l)).map_err(|message| (line, message))?;
        let split = field(2).map(|s| Split::parse(&s).map_or(s, |split| split.name().into()));
        let has_audio = field(3).map_or(Ok(false), |text| sounds(line, &text))?;
        clips.push(Unlabelled { name, label, split, has_audio });
        Ok(())
    });
    let (_, clips) = read.map_err(told(path))?;
    if clips.is_empty() { Err(told(path)(none())) } else { Ok(clips) }
}

/// Reads `clips.csv` of a data set and looks every label up among `classes`.
pub(super) fn read(path: &Path, classes: &[String]) -> Result<Vec<Clip>, Error> {
    let index: HashMap<&str, usize> = classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
    read_rows(path)?
        .rows
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
    let count = |split: Split| {
        let mut counts = vec![0usize; classes.len()];
        clips.iter().filter(|c| c.split == split).for_each(|c| counts[c.label] += 1);
        counts
    };
    let [train, val, test] = Split::ALL.map(count);
    let none = |counts: &[usize]| counts.iter().all(|&n| n == 0);
    for (split, counts) in [("train", &train), ("val", &val)] {
        if none(counts) {
            let hint = match none(&test) {
                true => "",
                false => "\n  next: call the clips val that choices are made on; test clips are kept for the end",
            };
            return Err(bad(format!("no {split} clips; both splits are needed{hint}")));
        }
    }
    for (split, counts) in [("val", &val), ("test", &test)] {
        let untrained = (0..classes.len()).find(|&k| train[k] == 0 && counts[k] > 0);
        if let Some(k) = untrained {
            return Err(bad(format!(
                "class {:?} has {} {split} clip(s) but no train clip; nothing could be learned of it",
                classes[k], counts[k]
            )));
        }
    }
    let present = train.iter().filter(|&&n| n > 0).count();
    if present < 2 {
        return Err(bad(format!("train clips of {present} class only; recognition needs at least 2")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Rows, String> {
        parse_rows(Path::new("clips.csv"), text.into()).map_err(|e| e.to_string())
    }

    #[test]
    fn splits_and_truths_are_read_as_people_write_them() {
        let text = "clip,label,split,has_audio\na,x,Training,True\nb,x,valid,FALSE\nc,x,dev,1\nd,x,validation,no\ne,x,test,1.0\n";
        let rows = parse(text).unwrap().rows;
        let splits: Vec<&str> = rows.iter().map(|r| r.split.name()).collect();
        assert_eq!(splits, ["train", "val", "val", "val", "test"]);
        let audio: Vec<bool> = rows.iter().filter_map(|r| r.has_audio).collect();
        assert_eq!(audio, [true, false, true, false, true]);
    }

    #[test]
    fn of_clips_without_labels_the_name_alone_has_to_be_there() {
        let parse = |text: &str| parse_unlabelled(Path::new("clips.csv"), text).map_err(|e| e.to_string());
        let clips = parse("split,clip,has_audio,label\nvalidation,a,True,x\n,b,,\nholdout,c,0,\n").unwrap();
        let shown: Vec<_> = clips.iter().map(|c| (c.split.as_deref(), c.label.as_deref(), c.has_audio)).collect();
        assert_eq!(shown, [(Some("val"), Some("x"), true), (None, None, false), (Some("holdout"), None, false)]);
        assert_eq!(parse("clip\na\nb\n").unwrap().len(), 2);
        for (text, says) in [
            ("clip,clip\na,b\n", "\"clip\" stands twice"),
            ("clip,label,label\na,x,y\n", "\"label\" stands twice"),
            ("Clip\na\n", "\"Clip\" should be called \"clip\""),
            ("clip;label\na;x\n", "separated by \";\""),
            ("clip,remark\na,\"loud\nb,\nc,\n", "closes 3 lines further on"),
            ("clip,has_audio\na,perhaps\n", "should be true or false"),
            ("clip\na\na\n", "stands twice, first on line 2"),
            ("clip\na\u{1b}[2J\n", "control character"),
            ("label\nx\n", "no column \"clip\""),
            ("clip\n", "no clips"),
        ] {
            assert!(parse(text).unwrap_err().contains(says), "{text:?}: {}", parse(text).unwrap_err());
        }
    }

    #[test]
    fn what_would_change_meaning_in_silence_is_refused() {
        for (text, says) in [
            ("clip,label,split,label\na,x,train,y\n", "\"label\" stands twice"),
            ("clip,label,split,Has-Audio\na,x,train,false\n", "\"Has-Audio\" should be called \"has_audio\""),
            ("clip;label;split\na;x;train\n", "separated by \";\""),
            ("clip,label,split,remark\na,x,train,\"loud\nb,x,train,\nc,x,val,\n", "closes 3 lines further on"),
            ("clip,label,split\n\"a\nb\",x,train\n", "clips.csv:2"),
            ("clip,label,split\na\u{1b}[2J,x,train\n", "control character"),
            ("clip,label,split\na,,train\n", "\"a\" has no label"),
            ("clip,label,split\na,x,trian\n", "\"trian\" should be train or val"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
        assert_eq!(parse("clip,label,split,remark\na,x,train,loud\n").unwrap().unused_columns, ["remark"]);
    }
}
