//! `unmute slurm status`: what is done, by what jobs have published, and what Slurm says of them.

use super::args::StoreArgs;
use super::progress::say;
use super::slurm_campaign::{campaign_of, counted, parts, states_of};
use super::{Exit, Failure, print_json, print_text};
use crate::slurm::queue::States;
use crate::slurm::{Campaign, Slurm};
use crate::store::State;
use serde_json::json;
use std::collections::BTreeMap;

pub(super) fn status(args: &StoreArgs) -> Result<Exit, Failure> {
    let campaign = campaign_of(&args.db.db)?;
    let layout = campaign.layout();
    let Some(round) = campaign.rounds.last() else {
        return Err(Failure::usage(format!("{}: nothing was submitted", layout.0.display())));
    };
    let mut states = if campaign.db.is_file() { states_of(&campaign.db)? } else { BTreeMap::new() };
    for part in parts(&layout, round.number)? {
        match states_of(&part.path) {
            Ok(of_part) => of_part.into_iter().for_each(|(id, state)| better(&mut states, id, state)),
            Err(error) => say(&format!("note: {error}")),
        }
    }
    let all = || campaign.base.iter().chain(&campaign.runs);
    let of = |wanted: State| all().filter(|item| states.get(&item.id) == Some(&wanted)).count();
    let (runs, done, failed) = (all().count(), of(State::Done), of(State::Failed));
    // What Slurm does not say is unknown. Nothing depends on it.
    let queue = Slurm::states(&campaign.jobs());
    if let Err(error) = &queue {
        say(&format!("note: what the jobs do is unknown: {error}"));
    }
    let queue = queue.ok();
    let cancelled = layout.cancelled().exists();
    let tasks = layout.tasks(round.number)?.tasks;
    let complete = |task: &&crate::slurm::Task| {
        task.runs.iter().all(|id| matches!(states.get(id), Some(State::Done | State::Failed)))
    };
    let tasks_done = tasks.iter().filter(complete).count();
    if args.json {
        print_json(&json!({
            "name": campaign.name,
            "round": round.number,
            "last_round": campaign.last_round,
            "cancelled": cancelled,
            "outcome": round.outcome,
            "runs": { "all": runs, "done": done, "failed": failed, "missing": runs - done - failed },
            "tasks": { "all": tasks.len(), "done": tasks_done },
            "jobs": lines(&campaign, queue.as_ref()).iter().map(|line| json!({
                "what": line.what, "job": line.job, "tasks": line.tasks, "states": line.states,
            })).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    let mut out = format!(
        "{}, round {} (of {} at most): {done} of {runs} runs done, {failed} failed, {} missing\n",
        campaign.name,
        round.number,
        campaign.last_round,
        runs - done - failed
    );
    for line in lines(&campaign, queue.as_ref()) {
        let state = match &line.states {
            None => "unknown".to_string(),
            Some(states) if states.is_empty() => "ended".into(),
            Some(states) => {
                let queued: usize = states.values().sum();
                let ended = line.tasks.unwrap_or(1).saturating_sub(queued);
                counted(states) + &if ended > 0 { format!(", {ended} ended") } else { String::new() }
            }
        };
        out += &format!("{:<8} job {:<8} {state}\n", line.what, line.job);
    }
    out += &format!(
        "{tasks_done} of {} tasks have done all of their runs; logs: {}\n",
        tasks.len(),
        layout.round(round.number).join("logs").display()
    );
    if cancelled {
        out += "cancelled: nothing more is submitted\n";
    }
    if let Some(outcome) = &round.outcome {
        out += &format!("{outcome}\n");
    }
    print_text(&out)?;
    Ok(Exit::Done)
}

/// A job and what Slurm says of it; nothing where it says nothing.
struct Line {
    what: &'static str,
    job: String,
    tasks: Option<usize>,
    states: Option<States>,
}

fn lines(campaign: &Campaign, queue: Option<&BTreeMap<String, States>>) -> Vec<Line> {
    let Some(round) = campaign.rounds.last() else { return Vec::new() };
    let line = |what, job: &String, tasks| {
        let states = queue.map(|queue| queue.get(job).cloned().unwrap_or_default());
        Line { what, job: job.clone(), tasks, states }
    };
    let mut lines: Vec<Line> = round.base.iter().map(|job| line("base", job, None)).collect();
    lines.extend(round.arrays.iter().map(|array| line("tasks", &array.job, Some(array.tasks))));
    lines.extend(round.collect.iter().map(|job| line("collect", job, None)));
    lines
}

/// Done wherever anybody has done it; else failed; else whatever was told first.
fn better(states: &mut BTreeMap<String, State>, id: String, state: State) {
    let rank = |state: State| match state {
        State::Done => 2,
        State::Failed => 1,
        _ => 0,
    };
    let known = states.entry(id).or_insert(state);
    if rank(state) > rank(*known) {
        *known = state;
    }
}
