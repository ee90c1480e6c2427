//! Accuracies of fusions, over all val clips, or test clips where there are any.

use super::laid::{Collect, Laid, beside};
use crate::experiment::claims::Metric;
use crate::experiment::fusion_expr::Fusion;
use crate::experiment::tables::{AccuracyRow, Published, Table};
use crate::report::choose::Scope;
use crate::report::measure::Measure;
use crate::report::results::Results;
use crate::report::table::{Entry, Row};
use crate::store::Error;

pub(super) fn rows(results: &Results, table: &Table, scope: &Scope, collect: &mut Collect) -> Result<Laid, Error> {
    let mut rows = Vec::new();
    for (r, row) in table.accuracy.iter().enumerate() {
        rows.push(one(results, table, scope, row, r, collect)?);
    }
    let heading = |m: Metric| {
        let measure = Measure::Accuracy(m);
        format!("{} ({})", measure.heading(), measure.unit().word())
    };
    Ok((Metric::ALL.map(heading).to_vec(), rows))
}

fn one(
    results: &Results,
    table: &Table,
    scope: &Scope,
    row: &AccuracyRow,
    place: usize,
    collect: &mut Collect,
) -> Result<Row, Error> {
    let fusion = Fusion::parse(&row.fuse).map_err(Error::NotFound)?;
    let fused = results.fused(scope, &fusion)?;
    let entry = |metric: Metric, published: &Option<Published>| {
        let (values, skipped) = match &fused {
            Ok(fused) => (fused.top_k(metric.k()), None),
            Err(why) => (Vec::new(), Some(why.clone())),
        };
        let entry = Entry::of(&table.table, &row.key, &row.row, Measure::Accuracy(metric), values);
        beside(entry, published.as_ref(), skipped)
    };
    let published = [&row.published.top1, &row.published.top5];
    let entries = Metric::ALL.iter().zip(published).map(|(metric, published)| entry(*metric, published)).collect();
    if let Ok(fused) = &fused {
        for (i, metric) in Metric::ALL.into_iter().enumerate() {
            collect(place, i, fused, metric);
        }
    }
    let (cells, runs, seeds) = match fused {
        Ok(f) => {
            let seeds = f.seeds.iter().map(|(seed, _)| *seed).collect();
            (f.cells.into_iter().map(|c| (c.key, c.chosen)).collect(), f.runs, seeds)
        }
        Err(_) => Default::default(),
    };
    let (group, name, key) = (row.group.clone(), row.row.clone(), row.key.clone());
    Ok(Row { group, row: name, key, control: row.control, entries, cells, runs, seeds, gains: Vec::new() })
}
