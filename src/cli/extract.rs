//! `unmute extract`: videos to features, and on to a data set.

use super::args::{Cli, Command};
use super::extract_args::{ExtractArgs, ExtractFlowArgs, ExtractWhat};
use super::extract_progress::ExtractProgress;
use super::progress::say;
use super::signals;
use super::{Exit, Failure, data, print_json};
use crate::extract::flow_out::{self, FlowOptions};
use crate::extract::net::preset::Preset;
use crate::extract::plan::{Job, parse_shard, shown};
use crate::extract::{Options, Seconds, Summary};
use crate::report::format::duration;
use clap::Parser;
use std::path::Path;

/// Failed clips that are named; `failures.csv` has all.
const NAMED: usize = 20;

pub(super) fn extract(args: &ExtractArgs) -> Result<Exit, Failure> {
    match &args.what {
        Some(ExtractWhat::Flow(flow)) => extract_flow(flow),
        None => features(args),
    }
}

fn options(args: &ExtractArgs) -> Result<Options, Failure> {
    let usage = |message: String| Failure::usage(message);
    let (Some(videos), Some(dst)) = (&args.videos, &args.dst) else {
        return Err(Failure::usage("the folder of the videos and the one for the features are needed, VIDEOS and DST"));
    };
    if args.workers == Some(0) {
        return Err(Failure::usage("--workers 0: at least one is needed"));
    }
    Ok(Options {
        videos: videos.clone(),
        clips: args.clips.clone(),
        destination: dst.clone(),
        nets: args.nets.clone(),
        scores: args.scores.clone(),
        classes: args.classes.clone(),
        fps: args.fps.clone(),
        crops: args.crops.clone(),
        short: args.short.parse().map_err(usage)?,
        flow: args.flow.clone(),
        aenet_stats: args.aenet_stats.clone(),
        vggish_pca: args.vggish_pca.clone(),
        strict: args.strict,
        workers: args.workers,
        shard: args.shard.as_deref().map(parse_shard).transpose().map_err(|e| usage(format!("--shard {e}")))?,
        runtime: args.runtime.parse().map_err(usage)?,
        device: args.device.parse().map_err(usage)?,
        wait: args.import.is_some(),
    })
}

fn features(args: &ExtractArgs) -> Result<Exit, Failure> {
    let options = options(args)?;
    let job = Job::new(&options)?;
    say_what(&job, args);
    let interrupt = signals::flag()?;
    let progress = ExtractProgress::new();
    let summary = job.run(interrupt, &|event| progress.event(event));
    progress.finish();
    let summary = summary?;
    tell(&summary, args);
    if args.json {
        print_json(&summary)?;
    }
    if summary.interrupted {
        say("interrupted; the same command goes on where it stopped");
        return Ok(Exit::Interrupted);
    }
    let exit = if summary.failed.is_empty() { Exit::Done } else { Exit::NotAll };
    if summary.done == 0 {
        // Where others work on all of them, there is nothing to complain of.
        return Ok(if exit == Exit::Done && summary.left == 0 { Exit::NotAll } else { exit });
    }
    let dst = args.dst.as_deref().map(shown).unwrap_or_default();
    if !job.list().labelled {
        say(&format!(
            "note: not every clip has a label and a split by its folder; {dst}/clips.csv takes them, and keeps them"
        ));
    }
    match &args.import {
        Some(set) => return Ok(if import(args, set, &job)? == Exit::Done { exit } else { Exit::Failed }),
        None => {
            let rows: String =
                job.sounds().iter().map(|name| format!(" --rows {name}={}", rows_of(name, args))).collect();
            say(&format!("next: unmute data import {dst} SET{rows}"));
        }
    }
    Ok(exit)
}

/// How the rows of an audio feature become one vector, unless `--rows` says so: AENet's are no seconds, so their mean.
fn rows_of(name: &str, args: &ExtractArgs) -> &'static str {
    let aenet = args.nets.iter().any(|net| net.starts_with(&format!("{name}={}", Preset::Aenet.name())));
    if aenet { "mean" } else { "3" }
}

/// Goes on as `unmute data import DST SET` would.
fn import(args: &ExtractArgs, set: &Path, job: &Job) -> Result<Exit, Failure> {
    let mut words: Vec<std::ffi::OsString> = ["unmute", "data", "import"].map(Into::into).into();
    words.extend(args.dst.iter().map(Into::into));
    words.push(set.into());
    let given = |name: &str| args.rows.iter().any(|row| row.split('=').next() == Some(name));
    let rows =
        job.sounds().into_iter().filter(|name| !given(name)).map(|name| format!("{name}={}", rows_of(name, args)));
    for row in args.rows.iter().cloned().chain(rows) {
        words.extend(["--rows".into(), row.into()]);
    }
    let options = [("--frames", &args.frames), ("--name", &args.name), ("--precision", &args.precision)];
    for (flag, value) in options {
        if let Some(value) = value {
            words.extend([flag.into(), value.into()]);
        }
    }
    let cli = Cli::try_parse_from(words).map_err(|e| Failure::usage(format!("--import: {}", e.render())))?;
    match &cli.command {
        Command::Data(args) => data::data(args),
        _ => Ok(Exit::Done),
    }
}

