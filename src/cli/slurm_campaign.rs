//! What the verbs of `unmute slurm` have in common: the campaign of a store, its parts, and what is left to do.

use super::Failure;
use super::merge::{self, Other};
use super::progress::say;
use crate::runs::checkpoint;
use crate::runs::publish::{Publisher, Scratch};
use crate::slurm::campaign::{self, Layout};
use crate::slurm::queue::States;
use crate::slurm::{Campaign, Item};
use crate::store::{self, State, Store, disk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A path as jobs see it, wherever they start.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path)?;
    // Without `..`, and through links, as far as it is there.
    let parent = path.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
    Ok(match (std::fs::canonicalize(&path), parent, path.file_name()) {
        (Ok(whole), ..) => whole,
        (Err(_), Some(parent), Some(name)) => parent.join(name),
        _ => path,
    })
}

/// The campaign of a store.
pub(super) fn campaign_of(db: &Path) -> Result<Campaign, Failure> {
    let db = absolute(db)?;
    let missing = || campaign::Error::Missing { folder: campaign::folder(&db), db: db.clone() };
    Ok(Campaign::of(&db)?.ok_or_else(missing)?)
}

/// What a campaign has to do: runs that all tasks need or that are quick, and the others.
#[derive(Default)]
pub(super) struct Missing {
    pub base: Vec<Item>,
    pub runs: Vec<Item>,
}

impl Missing {
    pub(super) fn count(&self) -> usize {
        self.base.len() + self.runs.len()
    }
}

/// The states of a campaign's runs: done wherever anybody has done it, else the last attempt's.
pub(super) fn left(campaign: &Campaign, states: &BTreeMap<String, State>) -> Missing {
    let open = |items: &[Item]| {
        let ended = |item: &&Item| !matches!(states.get(&item.id), Some(State::Done | State::Failed));
        items.iter().filter(ended).cloned().collect::<Vec<Item>>()
    };
    Missing { base: open(&campaign.base), runs: open(&campaign.runs) }
}

/// Epochs that runs have behind them, by their checkpoints.
pub(super) fn epochs<'a>(layout: &Layout, runs: impl Iterator<Item = &'a Item>) -> usize {
    let folder = layout.checkpoints();
    runs.filter_map(|item| checkpoint::epoch(&checkpoint::path(&folder, &item.id))).sum()
}

/// What the jobs of a round have published.
pub(super) fn parts(layout: &Layout, round: usize) -> Result<Vec<Other>, Failure> {
    let mut found: Vec<Other> = Vec::new();
    if layout.base().is_file() {
        found.push(Other { path: layout.base(), of_folder: true });
    }
    let prefix = format!("round{round}-");
    let of_round = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
    if layout.parts().is_dir() {
        found.extend(
            merge::in_folder(&layout.parts())?
                .into_iter()
                .filter(|path| of_round(path))
                .map(|path| Other { path, of_folder: true }),
        );
    }
    Ok(found)
}

/// What came of taking parts over.
pub(super) struct Gathered {
    /// Whether nothing was left out, and nothing was damaged.
    pub whole: bool,
    /// The states of all runs of the store.
    pub states: BTreeMap<String, State>,
}

/// Takes parts over into the user's store; gives the states of all its runs. A store on a file system that other machines
/// have as well is never written to: a copy takes its place.
pub(super) fn merge_into(db: &Path, others: &[Other]) -> Result<Gathered, Failure> {
    if others.is_empty() && !db.is_file() {
        return Ok(Gathered { whole: true, states: BTreeMap::new() });
    }
    if disk(db)?.network.is_none() {
        return take(&Store::open(db)?, others);
    }
    let scratch = Scratch::begin(db, None)?;
    let taken = take(scratch.store(), others)?;
    Publisher::new(db).publish(scratch.store())?;
    Ok(taken)
}

/// Takes parts over, and says what came of it.
fn take(store: &Store, others: &[Other]) -> Result<Gathered, Failure> {
    let taken = merge::take(store, others)?;
    taken.merged.iter().for_each(|merged| say(merge::describe(merged).trim_end()));
    if let Some(mixed) = store.numerics()?.sentence() {
        say(&format!("note: {mixed}"));
    }
    Ok(Gathered { whole: taken.whole, states: store.states()? })
}

/// Opens a store that jobs may have published, to read.
pub(super) fn states_of(path: &Path) -> Result<BTreeMap<String, State>, store::Error> {
    Store::open_to_read(path)?.states()
}

/// `1 running, 3 pending`.
pub(super) fn counted(states: &States) -> String {
    let mut told: Vec<String> = states.iter().map(|(state, n)| format!("{n} {}", state.to_lowercase())).collect();
    told.reverse();
    told.join(", ")
}
