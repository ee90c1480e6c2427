//! The command line: one file a verb. Data goes to stdout, progress and messages to stderr.

mod args;
mod claims;
mod command_line;
mod data;
mod data_args;
mod diff;
mod doctor;
mod doctor_gpu;
mod export;
mod export_args;
mod export_clips;
mod export_inside;
mod export_predictions;
mod export_runs;
mod export_store;
mod export_weights;
mod extract;
mod extract_args;
mod extract_progress;
mod finish;
mod gc;
mod generate;
mod import_weights;
mod label;
mod label_args;
mod ls;
mod merge;
mod open;
mod outcome;
mod part_args;
mod plan;
mod predict;
mod progress;
mod query;
mod report;
mod run;
mod run_args;
mod sensitivity;
mod shared_args;
mod show;
mod signals;
mod slurm;
mod slurm_args;
mod slurm_campaign;
mod slurm_collect;
mod slurm_round;
mod slurm_status;
mod slurm_submit;
mod store_args;
mod threads;
mod time_left;
mod use_args;
mod used;
mod verify;
mod visible;
mod watch;
mod watch_args;

pub use args::Cli;
pub use outcome::{Exit, Failure};

use crate::brief::in_brief;
use args::Command;
use outcome::{print, print_json, print_text};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a thread of SQLite's ended in a panic. What it was to give is then cut short without an error.
static CUT_SHORT: AtomicBool = AtomicBool::new(false);

/// Runs a command to its exit code.
pub fn run(cli: Cli) -> i32 {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name().is_some_and(|name| name.starts_with("sqlx")) {
            CUT_SHORT.store(true, Ordering::SeqCst);
        }
        before(panic);
    }));
    let ready = vectors().and_then(|()| threads::start(&cli.command)).and_then(|()| network_stores(&cli.command));
    if let Err(failure) = ready {
        progress::insist(&format!("error: {}", in_brief(&failure.message)));
        return failure.exit as i32;
    }
    let result = match cli.command {
        Command::Plan(args) => plan::plan(&args),
        Command::Run(args) => run::run(&args),
        Command::Ls(args) => ls::ls(&args),
        Command::Status(args) => ls::status(&args),
        Command::Watch(args) => watch::watch(&args),
        Command::Show(args) => show::show(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Tag(args) => label::tag(&args),
        Command::Note(args) => label::note(&args),
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
        Command::Import(args) => match args.what {
            use_args::ImportWhat::Weights(args) => import_weights::weights(&args),
        },
        Command::Extract(args) => extract::extract(&args),
        Command::Data(args) => data::data(&args),
        Command::Slurm(args) => slurm::slurm(&args),
        Command::Completions(args) => args.print(),
    };
    match result {
        Ok(Exit::Done) if CUT_SHORT.load(Ordering::SeqCst) => {
            progress::insist(
                "error: a bug in unmute: reading the store was cut short\n  next: report it, with what stands above",
            );
            Exit::Failed as i32
        }
        Ok(exit) => exit as i32,
        Err(failure) => {
            progress::insist(&format!("error: {}", in_brief(&failure.message)));
            failure.exit as i32
        }
    }
}

/// A word that nobody knows must not mean the widest vectors: on a cluster of many kinds that would mix numbers in silence.
fn vectors() -> Result<(), Failure> {
    compute::simd::asked().map(drop).map_err(Failure::usage)
}

/// Stores on network file systems are refused unless somebody asks for them.
fn network_stores(command: &Command) -> Result<(), Failure> {
    let asked = match command {
        Command::Run(args) => args.run.allow_network_store,
        Command::Sensitivity(args) => args.run.allow_network_store,
        Command::Merge(args) => args.allow_network_store,
        _ => false,
    };
    let always = std::env::var("UNMUTE_ALLOW_NETWORK_STORE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    if asked || always {
        crate::store::allow_network();
    }
    Ok(())
}
