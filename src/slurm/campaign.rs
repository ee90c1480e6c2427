//! A campaign: the folder `runs.db.slurm` beside a store, in which jobs find what they are to do and leave what they did.
//!
//! ```text
//! runs.db.slurm/campaign.json      what was submitted
//!               base.db            streams, banks and controls, which every task begins with
//!               parts/             what each task has done so far
//!               checkpoints/       of runs that are under way
//!               roundN/tasks.json  which task does which runs
//!               roundN/*.sh        the jobs
//!               roundN/logs/       one file a job and task
//!               cancelled          nothing is submitted any more
//! ```

use super::tasks::{Item, Size, Tasks};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The layout that this version reads and writes.
pub const FORMAT: u32 = 1;

/// Larger than any list of runs.
const LARGEST_FILE: u64 = 256 << 20;

/// Why a campaign cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {}", path.display(), crate::explain_io(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What stands in a file.
    #[error(
        "{}: {why}\n  next: `unmute slurm submit` writes it anew once the folder {} is moved away",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is none.
    #[error("{}: nothing was submitted for this store\n  next: `unmute slurm submit EXPERIMENT --dataset DIR --db {}`", folder.display(), db.display())]
    Missing {
        /// Where it would be.
        folder: PathBuf,
        /// The store.
        db: PathBuf,
    },
}

/// An array of tasks that was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Array {
    /// Slurm's id.
    pub job: String,
    /// The task of its index 0.
    pub offset: usize,
    /// How many tasks it has.
    pub tasks: usize,
}

/// A round: jobs that were submitted together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub number: usize,
    /// When, in UTC.
    pub submitted_at: String,
    /// The job that does what all tasks need.
    pub base: Option<String>,
    /// The tasks; several arrays where Slurm takes no larger ones.
    pub arrays: Vec<Array>,
    /// The job that takes the parts over.
    pub collect: Option<String>,
    /// Runs that were to be done when it was submitted.
    pub missing: usize,
    /// Epochs that these had behind them, by their checkpoints.
    pub epochs: usize,
    /// What came of it, once its last job has looked.
    pub outcome: Option<String>,
}

/// What was submitted for a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// The layout of this file.
    pub format: u32,
    /// The experiment's name.
    pub name: String,
    /// The program that jobs start.
    pub program: PathBuf,
    /// The digest of its numeric code.
    pub code: String,
    /// Where `submit` was called; jobs start there.
    pub directory: PathBuf,
    /// The experiment's folder.
    pub experiment: PathBuf,
    /// The data set's folder.
    pub dataset: PathBuf,
    /// The store.
    pub db: PathBuf,
    /// Arguments of `unmute run` that say which experiment it is and how it is run.
    pub settings: Vec<String>,
    /// Arguments of sbatch, as they were given.
    pub sbatch: Vec<String>,
    /// How runs are put into tasks.
    pub size: Size,
    /// Tasks that may run at once, where somebody says so.
    pub at_once: Option<usize>,
    /// The last round that is submitted.
    pub last_round: usize,
    /// An array has fewer indices than this.
    pub max_array: usize,
    /// Runs that all tasks need, and small ones.
    pub base: Vec<Item>,
    /// All other runs.
    pub runs: Vec<Item>,
    /// Rounds so far.
    pub rounds: Vec<Round>,
}

/// The folder of a store's campaign.
pub fn folder(db: &Path) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(".slurm");
    name.into()
}

/// What is in the folder.
#[derive(Clone, Debug)]
pub struct Layout(pub PathBuf);

impl Layout {
    /// What was submitted.
    pub fn campaign(&self) -> PathBuf {
        self.0.join("campaign.json")
    }

    /// The store that every task begins with.
    pub fn base(&self) -> PathBuf {
        self.0.join("base.db")
    }

    /// The store that the base job begins with.
    pub fn start(&self) -> PathBuf {
        self.0.join("start.db")
    }

    /// What tasks publish.
    pub fn parts(&self) -> PathBuf {
        self.0.join("parts")
    }

    /// What a task publishes.
    pub fn part(&self, round: usize, task: usize) -> PathBuf {
        self.parts().join(format!("round{round}-{task}.db"))
    }

    /// States of runs that are under way.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// A round's own files.
    pub fn round(&self, round: usize) -> PathBuf {
        self.0.join(format!("round{round}"))
    }

    /// The marker that keeps jobs from submitting more.
    pub fn cancelled(&self) -> PathBuf {
        self.0.join("cancelled")
    }

    /// Writes JSON, whole or not at all.
    pub fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
        text.push('\n');
        self.write_text(path, &text)
    }

    /// Writes a text file, whole or not at all, and the folders it needs.
    pub fn write_text(&self, path: &Path, text: &str) -> Result<(), Error> {
        let io = |source| Error::Io { path: path.into(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        crate::files::replace(path, text.as_bytes()).map_err(io)
    }

    /// The tasks of a round.
    pub fn tasks(&self, round: usize) -> Result<Tasks, Error> {
        read(&self.round(round).join("tasks.json"))
    }
}

impl Campaign {
    /// Reads the campaign of a store; `None` where there is none.
    pub fn of(db: &Path) -> Result<Option<Campaign>, Error> {
        let layout = Layout(folder(db));
        if !layout.campaign().exists() { Ok(None) } else { Campaign::read(&layout).map(Some) }
    }

    /// Reads a campaign by its folder.
    pub fn read(layout: &Layout) -> Result<Campaign, Error> {
        let path = layout.campaign();
        let campaign: Campaign = read(&path)?;
        if campaign.format != FORMAT {
            let why = format!("it is of layout {}, and this version knows {FORMAT}", campaign.format);
            return Err(Error::Content { path, why });
        }
        Ok(campaign)
    }

    /// Its folder.
    pub fn layout(&self) -> Layout {
        Layout(folder(&self.db))
    }

    /// Keeps it.
    pub fn save(&self) -> Result<(), Error> {
        let layout = self.layout();
        layout.write(&layout.campaign(), self)
    }

    /// Ids of all jobs of its last round, the base's first.
    pub fn jobs(&self) -> Vec<String> {
        let Some(round) = self.rounds.last() else { return Vec::new() };
        let arrays = round.arrays.iter().map(|array| &array.job);
        round.base.iter().chain(arrays).chain(&round.collect).cloned().collect()
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = crate::files::read_text(path, LARGEST_FILE).map_err(|source| Error::Io { path: path.into(), source })?;
    serde_json::from_str(&text).map_err(|e| Error::Content { path: path.into(), why: e.to_string() })
}
