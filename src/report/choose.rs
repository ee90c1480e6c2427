//! Which cell a fusion's term names, and which is the best of a group.

use super::results::Results;
use crate::experiment::config::{Architecture, SelectOn};
use crate::experiment::fusion_expr::{Choice, Term};
use crate::experiment::grid::AXES;
use crate::experiment::same::same;
use crate::experiment::tables::Table;
use crate::experiment::{Part, TableId};
use crate::store::{CellRecord, Error, ExperimentRecord};
use serde_json::Value;
use std::collections::BTreeMap;

/// A row that cannot be computed: why.
pub type Skipped = String;

/// How good a cell is: clips that its runs get right, counted and not averaged, so that equal ones are equal.
#[derive(Clone, Copy, Debug, Default)]
struct Merit {
    right: u64,
    runs: u64,
}

impl Merit {
    /// Adds a run that gets so many percent of so many clips right.
    fn add(&mut self, percent: f64, clips: usize) {
        self.right += (percent / 100.0 * clips as f64).round() as u64;
        self.runs += 1;
    }

    /// Compared as fractions of whole numbers.
    fn is_above(self, other: Merit) -> bool {
        u128::from(self.right) * u128::from(other.runs) > u128::from(other.right) * u128::from(self.runs)
    }
}

/// Where a table looks: its audio features, and the point of the further axes.
pub struct Scope<'a> {
    /// What `audio` stands for, in order of preference.
    pub audio: &'a [String],
    /// Values of further axes.
    pub at: &'a BTreeMap<String, Value>,
    /// The table, for messages.
    pub table: &'a TableId,
}

/// The point of the further axes that a table is of: what it says itself, or the first value of each.
pub fn point(experiment: &ExperimentRecord, table: &Table) -> BTreeMap<String, Value> {
    let axes =
        experiment.config.grid.iter().filter(|(axis, _)| !crate::experiment::grid::AXES.contains(&axis.as_str()));
    axes.filter_map(|(axis, values)| {
        let value = table.at.get(axis).or(values.first())?;
        Some((axis.clone(), value.clone()))
    })
    .collect()
}

