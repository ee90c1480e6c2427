//! `unmute slurm submit`, and the next round of a campaign.

use super::progress::say;
use super::slurm_args::SubmitArgs;
use super::slurm_campaign::{Missing, absolute, counted, merge_into, parts};
use super::slurm_round::{round, tell};
use super::{Exit, Failure, open, print, print_json, run};
use crate::experiment::Part;
use crate::report::format::duration;
use crate::runs::plan::{Open, cost};
use crate::runs::publish::{Publisher, Scratch};
use crate::runs::rates::Rates;
use crate::runs::why::History;
use crate::runs::{Plan, fingerprint, queue};
use crate::slurm::campaign::{self, Layout};
use crate::slurm::{Campaign, Item, Size, Slurm, script, tasks};
use crate::store::{Selection, State, Values};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Cells that a GPU has room for side by side, where nobody says how many.
const ON_A_GPU: usize = 8;

/// Options of sbatch that decide how a campaign hangs together, and what to say instead.
const OURS: [(&str, &str, &str); 4] = [
    ("--array", "-a", "tasks are put together by --tasks or --task-minutes, and --at-once limits them"),
    ("--wrap", "", "the script is made here; --dry-run prints it"),
    ("--test-only", "", "--dry-run > job.sh, then sbatch --test-only job.sh"),
    ("--wait", "-W", "`unmute slurm status` tells how far it is"),
];

pub(super) fn submit(args: &SubmitArgs) -> Result<Exit, Failure> {
    check(args)?;
    let given = &args.run.experiment;
    let (experiment, plan) = open::plan(given)?;
    let db = absolute(&given.db.db)?;
    let earlier = Campaign::of(&db)?;
    if let (Some(earlier), false) = (&earlier, args.dry_run) {
        still_queued(earlier)?;
        gather(earlier)?;
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
    if args.run.tell.on_finish.is_some() || args.run.tell.log.is_some() {
        return Err(Failure::usage(
            "--on-finish and --log are for a call that waits; jobs have logs of their own\n  next: let Slurm tell you, `-- --mail-type=END --mail-user=ME`",
        ));
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
    let told: Vec<String> = states.iter().map(|(job, states)| format!("{job} ({})", counted(states))).collect();
    Err(Failure::usage(format!(
        "jobs that were submitted for {db} before have not ended: {}\n  next: `unmute slurm status --db {db}` shows how far they are; `unmute slurm cancel --db {db}` ends them",
        told.join(", ")
    )))
}

/// Takes over what an earlier campaign has left, should its last job not have come to it.
fn gather(earlier: &Campaign) -> Result<(), Failure> {
    let unfinished = earlier.rounds.last().filter(|round| round.outcome.is_none());
    let Some(round) = unfinished else { return Ok(()) };
    let others = parts(&earlier.layout(), round.number)?;
    if !others.is_empty() {
        say("taking over what earlier jobs have left");
        merge_into(&earlier.db, &others)?;
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
    let open = plan.open(&states);
    let all = open.len();
    let open: Vec<Open> = open.into_iter().filter(|run| !fails(run.id) && !lacks(run)).collect();
    let failed = all - open.len();
    // What a GPU trains side by side is one task's.
    let mut together: HashMap<&str, usize> = HashMap::new();
    if script::asks_for_gpus(&args.sbatch) {
        let groups = queue::groups(open.clone(), args.run.device.cells.unwrap_or(ON_A_GPU), |_| 0);
        for (number, group) in groups.iter().enumerate().filter(|(_, group)| group.len() > 1) {
            together.extend(group.iter().map(|run| (run.id, number)));
        }
    }
    let mut missing = Missing::default();
    for run in open {
        let planned = run.planned;
        let item = Item {
            id: run.id.into(),
            name: run.name(),
            cost: cost(planned),
            seconds: rates.seconds(planned),
            together: together.get(run.id).copied(),
        };
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
    add(
        "--features",
        run.experiment
            .features
            .as_deref()
            .map(|dir| absolute(dir).map_or_else(|_| dir.display().to_string(), |dir| dir.display().to_string())),
    );
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
