//! A real Slurm on this machine (`cluster.sh`): campaigns, what interrupts them, and what is lost (nothing).

mod campaigns;
mod interruptions;

use crate::support::call::Place;
use crate::support::require;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// One cluster at a time: each would take the cores from the others.
static ONE: Mutex<()> = Mutex::new(());

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster of this test's own, which goes with it.
pub struct Cluster {
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// The cluster, if this machine can have one.
#[track_caller]
pub fn cluster(nodes: usize, max_array: usize) -> Option<Cluster> {
    let programs = ["slurmctld", "slurmd", "munged", "sbatch", "unshare"];
    // Debian's daemons are in a folder that not every PATH has.
    let there =
        |program: &&str| require::on_path(program).is_some() || PathBuf::from("/usr/sbin").join(program).is_file();
    let usable = rustix_is_root() && programs.iter().all(there);
    require::found("slurm", usable.then_some(()))?;
    let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster { folder: tempfile::tempdir().unwrap(), _turn: turn };
    let started = cluster.script(&["start"], &[&nodes.to_string(), &max_array.to_string()]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    Some(cluster)
}

fn rustix_is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout == b"0\n")
}

impl Cluster {
    fn script(&self, verb: &[&str], more: &[&str]) -> Output {
        let script = crate::support::root().join("tests/slurm/cluster.sh");
        let mut command = Command::new("bash");
        command.arg(script).args(verb).arg(self.folder.path()).args(more);
        // Its children would keep a pipe open for as long as they live.
        let log = self.folder.path().join("script.log");
        let file = std::fs::File::create(&log).unwrap();
        let status = command.env("PATH", path()).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        Output { status, stdout: Vec::new(), stderr: std::fs::read(log).unwrap() }
    }

    /// A node loses power.
    pub fn lose(&self, node: &str) {
        self.script(&["lose"], &[node]);
    }

    /// It has power again.
    pub fn restore(&self, node: &str) {
        self.script(&["return"], &[node]);
    }

    fn conf(&self) -> String {
        self.folder.path().join("slurm.conf").display().to_string()
    }

    /// What a program of Slurm's says.
    #[track_caller]
    pub fn ask(&self, words: &str) -> String {
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        let output = command.args(words).env("SLURM_CONF", self.conf()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A call of the program on this cluster's login node.
    pub fn call(&self, place: &Place, words: &str) -> crate::support::call::Call {
        // How many threads a job has is what Slurm gives it.
        place.call(words).env("SLURM_CONF", &self.conf()).env("PATH", &path()).env("RAYON_NUM_THREADS", "")
    }

    /// Waits until something holds.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            if began.elapsed() > PATIENCE {
                let queue = self.ask("squeue --array --format=%i|%j|%T|%N|%R");
                panic!("waited in vain until {what}:\n{queue}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until no job is left, and none was submitted by the last of them.
    #[track_caller]
    pub fn drain(&self) {
        self.until("all jobs have ended", || self.queue().is_empty());
    }

    /// `JOB_TASK STATE NODE` of every job that waits or runs.
    pub fn queue(&self) -> Vec<String> {
        let said = self.ask("squeue --noheader --array --format=%i|%T|%N");
        said.lines().map(|line| line.replace('|', " ").trim().to_string()).collect()
    }

    /// Waits until a job or task runs; gives its node.
    #[track_caller]
    pub fn running(&self, job: &str) -> String {
        let state = format!("{job} RUNNING ");
        let node = || self.queue().iter().find_map(|line| line.strip_prefix(&state).map(String::from));
        self.until(&format!("{job} runs"), || node().is_some());
        node().unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = std::env::temp_dir().join("unmute-slurm-test");
            let _ = Command::new("cp").arg("-r").arg(self.folder.path()).arg(&kept).status();
        }
        self.script(&["stop"], &[]);
    }
}

fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The first line of what `submit` prints: the array's id.
#[track_caller]
pub fn submit(cluster: &Cluster, place: &Place, words: &str) -> String {
    let said = cluster.call(place, &format!("slurm submit {words}")).success();
    said.stdout.lines().next().expect("the array's id").to_string()
}

/// Every log of a campaign, to say what happened where a test fails.
pub fn logs(place: &Place, db: &str) -> String {
    let mut all = String::new();
    for round in 1..10 {
        let folder = place.path(&format!("{db}.slurm/round{round}/logs"));
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            all += &format!("--- {}\n{}", file.display(), std::fs::read_to_string(&file).unwrap_or_default());
        }
    }
    all
}

/// A part of an experiment published in a store, without Slurm, so that nothing depends on it.
#[track_caller]
pub fn tables(place: &Place, db: &str) -> String {
    place.call("export tables tiny --format csv --db").arg(db).success().stdout
}
