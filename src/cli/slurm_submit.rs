//! `unmute slurm submit`, and the next round of a campaign.

use super::progress::say;
use super::slurm::absolute;
use super::slurm_args::SubmitArgs;
use super::{Exit, Failure, merge, open, print, print_json, run, slurm_collect};
use crate::experiment::Part;
use crate::report::format::duration;
use crate::runs::plan::{Open, cost};
use crate::runs::publish::{Publisher, Scratch};
use crate::runs::rates::Rates;
use crate::runs::why::History;
use crate::runs::{Plan, checkpoint, fingerprint};
use crate::slurm::campaign::{self, Layout};
use crate::slurm::{Array, Campaign, Item, Round, Size, Slurm, Tasks, script, tasks};
use crate::store::{self, Selection, State, Store, Values};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Options of sbatch that decide how a campaign hangs together, and what to say instead.
const OURS: [(&str, &str, &str); 4] = [
    ("--array", "-a", "tasks are put together by --tasks or --task-minutes, and --at-once limits them"),
    ("--wrap", "", "the script is made here; --dry-run prints it"),
    ("--test-only", "", "--dry-run > job.sh, then sbatch --test-only job.sh"),
    ("--wait", "-W", "`unmute slurm status` tells how far it is"),
];

/// What a campaign has to do: runs that all tasks need or that are quick, and the others.
#[derive(Default)]
pub(super) struct Missing {
    pub base: Vec<Item>,
    pub runs: Vec<Item>,
}

impl Missing {
    pub(super) fn count(&self) -> usize {
        self.base.len() + self.runs.len()
    }
}

