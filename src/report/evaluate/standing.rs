//! Which rows of a column are the best: by paired differences, so that a star is a finding and not the luck of a draw.

use crate::experiment::config::Control;
use crate::experiment::fusion_expr::{Choice, Fusion};
use crate::experiment::tables::Table;
use crate::report::measure::Direction;
use crate::report::resample::{SEEDS, p_of_difference};
use crate::report::stats::holm;
use crate::report::table::{EvaluatedTable, Standing};
use crate::store::Error;

/// Chance of a wrong star in a column, at most.
const ALPHA: f64 = 0.05;
/// Means that differ by less are equal.
const NOTHING: f64 = 1e-9;

/// A number's row and column, and its mean in each resample.
pub(super) type Drawn<'d> = (usize, usize, &'d [f64]);

/// Sets how every number stands in its column. Nothing is said where fewer than two seeds stand behind a number, or where
/// there is nothing to compare it with.
pub(super) fn set(table: &mut EvaluatedTable, declared: &Table, drawn: &[Drawn]) -> Result<(), Error> {
    let mut bounds = Vec::new();
    for (r, row) in declared.accuracy.iter().enumerate() {
        let fusion = Fusion::parse(&row.fuse).map_err(Error::NotFound)?;
        if fusion.terms.iter().any(|t| t.choice == Some(Choice::Control(Control::Oracle))) {
            bounds.push(r);
        }
    }
    for column in 0..table.columns.len() {
        let of_column: Vec<&Drawn> = drawn.iter().filter(|(_, entry, _)| *entry == column).collect();
        let entry = |row: usize| table.rows.get(row).and_then(|r| r.entries.get(column));
        let fits = |row: usize| {
            let entry = entry(row)?;
            let suffice = !entry.seeded || entry.n >= SEEDS;
            (entry.metric.direction() == Direction::Higher && suffice && !bounds.contains(&row)).then_some(entry.mean?)
        };
        let rivals: Vec<(usize, f64, &[f64])> =
            of_column.iter().filter_map(|(row, _, draws)| Some((*row, fits(*row)?, *draws))).collect();
        let standings = standings(&rivals);
        for (row, standing) in rivals.iter().map(|(row, ..)| *row).zip(standings) {
            if let Some(entry) = table.rows.get_mut(row).and_then(|r| r.entries.get_mut(column)) {
                entry.standing = standing;
            }
        }
        for &row in &bounds {
            if let Some(entry) = table.rows.get_mut(row).and_then(|r| r.entries.get_mut(column)) {
                entry.standing = entry.mean.map(|_| Standing::Bound);
            }
        }
    }
    Ok(())
}

/// How each of some means stands, given with its resamples: the highest is the best where it is significantly above all
/// others (Holm), else it is tied with those that it is not.
pub(in crate::report) fn standings(rivals: &[(usize, f64, &[f64])]) -> Vec<Option<Standing>> {
    let mut out = vec![None; rivals.len()];
    if rivals.len() < 2 {
        return out;
    }
    let mut best = 0;
    for (i, (_, mean, _)) in rivals.iter().enumerate() {
        if *mean > rivals[best].1 + NOTHING {
            best = i;
        }
    }
    let others: Vec<usize> = (0..rivals.len()).filter(|i| *i != best).collect();
    let p: Vec<f64> = others
        .iter()
        .map(|i| {
            let difference: Vec<f64> = rivals[best].2.iter().zip(rivals[*i].2).map(|(a, b)| a - b).collect();
            if difference.is_empty() { 1.0 } else { p_of_difference(&difference) }
        })
        .collect();
    let mut alone = true;
    for (i, p) in others.iter().zip(holm(&p)) {
        if p > ALPHA {
            out[*i] = Some(Standing::Tied);
            alone = false;
        }
    }
    out[best] = Some(if alone { Standing::Best } else { Standing::Tied });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_for_what_is_significantly_best() {
        let around = |mean: f64| -> Vec<f64> { (0..2000).map(|i| mean + f64::from(i % 100) / 100.0 - 0.5).collect() };
        let wobbling =
            |mean: f64| -> Vec<f64> { (0..2000).map(|i| mean + f64::from(i * 7 % 400) / 100.0 - 2.0).collect() };
        let (low, high, near) = (around(40.0), around(50.0), wobbling(49.8));
        assert_eq!(standings(&[(0, 40.0, &low), (1, 50.0, &high)]), [None, Some(Standing::Best)]);
        assert_eq!(
            standings(&[(0, 40.0, &low), (1, 50.0, &high), (2, 49.8, &near)]),
            [None, Some(Standing::Tied), Some(Standing::Tied)]
        );
        // The same row twice is a tie; one row alone is nothing.
        assert_eq!(standings(&[(0, 50.0, &high), (1, 50.0, &high)]), [Some(Standing::Tied); 2]);
        assert_eq!(standings(&[(0, 50.0, &high)]), [None]);
    }
}
