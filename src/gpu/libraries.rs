//! NVIDIA's libraries, looked for when a GPU is wanted: nothing of theirs is linked, so one program runs everywhere.
//!
//! The driver's `libcuda.so.1` is where the loader looks. cuBLAS comes with a CUDA toolkit, with Conda, or with the wheels
//! that PyTorch installs; its major version has to be one that the driver runs.

use super::probe::{Looked, Search};
use crate::python;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};
use std::ffi::{CStr, OsStr, OsString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An open library, which stays open as long as the process.
pub struct Opened {
    library: Library,
    /// Its file.
    pub file: PathBuf,
}

impl Opened {
    /// A function of it; an error names what is missing.
    ///
    /// # Safety
    /// The function has the type `T`, a pointer to a function.
    pub unsafe fn get<T: Copy>(&self, name: &str) -> Result<T, String> {
        // SAFETY: the caller's promise.
        let found: Result<Symbol<T>, _> = unsafe { self.library.get(name.as_bytes()) };
        found.map(|symbol| *symbol).map_err(|_| format!("{} has no {name}", self.file.display()))
    }

    /// Where a function of it begins.
    pub fn address(&self, name: &str) -> Result<usize, String> {
        // SAFETY: every function is a pointer, and is not called here.
        unsafe { self.get::<*const c_void>(name) }.map(|function| function as usize)
    }
}

/// A place where libraries may be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Where the system's loader looks: `LD_LIBRARY_PATH` and what `ldconfig -p` lists.
    Loader,
    /// Folders, and who named them.
    Folders { name: String, folders: Vec<PathBuf> },
    /// A variable that is not set.
    Unset(&'static str),
    /// The packages of the `python3` that is on the PATH, which is asked for them.
    Python,
}

/// The driver's library.
pub fn driver() -> (Search, Option<Opened>) {
    let folders = ["/usr/lib/wsl/lib", "/run/opengl-driver/lib"].map(PathBuf::from).to_vec();
    // Where Windows' Linux and NixOS have it.
    let others = Place::Folders { name: "/usr/lib/wsl/lib, /run/opengl-driver/lib".into(), folders };
    look("libcuda.so.1", "cuInit", &["libcuda.so.1".into()], &[Place::Loader, others])
}

/// cuBLAS for a driver that runs CUDA `major`: of this major version or an older one.
pub fn cublas(major: u32) -> (Search, Option<Opened>) {
    let places = cublas_places(&|name| std::env::var_os(name));
    let names: Vec<String> = (11..=major).rev().map(file_name).collect();
    let look = |names: &[String]| look("cuBLAS", "cublasCreate_v2", names, &places);
    let (mut search, found) = look(&names);
    if found.is_none() {
        let newer: Vec<String> = (major + 1..major + 4).map(file_name).collect();
        search.newer = look(&newer).1.map(|opened| opened.file);
    }
    (search, found)
}

fn file_name(major: u32) -> String {
    format!("libcublas.so.{major}")
}

/// Places in their order, as the environment has them.
fn cublas_places(set: &dyn Fn(&str) -> Option<OsString>) -> Vec<Place> {
    let set = |name: &'static str| set(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let toolkit = |root: &Path| ["lib64", "lib", "lib/x86_64-linux-gnu"].map(|sub| root.join(sub)).to_vec();
    let mut places = vec![Place::Loader];
    for name in ["CUDA_PATH", "CUDA_HOME", "CUDA_ROOT"] {
        places.push(match set(name) {
            Some(root) => Place::Folders { name: format!("{name}={}", root.display()), folders: toolkit(&root) },
            None => Place::Unset(name),
        });
    }
    for name in python::ENVIRONMENTS {
        places.push(match set(name) {
            Some(root) => {
                let mut folders: Vec<PathBuf> = python::site_packages(&root).iter().flat_map(|p| wheels(p)).collect();
                // Conda has a package of its own.
                folders.push(root.join("lib"));
                Place::Folders { name: format!("{name}={}", root.display()), folders }
            }
            None => Place::Unset(name),
        });
    }
    places.push(Place::Python);
    let system = ["/usr/local/cuda", "/opt/cuda"].map(Path::new);
    places.push(Place::Folders {
        name: "/usr/local/cuda, /opt/cuda".into(),
        folders: system.into_iter().flat_map(toolkit).collect(),
    });
    places
}

/// The libraries' folders of NVIDIA's wheels: `nvidia/cublas/lib` up to CUDA 12, `nvidia/cu13/lib` from then on.
fn wheels(site_packages: &Path) -> Vec<PathBuf> {
    let wheels = std::fs::read_dir(site_packages.join("nvidia")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = wheels.map(|wheel| wheel.path().join("lib")).filter(|lib| lib.is_dir()).collect();
    folders.sort();
    folders
}

/// Tries place after place, in each name after name, until one opens. `marker` is a function that the library has.
fn look(what: &str, marker: &str, names: &[String], places: &[Place]) -> (Search, Option<Opened>) {
    let mut search = Search { what: what.into(), looked: Vec::new(), newer: None };
    let there = |folders: &[PathBuf]| {
        let files = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
        files.filter(|file| file.exists()).collect::<Vec<_>>()
    };
    for place in places {
        let (name, files) = match place {
            Place::Unset(name) => {
                search.looked.push(Looked { place: (*name).into(), outcome: "not set".into() });
                continue;
            }
            Place::Loader => ("the loader's paths".to_string(), names.iter().map(PathBuf::from).collect()),
            Place::Folders { name, folders } => (name.clone(), there(folders)),
            Place::Python => {
                let folders = python::packages_of_python3();
                let folders: Vec<PathBuf> = folders.iter().flat_map(|packages| wheels(packages)).collect();
                ("python3 on the PATH".into(), there(&folders))
            }
        };
        let mut refused = None;
        for file in files {
            match open(&file, marker) {
                Ok(opened) => {
                    search.looked.push(Looked { place: name, outcome: opened.file.display().to_string() });
                    return (search, Some(opened));
                }
                Err(says) => refused = refused.or(says),
            }
        }
        let outcome = refused.unwrap_or_else(|| format!("no {}", names.join(", no ")));
        search.looked.push(Looked { place: name, outcome });
    }
    (search, None)
}

/// Opens a file, or what the loader finds under a bare name. An error says why it cannot be opened; `None` where the loader
/// finds nothing.
fn open(file: &Path, marker: &str) -> Result<Opened, Option<String>> {
    // SAFETY: a library of NVIDIA's by its name; what runs when it is loaded is theirs.
    let library = unsafe { Library::open(Some(file.as_os_str()), RTLD_NOW | RTLD_LOCAL) };
    match library {
        Ok(library) => Ok(Opened { file: real_file(&library, marker).unwrap_or_else(|| file.into()), library }),
        Err(e) => {
            let says = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            let absent = says.starts_with(&format!("{}: cannot open shared object file: No such file", file.display()));
            Err(if absent { None } else { Some(says) })
        }
    }
}

/// The file that a library was loaded from, by a function of its own.
fn real_file(library: &Library, marker: &str) -> Option<PathBuf> {
    // SAFETY: every function is a pointer, and is not called here.
    let symbol: Symbol<*const c_void> = unsafe { library.get(marker.as_bytes()) }.ok()?;
    file_of(*symbol as usize)
}

/// The file that a function was loaded from.
pub fn file_of(function: usize) -> Option<PathBuf> {
    // SAFETY: an address that is only looked up, and a place for what is told; names that it points to belong to the loader and stay.
    unsafe {
        let mut told: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(function as *const c_void, &mut told) == 0 || told.dli_fname.is_null() {
            return None;
        }
        Some(PathBuf::from(OsStr::from_bytes(CStr::from_ptr(told.dli_fname).to_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_in_their_order_and_wheels_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let venv = dir.path().join("venv");
        let packages = venv.join("lib/python3.12/site-packages/nvidia");
        for wheel in ["cublas", "cu13", "cuda_runtime"] {
            std::fs::create_dir_all(packages.join(wheel).join("lib")).unwrap();
        }
        let set = |name: &str| match name {
            "CUDA_HOME" => Some(OsString::from("/cuda")),
            "VIRTUAL_ENV" => Some(venv.clone().into_os_string()),
            "CONDA_PREFIX" => Some(OsString::new()),
            _ => None,
        };
        let places = cublas_places(&set);
        assert_eq!(places[0], Place::Loader);
        assert_eq!(places[1], Place::Unset("CUDA_PATH"));
        let Place::Folders { name, folders } = &places[2] else { panic!("{places:?}") };
        assert_eq!((name.as_str(), folders[0].as_path()), ("CUDA_HOME=/cuda", Path::new("/cuda/lib64")));
        let Place::Folders { folders, .. } = &places[4] else { panic!("{places:?}") };
        let want = [packages.join("cu13/lib"), packages.join("cublas/lib"), packages.join("cuda_runtime/lib")];
        assert_eq!(folders[..3], want);
        assert_eq!(folders[3], venv.join("lib"));
        assert_eq!(places[5], Place::Unset("CONDA_PREFIX"), "set to nothing");
        assert_eq!(places[6], Place::Python);
        assert!(matches!(&places[7], Place::Folders { name, .. } if name.contains("/usr/local/cuda")));
    }

    #[test]
    fn what_is_not_there_and_what_does_not_open_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            Place::Folders { name: name.into(), folders: vec![folder] }
        };
        let (empty, broken) = (folder("empty"), folder("broken"));
        std::fs::write(dir.path().join("broken/libcublas.so.12"), "no library").unwrap();
        let names = ["libcublas.so.13".to_string(), "libcublas.so.12".to_string()];
        let (search, found) = look("cuBLAS", "cublasCreate_v2", &names, &[Place::Unset("CUDA_PATH"), empty, broken]);
        assert!(found.is_none());
        let outcomes: Vec<&str> = search.looked.iter().map(|l| l.outcome.as_str()).collect();
        assert_eq!(outcomes[..2], ["not set", "no libcublas.so.13, no libcublas.so.12"]);
        assert!(outcomes[2].contains("broken/libcublas.so.12") && !outcomes[2].starts_with("no "), "{outcomes:?}");
    }
}
