//! The PTX that every build carries: that it was made of the sources as they are, and where nvcc is (on the PATH, in CUDA_ROOT
//! or CUDA_PATH), that nvcc makes it. `just ptx` writes it anew.

use crate::support::require;
use std::path::{Path, PathBuf};
use std::process::Command;
use unmute::gpu::api::{Kernel, Source};
use unmute::gpu::kernels::{SHARED, SOURCES};

/// PTX of the first version that knows compute capability 8.0: every driver reads it whose CUDA is 11.0 or later. nvcc names
/// its own version, which asks for its own driver, whatever a kernel needs.
const VERSION: &str = ".version 7.0";

/// A CUDA compiler, if there is one.
fn nvcc() -> Option<PathBuf> {
    require::found("nvcc", find("nvcc"))
}

/// A program of a CUDA toolkit.
fn find(program: &str) -> Option<PathBuf> {
    let roots = ["CUDA_ROOT", "CUDA_PATH"].into_iter().filter_map(std::env::var_os);
    let candidates = roots.map(|root| Path::new(&root).join("bin").join(program)).chain([PathBuf::from(program)]);
    let runs = |n: &PathBuf| Command::new(n).arg("--version").output().is_ok_and(|o| o.status.success());
    candidates.into_iter().find(runs)
}

/// `13.0` of `nvcc --version`.
fn release(nvcc: &Path) -> String {
    let output = Command::new(nvcc).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split("release ").nth(1).and_then(|rest| rest.split(',').next()).unwrap().into()
}

/// The first lines of a source's PTX: what it is of, and what made it.
fn header(source: &Source, release: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(SHARED.as_bytes());
    hasher.update(source.cuda.as_bytes());
    let hash = &hasher.finalize().to_hex()[..32];
    format!(
        "// Made by `just ptx`; not to be edited.\n// {}.cu and thread.cuh: BLAKE3 {hash}\n// nvcc {release}, compute capability 8.0\n",
        source.name
    )
}

/// PTX of a text, for a capability; or what the compiler says of it.
fn compile(nvcc: &Path, text: &str, capability: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("kernels.cu"), dir.path().join("kernels.ptx"));
    std::fs::write(dir.path().join("thread.cuh"), SHARED).unwrap();
    std::fs::write(&from, text).unwrap();
    let output = Command::new(nvcc)
        .args(["--ptx", "--Werror", "all-warnings", &format!("-arch=compute_{capability}"), "-o"])
        .args([&to, &from])
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(std::fs::read_to_string(to).unwrap()),
        false => Err(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))),
    }
}

/// What belongs into a source's `.ptx`.
fn made(nvcc: &Path, source: &Source) -> String {
    let text = compile(nvcc, source.cuda, "80").unwrap_or_else(|says| panic!("{}.cu: {says}", source.name));
    let lines = text.lines().filter(|line| !line.starts_with("//"));
    let lines = lines.map(|line| if line.starts_with(".version ") { VERSION } else { line });
    let body: Vec<&str> = lines.skip_while(|line| line.is_empty()).collect();
    format!("{}\n{}\n", header(source, &release(nvcc)), body.join("\n").trim_end())
}

/// Writes the files where `UNMUTE_PTX=write`: `just ptx`.
#[test]
fn the_ptx_is_what_nvcc_makes_of_the_sources() {
    let write = std::env::var("UNMUTE_PTX").is_ok_and(|word| word == "write");
    let Some(nvcc) = nvcc() else {
        assert!(!write, "just ptx needs nvcc");
        return;
    };
    for source in &SOURCES {
        let made = made(&nvcc, source);
        if write {
            let file = crate::support::root().join("src/gpu/kernels").join(format!("{}.ptx", source.name));
            std::fs::write(file, made).unwrap();
        } else if source.ptx.starts_with(&header(source, &release(&nvcc))) {
            assert!(source.ptx == made, "{}.ptx is not what nvcc makes: just ptx", source.name);
        } else {
            eprintln!("{}.ptx is another nvcc's than {}", source.name, release(&nvcc));
        }
    }
}

