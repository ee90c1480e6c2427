//! `unmute run`.

use super::args::{DeviceArgs, RunArgs, RunCall};
use super::command_line::command_line;
use super::finish::{self, Finished};
use super::part_args::PartArgs;
use super::progress::{self, RunProgress, insist, say};
use super::{Exit, Failure, open, signals};
use crate::device::api::HAS_DFDX_CUDA;
use crate::device::choice::{self, Choice};
use crate::experiment::config::Engine;
use crate::experiment::{Experiment, Part};
use crate::gpu::detect;
use crate::gpu::probe::Wanted;
use crate::report::format::duration;
use crate::runs::plan::{Planned, cost};
use crate::runs::publish::{Publisher, Scratch};
use crate::runs::why::{self, History};
use crate::runs::{self, Options, Plan, Summary, run_name};
use crate::store::{self, DatasetKey, NewRun, Selection, Store, Values};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) fn run(call: &RunCall) -> Result<Exit, Failure> {
    let RunCall { run: args, part } = call;
    check(args)?;
    finishing(args, |summary| trained(args, part, summary))
}

/// Does `work`, which counts what it did, and then calls what `--on-finish` says.
pub(super) fn finishing(
    args: &RunArgs,
    work: impl FnOnce(&mut Summary) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    progress::set_up(&args.tell)?;
    let (began, mut summary) = (Instant::now(), Summary::default());
    let result = work(&mut summary);
    if let Some(command) = &args.tell.on_finish {
        let experiment = args.experiment.experiment.to_string_lossy();
        let db = &args.experiment.db.db;
        finish::call(
            command,
            &Finished { experiment: &experiment, db, result: &result, summary, took: began.elapsed() },
        );
    }
    result
}

fn trained(args: &RunArgs, part: &PartArgs, summary: &mut Summary) -> Result<Exit, Failure> {
    let (experiment, mut plan) = open::plan_to_train(&args.experiment)?;
    part.select(&mut plan)?;
    if let Some(to) = &part.publish {
        return publish((args, part), &experiment, &plan, to, summary);
    }
    let store = open::writable(&args.experiment.db.db)?;
    let goes = Goes { checkpoints: part.checkpoints(), publish: None };
    let exit = train(args, &experiment, &plan, &store, goes, summary)?;
    if exit == Exit::Done {
        let (folder, db) = (args.experiment.experiment.display(), args.experiment.db.db.display());
        say(&format!("next: unmute report {folder} --db {db}"));
    }
    Ok(exit)
}

/// Works in a store of its own, whose copies others take.
fn publish(
    (args, part): (&RunArgs, &PartArgs),
    experiment: &Experiment,
    plan: &Plan,
    to: &Path,
    summary: &mut Summary,
) -> Result<Exit, Failure> {
    let scratch = Scratch::begin(to, part.from.as_deref()).map_err(|error| match error {
        store::Error::Network { path, kind } => Failure::usage(format!(
            "{}: $TMPDIR is on a network file system ({kind})\n  next: set TMPDIR to a folder on a disk of this machine",
            path.display()
        )),
        error => error.into(),
    })?;
    let goes = Goes { checkpoints: part.checkpoints(), publish: Some(Publisher::new(to)) };
    let exit = train(args, experiment, plan, scratch.store(), goes, summary)?;
    say(&format!("published {}", to.display()));
    if exit == Exit::Done {
        say(&format!("next: unmute merge --db {} {}", args.experiment.db.db.display(), to.display()));
    }
    Ok(exit)
}

/// Whether the flags make sense, before any data is read.
pub(super) fn check(args: &RunArgs) -> Result<(), Failure> {
    choose(&args.device)?;
    checkpoint_every(args)?;
    grace(args)?;
    if args.workers == Some(0) {
        return Err(Failure::usage("--workers 0: at least one is needed"));
    }
    Ok(())
}

fn checkpoint_every(args: &RunArgs) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(args.checkpoint_every).map_err(|_| {
        Failure::usage(format!("--checkpoint-every {}: should be seconds, 0 or more", args.checkpoint_every))
    })
}

/// The time that an epoch may take to end when the process is asked to stop, where the user gives one.
fn grace(args: &RunArgs) -> Result<Option<Duration>, Failure> {
    let seconds = |s: f64| {
        Duration::try_from_secs_f64(s).map_err(|_| Failure::usage(format!("--grace {s}: should be seconds, 0 or more")))
    };
    args.grace.map(seconds).transpose()
}

/// Where checkpoints lie, if not beside the store, and where copies of it go.
#[derive(Default)]
pub(super) struct Goes {
    pub checkpoints: Option<PathBuf>,
    pub publish: Option<Publisher>,
}

