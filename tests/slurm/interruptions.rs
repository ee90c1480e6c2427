//! What ends a task before its runs are done: each time the rest goes on, and the numbers are those of one process.

use super::{Cluster, cluster, logs, submit, tables};
use crate::support::call::Place;

/// Epochs that take some seconds, with a checkpoint after each.
const EPOCHS: usize = 240;

const WORDS: &str = "tiny --dataset data --db runs.db --checkpoint-every 0";

/// The part that a task publishes has a run in this state, or its checkpoints have come so far.
fn began(place: &Place) -> bool {
    let folder = place.path("runs.db.slurm/checkpoints");
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| unmute::runs::checkpoint::epoch(&entry.unwrap().path()).is_some_and(|epoch| epoch > 20))
    })
}

/// The curve of every run, without a hole, and its attempts.
#[track_caller]
fn whole(place: &Place, epochs: usize) -> Vec<i64> {
    let sql = "SELECT run_id, attempt, count(*) AS epochs, max(epoch) AS last FROM epoch JOIN run ON id = run_id WHERE split = 'val' GROUP BY run_id";
    let runs = place.query("runs.db", sql);
    for run in &runs {
        assert_eq!((run["epochs"].as_u64(), run["last"].as_u64()), (Some(epochs as u64), Some(epochs as u64)), "{run}");
    }
    runs.iter().map(|run| run["attempt"].as_i64().unwrap()).collect()
}

#[track_caller]
fn same_as_one_process(place: &Place, cluster: &Cluster) {
    let told = logs(place, "runs.db");
    let status = cluster.call(place, "slurm status --db runs.db --json").success().json();
    assert_eq!(status["runs"]["missing"].as_u64(), Some(0), "{status}\n{told}");
    place.train("one.db");
    assert_eq!(tables(place, "runs.db"), tables(place, "one.db"), "{told}");
    assert_eq!(place.numbers("runs.db"), place.numbers("one.db"), "{told}");
    place.call("verify --db runs.db").success();
}

