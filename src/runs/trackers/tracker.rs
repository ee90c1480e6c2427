//! What a run is made of for programs that show experiments, and what each of their formats has to do.

use crate::store::{Curve, Error, RunRecord, Store, flatten, seconds_of};
use crate::train::{Epoch, Measures};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A run as such a program sees it.
pub struct Tracked {
    /// As the store has it.
    pub run: RunRecord,
    /// `vggish/lstm/l2/with seed 0`.
    pub name: String,
    /// The experiment that it was last part of.
    pub experiment: String,
    /// What its numbers depend on, by dotted key.
    pub params: Vec<(String, Value)>,
    /// Numbers about the whole run.
    pub finals: Vec<(String, f64)>,
    /// Numbers of each epoch, from 1: name, and (epoch, value).
    pub curves: Vec<(String, Vec<(i64, f64)>)>,
    /// Epochs.
    pub epochs: usize,
    /// What explains it, and what people say of it.
    pub tags: Vec<(String, String)>,
    /// Seconds since 1970.
    pub began: f64,
    /// The same; the beginning where it has not ended.
    pub ended: f64,
}

impl Tracked {
    /// When an epoch was over. The store has no times of epochs: they are laid evenly between the run's begin and end.
    pub fn time_of(&self, epoch: i64) -> f64 {
        let share = epoch as f64 / self.epochs.max(1) as f64;
        self.began + (self.ended - self.began).max(0.0) * share.clamp(0.0, 1.0)
    }
}

/// A format of such a program.
pub trait Tracker {
    /// Writes a run into a folder, in place of what an earlier call wrote of it.
    fn write(&self, run: &Tracked, folder: &Path) -> std::io::Result<()>;

    /// How the folder is looked at.
    fn next(&self, folder: &Path) -> String;
}

