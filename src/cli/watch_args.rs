//! Flags of `unmute watch`.

use super::shared_args::{DbArg, PickArgs};
use clap::Args;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "Examples:
  unmute watch                                   (what was run last in this store)
  unmute watch corsmal --db runs.db --port 9000
  unmute watch --once progress.html              (the page as it is now, in one file)

The page is served on 127.0.0.1 alone, where whoever is logged in on this machine can read it.
From another machine `ssh -L 8424:127.0.0.1:8424 HOST` leads to it. Nothing has to run here:
several processes may work on the store meanwhile, and the page may be there before the first.
Ctrl-C or SIGTERM ends it.";

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The experiment's folder, or its name in the store; by default the one that was run last
    pub experiment: Option<PathBuf>,
    #[command(flatten)]
    pub db: DbArg,
    #[command(flatten)]
    pub pick: PickArgs,
    /// The port of 127.0.0.1; 0 takes a free one [default: 8424, or a free one where that is taken]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Write the page as it is now into a file, and end
    #[arg(long, value_name = "FILE", conflicts_with = "port")]
    pub once: Option<PathBuf>,
}