#[test]
fn a_cancelled_task_is_gone_on_with_in_the_next_round() {
    let Some(cluster) = cluster(2, 1001) else { return };
    let place = Place::tiny(EPOCHS);
    let array = submit(&cluster, &place, &format!("{WORDS} --tasks 4"));
    cluster.running(&format!("{array}_0"));
    cluster.until("a run is under way", || began(&place));
    cluster.ask(&format!("scancel {array}_0"));
    cluster.drain();
    same_as_one_process(&place, &cluster);
    let attempts = whole(&place, EPOCHS);
    assert!(attempts.contains(&2) && attempts.iter().all(|a| *a <= 2), "{attempts:?}\n{}", logs(&place, "runs.db"));
    let second: serde_json::Value = serde_json::from_str(&place.read("runs.db.slurm/round2/tasks.json")).unwrap();
    let again: usize = second["tasks"].as_array().unwrap().iter().map(|t| t["runs"].as_array().unwrap().len()).sum();
    assert!((1..=2).contains(&again), "only what was missing: {second}");
    assert_eq!(
        std::fs::read_dir(place.path("runs.db.slurm/checkpoints")).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn a_task_whose_time_ends_is_told_and_goes_on_in_the_next_round() {
    let Some(cluster) = cluster(2, 1001) else { return };
    // Slurm looks every half a minute whether it has to give notice, so the task has to be busy for longer, on any machine.
    let (pace, began) = (Place::tiny(EPOCHS), std::time::Instant::now());
    pace.call(&format!("run {WORDS} --threads 1")).success();
    let epochs = (EPOCHS as f64 * 40.0 / began.elapsed().as_secs_f64()).ceil().max(EPOCHS as f64) as usize;
    let place = Place::tiny(epochs);
    // Slurm counts whole minutes, and gives notice some seconds after a task begins.
    let options = "--time=1 --signal=B:USR1@57";
    let array = submit(&cluster, &place, &format!("{WORDS} --tasks 1 --rounds 9 -- {options}"));
    cluster.running(&format!("{array}_0"));
    cluster.drain();
    let told = logs(&place, "runs.db");
    assert!(told.contains("SIGUSR1: epochs that end"), "{told}");
    same_as_one_process(&place, &cluster);
    assert!(whole(&place, epochs).contains(&2), "{told}");
}

#[test]
fn a_lost_node_and_a_preempted_task_lose_nothing_that_was_finished() {
    let Some(cluster) = cluster(2, 1001) else { return };
    let place = Place::tiny(EPOCHS);
    let array = submit(&cluster, &place, &format!("{WORDS} --tasks 2"));
    let node = cluster.running(&format!("{array}_0"));
    cluster.running(&format!("{array}_1"));
    // A first run of the task is finished and published, and the next is under way.
    let part = "runs.db.slurm/parts/round1-0.db";
    let done = || {
        let all = place.path(part).is_file().then(|| {
            place.query(part, "SELECT id, host, started_at FROM run WHERE kind = 'generator' AND state = 'done'")
        });
        all.unwrap_or_default()
    };
    cluster.until("a run is finished", || !done().is_empty());
    let finished = done();
    cluster.lose(&node);
    // The other one gives way to somebody more important.
    let script = place.path("urgent.sh");
    std::fs::write(&script, "#!/bin/sh\nsleep 1\n").unwrap();
    let nodes = ["n1", "n2"].map(|name| (name, name != node));
    let other = nodes.iter().find(|(_, alive)| *alive).unwrap().0;
    cluster.ask(&format!("sbatch --partition=urgent --nodelist={other} --output=/dev/null {}", script.display()));
    cluster.until("the other task was put back into the queue", || {
        cluster.queue().iter().any(|line| {
            line.starts_with(&format!("{array}_1 PENDING")) || line.starts_with(&format!("{array}_0 PENDING"))
        })
    });
    cluster.restore(&node);
    cluster.until("all jobs have ended", || {
        // Slurm lets jobs wait for two minutes that were put back.
        for line in cluster.queue().iter().filter(|line| line.contains("PENDING") && line.contains('_')) {
            let job = line.split(' ').next().unwrap_or_default();
            let _ = std::process::Command::new("scontrol")
                .args(["update", &format!("JobId={job}"), "StartTime=now"])
                .env("SLURM_CONF", cluster.conf())
                .output();
        }
        cluster.queue().is_empty()
    });
    same_as_one_process(&place, &cluster);
    for run in finished {
        let id = run["id"].as_str().unwrap();
        let now = place.query("runs.db", &format!("SELECT id, host, started_at FROM run WHERE id = '{id}'"));
        assert_eq!(now[0], run, "it was not repeated\n{}", logs(&place, "runs.db"));
    }
}

#[test]
fn a_campaign_that_is_cancelled_keeps_what_it_has_and_submits_no_more() {
    let Some(cluster) = cluster(1, 1001) else { return };
    let place = Place::tiny(EPOCHS);
    let array = submit(&cluster, &place, &format!("{WORDS} --tasks 2"));
    cluster.running(&format!("{array}_0"));
    cluster.until("a run is under way", || began(&place));
    cluster.call(&place, "slurm cancel --db runs.db").stderr("nothing more is submitted").success();
    cluster.drain();
    let told = logs(&place, "runs.db");
    let status = cluster.call(&place, "slurm status --db runs.db --json").success().json();
    assert_eq!((status["cancelled"].as_bool(), status["round"].as_u64()), (Some(true), Some(1)), "{status}\n{told}");
    assert!(
        status["runs"]["missing"].as_u64().unwrap() > 0 && status["runs"]["done"].as_u64().unwrap() > 0,
        "{status}"
    );
    // It is gone on with by hand, here without Slurm, from the checkpoints that it left.
    place.call("run tiny --dataset data --db runs.db --checkpoints runs.db.slurm/checkpoints").success();
    place.train("one.db");
    assert_eq!(place.numbers("runs.db"), place.numbers("one.db"), "{told}");
    assert!(whole(&place, EPOCHS).contains(&2));
}

#[test]
fn where_jobs_may_submit_nothing_the_last_one_prints_what_to_do() {
    let Some(cluster) = cluster(1, 1001) else { return };
    let place = Place::tiny(EPOCHS);
    place.write("bin/sbatch", "#!/bin/sh\n[ -z \"$SLURM_JOB_ID\" ] || { echo 'sbatch: error: submit from a login node' >&2; exit 1; }\nexec /usr/bin/sbatch \"$@\"\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path("bin/sbatch"), executable).unwrap();
    let path = format!("{}:{}", place.path("bin").display(), super::path());
    let said = cluster.call(&place, &format!("slurm submit {WORDS} --tasks 1")).env("PATH", &path).success();
    let array = said.stdout.trim().to_string();
    cluster.running(&format!("{array}_0"));
    cluster.until("a run is under way", || began(&place));
    cluster.ask(&format!("scancel {array}_0"));
    cluster.drain();
    let told = logs(&place, "runs.db");
    assert!(
        told.contains("could not be submitted from here (sbatch: sbatch: error: submit from a login node)"),
        "{told}"
    );
    let command = told.split("on a login node, ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    assert!(command.contains(" slurm submit ") && command.contains("--tasks 1"), "{told}");
    // Word for word.
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(place.path(""))
        .env("SLURM_CONF", cluster.conf())
        .env("PATH", super::path());
    shell.env("RAYON_NUM_THREADS", "2");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    cluster.drain();
    let again = whole(&place, EPOCHS).into_iter().filter(|attempt| *attempt == 2).count();
    assert!((1..=2).contains(&again), "{again}\n{}", logs(&place, "runs.db"));
}

#[test]
fn a_first_job_that_fails_takes_the_array_along_and_is_told() {
    let Some(cluster) = cluster(1, 1001) else { return };
    let place = Place::tiny(2);
    submit(&cluster, &place, &format!("{WORDS} --tasks 2 -- --begin=now+3"));
    let (data, away) = (place.path("data"), place.path("away"));
    std::fs::rename(&data, &away).unwrap();
    cluster.drain();
    let told = logs(&place, "runs.db");
    assert!(told.contains("not a data set") && told.contains("so the tasks were cancelled"), "{told}");
    std::fs::rename(&away, &data).unwrap();
    let status = cluster.call(&place, "slurm status --db runs.db").stdout("no other is submitted").success();
    assert!(status.stdout.contains("round 1") && status.stdout.contains("14 missing"), "{}", status.stdout);
    // With what was wrong put right, all of it is done.
    submit(&cluster, &place, &format!("{WORDS} --tasks 2"));
    cluster.drain();
    cluster.call(&place, "slurm status --db runs.db").stdout("round 2").stdout("0 missing").success();
}
