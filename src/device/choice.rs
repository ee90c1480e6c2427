//! `--device`: what was asked for, what the machine has, and what comes of it.
//!
//! Everything here is decided from [`Found`], which [`crate::gpu::detect`] makes; so each case is tested without a GPU.

use super::api::NO_DFDX;
use super::select::Which;
use crate::gpu::memory::gib;
use crate::gpu::probe::{Found, Gpu, LEAST_COMPUTE, LEAST_CUDA, LEAST_FREE, Wanted};

/// Where to train, and what a user should know of the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// A GPU's number; `None` is the CPU.
    pub gpu: Option<usize>,
    /// A line for the user, if there is something to say.
    pub say: Option<String>,
}

impl Choice {
    /// The chosen device.
    pub fn device(&self) -> Which {
        self.gpu.map_or(Which::Cpu, Which::Cuda)
    }

    /// The same for runs of `train.engine: dfdx`, whose own CUDA only some programs have: `auto` is the CPU in the others.
    pub fn of_dfdx(self, wanted: Wanted, built: bool) -> Result<Choice, String> {
        match (self.gpu, wanted) {
            (Some(_), Wanted::Auto) if !built => Ok(Choice {
                gpu: None,
                say: Some(
                    "training on the CPU: train.engine is dfdx, and this program was built without dfdx's CUDA".into(),
                ),
            }),
            (Some(_), _) if !built => Err(format!("--device {wanted}: {NO_DFDX}, or use --device cpu")),
            _ => Ok(self),
        }
    }

    /// The same for runs all of whose generators round the factors of their products, which the CPU alone does: `auto` is the CPU.
    pub fn of_rounded(self, wanted: Wanted) -> Choice {
        match (self.gpu, wanted) {
            (Some(_), Wanted::Auto) => Choice {
                gpu: None,
                say: Some("training on the CPU: the GPU has no kernels for lstm.precision: bf16".into()),
            },
            _ => self,
        }
    }
}

/// Chooses; an error says what is missing, where, and what to do.
pub fn choose(wanted: Wanted, found: &Found) -> Result<Choice, String> {
    let cpu = |say: Option<String>| Ok(Choice { gpu: None, say });
    if wanted == Wanted::Cpu {
        return cpu(None);
    }
    let usable = usable(wanted, found);
    match (usable, wanted) {
        (Ok((ordinal, gpu)), _) => {
            let say = format!("training on cuda:{ordinal}, {} ({} free)", gpu.name, gib(gpu.free_bytes));
            Ok(Choice { gpu: Some(ordinal), say: Some(say) })
        }
        // Nobody who has no GPU wants to read about it; somebody who has one does.
        (Err(_), Wanted::Auto) if matches!(found, Found::NotLooked | Found::NoLibrary(_)) => cpu(None),
        (Err(why), Wanted::Auto) => {
            let why = why.lines().next().unwrap_or_default().to_string();
            cpu(Some(format!("training on the CPU: {why}")))
        }
        (Err(why), _) => Err(format!("--device {wanted}: {why}, or use --device cpu")),
    }
}

