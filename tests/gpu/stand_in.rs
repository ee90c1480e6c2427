//! The program and the GPU's own tests on a stand-in for NVIDIA's driver and cuBLAS (`stand-in/README.md`), with no GPU and no
//! toolkit: a C compiler is all that it takes. No measure of speed, and none of what NVIDIA's libraries do.

use super::end_to_end::Study;
use crate::support::numbers::{assert_close, wide};
use crate::support::{require, root};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The folder of the stand-in's libraries; `None`, said so, without a C compiler.
fn built() -> Option<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if !require::available("cc") {
        return None;
    }
    Some(BUILT.get_or_init(|| {
        // Kernels that were compiled stay for the next time.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in");
        let script = root().join("tests/gpu/stand-in/build.sh");
        let output = Command::new("sh").arg(script).arg(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    }))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn its_checks_find_each_fault_in_wrong_programs_and_none_in_right_ones() {
    let Some(stand_in) = built() else { return };
    let output = Command::new(stand_in.join("faults")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// Runs tests that wait for a GPU in a process of their own, which finds the stand-in where it looks for libraries.
fn tests_on_it(filters: &[&str]) {
    let Some(stand_in) = built() else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(filters).args(["--ignored", "--nocapture"]).env("LD_LIBRARY_PATH", stand_in);
    let output = command.output().unwrap();
    let said = said(&output);
    assert!(output.status.success() && !said.contains("running 0 tests"), "{said}");
    // It greets; where programs of their own use it, it counts for them.
    let on_it = said.contains("no GPU, but a stand-in for the CUDA driver") || said.contains("{\"faults\":0,");
    assert!(on_it, "these tests ran on something else: {said}");
}

#[test]
fn the_tests_of_a_gpu_hold() {
    tests_on_it(&["gpu::on_gpu::"]);
}

#[test]
fn a_training_waits_for_no_more_than_it_should() {
    tests_on_it(&["gpu::counts::"]);
}

#[test]
fn the_grid_trains_and_gives_way_where_memory_is_short() {
    tests_on_it(&["gpu::end_to_end::"]);
}

/// The driver's library alone, in a folder of its own; and an environment as `pip install nvidia-cublas` leaves it.
fn laid_out(stand_in: &Path, dir: &Path, wheel: &str) -> (PathBuf, PathBuf) {
    let (driver, venv) = (dir.join("driver"), dir.join("venv"));
    let packages = venv.join("lib/python3.12/site-packages");
    let library = packages.join("nvidia").join(wheel).join("lib");
    std::fs::create_dir_all(&library).unwrap();
    std::fs::create_dir_all(packages.join("numpy")).unwrap();
    std::fs::create_dir_all(&driver).unwrap();
    for file in ["libcuda.so.1", "thread.h"] {
        std::fs::copy(stand_in.join(file), driver.join(file)).unwrap();
    }
    std::os::unix::fs::symlink("libcuda.so.1", driver.join("libcuda.so")).unwrap();
    std::fs::copy(stand_in.join("libcublas.so.13"), library.join("libcublas.so.13")).unwrap();
    (driver, venv)
}

/// The environment of a program that finds the driver, and what `more` names.
struct Places {
    driver: String,
    venv: String,
    kernels: String,
}

impl Places {
    fn new(stand_in: &Path, dir: &Path, wheel: &str) -> Places {
        let (driver, venv) = laid_out(stand_in, dir, wheel);
        let text = |path: PathBuf| path.to_str().unwrap().to_string();
        Places { driver: text(driver), venv: text(venv), kernels: text(stand_in.join("stand-in-kernels")) }
    }

    /// With the driver in the loader's path, and of all that names other places nothing but `more`.
    fn env<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let unset = ["CUDA_PATH", "CUDA_HOME", "CUDA_ROOT", "VIRTUAL_ENV", "CONDA_PREFIX"].map(|name| (name, ""));
        let own = [("LD_LIBRARY_PATH", self.driver.as_str()), ("UNMUTE_STAND_IN_KERNELS", self.kernels.as_str())];
        [&unset[..], &own[..], more].concat()
    }
}

/// Whether the machine has NVIDIA's libraries of its own: then nothing is missing here.
fn has_nvidia() -> bool {
    let lists = Command::new("ldconfig").arg("-p").output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let nvidia = ["/usr/local/cuda", "/opt/cuda"].iter().any(|folder| Path::new(folder).exists());
    let wheels = unmute::python::packages_of_python3().iter().any(|packages| packages.join("nvidia").exists());
    nvidia || wheels || lists.is_ok_and(|lists| lists.contains("libcuda.so.1") || lists.contains("libcublas.so"))
}

const FEW: [&str; 5] = ["grid.audio=[vggish]", "grid.loss=[l2]", "controls=[]", "train.epochs=1", "svm.folds=2"];

#[test]
fn the_grid_trains_with_cublas_from_the_wheels_of_the_active_environment() {
    let Some(stand_in) = built() else { return };
    let study = Study::new();
    // As wheels are laid out up to CUDA 12, and from CUDA 13 on.
    for (i, wheel) in ["cublas", "cu13"].into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::new(stand_in, dir.path(), wheel);
        for (variable, value) in [("VIRTUAL_ENV", places.venv.as_str()), ("CONDA_PREFIX", places.venv.as_str())] {
            let env = places.env(&[(variable, value)]);
            let (good, out, err) = study.call(&["doctor", "--device", "cuda"], &env);
            assert!(good, "{out}{err}");
            let file = format!("site-packages/nvidia/{wheel}/lib/libcublas.so.13");
            assert!(out.contains(&format!("{variable}={value}")) && out.contains(&file), "{out}");
        }
        // No environment is active, and the Python on the PATH has the wheels.
        let python = dir.path().join("bin/python3");
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(&python, format!("#!/bin/sh\necho {}/lib/python3.12/site-packages\n", places.venv)).unwrap();
        std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        let (good, out, err) = study.call(&["doctor", "--device", "cuda"], &places.env(&[("PATH", path.as_str())]));
        assert!(good && out.contains(&format!("python3 on the PATH: {}", places.venv)), "{out}{err}");
        let env = places.env(&[("VIRTUAL_ENV", places.venv.as_str())]);
        // `auto` takes the GPU, too.
        let device = ["cuda", "auto"][i];
        let (good, said, counts) = study.grid(device, &format!("{wheel}.db"), &FEW, &env);
        assert!(good && said.contains("training on cuda:0, stand-in"), "{said}");
        let counts = counts.unwrap();
        assert!(counts["faults"] == 0 && counts["launches"].as_u64().unwrap() > 100, "{counts}");
        generates(&study, &format!("{wheel}.db"), &env);
    }
}

/// What was trained generates on the GPU what it generates on the CPU.
fn generates(study: &Study, db: &str, env: &[(&str, &str)]) {
    let run = &study.query(db, "SELECT id FROM run WHERE kind = 'generator' AND key LIKE '%/lstm/%' LIMIT 1")[0];
    let counts = study.path(&format!("{db}.generate.json"));
    let env = [env, &[("UNMUTE_STAND_IN_COUNTS", counts.to_str().unwrap())]].concat();
    let made = ["cuda", "cpu"].map(|device| {
        let out = format!("{db}-{device}");
        let args = ["generate", run["id"].as_str().unwrap(), "--dataset", "data", "--db", db, "--split", "val"];
        let (good, said, err) = study.call(&[&args[..], &["--out", &out, "--device", device]].concat(), &env);
        assert!(good, "{said}{err}");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(study.path(&out).join("features")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 200, "{} files", files.len());
        // The numbers of an .npy file of f32 behind its header.
        let numbers = |file: &PathBuf| {
            let bytes = std::fs::read(file).unwrap();
            let from = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            bytes[from..].chunks_exact(4).map(|n| f32::from_le_bytes(n.try_into().unwrap())).collect::<Vec<_>>()
        };
        files.iter().flat_map(numbers).collect::<Vec<f32>>()
    });
    assert_close("generated", &made[0], &wide(&made[1]), 1e-4);
    let counts: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(counts).unwrap()).unwrap();
    assert!(counts["kernels"]["gates_forward"].as_u64().unwrap() > 0 && counts["faults"] == 0, "{counts}");
}