#[test]
fn the_ptx_is_of_the_sources_as_they_are() {
    for source in &SOURCES {
        let release = source.ptx.lines().find_map(|line| line.strip_prefix("// nvcc ")).unwrap_or_default();
        let release = release.split(',').next().unwrap_or_default();
        assert!(
            source.ptx.starts_with(&header(source, release)),
            "src/gpu/kernels/{0}.cu or thread.cuh was changed, and {0}.ptx was not made anew: just ptx (needs nvcc)",
            source.name
        );
        let ptx: String = source.ptx.lines().filter(|line| !line.starts_with("//")).collect();
        assert!(ptx.contains(VERSION) && ptx.contains(".target sm_80"), "{}", source.name);
        for kernel in source.kernels {
            assert!(ptx.contains(&format!(".entry {}(", kernel.name)), "{}", kernel.name);
        }
        assert_eq!(ptx.matches(".visible .entry ").count(), source.kernels.len(), "{}", source.name);
        // Sums and updates that happen in the order in which threads come would differ from run to run.
        assert!(!ptx.contains("atom.") && !ptx.contains("red.") && !ptx.contains(".shared"), "{}", source.name);
    }
}

/// Types, without `const`, and names of what a kernel of a `.cu` takes.
fn declared(source: &Source, kernel: &Kernel) -> Vec<(String, String)> {
    let text = source.cuda.split(&format!("KERNEL {}(", kernel.name)).nth(1).unwrap();
    let list = text.split(')').next().unwrap();
    let parameter = |text: &str| {
        let text = text.trim().strip_prefix("const ").unwrap_or(text.trim()).to_string();
        let from = text.rfind([' ', '*']).unwrap() + 1;
        (text[..from].trim().to_string(), text[from..].to_string())
    };
    list.split(',').map(parameter).collect()
}

#[test]
fn kernels_are_launched_with_the_parameters_that_their_sources_declare() {
    let mut names = std::collections::HashSet::new();
    for source in &SOURCES {
        assert_eq!(source.cuda.matches("\nKERNEL ").count(), source.kernels.len(), "{}.cu", source.name);
        for kernel in source.kernels {
            let ours: Vec<_> = kernel.parameters.iter().map(|(t, name)| (t.to_string(), name.to_string())).collect();
            assert_eq!(ours, declared(source, kernel), "{}", kernel.name);
            assert!(names.insert(kernel.name), "two kernels {}", kernel.name);
        }
    }
}

/// Whether a GPU's assembler takes the PTX, for the oldest GPUs that it is for and for those that came after.
#[test]
fn every_gpu_from_compute_capability_8_on_takes_the_ptx() {
    let Some(ptxas) = require::found("nvcc", find("ptxas")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let known = Command::new(&ptxas).arg("--help").output().unwrap();
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    for source in &SOURCES {
        let from = dir.path().join("kernels.ptx");
        std::fs::write(&from, source.ptx).unwrap();
        for gpu in ["sm_80", "sm_86", "sm_90", "sm_100", "sm_120"].into_iter().filter(|gpu| known.contains(gpu)) {
            let output = Command::new(&ptxas).args(["-arch", gpu, "-o", "/dev/null"]).arg(&from).output().unwrap();
            assert!(output.status.success(), "{} for {gpu}: {}", source.name, String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn a_kernel_that_does_not_compile_is_noticed() {
    let Some(nvcc) = nvcc() else { return };
    let adam = SOURCES.iter().find(|source| source.name == "adam").unwrap();
    let spoilt = adam.cuda.replace("value[n] = p -", "valve[n] = p -");
    assert_ne!(spoilt, adam.cuda);
    let said = compile(&nvcc, &spoilt, "90").unwrap_err();
    assert!(said.contains("valve"), "{said}");
}
