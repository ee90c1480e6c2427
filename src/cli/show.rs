//! `unmute show RUN`.

use super::args::ShowArgs;
use super::{Exit, Failure, open, print, print_json};
use serde_json::json;

pub(super) fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.store.db.db)?;
    let run = open::run(&store, &args.run)?;
    let environment = run.environment_id.map(|id| store.environment(id)).transpose()?;
    let curve = store.curve(&run.id)?;
    if args.store.json {
        print_json(&json!({ "run": run, "environment": environment, "epochs": curve }))?;
        return Ok(Exit::Done);
    }
    let mut out = format!("run     {}\ncell    {}\n", run.id, run.key);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out += &format!("{name:<8}{value}\n");
        }
    };
    line("seed", run.seed.map(|s| s.to_string()));
    line("state", Some(format!("{} (attempt {})", run.state.word(), run.attempt)));
    line("began", run.started_at.clone());
    line("ended", run.finished_at.clone());
    line("took", run.seconds.map(crate::report::format::duration));
    line("memory", run.peak_memory.map(|m| crate::report::format::bytes(m as u64)));
    line("call", run.command.clone());
    line("error", run.error.clone());
    out += "\n";
    for (name, value) in &run.values {
        out += &format!("{name:<24} {value:.6}\n");
    }
    out += &format!("\ndepends on\n{}\n", serde_json::to_string_pretty(&run.spec)?);
    if let Some(environment) = environment {
        out += &format!("\nenvironment\n{}\n", serde_json::to_string_pretty(&environment)?);
    }
    if !curve.is_empty() {
        out += &format!(
            "\n{:>5} {:>10} {:>10} {:>8} {:>8} {:>10}\n",
            "epoch", "train loss", "val loss", "train %", "val %", "val error"
        );
        for e in &curve {
            out += &format!(
                "{:>5} {:>10.4} {:>10.4} {:>8.2} {:>8.2} {:>10.4}\n",
                e.epoch, e.train.loss, e.val.loss, e.train.accuracy, e.val.accuracy, e.val.feature_error
            );
        }
    }
    print(&out)?;
    Ok(Exit::Done)
}
