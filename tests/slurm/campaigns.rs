//! Campaigns that nothing interrupts.

use super::{cluster, logs, submit, tables};
use crate::support::call::Place;
use std::os::unix::fs::PermissionsExt;

#[test]
fn an_array_makes_what_one_process_makes() {
    let Some(cluster) = cluster(3, 1001) else { return };
    let place = Place::tiny(20);
    place.train("one.db");
    let words = "tiny --dataset data --db runs.db --tasks 3";

    // A dry run submits nothing, and its script is one that sbatch takes.
    let dry = cluster.call(&place, &format!("slurm submit {words} --dry-run -- --time=5 --gres=gpu:1"));
    let script = dry.stderr("nothing is submitted").stdout("#SBATCH --gres=gpu:1\n").success().stdout;
    assert!(cluster.queue().is_empty() && !place.path("runs.db.slurm").exists() && !place.path("runs.db").exists());
    place.write("job.sh", &script);
    cluster.ask(&format!("sbatch --test-only {}", place.path("job.sh").display()));
    let json = cluster.call(&place, &format!("slurm submit {words} --dry-run --json")).success().json();
    assert_eq!(json["tasks"].as_array().unwrap().len(), 3);

    // Submitted once: a second call is refused while jobs are queued, and when nobody knows.
    let array = submit(&cluster, &place, &format!("{words} -- --time=5 --gres=gpu:1"));
    cluster.call(&place, &format!("slurm submit {words}")).stderr("have not ended").stderr(&array).fails(2);
    let fake = place.path("fake");
    std::fs::create_dir(&fake).unwrap();
    let squeue = fake.join("squeue");
    std::fs::write(
        &squeue,
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&squeue, std::fs::Permissions::from_mode(0o755)).unwrap();
    let blind = format!("{}:{}", fake.display(), super::path());
    let said = cluster.call(&place, "slurm status --db runs.db --json").env("PATH", &blind);
    let said = said.stderr("what the jobs do is unknown").stderr("Unable to contact").success().json();
    assert!(said["jobs"].as_array().unwrap().iter().all(|job| job["states"].is_null()), "{said}");
    cluster.call(&place, &format!("slurm submit {words}")).env("PATH", &blind).stderr("unknown").fails(1);

    cluster.drain();
    let told = logs(&place, "runs.db");
    assert_eq!(tables(&place, "runs.db"), tables(&place, "one.db"), "{told}");
    assert_eq!(place.numbers("runs.db"), place.numbers("one.db"), "{told}");
    cluster
        .call(&place, "slurm status --db runs.db")
        .stdout("14 of 14 runs done, 0 failed, 0 missing")
        .stdout("3 of 3 tasks")
        .success();
    cluster.call(&place, &format!("slurm submit {words}")).stderr("nothing to submit").success();
    place.call("verify --db runs.db").success();
    assert!(place.path("runs.db.slurm/tiny.html").is_file(), "{told}");
    assert_eq!(std::fs::read_dir(place.path("runs.db.slurm/round1/logs")).unwrap().count(), 5, "{told}");

    // Where each run was made is known: job, task, node.
    let sql = "SELECT kind, json_extract(record, '$.slurm.SLURM_ARRAY_JOB_ID') AS job, json_extract(record, '$.slurm.SLURM_ARRAY_TASK_ID') AS task,
        json_extract(record, '$.slurm.SLURMD_NODENAME') AS node, json_extract(record, '$.numerics') AS numerics, threads
        FROM (SELECT kind, record, json_extract(record, '$.threads') AS threads FROM run JOIN environment e ON e.id = environment_id)";
    for run in place.query("runs.db", sql) {
        assert!(run["node"].is_string() && run["numerics"].is_string(), "{run}");
        // A node of the test has one core, however many this machine has.
        assert_eq!(run["threads"], 1, "{run}");
        assert_eq!(run["job"] == array.as_str(), run["kind"] == "generator", "{run}");
    }
    let page = place.read("runs.db.slurm/tiny.html");
    assert!(page.contains(&format!("{array} (3 tasks on")), "the report names the jobs");

    // Nodes whose vectors are others make other last bits, and it is told.
    let narrow = format!("slurm submit {words} --seeds 0,1,2");
    cluster.call(&place, &narrow).env("UNMUTE_SIMD", "scalar").success();
    cluster.drain();
    let told = logs(&place, "runs.db");
    assert!(told.contains("different numerics") && told.contains("scalar ("), "{told}");
    assert!(place.read("runs.db.slurm/tiny.html").contains("Runs were made with different numerics"));
}

