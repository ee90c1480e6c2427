//! Our own results as answers to a claim's questions: differences paired by clip and seed, with bootstrap intervals.
//!
//! All rows of an experiment score the same val clips, so two rows are compared clip by clip, within each seed that both
//! have; [`super::resample`] says how they are drawn. What a row itself was chosen by, as in `aenet(lstm)`, stays as it was
//! (ledger A13).

use super::choose::{Scope, point};
use super::claims::{About, Answer, Question, Source, Unanswered, shared_by_all};
use super::resample::{Claimed, Ready, Sample, Seed};
use super::results::Results;
use super::scores::Fused;
use crate::experiment::claims::{Metric, Side};
use crate::experiment::fusion_expr::Fusion;
use crate::experiment::tables::Table;
use crate::experiment::{TableId, Tables};
use crate::store::Error;
use compute::bootstrap::Statistic;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Rows by table and key, as far as they were asked for.
type FusedRows = BTreeMap<(TableId, String), Rc<Result<Fused, Unanswered>>>;

/// A question made ready to be resampled, with the names of its two sides.
type Prepared = Result<(Ready, Vec<String>, Vec<String>), Unanswered>;

/// An experiment's results as a source of answers.
pub struct Ours<'a> {
    results: &'a Results<'a>,
    tables: &'a Tables,
    fused: RefCell<FusedRows>,
}

impl<'a> Ours<'a> {
    /// Results of an experiment, read as its tables lay them out.
    pub fn new(results: &'a Results<'a>, tables: &'a Tables) -> Self {
        Ours { results, tables, fused: RefCell::default() }
    }

    /// A row's scores.
    fn fused(&self, table: &Table, fuse: &str) -> Result<Rc<Result<Fused, Unanswered>>, Error> {
        let key = (table.table.clone(), fuse.to_string());
        if let Some(fused) = self.fused.borrow().get(&key) {
            return Ok(fused.clone());
        }
        let at = point(self.results.experiment, table);
        let scope = Scope { audio: &table.audio, at: &at, table: &table.table };
        let fusion = Fusion::parse(fuse).map_err(Error::NotFound)?;
        let fused = Rc::new(self.results.fused(&scope, &fusion)?);
        self.fused.borrow_mut().insert(key, fused.clone());
        Ok(fused)
    }

    /// Adds a fusion's columns to the sample; gives them by seed.
    fn column(
        &self,
        sample: &mut Sample,
        id: &TableId,
        fuse: &str,
        metric: Metric,
    ) -> Result<Result<Vec<(Seed, usize)>, Unanswered>, Error> {
        let key = (id.clone(), fuse.to_string(), metric);
        if let Some(columns) = sample.index.get(&key) {
            return Ok(Ok(columns.clone()));
        }
        let Some(table) = self.tables.tables.iter().find(|t| t.table == *id) else {
            return Ok(Err(format!("there is no table {id}")));
        };
        let fused = self.fused(table, fuse)?;
        let fused = match &*fused {
            Ok(fused) => fused,
            Err(why) => return Ok(Err(why.clone())),
        };
        Ok(sample.add(fused, metric).inspect(|columns| {
            sample.index.insert(key, columns.clone());
        }))
    }

    /// A side's rows that have scores; the reason where none has.
    #[allow(clippy::type_complexity)]
    fn side(
        &self,
        sample: &mut Sample,
        question: &Question,
        side: &Side,
    ) -> Result<Result<(Vec<String>, Vec<Vec<(Seed, usize)>>), Unanswered>, Error> {
        let table = self.tables.tables.iter().find(|t| t.table == question.table);
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        let mut why = format!("table {} has no such row", question.table);
        for key in &side.keys {
            let Some(row) = table.and_then(|t| t.accuracy.iter().find(|r| r.key == *key)) else { continue };
            match self.column(sample, &question.table, &row.fuse, question.metric)? {
                Ok(of_row) => {
                    names.push(key.clone());
                    columns.push(of_row);
                }
                Err(reason) => why = reason,
            }
        }
        Ok(if names.is_empty() { Err(why) } else { Ok((names, columns)) })
    }

