//! LaTeX with booktabs and graphicx: no wider than the column, the best in bold, intervals beside the numbers, a label.

use super::exporter::{Cell, Document, Exporter, one_line, printed, skipped};
use crate::report::charts::svg::anchor;
use crate::report::table::EvaluatedTable;
use std::fmt::Write;

pub(super) struct Latex;

impl Exporter for Latex {
    fn write(&self, document: &Document) -> String {
        let mut out = String::from("% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n");
        for note in document.notes {
            let _ = writeln!(out, "% {}", one_line(note));
        }
        let tables: Vec<String> = document.tables.iter().map(|t| table(t, document)).collect();
        out + &tables.join("\n")
    }
}

fn table(table: &EvaluatedTable, document: &Document) -> String {
    let printed = printed(table);
    let environment = if document.wide { "table*" } else { "table" };
    let label = format!("tab:{}-{}", anchor(document.experiment), anchor(&table.id.to_string()));
    let mut out =
        format!("\\begin{{{environment}}}\n\\centering\n\\caption{{{}}}\n\\label{{{label}}}\n", escape(&table.title));
    // Shrunk to the column where it would be wider, and as large as the text where it is not.
    out += "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n";
    let _ = writeln!(out, "\\begin{{tabular}}{{l{}}}\n\\toprule", "r".repeat(printed.header.len() - 1));
    let mut rules = String::new();
    let mut first = 2;
    for (span, width) in &printed.spans {
        let _ = write!(out, " & \\multicolumn{{{width}}}{{c}}{{{}}}", escape(span));
        let _ = write!(rules, "\\cmidrule(lr){{{first}-{}}}", first + width - 1);
        first += width;
    }
    let _ = writeln!(out, " \\\\\n{rules}");
    let line = |cells: Vec<String>| cells.join(" & ") + " \\\\\n";
    out += &line(printed.header.iter().map(|h| escape(h)).collect());
    out += "\\midrule\n";
    for cells in &printed.lines {
        out += &line(cells.iter().map(cell).collect());
    }
    out += "\\bottomrule\n\\end{tabular}}\n";
    let mut below: Vec<String> = document.notes.iter().map(|n| escape(n)).collect();
    if printed.lines.iter().flatten().any(|c| c.best) {
        below.push("Bold: the best of a column, and what is not significantly worse.".into());
    }
    if !below.is_empty() {
        let _ = writeln!(out, "\\par\\smallskip{{\\footnotesize {}\\par}}", below.join(" "));
    }
    let _ = writeln!(out, "\\end{{{environment}}}");
    if let Some(why) = skipped(table) {
        let _ = writeln!(out, "% not there: {}", one_line(&why));
    }
    out
}

fn cell(cell: &Cell) -> String {
    let text = escape(&cell.text);
    let text = if cell.best { format!("\\textbf{{{text}}}") } else { text };
    match &cell.interval {
        Some(interval) => format!("{text} {{\\scriptsize {}}}", escape(interval)),
        None => text,
    }
}

/// Text that LaTeX sets as it stands. Brackets and stars are put in braces: at the beginning of a row they would be read as
/// arguments of the line break before.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in one_line(text).chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '\\' => out.push_str("\\textbackslash{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("\\textquotedblright{}"),
            '±' => out.push_str("$\\pm$"),
            '\u{2212}' => out.push_str("$-$"),
            '[' | ']' | '*' => out.extend(['{', c, '}']),
            // Marks of direction and the like, which pdfTeX does not know and nobody sees.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {}
            c => out.push(c),
        }
    }
    out
}
