//! Why a run failed.

use crate::report::format::bytes;
use crate::{dataset, score, store, train};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its training.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// Its scoring.
    #[error(transparent)]
    Score(#[from] score::Error),
    /// What it reads from the store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its data, which are not those any more that it began with.
    #[error(transparent)]
    Data(#[from] dataset::Error),
    /// The SVM bank that it is scored with.
    #[error("the SVM bank of {audio}: {why}")]
    Bank {
        /// Its audio feature.
        audio: String,
        /// What is the matter with it.
        why: &'static str,
    },
    /// A cell without data, which the plan leaves out.
    #[error("a skipped cell")]
    Skipped,
    /// A run that asks for more memory than there is.
    #[error(
        "it needs {} of memory at the least, and {} are free\n  next: make the network narrower or train.batch smaller, or run it where there is more memory; the other runs go on",
        bytes(*need), bytes(*free)
    )]
    TooLarge {
        /// Bytes that it needs.
        need: u64,
        /// Bytes that there are.
        free: u64,
    },
    /// A panic.
    #[error("a bug in unmute: {0}\n  next: report it, with this message")]
    Bug(String),
}

impl Error {
    /// Whether the run was stopped rather than failed.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Error::Train(train::Error::Interrupted))
    }
}
