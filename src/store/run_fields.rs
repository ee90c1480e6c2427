//! What a run can be filtered, sorted and shown by: its parts, its configuration, its numbers; each as SQL and in Rust.

use super::records::{RunRecord, State};
use crate::experiment::config::{self, Architecture, Classifier, Control, Loss};
use serde_json::{Value, json};

/// A name that [`Names`] knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Name {
    /// A column of `run`, or an expression over it.
    Field(&'static Field),
    /// A key of the configuration that the run's numbers depend on: `train.lr`.
    Key(String),
    /// A key of the simulated silence: `missing.rate`.
    Missing(String),
    /// A number about the whole run: `top1`, `r2/silent`.
    Value(String),
    /// The experiments that a run belongs to; only to filter by.
    Experiment,
    /// A word that somebody put on a run: `tag=good` finds those that have it among others.
    Tag,
}

/// A field of every run.
#[derive(Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its SQL.
    pub(super) sql: &'static str,
    /// Whether it is a number.
    pub(super) number: bool,
}

const fn text(name: &'static str, sql: &'static str) -> Field {
    Field { name, sql, number: false }
}

const fn number(name: &'static str, sql: &'static str) -> Field {
    Field { name, sql, number: true }
}

/// The fields, in the order of exports.
pub static FIELDS: &[Field] = &[
    text("id", "run.id"),
    text("kind", "run.kind"),
    text("key", "run.key"),
    text("audio", "json_extract(run.spec, '$.part.audio')"),
    text(
        "generator",
        "coalesce(json_extract(run.spec, '$.part.generator'), 'external:' || json_extract(run.spec, '$.part.external'))",
    ),
    text("loss", "json_extract(run.spec, '$.part.loss')"),
    text("classifier", "json_extract(run.spec, '$.part.classifier')"),
    text("control", "json_extract(run.spec, '$.part.control')"),
    text("stream", "json_extract(run.spec, '$.part.stream')"),
    number("seed", "run.seed"),
    text("state", "run.state"),
    number("attempt", "run.attempt"),
    text("dataset", "(SELECT d.name FROM view v JOIN dataset d ON d.id = v.dataset_id WHERE v.id = run.view_id)"),
    text("code", "json_extract(run.spec, '$.code')"),
    text("host", "run.host"),
    text("created", "run.created_at"),
    text("started", "run.started_at"),
    text("finished", "run.finished_at"),
    number("seconds", "run.seconds"),
    number("memory", "run.peak_memory"),
    text("error", "run.error"),
    text("accepted_from", "run.accepted_from"),
    text("tags", "(SELECT group_concat(g.name, ' ') FROM tag g WHERE g.run_id = run.id)"),
    text("note", "(SELECT group_concat(n.text, '; ') FROM note n WHERE n.run_id = run.id)"),
];

/// Numbers that runs leave, known before the first one is done.
const USUAL_VALUES: &[&str] = &[
    "top1",
    "top1/sounded",
    "top1/silent",
    "top1/silent_train",
    "top5",
    "top5/sounded",
    "top5/silent",
    "r2/silent",
    "r2/sounded",
    "mse/silent",
    "mse/sounded",
    "cosine/silent",
    "cosine/sounded",
    "parameters",
    "duality_gap",
    "loss",
];

fn is_field(name: &str) -> bool {
    FIELDS.iter().any(|f| f.name == name)
}

/// The words a field can have, where they are few.
pub(super) fn words(field: &Field) -> Option<Vec<&'static str>> {
    match field.name {
        "generator" => Some(Architecture::words()),
        "loss" => Some(Loss::words()),
        "classifier" => Some(Classifier::words()),
        "control" => Some(Control::words()),
        "kind" => Some(vec!["stream", "bank", "generator", "external", "control"]),
        "state" => {
            let states = [State::Pending, State::Running, State::Done, State::Failed, State::Interrupted];
            Some(states.map(State::word).to_vec())
        }
        _ => None,
    }
}

/// The names that mean something in one store.
#[derive(Clone, Debug)]
pub struct Names {
    values: Vec<String>,
    keys: Vec<String>,
}

impl Names {
    /// With the values that a store has.
    pub fn new(values: Vec<String>) -> Names {
        let mut defaults = json!({
            "train": config::Train::default(),
            "svm": config::Svm::default(),
            "tsn": config::Tsn::default(),
            "knn": config::Knn::default(),
            "ridge": config::Ridge::default(),
            "match_generated": null,
        });
        for which in Architecture::ALL {
            defaults[which.word()] = which.with_defaults().to_json();
        }
        let keys = flatten(&defaults).into_iter().map(|(key, _)| key).collect();
        Names { values, keys }
    }

    /// What a name stands for; else what might have been meant.
    pub fn resolve(&self, name: &str) -> Result<Name, String> {
        if let Some(field) = FIELDS.iter().find(|f| f.name == name) {
            return Ok(Name::Field(field));
        }
        let value = name.strip_prefix("value.").unwrap_or(name);
        if self.values.iter().any(|v| v == value) || USUAL_VALUES.contains(&value) {
            return Ok(Name::Value(value.into()));
        }
        if self.keys.iter().any(|k| k == name) {
            return Ok(Name::Key(name.into()));
        }
        match name {
            "missing.rate" | "missing.by" | "missing.seed" => Ok(Name::Missing(name["missing.".len()..].into())),
            "experiment" => Ok(Name::Experiment),
            "tag" => Ok(Name::Tag),
            _ => Err(format!("{name:?} is not known{}", self.nearest(name))),
        }
    }