/// What is about to happen.
fn say_what(job: &Job, args: &ExtractArgs) {
    let list = job.list();
    if !list.others.is_empty() {
        say(&format!(
            "{} file(s) are no videos by their ending and left out, such as {}; --clips names any file",
            list.others.len(),
            list.others[0]
        ));
    }
    if args.nets.iter().any(|n| n.contains("by=dis")) {
        say("note: flow by dense inverse search, which is quicker and less exact than the paper's TV-L1");
    }
}

fn tell(summary: &Summary, args: &ExtractArgs) {
    let Summary { listed, done, silent, extracted, failed, left, undecoded, seconds, wall, .. } = summary;
    let dst = args.dst.as_deref().map(shown).unwrap_or_default();
    say(&format!(
        "{dst}: {done} of {listed} clips have features ({silent} silent), {extracted} extracted now in {}",
        duration(*wall)
    ));
    if *extracted > 0 {
        say(&format!(
            "{:.1} clips a minute; processor time {}",
            *extracted as f64 / wall.max(1e-9) * 60.0,
            shares(seconds)
        ));
    }
    if !undecoded.is_empty() {
        let frames: usize = undecoded.values().sum();
        say(&format!(
            "{} clip(s) have frames that did not decode ({frames} in all); extract.json names them",
            undecoded.len()
        ));
    }
    for (clip, reason) in failed.iter().take(NAMED) {
        say(&format!("failed: {clip}: {}", reason.lines().next().unwrap_or_default()));
    }
    if !failed.is_empty() {
        let more =
            if failed.len() > NAMED { format!(" ({} more not shown)", failed.len() - NAMED) } else { String::new() };
        say(&format!(
            "{} failed{more}; {dst}/failures.csv names them; the same command tries them again",
            failed.len()
        ));
    }
    if *left > 0 {
        say(&format!("{left} clip(s) are left: other shards', or worked on elsewhere"));
    }
}

/// Processor time by stage, in percent of all.
fn shares(seconds: &Seconds) -> String {
    let percent = |part: f64| format!("{:.0} %", 100.0 * part / seconds.total.max(1e-9));
    let parts = [
        ("decoding", seconds.decoding),
        ("frames", seconds.frames),
        ("flow", seconds.flow),
        ("sound", seconds.sound),
        ("networks", seconds.networks),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(_, s)| *s > 0.0).map(|(name, s)| format!("{name} {}", percent(*s))).collect();
    format!("{}: {}", duration(seconds.total), parts.join(", "))
}

fn extract_flow(args: &ExtractFlowArgs) -> Result<Exit, Failure> {
    let usage = |message: String| Failure::usage(message);
    let options = FlowOptions {
        videos: args.videos.clone(),
        clips: args.clips.clone(),
        destination: args.dst.clone(),
        by: args.method.parse().map_err(usage)?,
        fps: if args.fps == "native" { None } else { Some(args.fps.clone()) },
        bound: args.bound,
        size: args.size.clone(),
        first: if args.style == "denseflow" { 0 } else { 1 },
        workers: args.workers,
        shard: args.shard.as_deref().map(parse_shard).transpose().map_err(|e| usage(format!("--shard {e}")))?,
    };
    let interrupt = signals::flag()?;
    let progress = ExtractProgress::new();
    let result = flow_out::run(&options, interrupt, &|event| progress.event(event));
    progress.finish();
    let summary = result?;
    say(&format!("{}: flow of {} of {} clips", args.dst.display(), summary.done, summary.listed));
    for (clip, reason) in summary.failed.iter().take(NAMED) {
        say(&format!("failed: {clip}: {}", reason.lines().next().unwrap_or_default()));
    }
    if summary.interrupted {
        say("interrupted; the same command goes on where it stopped");
        return Ok(Exit::Interrupted);
    }
    if summary.failed.is_empty() {
        say(&format!(
            "next: unmute extract {} DST --flow {} --net flow=PRESET,by=folder:FILE.onnx",
            shown(&args.videos),
            shown(&args.dst)
        ));
        return Ok(Exit::Done);
    }
    say(&format!("{} failed; the same command tries them again", summary.failed.len()));
    Ok(Exit::NotAll)
}
