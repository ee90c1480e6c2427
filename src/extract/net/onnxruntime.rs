//! ONNX Runtime, loaded from its shared library when it is wanted: Python's wheel `onnxruntime` or `onnxruntime-gpu`
//! brings one, so does Microsoft's archive.

use super::network::{Device, Network, Outputs};
use crate::extract::error::Error;
use crate::python;
use ort::environment::Environment;
use ort::ep::CUDA;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::TensorRef;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The loaded library. A process has one.
#[derive(Clone)]
pub struct Library {
    environment: Environment,
    /// Where it was found.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("path", &self.path).field("version", &self.version).finish()
    }
}

static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    /// Loads the library at a path (the file, or a folder that holds it), or the first one found.
    pub fn load(path: Option<&Path>) -> Result<Library, Error> {
        let mut loaded = LOADED.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(library) = &*loaded {
            return Ok(library.clone());
        }
        let path = match path {
            Some(path) => in_folder(path).ok_or_else(|| Error::Runtime {
                message: format!("--runtime onnxruntime={}: no libonnxruntime.so there", path.display()),
            })?,
            None => find().ok_or_else(|| Error::Runtime {
                message: "networks run on ONNX Runtime, whose library was not found (looked at ORT_DYLIB_PATH, the active \
                          Python environment and the system's libraries)\n  next: pip install onnxruntime    (onnxruntime-gpu for \
                          --device cuda); or name its file, --runtime onnxruntime=PATH/libonnxruntime.so"
                    .into(),
            })?,
        };
        let failed = |e: String| Error::Runtime {
            message: format!("{}: cannot be used: {e}\n  next: pip install --upgrade onnxruntime", path.display()),
        };
        let builder = ort::init_from(&path).map_err(|e| failed(e.to_string()))?;
        let environment =
            builder.with_name("unmute").with_telemetry(false).build().map_err(|e| failed(e.to_string()))?;
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        let version = version(&path);
        let library = Library { environment, path: path.clone(), version };
        *loaded = Some(library.clone());
        Ok(library)
    }

    pub(super) fn network(
        &self,
        bytes: &[u8],
        file: Option<&Path>,
        outputs: &[String],
        device: Device,
    ) -> Result<Box<dyn Network>, String> {
        let session = self.session(bytes, file, device).map_err(|e| match device {
            Device::Cpu => e.clone(),
            Device::Cuda(_) => format!(
                "{e}\n  next: pip install onnxruntime-gpu, with the CUDA and cuDNN that it names, or --device cpu"
            ),
        })?;
        let [input] = session.inputs() else {
            return Err(format!("it takes {} inputs, not one", session.inputs().len()));
        };
        let input = input.name().to_string();
        let first = outputs.iter().fold(OutputSelector::no_default(), |chosen, name| chosen.with(name.clone()));
        let options = RunOptions::new().map_err(|e| e.to_string())?.with_outputs(first);
        Ok(Box::new(Loaded { session, input, outputs: outputs.to_vec(), options }))
    }

    fn session(&self, bytes: &[u8], file: Option<&Path>, device: Device) -> Result<Session, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let mut builder = Session::builder(&self.environment)
            .map_err(|e| text(&e))?
            .with_optimization_level(GraphOptimizationLevel::Level3)
            .map_err(|e| text(&e))?
            // Workers share the cores; a network has one of them.
            .with_intra_threads(1)
            .map_err(|e| text(&e))?
            .with_inter_threads(1)
            .map_err(|e| text(&e))?;
        if let Device::Cuda(n) = device {
            let cuda = CUDA::default().with_device_id(n as i32).with_tf32(false).build().error_on_failure();
            builder = builder.with_execution_providers([cuda]).map_err(|e| text(&e))?;
        }
        // By path where nothing was changed: weights may lie in files beside it.
        match file {
            Some(file) => builder.commit_from_file(file),
            None => builder.commit_from_memory(bytes),
        }
        .map_err(|e| text(&e))
    }
}

struct Loaded {
    session: Session,
    input: String,
    outputs: Vec<String>,
    options: RunOptions<ort::session::HasSelectedOutputs>,
}

impl Network for Loaded {
    fn run(&mut self, shape: &[usize], input: &[f32]) -> Result<Outputs, String> {
        let text = |e: ort::Error| e.to_string();
        let tensor = TensorRef::from_array_view((shape.to_vec(), input)).map_err(text)?;
        let results =
            self.session.run_with_options(ort::inputs![self.input.as_str() => tensor], &self.options).map_err(text)?;
        let take = |name: &String| {
            let value = results.get(name).ok_or_else(|| format!("it gave no output {name:?}"))?;
            let (shape, numbers) = value.try_extract_tensor::<f32>().map_err(text)?;
            Ok((shape.iter().map(|&n| n as usize).collect(), numbers.to_vec()))
        };
        self.outputs.iter().map(take).collect()
    }
}

/// `libonnxruntime.so.1.20.0` says its version; else the library's build information does, in part.
fn version(path: &Path) -> String {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let name = real.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match name.split_once(".so.") {
        Some((_, version)) if version.contains('.') => version.into(),
        _ => {
            let info = ort::info();
            let branch = info.split("git-branch=").nth(1).and_then(|b| b.split([',', ' ']).next()).unwrap_or("unknown");
            branch.trim_start_matches("rel-").into()
        }
    }
}

/// The library at a path, or in a folder or a wheel's folder at that path.
fn in_folder(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.into());
    }
    [path.to_path_buf(), path.join("capi"), path.join("onnxruntime/capi"), path.join("lib")].iter().find_map(|folder| {
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).collect();
        names.sort();
        names.into_iter().rev().find(|p| {
            let name = p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.") || name.ends_with("onnxruntime.dylib")
        })
    })
}

/// `ORT_DYLIB_PATH`, the active Python environment, the Python on the path, the system's libraries.
fn find() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(path) = set("ORT_DYLIB_PATH") {
        return in_folder(&path);
    }
    let environments = python::ENVIRONMENTS.into_iter().filter_map(set);
    let packages = environments.flat_map(|root| python::site_packages(&root));
    if let Some(path) = packages.filter_map(|p| in_folder(&p.join("onnxruntime"))).next() {
        return Some(path);
    }
    let ask = "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0] if s else '')";
    for python in ["python3", "python"] {
        let mut command = Command::new(python);
        let output = command.args(["-c", ask]).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let said = output.ok().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default();
        if !said.is_empty()
            && let Some(path) = in_folder(Path::new(&said))
        {
            return Some(path);
        }
    }
    let machine = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    ["/usr/local/lib", "/usr/lib", "/usr/lib64", &machine].iter().find_map(|folder| in_folder(Path::new(folder)))
}
