//! The rules of the house, read off the source: data moves one way through the folders, no files refer to one another in
//! a circle, the numerics know nothing of the program, and whatever numbers pass through is in the digest of the code.

mod source;
mod tokens;

use source::{Reference, Tree, circles};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The folders of `src/`, from left to right. A file may use what lies to its left; files directly in `src/` and
/// `crates/compute` lie to the left of all.
const ORDER: &[&str] = &[
    "extract",
    "dataset",
    "model",
    "experiment",
    "train",
    "score",
    "store",
    "report",
    "gpu",
    "device",
    "runs",
    "slurm",
    "cli",
];

/// Folders that are neither left nor right of one another: what trains on a device is told nothing of results.
const STRANGERS: &[(&str, &str)] = &[("gpu", "store"), ("gpu", "report"), ("device", "store"), ("device", "report")];

/// What the numerics do not use: files, the network, processes, formats and databases.
const NOT_IN_COMPUTE: &[&str] = &["std :: fs", "std :: net", "std :: process", "serde_yaml", "sqlx", "csv"];

/// Arrows that still run back, as (from, to) folders. Take one off when it is gone.
const KNOWN_ARROWS: &[(&str, &str)] = &[];

/// Files that still are part of a circle. Take one off when it is out.
const KNOWN_IN_CIRCLES: &[&str] = &[];

/// What the numeric folders use from outside them, and why no number depends on it.
const NOT_NUMERIC: &[(&str, &str)] = &[
    ("src/csv_lines.rs", "how clips.csv is read; what it lists is hashed"),
    ("src/experiment/config.rs", "settings, which are hashed themselves"),
    ("src/experiment/grid.rs", "a cell, which is hashed itself"),
    ("src/files.rs", "how files are opened and read; their contents are hashed"),
    ("src/lib.rs", "the wording of errors"),
    ("src/python.rs", "where libraries are looked for"),
    ("src/runs/error.rs", "the wording of errors"),
    ("src/store/records.rs", "how results are handed to the store"),
    ("src/suggest.rs", "the wording of errors"),
];

#[test]
fn data_moves_one_way_through_the_folders() {
    let tree = Tree::read(&crate::support::root());
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for arrow in backward(&tree.references()) {
        let known = KNOWN_ARROWS.iter().find(|k| **k == (folder(&arrow.from), folder(&arrow.to)));
        match known {
            Some(known) => drop(seen.insert(known)),
            None => wrong.push(told(&arrow)),
        }
    }
    let gone: Vec<_> = KNOWN_ARROWS.iter().filter(|k| !seen.contains(k)).collect();
    assert!(wrong.is_empty(), "these run back (ORDER is in tests/architecture.rs):\n{}", wrong.join("\n"));
    assert!(gone.is_empty(), "no longer there, take them off KNOWN_ARROWS: {gone:?}");
}

#[test]
fn every_folder_has_its_place() {
    let tree = Tree::read(&crate::support::root());
    let unplaced: BTreeSet<_> = tree.paths().map(folder).filter(|f| !f.is_empty() && rank(f).is_none()).collect();
    assert!(unplaced.is_empty(), "put these folders of src/ into ORDER: {unplaced:?}");
}

#[test]
fn no_files_refer_to_one_another_in_a_circle() {
    let tree = Tree::read(&crate::support::root());
    let references = tree.references();
    let known: BTreeSet<&str> = KNOWN_IN_CIRCLES.iter().copied().collect();
    let groups = circles(&references);
    let within: BTreeSet<&str> = groups.iter().flatten().map(String::as_str).collect();
    let mut wrong = String::new();
    for group in groups.iter().filter(|g| g.iter().any(|f| !known.contains(f.as_str()))) {
        wrong += &format!("a circle of {} files:\n", group.len());
        let inside = references.iter().filter(|r| r.code && group.contains(&r.from) && group.contains(&r.to));
        // One reference between two files says enough.
        let pairs: BTreeMap<_, _> = inside.rev().map(|r| ((&r.from, &r.to), told(r))).collect();
        pairs.values().for_each(|r| wrong += &format!("{r}\n"));
    }
    let gone: Vec<_> = known.difference(&within).collect();
    assert!(wrong.is_empty(), "{wrong}");
    assert!(gone.is_empty(), "in no circle any more, take them off KNOWN_IN_CIRCLES: {gone:?}");
}

