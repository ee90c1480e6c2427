//! One YAML file with the place of every key and value, so that an error can point at what it is about.

use super::problem::Problem;
use super::{limits, unclosed};
use saphyr_parser::{Event, Parser, Span};
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where a key and its value stand, in bytes.
#[derive(Clone, Debug)]
struct Place {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

/// A parsed YAML file.
#[derive(Clone, Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
    places: BTreeMap<String, Place>,
    value: Value,
}

impl Document {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Document, Problem> {
        let told = |e: std::io::Error| Problem::of_file(path, crate::explain_io(&e));
        let mut text = String::new();
        // Opening a pipe would wait for somebody to write into it.
        if !std::fs::metadata(path).map_err(told)?.is_file() {
            return Err(Problem::of_file(path, "not a file"));
        }
        let file = std::fs::File::open(path).map_err(told)?;
        // One byte more than may be there, so that a file that is too large is known without its size.
        file.take(limits::BYTES + 1).read_to_string(&mut text).map_err(told)?;
        Document::parse(path, &text)
    }

    /// Parses text that is said to stand in `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Document, Problem> {
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() as u64 > limits::BYTES {
            let message = format!("more than {} bytes, which is the most that is read of a YAML file", limits::BYTES);
            return Err(Problem::of_file(path, message));
        }
        if let Some((at, message)) = limits::passed(text) {
            return Err(Problem::in_text(path, text, at..at, message));
        }
        let mut document =
            Document { path: path.into(), text: text.into(), places: BTreeMap::new(), value: Value::Null };
        document.value = serde_yaml::from_str(text).map_err(|e| {
            let (told, at) = (e.to_string(), e.location().map(|l| text.floor_char_boundary(l.index().min(text.len()))));
            match at.and_then(|at| unclosed::unclosed(text, at, &told)) {
                Some((opened, message)) => document.problem_in(Some(opened..opened + 1), message),
                None => document.problem_in(at.map(|at| at..at), strip_location(&told)),
            }
        })?;
        document.places = places(text);
        if let Err(path) = merge_keys(&mut document.value, "") {
            let message = "<<: a mapping, or a list of mappings, was expected to be merged";
            return Err(document.at(&path, message));
        }
        Ok(document)
    }

    /// `--set a.b=value` as a document of its own: `{a: {b: value}}`.
    pub fn of_set(setting: &str) -> Result<Document, Problem> {
        let path = Path::new("--set");
        let whole = |message: &str| {
            Problem::in_text(path, setting, 0..setting.len(), message)
                .help("--set takes KEY=VALUE, such as --set train.epochs=5 or --set 'grid.audio=[vggish]'")
        };
        if setting.len() as u64 > limits::BYTES {
            return Err(whole("longer than any YAML file may be"));
        }
        let (key, text) = setting.split_once('=').ok_or_else(|| whole("no '=' in it"))?;
        let keys: Vec<&str> = key.trim().split('.').collect();
        if keys.iter().any(|k| k.trim().is_empty()) {
            return Err(whole("the key is empty or has an empty part"));
        }
        if let Some((_, message)) = limits::passed(text).or_else(|| limits::passed_by_key(key)) {
            return Err(whole(&message));
        }
        let mut value: Value = serde_yaml::from_str(text).map_err(|e| whole(&strip_location(&e.to_string())))?;
        merge_keys(&mut value, "").map_err(|_| whole("<<: a mapping was expected to be merged"))?;
        let (start, end) = (key.len() + 1, setting.len());
        let mut places = BTreeMap::new();
        let mut joined = String::new();
        for k in &keys {
            joined = join(&joined, k.trim());
            places.insert(joined.clone(), Place { key: Some(0..key.len()), value: start..end });
        }
        // Keys and elements inside the value: it takes their place from the layers below.
        for (path, place) in self::places(text).into_iter().filter(|(path, _)| !path.is_empty()) {
            let path = if path.starts_with('[') { format!("{joined}{path}") } else { join(&joined, &path) };
            let moved = |range: Range<usize>| range.start + start..range.end + start;
            places.insert(path, Place { key: place.key.map(moved), value: moved(place.value) });
        }
        // A dotted key of `grid` is one axis: `--set grid.train.lr=[...]`.
        let value = if keys[0].trim() == "grid" && keys.len() > 2 {
            nest(&["grid", &key.trim()["grid.".len()..]], value)
        } else {
            nest(&keys.iter().map(|k| k.trim()).collect::<Vec<_>>(), value)
        };
        Ok(Document { path: path.into(), text: setting.into(), places, value })
    }

    /// The whole value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text as read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the file itself writes the key or element at `path` (`train.lr`, `seeds[1]`).
    pub fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// A problem with the value at `path`, or with the nearest thing around it that is there.
    pub fn at(&self, path: &str, message: impl Into<String>) -> Problem {
        let place = self.nearest(path).map(|p| p.value.clone());
        self.problem_in(place, message.into())
    }

    /// A problem with the key at `path` itself.
    pub fn at_key(&self, path: &str, message: impl Into<String>) -> Problem {
        let place = self.nearest(path).map(|p| p.key.clone().unwrap_or(p.value.clone()));
        self.problem_in(place, message.into())
    }

    fn nearest(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn problem_in(&self, range: Option<Range<usize>>, message: String) -> Problem {
        match range {
            Some(range) => Problem::in_text(&self.path, &self.text, range, message),
            None => Problem::of_file(&self.path, message),
        }
    }

    /// The text of the value at `path`, as it is written; `None` where the file itself does not write it.
    pub fn written(&self, path: &str) -> Option<&str> {
        self.text.get(self.places.get(path)?.value.clone())
    }
}

