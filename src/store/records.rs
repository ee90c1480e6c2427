//! What goes into the store and comes out of it.

use crate::dataset::Split;
use crate::score::Scores;
use crate::train::Epoch;
use compute::svm::Fit;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Declared, not begun.
    Pending,
    /// Somebody works on it.
    Running,
    /// Its scores are stored.
    Done,
    /// It ended with an error.
    Failed,
    /// It was stopped.
    Interrupted,
}

impl State {
    /// The word in the database.
    pub fn word(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Interrupted => "interrupted",
        }
    }

    pub(super) fn of_word(word: &str) -> State {
        match word {
            "running" => State::Running,
            "done" => State::Done,
            "failed" => State::Failed,
            "interrupted" => State::Interrupted,
            _ => State::Pending,
        }
    }
}

/// The clips of a view that are scored, as its blob has them: val, and test where the data set has such a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ScoredClips {
    #[serde(flatten)]
    pub(super) val: ValClips,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) test: Option<ValClips>,
}

impl ScoredClips {
    /// The clips that scores of this name are of.
    pub(super) fn of_scores(&self, what: &str) -> &ValClips {
        of_scores(&self.val, self.test.as_ref(), what)
    }
}

/// Scores of test clips where there are none are of no clip.
fn of_scores<'c>(val: &'c ValClips, test: Option<&'c ValClips>, what: &str) -> &'c ValClips {
    static NONE: ValClips = ValClips { clips: Vec::new(), labels: Vec::new(), sounded: Vec::new() };
    match Split::of_name(what).0 {
        Split::Test => test.unwrap_or(&NONE),
        Split::Train | Split::Val => val,
    }
}

/// The val clips of a view, or its test clips, in the order of the scores' rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValClips {
    /// Names.
    pub clips: Vec<String>,
    /// Labels.
    pub labels: Vec<usize>,
    /// Whether each sounds.
    pub sounded: Vec<bool>,
}

/// (sounded, silent) clips of the splits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitCounts {
    /// Train.
    pub train: (usize, usize),
    /// Val.
    pub val: (usize, usize),
    /// Test, where the data set has such a split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<(usize, usize)>,
}

/// A data set as the store knows it.
#[derive(Clone, Debug)]
pub struct DatasetRecord {
    /// Row.
    pub id: i64,
    /// Its fingerprint.
    pub fingerprint: String,
    /// `dataset.yaml`.
    pub manifest: crate::dataset::Manifest,
    /// Hash of each part.
    pub files: BTreeMap<String, String>,
}

/// The data set behind a view.
#[derive(Clone, Debug)]
pub struct ViewData {
    /// The data set's name.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Hash of each part.
    pub files: BTreeMap<String, String>,
}

/// A view as the store knows it.
#[derive(Clone, Debug)]
pub struct ViewRecord {
    /// Row.
    pub id: i64,
    /// Row of its data set.
    pub dataset_id: i64,
    /// The simulated silence.
    pub missing: Option<crate::dataset::Missing>,
    /// Clip counts.
    pub counts: SplitCounts,
    /// The val clips.
    pub val: ValClips,
    /// The test clips, where the data set has such a split.
    pub test: Option<ValClips>,
}

impl ViewRecord {
    /// The split that tables are of: test where there is one, else val.
    pub fn reported(&self) -> Split {
        if self.test.is_some() { Split::Test } else { Split::Val }
    }

    /// The clips that tables are of.
    pub fn shown(&self) -> &ValClips {
        self.test.as_ref().unwrap_or(&self.val)
    }

    /// The clips that scores of this name are of.
    pub fn of_scores(&self, what: &str) -> &ValClips {
        of_scores(&self.val, self.test.as_ref(), what)
    }
}

/// An experiment as it was resolved.
#[derive(Clone, Debug)]
pub struct ExperimentRecord {
    /// Row.
    pub id: i64,
    /// Over configuration (less seeds) and data set.
    pub digest: String,
    /// Its name.
    pub name: String,
    /// Row of its data set.
    pub dataset_id: i64,
    /// Configuration.
    pub config: crate::experiment::Config,
    /// `--set` values.
    pub sets: Vec<String>,
    /// Tables.
    pub tables: crate::experiment::Tables,
    /// Claims.
    pub claims: crate::experiment::Claims,
    /// Ledger.
    pub ledger: crate::experiment::Ledger,
    /// The seeds that were declared, where `config.seeds` are those that were asked for; `None` where an earlier version
    /// recorded it.
    pub declared: Option<Vec<u64>>,
    /// When it was last run, by the clock of the machine that did.
    pub used_at: String,
    /// Its cells.
    pub cells: Vec<CellRecord>,
}

/// A cell as the store knows it.
#[derive(Clone, Debug)]
pub struct CellRecord {
    /// `vggish/lstm/l2/with`, with overrides behind.
    pub key: String,
    /// What it trains.
    pub part: crate::experiment::Part,
    /// Values of further axes.
    pub overrides: BTreeMap<String, Value>,
    /// Row of its view.
    pub view_id: Option<i64>,
    /// Fingerprint without the seed.
    pub fingerprint: Option<String>,
    /// Why it is not run.
    pub skipped: Option<String>,
}

