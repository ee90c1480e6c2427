//! `unmute` as a library: makes a small synthetic data set, trains a grid of four cells, and prints a table beside its
//! published values. `cargo run --example library` takes seconds and leaves nothing behind.

// An example may print, and end with what went wrong.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use unmute::dataset::synth::{self, Preset};
use unmute::dataset::{Dataset, View};
use unmute::device::Which;
use unmute::experiment::Experiment;
use unmute::report::evaluate::evaluate_at;
use unmute::report::results::Results;
use unmute::report::table::EvaluatedTable;
use unmute::runs::{Event, Options, Plan, Stop, run_all};
use unmute::store::{DatasetKey, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;

    // A data set is a folder. This one is drawn: classes that look alike and sound different.
    let data = folder.path().join("data");
    let small =
        synth::Options { preset: Preset::Mini, seed: 0, train_clips: Some(400), val_clips: Some(200), sounded: false };
    synth::synth(&data, &small, &|_, _| {})?;
    let dataset = Arc::new(Dataset::open(&data)?);
    println!("{}: {} clips, {} classes", dataset.manifest.name, dataset.clips.len(), dataset.classes());

    // An experiment is a folder of YAML; the paper's, made small.
    let sets = [
        "grid.audio=[vggish]",
        "grid.loss=[l2]",
        "controls=[mean]",
        "train.epochs=20",
        "tsn.epochs=5",
        "lstm.hidden=32",
        "autoencoder.encoder=[32, 16]",
        "autoencoder.decoder=[32]",
    ];
    let paper = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/icassp2019");
    let experiment = Experiment::load(&paper, &sets.map(String::from))?;

    // The plan has a run for each cell and seed, named by a hash of all that its numbers depend on.
    let plan = Plan::new(&experiment, dataset, &[0])?;

    // A store is one SQLite file. Whatever stops the program, what is in it stays.
    let store = Store::open(&folder.path().join("runs.db"))?;
    record(&store, &experiment, &plan)?;
    let options = Options {
        workers: 1,
        cells: None,
        threads: 2,
        fail_fast: true,
        retries: 0,
        checkpoint_every: Duration::from_secs(60),
        keep: unmute::experiment::config::Keep::Best,
        ..Options::default()
    };
    let watch = |event: Event| {
        if let Event::Finished { name, top1: Some(top1), .. } = event {
            println!("  {name}: top-1 {top1:.1} %");
        }
    };
    let summary = run_all(Which::Cpu, &store, &plan, &options, "an example", &Stop::new(), &watch)?;
    println!("{} runs done\n", summary.finished);

    // Tables are functions of the store alone.
    let recorded = store.latest_experiment(&experiment.config.name)?.ok_or("the experiment was not recorded")?;
    let results = Results::new(&store, &recorded)?;
    for table in evaluate_at(&results, &experiment.tables)?.iter().filter(|t| t.id.to_string() == "3") {
        print(table);
    }
    Ok(())
}

/// Tells the store which experiment the runs belong to.
fn record(store: &Store, experiment: &Experiment, plan: &Plan) -> Result<(), Box<dyn Error>> {
    let dataset = DatasetKey { id: store.put_dataset(&plan.dataset)?, fingerprint: plan.dataset.fingerprint.clone() };
    let view = |view: &View| store.put_view(view, dataset.id).ok();
    store.put_experiment(experiment, &dataset, &plan.records(view))?;
    Ok(())
}

fn print(table: &EvaluatedTable) {
    println!("{}", table.title);
    for row in table.rows.iter().filter(|row| row.entries.iter().any(|e| e.mean.is_some())) {
        let shown = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.1}"));
        let entries = row.entries.iter().map(|e| format!("{:>6} (paper {:>5})", shown(e.mean), shown(e.published)));
        println!("  {:32}{}", row.key, entries.collect::<String>());
    }
}
