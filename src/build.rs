//! Facts about this build that runs record: the commit, the compiler, and a digest of the code that numbers depend on.

use std::path::Path;
use std::process::Command;

/// Folders and files whose code decides numbers. Comments, blanks and tests are left out of the digest, so that editing
/// them makes no finished run look outdated.
const NUMERIC: &[&str] = &[
    "src/dataset/missing.rs",
    "src/dataset/standardise.rs",
    "src/dataset/view.rs",
    "src/product.rs",
    "src/random.rs",
    "src/simd.rs",
    "src/score",
    "src/train",
    "src/runs/work.rs",
];

/// Dependencies that compute.
const NUMERIC_CRATES: &[&str] = &["dfdx", "gemm", "gemm-f32", "gemm-common", "pulp", "rand_chacha", "half"];

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=Cargo.lock");
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
    let diff = output("git", &["diff", "HEAD"]);
    let dirty =
        if diff.is_empty() { String::new() } else { blake3::hash(diff.as_bytes()).to_hex().as_str()[..16].into() };
    set("UNMUTE_DIRTY", &dirty);
    set("UNMUTE_RUSTC", &output(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()), &["--version"]));
    set("UNMUTE_TARGET", &std::env::var("TARGET").unwrap_or_default());
    set("UNMUTE_PROFILE", &std::env::var("PROFILE").unwrap_or_default());
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
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    hasher.update(path.to_string_lossy().as_bytes());
    for line in code.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
        hasher.update(line.split_whitespace().collect::<String>().as_bytes());
    }
}
