//! Facts about this build that runs record: the commit, the compiler, and a digest of the code that numbers depend on.

use std::path::Path;
use std::process::Command;

/// Folders whose code decides numbers. Comments, blanks and tests are left out of the digest, so that editing
/// them makes no finished run look outdated.
const NUMERIC: &[&str] = &[
    "crates/compute/src",
    "src/dataset",
    "src/model",
    "src/train",
    "src/score",
    "src/gpu",
    "src/device",
    "src/runs/work.rs",
];

/// Files in them that work on stored results alone: no run's numbers depend on these.
const OF_REPORTS: &[&str] = &["crates/compute/src/bootstrap.rs"];

/// Dependencies that compute.
const NUMERIC_CRATES: &[&str] = &["dfdx", "gemm", "gemm-f32", "gemm-common", "pulp", "rand_chacha", "half"];

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=crates");
    for path in ["migrations", "reports/templates", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    // A path that is not there would make cargo build again at every call.
    let git = output("git", &["rev-parse", "--git-dir"]);
    for file in ["HEAD", "logs/HEAD"] {
        let path = Path::new(&git).join(file);
        if !git.is_empty() && path.is_file() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let mut hasher = blake3::Hasher::new();
    for path in NUMERIC {
        digest(Path::new(path), &mut hasher);
    }
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    for package in lock.split("[[package]]") {
        let name = package.lines().find_map(|l| l.strip_prefix("name = ")).unwrap_or_default().trim_matches('"');
        if NUMERIC_CRATES.contains(&name) {
            let version = package.lines().find_map(|l| l.strip_prefix("version = ")).unwrap_or_default();
            hasher.update(format!("{name} {version}\n").as_bytes());
        }
    }
    set("UNMUTE_CODE", &hasher.finalize().to_hex().as_str()[..16]);
    set("UNMUTE_LOCK", &blake3::hash(lock.as_bytes()).to_hex().as_str()[..16]);
    set("UNMUTE_COMMIT", &output("git", &["rev-parse", "HEAD"]));
    let diff = uncommitted();
    let dirty =
        if diff.is_empty() { String::new() } else { blake3::hash(diff.as_bytes()).to_hex().as_str()[..16].into() };
    set("UNMUTE_DIRTY", &dirty);
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    // A build that cannot keep it only knows that there was one.
    if std::fs::write(Path::new(&out).join("dirty.diff"), diff).is_err() {
        println!("cargo::error=cannot write to {out}");
    }
    set("UNMUTE_RUSTC", &output(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()), &["--version"]));
    set("UNMUTE_TARGET", &std::env::var("TARGET").unwrap_or_default());
    set("UNMUTE_PROFILE", &std::env::var("PROFILE").unwrap_or_default());
    set("UNMUTE_OPT", &std::env::var("OPT_LEVEL").unwrap_or_default());
    set("UNMUTE_FLAGS", &std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " "));
    set("UNMUTE_TARGET_FEATURES", &std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default());
    let dfdx_cuda = std::env::var_os("CARGO_FEATURE_DFDX_CUDA").is_some();
    set("UNMUTE_FEATURES", if dfdx_cuda { "dfdx-cuda" } else { "" });
}

/// The most of a diff that is kept, in bytes.
const DIFF: usize = 256 << 10;

/// What the program is built from and no commit has: the diff, and the names of files that git does not know.
fn uncommitted() -> String {
    let built_from = ["--", "src", "crates", "migrations", "reports/templates", "Cargo.toml", "Cargo.lock"];
    let mut diff = output("git", &[&["diff", "HEAD"][..], &built_from].concat());
    let unknown = output("git", &[&["ls-files", "--others", "--exclude-standard"][..], &built_from].concat());
    for file in unknown.lines() {
        let text = std::fs::read(file).unwrap_or_default();
        diff += &format!("\nunknown to git: {file} (BLAKE3 {})", &blake3::hash(&text).to_hex().as_str()[..16]);
    }
    if diff.len() > DIFF {
        let hash = blake3::hash(diff.as_bytes()).to_hex();
        let end = (0..=DIFF).rev().find(|&i| diff.is_char_boundary(i)).unwrap_or(0);
        diff.truncate(end);
        diff += &format!("\n... cut off here; all of it has BLAKE3 {hash}");
    }
    diff
}

fn set(name: &str, value: &str) {
    println!("cargo::rustc-env={name}={value}");
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output
        .ok()
        .filter(|o| o.status.success())
        .map_or_else(String::new, |o| String::from_utf8_lossy(&o.stdout).trim().into())
}

fn digest(path: &Path, hasher: &mut blake3::Hasher) {
    if path.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort();
        for entry in entries {
            digest(&entry, hasher);
        }
        return;
    }
    if OF_REPORTS.iter().any(|file| Path::new(file) == path) {
        return;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    hasher.update(path.to_string_lossy().as_bytes());
    for line in code.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
        hasher.update(line.split_whitespace().collect::<String>().as_bytes());
    }
}
