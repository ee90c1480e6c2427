//! Most improved classes: per-class top-1 under one fusion minus that under another.

use super::laid::Laid;
use crate::experiment::fusion_expr::Fusion;
use crate::experiment::tables::{ImprovementColumn, Table};
use crate::report::choose::Scope;
use crate::report::measure::Measure;
use crate::report::results::Results;
use crate::report::scores::{Fused, right_by_class};
use crate::report::table::{Entry, Row};
use crate::store::Error;
use std::cmp::Ordering;

pub(super) fn rows(results: &Results, table: &Table, scope: &Scope) -> Result<Laid, Error> {
    let mut rows = Vec::new();
    for column in &table.improvement {
        rows.push(one(results, table, scope, column)?);
    }
    Ok((table.improvement.iter().map(|c| c.column.clone()).collect(), rows))
}

/// A class with its gain.
#[derive(Clone, Default)]
struct Gain {
    class: String,
    /// Val clips that one fusion gets right and the other does not, minus the reverse, summed over seeds.
    more: i64,
    /// Val clips of the class, times seeds.
    clips: i64,
    /// Points, one a seed.
    values: Vec<f64>,
}

impl Gain {
    fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The larger gain first, compared as fractions of whole numbers; equal ones in the order of names.
    fn rank(&self, other: &Gain) -> Ordering {
        let (a, b) = (i128::from(self.more) * i128::from(other.clips), i128::from(other.more) * i128::from(self.clips));
        b.cmp(&a).then_with(|| self.class.cmp(&other.class))
    }
}

fn one(results: &Results, table: &Table, scope: &Scope, column: &ImprovementColumn) -> Result<Row, Error> {
    let parse = |text: &str| Fusion::parse(text).map_err(Error::NotFound);
    let (of, over) = (results.fused(scope, &parse(&column.of)?)?, results.fused(scope, &parse(&column.over)?)?);
    let mut row = Row { row: column.column.clone(), key: column.key.clone(), ..Row::default() };
    let mut ranked: Vec<Gain> = Vec::new();
    let mut skipped = None;
    match (of, over) {
        (Ok(of), Ok(over)) => {
            ranked = gains(&of, &over, &results.dataset.manifest.classes);
            row.gains = ranked.iter().map(|gain| (gain.class.clone(), gain.mean())).collect();
            row.seeds = of.seeds.iter().map(|(seed, _)| *seed).collect();
            row.cells = of.cells.iter().chain(&over.cells).map(|c| (c.key.clone(), c.chosen)).collect();
            row.cells.dedup();
            row.runs = of.runs.into_iter().chain(over.runs).collect();
            row.runs.sort();
            row.runs.dedup();
        }
        (Err(why), _) | (_, Err(why)) => skipped = Some(why),
    }
    for rank in 0..table.top.max(column.published.len()) {
        let Gain { class, values, .. } = ranked.get(rank).cloned().unwrap_or_default();
        let key = format!("{}/{}", column.key, rank + 1);
        let why = values.is_empty().then(|| skipped.clone().unwrap_or_else(|| "no further class".into()));
        let entry = Entry::of(&table.table, &key, &class, Measure::ClassGain, values);
        let published_text = column.published.get(rank).cloned();
        row.entries.push(Entry { skipped: why, published_text, ..entry });
    }
    Ok(row)
}

/// Classes with val clips, the most improved first: differences seed by seed.
fn gains(of: &Fused, over: &Fused, classes: &[String]) -> Vec<Gain> {
    let mut gains: Vec<Gain> = classes.iter().map(|class| Gain { class: class.clone(), ..Gain::default() }).collect();
    for (seed, ranks) in &of.seeds {
        let Some((_, base)) = over.seeds.iter().find(|(s, _)| s == seed || s.is_none()) else { continue };
        let right = right_by_class(ranks, &of.view.shown().labels, classes.len());
        let base = right_by_class(base, &over.view.shown().labels, classes.len());
        for ((gain, (a, all)), (b, _)) in gains.iter_mut().zip(right).zip(base) {
            if all > 0 {
                let percent = |right: usize| 100.0 * right as f64 / all as f64;
                gain.values.push(percent(a) - percent(b));
                gain.more += a as i64 - b as i64;
                gain.clips += all as i64;
            }
        }
    }
    gains.retain(|gain| !gain.values.is_empty());
    gains.sort_by(Gain::rank);
    gains
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1/3 + 2/3 of three clips and 3/9 + 6/9 of nine are the same gain, whatever the sums of percentages say.
    #[test]
    fn equal_gains_stand_in_the_order_of_names() {
        let gain = |class: &str, more: i64, clips: i64, values: &[f64]| Gain {
            class: class.into(),
            more,
            clips,
            values: values.to_vec(),
        };
        let third = 100.0 / 3.0;
        let mut all = [
            gain("b", 3, 6, &[third, 2.0 * third + 1e-13]),
            gain("c", 4, 6, &[third, 100.0]),
            gain("a", 9, 18, &[third, 2.0 * third]),
        ];
        assert!(all[0].mean() > all[2].mean(), "the means differ in their last bits");
        all.sort_by(Gain::rank);
        assert_eq!(all.iter().map(|g| g.class.as_str()).collect::<Vec<_>>(), ["c", "a", "b"]);
    }
}
