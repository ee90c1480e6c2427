//! The kernels compiled to PTX, for the architectures that a reader is likely to have: with nvcc, from the PATH or from
//! CUDA_ROOT or CUDA_PATH. Skipped, saying so, without it.

use crate::support::require;
use std::path::{Path, PathBuf};
use std::process::Command;
use unmute::gpu::api::{KERNELS, Kernel};

/// A CUDA compiler, if there is one.
fn nvcc() -> Option<PathBuf> {
    let roots = ["CUDA_ROOT", "CUDA_PATH"].into_iter().filter_map(std::env::var_os);
    let candidates = roots.map(|root| Path::new(&root).join("bin/nvcc")).chain([PathBuf::from("nvcc")]);
    let runs = |n: &PathBuf| Command::new(n).arg("--version").output().is_ok_and(|o| o.status.success());
    require::found("nvcc", candidates.into_iter().find(runs))
}

/// PTX of a source, or what the compiler says of it.
fn ptx(nvcc: &Path, source: &str, architecture: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("kernels.cu"), dir.path().join("kernels.ptx"));
    std::fs::write(&from, source).unwrap();
    let output = Command::new(nvcc)
        .args(["--ptx", "--Werror", "all-warnings", &format!("-arch={architecture}"), "-o"])
        .args([&to, &from])
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(std::fs::read_to_string(to).unwrap()),
        false => Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))),
    }
}

#[test]
fn the_kernels_compile_for_sm_80_and_sm_90() {
    let Some(nvcc) = nvcc() else { return };
    for architecture in ["sm_80", "sm_90"] {
        let ptx = ptx(&nvcc, KERNELS, architecture).unwrap();
        assert!(ptx.contains(&format!(".target {architecture}")), "{architecture}");
        for kernel in Kernel::ALL {
            assert!(ptx.contains(&format!(".entry {}(", kernel.name())), "{} for {architecture}", kernel.name());
        }
        assert_eq!(ptx.matches(".visible .entry ").count(), Kernel::ALL.len(), "a kernel that Kernel::ALL lacks");
        // Sums and updates that happen in the order in which threads come would differ from run to run.
        assert!(!ptx.contains("atom.") && !ptx.contains("red.") && !ptx.contains(".shared"), "{architecture}");
    }
}

#[test]
fn a_kernel_that_does_not_compile_is_noticed() {
    let Some(nvcc) = nvcc() else { return };
    let spoilt = KERNELS.replace("value[n] = p -", "valve[n] = p -");
    assert_ne!(spoilt, KERNELS);
    let said = ptx(&nvcc, &spoilt, "sm_90").unwrap_err();
    assert!(said.contains("valve"), "{said}");
}
