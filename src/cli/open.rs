//! What most verbs begin with: the experiment, the data set, the store.

use super::args::ExperimentArgs;
use super::{Failure, progress};
use crate::dataset::Dataset;
use crate::experiment::{Claims, Experiment, Ledger, Tables};
use crate::report::departures::{self, Departures};
use crate::runs::Plan;
use crate::store::{ExperimentRecord, Pick, PickError, RunRecord, State, Store, Variant};
use std::path::Path;
use std::sync::Arc;

/// An experiment on its data set, which is read whole where it was not before.
pub(super) fn plan(args: &ExperimentArgs) -> Result<(Experiment, Plan), Failure> {
    plan_on(args, Dataset::open)
}

/// The same for whoever trains, and asks of a copied data set whether it was one before anything is kept or told.
pub(super) fn plan_to_train(args: &ExperimentArgs) -> Result<(Experiment, Plan), Failure> {
    plan_on(args, Dataset::open_staged)
}

fn plan_on(
    args: &ExperimentArgs,
    open: fn(&Path) -> Result<Dataset, crate::dataset::Error>,
) -> Result<(Experiment, Plan), Failure> {
    let mut experiment = Experiment::load(&args.experiment, &args.sets)?;
    if let Some(seeds) = &args.seeds {
        experiment.config.seeds = seeds.clone();
        experiment.config.check().map_err(|(path, message)| Failure::usage(format!("--{path}: {message}")))?;
    }
    let dir = match (&args.dataset, &experiment.config.dataset) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => experiment.dir.join(dir),
        (None, None) => {
            return Err(Failure::usage(format!(
                "{}: no data set\n  next: pass --dataset DIR; `unmute data synth DIR` makes a small one",
                args.experiment.display()
            )));
        }
    };
    let spinner = progress::spinner(&format!("checking {}", dir.display()));
    let dataset = Arc::new(open(&dir)?);
    drop(spinner);
    notes(&dataset);
    let seeds = experiment.config.seeds.clone();
    let plan = Plan::with_features(&experiment, dataset, &seeds, args.features.as_deref())?;
    Ok((experiment, plan))
}

/// Says what whoever opens a data set should know of it.
pub(super) fn notes(dataset: &Dataset) {
    for note in &dataset.notes {
        progress::say(&format!("note: {note}"));
    }
}

/// The experiment that `what` (a folder, or a name in the store) means: the variant that was run last, or the one that is
/// picked. The folder's own tables, claims and ledger are used where the folder is there, so that editing a table needs no
/// training.
pub(super) fn recorded(store: &Store, what: &Path, pick: &Pick) -> Result<Recorded, Failure> {
    let folder = if what.join("experiment.yaml").is_file() { Some(Experiment::load(what, &[])?) } else { None };
    let name = folder.as_ref().map_or_else(|| what.to_string_lossy().into_owned(), |e| e.config.name.clone());
    let (variant, mut record) = store.pick(&name, pick).map_err(|e| match e {
        PickError::Store(e) => e.into(),
        PickError::NoExperiment { .. } => Failure::usage(format!(
            "{}: {e}\n  next: unmute run {} --dataset DIR --db {}",
            what.display(),
            what.display(),
            store.path().display()
        )),
        e => Failure::usage(format!("{}: {e}", what.display())),
    })?;
    let departures = departures(&record, folder.as_ref(), what);
    if let Some(Experiment { tables, claims, ledger, .. }) = folder {
        if tables != Tables::default() {
            record.tables = tables.with_externals(&record.config);
        }
        if claims != Claims::default() {
            record.claims = claims;
        }
        if ledger != Ledger::default() {
            record.ledger = ledger;
        }
    }
    // Also what the run was set to beside the folder.
    record.ledger.hold_against(&record.config);
    Ok(Recorded { variant, record, departures })
}

/// An experiment as the store has it, and in what that departs from its declaration.
pub(super) struct Recorded {
    pub variant: Variant,
    pub record: ExperimentRecord,
    pub departures: Departures,
}

impl Recorded {
    /// Says on stderr in what the numbers are not those that are declared.
    pub fn tell(&self) {
        for line in self.departures.sentences() {
            progress::say(&format!("note: {line}"));
        }
        if !self.departures.edits.is_empty() {
            progress::say("next: `unmute run` with the experiment as it is now; what is done is not trained again");
        }
    }
}

/// In what a recorded experiment departs from the folder that declares it, or, without the folder, from what the store
/// knows of it.
fn departures(record: &ExperimentRecord, folder: Option<&Experiment>, what: &Path) -> Departures {
    let declared = record.declared.as_deref();
    let Some(folder) = folder else { return Departures::of(record, declared) };
    // With the same --set values, so that what differs was edited.
    let now = match Experiment::load(what, &record.sets) {
        Ok(now) => now.config,
        Err(_) => folder.config.clone(),
    };
    let mut edits = departures::edits(&record.config, &now);
    if let Some(declared) = declared.filter(|declared| *declared != now.seeds) {
        edits.push(format!("seeds: {declared:?} when run, {:?} now", now.seeds));
    }
    // A store of an earlier version does not know what was declared: the folder does.
    Departures { edits, ..Departures::of(record, Some(declared.unwrap_or(&now.seeds))) }
}

/// Opens a store to read.
pub(super) fn store(db: &Path) -> Result<Store, Failure> {
    Ok(told(Store::open_to_read(db)?))
}

/// Opens a store to write in, making it where there is none.
pub(super) fn writable(db: &Path) -> Result<Store, Failure> {
    Ok(told(Store::open(db)?))
}

/// Says where the old state of a store is that was migrated by opening it.
pub(super) fn told(store: Store) -> Store {
    if let Some(backup) = store.migrated() {
        let path = store.path().display();
        progress::say(&format!(
            "note: {path} was of an earlier version and is now migrated; {} is as it was",
            backup.display()
        ));
    }
    store
}

/// The run whose id begins so.
pub(super) fn run(store: &Store, start: &str) -> Result<RunRecord, Failure> {
    store.run_beginning(start)?.map_err(|ids| {
        let db = store.path().display();
        if ids.is_empty() {
            return Failure::usage(format!(
                "no run begins with {start:?} in {db}\n  next: `unmute ls --db {db}` lists them"
            ));
        }
        let some: Vec<&str> = ids.iter().take(5).map(|id| id.get(..16).unwrap_or(id)).collect();
        let more = if ids.len() > some.len() { ", ..." } else { "" };
        Failure::usage(format!(
            "several runs begin with {start:?}: {}{more}\n  next: give more of the id",
            some.join(", ")
        ))
    })
}

/// The state of a run; one that is marked as running and whose process is gone is no ghost.
pub(super) fn state(run: &RunRecord) -> &'static str {
    match run.state {
        State::Running if !crate::runs::alive(&run.owner()) => "dead",
        state => state.word(),
    }
}

/// The beginning of an id that is shown.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
