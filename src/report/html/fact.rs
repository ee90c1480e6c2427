//! A fact of a list: a name and what is known.

use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
pub(super) struct Fact {
    name: String,
    value: String,
}

pub(super) fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

/// A JSON value as one would write it.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
