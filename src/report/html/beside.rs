//! Another store's numbers beside ours.

use crate::experiment::tables::TableKind;
use crate::report::evaluate::evaluate_at;
use crate::report::format::{mean_sd, signed};
use crate::report::results::Results;
use crate::report::table::EvaluatedTable;
use crate::store::{Error, ExperimentRecord, Store};
use serde_json::{Value, json};

/// Rows that have a number in either store.
pub(super) fn beside(ours: &[EvaluatedTable], store: &Store, record: &ExperimentRecord) -> Result<Value, Error> {
    let results = Results::new(store, record)?;
    let theirs = evaluate_at(&results, &record.tables)?;
    let (mut same, mut both) = (0, 0);
    let mut tables = Vec::new();
    for a in ours.iter().filter(|t| t.kind != TableKind::Improvement) {
        let Some(b) = theirs.iter().find(|t| t.id == a.id) else { continue };
        let mut rows = Vec::new();
        for row in &a.rows {
            let Some(other) = b.rows.iter().find(|r| r.key == row.key) else { continue };
            let mut cells = Vec::new();
            for (x, y) in row.entries.iter().zip(&other.entries) {
                let difference = x.mean.zip(y.mean).map(|(x, y)| y - x);
                both += usize::from(difference.is_some());
                same += usize::from(difference == Some(0.0) && x.values == y.values);
                cells.push(json!({
                    "ours": mean_sd(x).unwrap_or_else(|| "–".into()),
                    "theirs": mean_sd(y).unwrap_or_else(|| "–".into()),
                    "difference": difference.map_or_else(|| "–".into(), |d| signed(d, x.metric.decimals())),
                }));
            }
            if row.entries.iter().chain(&other.entries).any(|e| e.mean.is_some()) {
                rows.push(json!({ "name": row.full_name(), "cells": cells }));
            }
        }
        if !rows.is_empty() {
            tables.push(json!({ "id": a.id.to_string(), "title": a.title, "columns": a.columns, "rows": rows }));
        }
    }
    let m = &results.dataset.manifest;
    let fingerprint = &results.dataset.fingerprint;
    let name = store.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(json!({
        "name": name,
        "dataset": format!("{} ({})", m.name, fingerprint.get(..12).unwrap_or(fingerprint)),
        "sets": record.sets.join(", "),
        "same": same,
        "both": both,
        "tables": tables,
    }))
}
