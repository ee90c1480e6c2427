//! Flags that several verbs have in common.

use crate::store::Pick;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct DbArg {
    /// The store, one SQLite file
    #[arg(long, env = "UNMUTE_DB", default_value = ".unmute/runs.db", value_name = "FILE")]
    pub db: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    /// Where to train: auto (a GPU where one will do), cpu, cuda or cuda:N; `unmute doctor --device cuda` tells what is missing
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Generators trained side by side at most; on a GPU as many as its memory holds by default, on the CPU one, where
    /// more only take turns
    #[arg(long, value_name = "N")]
    pub cells: Option<usize>,
}

/// What is said while it works, to whom.
#[derive(Debug, Args)]
pub(super) struct TellArgs {
    /// Say nothing but what went wrong
    #[arg(long, short)]
    pub quiet: bool,
    /// Append every line that is said to this file as well, with its time and without bars
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// A command of the shell, called when the call has ended, however it did; UNMUTE_STATE is done, failed or interrupted
    #[arg(long, value_name = "COMMAND")]
    pub on_finish: Option<String>,
}

/// Which variant of an experiment is meant; the one that was run last, unless more is said.
#[derive(Debug, Args)]
pub(super) struct PickArgs {
    /// Another variant than the one that was run last: its number or id, as `unmute status` lists them
    #[arg(long, value_name = "N")]
    pub variant: Option<String>,
    /// The variant on this data set: its name, the beginning of its fingerprint, or NAME@FINGERPRINT
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Only these of its seeds
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub seeds: Option<Vec<u64>>,
}

impl PickArgs {
    pub(super) fn pick(&self) -> Pick {
        let mut seeds = self.seeds.clone();
        if let Some(seeds) = &mut seeds {
            let mut seen = std::collections::HashSet::new();
            seeds.retain(|seed| seen.insert(*seed));
        }
        Pick { variant: self.variant.clone(), dataset: self.dataset.clone(), seeds }
    }
}
