//! `unmute verify`: is the file whole, and do its runs come out the same when they are trained again?

use super::args::VerifyArgs;
use super::progress::{RunProgress, say, spinner};
use super::{Exit, Failure, open, print_json, print_text, signals};
use crate::dataset::Dataset;
use crate::experiment::config::{Engine, Keep};
use crate::report::format::number;
use crate::runs::engines::EngineDifference;
use crate::runs::verify::{self, Verified};
use crate::runs::weights;
use crate::runs::why;
use crate::runs::{Event, Options};
use crate::store::{Check, Damage, Error, ExperimentRecord, Pick, RunRecord, Selection, State, Store, Values};
use serde_json::json;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn verify(args: &VerifyArgs) -> Result<Exit, Failure> {
    let db = &args.store.db.db;
    let opened = match args.keep_weights && db.is_file() {
        true => Store::open(db),
        false => Store::open_to_read(db),
    };
    let store = match opened {
        Err(e @ Error::Damaged { .. }) => return Err(Failure { exit: Exit::NotAll, message: e.to_string() }),
        other => open::told(other?),
    };
    let spinner = spinner(&format!("checking {}", store.path().display()));
    let mut check = store.check()?;
    // A store that cannot be read says so once.
    let weights = weights::check(&store).unwrap_or_default();
    for (run, why) in weights.damaged {
        let name = store.run(&run)?.map(|r| name(&r));
        let what = if name.is_some() { format!("its weights: {why}") } else { format!("weights of run {run}: {why}") };
        check.damage.push(Damage { run: Some(run), name, what });
    }
    drop(spinner);
    if weights.lost > 0 {
        say(&format!(
            "note: the weights of {} are not beside the store, and were not looked at",
            count(weights.lost, "run")
        ));
    }
    if !args.store.json {
        print_text(&describe_file(&store, &check))?;
    }
    let verified = match &args.dataset {
        Some(dir) => again(args, &store, dir)?,
        None => Vec::new(),
    };
    let whole = check.damage.is_empty();
    let holds = verified.iter().all(|v| v.holds);
    if args.store.json {
        print_json(&json!({ "db": store.path(), "holds": whole && holds, "file": check, "retrained": verified }))?;
    } else {
        print_text(&verified.iter().map(describe_run).collect::<String>())?;
        if args.dataset.is_none() && whole {
            say("next: unmute verify --dataset DIR trains some runs again and compares every bit");
        }
    }
    Ok(if whole && holds { Exit::Done } else { Exit::NotAll })
}

/// Trains some runs again.
fn again(args: &VerifyArgs, store: &Store, dir: &Path) -> Result<Vec<Verified>, Failure> {
    let dataset = Arc::new(Dataset::open(dir)?);
    open::notes(&dataset);
    let (experiments, runs) = candidates(args, store, &dataset)?;
    let runs = runs.iter().map(|r| store.run(&r.id)).collect::<Result<Vec<_>, _>>()?;
    let runs: Vec<RunRecord> = runs.into_iter().flatten().collect();
    let threads = rayon::current_num_threads();
    let options = Options {
        workers: threads.min(16),
        cells: Some(1),
        threads,
        fail_fast: false,
        retries: 0,
        checkpoint_every: Duration::from_secs(u64::from(u32::MAX)),
        keep: if args.keep_weights { Keep::All } else { Keep::None },
        ..Options::default()
    };
    let engine = args.engine.as_deref().and_then(Engine::of_word);
    let interrupt = signals::listen(Some(Duration::ZERO))?;
    say(&format!("training {} again, with the SVM banks they need", count(runs.len(), "run")));
    let progress = RunProgress::new(runs.len(), Default::default());
    // The banks that they need are trained along, and not counted.
    let names: HashSet<String> = runs.iter().map(name).collect();
    let watch = |event: Event| {
        if names.contains(event.name()) {
            progress.event(event);
        }
    };
    let verified = verify::verify(
        crate::device::Which::Cpu,
        engine,
        store,
        &experiments,
        dataset,
        args.features.as_deref(),
        &runs,
        &options,
        interrupt,
        &watch,
    );
    progress.finish();
    if interrupt.is_asked() {
        return Err(Failure { exit: Exit::Interrupted, message: "interrupted; nothing was changed".into() });
    }
    Ok(verified?)
}

