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
    if let Err(failure) = threads(&cli.command).and_then(|()| network_stores(&cli.command)) {
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

/// How many threads were asked for, or are this process's share: Slurm may give it fewer cores than it could run on. 0 leaves
/// it to the system, and to RAYON_NUM_THREADS.
fn share(asked: Option<usize>, variable: impl Fn(&str) -> Option<String>, available: usize) -> usize {
    let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<usize>().ok()).filter(|n| *n > 0);
    // A job that asks for no cores by number has those that it was given on the node, and its tasks there share them ("2(x3)").
    let tasks = || {
        let tasks = variable("SLURM_TASKS_PER_NODE").unwrap_or_default();
        let digits = tasks.find(|c: char| !c.is_ascii_digit()).unwrap_or(tasks.len());
        tasks[..digits].parse::<usize>().unwrap_or(1).max(1)
    };
    let given = || number("SLURM_CPUS_PER_TASK").or_else(|| Some((number("SLURM_CPUS_ON_NODE")? / tasks()).max(1)));
    match (asked, number("RAYON_NUM_THREADS"), given()) {
        (Some(asked), ..) => asked,
        (None, None, Some(cores)) => cores.min(available),
        _ => 0,
    }
}

/// Starts the threads that all work is shared among, and sees whether there would be more: what is used below panics where the
/// system starts none.
fn threads(command: &Command) -> Result<(), Failure> {
    let asked = match command {
        Command::Run(args) => args.run.threads,
        Command::Sensitivity(args) => args.run.threads,
        _ => None,
    };
    if asked == Some(0) {
        return Err(Failure::usage("--threads 0: at least one is needed"));
    }
    let available = std::thread::available_parallelism().map_or(1, |n| n.get());
    let count = share(asked, |name| std::env::var(name).ok(), available);
    let wanted = rayon::ThreadPoolBuilder::new().num_threads(count).build_global().map_err(|e| e.to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_the_share_of_this_process() {
        let of = |asked, set: &[(&str, &str)]| {
            share(asked, |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string()), 8)
        };
        let cores = ("SLURM_CPUS_PER_TASK", "3");
        assert_eq!(of(None, &[]), 0);
        assert_eq!(of(None, &[cores]), 3);
        assert_eq!(of(None, &[("SLURM_CPUS_PER_TASK", "64")]), 8, "no more than it may run on");
        assert_eq!(of(None, &[cores, ("RAYON_NUM_THREADS", "2")]), 0, "which rayon reads itself");
        assert_eq!(of(Some(5), &[cores, ("RAYON_NUM_THREADS", "2")]), 5);
        assert_eq!(of(None, &[("SLURM_CPUS_PER_TASK", "none")]), 0);
        let node = ("SLURM_CPUS_ON_NODE", "6");
        assert_eq!(of(None, &[node]), 6);
        assert_eq!(of(None, &[node, cores]), 3);
        assert_eq!(of(None, &[node, ("SLURM_TASKS_PER_NODE", "2(x3)")]), 3);
        assert_eq!(of(None, &[node, ("SLURM_TASKS_PER_NODE", "8,1")]), 1);
    }
}
