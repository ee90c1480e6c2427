//! How much of what was declared is there.

use super::results::Results;
use crate::store::{Error, State};
use serde::Serialize;
use std::collections::HashSet;

/// Counts of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Runs declared by cells and seeds, skipped cells left out.
    pub declared: usize,
    /// Of them done.
    pub done: usize,
    /// Of them failed.
    pub failed: usize,
    /// Cells that cannot run on this data set.
    pub skipped_cells: usize,
}

/// Counts runs.
pub fn coverage(results: &Results) -> Result<Coverage, Error> {
    let mut coverage = Coverage::default();
    let mut seen = HashSet::new();
    for cell in &results.experiment.cells {
        let Some(fingerprint) = &cell.fingerprint else {
            coverage.skipped_cells += 1;
            continue;
        };
        if !seen.insert(fingerprint.clone()) {
            continue;
        }
        let seeds = &results.experiment.config.seeds;
        let runs = results.runs(cell)?;
        let declared: Vec<Option<u64>> = if cell.part.seeded(&results.dataset.manifest) {
            seeds.iter().map(|s| Some(*s)).collect()
        } else {
            vec![None]
        };
        coverage.declared += declared.len();
        let with = |state: State| runs.iter().filter(|r| r.state == state && declared.contains(&r.seed)).count();
        coverage.done += with(State::Done);
        coverage.failed += with(State::Failed);
    }
    Ok(coverage)
}
