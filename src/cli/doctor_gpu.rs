//! `unmute doctor --device cuda`: what a GPU takes, in the order in which it is looked for, and a small training on it.

use super::run::wanted;
use super::{Exit, Failure, print_json, print_text};
use crate::device::choice::{Choice, choose};
use crate::gpu::probe::{Found, Search, Wanted};
use crate::gpu::{cublas, detect, kernels};
use crate::report::format::bytes;
use crate::runs::trial::{Trial, trial};
use serde_json::{Value, json};

/// A line: what was looked for, and what was found.
struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, name: &str, what: impl Into<String>) {
        self.0.push((name.into(), what.into()));
    }

    /// Every place that was looked at, the library's name beside the first.
    fn search(&mut self, name: &str, search: &Search) {
        for (i, looked) in search.looked.iter().enumerate() {
            self.add(if i == 0 { name } else { "" }, format!("{}: {}", looked.place, looked.outcome));
        }
    }
}

pub(super) fn doctor(device: &str, as_json: bool) -> Result<Exit, Failure> {
    let wanted = wanted(device)?;
    if !matches!(wanted, Wanted::Cuda(_)) {
        return Err(Failure::usage(format!("--device {device}: doctor looks for a GPU, cuda or cuda:N")));
    }
    let mut lines = Lines(Vec::new());
    let found = detect::find(wanted);
    lines.search("driver", &detect::load().search);
    if let detect::Outcome { there: true, file: Err(says), .. } = detect::load() {
        lines.add("", format!("not usable: {says}"));
    }
    if let Found::Driver { runs, gpus, .. } = &found {
        lines.add("cuda", format!("the driver runs CUDA {runs} and earlier"));
        for (ordinal, gpu) in gpus.iter().enumerate() {
            let (major, minor) = gpu.compute;
            let memory = format!("{}, {} of them free", bytes(gpu.memory_bytes), bytes(gpu.free_bytes));
            lines.add(
                if ordinal == 0 { "gpu" } else { "" },
                format!("cuda:{ordinal}: {}, compute capability {major}.{minor}, {memory}", gpu.name),
            );
        }
        if let Some(outcome) = cublas::found() {
            lines.search("cublas", &outcome.search);
            if let Ok(library) = &outcome.library {
                lines.add("", format!("version {}", library.about.version));
            }
        }
    }
    let choice = choose(wanted, &found);
    let tried = choice.as_ref().ok().map(|choice| {
        let count: usize = kernels::SOURCES.iter().map(|source| source.kernels.len()).sum();
        lines.add("kernels", format!("{count}, as PTX for compute capability 8.0, which the driver compiles"));
        attempt(choice)
    });
    match &tried {
        Some(Ok(trial)) => lines.add("training", told(trial)),
        Some(Err(says)) => lines.add("training", format!("failed: {says}")),
        None => {}
    }
    let well = matches!(&tried, Some(Ok(trial)) if trial.holds());
    if as_json {
        let lines: Vec<Value> = lines.0.iter().map(|(name, what)| json!({ "what": name, "found": what })).collect();
        let (trial, why) = match &tried {
            Some(Ok(trial)) => (Some(trial), None),
            Some(Err(says)) => (None, Some(says.clone())),
            None => (None, choice.as_ref().err().cloned()),
        };
        print_json(&json!({ "device": device, "usable": well, "lines": lines, "trial": trial, "why": why }))?;
    } else {
        let mut out: String = lines.0.iter().map(|(name, what)| format!("{name:<12} {what}\n")).collect();
        out += &match &choice {
            Ok(_) if well => "\nthe GPU computes what the CPU does\n".to_string(),
            Ok(_) => {
                "\nwarning: the GPU does not compute what the CPU does; use --device cpu, and report this\n".into()
            }
            Err(why) => format!("\nwarning: {why}\n"),
        };
        print_text(&out)?;
    }
    Ok(if well { Exit::Done } else { Exit::NotAll })
}

fn attempt(choice: &Choice) -> Result<Trial, String> {
    let folder = tempfile::tempdir().map_err(|e| crate::explain_io(&e))?;
    trial(choice.device(), &folder.path().join("data")).map_err(|e| e.to_string())
}

fn told(trial: &Trial) -> String {
    let Trial { cells, losses, features, probabilities, seconds, cpu_seconds } = trial;
    format!(
        "{cells} generators of 2 epochs and an SVM bank in {seconds:.1} s, on the CPU in {cpu_seconds:.1} s; apart by {losses:.1e} (losses), {features:.1e} (features), {probabilities:.1e} (probabilities)"
    )
}