#[test]
fn doctor_tells_in_order_what_it_looked_for_and_found() {
    let Some(stand_in) = built() else { return };
    let study = Study::new();
    let dir = tempfile::tempdir().unwrap();
    let places = Places::new(stand_in, dir.path(), "cublas");
    let env = places.env(&[("VIRTUAL_ENV", places.venv.as_str())]);
    let (good, out, err) = study.call(&["doctor", "--device", "cuda:0"], &env);
    assert!(good, "{out}{err}");
    let mut rest = out.as_str();
    for part in [
        &format!("driver       the loader's paths: {}/libcuda.so.1", places.driver),
        "cuda         the driver runs CUDA 13.0 and earlier",
        "gpu          cuda:0: stand-in, no GPU, compute capability 9.0",
        "cublas       the loader's paths: no libcublas.so.13",
        "CUDA_PATH: not set",
        &format!("VIRTUAL_ENV={}", places.venv),
        "version 13.0.0",
        "kernels      26, as PTX for compute capability 8.0",
        "training     ",
        "the GPU computes what the CPU does",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not, or not in its order, in\n{out}"));
        rest = &rest[at..];
    }
    let (good, out, _) = study.call(&["doctor", "--device", "cuda", "--json"], &env);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(good && told["usable"] == true && told["trial"]["losses"].as_f64().unwrap() <= 1e-4, "{told}");
    let (good, _, err) = study.call(&["doctor", "--device", "cpu"], &env);
    assert!(!good && err.contains("cuda or cuda:N"), "{err}");
}

