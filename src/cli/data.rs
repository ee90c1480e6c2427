//! `unmute data synth | import | stats`.

use super::args::{DataArgs, DataWhat, ImportArgs};
use super::progress::{clips_bar, say, spinner};
use super::{Exit, Failure, open, print, print_json};
use crate::dataset::import::{self, Rows};
use crate::dataset::stats::{Counts, Stats};
use crate::dataset::synth;
use crate::dataset::{Dataset, Kind};
use crate::report::format::number;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn data(args: &DataArgs) -> Result<Exit, Failure> {
    match &args.what {
        DataWhat::Synth { dst, preset, seed, train, val, sounded } => {
            let bar = clips_bar("synthesising");
            let options = synth::Options {
                preset: *preset,
                seed: *seed,
                train_clips: *train,
                val_clips: *val,
                sounded: *sounded,
            };
            let outcome = stoppable(|| {
                synth::synth(dst, &options, &|done, total| {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                })
            })?;
            bar.finish_and_clear();
            let what = match outcome {
                synth::Outcome::Made(_) => "made",
                synth::Outcome::AlreadyThere(_) => "there already",
            };
            say(&format!("{}: {what}", dst.display()));
            say(&format!(
                "next: unmute data stats {0}; unmute run experiments/icassp2019 --dataset {0}",
                dst.display()
            ));
        }
        DataWhat::Import(args) => import(args)?,
        DataWhat::Stats { dir, json } => {
            let spinner = spinner(&format!("checking {}", dir.display()));
            let dataset = Dataset::open(dir)?;
            drop(spinner);
            open::notes(&dataset);
            let stats = Stats::of(&dataset);
            if *json { print_json(&stats)? } else { print(&describe(&stats, dir))? }
        }
    }
    Ok(Exit::Done)
}

fn import(args: &ImportArgs) -> Result<(), Failure> {
    let defaults = import::Options::default();
    let options = import::Options {
        frames: args.frames,
        rows_required: !args.rows.is_empty(),
        rows: if args.rows.is_empty() { defaults.rows } else { parse_rows(&args.rows)? },
        name: args.name.clone(),
        precision: args.precision,
        absent_is_silent: args.absent_is_silent,
        streams: args.streams.clone(),
        skip: args.skip.clone(),
        reduce: parse_reduce(&args.reduce)?,
        transpose: args.transpose.clone(),
        no_scores: args.no_scores,
        strict: args.strict,
    };
    let (src, dst) = (&args.src, &args.dst);
    let bar = clips_bar("importing");
    let outcome = stoppable(|| {
        import::import(src, dst, &options, &|done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })
    })?;
    bar.finish_and_clear();
    let (what, manifest, report) = match outcome {
        import::Outcome::Imported(m, r) => ("imported", m, r),
        import::Outcome::AlreadyThere(m, r) => ("imported already", m, r),
        import::Outcome::Renewed(m, r) => {
            ("imported by an earlier version, and again now: the same, with rows named", m, r)
        }
    };
    let features: Vec<String> =
        manifest.streams.iter().chain(&manifest.audio).map(|f| format!("{} {}", f.name, f.width)).collect();
    say(&format!(
        "{}: {what}: {} classes, T {}, {}",
        dst.display(),
        manifest.classes.len(),
        manifest.frames,
        features.join(", ")
    ));
    report.lines().iter().for_each(|line| say(line));
    say(&format!("next: unmute data stats {}", dst.display()));
    Ok(())
}

/// Runs something that Ctrl-C, a hang-up or a request to terminate stops at the next block of clips, with nothing left behind.
fn stoppable<T>(work: impl FnOnce() -> Result<T, crate::dataset::Error>) -> Result<T, Failure> {
    crate::dataset::stop_on_signals();
    work().map_err(|e| match e {
        crate::dataset::Error::Stopped => Failure { exit: Exit::Interrupted, message: e.to_string() },
        _ => e.into(),
    })
}

