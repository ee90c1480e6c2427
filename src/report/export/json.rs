//! A list of objects, one for each number.

use super::exporter::{Document, Exporter};
use serde_json::Value;

pub(super) struct Json;

impl Exporter for Json {
    fn write(&self, document: &Document) -> String {
        if document.notes.is_empty() {
            let all: Vec<_> = document.entries().collect();
            return serde_json::to_string_pretty(&all).unwrap_or_default() + "\n";
        }
        let noted = |entry| {
            let mut value = serde_json::to_value(entry).unwrap_or_default();
            if let Some(object) = value.as_object_mut() {
                object.insert("notes".into(), document.notes.into());
            }
            value
        };
        let all: Vec<Value> = document.entries().map(noted).collect();
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }
}
