//! What a test needs and a machine may lack. A test that is skipped for it says so, past the test harness's capture; where
//! the environment's UNMUTE_REQUIRE names the thing (`UNMUTE_REQUIRE=cc,browser`), the test fails instead.

use std::io::Write;
use std::path::PathBuf;

/// Everything that can be required, and what it is.
const THINGS: &[(&str, &str)] = &[
    (
        "arm",
        "a rustc that knows aarch64-unknown-linux-gnu, aarch64-linux-gnu-gcc and qemu-aarch64 (`.ci/run` has Debian's packages of them)",
    ),
    ("browser", "Chromium on the PATH, and `npm ci --prefix tests/browser`"),
    ("cc", "a C compiler, cc"),
    ("deny", "cargo-deny on the PATH (`just test` looks at it, no test of this program)"),
    ("dist", "the example `dist`, which `cargo test` builds with all other targets"),
    ("duckdb", "a Python with duckdb: UNMUTE_PYTHON, or python3"),
    ("ffmpeg", "ffmpeg, which reads and makes videos"),
    ("mount", "the right to mount a small file system"),
    ("namespaces", "the right to make a PID namespace (unshare --pid)"),
    ("nvcc", "a CUDA compiler, on the PATH, in CUDA_ROOT or in CUDA_PATH"),
    ("onnxruntime", "ONNX Runtime's library (pip install onnxruntime)"),
    ("pandas", "a Python with pandas: UNMUTE_PYTHON, or python3"),
    ("polars", "a Python with polars: UNMUTE_PYTHON, or python3"),
    ("python3", "Python 3"),
    ("shared", "real features and reference outputs, ../shared or the folder UNMUTE_SHARED"),
    ("torch", "a Python with torch, onnxruntime and safetensors: UNMUTE_PYTHON, or python3"),
    ("slurm", "root, and Debian's slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge"),
    ("snakemake", "Snakemake on the PATH (pip install snakemake)"),
    ("sshfs", "sshfs, an SFTP server and the right to mount (apt-get install sshfs openssh-sftp-server)"),
    ("stand-in", "the stand-in for NVIDIA's driver (tests/gpu/stand_in.rs)"),
    ("user", "a user other than root who may call the program"),
];

/// A program that a test needs, such as `available("cc")`: whether it is on the PATH.
#[track_caller]
pub fn available(program: &str) -> bool {
    found(program, on_path(program)).is_some()
}

/// Hands on what was found of a thing; where nothing was, says that the test is skipped, or fails if the thing is required.
#[track_caller]
pub fn found<T>(thing: &str, found: Option<T>) -> Option<T> {
    let Some((_, what)) = THINGS.iter().find(|(name, _)| *name == thing) else {
        panic!("{thing} is not among the THINGS of tests/support/require.rs");
    };
    if found.is_none() {
        assert!(!required().iter().any(|r| r == thing), "UNMUTE_REQUIRE names {thing}, and it is not there: {what}");
        let test = std::thread::current().name().unwrap_or("a test").to_string();
        // Not eprintln!, which the harness keeps to itself when a test passes.
        let _ = writeln!(std::io::stderr(), "skipped: {test} needs {what} ({thing})");
    }
    found
}

/// Where a program is on the PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn required() -> Vec<String> {
    let names = std::env::var("UNMUTE_REQUIRE").unwrap_or_default();
    names.split(',').map(|n| n.trim().to_string()).filter(|n| !n.is_empty()).collect()
}

#[test]
fn what_is_required_exists() {
    for name in required() {
        assert!(THINGS.iter().any(|(thing, _)| *thing == name), "UNMUTE_REQUIRE names {name}; there are {THINGS:?}");
    }
}

#[test]
fn what_is_there_is_handed_on_and_a_thing_that_nobody_knows_is_a_mistake() {
    assert_eq!(found("shared", Some(3)), Some(3));
    assert!(std::panic::catch_unwind(|| found("shered", Some(3))).is_err());
    assert_eq!(on_path("no-such-program-anywhere"), None);
}
