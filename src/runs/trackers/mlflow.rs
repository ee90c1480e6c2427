//! MLflow's file store: a folder for each experiment and run, a small file for each parameter, metric and tag.

use super::tracker::{Tracked, Tracker, plain, replace};
use crate::store::State;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

pub(super) struct FileStore;

/// What MLflow takes a parameter's text for too long beyond.
const PARAM: usize = 6000;

impl Tracker for FileStore {
    fn write(&self, run: &Tracked, folder: &Path) -> std::io::Result<()> {
        let root = std::path::absolute(folder)?;
        let experiment = experiment_id(&run.experiment);
        let place = root.join(&experiment);
        let described = place.join("meta.yaml");
        if !described.is_file() {
            std::fs::create_dir_all(&place)?;
            let meta = json!({
                "artifact_location": uri(&place), "creation_time": millis(run.began), "experiment_id": experiment,
                "last_update_time": millis(run.began), "lifecycle_stage": "active", "name": run.experiment,
            });
            std::fs::write(&described, yaml(&meta))?;
        }
        // Where a store has no experiment 0, MLflow's page begins with an error.
        let default = root.join("0");
        if !default.join("meta.yaml").is_file() {
            std::fs::create_dir_all(&default)?;
            let meta = json!({
                "artifact_location": uri(&default), "creation_time": 0, "experiment_id": "0", "last_update_time": 0,
                "lifecycle_stage": "active", "name": "Default",
            });
            std::fs::write(default.join("meta.yaml"), yaml(&meta))?;
        }
        replace(&place.join(&run.run.id), |new| fill(run, &experiment, &place, new))
    }

    fn next(&self, folder: &Path) -> String {
        let folder = folder.display();
        format!(
            "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {folder}\n(or for good: mlflow migrate-filestore --source {folder} --target sqlite:///mlflow.db)"
        )
    }
}

fn fill(run: &Tracked, experiment: &str, place: &Path, new: &Path) -> std::io::Result<()> {
    let id = &run.run.id;
    let (status, ended) = match run.run.state {
        State::Running | State::Pending => (1, None),
        State::Done => (3, Some(run.ended)),
        State::Failed => (4, Some(run.ended)),
        State::Interrupted => (5, Some(run.ended)),
    };
    let meta = json!({
        "artifact_uri": uri(&place.join(id).join("artifacts")), "end_time": ended.map(millis), "entry_point_name": "",
        "experiment_id": experiment, "lifecycle_stage": "active", "run_id": id, "run_name": run.name, "run_uuid": id,
        "source_name": "", "source_type": 4, "source_version": "", "start_time": millis(run.began), "status": status,
        "tags": [], "user_id": "",
    });
    std::fs::write(new.join("meta.yaml"), yaml(&meta))?;
    for folder in ["artifacts", "metrics", "params", "tags"] {
        std::fs::create_dir(new.join(folder))?;
    }
    let write = |folder: &str, name: &str, text: &str| std::fs::write(new.join(folder).join(file_name(name)), text);
    for (name, value) in &run.params {
        let text: String = plain(value).chars().take(PARAM).collect();
        write("params", name, &text)?;
    }
    for (name, value) in &run.finals {
        // A line of (ms since 1970, value, step); of the whole run, the step is its last epoch.
        write("metrics", name, &format!("{} {value:?} {}\n", millis(run.ended), run.epochs))?;
    }
    for (name, points) in &run.curves {
        let mut lines = String::new();
        for (epoch, value) in points {
            let _ = writeln!(lines, "{} {value:?} {epoch}", millis(run.time_of(*epoch)));
        }
        write("metrics", name, &lines)?;
    }
    for (name, value) in &run.tags {
        write("tags", name, value)?;
    }
    write("tags", "mlflow.runName", &run.name)?;
    if !run.run.notes.is_empty() {
        write("tags", "mlflow.note.content", &run.run.notes.join("\n\n"))?;
    }
    Ok(())
}

/// A number that stands for an experiment of this name, as long as those that MLflow draws.
fn experiment_id(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes());
    let mut number = [0u8; 8];
    number.copy_from_slice(&hash.as_bytes()[..8]);
    format!("{}", 100_000_000_000_000_000 + u64::from_le_bytes(number) % 900_000_000_000_000_000)
}

/// A name that is one file. MLflow would take `top1/silent` for a file in a folder `top1`, which is another number's file.
fn file_name(name: &str) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    let safe: String = name.chars().map(|c| if known(c) { c } else { '.' }).take(200).collect();
    if safe.starts_with('.') { format!("_{safe}") } else { safe }
}

fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// `file:///...` with what a URL does not hold written in hexadecimal.
fn uri(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b);
    let mut out = String::from("file://");
    for b in text.bytes() {
        match plain(b) {
            true => out.push(char::from(b)),
            false => drop(write!(out, "%{b:02X}")),
        }
    }
    out
}

/// A flat mapping in YAML: JSON's scalars and empty lists are YAML's.
fn yaml(meta: &serde_json::Value) -> String {
    let lines = meta.as_object().into_iter().flatten();
    lines.map(|(key, value)| format!("{key}: {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_folder_of_small_files() {
        let dir = tempfile::tempdir().unwrap();
        let run = super::super::tracker::example();
        // Again changes nothing but what is new.
        for _ in 0..2 {
            FileStore.write(&run, dir.path()).unwrap();
        }
        let id = experiment_id("corsmal");
        assert!(id.len() == 18 && id == experiment_id("corsmal") && id != experiment_id("other"));
        let place = dir.path().join(&id).join("0123456789abcdef0123456789abcdef");
        let read = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
        let meta: serde_yaml::Value = serde_yaml::from_str(&read("meta.yaml")).unwrap();
        assert_eq!(meta["run_id"], "0123456789abcdef0123456789abcdef");
        assert_eq!((meta["status"].as_i64(), meta["start_time"].as_i64()), (Some(3), Some(1_767_225_601_000)));
        assert_eq!(read("params/train.lr"), "0.001");
        assert_eq!(read("params/part.audio"), "vggish");
        assert_eq!(read("metrics/top1"), "1767225605000 42.5 2\n");
        assert_eq!(read("metrics/top1.silent"), "1767225605000 30.0 2\n");
        assert_eq!(read("metrics/train.loss"), "1767225603000 1.0 1\n1767225605000 0.5 2\n");
        assert_eq!(read("tags/good"), "yes");
        assert_eq!(read("tags/mlflow.note.content"), "the best\nso far");
        let experiment: serde_yaml::Value =
            serde_yaml::from_str(&std::fs::read_to_string(dir.path().join(&id).join("meta.yaml")).unwrap()).unwrap();
        assert_eq!(experiment["name"], "corsmal");
        assert!(experiment["artifact_location"].as_str().unwrap().starts_with("file:///"));
        assert_eq!(std::fs::read_dir(dir.path().join(&id)).unwrap().count(), 2);
    }

    #[test]
    fn odd_names_are_files_in_their_folder() {
        assert_eq!(file_name("../../etc/passwd"), "_......etc.passwd");
        assert_eq!(file_name("r2/silent"), "r2.silent");
        assert_eq!(uri(Path::new("/a b/ü")), "file:///a%20b/%C3%BC");
    }
}
