//! What Slurm is told (`sbatch`, `scancel`) and asked (`squeue`, `scontrol`). What it does not answer is unknown, never "ended".

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program of Slurm's that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {why}")]
pub struct Error {
    /// `sbatch`.
    pub program: &'static str,
    /// What it said.
    pub why: String,
}

/// Arrays may have one index less than this where Slurm does not say how many.
const MAX_ARRAY: usize = 1001;

/// What Slurm knows of a job: how many of its tasks are in each state (`PENDING`, `RUNNING`, ...).
pub type States = BTreeMap<String, usize>;

/// Slurm's programs.
pub struct Slurm;

impl Slurm {
    /// Submits a script with these options, and arguments of its own; gives the job's id.
    pub fn submit(options: &[String], script: &Path, arguments: &[String]) -> Result<String, Error> {
        let mut command = Command::new("sbatch");
        command.arg("--parsable").args(options).arg(script).args(arguments);
        let said = answer("sbatch", &mut command)?;
        // `12` or, of another cluster, `12;name`.
        let id = said.lines().last().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_string();
        match !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) {
            true => Ok(id),
            false => Err(Error { program: "sbatch", why: format!("it gave no id, but {said:?}") }),
        }
    }

    /// States of those of these jobs that are waiting or running.
    pub fn states(jobs: &[String]) -> Result<BTreeMap<String, States>, Error> {
        let mut found: BTreeMap<String, States> = BTreeMap::new();
        if jobs.is_empty() {
            return Ok(found);
        }
        // All of the user's: asked for an id that it has forgotten, squeue fails.
        let user = rustix::process::getuid().as_raw().to_string();
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--array", "--format=%F|%T", "--user", &user]);
        for line in answer("squeue", &mut command)?.lines() {
            if let Some((job, state)) = line.trim().split_once('|')
                && jobs.iter().any(|known| known == job)
            {
                *found.entry(job.into()).or_default().entry(state.into()).or_default() += 1;
            }
        }
        Ok(found)
    }

    /// Cancels jobs; those that have ended are no matter.
    pub fn cancel(jobs: &[String]) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        answer("scancel", Command::new("scancel").arg("--quiet").args(jobs)).map(drop)
    }

    /// Indices of an array are less than this.
    pub fn max_array() -> usize {
        let said = answer("scontrol", Command::new("scontrol").args(["show", "config"])).unwrap_or_default();
        max_array(&said).unwrap_or(MAX_ARRAY)
    }
}

fn max_array(config: &str) -> Option<usize> {
    let line = config.lines().find(|line| line.trim_start().starts_with("MaxArraySize"))?;
    line.split_once('=')?.1.trim().parse().ok().filter(|n| *n > 1)
}

fn answer(program: &'static str, command: &mut Command) -> Result<String, Error> {
    // What the environment sets would change what is asked for or how it is answered.
    for name in ["SBATCH_ARRAY_INX", "SQUEUE_FORMAT", "SQUEUE_FORMAT2", "SQUEUE_STATES", "SQUEUE_USERS", "SQUEUE_ARRAY"]
    {
        command.env_remove(name);
    }
    let output = command.stdin(Stdio::null()).output().map_err(|e| Error {
        program,
        why: match e.kind() {
            std::io::ErrorKind::NotFound => {
                "it is not on the PATH; this machine may be no login node of a cluster".into()
            }
            _ => e.to_string(),
        },
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    let how = output.status.code().map_or("a signal".to_string(), |code| format!("code {code}"));
    Err(Error { program, why: if said.is_empty() { format!("it ended with {how}") } else { said } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_arrays_is_read() {
        assert_eq!(max_array("MailProg = /x\nMaxArraySize            = 1001\nMaxBatch = 1\n"), Some(1001));
        assert_eq!(max_array("MaxArraySize = 8"), Some(8));
        assert_eq!(max_array("MaxArraySize = 0"), None, "arrays are forbidden");
        assert_eq!(max_array(""), None);
    }
}
