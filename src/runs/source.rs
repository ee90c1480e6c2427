//! Where an experiment was read from: its folder, the commit of the user's own repository, and whether its YAML is the one
//! that was committed.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Folder, hashes of the YAML in it, commit, and what differs from the commit; null where there is no repository, or no git.
pub fn source(folder: &Path) -> Value {
    if folder.as_os_str().is_empty() {
        return Value::Null;
    }
    let files = yaml(folder);
    let hashes: BTreeMap<&String, String> =
        files.iter().map(|(name, bytes)| (name, blake3::hash(bytes).to_hex().as_str()[..16].to_string())).collect();
    let shown = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let commit = git(folder, &["rev-parse", "--verify", "HEAD"]);
    let changed = commit.as_ref().and_then(|_| changed(folder, &files));
    json!({
        "folder": shown,
        "files": hashes,
        "commit": commit,
        "dirty": changed.as_ref().map(|changed| !changed.is_empty()),
        "changed": changed,
    })
}

/// The YAML files of a folder, by name.
fn yaml(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    const LARGEST: u64 = 16 << 20;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let wanted = name.ends_with(".yaml") || name.ends_with(".yml");
        let regular = entry.path().metadata().is_ok_and(|m| m.is_file() && m.len() <= LARGEST);
        if wanted && regular { Some((name, std::fs::read(entry.path()).ok()?)) } else { None }
    });
    files.collect()
}

/// Files that are not what the last commit has, or that it has and the folder has not.
///
/// A repository may be a stranger's, and its configuration may name programs (filters, monitors of the file system) that an
/// ordinary `git status` would start. These commands start none.
fn changed(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Option<Vec<String>> {
    let tree = git(folder, &["ls-tree", "HEAD", "./"])?;
    let committed: BTreeMap<&str, &str> = tree
        .lines()
        .filter_map(|line| {
            let (facts, path) = line.split_once('\t')?;
            Some((path, facts.split_whitespace().nth(2)?))
        })
        .filter(|(path, _)| path.ends_with(".yaml") || path.ends_with(".yml"))
        .collect();
    let mut changed: Vec<String> =
        committed.keys().filter(|path| !files.contains_key(**path)).map(|path| path.to_string()).collect();
    for name in files.keys() {
        let hash = git(folder, &["hash-object", "--no-filters", "--", name])?;
        if committed.get(name.as_str()) != Some(&hash.as_str()) {
            changed.push(name.clone());
        }
    }
    changed.sort();
    Some(changed)
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "core.fsmonitor=false", "-c", "core.quotePath=false"])
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_and_changes_of_the_users_own_folder_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("exp");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("experiment.yaml"), "name: e\n").unwrap();
        std::fs::write(folder.join("notes.txt"), "x").unwrap();
        // A repository above the temporary folder would be somebody else's.
        let run = |arguments: &[&str]| {
            let name = ["-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false"];
            let mut git = Command::new("git");
            git.arg("-C").arg(dir.path()).args(name).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            git.status().is_ok_and(|status| status.success())
        };
        if !(run(&["init", "-q"]) && run(&["add", "."]) && run(&["commit", "-q", "-m", "x"])) {
            eprintln!("skipped: no git");
            return;
        }
        let told = source(&folder);
        assert_eq!(told["commit"].as_str().map(str::len), Some(40));
        assert_eq!((&told["dirty"], &told["changed"]), (&json!(false), &json!([])));
        assert!(told["files"]["experiment.yaml"].is_string() && told["files"]["notes.txt"].is_null());
        std::fs::write(folder.join("experiment.yaml"), "name: f\n").unwrap();
        std::fs::write(folder.join("tables.yaml"), "tables: []\n").unwrap();
        let told = source(&folder);
        assert_eq!((&told["dirty"], &told["changed"]), (&json!(true), &json!(["experiment.yaml", "tables.yaml"])));
        assert_eq!(source(Path::new("")), Value::Null);
    }
}
