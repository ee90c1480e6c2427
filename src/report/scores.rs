//! From a fusion's terms to scores: what the cells that it names have, filled with recorded sound, added up and ranked.

use super::choose::{Scope, Skipped};
pub use super::ranks::right_by_class;
use super::ranks::{all_finite, ranks, tops};
use super::results::Results;
use crate::experiment::Part;
use crate::experiment::config::Sounded;
use crate::experiment::fusion_expr::{Fusion, Term};
use crate::score::Scores;
use crate::score::fusion::{counts, fill, fuse};
use crate::store::{CellRecord, Error, RunRecord, ViewRecord};
use std::rc::Rc;

/// One row's scores for each seed.
pub struct Fused {
    /// By seed, a single `None` where no summand depends on one: each reported clip's rank, as [`super::ranks::ranks`] counts.
    pub seeds: Vec<(Option<u64>, Vec<u32>)>,
    /// The view that they are of.
    pub view: Rc<ViewRecord>,
    /// The cells behind it: term, cell and, for a best-of choice, what it was chosen from.
    pub cells: Vec<UsedCell>,
    /// Runs that went in.
    pub runs: Vec<String>,
}

/// A cell that a row stands on.
#[derive(Clone, Debug)]
pub struct UsedCell {
    /// Its key.
    pub key: String,
    /// Whether it was chosen as the best of several.
    pub chosen: bool,
}

/// Scores of all clips that are reported, and the runs behind them.
type Filled = (Rc<Scores>, Vec<String>);

/// A term's scores for each seed, with the runs behind them.
type BySeed = Vec<(Option<u64>, Rc<Scores>, Vec<String>)>;

/// The beginning of a run's id, as it is shown.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A term's own scores by seed, and the view that they are of.
pub type Alone = (Vec<(Option<u64>, Rc<Scores>)>, Rc<ViewRecord>);

/// The class that each clip is taken for, by seed; `None` where nothing scored a clip.
pub struct Predicted {
    /// One a seed, a single one where nothing depends on seeds.
    pub seeds: Vec<(Option<u64>, Vec<Option<usize>>)>,
    /// The view that they are of.
    pub view: Rc<ViewRecord>,
}

