//! What is to be done, in which order, and which runs are trained side by side.

use super::checkpoint;
use super::grouping::{self, Candidate};
use super::plan::{Open, cost};
use crate::experiment::Part;
use std::path::Path;

/// Runs that are worked on together: generators that can be trained as one program, at most `most` of them, by the epochs
/// that they have behind them (`done`); everything else by itself. The longest first, so that no worker is left alone with
/// one at the end.
pub fn groups<'p>(mut open: Vec<Open<'p>>, most: usize, done: impl Fn(&Open) -> usize) -> Vec<Vec<Open<'p>>> {
    open.sort_by(|a, b| cost(b.planned).total_cmp(&cost(a.planned)));
    let candidates: Vec<Candidate> = open
        .iter()
        .map(|run| Candidate {
            cell: &run.planned.cell,
            view: run.planned.view.as_ref().map_or("", |view| &view.fingerprint),
            seed: run.seed.unwrap_or(0),
            // Nothing depends on it where each is alone, and files are read to know it.
            done: if most > 1 { done(run) } else { 0 },
        })
        .collect();
    let places = grouping::groups(&candidates, most);
    let mut groups: Vec<Vec<Open>> =
        places.into_iter().map(|group| group.into_iter().map(|place| open[place]).collect()).collect();
    let whole = |group: &[Open]| group.iter().map(|run| cost(run.planned)).sum::<f64>();
    groups.sort_by(|a, b| whole(b).total_cmp(&whole(a)));
    groups
}

/// Epochs that a run has behind it, by its checkpoint in a folder of them.
pub fn checkpointed(folder: &Path) -> impl Fn(&Open) -> usize {
    move |run| checkpoint::epoch(&checkpoint::path(folder, run.id)).unwrap_or(0)
}

/// `8 cells (lstm, seed 0)`, with what they have in common of further axes; one is called by its own name.
pub fn name(group: &[Open]) -> String {
    let (Some(first), true) = (group.first(), group.len() > 1) else {
        return group.first().map(Open::name).unwrap_or_default();
    };
    let mut common = Vec::new();
    if let Part::Generator { generator, .. } = &first.planned.cell.part {
        common.push(generator.word().to_string());
    }
    common.extend(first.seed.map(|seed| format!("seed {seed}")));
    let all_have = |axis: &String, value| group.iter().all(|r| r.planned.cell.overrides.get(axis) == Some(value));
    let axes = first.planned.cell.overrides.iter().filter(|(axis, value)| all_have(axis, value));
    common.extend(axes.map(|(axis, value)| format!("{axis}={value}")));
    format!("{} cells ({})", group.len(), common.join(", "))
}

/// Parts of at most `most`, as nearly of one size as can be.
pub(super) fn evenly<T>(all: &[T], most: usize) -> std::slice::Chunks<'_, T> {
    let parts = all.len().div_ceil(most.max(1)).max(1);
    all.chunks(all.len().div_ceil(parts).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_many_as_needed_and_even() {
        let sizes = |n: usize, most| evenly(&vec![(); n], most).map(<[()]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(8, 8), [8]);
        assert_eq!(sizes(8, 5), [4, 4], "and not five and three");
        assert_eq!(sizes(7, 3), [3, 3, 1]);
        assert_eq!(sizes(3, 1), [1, 1, 1]);
        assert_eq!(sizes(2, 0), [1, 1]);
        assert_eq!(sizes(1, usize::MAX), [1]);
        assert_eq!(sizes(0, 3), [0; 0]);
    }
}
