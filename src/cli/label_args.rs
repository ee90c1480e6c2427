//! Flags of `unmute tag` and `unmute note`.

use super::shared_args::DbArg;
use clap::Args;

pub(super) const TAG_EXAMPLES: &str = "Examples:
  unmute tag 3fa9c1 77e0b2 good                  (beginnings of ids; the last word is the tag)
  unmute tag --where 'generator=lstm and top1>30' paper
  unmute tag 3fa9c1 good --remove
  unmute tag                                     (all tags, with the number of runs)

`unmute ls --where tag=good` finds them again; `show`, `ls`, the report and the exports of runs show them. No hash covers a tag.";

pub(super) const NOTE_EXAMPLES: &str = "Examples:
  unmute note 3fa9c1 'diverged at lr 0.01; see the log of Tuesday'
  unmute note 3fa9c1                             (its notes)
  unmute note 3fa9c1 --clear";

#[derive(Debug, Args)]
pub(super) struct TagArgs {
    /// Ids of runs, or unique beginnings of them, and the tag behind them
    #[arg(value_name = "RUN... TAG")]
    pub words: Vec<String>,
    /// The runs that this holds for, as in `unmute ls`, instead of ids
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Take the tag off
    #[arg(long)]
    pub remove: bool,
    /// Print JSON (of the list of tags)
    #[arg(long, conflicts_with = "remove")]
    pub json: bool,
    #[command(flatten)]
    pub db: DbArg,
}

#[derive(Debug, Args)]
pub(super) struct NoteArgs {
    /// The run's id, or a unique beginning of it
    pub run: String,
    /// What to note of it; without it, its notes are printed
    pub text: Option<String>,
    /// Take all of its notes off
    #[arg(long, conflicts_with = "text")]
    pub clear: bool,
    #[command(flatten)]
    pub db: DbArg,
}