#[test]
fn documents_name_files_that_are_there() {
    let root = crate::support::root();
    let mut gone = Vec::new();
    for document in documents(&root) {
        let text = std::fs::read_to_string(&document).unwrap();
        let missing = files_named(&text).into_iter().filter(|path| !root.join(path).exists());
        gone.extend(missing.map(|path| format!("{} names {path}", document.strip_prefix(&root).unwrap().display())));
    }
    assert!(gone.is_empty(), "{}", gone.join("\n"));
    assert_eq!(files_named("see `src/a.rs`, `tests/b/` and\n`just x src/c`, src/d"), ["src/a.rs", "tests/b/"]);
}

/// The Markdown documents of the repository.
fn documents(root: &Path) -> Vec<std::path::PathBuf> {
    let markdown = |dir: std::path::PathBuf| {
        let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        entries.filter(|p| p.extension().is_some_and(|e| e == "md")).collect::<Vec<_>>()
    };
    let found: Vec<_> = ["", "docs", "docs/guide"].iter().flat_map(|dir| markdown(root.join(dir))).collect();
    assert!(found.len() > 5, "{found:?}");
    found
}

/// Files of the repository that a text names between backquotes, alone there.
fn files_named(text: &str) -> Vec<&str> {
    let top = ["src/", "crates/", "tests/", "benches/", "docs/", "examples/", "experiments/", "migrations/"];
    let path = |t: &&str| {
        top.iter().any(|top| t.starts_with(top)) && !t.contains(|c: char| c.is_whitespace() || "*{<".contains(c))
    };
    // Names in capitals stand for something.
    let example =
        |t: &&str| t.split('/').any(|part| part.len() > 1 && part.chars().all(|c| c.is_uppercase() || c == '_'));
    text.split('`').skip(1).step_by(2).filter(path).filter(|t| !example(t)).collect()
}

#[test]
fn the_numerics_know_nothing_of_the_program() {
    let tree = Tree::read(&crate::support::root());
    assert_eq!(reaching_out(&tree), Vec::<String>::new());
}

#[test]
fn what_numbers_pass_through_is_in_the_digest_of_the_code() {
    let root = crate::support::root();
    let build = std::fs::read_to_string(root.join("src/build.rs")).unwrap();
    let covered = digested(&build);
    for path in &covered {
        assert!(root.join(path).exists(), "src/build.rs takes a digest of {path}, which is not there");
    }
    let tree = Tree::read(&root);
    let outside = outside(&tree.references(), &covered);
    for path in listed(&build, "OF_REPORTS") {
        assert!(root.join(&path).exists(), "src/build.rs leaves out {path}, which is not there");
        let used = covered_by(&tree.references(), &covered).find(|r| r.to == path).map(told);
        assert_eq!(used, None, "the digest leaves out a file that numbers pass through");
    }
    let unlisted: Vec<_> =
        outside.values().filter(|r| !NOT_NUMERIC.iter().any(|(f, _)| *f == r.to)).map(told).collect();
    let gone: Vec<_> = NOT_NUMERIC.iter().filter(|(f, _)| !outside.contains_key(*f)).collect();
    assert!(
        unlisted.is_empty(),
        "numeric code uses files that the digest in src/build.rs leaves out; put their folders into NUMERIC, or say in \
         NOT_NUMERIC why no number depends on them:\n{}",
        unlisted.join("\n")
    );
    assert!(gone.is_empty(), "not used by numeric code any more, take them off NOT_NUMERIC: {gone:?}");
    assert_eq!(behind_tests(&root, &covered), Vec::<String>::new(), "the digest ends at a file's first #[cfg(test)]");
}

/// A file's folder in `src/`; empty for files directly in it and for other packages.
fn folder(path: &str) -> &str {
    path.strip_prefix("src/").and_then(|rest| rest.split_once('/')).map_or("", |(folder, _)| folder)
}

