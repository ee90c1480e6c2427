//! The declared tables, computed: mean and standard deviation over seeds beside the published values. One file a kind of
//! table; the intervals of all of them are drawn together.

mod accuracy;
mod counts;
mod improvement;
mod laid;
pub(super) mod standing;

use super::agreement::{self, Terms};
use super::choose::{Scope, point};
use super::resample::{Sample, interval};
use super::results::Results;
use super::table::EvaluatedTable;
use crate::dataset::Split;
use crate::experiment::Tables;
use crate::experiment::tables::{Published, Table, TableKind};
use crate::store::Error;
use laid::Collect;

/// Computes every table from an experiment's results.
pub fn evaluate_at(results: &Results, tables: &Tables) -> Result<Vec<EvaluatedTable>, Error> {
    let terms = Terms::of(results, tables)?;
    let mut sample = Sample::default();
    let mut columns = Vec::new();
    let mut out = Vec::new();
    for table in &tables.tables {
        out.push(one(results, table, &mut |row, entry, fused, metric| {
            // Rows of other clips than the rest have no interval; there are none in stores of ours.
            if let Ok(of_row) = sample.add(fused, metric) {
                let (seeds, places): (Vec<Option<u64>>, Vec<usize>) = of_row.into_iter().unzip();
                columns.push(((table.table.clone(), row, entry, seeds.iter().any(Option::is_some)), places));
            }
        })?);
    }
    let places: Vec<Vec<usize>> = columns.iter().map(|(_, places)| places.clone()).collect();
    let draws = sample.draws(&places);
    for (((id, row, entry, seeded), _), draws) in columns.iter().zip(&draws) {
        let table = out.iter_mut().find(|t| t.id == *id);
        if let Some(entry) = table.and_then(|t| t.rows.get_mut(*row)).and_then(|r| r.entries.get_mut(*entry)) {
            entry.interval = Some(interval(draws.clone()));
            entry.seeded = *seeded;
        }
    }
    for (table, declared) in out.iter_mut().zip(&tables.tables) {
        let of_table = columns.iter().zip(&draws).filter(|(((id, ..), _), _)| *id == table.id);
        let drawn: Vec<standing::Drawn> =
            of_table.map(|(((_, row, entry, _), _), draws)| (*row, *entry, draws.as_slice())).collect();
        standing::set(table, declared, &drawn)?;
    }
    let seeds = results.experiment.config.seeds.len();
    for (table, declared) in out.iter_mut().zip(&tables.tables) {
        for (r, row) in table.rows.iter_mut().enumerate() {
            for (e, entry) in row.entries.iter_mut().enumerate() {
                entry.declared = if entry.seeded { seeds } else { 1 };
                let published = published(declared, r, e);
                (entry.verdict, entry.why) = match table.kind {
                    TableKind::Counts => agreement::count(entry, published, &terms),
                    TableKind::Accuracy => agreement::percentage(entry, published, &terms),
                    TableKind::Improvement => (None, None),
                };
            }
        }
    }
    Ok(out)
}

/// The published value beside an entry of a row.
fn published(table: &Table, row: usize, entry: usize) -> Option<&Published> {
    let of: [&Option<Published>; 2] = match table.kind() {
        TableKind::Counts => table.counts.get(row).map(|r| [&r.published.train, &r.published.val])?,
        TableKind::Accuracy => table.accuracy.get(row).map(|r| [&r.published.top1, &r.published.top5])?,
        TableKind::Improvement => return None,
    };
    of.get(entry).and_then(|p| p.as_ref())
}

fn one(results: &Results, table: &Table, collect: &mut Collect) -> Result<EvaluatedTable, Error> {
    let at = point(results.experiment, table);
    let scope = Scope { audio: &table.audio, at: &at, table: &table.table };
    let mut out = EvaluatedTable {
        id: table.table.clone(),
        title: table.title.clone(),
        note: table.note.clone(),
        kind: table.kind(),
        columns: Vec::new(),
        rows: Vec::new(),
        skipped: None,
    };
    if !at.is_empty() {
        let point: Vec<String> = at.iter().map(|(axis, value)| format!("{axis} = {value}")).collect();
        out.note = format!("{}{}At {}.", out.note, if out.note.is_empty() { "" } else { " " }, point.join(", "));
    }
    if table.kind() != TableKind::Counts && results.reported()? == Split::Test {
        let space = if out.note.is_empty() { "" } else { " " };
        out.note = format!("{}{space}Of test clips; what is chosen is chosen on val clips.", out.note);
    }
    if !table.audio.is_empty() {
        out.skipped = results.audio_of(&scope).err();
    }
    (out.columns, out.rows) = match table.kind() {
        TableKind::Counts => counts::rows(results, table)?,
        TableKind::Accuracy => accuracy::rows(results, table, &scope, collect)?,
        TableKind::Improvement => improvement::rows(results, table, &scope)?,
    };
    Ok(out)
}