#[test]
fn what_is_done_is_not_submitted_and_failures_are_told() {
    let Some(cluster) = cluster(2, 8) else { return };
    let place = Place::tiny(3);
    // Generators of one learning rate cannot be trained: their losses are not finite.
    let words = "tiny --dataset data --db runs.db --seeds 0,1,2 --set grid.train.lr=[0.001,1e30]";
    let base = "run tiny --dataset data --db runs.db --seeds 0,1,2 --set grid.train.lr=[0.001,1e30]";
    let plan =
        place.call("plan tiny --dataset data --seeds 0,1,2 --set grid.train.lr=[0.001,1e30] --json").success().json();
    let runs = plan["runs"].as_array().unwrap();
    let of = |kind: &str| runs.iter().filter(|run| run["kind"] == kind).count();
    assert!(of("generator") >= 24, "{}", of("generator"));
    let first = runs.iter().find(|run| run["kind"] == "generator").unwrap()["id"].as_str().unwrap();
    place.call(&format!("{base} --only {first}")).success();

    // More tasks than an array takes: three arrays.
    submit(&cluster, &place, &format!("{words} --tasks 20"));
    let campaign: serde_json::Value = serde_json::from_str(&place.read("runs.db.slurm/campaign.json")).unwrap();
    let arrays = campaign["rounds"][0]["arrays"].as_array().unwrap();
    assert_eq!(arrays.iter().map(|a| a["tasks"].as_u64().unwrap()).collect::<Vec<_>>(), [8, 8, 4]);
    cluster.drain();
    let told = logs(&place, "runs.db");
    assert_eq!(
        place.query("runs.db", &format!("SELECT attempt FROM run WHERE id = '{first}'"))[0]["attempt"],
        1,
        "{told}"
    );
    let states = place.query(
        "runs.db",
        "SELECT state, count(*) AS n FROM run WHERE kind = 'generator' GROUP BY state ORDER BY state",
    );
    assert_eq!(states.len(), 2, "{states:?}\n{told}");
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&"done".into(), &"failed".into()), "{told}");
    let status = cluster.call(&place, "slurm status --db runs.db --json").success().json();
    assert_eq!(
        (status["round"].as_u64(), status["runs"]["missing"].as_u64()),
        (Some(1), Some(0)),
        "a failure is not tried again: {status}\n{told}"
    );
    // The job that gathers says so by its code, and a failed run is submitted again only where that is asked for.
    assert!(told.contains("failed: "), "{told}");
    cluster.call(&place, &format!("slurm submit {words}")).stderr("--retry-failed").stderr("nothing to submit").ends(3);
    let json = cluster.call(&place, &format!("slurm submit {words} --retry-failed --dry-run --json")).success().json();
    assert_eq!(json["runs"].as_array().unwrap().len() as u64, states[1]["n"].as_u64().unwrap());
}

#[test]
fn calls_that_make_no_sense_are_refused_before_anything_is_submitted() {
    let place = Place::tiny(2);
    let call = |words: &str| place.call(&format!("slurm submit tiny --dataset data --db runs.db {words}"));
    call("-- --array=0-3").stderr("--tasks or --task-minutes").fails(2);
    call("-- -a 3").stderr("--at-once").fails(2);
    call("-- job.sh").stderr("an option of sbatch").fails(2);
    call("--tasks 0").stderr("--tasks 0").fails(2);
    call("--task-minutes 0").stderr("--task-minutes 0").fails(2);
    call("--tasks 2 --task-minutes 3").fails(2);
    place.call("slurm status --db runs.db").stderr("unmute slurm submit").fails(1);
    place.call("slurm cancel --db runs.db").stderr("nothing was submitted").fails(1);
    // A machine without Slurm.
    call("").env("PATH", &place.path("nothing").display().to_string()).stderr("sbatch: it is not on the PATH").fails(1);
    let dry = call("--tasks 2 --dry-run").env("PATH", "").stderr("an array of 2 tasks").success().stdout;
    assert!(dry.starts_with("#!/bin/sh\n") && dry.contains("#SBATCH --array=0-1\n"), "{dry}");
}

#[test]
fn the_guide_is_done_as_it_stands() {
    let Some(cluster) = cluster(2, 1001) else { return };
    let place = Place::tiny(2);
    // The guide's experiment and data set, at a size that trains in a moment.
    for (from, to) in [("tiny", "experiments/corsmal"), ("data", "data/corsmal")] {
        std::fs::rename(place.path(from), place.path("moved")).unwrap();
        std::fs::create_dir_all(place.path(to).parent().unwrap()).unwrap();
        std::fs::rename(place.path("moved"), place.path(to)).unwrap();
    }
    let guide = std::fs::read_to_string(crate::support::root().join("docs/guide/cluster.md")).unwrap();
    let blocks: Vec<&str> = guide.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 5, "every block of commands is here");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_unmute")).parent().unwrap();
    for block in blocks {
        let mut shell = std::process::Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", block]).current_dir(place.path("")).env_remove("UNMUTE_DB");
        shell.env("PATH", format!("{}:{}", program.display(), super::path())).env("SLURM_CONF", cluster.conf());
        let output = shell.output().unwrap();
        let told = format!("{block}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{told}\n{}", logs(&place, "runs.db"));
        cluster.drain();
    }
    let status = cluster.call(&place, "slurm status --db runs.db --json").success().json();
    assert_eq!(status["runs"]["missing"].as_u64(), Some(0), "{status}\n{}", logs(&place, "runs.db"));
}