fn rank(folder: &str) -> Option<usize> {
    ORDER.iter().position(|f| *f == folder)
}

/// References from one folder to one on its right, or to a stranger; and from what serves all folders to any of them.
fn backward(references: &[Reference]) -> Vec<Reference> {
    let wrong = |r: &&Reference| {
        let (from, to) = (folder(&r.from), folder(&r.to));
        if from == to || to.is_empty() || r.from == "src/main.rs" {
            return false;
        }
        let back = from.is_empty() || rank(from) < rank(to);
        back || STRANGERS.contains(&(from, to))
    };
    references.iter().filter(wrong).cloned().collect()
}

fn told(r: &Reference) -> String {
    format!("  {}:{} uses {} ({})", r.from, r.line, r.path, r.to)
}

/// What `crates/compute` uses of the program, of the file system and of formats.
fn reaching_out(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.paths().filter(|p| p.starts_with("crates/compute/")) {
        let mentioned = NOT_IN_COMPUTE.iter().filter(|words| tree.mentions(file, words));
        found.extend(mentioned.map(|words| format!("{file}: {}", words.replace(' ', ""))));
    }
    let up = tree.references().into_iter().filter(|r| r.from.starts_with("crates/") && !r.to.starts_with("crates/"));
    found.extend(up.map(|r| told(&r)));
    found
}

/// The paths in the constant `NUMERIC` of the build script.
fn digested(build: &str) -> Vec<String> {
    listed(build, "NUMERIC")
}

/// The paths in a constant of the build script.
fn listed(build: &str, constant: &str) -> Vec<String> {
    let list =
        build.split(&format!("const {constant}:")).nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(String::from).collect()
}

/// References from the code of files within `covered`.
fn covered_by<'r>(references: &'r [Reference], covered: &[String]) -> impl Iterator<Item = &'r Reference> {
    let within = |path: &str| covered.iter().any(|c| path == c || path.starts_with(&format!("{c}/")));
    let of: Vec<&Reference> = references.iter().filter(|r| r.code && within(&r.from)).collect();
    of.into_iter()
}

/// By file, one reference to each file outside `covered` from a file within.
fn outside(references: &[Reference], covered: &[String]) -> BTreeMap<String, Reference> {
    let within = |path: &str| covered.iter().any(|c| path == c || path.starts_with(&format!("{c}/")));
    let out = covered_by(references, covered).filter(|r| !within(&r.to));
    out.map(|r| (r.to.clone(), r.clone())).collect()
}

/// Files of these folders that have code behind the first `#[cfg(test)]`, where the digest no longer reads.
fn behind_tests(root: &Path, covered: &[String]) -> Vec<String> {
    fn walk(path: &Path, found: &mut Vec<std::path::PathBuf>) {
        if path.is_dir() {
            std::fs::read_dir(path).unwrap().for_each(|e| walk(&e.unwrap().path(), found));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path.into());
        }
    }
    let mut files = Vec::new();
    covered.iter().for_each(|path| walk(&root.join(path), &mut files));
    let late = |path: &std::path::PathBuf| code_behind_tests(&std::fs::read_to_string(path).unwrap());
    files.into_iter().filter(late).map(|p| p.display().to_string()).collect()
}

/// Whether something but tests follows the first `#[cfg(test)]`.
fn code_behind_tests(text: &str) -> bool {
    let whole = |text: &str| Tree::new([("src/lib.rs".to_string(), text.to_string())]).length("src/lib.rs");
    let before = text.split("#[cfg(test)]").next().unwrap_or_default();
    whole(before) != whole(text)
}

/// A tree of these files, to break the rules in.
fn planted(files: &[(&str, &str)]) -> Tree {
    Tree::new([("src/lib.rs", "")].iter().chain(files).map(|(path, text)| (path.to_string(), text.to_string())))
}