/// Records an experiment and does what is not done of it; adds to `summary` what came of it.
pub(super) fn train(
    args: &RunArgs,
    experiment: &Experiment,
    plan: &Plan,
    store: &Store,
    Goes { checkpoints, publish }: Goes,
    summary: &mut Summary,
) -> Result<Exit, Failure> {
    let db = publish.as_ref().map_or(store.path(), Publisher::path).to_path_buf();
    record(store, experiment, plan)?;
    tell_changed_data(store, plan)?;
    if let Some(at) = store.clock_ahead()? {
        say(&format!(
            "note: the store has an experiment that was run at {at}, later than now: a clock was ahead. What was run last is counted, not timed"
        ));
    }
    tell_other_code(store, plan, args)?;
    let states = store.states()?;
    // An empty run takes a moment too.
    let work: HashMap<String, f64> =
        plan.open(&states).iter().map(|run| (run_name(run.planned, run.seed), 1e7 + cost(run.planned))).collect();
    let open = plan.open(&states).len();
    let skipped = plan.cells.iter().filter(|p| p.skipped.is_some()).count();
    for (why, cells) in skipped_by_reason(plan) {
        say(&format!("skipped: {cells} cell(s): {why}"));
    }
    let all = plan.wanted();
    let done_before = all.len() - open;
    if open == 0 {
        // Of a copy that is none, nothing was done.
        plan.dataset.check_unchanged()?;
        if let Some(publisher) = &publish {
            publisher.publish(store)?;
        }
        say(&format!("{done_before} runs of {} were done already; nothing to train", experiment.config.name));
        return Ok(Exit::Done);
    }
    say(&format!(
        "{}: {} cells{}, {} runs: {done_before} done already, {open} to do",
        experiment.config.name,
        plan.cells.len(),
        if skipped > 0 { format!(" ({skipped} skipped)") } else { String::new() },
        all.len(),
    ));
    let choice = choose_for(&args.device, plan)?;
    if let Some(line) = &choice.say {
        say(line);
    }
    let threads = rayon::current_num_threads();
    let options = Options {
        workers: workers(args.workers, &choice, threads),
        cells: args.device.cells,
        threads,
        fail_fast: args.fail_fast,
        retries: args.retries,
        checkpoint_every: checkpoint_every(args)?,
        keep: experiment.config.train.keep,
        checkpoints,
        publish,
    };
    let interrupt = signals::listen(grace(args)?)?;
    let progress = RunProgress::new(open, work);
    let command = command_line(std::env::args());
    let started = Instant::now();
    let watch = |event| progress.event(event);
    let result = runs::run_all(choice.device(), store, plan, &options, &command, interrupt, &watch);
    progress.finish();
    let Summary { finished, failed, interrupted } = result?;
    summary.finished += finished;
    summary.failed += failed;
    say(&format!("{finished} runs done in {}", duration(started.elapsed().as_secs_f64())));
    if interrupted {
        insist("interrupted; the same command goes on from what was kept");
        return Ok(Exit::Interrupted);
    }
    if failed > 0 {
        insist(&format!(
            "{failed} failed; the same command tries them again; `unmute ls --db {}` lists them",
            db.display()
        ));
        return Ok(Exit::NotAll);
    }
    Ok(Exit::Done)
}

/// How many work at once. A GPU is driven by one: others would only take memory from the cells that train side by side.
fn workers(wanted: Option<usize>, choice: &Choice, threads: usize) -> usize {
    if choice.gpu.is_none() {
        return wanted.unwrap_or(threads.min(16));
    }
    if let Some(wanted) = wanted.filter(|wanted| *wanted > 1) {
        say(&format!(
            "note: --workers {wanted} is for the CPU; a GPU is worked by one, which trains cells side by side"
        ));
    }
    1
}

/// Keeps the experiment as it was resolved.
fn record(store: &Store, experiment: &Experiment, plan: &Plan) -> Result<(), Failure> {
    let dataset = DatasetKey { id: store.put_dataset(&plan.dataset)?, fingerprint: plan.dataset.fingerprint.clone() };
    let mut views: HashMap<String, i64> = HashMap::new();
    for view in plan.cells.iter().filter_map(|p| p.view.as_ref()) {
        if !views.contains_key(&view.fingerprint) {
            views.insert(view.fingerprint.clone(), store.put_view(view, dataset.id)?);
        }
    }
    let cells = plan.records(|view| views.get(&view.fingerprint).copied());
    store.put_experiment(experiment, &dataset, &cells)?;
    Ok(())
}

