//! NVIDIA's libraries, looked for when the program runs and not when it starts.
//!
//! cudarc links libcuda, cuBLAS and NVRTC, so that a program built with CUDA would not even start where one is missing, and
//! could not say why. Here are functions of the same names instead, which the linker takes first; each jumps to where
//! [`load`] found the real one. So one program runs everywhere: with a GPU it uses it, without it says what is missing.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A library that is not there.
#[derive(Clone, Debug)]
pub struct Missing {
    /// The name that was looked for.
    pub name: String,
    /// The system's words.
    pub says: String,
}

/// Functions of one library.
struct Library {
    /// Names of its file, the newest first.
    files: &'static [&'static str],
    functions: &'static [Function],
}

struct Function {
    name: &'static str,
    /// Where the real one is.
    place: &'static AtomicPtr<c_void>,
    /// Named here so that the linker keeps it beside `load`, and finds it before it looks into a library.
    _ours: unsafe extern "C" fn(),
}

/// What a function answers that was not loaded: 3 is "not initialised" in libcuda, and an error in the others.
extern "C" fn not_loaded() -> c_int {
    3
}

macro_rules! libraries {
    ($($library:ident [$($file:literal)+] { $($name:ident)+ })+) => {
        $($(
            #[cfg(target_arch = "x86_64")]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                std::arch::naked_asm!("jmp qword ptr [rip + {place}]", place = sym places::$name)
            }

            #[cfg(target_arch = "aarch64")]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                std::arch::naked_asm!(
                    "adrp x16, {place}", "ldr x16, [x16, :lo12:{place}]", "br x16", place = sym places::$name
                )
            }
        )+)+

        mod places {
            use super::{AtomicPtr, c_void, not_loaded};
            $($(pub(super) static $name: AtomicPtr<c_void> = AtomicPtr::new(not_loaded as *mut c_void);)+)+
        }

        static LIBRARIES: &[Library] = &[$(Library {
            files: &[$($file),+],
            functions: &[$(Function { name: stringify!($name), place: &places::$name, _ours: $name }),+],
        }),+];
    };
}

#[allow(non_snake_case, non_upper_case_globals)]
mod names {
    use super::{AtomicPtr, Function, Library, c_void, not_loaded};

    libraries! {
        driver ["libcuda.so.1"] {
            cuCtxGetCurrent cuCtxSetCurrent cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount
            cuDeviceGetDefaultMemPool cuDeviceGetName cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain
            cuDeviceTotalMem_v2 cuDriverGetVersion cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventSynchronize
            cuGetErrorName cuGetErrorString cuInit cuLaunchKernel cuMemAllocAsync cuMemAllocHost_v2 cuMemAlloc_v2
            cuMemFreeAsync cuMemFreeHost cuMemFree_v2 cuMemGetInfo_v2 cuMemPoolSetAttribute cuMemPoolTrimTo
            cuMemcpyDtoDAsync_v2 cuMemcpyDtoD_v2 cuMemcpyDtoHAsync_v2 cuMemcpyDtoH_v2 cuMemcpyHtoDAsync_v2
            cuMemcpyHtoD_v2 cuMemsetD8Async cuMemsetD8_v2 cuModuleGetFunction cuModuleLoad cuModuleLoadData
            cuModuleUnload cuStreamCreate cuStreamDestroy_v2 cuStreamSynchronize cuStreamWaitEvent
        }
        blas ["libcublas.so.13" "libcublas.so.12" "libcublas.so.11"] {
            cublasCreate_v2 cublasDestroy_v2 cublasSetStream_v2 cublasSgemmStridedBatched cublasSgemm_v2
        }
        compiler ["libnvrtc.so.13" "libnvrtc.so.12" "libnvrtc.so.11.2"] {
            nvrtcCompileProgram nvrtcCreateProgram nvrtcDestroyProgram nvrtcGetPTX nvrtcGetPTXSize nvrtcGetProgramLog
            nvrtcGetProgramLogSize
        }
    }

    pub(super) fn libraries() -> &'static [Library] {
        LIBRARIES
    }
}

#[link(name = "dl")]
unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

const RTLD_NOW: c_int = 2;

/// Looks for every library, once; whatever of CUDA is called before answers with an error.
pub fn load() -> Result<(), Missing> {
    static LOADED: OnceLock<Result<(), Missing>> = OnceLock::new();
    LOADED.get_or_init(|| names::libraries().iter().try_for_each(open)).clone()
}

fn open(library: &Library) -> Result<(), Missing> {
    let missing = |says: String| Missing { name: library.files[0].into(), says };
    let mut first = None;
    for path in library.files.iter().flat_map(|file| places_of(file)) {
        load_companions(&path);
        let Ok(path) = CString::new(path) else { continue };
        // SAFETY: a path; libraries of NVIDIA's by their names.
        let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        if handle.is_null() {
            first = first.or_else(last_error);
            continue;
        }
        for function in library.functions {
            let name = CString::new(function.name).unwrap_or_default();
            // SAFETY: an open library and a name.
            let found = unsafe { dlsym(handle, name.as_ptr()) };
            if found.is_null() {
                return Err(missing(format!("{} lacks {}", path.to_string_lossy(), function.name)));
            }
            function.place.store(found, Ordering::Release);
        }
        return Ok(());
    }
    Err(missing(first.unwrap_or_default()))
}

/// NVRTC opens its builtins by a bare name when it compiles, which fails where the system does not look into its folder; one
/// that is loaded already is found.
fn load_companions(path: &str) {
    let path = Path::new(path);
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (Some(version), Some(folder)) = (file.strip_prefix("libnvrtc.so."), path.parent()) else { return };
    let major = version.split('.').next().unwrap_or_default();
    // A bare name has no folder: there is nothing to read.
    let companions = std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(&format!("libnvrtc-builtins.so.{major}.")))
    });
    for companion in companions {
        if let Ok(path) = CString::new(companion.path().into_os_string().into_encoded_bytes()) {
            // SAFETY: a path; a library of NVIDIA's by its name. One that does not load is missed by NVRTC, which says so.
            unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
        }
    }
}

/// Where a library may be: where the system looks, and in a toolkit that the environment names.
fn places_of(file: &str) -> Vec<String> {
    let roots = ["CUDA_PATH", "CUDA_ROOT", "CUDA_HOME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let folders = roots.flat_map(|root| [format!("{root}/lib64/{file}"), format!("{root}/lib/{file}")]);
    std::iter::once(file.to_string()).chain(folders).collect()
}

fn last_error() -> Option<String> {
    // SAFETY: takes nothing; the text is copied before anything else can change it.
    unsafe {
        let text = dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