/// The runs to train again, and the experiments that they may belong to.
fn candidates(
    args: &VerifyArgs,
    store: &Store,
    dataset: &Dataset,
) -> Result<(Vec<ExperimentRecord>, Vec<RunRecord>), Failure> {
    let mut experiments = store.experiments()?;
    let is_experiment = |what: &Path| {
        let text = what.to_string_lossy();
        what.join("experiment.yaml").is_file() || experiments.iter().any(|e| e.name == text)
    };
    let (named, ids): (Vec<&Path>, Vec<&Path>) =
        args.what.iter().map(PathBuf::as_path).partition(|what| is_experiment(what));
    let given = ids.iter().map(|id| open::run(store, &id.to_string_lossy()));
    let given = given.collect::<Result<Vec<RunRecord>, Failure>>()?;
    if !named.is_empty() {
        let names = named.iter().map(|named| Ok(open::recorded(store, named, &Pick::default())?.record.name));
        let names = names.collect::<Result<HashSet<String>, Failure>>()?;
        experiments.retain(|e| names.contains(&e.name));
    }
    let mut of_data = Vec::new();
    let mut others = Vec::new();
    for record in experiments {
        let theirs = store.dataset(record.dataset_id)?;
        if theirs.fingerprint == dataset.fingerprint { of_data.push(record) } else { others.push(theirs) }
    }
    if of_data.is_empty() {
        let changed = others.iter().find(|d| d.manifest.name == dataset.manifest.name);
        let why = match changed {
            Some(before) => {
                format!("it differs in {}", why::changed_files(&before.files, &dataset.file_hashes).join(", "))
            }
            None if others.is_empty() => "the store has no experiment".into(),
            None => {
                let names: HashSet<&str> = others.iter().map(|d| d.manifest.name.as_str()).collect();
                format!("they were made of {}", names.into_iter().collect::<Vec<_>>().join(", "))
            }
        };
        return Err(Failure::usage(format!(
            "{}: data set {:?} is not the one that the runs were made of: {why}\n  next: give the folder of that data set",
            dataset.dir.display(),
            dataset.manifest.name
        )));
    }
    if let Some(run) = given.iter().find(|run| run.state != State::Done) {
        return Err(Failure::usage(format!(
            "run {} is {}; only finished runs can be compared",
            run.id,
            run.state.word()
        )));
    }
    if !given.is_empty() {
        return Ok((of_data, given));
    }
    let cells: HashSet<&str> = of_data.iter().flat_map(|e| &e.cells).filter_map(|c| c.fingerprint.as_deref()).collect();
    let light = Selection { values: Values::Only(Vec::new()), ..Default::default() };
    let mut runs = store.select(&light)?;
    runs.retain(|r| r.state == State::Done && cells.contains(r.cell.as_str()));
    if runs.is_empty() {
        return Err(Failure::usage(format!(
            "no finished run on data set {:?}\n  next: unmute run EXPERIMENT --dataset {}",
            dataset.manifest.name,
            dataset.dir.display()
        )));
    }
    let runs = verify::sample(runs, args.sample);
    Ok((of_data, runs))
}

fn name(run: &RunRecord) -> String {
    run.seed.map_or(run.key.clone(), |seed| format!("{} seed {seed}", run.key))
}

fn count(n: usize, what: &str) -> String {
    format!("{} {what}{}", number(n as f64, 0), if n == 1 { "" } else { "s" })
}

fn describe_file(store: &Store, check: &Check) -> String {
    let mut out = format!("{}: {}, {}: ", store.path().display(), count(check.runs, "run"), count(check.blobs, "blob"));
    out += if check.damage.is_empty() { "whole\n" } else { "DAMAGED\n" };
    for d in &check.damage {
        match (&d.run, &d.name) {
            (Some(run), Some(name)) => out += &format!("  run {} ({name}): {}\n", open::short(run), d.what),
            _ => out += &format!("  {}\n", d.what),
        }
    }
    out
}

fn describe_run(v: &Verified) -> String {
    let head = |word: &str| format!("{word:<8} {} {}", open::short(&v.run), v.name);
    if let Some(error) = &v.error {
        return format!("{}: {error}\n", head("FAILED"));
    }
    if let Some(found) = &v.engines {
        return head(if v.holds { "near" } else { "DIFFERS" }) + &describe_engines(v, found);
    }
    let what = format!("{}, {}", count(v.epochs, "epoch"), count(v.probabilities, "score"));
    let exact = v.curve.is_none() && v.scores.is_empty() && v.values.is_empty();
    let mut out = match (v.holds, exact) {
        (true, true) => format!("{}: {what}: the same, bit for bit\n", head("same")),
        (true, false) => format!("{}: {what}: as near as runs on a GPU are\n", head("near")),
        (false, _) => format!("{}: {what}\n", head("DIFFERS")),
    };
    if let Some(p) = &v.curve {
        let side = |x: Option<f64>| x.map_or_else(|| "nothing".into(), |x| x.to_string());
        out += &format!("  first in epoch {}: {}, stored {}, now {}\n", p.epoch, p.quantity, side(p.a), side(p.b));
    }
    for s in &v.scores {
        out += &match (&s.why, s.largest) {
            (None, Some(largest)) => format!(
                "  scores {}: {} differ, by up to {largest:.3e} (clip {}, class {})\n",
                s.what,
                count(s.clips, "clip"),
                s.clip.as_deref().unwrap_or("?"),
                s.class.as_deref().unwrap_or("?")
            ),
            (why, _) => format!("  scores {}: {}\n", s.what, why.as_deref().unwrap_or("differ")),
        };
    }
    for d in &v.values {
        out += &format!("  {}: stored {}, now {}\n", d.key, d.a, d.b);
    }
    if v.other_code && !exact {
        out += "  the numeric code has changed since\n";
    }
    for d in &v.environment {
        out += &format!("  environment {}: {} then, {} now\n", d.key, d.a, d.b);
    }
    out
}

/// The largest differences between a stored run and the same run on another engine.
fn describe_engines(v: &Verified, found: &EngineDifference) -> String {
    let mut out =
        format!(" with engine {}: {}, {}\n", found.engine, count(v.epochs, "epoch"), count(v.probabilities, "score"));
    for (name, largest) in [("losses", &found.losses), ("features", &found.features), ("scores", &found.scores)] {
        let at = if largest.at.is_empty() { String::new() } else { format!(" ({})", largest.at) };
        out += &format!("  {name:<8} differ by up to {:.2e}{at}\n", largest.difference);
    }
    out += &match found.clips {
        0 => "  every val clip keeps its class".into(),
        n => format!("  {} {} to another class", count(n, "val clip"), if n == 1 { "goes" } else { "go" }),
    };
    if found.tables.is_empty() {
        return out + "; tables do not change\n";
    }
    out += "; tables change:\n";
    for (name, then, now) in &found.tables {
        out += &format!("    {name}: {then:.2} then, {now:.2} now\n");
    }
    out
}
