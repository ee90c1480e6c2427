//! The scripts of a round: what sbatch is told at their heads, and one call of the program, which takes the shell's place so
//! that Slurm's signals reach it.

use super::campaign::{Campaign, Layout};
use std::path::Path;

/// Seconds before the end of its time that a job is told of it. Slurm may be a minute early.
const NOTICE: u32 = 90;

/// The job that does what all tasks need. `start` where there is a store to begin with.
pub fn base(campaign: &Campaign, layout: &Layout, round: usize, start: bool) -> String {
    let list = layout.round(round).join("base.txt");
    let head = head(
        campaign,
        layout,
        round,
        "base",
        "What every task needs, and what is quick: streams, SVM banks, controls.",
        &campaign.sbatch,
    );
    let from = if start { format!(" \\\n    --from {}", quoted_path(&layout.start())) } else { String::new() };
    format!(
        "{head}exec {} \\\n    --only {}{from} \\\n    --publish {} --checkpoints {}\n",
        run(campaign),
        quoted(&format!("@{}", list.display())),
        quoted_path(&layout.base()),
        quoted_path(&layout.checkpoints())
    )
}

/// The array: task N does what `tasks.json` says of it. Its argument is the task of index 0.
pub fn tasks(campaign: &Campaign, layout: &Layout, round: usize, count: usize) -> String {
    let what = format!(
        "Task N of {count} trains what tasks.json says, and publishes it as a part. The argument is the task of index 0."
    );
    let mut head = head(campaign, layout, round, "tasks", &what, &campaign.sbatch);
    head = head.replacen(
        "#SBATCH --open-mode",
        &format!("#SBATCH --array={}\n#SBATCH --open-mode", indices(campaign, count)),
        1,
    );
    format!(
        "{head}task=$((SLURM_ARRAY_TASK_ID + ${{1:-0}}))\nexec {} \\\n    --only {}:\"$task\" \\\n    --from {} --publish {}\"$task\".db --checkpoints {}\n",
        run(campaign),
        quoted(&format!("@{}", layout.round(round).join("tasks.json").display())),
        quoted_path(&layout.base()),
        quoted(&format!("{}/round{round}-", layout.parts().display())),
        quoted_path(&layout.checkpoints())
    )
}

/// The job that takes the parts over when all tasks have ended, however they ended.
pub fn collect(campaign: &Campaign, layout: &Layout, round: usize) -> String {
    let what = "Takes the parts over, reports, and submits what is missing.";
    let head = head(campaign, layout, round, "collect", what, &without_gpus(&campaign.sbatch));
    format!(
        "{head}exec {} slurm collect --folder {} --round {round}\n",
        quoted_path(&campaign.program),
        quoted_path(&layout.0)
    )
}

/// `0-99`, or `0-99%8` where so many may run at once, as many as one array takes.
pub fn indices(campaign: &Campaign, count: usize) -> String {
    let last = count.min(campaign.max_array).max(1) - 1;
    campaign.at_once.map_or(format!("0-{last}"), |most| format!("0-{last}%{most}"))
}

/// Whether options ask for GPUs.
pub fn asks_for_gpus(options: &[String]) -> bool {
    without_gpus(options).len() < options.len()
}

/// Options without those that ask for GPUs, for a job that needs none.
pub fn without_gpus(options: &[String]) -> Vec<String> {
    let gpu = |word: &str| {
        let name = word.split('=').next().unwrap_or(word);
        matches!(name, "--gres" | "--gres-flags" | "--gpu-bind" | "--gpu-freq" | "--cpus-per-gpu" | "--mem-per-gpu")
            || name.starts_with("--gpus")
            || (word.starts_with("-G") && !word.starts_with("--"))
    };
    let mut kept = Vec::new();
    let mut words = options.iter().peekable();
    while let Some(word) = words.next() {
        if !gpu(word) {
            kept.push(word.clone());
            continue;
        }
        // Its value may stand apart.
        let apart = !word.contains('=') && (word.starts_with("--") || word.len() == 2);
        if apart && words.peek().is_some_and(|next| !next.starts_with('-')) {
            words.next();
        }
    }
    kept
}

fn head(campaign: &Campaign, layout: &Layout, round: usize, job: &str, what: &str, options: &[String]) -> String {
    let log = if job == "tasks" { "%A_%a.log".to_string() } else { format!("{job}-%j.log") };
    // A percent sign in a path is none of Slurm's.
    let logs = layout.round(round).join("logs").display().to_string().replace('%', "%%");
    let mut out = format!("#!/bin/sh\n# {}, round {round}. {what}\n", one_line(&campaign.name));
    let plain: String =
        campaign.name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    let mut line = |option: String| out += &format!("#SBATCH {option}\n");
    line(format!("--job-name=unmute-{plain}-{job}"));
    line(directive(&format!("--output={logs}/{log}")));
    line("--open-mode=append".into());
    line(format!("--signal=B:USR1@{NOTICE}"));
    line("--requeue".into());
    line(directive(&format!("--chdir={}", campaign.directory.display())));
    // What was given behind `--`, an option a line: they come last, and count.
    let mut words = options.iter().peekable();
    while let Some(word) = words.next() {
        let mut option = directive(word);
        while let Some(value) = words.next_if(|next| !next.starts_with('-')) {
            option += &format!(" {}", directive(value));
        }
        line(option);
    }
    out
}