/// Runs of an earlier state of the data set are not mixed with new ones; it is said what changed.
fn tell_changed_data(store: &Store, plan: &Plan) -> Result<(), Failure> {
    let name = &plan.dataset.manifest.name;
    let known = store.datasets_named(name)?;
    let Some(before) = known.iter().find(|d| d.fingerprint != plan.dataset.fingerprint) else { return Ok(()) };
    let changed = why::changed_files(&before.files, &plan.dataset.file_hashes);
    if !changed.is_empty() {
        say(&format!(
            "note: the store also has runs of another state of data set {name:?} (differs in {}); they are kept apart",
            changed.join(", ")
        ));
    }
    Ok(())
}

/// Runs that only the numeric code sets apart are accepted where that was asked for, and offered where not.
fn tell_other_code(store: &Store, plan: &Plan, args: &RunArgs) -> Result<(), Failure> {
    let light = Selection { values: Values::Only(Vec::new()), ..Default::default() };
    let runs = store.select(&light)?;
    let history = History::new(Some(store), &runs)?;
    let of_other_code = history.of_other_code(plan);
    if of_other_code.is_empty() {
        return Ok(());
    }
    if !args.experiment.accept_changed_code {
        say(&format!(
            "note: {} runs differ from finished ones in the numeric code only; --accept-changed-code takes those as they are",
            of_other_code.len()
        ));
        return Ok(());
    }
    let mut accepted = 0;
    for (planned, seed, id, from) in of_other_code {
        let run = NewRun {
            id: id.into(),
            cell: planned.fingerprint.clone(),
            kind: planned.cell.part.kind().into(),
            key: planned.cell.key(),
            seed,
            view_id: from.view_id,
            spec: planned.spec.clone(),
        };
        accepted += usize::from(store.accept(&run, &from.id)?);
    }
    say(&format!("note: {accepted} runs of other numeric code were accepted as they are; `unmute show` tells which"));
    Ok(())
}

/// Reasons for skipping, with the number of cells.
pub(super) fn skipped_by_reason(plan: &Plan) -> Vec<(String, usize)> {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for why in plan.cells.iter().filter_map(|p| p.skipped.clone()) {
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => reasons.push((why, 1)),
        }
    }
    reasons
}

/// Reads `--device` and chooses from what the machine has.
pub(super) fn choose(args: &DeviceArgs) -> Result<Choice, Failure> {
    if args.cells == Some(0) {
        return Err(Failure::usage("--cells 0: at least one is needed"));
    }
    let wanted = wanted(&args.device)?;
    choice::choose(wanted, &detect::find(wanted)).map_err(Failure::usage)
}

/// [`choose`], for runs of a plan: their engine may be one that the program has on the CPU alone.
pub(super) fn choose_for(args: &DeviceArgs, plan: &Plan) -> Result<Choice, Failure> {
    let (mut choice, wanted) = (choose(args)?, wanted(&args.device)?);
    let by_dfdx = |planned: &Planned| planned.cell.config.train.engine == Engine::Dfdx;
    if plan.cells.iter().any(|planned| planned.is_rounded() && by_dfdx(planned)) {
        let message = "lstm.precision: bf16 is the fused engine's, dfdx's operations are f32 throughout
  next: take train.engine: fused or lstm.precision: f32";
        return Err(Failure { exit: Exit::Failed, message: message.into() });
    }
    if plan.cells.iter().any(by_dfdx) {
        choice = choice.of_dfdx(wanted, HAS_DFDX_CUDA).map_err(Failure::usage)?;
    }
    let mut generators =
        plan.cells.iter().filter(|planned| matches!(planned.cell.part, Part::Generator { .. })).peekable();
    if generators.peek().is_some() && generators.all(Planned::is_rounded) {
        choice = choice.of_rounded(wanted);
    }
    if plan.cells.iter().any(Planned::is_rounded) && !compute::matmul::bf16::in_hardware() {
        say(
            "note: without AVX512-BF16, which this processor lacks or UNMUTE_SIMD hides, lstm.precision: bf16 takes some three times as long as f32",
        );
    }
    Ok(choice)
}

/// Reads a device's name.
pub(super) fn wanted(text: &str) -> Result<Wanted, Failure> {
    let unknown = || Failure::usage(format!("--device {text}: should be auto, cpu, cuda or cuda:N"));
    Wanted::parse(text).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_worked_by_one() {
        let [cpu, gpu] = [None, Some(0)].map(|gpu| Choice { gpu, say: None });
        assert_eq!([None, Some(3)].map(|wanted| workers(wanted, &cpu, 2)), [2, 3]);
        assert_eq!([None, Some(3)].map(|wanted| workers(wanted, &gpu, 2)), [1, 1]);
        assert_eq!(workers(None, &cpu, 64), 16);
    }
}
