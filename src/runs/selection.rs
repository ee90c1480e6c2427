//! Which runs of a plan are meant: by ids, by the beginning of one, or by a file that lists them.

use super::Plan;
use crate::files;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A list of runs has at most so many bytes: some hundred thousand ids.
const LARGEST_FILE: u64 = 64 << 20;

/// Why runs cannot be selected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No run of the plan.
    #[error(
        "--only {given}: no run of this plan begins so; it may have been planned with other settings, other data or another version of the program\n  next: `unmute plan EXPERIMENT --dataset DIR --json` lists the runs, with the same --set and --seeds"
    )]
    Unknown {
        /// What was given.
        given: String,
    },
    /// More than one run of the plan.
    #[error("--only {given}: {runs} runs of this plan begin so\n  next: give more of the id")]
    Several {
        /// What was given.
        given: String,
        /// How many.
        runs: usize,
    },
    /// A file that cannot be read.
    #[error("--only @{}: {why}\n  next: give a file with an id on each line, or @FILE:N for task N of a tasks.json", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing at all.
    #[error("--only: no run is named\n  next: give ids with commas between them, or @FILE")]
    Nothing,
}

/// The runs that are meant, each by its whole id, without those that they need.
pub fn select(plan: &Plan, given: &[String]) -> Result<HashSet<String>, Error> {
    let mut words = Vec::new();
    for word in given {
        match word.strip_prefix('@') {
            Some(file) => words.extend(listed(file)?),
            None => words.extend(word.split([',', ' ']).filter(|w| !w.is_empty()).map(String::from)),
        }
    }
    if words.is_empty() {
        return Err(Error::Nothing);
    }
    let runs = plan.runs();
    let known: HashSet<&str> = runs.iter().map(|run| run.id).collect();
    let mut selected = HashSet::new();
    for word in words {
        if known.contains(word.as_str()) {
            selected.insert(word);
            continue;
        }
        let begins: Vec<&str> = known.iter().copied().filter(|id| id.starts_with(&word)).collect();
        match begins[..] {
            [id] => drop(selected.insert(id.to_string())),
            [] => return Err(Error::Unknown { given: word }),
            _ => return Err(Error::Several { given: word, runs: begins.len() }),
        }
    }
    Ok(selected)
}

/// With the runs that these need: the banks that they are scored with.
pub fn with_needs(plan: &Plan, mut selected: HashSet<String>) -> HashSet<String> {
    let banks: Vec<String> = plan
        .cells
        .iter()
        .filter(|planned| planned.runs.iter().any(|(_, id)| selected.contains(id)))
        .filter_map(|planned| plan.bank_of(planned))
        .flat_map(|bank| bank.runs.iter().map(|(_, id)| id.clone()))
        .collect();
    selected.extend(banks);
    selected
}

/// The ids in a file; `FILE:N` is task N of a list of tasks.
fn listed(given: &str) -> Result<Vec<String>, Error> {
    let whole = Path::new(given);
    let (path, task) = match given.rsplit_once(':') {
        Some((path, n)) if !whole.exists() => match n.trim().parse::<usize>() {
            Ok(n) => (Path::new(path), Some(n)),
            Err(_) => (whole, None),
        },
        _ => (whole, None),
    };
    let wrong = |why: String| Error::File { path: path.into(), why };
    let text = files::read_text(path, LARGEST_FILE).map_err(|e| wrong(e.to_string()))?;
    let Some(n) = task else {
        if text.trim_start().starts_with('{') {
            return Err(wrong("it is a list of tasks, and none is named".into()));
        }
        let words = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        return Ok(words
            .flat_map(|line| line.split([',', ' ', '\t']))
            .filter(|w| !w.is_empty())
            .map(Into::into)
            .collect());
    };
    let tasks: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    let all = tasks["tasks"].as_array().ok_or_else(|| wrong("it has no list `tasks`".into()))?;
    let task =
        all.get(n).ok_or_else(|| wrong(format!("it has tasks 0 to {}; {n} was asked for", all.len().max(1) - 1)))?;
    let runs = task["runs"].as_array().ok_or_else(|| wrong(format!("its task {n} has no list `runs`")))?;
    Ok(runs.iter().filter_map(|run| run.as_str().map(String::from)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_lines_or_as_a_task() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("ids.txt"), "# two\nabc  # the first\n\ndef, ghi\n").unwrap();
        assert_eq!(listed(&path("ids.txt")).unwrap(), ["abc", "def", "ghi"]);
        let tasks = r#"{ "tasks": [ { "runs": ["a", "b"] }, { "runs": ["c"] } ] }"#;
        std::fs::write(path("tasks.json"), tasks).unwrap();
        let task = |n: usize| listed(&format!("{}:{n}", path("tasks.json")));
        assert_eq!(task(1).unwrap(), ["c"]);
        let message = task(2).unwrap_err().to_string();
        assert!(message.contains("tasks 0 to 1; 2 was asked for") && message.contains("next:"), "{message}");
        assert!(listed(&path("tasks.json")).unwrap_err().to_string().contains("none is named"));
        assert!(listed(&path("absent")).unwrap_err().to_string().contains("absent"));
        std::fs::write(path("odd:name"), "x").unwrap();
        assert_eq!(listed(&path("odd:name")).unwrap(), ["x"]);
    }
}
