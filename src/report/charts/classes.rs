//! What stands behind the table of most improved classes: the difference of every class, the top ones named.

use super::svg::{anchor, bars};
use crate::report::table::EvaluatedTable;
use serde_json::{Value, json};

/// One figure for each column of each table of classes: `{id, title, svg, csv}`.
pub fn figures(tables: &[EvaluatedTable]) -> Vec<Value> {
    let mut out = Vec::new();
    for table in tables {
        for (i, row) in table.rows.iter().enumerate() {
            let id = format!("classes-{}-{i}", anchor(&table.id.to_string()));
            let title = format!("{}: per-class top-1 difference of all {} classes", row.row, row.gains.len());
            let Some(svg) = bars(&id, &title, &row.gains, row.entries.len(), (640.0, 170.0)) else { continue };
            let mut csv = String::from("class,difference");
            for (class, gain) in &row.gains {
                csv += &format!("\n{},{gain:.4}", quoted(class));
            }
            out.push(json!({ "id": id, "title": row.row, "svg": svg, "csv": csv }));
        }
    }
    out
}

/// A name as a field of CSV.
fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.into() }
}
