//! `unmute slurm submit | status | cancel`.

use super::args::StoreArgs;
use super::progress::say;
use super::slurm_args::{SlurmArgs, SlurmWhat};
use super::slurm_campaign::campaign_of;
use super::{Exit, Failure, slurm_collect, slurm_status, slurm_submit};
use crate::slurm::Slurm;

pub(super) fn slurm(args: &SlurmArgs) -> Result<Exit, Failure> {
    match &args.what {
        SlurmWhat::Submit(args) => slurm_submit::submit(args),
        SlurmWhat::Status(args) => slurm_status::status(args),
        SlurmWhat::Cancel(args) => cancel(args),
        SlurmWhat::Collect(args) => slurm_collect::collect(args),
    }
}

fn cancel(args: &StoreArgs) -> Result<Exit, Failure> {
    let campaign = campaign_of(&args.db.db)?;
    let layout = campaign.layout();
    // First of all: a job that gathers while we speak submits nothing more.
    layout.write_text(&layout.cancelled(), &format!("{}\n", crate::store::now()))?;
    let collect = campaign.rounds.last().and_then(|round| round.collect.clone());
    let jobs: Vec<String> = campaign.jobs().into_iter().filter(|job| Some(job) != collect.as_ref()).collect();
    let cancelled = Slurm::cancel(&jobs);
    if args.json {
        super::print_json(
            &serde_json::json!({ "cancelled": jobs, "collect": collect, "error": cancelled.as_ref().err().map(|e| e.to_string()) }),
        )?;
    }
    if let Err(error) = cancelled {
        return Err(Failure {
            exit: Exit::Failed,
            message: format!(
                "{error}\n  next: nothing more will be submitted; run it again when Slurm answers, to end what is queued"
            ),
        });
    }
    say(&format!("cancelled {}; nothing more is submitted", jobs.join(", ")));
    if let Some(collect) = collect {
        say(&format!("job {collect} takes over what the tasks have done; `unmute slurm submit` goes on from there"));
    }
    Ok(Exit::Done)
}
