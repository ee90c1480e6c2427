//! Documents laid over each other: `extends` first, the folder's own file over it, `--set` on top.

use super::problem::Problem;
use super::yaml::{Document, join};
use serde::de::DeserializeOwned;
use serde_yaml::Value;

/// The merged value and the documents it came from, bottom first.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Never empty: the first one is what `new` was given, or nothing at all in its place.
    documents: Vec<Document>,
    /// Mappings merged key by key; anything else replaced by the layer above.
    pub value: Value,
}

impl Layers {
    /// Lays documents over each other.
    pub fn new(documents: Vec<Document>) -> Layers {
        let mut value = Value::Null;
        for document in &documents {
            merge(&mut value, document.value());
        }
        Layers { documents, value }
    }

    /// Adds one on top.
    pub fn push(&mut self, document: Document) {
        merge(&mut self.value, document.value());
        self.documents.push(document);
    }

    /// The documents, bottom first.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// Fails where a key with nothing behind it would put a section that a document below fills back to the defaults, as when all
    /// its lines are commented out. `without` names sections that may be taken away like this.
    pub(super) fn emptied(&self, without: &[&str]) -> Result<(), Problem> {
        fn find(below: &Value, above: &Value, path: &str) -> Option<String> {
            let (Value::Mapping(below), Value::Mapping(above)) = (below, above) else {
                return (below.is_mapping() && above.is_null()).then(|| path.to_string());
            };
            let shared = above.iter().filter_map(|(key, value)| Some((key.as_str()?, below.get(key)?, value)));
            shared.map(|(key, below, above)| find(below, above, &join(path, key))).find_map(|found| found)
        }
        let mut below = Value::Null;
        for document in &self.documents {
            if let Some(path) = find(&below, document.value(), "").filter(|path| !without.contains(&path.as_str())) {
                let message =
                    format!("{path}: nothing is given, which would put what is inherited back to the defaults");
                return Err(document.at_key(&path, message).help("leave the key out, or give its keys"));
            }
            merge(&mut below, document.value());
        }
        Ok(())
    }

    /// The value at `path` as it is written in the document that has the last word on it.
    pub(super) fn written(&self, path: &str) -> Option<&str> {
        self.documents.iter().rev().find_map(|document| document.written(path))
    }

    /// The values of a dotted key of `grid` or of any other section in all documents, the bottom one first.
    pub(super) fn below(&self, path: &str) -> impl Iterator<Item = &Value> {
        let (section, key) = path.split_once('.').unwrap_or((path, ""));
        let (section, key) = (section.to_string(), key.to_string());
        self.documents.iter().filter_map(move |d| d.value().get(section.as_str())?.get(key.as_str()))
    }

    /// A problem with the value at `path`, told in the document that has the last word on it.
    pub fn at(&self, path: &str, message: impl Into<String>) -> Problem {
        self.owner(path).at(path, message)
    }

    /// A problem with the key at `path`.
    pub fn at_key(&self, path: &str, message: impl Into<String>) -> Problem {
        self.owner(path).at_key(path, message)
    }

    fn owner(&self, path: &str) -> &Document {
        let mut path = path;
        loop {
            if let Some(document) = self.documents.iter().rev().find(|d| d.has(path)) {
                return document;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return &self.documents[self.documents.len() - 1],
            }
        }
    }

    /// Turns the merged value into `T`; an unknown key or a wrong type is told at its place, with the nearest name.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_path_to_error::deserialize(self.value.clone()).map_err(|e| {
            let path = e.path().to_string();
            let path = if path == "." { String::new() } else { path };
            let message = e.inner().to_string();
            match unknown(&message) {
                Some((wrong, valid)) if message.starts_with("unknown field") => {
                    let named = path == wrong || path.ends_with(&format!(".{wrong}"));
                    let key = if named { path } else { join(&path, &wrong) };
                    self.at_key(&key, format!("unknown key {wrong:?}")).suggest(&wrong, &valid)
                }
                Some((wrong, valid)) => self.at(&path, format!("{wrong:?} is not known here")).suggest(&wrong, &valid),
                None if path.is_empty() => self.at(&path, plain(&message)),
                None => self.at(&path, format!("{path}: {}", plain(&message))),
            }
        })
    }
}

/// Takes "unknown field `lrr`, expected one of `lr`, `batch`" apart (and the same of a variant).
fn unknown(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut quoted = rest.split('`').skip(1).step_by(2).map(str::to_string);
    Some((quoted.next()?, quoted.collect()))
}

/// serde's words for types, in words for somebody who writes YAML.
pub(super) fn plain(message: &str) -> String {
    let mut message = message.to_string();
    for (theirs, ours) in [
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected keys and values"),
        ("invalid type: unit value", "nothing is given"),
        ("invalid type: sequence", "invalid type: a list"),
        ("invalid type: map", "invalid type: keys and values"),
    ] {
        message = message.replace(theirs, ours);
    }
    match message.find("expected struct ") {
        Some(at) => format!("{}expected keys and values", &message[..at]),
        None => message,
    }
}

fn merge(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Mapping(below), Value::Mapping(above)) => {
            for (key, value) in above {
                match below.get_mut(key) {
                    Some(old) => merge(old, value),
                    None => {
                        below.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (below, above) => *below = above.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::path::Path;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Train {
        #[allow(dead_code)]
        epochs: usize,
        #[allow(dead_code)]
        batch: usize,
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[allow(dead_code)]
        train: Train,
    }

    fn layers(texts: &[&str]) -> Layers {
        let documents = texts.iter().map(|t| Document::parse(Path::new("experiment.yaml"), t).unwrap()).collect();
        Layers::new(documents)
    }

    #[test]
    fn the_top_layer_wins_key_by_key() {
        let l = layers(&["train: {epochs: 1, batch: 2}", "train: {epochs: 3}"]);
        let c: Config = l.read().unwrap();
        assert_eq!((c.train.epochs, c.train.batch), (3, 2));
    }

    #[test]
    fn a_key_with_nothing_behind_it_resets_nothing_in_silence() {
        let below = "train: {epochs: 1, batch: 2}\nfusion: {weights: {rgb: 2}}\nmissing: {rate: 0.4}\n";
        for (above, line) in [("name: x\ntrain:\n# epochs: 5\n", 2), ("fusion:\n  weights:\n", 2), ("train: null", 1)] {
            let p = layers(&[below, above]).emptied(&["missing"]).unwrap_err();
            assert!(p.message.contains("nothing is given") && p.line == line, "{above:?}: {p}");
        }
        for above in ["missing:\n", "knn:\n", "train: {epochs: 3}", "{}"] {
            assert!(layers(&[below, above]).emptied(&["missing"]).is_ok(), "{above}");
        }
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_placed_in_their_own_layer() {
        let p = layers(&["train: {epochs: 1, batch: 2}", "train:\n  epoch: 3\n"]).read::<Config>().unwrap_err();
        assert_eq!((p.line, p.column), (2, 3), "{p}");
        assert!(p.to_string().contains("did you mean \"epochs\"?"), "{p}");
        let p = layers(&["train: {epochs: 1, batch: 2}", "\ntrain:\n  batch: many\n"]).read::<Config>().unwrap_err();
        assert_eq!((p.line, p.column), (3, 10), "{p}");
    }
}
