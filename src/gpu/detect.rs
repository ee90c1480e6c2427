//! Which GPUs there are: the driver, loaded when it is wanted, and what it tells.

use super::cublas;
use super::libraries;
use super::probe::{Found, Gpu, LEAST_COMPUTE, LEAST_CUDA, LEAST_FREE, Search, Version, Wanted};
use crate::train::Error;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{DriverError, result};
use std::path::PathBuf;
use std::sync::OnceLock;

/// What of the driver is called; cudarc takes each from the library at its first call, and panics where it is missing.
#[rustfmt::skip]
const FUNCTIONS: &[&str] = &[
    "cuCtxSetCurrent", "cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetCount", "cuDeviceGetDefaultMemPool",
    "cuDeviceGetName", "cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxRetain", "cuDeviceTotalMem_v2",
    "cuDriverGetVersion", "cuEventCreate", "cuEventDestroy_v2", "cuEventRecord", "cuEventSynchronize", "cuGetErrorName",
    "cuGetErrorString", "cuInit", "cuLaunchKernel", "cuMemAllocAsync", "cuMemAllocHost_v2", "cuMemAlloc_v2",
    "cuMemFreeAsync", "cuMemFreeHost", "cuMemFree_v2", "cuMemGetInfo_v2", "cuMemPoolSetAttribute", "cuMemPoolTrimTo",
    "cuMemcpyDtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyHtoDAsync_v2", "cuMemsetD8Async", "cuModuleGetFunction",
    "cuModuleLoadData", "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize", "cuStreamWaitEvent",
];

/// How the driver's library was looked for, and what came of it.
pub struct Outcome {
    /// The places.
    pub search: Search,
    /// Whether there is one.
    pub there: bool,
    /// Its file, or why there is none to use.
    pub file: Result<PathBuf, String>,
}

/// The driver's library, looked for once. Nothing of cudarc is called where this is an error.
pub fn load() -> &'static Outcome {
    static LOADED: OnceLock<Outcome> = OnceLock::new();
    LOADED.get_or_init(|| {
        let (search, opened) = libraries::driver();
        let Some(opened) = opened else {
            let file = Err(search.in_vain());
            return Outcome { search, there: false, file };
        };
        let missing = FUNCTIONS.iter().find_map(|name| opened.address(name).err());
        let file = missing.map_or_else(|| same(&opened).map(|()| opened.file.clone()), Err);
        // Open as long as the process is.
        std::mem::forget(opened);
        Outcome { search, there: true, file }
    })
}

/// An error unless cudarc, which asks the loader for `libcuda.so` first, gets the same library: toolkits have an empty one of
/// that name to link against.
fn same(opened: &libraries::Opened) -> Result<(), String> {
    // SAFETY: a library of the driver's name is loaded already, so that there is one to be found; nothing is called.
    let theirs = unsafe { sys::culib().get::<*const std::ffi::c_void>(b"cuInit").ok().map(|symbol| *symbol as usize) };
    if theirs == opened.address("cuInit").ok() {
        return Ok(());
    }
    let other = theirs.and_then(libraries::file_of).unwrap_or_default();
    Err(format!(
        "the loader finds {} under the name libcuda.so, which is not the driver's {}: take its folder off LD_LIBRARY_PATH",
        other.display(),
        opened.file.display()
    ))
}

/// Looks for a driver, GPUs, and where one will do, cuBLAS. Free memory is asked only of the GPU that is wanted, and where any
/// will do, of one after another until one has enough: asking begins work on a GPU, and costs a part of a second.
pub fn find(wanted: Wanted) -> Found {
    // Who wants the CPU need not wait for a driver.
    if wanted == Wanted::Cpu {
        return Found::NotLooked;
    }
    if let Outcome { there, file: Err(says), .. } = load() {
        return if *there { Found::NoDriver(says.clone()) } else { Found::NoLibrary(says.clone()) };
    }
    look(wanted).unwrap_or_else(|e| Found::NoDriver(said(e)))
}

fn look(wanted: Wanted) -> Result<Found, DriverError> {
    result::init()?;
    let mut runs = 0;
    // SAFETY: a place for a number.
    unsafe { sys::cuDriverGetVersion(&mut runs) }.result()?;
    let runs = Version::of_number(runs);
    let (mut gpus, mut enough, mut usable) = (Vec::new(), false, false);
    for ordinal in 0..result::device::get_count()? {
        let gpu = result::device::get(ordinal)?;
        // SAFETY: a GPU that the driver named.
        let (memory, compute) = unsafe { (result::device::total_mem(gpu)? as u64, compute(gpu)?) };
        let asked = match wanted {
            Wanted::Cuda(Some(n)) => n == ordinal as usize,
            Wanted::Auto | Wanted::Cuda(None) => !enough,
            Wanted::Cpu => false,
        };
        // One that will not do for another reason is left alone.
        let asked = asked && runs >= LEAST_CUDA && compute >= LEAST_COMPUTE;
        let free_bytes = if asked { free_memory(gpu)? } else { memory };
        enough |= asked && free_bytes >= LEAST_FREE;
        usable |= asked;
        gpus.push(Gpu { name: result::device::get_name(gpu)?, compute, memory_bytes: memory, free_bytes });
    }
    let cublas = match usable {
        true => cublas::find(runs).library.as_ref().map(|library| library.about.clone()).map_err(Clone::clone),
        false => Err("cuBLAS was not looked for".into()),
    };
    Ok(Found::Driver { runs, gpus, cublas })
}

/// # Safety
/// A GPU that the driver named.
unsafe fn compute(gpu: sys::CUdevice) -> Result<(u32, u32), DriverError> {
    // SAFETY: the caller's promise.
    let ask = |attribute| unsafe { result::device::get_attribute(gpu, attribute) };
    let major = ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok((major.unsigned_abs(), minor.unsigned_abs()))
}

fn free_memory(gpu: sys::CUdevice) -> Result<u64, DriverError> {
    // SAFETY: a GPU that the driver named; the context is given back before anybody else can use it.
    let free = unsafe {
        result::primary_ctx::retain(gpu).and_then(|context| {
            let free = result::ctx::set_current(context).and_then(|()| result::mem_get_info());
            result::primary_ctx::release(gpu)?;
            Ok(free?.0 as u64)
        })
    };
    match free {
        // So full that not even a context has room.
        Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(0),
        free => free,
    }
}

/// A driver's error in its own words.
fn said(e: DriverError) -> String {
    let name = e.error_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = e.error_string().map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{text} ({name})")
}

/// The same as an error of a training.
pub(super) fn refused(e: DriverError) -> Error {
    Error::refused(said(e))
}