pub(super) fn submit(args: &SubmitArgs) -> Result<Exit, Failure> {
    check(args)?;
    let given = &args.run.experiment;
    let (experiment, plan) = open::plan(given)?;
    let db = absolute(&given.db.db)?;
    let earlier = Campaign::of(&db)?;
    if !args.dry_run {
        if let Some(earlier) = &earlier {
            still_queued(earlier)?;
            gather(earlier)?;
        }
    }
    let (missing, failed) = missing(args, &plan, &db)?;
    if failed > 0 {
        say(&format!("note: {failed} runs failed, or need one that did; --retry-failed submits them again"));
    }
    if missing.count() == 0 {
        say(&format!("all runs of {} are done or failed; nothing to submit", experiment.config.name));
        return Ok(if failed > 0 { Exit::NotAll } else { Exit::Done });
    }
    let rounds = earlier.map(|earlier| earlier.rounds).unwrap_or_default();
    let mut campaign = Campaign {
        format: campaign::FORMAT,
        name: experiment.config.name.clone(),
        program: std::env::current_exe()?,
        code: fingerprint::CODE.into(),
        directory: std::env::current_dir()?,
        experiment: absolute(&given.experiment)?,
        dataset: absolute(&plan.dataset.dir)?,
        db,
        settings: settings(args),
        sbatch: args.sbatch.clone(),
        size: args.tasks.map_or(Size::Minutes(args.task_minutes), Size::Tasks),
        at_once: args.at_once,
        last_round: rounds.last().map_or(0, |round| round.number) + args.rounds,
        max_array: Slurm::max_array(),
        base: missing.base.clone(),
        runs: missing.runs.clone(),
        rounds,
    };
    if args.dry_run {
        return dry(args, &campaign, missing);
    }
    let layout = campaign.layout();
    let _turn = Turn::take(&layout)?;
    for leftover in [layout.cancelled(), layout.start(), layout.base()] {
        match std::fs::remove_file(&leftover) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    prepare(&campaign, &plan, missing.base.is_empty())?;
    round(&mut campaign, missing)?;
    let submitted = campaign.rounds.last().cloned().unwrap_or_default();
    tell(&submitted);
    let ids: Vec<&str> = match submitted.arrays.is_empty() {
        true => submitted.base.iter().map(String::as_str).collect(),
        false => submitted.arrays.iter().map(|array| array.job.as_str()).collect(),
    };
    print(&format!("{}\n", ids.join("\n")))?;
    say(&format!("next: unmute slurm status --db {}", campaign.db.display()));
    Ok(Exit::Done)
}

fn check(args: &SubmitArgs) -> Result<(), Failure> {
    run::check(&args.run)?;
    for (flag, value) in [("--tasks", args.tasks), ("--at-once", args.at_once), ("--rounds", Some(args.rounds))] {
        if value == Some(0) {
            return Err(Failure::usage(format!("{flag} 0: at least one is needed")));
        }
    }
    if !(args.task_minutes.is_finite() && args.task_minutes > 0.0) {
        return Err(Failure::usage(format!("--task-minutes {}: should be more than 0", args.task_minutes)));
    }
    for word in &args.sbatch {
        let name = word.split('=').next().unwrap_or(word);
        let known = |(long, short, _): &&(&str, &str, &str)| {
            name == *long || (!short.is_empty() && !word.starts_with("--") && word.starts_with(short))
        };
        if let Some((.., instead)) = OURS.iter().find(known) {
            return Err(Failure::usage(format!(
                "{word}: `unmute slurm submit` sees to that itself\n  next: {instead}"
            )));
        }
    }
    if let Some(first) = args.sbatch.first().filter(|first| !first.starts_with('-')) {
        return Err(Failure::usage(format!(
            "{first}: an option of sbatch was expected behind --\n  next: `-- --time=2:00:00`; the script is made here"
        )));
    }
    Ok(())
}

/// Fails where jobs of an earlier call are still to come, or nobody knows.
fn still_queued(earlier: &Campaign) -> Result<(), Failure> {
    let db = earlier.db.display();
    let states = Slurm::states(&earlier.jobs()).map_err(|error| Failure {
        exit: Exit::Failed,
        message: format!(
            "whether jobs that were submitted for {db} before have ended is unknown: {error}\n  next: run the same command again when Slurm answers"
        ),
    })?;
    if states.is_empty() {
        return Ok(());
    }
    let told: Vec<String> =
        states.iter().map(|(job, states)| format!("{job} ({})", super::slurm_status::counted(states))).collect();
    Err(Failure::usage(format!(
        "jobs that were submitted for {db} before have not ended: {}\n  next: `unmute slurm status --db {db}` shows how far they are; `unmute slurm cancel --db {db}` ends them",
        told.join(", ")
    )))
}

/// Takes over what an earlier campaign has left, should its last job not have come to it.
fn gather(earlier: &Campaign) -> Result<(), Failure> {
    let unfinished = earlier.rounds.last().filter(|round| round.outcome.is_none());
    let Some(round) = unfinished else { return Ok(()) };
    let others = slurm_collect::parts(&earlier.layout(), round.number)?;
    if !others.is_empty() {
        say("taking over what earlier jobs have left");
        slurm_collect::merge_into(&earlier.db, &others)?;
    }
    Ok(())
}

/// What is to be done, and how many runs are left out for a failure.
fn missing(args: &SubmitArgs, plan: &Plan, db: &Path) -> Result<(Missing, usize), Failure> {
    let store = if db.is_file() { Some(open::store(db)?) } else { None };
    let light = Selection { values: Values::Only(Vec::new()), ..Default::default() };
    let known = store.as_ref().map_or_else(|| Ok(Vec::new()), |s| s.select(&light))?;
    let mut states: BTreeMap<String, State> = known.iter().map(|r| (r.id.clone(), r.state)).collect();
    if args.run.experiment.accept_changed_code {
        let history = History::new(store.as_ref(), &known)?;
        states.extend(history.of_other_code(plan).into_iter().map(|(_, _, id, _)| (id.to_string(), State::Done)));
    }
    let rates = Rates::of_finished(store.as_ref(), &known, plan)?;
    let fails = |id: &str| !args.retry_failed && states.get(id) == Some(&State::Failed);
    let lacks = |run: &Open| {
        let bank = plan.bank_of(run.planned);
        bank.is_some_and(|bank| bank.runs.iter().any(|(_, id)| fails(id)))
    };
    let (mut missing, mut failed) = (Missing::default(), 0);
    for run in plan.open(&states) {
        if fails(run.id) || lacks(&run) {
            failed += 1;
            continue;
        }
        let planned = run.planned;
        let item = Item { id: run.id.into(), name: run.name(), cost: cost(planned), seconds: rates.seconds(planned) };
        match planned.cell.part {
            Part::Generator { .. } => missing.runs.push(item),
            _ => missing.base.push(item),
        }
    }
    Ok((missing, failed))
}

/// The arguments of `unmute run` that say how runs are done, as they were given.
fn settings(args: &SubmitArgs) -> Vec<String> {
    let run = &args.run;
    let mut words: Vec<String> = Vec::new();
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([flag.to_string(), value]);
        }
    };
    run.experiment.sets.iter().for_each(|set| add("--set", Some(set.clone())));
    let seeds = run.experiment.seeds.as_ref();
    add("--seeds", seeds.map(|seeds| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",")));
    add("--device", (run.device.device != "auto").then(|| run.device.device.clone()));
    add("--cells", run.device.cells.map(|n| n.to_string()));
    add("--workers", run.workers.map(|n| n.to_string()));
    add("--threads", run.threads.map(|n| n.to_string()));
    add("--retries", (run.retries > 0).then(|| run.retries.to_string()));
    add("--checkpoint-every", Some(run.checkpoint_every.to_string()));
    add("--grace", run.grace.map(|s| s.to_string()));
    for (flag, set) in [("--fail-fast", run.fail_fast), ("--accept-changed-code", run.experiment.accept_changed_code)] {
        if set {
            words.push(flag.into());
        }
    }
    words
}