/// The call that every task is.
fn run(campaign: &Campaign) -> String {
    let words = [
        quoted_path(&campaign.program),
        "run".into(),
        quoted_path(&campaign.experiment),
        "--dataset".into(),
        quoted_path(&campaign.dataset),
        "--db".into(),
        quoted_path(&campaign.db),
    ];
    words.into_iter().chain(campaign.settings.iter().map(|word| quoted(word))).collect::<Vec<_>>().join(" ")
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A word as sbatch takes it behind `#SBATCH`.
fn directive(word: &str) -> String {
    let word = one_line(word);
    match word.chars().any(|c| c.is_whitespace() || "'\"\\#".contains(c)) {
        true => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
        false => word,
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tasks::Size;
    use super::*;

    fn campaign(sbatch: &[&str]) -> Campaign {
        Campaign {
            format: 1,
            name: "my study".into(),
            program: "/opt/un mute".into(),
            code: "c".into(),
            directory: "/home/me".into(),
            experiment: "/home/me/exp".into(),
            dataset: "/data/set".into(),
            db: "/home/me/100% done/runs.db".into(),
            settings: vec!["--set".into(), "grid.audio=[vggish]".into()],
            sbatch: sbatch.iter().map(|s| s.to_string()).collect(),
            size: Size::Tasks(4),
            at_once: Some(2),
            last_round: 3,
            max_array: 1001,
            base: Vec::new(),
            runs: Vec::new(),
            rounds: Vec::new(),
        }
    }

    #[test]
    fn a_script_is_one_call_in_place_of_the_shell() {
        let campaign = campaign(&["--time=2:00:00", "-p", "gpu", "--comment=a \"b\"", "--gres=gpu:1"]);
        let layout = campaign.layout();
        let script = tasks(&campaign, &layout, 2, 40);
        for line in [
            "#SBATCH --job-name=unmute-my_study-tasks\n",
            "#SBATCH \"--output=/home/me/100%% done/runs.db.slurm/round2/logs/%A_%a.log\"\n",
            "#SBATCH --array=0-39%2\n",
            "#SBATCH --signal=B:USR1@90\n",
            "#SBATCH --time=2:00:00\n#SBATCH -p gpu\n#SBATCH \"--comment=a \\\"b\\\"\"\n#SBATCH --gres=gpu:1\n",
            "task=$((SLURM_ARRAY_TASK_ID + ${1:-0}))\n",
            "exec '/opt/un mute' run /home/me/exp --dataset /data/set --db '/home/me/100% done/runs.db' --set 'grid.audio=[vggish]'",
            "--only '@/home/me/100% done/runs.db.slurm/round2/tasks.json':\"$task\"",
            "--publish '/home/me/100% done/runs.db.slurm/parts/round2-'\"$task\".db",
        ] {
            assert!(script.contains(line), "{line} is not in\n{script}");
        }
        let gathering = collect(&campaign, &layout, 2);
        assert!(!gathering.contains("gres") && gathering.contains("-p gpu") && gathering.contains("--round 2"));
        assert!(!base(&campaign, &layout, 1, false).contains("--from"));
        assert!(base(&campaign, &layout, 1, true).contains("start.db"));
    }

    #[test]
    fn options_that_ask_for_gpus_are_known() {
        let without = |options: &[&str]| without_gpus(&options.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(without(&["-p", "gpu", "--gres", "gpu:1", "-t", "5"]), ["-p", "gpu", "-t", "5"]);
        assert_eq!(without(&["--gpus-per-task=1", "-G2", "-G", "2", "--mem=4G"]), ["--mem=4G"]);
        assert_eq!(without(&["--gres=gpu:a100:1", "--account=x"]), ["--account=x"]);
        assert!(asks_for_gpus(&["--gpus=1".into()]) && !asks_for_gpus(&["--mem=1G".into()]));
    }

    #[test]
    fn indices_stay_below_what_slurm_takes() {
        let few = Campaign { max_array: 8, at_once: None, ..campaign(&[]) };
        assert_eq!([indices(&few, 5), indices(&few, 20), indices(&few, 1)], ["0-4", "0-7", "0-0"]);
    }
}
