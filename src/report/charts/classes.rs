//! What stands behind the table of most improved classes: the difference of every class, the top ones named.

use super::svg::{anchor, bars};
use super::track::{Line, Scale};
use crate::report::format::{signed, spreadsheet_safe};
use crate::report::table::EvaluatedTable;
use serde_json::{Value, json};

/// Classes that are all named, a line each; more are drawn as bars, with the first and last named.
const NAMED: usize = 30;
/// Of more classes: named at either end.
const ENDS: usize = 12;

/// One figure for each column of each table of classes: `{id, title, svg, dots, csv}`.
pub fn figures(tables: &[EvaluatedTable]) -> Vec<Value> {
    let mut out = Vec::new();
    for table in tables {
        // One scale for all columns of a table.
        let scale = Scale::over(table.rows.iter().flat_map(|r| &r.gains).map(|(_, gain)| *gain).chain([0.0]));
        for (i, row) in table.rows.iter().enumerate().filter(|(_, row)| !row.gains.is_empty()) {
            let id = format!("classes-{}-{i}", anchor(&table.id.to_string()));
            let all = row.gains.len();
            let title = format!("{}: per-class top-1 difference of all {all} classes", row.row);
            let svg = (all > NAMED).then(|| bars(&id, &title, &row.gains, row.entries.len(), (640.0, 170.0))).flatten();
            let line = |(rank, (class, gain)): (usize, &(String, f64))| {
                scale.bar(&Line {
                    name: class.clone(),
                    class: if *gain < 0.0 { "fails".into() } else { "holds".into() },
                    at: *gain,
                    strong: rank < row.entries.len(),
                    value: signed(*gain, 1),
                    ..Line::default()
                })
            };
            let named = |(rank, _): &(usize, &(String, f64))| all <= NAMED || *rank < ENDS || *rank + ENDS >= all;
            let lines: Vec<Value> = row.gains.iter().enumerate().filter(named).map(line).collect();
            let mut csv = String::from("class,difference");
            for (class, gain) in &row.gains {
                csv += &format!("\n{},{gain:.4}", quoted(&spreadsheet_safe(class)));
            }
            let left_out = all - lines.len();
            out.push(json!({
                "id": id, "title": row.row, "svg": svg, "csv": csv, "left_out": left_out,
                "dots": { "rows": lines, "axis": scale.axis(), "reference": scale.zero() },
            }));
        }
    }
    out
}

/// A name as a field of CSV.
fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.into() }
}
