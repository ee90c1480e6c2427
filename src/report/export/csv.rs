//! One line for each number.

use super::exporter::{Document, Exporter};
use crate::report::format::spreadsheet_safe;

pub(super) struct Csv;

const HEADER: [&str; 13] =
    ["table", "key", "row", "metric", "mean", "sd", "n", "published", "delta", "skipped", "low", "high", "verdict"];

impl Exporter for Csv {
    fn write(&self, document: &Document) -> String {
        // A column of its own says in what the numbers are not those that were declared; else there is none.
        let notes = (!document.notes.is_empty()).then(|| spreadsheet_safe(&document.notes.join(" ")));
        let mut lines =
            vec![HEADER.iter().map(|h| h.to_string()).chain(notes.iter().map(|_| "notes".into())).collect()];
        for e in document.entries() {
            let number = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
            let published = match e.published {
                Some(p) => p.to_string(),
                None => spreadsheet_safe(&e.published_text.clone().unwrap_or_default()),
            };
            let mut line: Vec<String> = vec![
                spreadsheet_safe(&e.table.to_string()),
                spreadsheet_safe(&e.key),
                spreadsheet_safe(&e.row),
                e.metric.word().into(),
                number(e.mean),
                number(e.sd),
                e.n.to_string(),
                published,
                number(e.delta),
                spreadsheet_safe(&e.skipped.clone().unwrap_or_default()),
                number(e.interval.map(|(low, _)| low)),
                number(e.interval.map(|(_, high)| high)),
                e.verdict.map(|v| v.words().replace(' ', "-")).unwrap_or_default(),
            ];
            line.extend(notes.clone());
            lines.push(line);
        }
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        for line in lines {
            // Writing to memory does not fail.
            let _ = writer.write_record(line);
        }
        String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
    }
}