/// Prints what would be submitted.
fn dry(args: &SubmitArgs, campaign: &Campaign, missing: Missing) -> Result<Exit, Failure> {
    let number = campaign.rounds.last().map_or(0, |round| round.number) + 1;
    let (base, count) = (missing.base.len(), missing.runs.len());
    let tasks = tasks::tasks(missing.runs, campaign.size);
    if args.json {
        print_json(&json!({
            "base": missing.base,
            "tasks": tasks,
            "runs": campaign.runs,
            "max_array": campaign.max_array,
        }))?;
        return Ok(Exit::Done);
    }
    let layout = campaign.layout();
    let longest = tasks.first().map_or(0.0, |task| task.seconds);
    say(&format!(
        "nothing is submitted. It would be: {}an array of {} tasks for {count} runs, about {} the longest on one core{}; a job that gathers, and up to {} rounds",
        if base > 0 { format!("a job for {base} runs that come first; ") } else { String::new() },
        tasks.len(),
        duration(longest),
        if tasks.len() > campaign.max_array { format!(", in arrays of {}", campaign.max_array) } else { String::new() },
        args.rounds,
    ));
    let text = match tasks.is_empty() {
        true => script::base(campaign, &layout, number, campaign.db.is_file()),
        false => script::tasks(campaign, &layout, number, tasks.len()),
    };
    print(&text)?;
    Ok(Exit::Done)
}

/// Writes the store that jobs begin with: of the user's, what all tasks need.
fn prepare(campaign: &Campaign, plan: &Plan, base_is_done: bool) -> Result<(), Failure> {
    let layout = campaign.layout();
    std::fs::create_dir_all(layout.parts())?;
    std::fs::create_dir_all(layout.checkpoints())?;
    if !campaign.db.is_file() {
        return Ok(());
    }
    let none = layout.0.join("none.db");
    let scratch = Scratch::begin(&none, Some(&campaign.db))?;
    let small = |run: &&Open| !matches!(run.planned.cell.part, Part::Generator { .. });
    let wanted: BTreeSet<String> = plan.runs().iter().filter(small).map(|run| run.id.to_string()).collect();
    let kept = if campaign.settings.iter().any(|word| word == "--accept-changed-code") {
        // Which ones stand in for others is decided where they are wanted.
        scratch.store().states()?.into_keys().collect()
    } else {
        wanted
    };
    scratch.store().keep_runs(&kept)?;
    let to = if base_is_done { layout.base() } else { layout.start() };
    Publisher::new(&to).publish(scratch.store())?;
    Ok(())
}

/// Submits the next round of a campaign; what was submitted is cancelled where the rest cannot be.
pub(super) fn round(campaign: &mut Campaign, missing: Missing) -> Result<(), Failure> {
    let layout = campaign.layout();
    let number = campaign.rounds.last().map_or(0, |round| round.number) + 1;
    let folder = layout.round(number);
    std::fs::create_dir_all(folder.join("logs"))?;
    let epochs = epochs(&layout, missing.runs.iter());
    let count = missing.count();
    let base: Vec<String> = missing.base.iter().map(|item| format!("{}  # {}\n", item.id, item.name)).collect();
    let tasks = Tasks { round: number, tasks: tasks::tasks(missing.runs, campaign.size) };
    layout.write(&folder.join("tasks.json"), &tasks)?;
    let submitted_at = store::now();
    campaign.rounds.push(Round { number, submitted_at, missing: count, epochs, ..Round::default() });
    let total = tasks.tasks.len();
    let scripts = [
        ("base.sh", (!base.is_empty()).then(|| script::base(campaign, &layout, number, layout.start().is_file()))),
        ("job.sh", (total > 0).then(|| script::tasks(campaign, &layout, number, total))),
        ("collect.sh", Some(script::collect(campaign, &layout, number))),
    ];
    for (name, text) in &scripts {
        if let Some(text) = text {
            layout.write_text(&folder.join(name), text)?;
        }
    }
    layout.write_text(&folder.join("base.txt"), &base.concat())?;
    // A job may look for the campaign before the next one is submitted.
    campaign.save()?;
    let submitted = jobs(campaign, &folder, (!base.is_empty(), total));
    if let Err(failure) = submitted {
        let jobs = campaign.jobs();
        campaign.rounds.pop();
        let _ = Slurm::cancel(&jobs);
        campaign.save()?;
        return Err(failure);
    }
    Ok(())
}

