//! The command line: one file a verb. Data goes to stdout, progress and messages to stderr.

mod args;
mod claims;
mod command_line;
mod data;
mod diff;
mod doctor;
mod doctor_gpu;
mod export;
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
mod plan;
mod predict;
mod progress;
mod query;
mod report;
mod run;
mod sensitivity;
mod shared_args;
mod show;
mod signals;
mod time_left;
mod use_args;
mod used;
mod verify;
mod visible;
mod watch;
mod watch_args;

pub use args::Cli;
pub use outcome::{Exit, Failure};

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
    if let Err(failure) = threads() {
        progress::insist(&format!("error: {}", failure.message));
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
            progress::insist(&format!("error: {}", failure.message));
            failure.exit as i32
        }
    }
}

/// Starts the threads that all work is shared among, and sees whether there would be more: what is used below panics where the
/// system starts none.
fn threads() -> Result<(), Failure> {
    let wanted = rayon::ThreadPoolBuilder::new().build_global().map_err(|e| e.to_string());
    let more = || -> std::io::Result<()> {
        // For the store, signals, signs of life, batches read ahead, and each worker's own.
        let count = 8 + 2 * rayon::current_num_threads();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        std::thread::scope(|scope| {
            let _hold = hold;
            for _ in 0..count {
                let wait = || drop(held.lock().map(|held| held.recv()));
                std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, wait)?;
            }
            Ok(())
        })
    };
    wanted.and_then(|()| more().map_err(|e| e.to_string())).map_err(|why| Failure {
        exit: Exit::Failed,
        message: format!(
            "the system starts too few threads: {why}\n  next: raise the limit (`ulimit -u`, or pids.max of the control group), or set RAYON_NUM_THREADS=1"
        ),
    })
}
