//! An experiment's results, read from the store as they are asked for.

use super::departures::Departures;
use super::ranks::ranks;
use crate::dataset::Split;
use crate::experiment::config::SelectOn;
use crate::score::Scores;
use crate::store::{CellRecord, DatasetRecord, Error, ExperimentRecord, RunRecord, Store, ViewRecord};
use std::cell::RefCell;
use std::collections::HashMap;
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
}
