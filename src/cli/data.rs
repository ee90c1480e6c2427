//! `unmute data synth | import | stats`.

use super::args::{DataArgs, DataWhat};
use super::progress::{clips_bar, say, spinner};
use super::{Exit, Failure, print, print_json};
use crate::dataset::import::{self, Rows};
use crate::dataset::stats::Stats;
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
            let outcome = synth::synth(dst, &options, &|done, total| {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
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
        DataWhat::Import { src, dst, frames, rows, name, precision, absent_is_silent } => {
            let options = import::Options {
                frames: *frames,
                rows: parse_rows(rows)?,
                name: name.clone(),
                precision: *precision,
                absent_is_silent: *absent_is_silent,
            };
            let bar = clips_bar("importing");
            let outcome = import::import(src, dst, &options, &|done, total| {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            })?;
            bar.finish_and_clear();
            let (what, manifest) = match outcome {
                import::Outcome::Imported(m) => ("imported", m),
                import::Outcome::AlreadyThere(m) => ("imported already", m),
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
            say(&format!("next: unmute data stats {}", dst.display()));
        }
        DataWhat::Stats { dir, json } => {
            let spinner = spinner(&format!("checking {}", dir.display()));
            let stats = Stats::of(&Dataset::open(dir)?);
            drop(spinner);
            if *json { print_json(&stats)? } else { print(&describe(&stats, dir))? }
        }
    }
    Ok(Exit::Done)
}

fn parse_rows(rows: &[String]) -> Result<BTreeMap<String, Rows>, Failure> {
    rows.iter()
        .map(|row| {
            let bad = || Failure::usage(format!("--rows {row}: should be NAME=N or NAME=mean, such as vggish=3"));
            let (name, rows) = row.split_once('=').ok_or_else(bad)?;
            let rows = match rows {
                "mean" => Rows::Mean,
                n => Rows::Sample(n.parse().map_err(|_| bad())?),
            };
            Ok((name.to_string(), rows))
        })
        .collect()
}

/// One of a split's counts.
type CountOf = fn(&crate::dataset::stats::Counts) -> usize;

fn describe(stats: &Stats, dir: &Path) -> String {
    let kind = match stats.kind {
        Kind::Real => "real",
        Kind::Synthetic => "SYNTHETIC",
    };
    let mut out = format!("{} ({kind}) in {}\nfingerprint {}\n\n", stats.name, dir.display(), stats.fingerprint);
    out += &format!("{:<16} {:>9} {:>9}\n", "clips", "train", "val");
    let rows: [(&str, CountOf); 3] =
        [("with sound", |c| c.sounded), ("without sound", |c| c.silent), ("total", |c| c.total)];
    for (name, of) in rows {
        out +=
            &format!("{name:<16} {:>9} {:>9}\n", number(of(&stats.train) as f64, 0), number(of(&stats.val) as f64, 0));
    }
    out += &format!("{:<16} {:>8.1}% {:>8.1}%\n\n", "silent", stats.train.silent_percent(), stats.val.silent_percent());
    out += &format!("{} classes, {} frames\n", stats.classes, stats.frames);
    for (what, shapes) in [("stream", &stats.streams), ("audio", &stats.audio)] {
        for s in shapes {
            let shape: Vec<String> = s.shape.iter().map(usize::to_string).collect();
            out += &format!("{what:<8} {:<12} {} {}\n", s.name, shape.join(" x "), s.precision);
        }
    }
    out += &format!("\n{:<24} {:>7} {:>9} {:>7} {:>9}\n", "class", "train", "silent", "val", "silent");
    for c in &stats.per_class {
        out += &format!(
            "{:<24} {:>7} {:>8.1}% {:>7} {:>8.1}%\n",
            c.class,
            c.train.total,
            c.train.silent_percent(),
            c.val.total,
            c.val.silent_percent()
        );
    }
    out
}