impl Results<'_> {
    /// A term's scores by seed.
    #[allow(clippy::type_complexity)]
    fn term(&self, scope: &Scope, term: &Term) -> Result<Result<(BySeed, UsedCell, i64), Skipped>, Error> {
        let name = if term.name == "audio" {
            match self.audio_of(scope) {
                Ok(name) => name,
                Err(why) => return Ok(Err(why)),
            }
        } else {
            term.name.clone()
        };
        let is_audio = self.experiment.cells.iter().any(|c| c.part.audio() == Some(name.as_str()));
        let (cell, chosen) = match &term.choice {
            Some(choice) => match self.choose(scope, &name, choice)? {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            },
            None => {
                let part =
                    if is_audio { Part::Bank { audio: name.clone() } } else { Part::Stream { stream: name.clone() } };
                match self.find(scope, &part) {
                    Ok(cell) => (cell, false),
                    Err(why) => return Ok(Err(why)),
                }
            }
        };
        let runs = self.done(cell)?;
        if runs.is_empty() {
            return Ok(Err(self.why_not_done(cell)?));
        }
        let view_id = runs[0].view_id;
        let mut out = Vec::new();
        for run in &runs {
            let (scores, used) = match &cell.part {
                Part::Stream { .. } => (self.scores(run, "vision")?, vec![run.id.clone()]),
                Part::Bank { .. } => (self.scores(run, "real")?, vec![run.id.clone()]),
                Part::Generator { .. } | Part::External { .. } | Part::Control { .. } => {
                    match self.filled(scope, run, &name)? {
                        Ok((scores, used)) => (Some(scores), used),
                        Err(why) => return Ok(Err(why)),
                    }
                }
            };
            let Some(scores) = scores else { return Ok(Err(self.no_scores(run)?)) };
            if !all_finite(&scores) {
                return Ok(Err(format!("run {} has scores that are not finite; it says nothing", short(&run.id))));
            }
            out.push((run.seed, scores, used));
        }
        Ok(Ok((out, UsedCell { key: cell.key.clone(), chosen }, view_id)))
    }

    /// Generated scores with real ones where clips sound (A11).
    fn filled(&self, scope: &Scope, run: &RunRecord, audio: &str) -> Result<Result<Filled, Skipped>, Error> {
        let Some(generated) = self.scores(run, "generated")? else { return Ok(Err(self.no_scores(run)?)) };
        if self.experiment.config.fusion.sounded == Sounded::Generated {
            return Ok(Ok((generated, vec![run.id.clone()])));
        }
        let mut used = vec![run.id.clone()];
        // A run that trained a bank of its own brings its own real scores.
        let real = match self.scores(run, "real")? {
            Some(real) => real,
            None => {
                let bank = match self.find(scope, &Part::Bank { audio: audio.into() }) {
                    Ok(bank) => bank,
                    Err(why) => return Ok(Err(why)),
                };
                let done = self.done(bank)?;
                let Some(bank_run) = done.first() else { return Ok(Err(self.why_not_done(bank)?)) };
                used.push(bank_run.id.clone());
                match self.scores(bank_run, "real")? {
                    Some(real) => real,
                    None => return Ok(Err(self.no_scores(bank_run)?)),
                }
            }
        };
        let view = self.view(run.view_id)?;
        Ok(Ok((Rc::new(fill(&real, &generated, &view.shown().sounded)), used)))
    }

    fn no_scores(&self, run: &RunRecord) -> Result<String, Error> {
        Ok(format!("run {} has no scores of {} clips", short(&run.id), self.view(run.view_id)?.reported().name()))
    }

    fn why_not_done(&self, cell: &CellRecord) -> Result<String, Error> {
        let runs = self.runs(cell)?;
        let failed = runs.iter().find_map(|r| r.error.clone());
        Ok(match failed {
            Some(error) => format!("{}: failed: {}", cell.key, error.lines().next().unwrap_or_default()),
            None => format!("{}: not run yet", cell.key),
        })
    }

    /// A term's own scores by seed, without recorded sound in the place of generated, and the view that they are of; `None`
    /// where it has none.
    pub fn alone(&self, scope: &Scope, term: &Term) -> Result<Option<Alone>, Error> {
        let (part, what) = match &term.choice {
            None => (self.find(scope, &Part::Bank { audio: term.name.clone() }).ok(), "real"),
            Some(choice) => (self.choose(scope, &term.name, choice)?.ok().map(|(cell, _)| cell), "generated"),
        };
        let Some(cell) = part else { return Ok(None) };
        let mut out = Vec::new();
        let runs = self.done(cell)?;
        for run in &runs {
            if let Some(scores) = self.scores(run, what)? {
                out.push((run.seed, scores));
            }
        }
        match runs.first() {
            Some(run) if !out.is_empty() => Ok(Some((out, self.view(run.view_id)?))),
            _ => Ok(None),
        }
    }

    /// The class that each clip is taken for by a fusion, for every seed that all of its summands have.
    pub fn predicted(&self, scope: &Scope, fusion: &Fusion) -> Result<Result<Predicted, Skipped>, Error> {
        let sums = match self.sums(scope, fusion)? {
            Ok(sums) => sums,
            Err(why) => return Ok(Err(why)),
        };
        let (view, mut seeds) = (sums.view.clone(), Vec::new());
        Ok(sums.each(|seed, sum| seeds.push((seed, tops(sum)))).map(|()| Predicted { seeds, view }))
    }

    /// A fusion's ranks for every seed that all of its summands have.
    pub fn fused(&self, scope: &Scope, fusion: &Fusion) -> Result<Result<Fused, Skipped>, Error> {
        let sums = match self.sums(scope, fusion)? {
            Ok(sums) => sums,
            Err(why) => return Ok(Err(why)),
        };
        let mut seeds = Vec::new();
        let labels = &sums.view.shown().labels;
        if let Err(why) = sums.each(|seed, sum| seeds.push((seed, ranks(sum, labels)))) {
            return Ok(Err(why));
        }
        Ok(Ok(Fused { seeds, view: sums.view, cells: sums.cells, runs: sums.runs }))
    }

    /// What a fusion adds up, for every seed that all of its summands have.
    fn sums(&self, scope: &Scope, fusion: &Fusion) -> Result<Result<Sums, Skipped>, Error> {
        let mut terms = Vec::new();
        let mut cells = Vec::new();
        let mut view_id = None;
        for term in &fusion.terms {
            match self.term(scope, term)? {
                Ok((scores, cell, view)) => {
                    let audio =
                        if term.name == "audio" { self.audio_of(scope).unwrap_or_default() } else { term.name.clone() };
                    let weights = &self.experiment.config.fusion.weights;
                    let weight = weights.get(&audio).copied().unwrap_or(1.0);
                    // A stream's view is whichever ran first; an audio feature's says which clips are silent.
                    if view_id.is_none()
                        || term.choice.is_some()
                        || self.experiment.cells.iter().any(|c| c.part.audio() == Some(&audio))
                    {
                        view_id = Some(view);
                    }
                    terms.push((scores, weight));
                    cells.push(cell);
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        if !terms.iter().any(|(_, weight)| counts(*weight)) {
            return Ok(Err("every part of it has the weight 0".into()));
        }
        let seeded: Vec<Vec<u64>> = terms
            .iter()
            .filter(|(scores, _)| scores.iter().any(|(seed, ..)| seed.is_some()))
            .map(|(scores, _)| scores.iter().filter_map(|(seed, ..)| *seed).collect())
            .collect();
        let seeds: Vec<Option<u64>> = match seeded.first() {
            None => vec![None],
            Some(first) => first.iter().filter(|s| seeded.iter().all(|of| of.contains(s))).map(|s| Some(*s)).collect(),
        };
        if seeds.is_empty() {
            return Ok(Err("its parts have no seed in common yet".into()));
        }
        let view = self.view(view_id.unwrap_or_default())?;
        let mut out = Vec::new();
        let mut runs = Vec::new();
        for seed in seeds {
            let mut summands = Vec::new();
            for (scores, weight) in &terms {
                let own = scores.iter().find(|(s, ..)| *s == seed || s.is_none());
                let Some((_, scores, used)) = own else {
                    return Ok(Err("its parts have no seed in common yet".into()));
                };
                summands.push((scores.clone(), *weight));
                runs.extend(used.iter().cloned());
            }
            out.push((seed, summands));
        }
        runs.sort();
        runs.dedup();
        Ok(Ok(Sums { seeds: out, view, cells, runs }))
    }
}

/// Scores with their weights.
type Summands = Vec<(Rc<Scores>, f64)>;

/// Summands of a fusion by seed.
struct Sums {
    seeds: Vec<(Option<u64>, Summands)>,
    view: Rc<ViewRecord>,
    cells: Vec<UsedCell>,
    runs: Vec<String>,
}

impl Sums {
    /// Adds up, one seed at a time.
    fn each(&self, mut take: impl FnMut(Option<u64>, &Scores)) -> Result<(), Skipped> {
        for (seed, summands) in &self.seeds {
            let summands: Vec<(&Scores, f64)> = summands.iter().map(|(scores, weight)| (&**scores, *weight)).collect();
            let sum = fuse(&summands);
            if !all_finite(&sum) {
                return Err("the weighted sum of its parts is not finite".into());
            }
            take(*seed, &sum);
        }
        Ok(())
    }
}

impl Fused {
    /// Top-k in percent for each seed.
    pub fn top_k(&self, k: usize) -> Vec<f64> {
        let percent = |ranks: &Vec<u32>| {
            let right = ranks.iter().filter(|r| (**r as usize) < k).count();
            (!ranks.is_empty()).then(|| 100.0 * right as f64 / ranks.len() as f64)
        };
        self.seeds.iter().filter_map(|(_, ranks)| percent(ranks)).collect()
    }
}