/// A run to be claimed.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its fingerprint.
    pub id: String,
    /// The cell's.
    pub cell: String,
    /// `stream`, `bank`, `generator`, `control`.
    pub kind: String,
    /// The cell's key.
    pub key: String,
    /// Its seed, if its result depends on one.
    pub seed: Option<u64>,
    /// Row of its view.
    pub view_id: i64,
    /// What the fingerprint is made of.
    pub spec: Value,
}

/// Something that happened to a run.
#[derive(Clone, Debug, Serialize)]
pub struct EventRecord {
    /// When.
    pub at: String,
    /// `info` or `error`.
    pub level: String,
    /// What.
    pub message: String,
}

/// Who works.
#[derive(Clone, Debug)]
pub struct Worker {
    /// An id that no other process has, whatever its machine and pid.
    pub id: String,
    /// What a pid means something within: the boot of a machine, and a PID namespace.
    pub machine: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The command line.
    pub command: String,
    /// JSON: what explains its numbers.
    pub environment: String,
}

/// What came of claiming a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours; the how-manieth attempt this is.
    Ours(i64),
    /// It is done already.
    Done,
    /// Another worker has it.
    Theirs(Owner),
}

/// Who a running run belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// The machine's name.
    pub host: String,
    /// The process.
    pub pid: i64,
    /// The last sign of life.
    #[serde(rename = "heartbeat_at")]
    pub heartbeat: String,
    /// The worker's id; `None` where an earlier version wrote it.
    pub worker: Option<String>,
    /// What the pid means something within; `None` where an earlier version wrote it.
    pub machine: Option<String>,
}

/// An SVM bank to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct BankRecord {
    /// K.
    pub classes: usize,
    /// D.
    pub width: usize,
    /// How each class's training ended.
    pub fits: Vec<Fit>,
    /// mean, inverse sd (D each), weights (K (D + 1)).
    pub numbers: Vec<f32>,
    /// Sigmoids (a, b), K of them, or none.
    pub sigmoids: Vec<(f64, f64)>,
}

/// What a finished run leaves.
#[derive(Clone, Debug, Default)]
pub struct RunResult {
    /// Scores by what they are of.
    pub scores: Vec<(String, Scores)>,
    /// Numbers about the whole run.
    pub values: BTreeMap<String, f64>,
    /// Its SVM bank, if it trained one.
    pub bank: Option<BankRecord>,
    /// Weights (D, K) and biases (K) of the head on a stream; kept as a file, not in the store.
    pub head: Option<[Vec<f32>; 2]>,
}

/// A run as the store knows it.
#[derive(Clone, Debug, Serialize)]
pub struct RunRecord {
    /// Its fingerprint.
    pub id: String,
    /// The cell's.
    pub cell: String,
    /// `stream`, `bank`, `generator`, `control`.
    pub kind: String,
    /// The cell's key.
    pub key: String,
    /// Its seed.
    pub seed: Option<u64>,
    /// Where it stands.
    pub state: State,
    /// How often it was begun.
    pub attempt: i64,
    /// The machine that worked on it last.
    pub host: Option<String>,
    /// The process.
    pub pid: Option<i64>,
    /// Its last sign of life.
    pub heartbeat_at: Option<String>,
    /// The id of the process that worked on it last.
    pub worker: Option<String>,
    /// What `pid` means something within.
    pub machine: Option<String>,
    /// When it was first begun.
    pub created_at: String,
    /// When its last attempt began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Seconds of work, all attempts.
    pub seconds: Option<f64>,
    /// Peak memory of the process, bytes.
    pub peak_memory: Option<i64>,
    /// The command line.
    pub command: Option<String>,
    /// What its fingerprint is made of.
    pub spec: Value,
    /// What went wrong.
    pub error: Option<String>,
    /// The run of older numeric code whose numbers these are; `None` where it was trained.
    pub accepted_from: Option<String>,
    /// The data set's name.
    pub dataset: String,
    /// The simulated silence; null where there is none.
    pub missing: Value,
    /// Row of its environment.
    #[serde(skip)]
    pub environment_id: Option<i64>,
    /// Row of its view.
    #[serde(skip)]
    pub view_id: i64,
    /// Numbers about the whole run.
    pub values: BTreeMap<String, f64>,
    /// Words that somebody put on it, in alphabetical order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What somebody wrote of it, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl RunRecord {
    /// Who works on it, or did last.
    pub fn owner(&self) -> Owner {
        Owner {
            host: self.host.clone().unwrap_or_default(),
            pid: self.pid.unwrap_or_default(),
            heartbeat: self.heartbeat_at.clone().unwrap_or_default(),
            worker: self.worker.clone(),
            machine: self.machine.clone(),
        }
    }
}

/// One run's epochs.
pub type Curve = Vec<Epoch>;
