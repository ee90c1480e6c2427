//! The command line: one file a verb. Data goes to stdout, progress and messages to stderr.

mod args;
mod claims;
mod data;
mod diff;
mod doctor;
mod export;
mod export_predictions;
mod export_runs;
mod export_store;
mod export_weights;
mod gc;
mod generate;
mod ls;
mod merge;
mod open;
mod outcome;
mod parquet;
mod plan;
mod predict;
mod progress;
mod query;
mod report;
mod run;
mod sensitivity;
mod show;
mod use_args;
mod used;
mod verify;

pub use args::Cli;
pub use outcome::{Exit, Failure};

use args::Command;
use outcome::{print, print_bytes, print_json};

/// Runs a command to its exit code.
pub fn run(cli: Cli) -> i32 {
    let result = match cli.command {
        Command::Plan(args) => plan::plan(&args),
        Command::Run(args) => run::run(&args),
        Command::Ls(args) => ls::ls(&args),
        Command::Status(args) => ls::status(&args),
        Command::Show(args) => show::show(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Query(args) => query::query(&args),
        Command::Gc(args) => gc::gc(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Merge(args) => merge::merge(&args),
        Command::Report(args) => report::report(&args),
        Command::Sensitivity(args) => sensitivity::sensitivity(&args),
        Command::Claims(args) => claims::claims(&args),
        Command::Generate(args) => generate::generate(&args),
        Command::Predict(args) => predict::predict(&args),
        Command::Export(args) => export::export(&args),
        Command::Data(args) => data::data(&args),
        Command::Completions(args) => args.print(),
    };
    match result {
        Ok(exit) => exit as i32,
        Err(failure) => {
            progress::say(&format!("error: {}", failure.message));
            failure.exit as i32
        }
    }
}