/// Puts the keys of what stands behind `<<` into the mapping around it, where that has none of its own of the same name; of
/// several the first counts. The path of a `<<` that is followed by anything else, if there is one.
fn merge_keys(value: &mut Value, path: &str) -> Result<(), String> {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map.iter_mut() {
                merge_keys(value, &join(path, key.as_str().unwrap_or_default()))?;
            }
            let Some(merged) = map.remove("<<") else { return Ok(()) };
            let merged = if let Value::Sequence(several) = merged { several } else { vec![merged] };
            for part in merged {
                let Value::Mapping(part) = part else { return Err(join(path, "<<")) };
                for (key, value) in part {
                    map.entry(key).or_insert(value);
                }
            }
            Ok(())
        }
        Value::Sequence(items) => {
            items.iter_mut().enumerate().try_for_each(|(i, item)| merge_keys(item, &format!("{path}[{i}]")))
        }
        _ => Ok(()),
    }
}

/// serde_yaml appends ` at line 3 column 4`; the place is told apart from the message here.
fn strip_location(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_string()
}

fn nest(keys: &[&str], value: Value) -> Value {
    keys.iter()
        .rev()
        .fold(value, |inner, key| Value::Mapping(std::iter::once((Value::String((*key).to_string()), inner)).collect()))
}

/// `a` and `b` make `a.b`.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.into() } else { format!("{parent}.{key}") }
}

