//! The guide's examples are run as they stand: a page's blocks of `sh` one after the other in a folder of its own, what is behind
//! `<!-- file: NAME -->` written first, what is behind `<!-- says -->` looked for in what the block before it printed.

use crate::support::features::Source;
use crate::support::{require, root};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A block of code, with the remark in the line above it.
struct Block {
    language: String,
    remark: String,
    text: String,
    line: usize,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut out = Vec::new();
    let (mut remark, mut open): (String, Option<Block>) = Default::default();
    for (i, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => out.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, Some(language)) => {
                let remark = std::mem::take(&mut remark);
                open = Some(Block { language: language.into(), remark, text: String::new(), line: i + 1 });
            }
            (None, None) => {
                let told = line.strip_prefix("<!-- ").and_then(|l| l.strip_suffix(" -->"));
                remark = told.map_or_else(String::new, String::from);
            }
        }
    }
    out
}

/// A folder as the guide says: `experiments/`, and features as an extractor leaves them.
fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("experiments"), dir.path().join("experiments")).unwrap();
    let source = Source { silent_every: 3, ..Source::default() };
    source.write(&dir.path().join("features"));
    dir
}

/// Runs a page; gives how many blocks were run.
fn run(page: &Path) -> usize {
    let dir = place();
    let bin = dir.path().join(".bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_unmute"), bin.join("unmute")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let (mut said, mut count) = (String::new(), 0);
    for block in blocks(&std::fs::read_to_string(page).unwrap()) {
        let at = format!("{}:{}", page.display(), block.line);
        if let Some(file) = block.remark.strip_prefix("file: ") {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, &block.text).unwrap();
        } else if block.remark == "says" {
            assert!(said.contains(block.text.trim_end_matches('\n')), "{at}: {:?} is not in\n{said}", block.text);
        } else if block.language == "sh" && !block.remark.starts_with("not run: ") {
            let mut bash = Command::new("bash");
            bash.args(["-euo", "pipefail", "-c", &block.text]).current_dir(dir.path()).env("PATH", &path);
            let output =
                bash.env_remove("UNMUTE_DB").env("NO_COLOR", "1").env("RAYON_NUM_THREADS", "2").output().unwrap();
            said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{at}: {}\n{said}", output.status);
            assert!(!said.contains("panicked"), "{at}: {said}");
            count += 1;
        } else {
            assert!(block.language != "yaml", "{at}: which file is it? <!-- file: NAME -->");
        }
    }
    count
}

fn page(name: &str) -> PathBuf {
    root().join("docs/guide").join(name)
}

#[test]
fn first_run() {
    assert!(run(&page("first-run.md")) > 8);
}

#[test]
fn own_data() {
    assert!(run(&page("own-data.md")) > 3);
}

#[test]
fn own_experiment() {
    assert!(run(&page("own-experiment.md")) > 4);
}

#[test]
fn reading_the_report() {
    assert!(run(&page("report.md")) > 3);
}

/// Keys of the tables' and claims' languages that the guide does not show would be found by nobody.
#[test]
fn the_languages_are_told_in_full() {
    let text = std::fs::read_to_string(page("own-experiment.md")).unwrap();
    for kind in ["tables", "claims"] {
        let schema = std::fs::read_to_string(root().join(format!("experiments/schema/{kind}.json"))).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        let mut keys = Vec::new();
        properties(&schema, &mut keys);
        assert!(keys.len() > 10, "{keys:?}");
        for key in keys.iter().filter(|key| !["train", "val"].contains(&key.as_str())) {
            let shown = [format!("{key}:"), format!("`{key}`")].iter().any(|form| text.contains(form));
            assert!(shown, "{kind}.yaml has a key {key}, and docs/guide/own-experiment.md does not show it");
        }
    }
}

fn properties(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(of) = map.get("properties").and_then(|p| p.as_object()) {
                keys.extend(of.keys().cloned());
            }
            map.values().for_each(|value| properties(value, keys));
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| properties(value, keys)),
        _ => {}
    }
}

#[test]
fn links_lead_somewhere() {
    let pages = ["README.md", "first-run.md", "own-data.md", "own-experiment.md", "report.md"].map(page);
    for path in pages.into_iter().chain([root().join("docs/python.md")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = path.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(link.starts_with("http") || file.exists(), "{}: {link}", path.display());
        }
    }
}

/// The examples of docs/python.md, each where its library is there.
#[test]
fn the_store_in_python() {
    let python = std::env::var("UNMUTE_PYTHON").unwrap_or_else(|_| "python3".into());
    let dir = place();
    let unmute = |line: &str| {
        let script = format!("{} {line}", env!("CARGO_BIN_EXE_unmute"));
        let output =
            Command::new("bash").args(["-euo", "pipefail", "-c", &script]).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut prepared = false;
    for block in blocks(&std::fs::read_to_string(root().join("docs/python.md")).unwrap()) {
        assert_eq!(block.language, "python", "docs/python.md:{}", block.line);
        let library =
            ["pandas", "polars", "duckdb"].into_iter().find(|l| block.text.contains(&format!("import {l}"))).unwrap();
        let there =
            Command::new(&python).args(["-c", &format!("import {library}")]).output().is_ok_and(|o| o.status.success());
        if require::found(library, there.then_some(())).is_none() {
            continue;
        }
        if !std::mem::replace(&mut prepared, true) {
            unmute("data import features data --rows vggish=3");
            unmute(
                "run experiments/icassp2019 --dataset data --seeds 0,1 --set train.epochs=2 --set lstm.hidden=8 --set 'grid.loss=[l2]' --db runs.db",
            );
            unmute("export runs --db runs.db --format csv > runs.csv");
        }
        let output = Command::new(&python).args(["-c", &block.text]).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("vggish/"), "docs/python.md:{}: {said}", block.line);
    }
}

/// The words of a line as a shell has them, up to what would no longer be the program's.
fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quote, any) = (Some(c), true),
            None if c == ' ' => {
                if any || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                any = false;
            }
            None => word.push(c),
        }
    }
    if any || !word.is_empty() {
        out.push(word);
    }
    let end = out.iter().position(|w| [">", "<", "|", "||", "&&"].contains(&w.as_str()));
    out.truncate(end.unwrap_or(out.len()));
    out
}

#[test]
fn every_example_in_a_help_is_a_call_that_is_understood() {
    use clap::{CommandFactory, Parser};
    let (mut open, mut count) = (vec![unmute::cli::Cli::command()], 0);
    while let Some(command) = open.pop() {
        let help = command.get_after_help().map(|help| help.to_string()).unwrap_or_default();
        // A call may go on in the next line.
        let help = help.replace("\\\n    ", "");
        let examples: Vec<&str> =
            help.lines().filter_map(|l| l.strip_prefix("  ")).filter(|l| l.starts_with("unmute ")).collect();
        for example in &examples {
            // A remark stands far to the right.
            let call =
                example.split("     ").next().unwrap().split("  (").next().unwrap().trim_end().trim_end_matches('\\');
            if let Err(e) = unmute::cli::Cli::try_parse_from(words(call)) {
                panic!("{}: {call}: {e}", command.get_name());
            }
            count += 1;
        }
        open.extend(command.get_subcommands().cloned());
    }
    assert!(count > 50, "{count}");
}
