//! The tables for other programs: JSON and CSV with one line a number, Markdown and LaTeX as they would be printed.

use super::evaluate::{Entry, EvaluatedTable};
use super::format::{decimals, mean_sd, signed};

/// How to write tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A list of objects, one for each number.
    Json,
    /// One line for each number.
    Csv,
    /// Markdown.
    Md,
    /// LaTeX with booktabs.
    Latex,
}

/// Writes the tables.
pub fn tables(tables: &[EvaluatedTable], format: Format) -> String {
    match format {
        Format::Json => {
            let all: Vec<&Entry> = entries(tables).map(|(_, e)| e).collect();
            serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
        }
        Format::Csv => csv(tables),
        Format::Md => tables.iter().map(markdown).collect::<Vec<_>>().join("\n"),
        Format::Latex => tables.iter().map(latex).collect::<Vec<_>>().join("\n"),
    }
}

fn entries(tables: &[EvaluatedTable]) -> impl Iterator<Item = (&EvaluatedTable, &Entry)> {
    tables.iter().flat_map(|t| t.rows.iter().flat_map(move |r| r.entries.iter().map(move |e| (t, e))))
}

fn csv(tables: &[EvaluatedTable]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header =
        ["table", "key", "row", "metric", "mean", "sd", "n", "published", "delta", "skipped", "low", "high", "verdict"];
    let mut lines = vec![header.map(String::from).to_vec()];
    for (_, e) in entries(tables) {
        let text = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
        let published = e.published.map_or_else(|| e.published_text.clone().unwrap_or_default(), |p| p.to_string());
        lines.push(vec![
            e.table.to_string(),
            e.key.clone(),
            e.row.clone(),
            e.metric.clone(),
            text(e.mean),
            text(e.sd),
            e.n.to_string(),
            published,
            text(e.delta),
            e.skipped.clone().unwrap_or_default(),
            text(e.interval.map(|(low, _)| low)),
            text(e.interval.map(|(_, high)| high)),
            e.verdict.map(|v| v.words().replace(' ', "-")).unwrap_or_default(),
        ]);
    }
    for line in lines {
        // Writing to memory does not fail.
        let _ = writer.write_record(line);
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// A table as lines of cells: the header, then the rows.
fn grid(table: &EvaluatedTable) -> (Vec<String>, Vec<Vec<String>>) {
    if table.kind == "improvement" {
        let mut header = vec!["Rank".to_string()];
        for column in &table.columns {
            header.extend([format!("{column}: ours"), "published".into()]);
        }
        let ranks = table.rows.iter().map(|r| r.entries.len()).max().unwrap_or(0);
        let lines = (0..ranks).map(|rank| {
            let mut line = vec![(rank + 1).to_string()];
            for row in &table.rows {
                let entry = row.entries.get(rank);
                let ours = entry.and_then(|e| e.mean.map(|m| format!("{} ({})", e.row, signed(m, 2))));
                line.push(ours.unwrap_or_else(|| "-".into()));
                line.push(entry.and_then(|e| e.published_text.clone()).unwrap_or_else(|| "-".into()));
            }
            line
        });
        return (header, lines.collect());
    }
    let mut header = vec![String::new()];
    for column in &table.columns {
        header.extend([format!("{column}: ours"), "published".into(), "difference".into()]);
    }
    let lines = table.rows.iter().map(|row| {
        let mut name = row.group.clone();
        name.push(row.row.clone());
        let mut line = vec![name.join(", ")];
        for e in &row.entries {
            line.push(mean_sd(e).unwrap_or_else(|| "-".into()));
            line.push(e.published_text.clone().unwrap_or_else(|| "-".into()));
            line.push(e.delta.map_or_else(|| "-".into(), |d| signed(d, decimals(&e.metric))));
        }
        line
    });
    (header, lines.collect())
}

fn skipped(table: &EvaluatedTable) -> Option<String> {
    let why = table.rows.iter().flat_map(|r| &r.entries).filter_map(|e| e.skipped.clone());
    let mut reasons: Vec<String> = why.collect();
    reasons.dedup();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn markdown(table: &EvaluatedTable) -> String {
    let escape = |s: &String| s.replace('|', "\\|");
    let (header, lines) = grid(table);
    let line = |cells: &[String]| format!("| {} |\n", cells.iter().map(escape).collect::<Vec<_>>().join(" | "));
    let mut out = format!("## Table {}. {}\n\n{}", table.id, table.title, line(&header));
    out += &format!("|{}\n", "---|".repeat(header.len()));
    out.extend(lines.iter().map(|l| line(l)));
    if let Some(why) = skipped(table) {
        out += &format!("\nNot there: {why}.\n");
    }
    out
}

fn latex(table: &EvaluatedTable) -> String {
    let (header, lines) = grid(table);
    let escape = |s: &String| -> String {
        s.chars()
            .map(|c| match c {
                '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
                '~' => "\\textasciitilde{}".into(),
                '^' => "\\textasciicircum{}".into(),
                '\\' => "\\textbackslash{}".into(),
                '±' => "$\\pm$".into(),
                '\u{2212}' => "$-$".into(),
                c => c.to_string(),
            })
            .collect()
    };
    let line = |cells: &[String]| format!("{} \\\\\n", cells.iter().map(escape).collect::<Vec<_>>().join(" & "));
    let mut out = format!(
        "\\begin{{table}}\n\\caption{{{}}}\n\\begin{{tabular}}{{l{}}}\n\\toprule\n",
        escape(&table.title),
        "r".repeat(header.len() - 1)
    );
    out += &line(&header);
    out += "\\midrule\n";
    out.extend(lines.iter().map(|l| line(l)));
    out += "\\bottomrule\n\\end{tabular}\n\\end{table}\n";
    if let Some(why) = skipped(table) {
        out += &format!("% not there: {}\n", why.replace('\n', " "));
    }
    out
}
