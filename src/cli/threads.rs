//! How many threads the work is shared among, and their start.

use super::args::Command;
use super::outcome::{Exit, Failure};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

/// Bytes of a thread's stack: what Rust gives one by itself.
const STACK: usize = 2 << 20;
/// Bytes beside the stack that a thread takes before anything of ours runs on it: a second stack for signals, its own variables.
const BESIDE: usize = 1 << 20;

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
pub fn start(command: &Command) -> Result<(), Failure> {
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
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count);
    let wanted =
        pool.spawn_handler(|thread| begun(|| thread.run()).map(drop)).build_global().map_err(|e| e.to_string());
    wanted.and_then(|()| more().map_err(|e| e.to_string())).map_err(|why| Failure {
        exit: Exit::Failed,
        message: format!(
            "the system starts too few threads: {why}\n  next: raise the limit (`ulimit -u`, `ulimit -v`, or pids.max of the control group), or set RAYON_NUM_THREADS=1"
        ),
    })
}

/// As many threads as come later, all at once: for the store, signals, signs of life, batches read ahead, and each worker's own.
/// They are gone when this returns.
fn more() -> io::Result<()> {
    let (hold, held): (Sender<()>, Receiver<()>) = channel();
    let held = Arc::new(Mutex::new(held));
    let mut started = Vec::new();
    let all = (0..8 + 2 * rayon::current_num_threads()).try_for_each(|_| {
        let held = held.clone();
        started.push(begun(move || drop(held.lock().map(|held| held.recv())))?);
        Ok(())
    });
    drop(hold);
    started.into_iter().for_each(|thread| drop(thread.join()));
    all
}

/// Starts a thread and returns when `body` runs on it.
///
/// A thread takes memory of its own after it was started, and the standard library ends the program where there is none. So
/// threads are started one after the other, each when there is room for all it takes.
fn begun(body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    drop(memmap2::MmapMut::map_anon(STACK + BESIDE)?);
    let (ready, is_ready) = channel();
    let thread = Builder::new().stack_size(STACK).spawn(move || {
        // The first piece of memory that a thread asks for makes the allocator set more aside.
        drop(std::hint::black_box(Box::new(0_u64)));
        let _ = ready.send(());
        body();
    })?;
    let _ = is_ready.recv();
    Ok(thread)
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
