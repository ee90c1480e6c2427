//! `unmute doctor`: what could go wrong here, before it does.

use super::args::DoctorArgs;
use super::{Exit, Failure, doctor_gpu, open, print_json, print_text};
use crate::report::format::bytes;
use crate::runs::{self, checkpoint, environment, weights};
use crate::store::{self, Health, disk};
use serde_json::json;

/// Less room than this is worth a warning.
const LITTLE: u64 = 1 << 30;
/// A log this long was not folded into the file for some reason.
const LONG_LOG: u64 = 256 << 20;

pub(super) fn doctor(args: &DoctorArgs) -> Result<Exit, Failure> {
    let DoctorArgs { store: args, device } = args;
    if let Some(device) = device {
        return doctor_gpu::doctor(device, args.json);
    }
    let db = &args.db.db;
    let disk = disk(db)?;
    let mut kept: Option<weights::State> = None;
    let health = match db.is_file() {
        true => Some(
            open::store(db)
                .and_then(|s| {
                    kept = weights::state(&s).ok();
                    Ok(s.health(&checkpoint::folder(db))?)
                })
                .map_err(|f| f.message),
        ),
        false => None,
    };
    let threads = rayon::current_num_threads();
    let machine = environment::record(threads, threads, "cpu");
    let mut warnings: Vec<String> = Vec::new();
    if disk.free_bytes < LITTLE {
        warnings.push(format!("only {} left on the disk of {}", bytes(disk.free_bytes), db.display()));
    }
    if disk.read_only {
        warnings.push(format!("the disk of {} is mounted read-only; name another place with --db", db.display()));
    }
    if let Some(kind) = &disk.network {
        warnings.push(format!(
            "{} is on a network file system ({kind}), where a second machine that uses it damages it without an error; `unmute run` refuses it. Keep it on a local disk and `unmute merge` stores, or let `unmute slurm submit` do so",
            db.display()
        ));
    }
    match &health {
        Some(Err(error)) => warnings.push(error.clone()),
        Some(Ok(v)) => warnings.extend(about(v)),
        None => {}
    }
    warnings.extend(kept.iter().flat_map(about_weights));
    let whole = !matches!(&health, Some(Err(_))) && !matches!(&health, Some(Ok(v)) if v.damage.is_some());
    if args.json {
        print_json(&json!({
            "db": db,
            "store": health.as_ref().and_then(|v| v.as_ref().ok()),
            "schema_known": store::VERSION,
            "weights": kept,
            "disk": disk,
            "machine": machine,
            "warnings": warnings,
        }))?;
        return Ok(if whole { Exit::Done } else { Exit::NotAll });
    }
    let mut out = String::new();
    let mut line = |name: &str, value: String| out += &format!("{name:<12} {value}\n");
    line("program", format!("unmute {}, schema {}", env!("CARGO_PKG_VERSION"), store::VERSION));
    match &health {
        None => line("store", format!("{}: not there yet", db.display())),
        Some(Err(_)) => line("store", format!("{}: cannot be opened", db.display())),
        Some(Ok(v)) => {
            line("store", format!("{}, {}, schema {}", db.display(), bytes(v.bytes), v.schema));
            line("sqlite", format!("{}, journal {}, log {}", v.sqlite, v.journal, bytes(v.wal_bytes)));
            line("checkpoints", bytes(v.checkpoint_bytes));
            if let Some(kept) = &kept {
                line("weights", format!("of {} runs, {}", kept.kept, bytes(kept.bytes)));
            }
            line("integrity", v.damage.clone().unwrap_or_else(|| "ok".into()));
            line("running", format!("{} run(s)", v.running.len()));
        }
    }
    line(
        "disk",
        format!("{} free{}", bytes(disk.free_bytes), disk.network.map_or(String::new(), |n| format!(", {n}"))),
    );
    let text = |key: &str| machine[key].as_str().unwrap_or("unknown").to_string();
    line("machine", format!("{}, {}", text("host"), text("os")));
    line("cpu", format!("{}, {} cores, {threads} threads", text("cpu"), machine["cores"]));
    let features: Vec<&str> =
        machine["cpu_features"].as_array().into_iter().flatten().filter_map(|f| f.as_str()).collect();
    line("features", if features.is_empty() { "none of avx2, fma, avx512f, neon".into() } else { features.join(", ") });
    line("device", text("device"));
    line("code", text("code"));
    out += &match warnings.is_empty() {
        true => "\nnothing to worry about\n".to_string(),
        false => warnings.iter().map(|w| format!("\nwarning: {w}\n")).collect(),
    };
    print_text(&out)?;
    Ok(if whole { Exit::Done } else { Exit::NotAll })
}

fn about_weights(kept: &weights::State) -> Vec<String> {
    let mut warnings = Vec::new();
    if kept.missing > 0 {
        warnings.push(format!(
            "{} files of weights are neither inside the store nor beside it; `unmute export store OUT.db --with-weights` where they are makes a store that has them",
            kept.missing
        ));
    }
    for (run, name, path) in &kept.damaged {
        warnings.push(format!(
            "the weights of run {} ({name}) are damaged: {}\n  next: `unmute verify {} --dataset DIR --keep-weights` trains it again, after the file was taken away",
            open::short(run),
            path.display(),
            open::short(run)
        ));
    }
    if kept.unneeded.0 > 0 {
        let (files, size) = kept.unneeded;
        warnings
            .push(format!("{files} files of weights ({}) belong to no run; `unmute gc` takes them away", bytes(size)));
    }
    warnings
}

fn about(v: &Health) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(damage) = &v.damage {
        warnings
            .push(format!("the file is damaged: {damage}\n  next: unmute verify tells which runs can still be read"));
    }
    if v.journal != "wal" {
        warnings.push(format!("journal mode is {}; the next `unmute run` sets it to wal", v.journal));
    }
    if v.wal_bytes > LONG_LOG {
        warnings.push(format!(
            "the log beside the file has {}; it is folded in when the last program that uses the store ends",
            bytes(v.wal_bytes)
        ));
    }
    for r in v.running.iter().filter(|r| !runs::alive(&r.owner)) {
        warnings.push(format!(
            "run {} ({}) is marked as running, but process {} on {} is gone, or has given no sign of life; `unmute run` takes it up again",
            open::short(&r.run),
            r.name,
            r.owner.pid,
            r.owner.host
        ));
    }
    warnings
}