#[test]
fn a_planted_backward_import_is_found() {
    let forms = [
        "use crate::report::Table;",
        "use crate::{report::{self, Table}};",
        "fn f() -> crate::report::Table { todo!() }",
        "use crate::report; fn f(t: report::Table) {}",
        "use super::report as r; fn f(t: r::Table) {}",
        "#[serde(with = \"crate::report::as_text\")] struct S;",
        "mod inner { use super::super::report::Table; }",
    ];
    for text in forms {
        let tree = planted(&[("src/store/mod.rs", text), ("src/report/mod.rs", "pub struct Table;")]);
        let found = backward(&tree.references());
        assert!(found.iter().any(|r| (folder(&r.from), folder(&r.to)) == ("store", "report")), "{text}: {found:?}");
    }
    let forward =
        "/* crate::store */ use crate::store::Store; // crate::cli\n#[cfg(test)] mod tests { use crate::cli; }";
    let tree = planted(&[("src/store/mod.rs", "pub struct Store;"), ("src/report/mod.rs", forward)]);
    assert_eq!(backward(&tree.references()), [], "to the left is allowed, and tests and comments do not count");
    // Left of it, and yet a stranger; and what serves all may use none.
    let tree = planted(&[("src/gpu/mod.rs", "use crate::store::S;"), ("src/store/mod.rs", "pub struct S;")]);
    assert_eq!(backward(&tree.references()).len(), 1);
    let tree = planted(&[("src/suggest.rs", "use crate::store::S;"), ("src/store/mod.rs", "pub struct S;")]);
    assert_eq!(backward(&tree.references()).len(), 1);
}

#[test]
fn a_planted_circle_is_found_through_re_exports() {
    let hub = ("src/store/mod.rs", "mod a; mod b; pub use a::A; pub use b::*;");
    let tree = planted(&[
        hub,
        ("src/store/a.rs", "use super::B; pub struct A(B);"),
        ("src/store/b.rs", "use crate::store::A; pub struct B(A);"),
    ]);
    assert_eq!(circles(&tree.references()), [["src/store/a.rs", "src/store/b.rs"]]);
    let tree =
        planted(&[hub, ("src/store/a.rs", "use super::B; pub struct A(B);"), ("src/store/b.rs", "pub struct B;")]);
    assert_eq!(circles(&tree.references()), Vec::<Vec<String>>::new(), "handing names on is no circle");
    // A folder's own code that uses a file which uses it is one.
    let tree = planted(&[
        ("src/store/mod.rs", "mod a; pub use a::A; pub struct Store; fn f(a: A) {}"),
        ("src/store/a.rs", "use super::Store; pub struct A(Store);"),
    ]);
    assert_eq!(circles(&tree.references()), [["src/store/a.rs", "src/store/mod.rs"]]);
}

#[test]
fn a_planted_module_outside_the_digest_is_found() {
    let build =
        "const NUMERIC: &[&str] =\n    &[\"crates/compute/src\", \"src/train\"];\nconst OTHER: &[&str] = &[\"x\"];";
    let covered = digested(build);
    assert_eq!(covered, ["crates/compute/src", "src/train"]);
    let tree = planted(&[
        ("src/train/mod.rs", "use crate::dataset::decode; use crate::train::step::go; use compute::rng::Rng;"),
        ("src/train/step.rs", "pub fn go() {}"),
        ("src/dataset/mod.rs", "mod half; pub use half::decode;"),
        ("src/dataset/half.rs", "pub fn decode() {}"),
        ("crates/compute/src/rng.rs", "pub struct Rng;"),
        ("crates/compute/src/lib.rs", "pub mod rng;"),
    ]);
    let found = outside(&tree.references(), &covered);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["src/dataset/half.rs"]);
    assert!(code_behind_tests("fn a() {}\n#[cfg(test)]\nmod tests {}\nfn b() {}"));
    assert!(!code_behind_tests("fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\n"));
}

#[test]
fn planted_files_and_the_program_in_the_numerics_are_found() {
    let tree = planted(&[
        ("crates/compute/src/lib.rs", "use std::fs; use unmute::store::Store;"),
        ("src/store/mod.rs", "pub struct Store;"),
    ]);
    assert_eq!(reaching_out(&tree).len(), 2);
}
