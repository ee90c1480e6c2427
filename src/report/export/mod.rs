//! The tables for other programs. A format is a file that implements [`Exporter`], and a line in [`Format`] and
//! [`fn@exporter`].

mod csv;
mod exporter;
mod json;
mod latex;
mod markdown;

pub use exporter::{Document, Exporter};

/// How to write tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A list of objects, one for each number.
    Json,
    /// One line for each number.
    Csv,
    /// Markdown.
    Md,
    /// LaTeX with booktabs and graphicx, no wider than the column.
    Latex,
}

fn exporter(format: Format) -> &'static dyn Exporter {
    match format {
        Format::Json => &json::Json,
        Format::Csv => &csv::Csv,
        Format::Md => &markdown::Markdown,
        Format::Latex => &latex::Latex,
    }
}

/// Writes the tables.
pub fn tables(document: &Document, format: Format) -> String {
    exporter(format).write(document)
}
