//! Which runs an experiment needs on a data set, which are done, and what the rest will cost.

use super::fingerprint::{fingerprint, spec};
use crate::dataset::external::External;
use crate::dataset::{Dataset, Missing, Split, View};
use crate::experiment::config::{Config, Control, Engine};
use crate::experiment::{Cell, Experiment, Part};
use crate::model::Sizes;
use crate::store::{CellRecord, State};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A cell with the view it runs on.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The cell.
    pub cell: Cell,
    /// Its data; `None` where it is skipped.
    pub view: Option<Arc<View>>,
    /// What its numbers depend on, less the seed.
    pub spec: serde_json::Value,
    /// The fingerprint of `spec`.
    pub fingerprint: String,
    /// The features that it scores, where another program generated them.
    pub external: Option<Arc<External>>,
    /// Why it is not run.
    pub skipped: Option<String>,
    /// Runs: seed and id.
    pub runs: Vec<(Option<u64>, String)>,
}

/// Every cell of an experiment on a data set.
pub struct Plan {
    /// The cells, in the order of the grid.
    pub cells: Vec<Planned>,
    /// The data set.
    pub dataset: Arc<Dataset>,
    /// The experiment's folder; empty where it was read from a store.
    pub folder: PathBuf,
    /// Only these runs are to be done, where somebody says which; the others stay in the plan.
    pub only: Option<HashSet<String>>,
}

/// A run that is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Open<'p> {
    /// Its cell.
    pub planned: &'p Planned,
    /// Its seed, if its result depends on one.
    pub seed: Option<u64>,
    /// Its id.
    pub id: &'p str,
}

impl Open<'_> {
    /// `vggish/lstm/l2/with seed 0`.
    pub fn name(&self) -> String {
        run_name(self.planned, self.seed)
    }
}