impl Results<'_> {
    /// The audio feature that `audio` stands for in a table.
    pub fn audio_of(&self, scope: &Scope) -> Result<String, Skipped> {
        let has = |name: &&String| self.dataset.manifest.audio(name).is_some();
        let in_grid = |name: &&String| self.experiment.cells.iter().any(|c| c.part.audio() == Some(name.as_str()));
        scope.audio.iter().find(|n| has(n) && in_grid(n)).cloned().ok_or_else(|| {
            let have: Vec<&str> = self.dataset.manifest.audio.iter().map(|a| a.name.as_str()).collect();
            let wanted = scope.audio.join(" or ");
            if scope.audio.iter().any(|n| has(&n)) {
                format!("{wanted} is not in the experiment's grid")
            } else {
                format!("data set {} has no {wanted} feature (it has {})", self.dataset.manifest.name, have.join(", "))
            }
        })
    }

    pub(super) fn find(&self, scope: &Scope, part: &Part) -> Result<&CellRecord, Skipped> {
        let same = |c: &&CellRecord| {
            c.part == *part && scope.at.iter().all(|(axis, value)| c.overrides.get(axis).is_none_or(|v| same(v, value)))
        };
        let cell = self.experiment.cells.iter().find(same).ok_or_else(|| match part {
            Part::Stream { stream } => {
                let have: Vec<&str> = self.dataset.manifest.streams.iter().map(|s| s.name.as_str()).collect();
                format!("data set {} has no {stream} stream (it has {})", self.dataset.manifest.name, have.join(", "))
            }
            Part::Bank { audio }
            | Part::Generator { audio, .. }
            | Part::External { audio, .. }
            | Part::Control { audio, .. }
                if self.dataset.manifest.audio(audio).is_none() =>
            {
                format!("data set {} has no {audio} feature", self.dataset.manifest.name)
            }
            _ => format!("{} is not a cell of the grid", part.key()),
        })?;
        match &cell.skipped {
            Some(why) => Err(why.clone()),
            None => Ok(cell),
        }
    }

    /// The cell that a choice means: `Ok(Err(why))` where there is none.
    pub(super) fn choose(
        &self,
        scope: &Scope,
        audio: &str,
        choice: &Choice,
    ) -> Result<Result<(&CellRecord, bool), Skipped>, Error> {
        let group = |architecture: Option<Architecture>| -> Vec<&CellRecord> {
            let fits = |c: &&CellRecord| {
                let of_group = match &c.part {
                    Part::Generator { audio: a, generator: g, .. } => {
                        a == audio && architecture.is_none_or(|w| w == *g)
                    }
                    Part::External { audio: a, .. } => a == audio && architecture.is_none(),
                    _ => false,
                };
                of_group && scope.at.iter().all(|(axis, value)| c.overrides.get(axis).is_none_or(|v| same(v, value)))
            };
            self.experiment.cells.iter().filter(fits).collect()
        };
        let candidates = match choice {
            Choice::Cell(generator, loss, classifier) => {
                let part = Part::Generator {
                    audio: audio.into(),
                    generator: *generator,
                    loss: *loss,
                    classifier: *classifier,
                };
                return Ok(self.find(scope, &part).map(|c| (c, false)));
            }
            Choice::External(name) => {
                let part = Part::External { audio: audio.into(), external: name.clone() };
                return Ok(self.find(scope, &part).map(|c| (c, false)));
            }
            Choice::Control(control) => {
                let part = Part::Control { audio: audio.into(), control: *control };
                return Ok(self.find(scope, &part).map(|c| (c, false)));
            }
            Choice::BestOf(architecture) => group(Some(*architecture)),
            Choice::Best => group(None),
        };
        let on = self.experiment.config.fusion.select_on;
        let metric = match on {
            SelectOn::Val => "top1",
            SelectOn::Train => "top1/silent_train",
        };
        let mut best: Option<(Merit, &CellRecord)> = None;
        let mut why = format!("no {audio} generator in the grid");
        for cell in candidates {
            if let Some(skipped) = &cell.skipped {
                why = skipped.clone();
                continue;
            }
            let runs = self.done(cell)?;
            let mut merit = Merit::default();
            for run in &runs {
                let Some(percent) = run.values.get(metric).copied().filter(|v| v.is_finite()) else { continue };
                let counts = self.view(run.view_id)?.counts;
                let clips = match on {
                    SelectOn::Val => counts.val.0 + counts.val.1,
                    SelectOn::Train => counts.train.1,
                };
                merit.add(percent, clips);
            }
            if merit.runs == 0 {
                why = "not run".into();
                continue;
            }
            // The first of the grid wins a tie.
            if best.is_none_or(|(most, _)| merit.is_above(most)) {
                best = Some((merit, cell));
            }
        }
        Ok(best.map(|(_, cell)| (cell, true)).ok_or(why))
    }

    /// The cell that a term means in a row of its own, at the first value of each further axis: the same as in a table.
    pub fn cell_of(&self, term: &Term) -> Result<Result<&CellRecord, Skipped>, Error> {
        let axes = self.experiment.config.grid.iter().filter(|(axis, _)| !AXES.contains(&axis.as_str()));
        let at: BTreeMap<String, Value> =
            axes.filter_map(|(axis, values)| Some((axis.clone(), values.first()?.clone()))).collect();
        let scope = Scope { audio: &[], at: &at, table: &TableId::Number(0) };
        let name = term.name.clone();
        let part = match &term.choice {
            Some(choice) => return Ok(self.choose(&scope, &name, choice)?.map(|(cell, _)| cell)),
            None if self.experiment.cells.iter().any(|c| c.part.audio() == Some(&name)) => Part::Bank { audio: name },
            None => Part::Stream { stream: name },
        };
        Ok(self.find(&scope, &part))
    }

    /// The group of the cell that `best` stands for, if any generator has run.
    pub fn best_of(&self, scope: &Scope, audio: &str) -> Result<Option<Choice>, Error> {
        Ok(match self.choose(scope, audio, &Choice::Best)? {
            Ok((CellRecord { part: Part::Generator { generator, .. }, .. }, _)) => Some(Choice::BestOf(*generator)),
            Ok((CellRecord { part: Part::External { external, .. }, .. }, _)) => {
                Some(Choice::External(external.clone()))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 + 0 + 3 and 0 + 1 + 2 of seven clips are as good, whatever the means of the percentages say.
    #[test]
    fn cells_that_get_as_many_clips_right_are_equal() {
        let of = |right: [u32; 3]| {
            let percents = right.map(|n| 100.0 * f64::from(n) / 7.0);
            let mut merit = Merit::default();
            percents.iter().for_each(|percent| merit.add(*percent, 7));
            (merit, percents.iter().sum::<f64>() / 3.0)
        };
        let ((first, mean), (second, larger)) = (of([0, 0, 3]), of([0, 1, 2]));
        assert!(larger > mean, "the means differ in their last bits");
        assert!(!second.is_above(first) && !first.is_above(second));
        assert!(of([1, 1, 2]).0.is_above(first));
        // More seeds are not more clips.
        let one = Merit { right: 2, runs: 1 };
        assert!(one.is_above(first) && !Merit { right: 6, runs: 3 }.is_above(one));
    }
}