/// The place of every key and element, by path.
fn places(text: &str) -> BTreeMap<String, Place> {
    // The parser counts characters; slices need bytes.
    let bytes: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let range = |span: Span| {
        let at = |index: usize| bytes[index.min(bytes.len() - 1)];
        let (start, end) = (at(span.start.index()), at(span.end.index()));
        start..end.max(start)
    };
    /// A container that is being read.
    struct Open {
        path: String,
        map: bool,
        next: usize,
        key: Option<(String, Range<usize>)>,
    }
    let mut found = BTreeMap::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        // The path that a value beginning here gets; `None` where a scalar is a key.
        let place = |open: &mut Vec<Open>| -> (String, Option<Range<usize>>) {
            match open.last_mut() {
                None => (String::new(), None),
                Some(o) if o.map => {
                    let (key, at) = o.key.take().unwrap_or_default();
                    (join(&o.path, &key), Some(at))
                }
                Some(o) => {
                    o.next += 1;
                    (format!("{}[{}]", o.path, o.next - 1), None)
                }
            }
        };
        match event {
            Event::Scalar(text, ..) => match open.last_mut() {
                Some(o) if o.map && o.key.is_none() => o.key = Some((text.into_owned(), range(span))),
                _ => {
                    let (path, key) = place(&mut open);
                    found.insert(path, Place { key, value: range(span) });
                }
            },
            Event::Alias(_) => {
                let (path, key) = place(&mut open);
                found.insert(path, Place { key, value: range(span) });
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                let map = matches!(event, Event::MappingStart(..));
                let (path, key) = place(&mut open);
                found.insert(path.clone(), Place { key, value: range(span) });
                open.push(Open { path, map, next: 0, key: None });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(o) = open.pop()
                    && let Some(place) = found.get_mut(&o.path)
                {
                    place.value.end = range(span).end.max(place.value.end);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_elements_are_found_again() {
        let text = "name: é\ntrain:\n  lr: 0.1\ngrid:\n  audio: [a, bc]\nrows:\n  - {x: 1}\n  - x: 2\n";
        let d = Document::parse(Path::new("f.yaml"), text).unwrap();
        let at = |path: &str| {
            let p = d.at(path, "m");
            (p.line, p.column)
        };
        assert_eq!(at("train.lr"), (3, 7));
        assert_eq!(at("grid.audio[1]"), (5, 14));
        assert_eq!(at("rows[1].x"), (8, 8));
        assert_eq!(at("train.nothing"), at("train"));
        let key = d.at_key("train.lr", "m");
        assert_eq!((key.line, key.column), (3, 3));
    }

    #[test]
    fn a_set_is_a_document() {
        let d = Document::of_set("train.lr=0.1").unwrap();
        assert_eq!(d.value()["train"]["lr"], Value::from(0.1));
        let d = Document::of_set("grid.train.lr=[1, 2]").unwrap();
        assert_eq!(d.value()["grid"]["train.lr"][1], Value::from(2));
        assert!(Document::of_set("train.lr").unwrap_err().to_string().contains("no '='"));
    }

    #[test]
    fn merge_keys_are_followed_and_what_cannot_be_merged_is_told() {
        let text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc:\n  <<: *b\n  z: 4\nd: {<<: [{x: 7}, *a]}\n";
        let d = Document::parse(Path::new("f.yaml"), text).unwrap();
        let json = serde_json::to_value(d.value()).unwrap();
        assert_eq!(json["c"], serde_json::json!({ "z": 4, "x": 1, "y": 3 }));
        assert_eq!(json["d"], serde_json::json!({ "x": 7, "y": 2 }));
        for text in ["c: {<<: 3}", "c: {<<: [3]}", "c: {<<: }"] {
            let p = Document::parse(Path::new("f.yaml"), text).unwrap_err();
            assert!(p.line == 1 && p.message.contains("merged"), "{text}: {p}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_or_too_deep_is_told_at_once() {
        let parse = |text: &str| Document::parse(Path::new("f.yaml"), text).unwrap_err();
        assert!(parse(&"x".repeat(2 << 20)).message.contains("1048576 bytes"));
        let p = parse(&format!("a: 1\nx: {}{}\n", "[".repeat(200_000), "]".repeat(200_000)));
        assert!(p.line == 2 && p.message.contains("32 deep") && p.to_string().len() < 1000, "{p}");
        let p = Document::of_set(&format!("x={}", "[".repeat(100_000))).unwrap_err();
        assert!(p.message.contains("32 deep") && p.to_string().len() < 1000, "{p}");
        assert!(Document::of_set(&format!("{}a=1", "a.".repeat(1000))).unwrap_err().message.contains("letters"));
    }
}
