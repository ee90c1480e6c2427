//! A round of a campaign: files for its jobs, and what sbatch is told of each.

use super::progress::say;
use super::slurm_campaign::{Missing, epochs};
use super::{Exit, Failure};
use crate::slurm::{Array, Campaign, Round, Slurm, Tasks, script, tasks};
use crate::store;
use std::path::Path;

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