/// `vggish/lstm/l2/with seed 0`.
pub fn run_name(planned: &Planned, seed: Option<u64>) -> String {
    let key = planned.cell.key();
    seed.map_or(key.clone(), |seed| format!("{key} seed {seed}"))
}

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something in the YAML.
    #[error("{0}")]
    Experiment(#[from] crate::experiment::Problem),
    /// Something in the data.
    #[error("{0}")]
    Dataset(#[from] crate::dataset::Error),
}

impl Plan {
    /// Resolves views and fingerprints.
    pub fn new(experiment: &Experiment, dataset: Arc<Dataset>, seeds: &[u64]) -> Result<Plan, Error> {
        Plan::with_features(experiment, dataset, seeds, None)
    }

    /// The same with features that other programs generated, in `folder` or else in the data set's own.
    pub fn with_features(
        experiment: &Experiment,
        dataset: Arc<Dataset>,
        seeds: &[u64],
        folder: Option<&Path>,
    ) -> Result<Plan, Error> {
        let mut externals: BTreeMap<(String, String), Option<Arc<External>>> = BTreeMap::new();
        let streams: Vec<String> = dataset.manifest.streams.iter().map(|s| s.name.clone()).collect();
        let mut views: Vec<(Option<Missing>, Arc<View>)> = Vec::new();
        let mut cells = Vec::new();
        for cell in experiment.cells(&streams)? {
            let missing = cell.config.missing.clone();
            let view = match views.iter().find(|(m, _)| *m == missing) {
                Some((_, view)) => view.clone(),
                None => {
                    let view = Arc::new(View::new(dataset.clone(), missing.as_ref())?);
                    views.push((missing, view.clone()));
                    view
                }
            };
            let mut skipped = skip(&cell, &view);
            let mut external = None;
            if let Part::External { audio, external: name } = &cell.part {
                let key = (audio.clone(), name.clone());
                if !externals.contains_key(&key) {
                    let found = External::open(&dataset, folder, audio, name)?.map(Arc::new);
                    externals.insert(key.clone(), found);
                }
                external = externals.get(&key).cloned().flatten();
                if external.is_none() {
                    skipped.get_or_insert_with(|| absent(&dataset, folder, audio, name));
                }
            }
            let spec = spec(&cell, &view, external.as_deref());
            let runs: Vec<(Option<u64>, String)> = match cell.part.seeded(&dataset.manifest) {
                true => seeds.iter().map(|&s| (Some(s), fingerprint(&spec, Some(s)))).collect(),
                false => vec![(None, fingerprint(&spec, None))],
            };
            check_blocks(experiment, &cell, &dataset)?;
            let fingerprint = fingerprint(&spec, None);
            cells.push(Planned { fingerprint, view: Some(view), cell, spec, external, skipped, runs });
        }
        // A grid that asks for what nobody made is a slip; one that has it for some of its audio features is none.
        for (audio, name) in externals.keys() {
            let anywhere = externals.iter().any(|((_, other), found)| other == name && found.is_some());
            if !anywhere && dataset.manifest.audio(audio).is_some() {
                return Err(experiment.problem("grid.generator", absent(&dataset, folder, audio, name)).into());
            }
        }
        Ok(Plan { cells, dataset, folder: experiment.dir.clone(), only: None })
    }

    /// The cells as the store keeps them.
    pub fn records(&self, view_id: impl Fn(&View) -> Option<i64>) -> Vec<CellRecord> {
        self.cells
            .iter()
            .map(|p| CellRecord {
                key: p.cell.key(),
                part: p.cell.part.clone(),
                overrides: p.cell.overrides.clone(),
                view_id: p.view.as_deref().and_then(&view_id),
                fingerprint: p.skipped.is_none().then(|| p.fingerprint.clone()),
                skipped: p.skipped.clone(),
            })
            .collect()
    }

    /// Runs that are neither done nor skipped, each once; only those that are wanted where somebody says which.
    pub fn open(&self, states: &BTreeMap<String, State>) -> Vec<Open<'_>> {
        self.wanted().into_iter().filter(|open| states.get(open.id) != Some(&State::Done)).collect()
    }

    /// Runs that are not skipped, each once; only those that are wanted where somebody says which.
    pub fn wanted(&self) -> Vec<Open<'_>> {
        let wanted = |open: &Open| self.only.as_ref().is_none_or(|only| only.contains(open.id));
        self.runs().into_iter().filter(wanted).collect()
    }

    /// Runs that are not skipped, each once, in the order of the grid.
    pub fn runs(&self) -> Vec<Open<'_>> {
        let mut seen = HashSet::new();
        let cells = self.cells.iter().filter(|p| p.skipped.is_none());
        cells
            .flat_map(|planned| planned.runs.iter().map(move |(seed, id)| Open { planned, seed: *seed, id }))
            .filter(|open| seen.insert(open.id))
            .collect()
    }

    /// The bank that a generator or control is scored with; none for other cells.
    pub fn bank_of(&self, planned: &Planned) -> Option<&Planned> {
        let (Part::Generator { audio, .. } | Part::External { audio, .. } | Part::Control { audio, .. }) =
            &planned.cell.part
        else {
            return None;
        };
        let view = |p: &Planned| p.view.as_ref().map(|v| v.fingerprint.clone());
        let wanted = view(planned)?;
        let same = |p: &&Planned| {
            matches!(&p.cell.part, Part::Bank { audio: of } if of == audio)
                && p.cell.overrides == planned.cell.overrides
                && view(p).as_ref() == Some(&wanted)
        };
        self.cells.iter().find(same)
    }
}

/// Where features of a generator from elsewhere were looked for.
fn absent(dataset: &Dataset, folder: Option<&Path>, audio: &str, name: &str) -> String {
    format!(
        "no {audio} of the generator external:{name} in {}: one file a clip is expected, such as {}_{audio}.{name}.npy (or --features DIR)",
        folder.unwrap_or(&dataset.dir).display(),
        dataset.clips.iter().find(|clip| clip.split == Split::Val).map_or("CLIP", |clip| clip.name.as_str())
    )
}

/// Why a cell cannot run on this data, if it cannot.
fn skip(cell: &Cell, view: &View) -> Option<String> {
    let dataset = &view.dataset;
    let audio = cell.part.audio()?;
    if dataset.audio(audio).is_none() {
        let has: Vec<&str> = dataset.manifest.audio.iter().map(|a| a.name.as_str()).collect();
        return Some(format!("data set {} has no {audio} feature (it has {})", dataset.manifest.name, has.join(", ")));
    }
    if let Part::Control { control: Control::Oracle, .. } = cell.part {
        for split in view.scored() {
            let silent = view.clips(*split).iter().filter(|&&c| !view.sounded[c]);
            let unknown = silent.filter(|&&c| dataset.audio_row[c].is_none()).count();
            if unknown > 0 {
                return Some(format!("the true audio of {unknown} silent {} clips is not known", split.name()));
            }
        }
    }
    None
}