/// The GPU that is asked for, or the first that will do; or why there is none.
fn usable(wanted: Wanted, found: &Found) -> Result<(usize, &Gpu), String> {
    let (runs, gpus, cublas) = match found {
        Found::NotLooked => return Err("nobody looked for a GPU".into()),
        Found::NoLibrary(says) => {
            return Err(format!(
                "NVIDIA's driver is not to be had: {says}\n  next: install it (`nvidia-smi` should list the GPU; `unmute doctor --device cuda` tells where it was looked for)"
            ));
        }
        Found::NoDriver(says) => {
            return Err(format!("NVIDIA's driver does not start: {says}\n  next: see that `nvidia-smi` works"));
        }
        Found::Driver { runs, gpus, cublas } => (runs, gpus, cublas),
    };
    if gpus.is_empty() {
        return Err("the driver knows no GPU\n  next: see what `nvidia-smi` and CUDA_VISIBLE_DEVICES say".into());
    }
    if *runs < LEAST_CUDA {
        return Err(format!(
            "the driver runs CUDA {runs} at most, and this program needs {LEAST_CUDA}\n  next: install a driver for CUDA {LEAST_CUDA} or later"
        ));
    }
    let check = |ordinal: usize, gpu: &Gpu| -> Result<(), String> {
        let at = format!("GPU {ordinal} ({})", gpu.name);
        if gpu.compute < LEAST_COMPUTE {
            let ((major, minor), (needs, needs_minor)) = (gpu.compute, LEAST_COMPUTE);
            return Err(format!(
                "{at} has compute capability {major}.{minor}, and this program needs {needs}.{needs_minor}\n  next: use a GPU of 2020 or later (NVIDIA's Ampere and what followed)"
            ));
        }
        if gpu.free_bytes < LEAST_FREE {
            return Err(format!(
                "{at} has {} of memory free, and {} are needed\n  next: end what else runs on it (`nvidia-smi` lists it)",
                gib(gpu.free_bytes),
                gib(LEAST_FREE)
            ));
        }
        cublas.as_ref().map(drop).map_err(Clone::clone)
    };
    if let Wanted::Cuda(Some(ordinal)) = wanted {
        let last = gpus.len() - 1;
        let gpu = gpus.get(ordinal).ok_or_else(|| {
            let has = if last == 0 {
                "one GPU, cuda:0".into()
            } else {
                format!("{} GPUs, cuda:0 to cuda:{last}", gpus.len())
            };
            format!("there is no GPU {ordinal}; the machine has {has}\n  next: choose one of these")
        })?;
        return check(ordinal, gpu).map(|()| (ordinal, gpu));
    }
    let mut first = None;
    for (ordinal, gpu) in gpus.iter().enumerate() {
        match check(ordinal, gpu) {
            Ok(()) => return Ok((ordinal, gpu)),
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.unwrap_or_default())
}

/// What the record of a run tells of its GPU, by the device's name; nothing for the CPU.
pub fn facts(device: &str, found: &Found) -> Option<serde_json::Value> {
    let Some(Wanted::Cuda(ordinal)) = Wanted::parse(device) else { return None };
    let Found::Driver { runs, gpus, cublas } = found else { return None };
    let gpu = gpus.get(ordinal.unwrap_or(0))?;
    Some(serde_json::json!({
        "name": gpu.name,
        "compute_capability": format!("{}.{}", gpu.compute.0, gpu.compute.1),
        "memory_bytes": gpu.memory_bytes,
        "free_bytes": gpu.free_bytes,
        "driver_runs_cuda": runs.to_string(),
        "cublas": cublas.as_ref().ok().map(|cublas| &cublas.version),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::probe::{Blas, Version};

    fn gpu(compute: (u32, u32), free_gib: u64) -> Gpu {
        Gpu { name: "NVIDIA H200".into(), compute, memory_bytes: 141 << 30, free_bytes: free_gib << 30 }
    }

    fn driver(runs: Version, gpus: Vec<Gpu>) -> Found {
        let cublas = Ok(Blas { version: "12.4.5".into(), file: "libcublas.so.12".into() });
        Found::Driver { runs, gpus, cublas }
    }

    #[test]
    fn the_flag_is_read_or_refused() {
        for (text, wanted) in [
            ("auto", Some(Wanted::Auto)),
            ("cpu", Some(Wanted::Cpu)),
            ("cuda", Some(Wanted::Cuda(None))),
            ("cuda:0", Some(Wanted::Cuda(Some(0)))),
            ("cuda:12", Some(Wanted::Cuda(Some(12)))),
            ("cuda:", None),
            ("cuda:+1", None),
            ("cuda:-1", None),
            ("cuda:1x", None),
            ("gpu", None),
            ("CUDA", None),
        ] {
            assert_eq!(Wanted::parse(text), wanted, "{text}");
            if let Some(wanted) = wanted {
                assert_eq!(wanted.to_string(), text);
            }
        }
    }

    #[test]
    fn every_case_has_its_outcome() {
        let new = Version(13, 0);
        let library = Found::NoLibrary("libcuda.so.1 is nowhere".into());
        let no_cublas =
            Found::Driver { runs: new, gpus: vec![gpu((9, 0), 100)], cublas: Err("cuBLAS is gone\n  next: x".into()) };
        // What is found; what `auto` says (None: nothing) and which GPU it takes; what `cuda` takes or says.
        type Case<'a> = (Found, Option<usize>, Option<&'a str>, Result<usize, &'a str>);
        let cases: [Case; 10] = [
            (Found::NotLooked, None, None, Err("nobody looked")),
            (library, None, None, Err("libcuda.so.1 is nowhere")),
            (no_cublas, None, Some("on the CPU: cuBLAS is gone"), Err("cuBLAS is gone")),
            (Found::NoDriver("error 999".into()), None, Some("does not start: error 999"), Err("error 999")),
            (driver(new, vec![]), None, Some("knows no GPU"), Err("CUDA_VISIBLE_DEVICES")),
            (
                driver(Version(11, 2), vec![gpu((9, 0), 100)]),
                None,
                Some("CUDA 11.2 at most"),
                Err("install a driver for CUDA 11.4"),
            ),
            (driver(new, vec![gpu((7, 5), 100)]), None, Some("capability 7.5"), Err("needs 8.0")),
            (driver(new, vec![gpu((9, 0), 0)]), None, Some("0.0 MiB of memory free"), Err("end what else runs")),
            (driver(new, vec![gpu((9, 0), 100)]), Some(0), Some("cuda:0, NVIDIA H200 (100.0 GiB free)"), Ok(0)),
            (
                driver(Version(12, 4), vec![gpu((7, 0), 9), gpu((9, 0), 0), gpu((8, 0), 9)]),
                Some(2),
                Some("cuda:2"),
                Ok(2),
            ),
        ];
        for (found, gpu, say, cuda) in cases {
            assert_eq!(choose(Wanted::Cpu, &found), Ok(Choice { gpu: None, say: None }));
            let auto = choose(Wanted::Auto, &found).unwrap();
            assert_eq!(auto.gpu, gpu, "{found:?}");
            match say {
                None => assert_eq!(auto.say, None, "{found:?}"),
                Some(part) => assert!(auto.say.as_ref().is_some_and(|s| s.contains(part)), "{:?}", auto.say),
            }
            match (choose(Wanted::Cuda(None), &found), cuda) {
                (Ok(choice), Ok(ordinal)) => assert_eq!(choice.gpu, Some(ordinal)),
                (Err(message), Err(part)) => {
                    assert!(message.starts_with("--device cuda: ") && message.contains(part), "{message}");
                    assert!(
                        found == Found::NotLooked
                            || message.contains("\n  next: ") && message.ends_with("or use --device cpu"),
                        "{message}"
                    );
                }
                (got, want) => panic!("{found:?}: {got:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn a_number_is_taken_at_its_word() {
        let two = driver(Version(12, 4), vec![gpu((9, 0), 0), gpu((8, 6), 20)]);
        assert_eq!(choose(Wanted::Cuda(Some(1)), &two).unwrap().gpu, Some(1));
        let busy = choose(Wanted::Cuda(Some(0)), &two).unwrap_err();
        assert!(busy.contains("GPU 0") && busy.contains("memory free"), "{busy}");
        let none = choose(Wanted::Cuda(Some(2)), &two).unwrap_err();
        assert!(none.contains("no GPU 2") && none.contains("2 GPUs, cuda:0 to cuda:1"), "{none}");
        let one = driver(Version(12, 4), vec![gpu((9, 0), 50)]);
        assert!(choose(Wanted::Cuda(Some(7)), &one).unwrap_err().contains("one GPU, cuda:0"));
    }

    #[test]
    fn the_record_tells_of_the_gpu_that_was_used() {
        let found = driver(Version(13, 0), vec![gpu((8, 0), 1), gpu((9, 0), 2)]);
        let told = facts("cuda:1", &found).unwrap();
        assert_eq!((&told["name"], &told["compute_capability"]), (&"NVIDIA H200".into(), &"9.0".into()));
        assert_eq!((&told["free_bytes"], &told["driver_runs_cuda"]), (&(2u64 << 30).into(), &"13.0".into()));
        assert_eq!(told["cublas"], "12.4.5");
        assert_eq!(facts("cpu", &found), None);
        assert_eq!(facts("cuda:2", &found), None);
        assert_eq!(facts("cuda:0", &Found::NotLooked), None);
    }

    #[test]
    fn the_engine_dfdx_has_a_gpu_only_in_programs_that_were_built_for_it() {
        let gpu = || Choice { gpu: Some(0), say: None };
        let cpu = Choice { gpu: None, say: None };
        assert_eq!(gpu().of_dfdx(Wanted::Auto, true), Ok(gpu()));
        assert_eq!(cpu.clone().of_dfdx(Wanted::Cpu, false), Ok(cpu));
        assert_eq!((gpu().of_rounded(Wanted::Auto).gpu, gpu().of_rounded(Wanted::Cuda(None))), (None, gpu()));
        let auto = gpu().of_dfdx(Wanted::Auto, false).unwrap();
        assert!(auto.gpu.is_none() && auto.say.is_some_and(|say| say.contains("built without dfdx's CUDA")));
        let said = gpu().of_dfdx(Wanted::Cuda(None), false).unwrap_err();
        assert!(said.contains("\n  next: ") && said.contains("--features dfdx-cuda"), "{said}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(Version::of_number(12040), Version(12, 4));
        assert!(Version(12, 10) > Version(12, 9) && Version(13, 0) > Version(12, 10));
    }
}