/// `NAME=VALUE` pairs, each name once.
fn pairs<'a, V>(
    flag: &str,
    given: &'a [String],
    parse: impl Fn(&'a str) -> Option<(String, V)>,
    expected: &str,
) -> Result<BTreeMap<String, V>, Failure> {
    let mut out = BTreeMap::new();
    for text in given {
        let (name, value) =
            parse(text).ok_or_else(|| Failure::usage(format!("{flag} {text}: should be {expected}")))?;
        if out.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!(
                "{flag} {text}: {flag} was given for {name:?} before; which one counts?"
            )));
        }
    }
    Ok(out)
}

fn parse_rows(rows: &[String]) -> Result<BTreeMap<String, Rows>, Failure> {
    let parse = |row: &str| {
        let (name, rows) = row.split_once('=')?;
        let rows = if rows == "mean" { Rows::Mean } else { Rows::Sample(rows.parse().ok()?) };
        Some((name.to_string(), rows))
    };
    pairs("--rows", rows, parse, "NAME=N or NAME=mean, such as vggish=3")
}

fn parse_reduce(reduce: &[String]) -> Result<BTreeMap<String, import::Reduce>, Failure> {
    let parse = |text: &str| {
        let (name, how) = text.split_once('=').unwrap_or(("", text));
        Some((name.to_string(), how.parse().ok()?))
    };
    pairs(
        "--reduce",
        reduce,
        parse,
        "mean, max or first, with :0 behind it for the first axis and NAME= before it for one feature",
    )
}

/// One of a split's counts.
type CountOf = fn(&crate::dataset::stats::Counts) -> usize;

fn describe(stats: &Stats, dir: &Path) -> String {
    let kind = match stats.kind {
        Kind::Real => "real",
        Kind::Synthetic => "SYNTHETIC",
    };
    let mut out = format!("{} ({kind}) in {}\nfingerprint {}\n\n", stats.name, dir.display(), stats.fingerprint);
    // A third column where there is a test split.
    let has_test = stats.test.total > 0;
    let test = |text: String| if has_test { format!(" {text}") } else { String::new() };
    out += &format!("{:<16} {:>9} {:>9}{}\n", "clips", "train", "val", test(format!("{:>9}", "test")));
    let rows: [(&str, CountOf); 3] =
        [("with sound", |c| c.sounded), ("without sound", |c| c.silent), ("total", |c| c.total)];
    for (name, of) in rows {
        let [train, val, tests] = [&stats.train, &stats.val, &stats.test].map(|c| number(of(c) as f64, 0));
        out += &format!("{name:<16} {train:>9} {val:>9}{}\n", test(format!("{tests:>9}")));
    }
    let [train, val, tests] = [&stats.train, &stats.val, &stats.test].map(Counts::silent_percent);
    out += &format!("{:<16} {train:>8.1}% {val:>8.1}%{}\n\n", "silent", test(format!("{tests:>8.1}%")));
    out += &format!("{} classes, {} frames\n", stats.classes, stats.frames);
    for (what, shapes) in [("stream", &stats.streams), ("audio", &stats.audio), ("scores", &stats.scores)] {
        for s in shapes {
            let shape: Vec<String> = s.shape.iter().map(usize::to_string).collect();
            out += &format!("{what:<8} {:<12} {} {}\n", s.name, shape.join(" x "), s.precision);
        }
    }
    let head = test(format!("{:>7} {:>9}", "test", "silent"));
    out += &format!("\n{:<24} {:>7} {:>9} {:>7} {:>9}{head}\n", "class", "train", "silent", "val", "silent");
    for c in &stats.per_class {
        out += &format!(
            "{:<24} {:>7} {:>8.1}% {:>7} {:>8.1}%{}\n",
            c.class,
            c.train.total,
            c.train.silent_percent(),
            c.val.total,
            c.val.silent_percent(),
            test(format!("{:>7} {:>8.1}%", c.test.total, c.test.silent_percent()))
        );
    }
    out
}
