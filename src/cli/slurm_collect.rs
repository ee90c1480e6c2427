//! What the last job of a round does: it takes the parts over, reports, and submits what is missing while there is progress.

use super::args::{DbArg, PickArgs, ReportArgs};
use super::progress::say;
use super::slurm_args::CollectArgs;
use super::slurm_campaign::{Gathered, Missing, epochs, left, merge_into, parts};
use super::slurm_round::{round, tell};
use super::{Exit, Failure, report};
use crate::runs::checkpoint;
use crate::slurm::Campaign;
use crate::slurm::campaign::Layout;
use crate::slurm::script::quoted;
use crate::store::State;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the call that submitted this job has to note its id.
const NOTED_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn collect(args: &CollectArgs) -> Result<Exit, Failure> {
    let layout = Layout(args.folder.clone());
    let mut campaign = noted(&layout, args.round)?;
    let others = parts(&layout, args.round)?;
    if others.is_empty() {
        say("no job of this round has published anything");
    }
    let Gathered { whole: all_taken, states } = merge_into(&campaign.db, &others)?;
    let missing = left(&campaign, &states);
    let failed: Vec<String> = campaign
        .base
        .iter()
        .chain(&campaign.runs)
        .filter(|item| states.get(&item.id) == Some(&State::Failed))
        .map(|item| item.name.clone())
        .collect();
    tidy(&layout, &states);
    let whole = campaign.base.len() + campaign.runs.len();
    let done = whole - missing.count() - failed.len();
    say(&format!(
        "{}: {done} of {whole} runs done, {} failed, {} missing",
        campaign.name,
        failed.len(),
        missing.count()
    ));
    failed.iter().take(20).for_each(|name| say(&format!("failed: {name}")));
    if !missing.base.is_empty() {
        let log = layout.round(args.round).join("logs");
        say(&format!(
            "the job that comes first did not do all of its runs, so the tasks were cancelled; its log is in {}",
            log.display()
        ));
    }
    write_report(&campaign, &layout);
    let (outcome, exit) = go_on(&mut campaign, &layout, args.round, missing)?;
    say(&outcome);
    // The next round, if there is one, was noted behind this one.
    if let Some(this) = campaign.rounds.iter_mut().find(|round| round.number == args.round) {
        this.outcome = Some(outcome);
    }
    campaign.save()?;
    Ok(match exit {
        Exit::Done if !failed.is_empty() || !all_taken => Exit::NotAll,
        exit => exit,
    })
}

/// The campaign, once the call that submitted this job has noted it.
fn noted(layout: &Layout, round: usize) -> Result<Campaign, Failure> {
    let (job, started) = (std::env::var("SLURM_JOB_ID").ok(), Instant::now());
    loop {
        let campaign = Campaign::read(layout)?;
        let known = campaign.rounds.iter().find(|known| known.number == round);
        let ours = known.is_some_and(|known| known.collect.is_some() && (job.is_none() || known.collect == job));
        if ours || started.elapsed() > NOTED_WITHIN || job.is_none() {
            return Ok(campaign);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Takes away the checkpoints of runs that are done.
fn tidy(layout: &Layout, states: &BTreeMap<String, State>) {
    let folder = layout.checkpoints();
    for (id, _) in states.iter().filter(|(_, state)| **state == State::Done) {
        let _ = std::fs::remove_file(checkpoint::path(&folder, id));
    }
}

/// The report of what there is so far, beside the campaign.
fn write_report(campaign: &Campaign, layout: &Layout) {
    let args = ReportArgs {
        experiment: campaign.experiment.clone(),
        db: DbArg { db: campaign.db.clone() },
        pick: PickArgs { variant: None, dataset: None, seeds: None },
        out: layout.0.clone(),
        against: None,
        anonymous: false,
    };
    if let Err(failure) = report::report(&args) {
        say(&format!("note: no report: {}", failure.message));
    }
}

/// Submits the next round, where there is something to do, somebody wants it, and the last one came further.
fn go_on(campaign: &mut Campaign, layout: &Layout, number: usize, missing: Missing) -> Result<(String, Exit), Failure> {
    let count = missing.count();
    if count == 0 {
        return Ok(("all that could be done is done".into(), Exit::Done));
    }
    if layout.cancelled().exists() {
        return Ok((format!("cancelled with {count} runs missing; nothing more is submitted"), Exit::NotAll));
    }
    let this = campaign.rounds.iter().find(|round| round.number == number).cloned().unwrap_or_default();
    if campaign.rounds.last().is_some_and(|last| last.number > number) {
        return Ok((format!("{count} runs are missing; a later round was submitted already"), Exit::NotAll));
    }
    let further = count < this.missing || epochs(layout, missing.runs.iter()) > this.epochs;
    let again = again(campaign);
    if !further {
        let text = format!(
            "{count} runs are missing and this round came no further, so no other is submitted; next: see the logs in {}, then {again}",
            layout.round(number).join("logs").display()
        );
        return Ok((text, Exit::NotAll));
    }
    if number >= campaign.last_round {
        return Ok((format!("{count} runs are missing and this was the last round; next: {again}"), Exit::NotAll));
    }
    match round(campaign, missing) {
        Ok(()) => {
            campaign.rounds.last().into_iter().for_each(tell);
            Ok((format!("{count} runs are missing; round {} was submitted", number + 1), Exit::Done))
        }
        // Some clusters let nobody submit from within a job.
        Err(failure) => Ok((
            format!(
                "{count} runs are missing, and they could not be submitted from here ({}); next: on a login node, {again}",
                failure.message
            ),
            Exit::NotAll,
        )),
    }
}

/// The call that submits what is missing.
fn again(campaign: &Campaign) -> String {
    let path = |path: &Path| quoted(&path.display().to_string());
    let mut words = vec![
        path(&campaign.program),
        "slurm submit".into(),
        path(&campaign.experiment),
        "--dataset".into(),
        path(&campaign.dataset),
        "--db".into(),
        path(&campaign.db),
    ];
    words.extend(campaign.settings.iter().map(|word| quoted(word)));
    match campaign.size {
        crate::slurm::Size::Tasks(tasks) => words.push(format!("--tasks {tasks}")),
        crate::slurm::Size::Minutes(minutes) => words.push(format!("--task-minutes {minutes}")),
    }
    words.extend(campaign.at_once.map(|most| format!("--at-once {most}")));
    if !campaign.sbatch.is_empty() {
        words.push("--".into());
        words.extend(campaign.sbatch.iter().map(|word| quoted(word)));
    }
    words.join(" ")
}