/// Tells sbatch of each job, and keeps its id at once.
fn jobs(campaign: &mut Campaign, folder: &Path, (base, total): (bool, usize)) -> Result<(), Failure> {
    let failed = |error: crate::slurm::queue::Error| Failure { exit: Exit::Failed, message: error.to_string() };
    let note = |campaign: &mut Campaign, note: &mut dyn FnMut(&mut Round)| {
        if let Some(round) = campaign.rounds.last_mut() {
            note(round);
        }
        campaign.save()
    };
    let mut first = None;
    if base {
        let id = Slurm::submit(&campaign.sbatch, &folder.join("base.sh"), &[]).map_err(failed)?;
        note(campaign, &mut |round| round.base = Some(id.clone()))?;
        first = Some(id);
    }
    let mut ends: Vec<String> = Vec::new();
    for offset in (0..total).step_by(campaign.max_array) {
        let count = (total - offset).min(campaign.max_array);
        let mut options = campaign.sbatch.clone();
        options.push(format!("--array={}", script::indices(campaign, count)));
        if let Some(first) = &first {
            // Where it fails, the tasks are cancelled instead of waiting for ever.
            options.extend([format!("--dependency=afterok:{first}"), "--kill-on-invalid-dep=yes".into()]);
        }
        let job = Slurm::submit(&options, &folder.join("job.sh"), &[offset.to_string()]).map_err(failed)?;
        ends.push(job.clone());
        note(campaign, &mut |round| round.arrays.push(Array { job: job.clone(), offset, tasks: count }))?;
    }
    if ends.is_empty() {
        ends.extend(first);
    }
    let mut options = script::without_gpus(&campaign.sbatch);
    options.push(format!("--dependency=afterany:{}", ends.join(":")));
    let id = Slurm::submit(&options, &folder.join("collect.sh"), &[]).map_err(failed)?;
    note(campaign, &mut |round| round.collect = Some(id.clone()))?;
    Ok(())
}

/// Says what was submitted.
pub(super) fn tell(round: &Round) {
    if let Some(base) = &round.base {
        say(&format!("job {base} does what all tasks need"));
    }
    for array in &round.arrays {
        say(&format!("job {} is an array of {} tasks", array.job, array.tasks));
    }
    if let Some(collect) = &round.collect {
        say(&format!("job {collect} gathers, and goes on with what is missing"));
    }
}

/// Epochs that runs have behind them, by their checkpoints.
pub(super) fn epochs<'a>(layout: &Layout, runs: impl Iterator<Item = &'a Item>) -> usize {
    let folder = layout.checkpoints();
    runs.filter_map(|item| checkpoint::epoch(&checkpoint::path(&folder, &item.id))).sum()
}

/// One call at a time submits for a store.
struct Turn(std::path::PathBuf);

impl Turn {
    fn take(layout: &Layout) -> Result<Turn, Failure> {
        let path = layout.0.join("submitting");
        std::fs::create_dir_all(&layout.0)?;
        let taken = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
        match taken {
            Ok(_) => Ok(Turn(path)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::usage(format!(
                "{}: another call submits for this store now\n  next: wait for it; where none does (it was killed), remove this file",
                path.display()
            ))),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The states of a campaign's runs: done wherever anybody has done it, else the last attempt's.
pub(super) fn left(campaign: &Campaign, states: &BTreeMap<String, State>) -> Missing {
    let open = |items: &[Item]| {
        let ended = |item: &&Item| !matches!(states.get(&item.id), Some(State::Done | State::Failed));
        items.iter().filter(ended).cloned().collect::<Vec<Item>>()
    };
    Missing { base: open(&campaign.base), runs: open(&campaign.runs) }
}

/// Opens a store that jobs may have published, to read.
pub(super) fn states_of(path: &Path) -> Result<BTreeMap<String, State>, store::Error> {
    Store::open_to_read(path)?.states()
}

/// A store to take from.
pub(super) fn other(path: std::path::PathBuf) -> merge::Other {
    merge::Other { path, of_folder: true }
}
