//! One YAML file with the place of every key and value, so that an error can point at what it is about.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use saphyr_parser::{Event, Parser, Span};
use serde_yaml::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A message about a place in a YAML file.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The file, or `--set`.
    pub file: PathBuf,
    /// Line, from 1; 0 where no place is known.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, if anything is near.
    pub help: Option<String>,
    excerpt: Option<Box<(String, Range<usize>)>>,
}

impl Problem {
    /// A problem with a file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Problem {
        Problem { file: file.into(), line: 0, column: 0, message: message.into(), help: None, excerpt: None }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// Adds `did you mean ...?` where one of `valid` is near.
    pub fn suggest<S: AsRef<str>>(self, wrong: &str, valid: &[S]) -> Problem {
        let hint = crate::suggest::nearest(wrong, valid);
        match hint.strip_prefix("; ") {
            Some(hint) => self.help(hint),
            None => self,
        }
    }
}

impl std::error::Error for Problem {}

impl std::fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: message`, the lines around it, and the help.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.file.display().to_string();
        if self.line == 0 {
            write!(f, "{path}: {}", self.message)?;
            return self.help.as_ref().map_or(Ok(()), |help| write!(f, "\n  help: {help}"));
        }
        writeln!(f, "{path}:{}:{}: {}", self.line, self.column, self.message)?;
        let Some((source, range)) = self.excerpt.as_deref() else { return Ok(()) };
        let snippet = Snippet::source(source).path(&path).annotation(AnnotationKind::Primary.span(range.clone()));
        let mut group = Group::with_title(Level::ERROR.primary_title(&self.message)).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let drawn = Renderer::plain().render(&[group]);
        let body = drawn.split_once('\n').map_or("", |(_, body)| body);
        write!(f, "{}", body.trim_end())
    }
}

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
        let text = std::fs::read_to_string(path).map_err(|e| Problem::of_file(path, crate::explain_io(&e)))?;
        Document::parse(path, &text)
    }

    /// Parses text that is said to stand in `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Document, Problem> {
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut document =
            Document { path: path.into(), text: text.into(), places: BTreeMap::new(), value: Value::Null };
        document.value = serde_yaml::from_str(text).map_err(|e| {
            let at = e.location().map(|l| text.floor_char_boundary(l.index().min(text.len())));
            document.problem_in(at.map(|at| at..at), strip_location(&e.to_string()))
        })?;
        document.places = places(text);
        Ok(document)
    }

    /// `--set a.b=value` as a document of its own: `{a: {b: value}}`.
    pub fn of_set(setting: &str) -> Result<Document, Problem> {
        let path = Path::new("--set");
        let whole = |message: &str| Problem {
            file: path.into(),
            line: 1,
            column: 1,
            message: message.into(),
            help: Some("--set takes KEY=VALUE, such as --set train.epochs=5 or --set 'grid.audio=[vggish]'".into()),
            excerpt: Some(Box::new((setting.to_string(), 0..setting.len()))),
        };
        let (key, text) = setting.split_once('=').ok_or_else(|| whole("no '=' in it"))?;
        let keys: Vec<&str> = key.trim().split('.').collect();
        if keys.iter().any(|k| k.trim().is_empty()) {
            return Err(whole("the key is empty or has an empty part"));
        }
        let value: Value = serde_yaml::from_str(text).map_err(|e| whole(&strip_location(&e.to_string())))?;
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
        let Some(range) = range else { return Problem::of_file(&self.path, message) };
        let before = &self.text[..range.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        // A block's range runs over many lines; pointing at its first line says enough.
        let first = self.text[range.clone()].lines().next().unwrap_or("").trim_end().len();
        let range = range.start..range.start + first;
        Problem {
            file: self.path.clone(),
            line,
            column,
            message,
            help: None,
            excerpt: Some(Box::new((self.text.clone(), range))),
        }
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
    fn broken_yaml_is_placed() {
        let p = Document::parse(Path::new("f.yaml"), "a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(p.line >= 2, "{p}");
    }
}
