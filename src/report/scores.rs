//! From a fusion's terms to scores: which cells it names, which runs they have, which cell is the best of a group.

use super::departures::Departures;
pub use super::ranks::right_by_class;
use super::ranks::{all_finite, ranks, tops};
use crate::dataset::Split;
use crate::experiment::config::{Architecture, SelectOn, Sounded};
use crate::experiment::fusion_expr::{Choice, Fusion, Term};
use crate::experiment::grid::AXES;
use crate::experiment::same::same;
use crate::experiment::tables::Table;
use crate::experiment::{Part, TableId};
use crate::score::Scores;
use crate::score::fusion::{counts, fill, fuse};
use crate::store::{CellRecord, DatasetRecord, Error, ExperimentRecord, RunRecord, Store, ViewRecord};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Scores by run and kind, as far as they were asked for.
type ScoreCache = HashMap<(String, String), Option<Rc<Scores>>>;

/// An experiment's results, read from the store as they are asked for.
pub struct Results<'a> {
    /// The experiment as it was run last.
    pub experiment: &'a ExperimentRecord,
    /// Its data set.
    pub dataset: DatasetRecord,
    /// In what they are not those of the experiment as it is declared.
    pub departures: Departures,
    store: &'a Store,
    /// Only runs with these seeds.
    seeds: Vec<u64>,
    views: RefCell<HashMap<i64, Rc<ViewRecord>>>,
    runs: RefCell<HashMap<String, Rc<Vec<RunRecord>>>>,
    scores: RefCell<ScoreCache>,
}

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

impl<'a> Results<'a> {
    /// Prepares to read an experiment's results, from the runs of its own seeds alone: other seeds of the same cells may be
    /// in the store, and are not what was asked for.
    pub fn new(store: &'a Store, experiment: &'a ExperimentRecord) -> Result<Self, Error> {
        Ok(Results {
            dataset: store.dataset(experiment.dataset_id)?,
            departures: Departures::of(experiment, experiment.declared.as_deref()),
            experiment,
            store,
            seeds: experiment.config.seeds.clone(),
            views: RefCell::default(),
            runs: RefCell::default(),
            scores: RefCell::default(),
        })
    }

    /// The same, with all that is known of how they depart from the declaration.
    pub fn departing(self, departures: Departures) -> Self {
        Results { departures, ..self }
    }

    /// The same, of these seeds alone.
    pub fn only(self, seeds: &[u64]) -> Self {
        Results { seeds: seeds.to_vec(), ..self }
    }

    /// A view.
    pub fn view(&self, id: i64) -> Result<Rc<ViewRecord>, Error> {
        if let Some(view) = self.views.borrow().get(&id) {
            return Ok(view.clone());
        }
        let view = Rc::new(self.store.view(id)?);
        self.views.borrow_mut().insert(id, view.clone());
        Ok(view)
    }

    /// The split that tables are of: test where the data set has one, else val.
    pub fn reported(&self) -> Result<Split, Error> {
        let view = self.experiment.cells.iter().find_map(|cell| cell.view_id);
        view.map_or(Ok(Split::Val), |id| Ok(self.view(id)?.reported()))
    }

    /// What is selected on what, and reported on what.
    pub fn selection(&self) -> Result<Vec<String>, Error> {
        let config = &self.experiment.config;
        let reported = self.reported()?;
        let on = match config.fusion.select_on {
            SelectOn::Val => "top-1 on val clips",
            SelectOn::Train => "top-1 on silent train clips",
        };
        let mut lines = vec![format!("The best of a group of generators is chosen by its mean {on}.")];
        lines.push(match &config.train.stop {
            None => "Every generator is trained for all of its epochs; none is chosen.".into(),
            Some(stop) => format!(
                "Of every generator the epoch with the best {} on val clips is kept; training ends after {} without a better one.",
                stop.metric.told(),
                match stop.patience {
                    1 => "one epoch".into(),
                    n => format!("{n} epochs"),
                }
            ),
        });
        let on_val = config.fusion.select_on == SelectOn::Val || config.train.stop.is_some();
        lines.push(match (reported, on_val) {
            (Split::Test, _) => "Tables, intervals and claims are of test clips, which nothing was chosen on.".into(),
            (_, true) => "Tables, intervals and claims are of val clips, the same that were chosen on: the data set has no test split, which flatters what was chosen.".into(),
            (_, false) => "Tables, intervals and claims are of val clips, which nothing was chosen on.".into(),
        });
        Ok(lines)
    }

    /// All runs of a cell, whatever their state.
    pub fn runs(&self, cell: &CellRecord) -> Result<Rc<Vec<RunRecord>>, Error> {
        let Some(fingerprint) = &cell.fingerprint else { return Ok(Rc::default()) };
        if let Some(runs) = self.runs.borrow().get(fingerprint) {
            return Ok(runs.clone());
        }
        let mut runs = self.store.runs_of_cell(fingerprint, false)?;
        runs.retain(|run| run.seed.is_none_or(|seed| self.seeds.contains(&seed)));
        let runs = Rc::new(runs);
        self.runs.borrow_mut().insert(fingerprint.clone(), runs.clone());
        Ok(runs)
    }

    /// Finished runs of a cell.
    pub fn done(&self, cell: &CellRecord) -> Result<Vec<RunRecord>, Error> {
        Ok(self.runs(cell)?.iter().filter(|r| r.state == crate::store::State::Done).cloned().collect())
    }

    /// A run's scores of the clips that tables are of: test where the data set has such a split, else val.
    pub fn scores(&self, run: &RunRecord, what: &str) -> Result<Option<Rc<Scores>>, Error> {
        let what = format!("{}{what}", self.view(run.view_id)?.reported().prefix());
        let key = (run.id.clone(), what);
        if let Some(scores) = self.scores.borrow().get(&key) {
            return Ok(scores.clone());
        }
        let scores = self.store.scores(&run.id, &key.1)?.map(Rc::new);
        self.scores.borrow_mut().insert(key, scores.clone());
        Ok(scores)
    }

    /// Top-1 of a run's generated feature alone, in percent: over clips that sound, and over silent ones. `None` where
    /// it has no such scores, or there are no such clips.
    pub fn generated_alone(&self, run: &RunRecord) -> Result<[Option<f64>; 2], Error> {
        let Some(scores) = self.scores(run, "generated")? else { return Ok([None, None]) };
        let view = self.view(run.view_id)?;
        let shown = view.shown();
        let ranks = ranks(&scores, &shown.labels);
        let of = |sounds: bool| {
            let wanted = ranks.iter().zip(&shown.sounded).filter(|(_, sounded)| **sounded == sounds);
            let (right, all) =
                wanted.fold((0, 0), |(right, all), (rank, _)| (right + usize::from(*rank == 0), all + 1));
            (all > 0).then(|| 100.0 * right as f64 / all as f64)
        };
        Ok([of(true), of(false)])
    }

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

    fn find(&self, scope: &Scope, part: &Part) -> Result<&CellRecord, Skipped> {
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
    fn choose(
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
