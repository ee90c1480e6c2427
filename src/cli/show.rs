//! `unmute show RUN`.

use super::args::ShowArgs;
use super::{Exit, Failure, open, print_json, print_text};
use serde_json::json;

pub(super) fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.store.db.db)?;
    let run = open::run(&store, &args.run)?;
    let environment = run.environment_id.map(|id| store.environment(id)).transpose()?;
    let curve = store.curve(&run.id)?;
    let experiments = store.experiments_with(&run.cell)?;
    let events = store.events(&run.id)?;
    if args.store.json {
        let experiments: Vec<_> =
            experiments.iter().map(|(name, sets, at)| json!({ "name": name, "sets": sets, "used_at": at })).collect();
        print_json(&json!({
            "run": run,
            "experiments": experiments,
            "environment": environment,
            "epochs": curve,
            "events": events,
        }))?;
        return Ok(Exit::Done);
    }
    let mut out = format!("run     {}\ncell    {}\n", run.id, run.key);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out += &format!("{name:<8}{value}\n");
        }
    };
    line("seed", run.seed.map(|s| s.to_string()));
    line("state", Some(format!("{} (attempt {})", open::state(&run), run.attempt)));
    for (name, sets, _) in &experiments {
        line("in", Some(sets.iter().fold(name.clone(), |text, set| text + " --set " + set)));
    }
    line("data", Some(run.dataset.clone()));
    line("from", run.accepted_from.as_ref().map(|id| format!("{id}, whose numbers were accepted for this code")));
    line("host", run.host.clone().map(|host| format!("{host}, process {}", run.pid.unwrap_or_default())));
    line("began", run.started_at.clone());
    line("ended", run.finished_at.clone());
    line("took", run.seconds.map(crate::report::format::duration));
    line("memory", run.peak_memory.map(|m| crate::report::format::bytes(m as u64)));
    line("call", run.command.clone());
    line("tags", (!run.tags.is_empty()).then(|| run.tags.join(" ")));
    for note in &run.notes {
        line("note", Some(note.replace('\n', "\n        ")));
    }
    let kept = store.weights(&run.id)?;
    line("weights", kept.map(|kept| crate::report::format::bytes(kept.bytes)));
    line("error", run.error.clone());
    for remark in crate::score::quality::remarks(&run.values) {
        line("remark", Some(remark));
    }
    out += "\n";
    for (name, value) in &run.values {
        out += &format!("{name:<24} {value:.6}\n");
    }
    out += &format!("\ndepends on\n{}\n", serde_json::to_string_pretty(&run.spec)?);
    if let Some(mut environment) = environment {
        // Pages of it would hide the rest.
        if let Some(diff) = environment.get_mut("dirty_diff").filter(|d| d.is_string()) {
            let lines = diff.as_str().unwrap_or_default().lines().count();
            *diff = format!("({lines} lines; --json has them)").into();
        }
        out += &format!("\nenvironment\n{}\n", serde_json::to_string_pretty(&environment)?);
    }
    if !events.is_empty() {
        out += "\nevents\n";
    }
    for e in &events {
        out += &format!("{} {:<5} {}\n", e.at, e.level, e.message.replace('\n', "\n    "));
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
    print_text(&out)?;
    Ok(Exit::Done)
}
