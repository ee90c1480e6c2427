//! Clips with and without sound.

use super::laid::{Laid, beside};
use crate::experiment::tables::{Count, Published, Table};
use crate::report::measure::Measure;
use crate::report::results::Results;
use crate::report::table::{Entry, Row};
use crate::store::Error;

pub(super) fn rows(results: &Results, table: &Table) -> Result<Laid, Error> {
    let view_id = results.experiment.cells.iter().find_map(|c| if c.part.audio().is_some() { c.view_id } else { None });
    let counts = match view_id {
        Some(id) => Some(results.view(id)?.counts),
        None => None,
    };
    let row = |row: &crate::experiment::tables::CountRow| {
        let of = |(sounded, silent): (usize, usize)| match row.count {
            Count::Sounded => sounded,
            Count::Silent => silent,
            Count::Total => sounded + silent,
        };
        let entry = |measure: Measure, count: Option<usize>, published: &Option<Published>| {
            let values: Vec<f64> = count.map(|c| c as f64).into_iter().collect();
            let skipped = values.is_empty().then(|| "not run yet".to_string());
            beside(Entry::of(&table.table, &row.key, &row.row, measure, values), published.as_ref(), skipped)
        };
        let mut entries = vec![
            entry(Measure::TrainClips, counts.map(|c| of(c.train)), &row.published.train),
            entry(Measure::ValClips, counts.map(|c| of(c.val)), &row.published.val),
        ];
        if let Some(test) = counts.and_then(|c| c.test) {
            entries.push(entry(Measure::TestClips, Some(of(test)), &None));
        }
        Row { row: row.row.clone(), key: row.key.clone(), entries, ..Row::default() }
    };
    let mut columns = vec!["Train".into(), "Val".into()];
    columns.extend(counts.and_then(|c| c.test).map(|_| "Test".into()));
    Ok((columns, table.counts.iter().map(row).collect()))
}