    /// A question made ready, with the names of its rows (or nothing).
    #[allow(clippy::type_complexity)]
    fn ready(
        &self,
        sample: &mut Sample,
        question: &Question,
    ) -> Result<Result<(Ready, Vec<String>, Vec<String>), Unanswered>, Error> {
        match &question.about {
            About::Rows(pair, relation) => {
                let (left_names, left) = match self.side(sample, question, &pair.rows)? {
                    Ok(side) => side,
                    Err(why) => return Ok(Err(why)),
                };
                let (right_names, right) = match self.side(sample, question, &pair.other)? {
                    Ok(side) => side,
                    Err(why) => return Ok(Err(why)),
                };
                let Some((seeds, chosen)) = common(left.iter().chain(&right)) else {
                    return Ok(Err("its rows have no seed in common yet".into()));
                };
                let pick = |rows: &[Vec<(Seed, usize)>]| rows.iter().map(|row| by_seed(row, &chosen)).collect();
                let statistic = Statistic::Difference(pick(&left), pick(&right));
                let ready = Ready { statistic, claimed: Claimed::Is(*relation), seeds };
                Ok(Ok((ready, left_names, right_names)))
            }
            About::Classes { columns, depth, needed } => {
                let table = self.tables.tables.iter().find(|t| t.table == question.table);
                let mut sides = Vec::new();
                for key in columns {
                    let Some(column) = table.and_then(|t| t.improvement.iter().find(|c| c.key == *key)) else {
                        return Ok(Err(format!("table {} has no column {key:?}", question.table)));
                    };
                    for fuse in [&column.of, &column.over] {
                        match self.column(sample, &question.table, fuse, question.metric)? {
                            Ok(of_row) => sides.push(of_row),
                            Err(why) => return Ok(Err(why)),
                        }
                    }
                }
                let Some((seeds, chosen)) = common(sides.iter()) else {
                    return Ok(Err("its columns have no seed in common yet".into()));
                };
                let picked: Vec<Vec<usize>> = sides.iter().map(|side| by_seed(side, &chosen)).collect();
                let columns =
                    picked.chunks(2).map(|two| two[0].iter().copied().zip(two[1].iter().copied()).collect()).collect();
                let statistic = Statistic::Shared { columns, depth: *depth };
                let ready = Ready { statistic, claimed: Claimed::AtLeast(*needed), seeds };
                Ok(Ok((ready, Vec::new(), Vec::new())))
            }
        }
    }
}

/// The seeds that all rows have, with how many trained runs stand behind a comparison: `usize::MAX` where nothing depends on
/// a seed. `None` where they have none in common.
fn common<'r>(rows: impl Iterator<Item = &'r Vec<(Seed, usize)>>) -> Option<(usize, Vec<Seed>)> {
    let seeded: Vec<Vec<Seed>> = rows
        .map(|row| row.iter().map(|(seed, _)| *seed).collect::<Vec<Seed>>())
        .filter(|seeds| seeds.iter().any(Option::is_some))
        .collect();
    let Some(first) = seeded.first() else { return Some((usize::MAX, vec![None])) };
    let all: Vec<Seed> = first.iter().filter(|s| seeded.iter().all(|of| of.contains(s))).copied().collect();
    if all.is_empty() { None } else { Some((all.len(), all)) }
}

/// A row's columns for these seeds; one that depends on none is the same for all.
fn by_seed(row: &[(Seed, usize)], seeds: &[Seed]) -> Vec<usize> {
    let of = |seed: &Seed| row.iter().find(|(s, _)| s == seed || s.is_none()).map(|(_, column)| *column);
    seeds.iter().filter_map(of).collect()
}

impl Source for Ours<'_> {
    fn answers(&self, questions: &[Question]) -> Result<Vec<Result<Answer, Unanswered>>, Error> {
        let mut sample = Sample::default();
        let prepared: Vec<Prepared> = questions.iter().map(|q| self.ready(&mut sample, q)).collect::<Result<_, _>>()?;
        self.fused.borrow_mut().clear();
        let ready: Vec<&Ready> = prepared.iter().flatten().map(|(ready, ..)| ready).collect();
        let classes = &self.results.dataset.manifest.classes;
        let (observed, resampled) = sample.resample(&ready, classes);
        let mut spreads = ready.iter().zip(resampled).map(|(ready, values)| ready.spread(values));
        Ok(prepared
            .iter()
            .map(|prepared| {
                let (ready, left, right) = prepared.as_ref().map_err(Clone::clone)?;
                let spread = spreads.next();
                let seeds = observed.seeds(ready.statistic.seeds());
                Ok(match &ready.statistic {
                    Statistic::Mean(_) => return Err("a mean is no comparison".into()),
                    Statistic::Difference(l, r) => {
                        let ((a, value), (b, other)) = (observed.best(l, &seeds), observed.best(r, &seeds));
                        Answer { left: left[a].clone(), right: right[b].clone(), value, other, spread }
                    }
                    Statistic::Shared { columns, depth } => {
                        let lists: Vec<Vec<usize>> =
                            columns.iter().map(|c| observed.top(c, &seeds, *depth, classes)).collect();
                        let shared = shared_by_all(&lists);
                        let names: Vec<&str> =
                            shared.iter().filter_map(|c| classes.get(*c).map(String::as_str)).collect();
                        let (value, left) = (shared.len() as f64, names.join(", "));
                        Answer { left, right: String::new(), value, other: *depth as f64, spread }
                    }
                })
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_those_that_all_rows_have() {
        let trained = vec![(Some(0), 0), (Some(1), 1), (Some(2), 2)];
        let fewer = vec![(Some(2), 5), (Some(1), 6)];
        let fixed = vec![(None, 9)];
        let (n, seeds) = common([&fixed, &trained, &fewer].into_iter()).unwrap();
        assert_eq!((n, &seeds[..]), (2, &[Some(1), Some(2)][..]));
        assert_eq!(by_seed(&fewer, &seeds), [6, 5]);
        assert_eq!(by_seed(&fixed, &seeds), [9, 9]);
        assert!(common([&trained, &vec![(Some(7), 1)]].into_iter()).is_none());
        assert_eq!(common([&fixed].into_iter()).unwrap().0, usize::MAX);
    }
}
