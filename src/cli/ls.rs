//! `unmute ls` and `unmute status`.

use super::args::StoreArgs;
use super::{Exit, Failure, open, print, print_json};
use crate::report::format::duration;
use serde_json::json;
use std::collections::BTreeMap;

pub(super) fn ls(args: &StoreArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let runs = store.runs()?;
    if args.json {
        print_json(&runs)?;
        return Ok(Exit::Done);
    }
    let mut out = format!(
        "{:<12} {:<40} {:>5} {:<11} {:>7} {:>7} {:>8}\n",
        "run", "cell", "seed", "state", "top1", "top5", "time"
    );
    for r in &runs {
        let percent = |name: &str| r.values.get(name).map_or_else(|| "-".into(), |v| format!("{v:.2}"));
        let seed = r.seed.map_or_else(|| "-".into(), |s| s.to_string());
        let time = r.seconds.map_or_else(|| "-".into(), duration);
        out += &format!(
            "{:<12} {:<40} {seed:>5} {:<11} {:>7} {:>7} {time:>8}\n",
            &r.id[..12.min(r.id.len())],
            r.key,
            r.state.word(),
            percent("top1"),
            percent("top5")
        );
        if let Some(error) = &r.error {
            out += &format!("             {}\n", error.replace('\n', "\n             "));
        }
    }
    if runs.is_empty() {
        out += "no runs yet\n";
    }
    print(&out)?;
    Ok(Exit::Done)
}

pub(super) fn status(args: &StoreArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for run in store.runs()? {
        *counts.entry(run.state.word()).or_default() += 1;
    }
    let experiments = store.experiment_names()?;
    if args.json {
        print_json(&json!({ "db": store.path(), "runs": counts, "experiments": experiments }))?;
        return Ok(Exit::Done);
    }
    let mut out = format!("{}\n", store.path().display());
    for (state, count) in &counts {
        out += &format!("{count:>6} {state}\n");
    }
    out +=
        &format!("experiments: {}\n", if experiments.is_empty() { "none yet".into() } else { experiments.join(", ") });
    print(&out)?;
    Ok(Exit::Done)
}