/// A KL block must divide the feature's width.
fn check_blocks(experiment: &Experiment, cell: &Cell, dataset: &Dataset) -> Result<(), Error> {
    if let (Some(block), Some(audio)) = (cell.config.train.kl_block, cell.part.audio())
        && let Some(feature) = dataset.manifest.audio(audio)
        && feature.width % block != 0
    {
        let message = format!("train.kl_block: {block} does not divide the {} dimensions of {audio}", feature.width);
        return Err(experiment.problem("train.kl_block", message).into());
    }
    Ok(())
}

impl Planned {
    /// How many clips an epoch of its generator trains on.
    pub(super) fn trained_clips(&self) -> f64 {
        self.view.as_ref().map_or(0, |view| view.train_sounded.len()) as f64
    }

    /// Whether products of its training [round their factors](crate::model::generator::FusedTrunk::is_rounded).
    pub fn is_rounded(&self) -> bool {
        let Part::Generator { generator, .. } = &self.cell.part else { return false };
        self.cell.config.generator(*generator).describe().fused().is_some_and(|trunk| trunk.is_rounded())
    }

    /// The engine that trains it; none for what trains no network.
    pub fn engine(&self) -> Option<Engine> {
        let config = &self.cell.config;
        match &self.cell.part {
            Part::Stream { stream } => {
                let given = self.view.as_ref().is_some_and(|v| v.dataset.scores(stream).is_some());
                (!given).then_some(config.train.engine)
            }
            Part::Generator { generator, .. } => match config.generator(*generator).describe().fused() {
                Some(_) => Some(config.train.engine),
                None => Some(Engine::Dfdx),
            },
            Part::Bank { .. } | Part::External { .. } | Part::Control { .. } => None,
        }
    }
}

/// Operations of one clip in a generator.
#[derive(Clone, Copy, Debug)]
pub struct ClipCosts {
    /// Forward, backward and update.
    pub trained: f64,
    /// Forward alone.
    pub measured: f64,
}

/// What a clip costs a generator; `None` for other cells.
pub fn clip_costs(planned: &Planned) -> Option<ClipCosts> {
    let Part::Generator { generator, audio, .. } = &planned.cell.part else { return None };
    let m = &planned.view.as_ref()?.dataset.manifest;
    let sizes = Sizes {
        frames: m.frames,
        visual: m.visual_width(),
        audio: m.audio(audio).map_or(0, |a| a.width),
        classes: m.classes.len(),
    };
    let network = planned.cell.config.generator(*generator).describe().network(sizes);
    let (measured, first) = (network.operations(), network.first_operations());
    // A training step: forward, gradients of inputs (but not of the first product) and of weights.
    Some(ClipCosts { trained: 3.0 * measured - first, measured })
}

/// Floating-point operations of a run, roughly: what its products cost.
pub fn cost(planned: &Planned) -> f64 {
    let Some(view) = &planned.view else { return 0.0 };
    let m = &view.dataset.manifest;
    let config: &Config = &planned.cell.config;
    let (t, dv, k) = (m.frames as f64, m.visual_width() as f64, m.classes.len() as f64);
    let (train, val) = (view.train_sounded.len() as f64, (view.val.len() + view.test.len()) as f64);
    let silent = view.train.len() as f64 - train;
    let da = planned.cell.part.audio().and_then(|a| m.audio(a)).map_or(0.0, |a| a.width as f64);
    match &planned.cell.part {
        Part::Stream { stream } if view.dataset.scores(stream).is_some() => val * k,
        Part::Stream { stream } => {
            let d = m.stream(stream).map_or(0.0, |s| s.width as f64);
            4.0 * view.train.len() as f64 * d * k * config.tsn.epochs as f64
                + (view.train.len() as f64 + val) * t * dv * 4.0
        }
        // Products with X in both directions: about 40 for all rows, and 25 for each fold, which begins warm.
        Part::Bank { .. } => 4.0 * train * da * k * (40.0 + 25.0 * config.svm.folds as f64),
        Part::External { .. } => 2.0 * val * da * k,
        Part::Control { .. } => 2.0 * train * val * dv + 2.0 * val * da * k,
        Part::Generator { .. } => clip_costs(planned).map_or(0.0, |clip| {
            let epochs = config.train.epochs as f64;
            epochs * (train * clip.trained + val * clip.measured) + (val + silent) * clip.measured
        }),
    }
}
