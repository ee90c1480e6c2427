//! Why a run failed.

use crate::{store, train};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its training or scoring.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// What it reads from the store.
    #[error(transparent)]
    Store(#[from] store::Error),
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