    fn nearest(&self, name: &str) -> String {
        let fields = FIELDS.iter().map(|f| f.name);
        let mut all: Vec<&str> =
            fields.chain(["experiment", "tag", "missing.rate", "missing.by", "missing.seed"]).collect();
        all.extend(self.values.iter().chain(&self.keys).map(String::as_str));
        all.extend(USUAL_VALUES);
        match crate::suggest::closest(name, &all) {
            Some(near) => format!("; did you mean {near:?}?"),
            None => {
                let some: Vec<&str> = FIELDS.iter().map(|f| f.name).chain(["top1", "top5"]).collect();
                format!("; known: {}, any other number of a run, any key such as train.lr", some.join(", "))
            }
        }
    }
}

impl Name {
    /// As it is written.
    pub fn text(&self) -> String {
        match self {
            Name::Field(field) => field.name.into(),
            Name::Key(key) => key.clone(),
            Name::Missing(key) => format!("missing.{key}"),
            // `loss` is an axis of the grid; the number of that name is `value.loss`.
            Name::Value(name) if is_field(name) => format!("value.{name}"),
            Name::Value(name) => name.clone(),
            Name::Experiment => "experiment".into(),
            Name::Tag => "tag".into(),
        }
    }

    /// What a run has under it; null where it has nothing.
    pub fn of(&self, run: &RunRecord) -> Value {
        match self {
            Name::Value(name) => run.values.get(name).map_or(Value::Null, |v| json!(v)),
            Name::Key(key) => run.spec.pointer(&format!("/{}", key.replace('.', "/"))).cloned().unwrap_or_default(),
            Name::Missing(key) => run.missing.get(key).cloned().unwrap_or_default(),
            Name::Experiment | Name::Tag => Value::Null,
            Name::Field(field) => match field.name {
                "id" => json!(run.id),
                "kind" => json!(run.kind),
                "key" => json!(run.key),
                "seed" => json!(run.seed),
                "state" => json!(run.state),
                "attempt" => json!(run.attempt),
                "dataset" => json!(run.dataset),
                "code" => run.spec["code"].clone(),
                "host" => json!(run.host),
                "created" => json!(run.created_at),
                "started" => json!(run.started_at),
                "finished" => json!(run.finished_at),
                "seconds" => json!(run.seconds),
                "memory" => json!(run.peak_memory),
                "error" => json!(run.error),
                "accepted_from" => json!(run.accepted_from),
                "tags" if run.tags.is_empty() => Value::Null,
                "tags" => json!(run.tags.join(" ")),
                "note" if run.notes.is_empty() => Value::Null,
                "note" => json!(run.notes.join("; ")),
                part => run.spec["part"].get(part).cloned().unwrap_or_default(),
            },
        }
    }

    /// As an SQL expression over `run`; a value is a subquery.
    pub(super) fn sql(&self) -> String {
        // Keys and value names come from closed lists or from the store, and are quoted none the less.
        let quoted = |text: &str| text.replace('\'', "''");
        match self {
            Name::Field(field) => field.sql.into(),
            Name::Key(key) => format!("json_extract(run.spec, '$.{}')", quoted(key)),
            Name::Missing(key) => {
                format!("(SELECT json_extract(v.missing, '$.{}') FROM view v WHERE v.id = run.view_id)", quoted(key))
            }
            Name::Value(name) => {
                format!("(SELECT x.value FROM value x WHERE x.run_id = run.id AND x.name = '{}')", quoted(name))
            }
            Name::Experiment => "NULL".into(),
            Name::Tag => "(SELECT min(g.name) FROM tag g WHERE g.run_id = run.id)".into(),
        }
    }
}

/// The leaves of a JSON value by dotted path; lists count as leaves.
pub fn flatten(value: &Value) -> Vec<(String, Value)> {
    fn walk(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    walk(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, out);
                }
            }
            leaf => out.push((path.into(), leaf.clone())),
        }
    }
    let mut out = Vec::new();
    walk("", value, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fields_values_or_keys_and_others_are_told_the_nearest() {
        let names = Names::new(vec!["warmth/silent".into()]);
        assert_eq!(names.resolve("train.lr"), Ok(Name::Key("train.lr".into())));
        assert_eq!(names.resolve("missing.rate"), Ok(Name::Missing("rate".into())));
        assert_eq!(names.resolve("value.loss"), Ok(Name::Value("loss".into())));
        assert_eq!(Name::Value("loss".into()).text(), "value.loss");
        assert_eq!(names.resolve("warmth/silent"), Ok(Name::Value("warmth/silent".into())));
        assert!(matches!(names.resolve("loss"), Ok(Name::Field(f)) if f.name == "loss"));
        assert_eq!(names.resolve("generatr").unwrap_err(), "\"generatr\" is not known; did you mean \"generator\"?");
        assert!(names.resolve("zzz").unwrap_err().contains("known: id, kind"));
    }
}