#[test]
fn what_is_missing_is_named_and_what_to_do() {
    let Some(stand_in) = built() else { return };
    if has_nvidia() {
        return;
    }
    let study = Study::new();
    let dir = tempfile::tempdir().unwrap();
    let places = Places::new(stand_in, dir.path(), "cublas");
    let venv = ("VIRTUAL_ENV", places.venv.as_str());
    // What is set; what `cuda` says; what `auto` says of it (nothing where there is no driver).
    let cases: [(&[(&str, &str)], &[&str], &str); 6] = [
        (
            &[("LD_LIBRARY_PATH", "")],
            &["NVIDIA's driver is not to be had: the loader's paths: no libcuda.so.1", "next: install it"],
            "",
        ),
        (
            &[],
            &["cuBLAS (libcublas.so.13) is not found", "VIRTUAL_ENV: not set", "pip install nvidia-cublas in"],
            "training on the CPU: cuBLAS",
        ),
        (
            &[venv, ("UNMUTE_STAND_IN_VERSION", "12040")],
            &["libcublas.so.13 is for a newer driver: this one runs CUDA 12.4", "pip install nvidia-cublas-cu12"],
            "training on the CPU: cuBLAS",
        ),
        (
            &[venv, ("UNMUTE_STAND_IN_VERSION", "11020")],
            &["the driver runs CUDA 11.2 at most", "install a driver for CUDA 11.4"],
            "training on the CPU: the driver runs CUDA 11.2",
        ),
        (
            &[venv, ("UNMUTE_STAND_IN_COMPUTE", "75")],
            &["has compute capability 7.5, and this program needs 8.0", "Ampere"],
            "training on the CPU: GPU 0",
        ),
        (
            &[venv, ("UNMUTE_STAND_IN_MEMORY", "330000000")],
            &["memory free, and 1.0 GiB are needed", "end what else runs on it"],
            "training on the CPU: GPU 0",
        ),
    ];
    for (i, (more, words, auto)) in cases.into_iter().enumerate() {
        let env = places.env(more);
        let (good, out, err) = study.call(&["doctor", "--device", "cuda"], &env);
        assert!(!good && words.iter().all(|word| out.contains(word)), "{more:?}: {words:?}\n{out}{err}");
        let (good, said, _) = study.grid("cuda", "none.db", &FEW, &env);
        assert!(!good && said.contains("--device cuda: ") && words.iter().all(|word| said.contains(word)), "{said}");
        if i > 2 {
            continue;
        }
        let args = [&FEW[..], &["grid.generator=[autoencoder]"]].concat();
        let (good, said, _) = study.grid("auto", &format!("auto{i}.db"), &args, &env);
        assert!(good && said.contains(auto) && !said.contains("training on cuda"), "{said}");
    }
}

/// Toolkits have a `libcuda.so` to link against that does nothing; the loader may come upon it before the driver's.
#[test]
fn an_empty_library_of_the_drivers_name_is_told_from_the_driver() {
    let Some(stand_in) = built() else { return };
    let study = Study::new();
    let dir = tempfile::tempdir().unwrap();
    let places = Places::new(stand_in, dir.path(), "cublas");
    let empty = dir.path().join("stubs");
    std::fs::create_dir(&empty).unwrap();
    let source = dir.path().join("empty.c");
    std::fs::write(&source, "int cuInit(unsigned flags) { return flags != 34; }\n").unwrap();
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([empty.join("libcuda.so"), source]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let path = format!("{}:{}", empty.display(), places.driver);
    let env = places.env(&[("VIRTUAL_ENV", places.venv.as_str()), ("LD_LIBRARY_PATH", path.as_str())]);
    let (good, out, err) = study.call(&["doctor", "--device", "cuda"], &env);
    let want = format!("{}/libcuda.so under the name libcuda.so, which is not the driver's", empty.display());
    assert!(!good && out.contains(&want) && out.contains("take its folder off LD_LIBRARY_PATH"), "{out}{err}");
}

#[test]
fn the_engine_dfdx_is_the_cpus_in_a_program_without_its_cuda() {
    if unmute::device::api::HAS_DFDX_CUDA {
        return;
    }
    let Some(stand_in) = built() else { return };
    let study = Study::new();
    let dir = tempfile::tempdir().unwrap();
    let places = Places::new(stand_in, dir.path(), "cublas");
    let env = places.env(&[("VIRTUAL_ENV", places.venv.as_str())]);
    let dfdx = [&FEW[..], &["train.engine=dfdx", "grid.generator=[autoencoder]"]].concat();
    let (good, said, _) = study.grid("cuda", "cuda.db", &dfdx, &env);
    assert!(!good && said.contains("--features dfdx-cuda") && said.contains("train.engine: fused"), "{said}");
    let (good, said, _) = study.grid("auto", "auto.db", &dfdx, &env);
    assert!(good && said.contains("training on the CPU: train.engine is dfdx"), "{said}");
}