/// A quantity of an epoch: its name, and where it is.
type Quantity = (&'static str, fn(&Measures) -> f64);

/// What an epoch has.
const QUANTITIES: [Quantity; 5] = [
    ("loss", |m| m.loss),
    ("loss_cls", |m| m.loss_cls),
    ("loss_rec", |m| m.loss_rec),
    ("accuracy", |m| m.accuracy),
    ("feature_error", |m| m.feature_error),
];

/// Gathers what there is of a run.
pub fn tracked(store: &Store, run: RunRecord) -> Result<Tracked, Error> {
    let curve = store.curve(&run.id)?;
    let experiment =
        store.experiments_with(&run.cell)?.first().map_or_else(|| "unmute".into(), |(name, ..)| name.clone());
    let environment = run.environment_id.map(|id| store.environment(id)).transpose()?.unwrap_or_default();
    Ok(gather(run, &curve, experiment, &environment))
}

fn gather(run: RunRecord, curve: &Curve, experiment: String, environment: &Value) -> Tracked {
    let name = run.seed.map_or_else(|| run.key.clone(), |seed| format!("{} seed {seed}", run.key));
    let mut params: Vec<(String, Value)> = flatten(&run.spec);
    params.extend(run.seed.map(|seed| ("seed".to_string(), seed.into())));
    params.extend(
        flatten(&run.missing).into_iter().filter(|(k, _)| !k.is_empty()).map(|(k, v)| (format!("missing.{k}"), v)),
    );
    params.retain(|(_, value)| !value.is_null());
    let mut curves = Vec::new();
    type Split = (&'static str, fn(&Epoch) -> &Measures);
    let splits: [Split; 2] = [("train", |e| &e.train), ("val", |e| &e.val)];
    for (split, of_split) in splits {
        for (what, of) in QUANTITIES {
            let points: Vec<(i64, f64)> =
                curve.iter().map(|e| (e.epoch as i64, of(of_split(e)))).filter(|(_, v)| v.is_finite()).collect();
            if !points.is_empty() {
                curves.push((format!("{split}/{what}"), points));
            }
        }
    }
    let mut tags: Vec<(String, String)> = vec![
        ("unmute.run".into(), run.id.clone()),
        ("unmute.cell".into(), run.key.clone()),
        ("unmute.kind".into(), run.kind.clone()),
        ("unmute.dataset".into(), run.dataset.clone()),
        ("unmute.state".into(), run.state.word().into()),
    ];
    tags.extend(run.command.as_ref().map(|command| ("unmute.command".into(), command.clone())));
    tags.extend(run.host.as_ref().map(|host| ("unmute.host".into(), host.clone())));
    tags.extend(run.error.as_ref().map(|error| ("unmute.error".into(), error.clone())));
    tags.extend(environment["commit"].as_str().map(|commit| ("unmute.commit".into(), commit.to_string())));
    tags.extend(run.tags.iter().map(|tag| (tag.clone(), "yes".into())));
    let time = |text: Option<&str>| text.and_then(seconds_of);
    let began = time(run.started_at.as_deref()).or_else(|| time(Some(&run.created_at))).unwrap_or_default();
    let ended = time(run.finished_at.as_deref()).unwrap_or(began);
    Tracked {
        name,
        experiment,
        params,
        finals: run.values.iter().map(|(name, value)| (name.clone(), *value)).collect(),
        curves,
        epochs: curve.len(),
        tags,
        began,
        ended,
        run,
    }
}

/// A value as text: strings without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Makes a folder whole or not at all: `fill` writes into a new one, which then takes the place of an earlier one.
pub(super) fn replace(folder: &Path, fill: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    // Beside it, and with a name that neither program takes for a run.
    let part = tempfile::Builder::new().prefix(".unmute-").tempdir_in(parent)?;
    let new: PathBuf = part.path().join("new");
    std::fs::create_dir(&new)?;
    fill(&new)?;
    if folder.exists() {
        std::fs::rename(folder, part.path().join("old"))?;
    }
    std::fs::rename(&new, folder)
}

#[cfg(test)]
pub(super) fn example() -> Tracked {
    use crate::store::State;
    let run = RunRecord {
        id: "0123456789abcdef0123456789abcdef".into(),
        cell: "c".into(),
        kind: "generator".into(),
        key: "vggish/lstm/l2/with".into(),
        seed: Some(3),
        state: State::Done,
        attempt: 1,
        host: Some("box".into()),
        pid: Some(1),
        heartbeat_at: None,
        worker: None,
        machine: None,
        created_at: "2026-01-01T00:00:00.000Z".into(),
        started_at: Some("2026-01-01T00:00:01.000Z".into()),
        finished_at: Some("2026-01-01T00:00:05.000Z".into()),
        seconds: Some(4.0),
        peak_memory: None,
        command: Some("unmute run".into()),
        spec: serde_json::json!({ "code": "c1", "part": { "kind": "generator", "audio": "vggish" }, "train": { "lr": 0.001 } }),
        error: None,
        accepted_from: None,
        dataset: "clips".into(),
        missing: Value::Null,
        environment_id: None,
        view_id: 1,
        values: [("top1".to_string(), 42.5), ("top1/silent".to_string(), 30.0)].into(),
        tags: vec!["good".into()],
        notes: vec!["the best\nso far".into()],
    };
    let measures =
        |loss: f64| Measures { loss, loss_cls: f64::NAN, loss_rec: loss, accuracy: 50.0, feature_error: 0.5 };
    let curve: Curve =
        (1..=2).map(|n| Epoch { epoch: n, train: measures(1.0 / n as f64), val: measures(2.0 / n as f64) }).collect();
    gather(run, &curve, "corsmal".into(), &serde_json::json!({ "commit": "abc" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_its_keys_its_numbers_and_what_explains_it() {
        let run = example();
        let param = |name: &str| run.params.iter().find(|(n, _)| n == name).map(|(_, v)| plain(v));
        assert_eq!(param("train.lr").as_deref(), Some("0.001"));
        assert_eq!(param("part.audio").as_deref(), Some("vggish"));
        assert_eq!(param("seed").as_deref(), Some("3"));
        let names: Vec<&str> = run.curves.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&"train/loss") && names.contains(&"val/accuracy") && !names.contains(&"train/loss_cls"));
        assert_eq!([run.time_of(1) - run.began, run.time_of(2) - run.began], [2.0, 4.0]);
        assert!(run.tags.contains(&("good".into(), "yes".into())));
    }

    #[test]
    fn a_folder_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        replace(&folder, |new| std::fs::write(new.join("one"), "1")).unwrap();
        replace(&folder, |new| std::fs::write(new.join("two"), "2")).unwrap();
        assert!(folder.join("two").is_file() && !folder.join("one").exists());
        assert!(replace(&folder, |_| Err(std::io::Error::other("full"))).is_err());
        assert!(folder.join("two").is_file());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
