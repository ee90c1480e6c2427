//! Tables as GitHub's Markdown has them.

use super::exporter::{Document, Exporter, one_line, printed, skipped};
use crate::report::table::EvaluatedTable;

pub(super) struct Markdown;

impl Exporter for Markdown {
    fn write(&self, document: &Document) -> String {
        let notes: String = document.notes.iter().map(|note| format!("> {}\n\n", escape(note))).collect();
        notes + &document.tables.iter().map(table).collect::<Vec<_>>().join("\n")
    }
}

fn table(table: &EvaluatedTable) -> String {
    let printed = printed(table);
    // Markdown has no headings over several columns.
    let mut header = vec![printed.header[0].clone()];
    let mut below = printed.header.iter().skip(1);
    for (span, width) in &printed.spans {
        for (i, name) in below.by_ref().take(*width).enumerate() {
            header.push(if i == 0 { format!("{span}: {name}") } else { name.clone() });
        }
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = format!("## Table {}. {}\n\n", escape(&table.id.to_string()), escape(&table.title));
    out += &line(header.iter().map(|h| escape(h)).collect());
    out += &format!("|{}\n", "---|".repeat(header.len()));
    for cells in &printed.lines {
        out += &line(cells.iter().map(|c| escape(&c.text)).collect());
    }
    if let Some(why) = skipped(table) {
        out += &format!("\nNot there: {}.\n", escape(&why));
    }
    out
}

/// Text that neither ends a cell nor is read as markup.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in one_line(text).chars() {
        match c {
            '|' | '\\' | '*' | '`' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            c => out.push(c),
        }
    }
    out
}
