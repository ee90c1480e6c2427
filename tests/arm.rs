//! The numerics on ARM, where vectors are NEON's: compiled for it and run under QEMU.

use crate::support::require::{found, on_path};
use crate::support::root;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// A compiler that has the target's standard library: the one that builds this test where its owner added the target to it, or
/// Debian's.
fn compiler() -> Option<PathBuf> {
    on_path("aarch64-linux-gnu-gcc").and(on_path("qemu-aarch64"))?;
    let knows = |rustc: &PathBuf| {
        let told = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
        told.is_ok_and(|told| Path::new(String::from_utf8_lossy(&told.stdout).trim()).is_dir())
    };
    on_path("rustc").into_iter().chain([PathBuf::from("/usr/bin/rustc")]).find(knows)
}

#[test]
fn the_numerics_hold_with_neon() {
    let Some(rustc) = found("arm", compiler()) else { return };
    for (vectors, level) in [("", "Neon"), ("scalar", "Scalar")] {
        let said = of_the_numerics(&rustc, vectors);
        assert!(said.contains(&format!("vectors: {level}")), "{said}");
    }
}

/// What the tests of the numerics say, and that they pass.
fn of_the_numerics(rustc: &Path, vectors: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--locked", "--package", "unmute-compute", "--lib", "--target", TARGET, "--target-dir"]);
    cargo.arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("arm")).args(["--", "--show-output"]).current_dir(root());
    cargo.env("RUSTC", rustc).env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    // QEMU has been seen to hang with a C library of ARM's beside it. With its own inside, the program needs none.
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "timeout 600 qemu-aarch64");
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static -Dwarnings");
    let output = cargo.env_remove("RUSTFLAGS").env("UNMUTE_SIMD", vectors).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.into_owned()
}
