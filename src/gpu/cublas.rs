//! The one function of cuBLAS that is asked for, in full single precision.

use super::libraries::{self, Opened};
use super::probe::{Blas, Search, Version};
use crate::train::Error;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

/// What cuBLAS knows of a context.
type RawHandle = *mut c_void;

type Create = unsafe extern "C" fn(*mut RawHandle) -> c_int;
type Destroy = unsafe extern "C" fn(RawHandle) -> c_int;
type GetProperty = unsafe extern "C" fn(c_int, *mut c_int) -> c_int;
#[rustfmt::skip]
type SgemmStridedBatched = unsafe extern "C" fn(
    RawHandle, c_int, c_int, c_int, c_int, c_int,
    *const f32, *const f32, c_int, i64, *const f32, c_int, i64,
    *const f32, *mut f32, c_int, i64, c_int,
) -> c_int;

/// The library, opened.
pub struct Cublas {
    create: Create,
    destroy: Destroy,
    sgemm_strided_batched: SgemmStridedBatched,
    /// Its version and its file.
    pub about: Blas,
}

/// How it was looked for, and what came of it; the error says what to do.
pub struct Outcome {
    /// The places.
    pub search: Search,
    /// The library.
    pub library: Result<Cublas, String>,
}

static FOUND: OnceLock<Outcome> = OnceLock::new();

/// cuBLAS for the driver, which runs CUDA up to `runs`. A process looks for it once.
pub fn find(runs: Version) -> &'static Outcome {
    FOUND.get_or_init(|| {
        let (search, opened) = libraries::cublas(runs.0);
        let library = match opened {
            Some(opened) => Cublas::of(&opened).inspect(|_| std::mem::forget(opened)),
            None => Err(missing(&search, runs)),
        };
        Outcome { search, library }
    })
}

/// What came of [`find`], if anybody looked.
pub fn found() -> Option<&'static Outcome> {
    FOUND.get()
}

fn missing(search: &Search, runs: Version) -> String {
    // From CUDA 13 on the wheel's name does without the version.
    let wheel = if runs.0 >= 13 { "nvidia-cublas".to_string() } else { format!("nvidia-cublas-cu{}", runs.0) };
    let get = format!("pip install {wheel} in the active Python environment (PyTorch brings it too)");
    match &search.newer {
        Some(file) => format!(
            "cuBLAS {} is for a newer driver: this one runs CUDA {runs} at most\n  next: install a newer driver, or {get}",
            file.display()
        ),
        None => format!(
            "cuBLAS (libcublas.so.{}) is not found: {}\n  next: {get}, set CUDA_PATH to a CUDA toolkit, or add its folder to LD_LIBRARY_PATH",
            runs.0,
            search.in_vain()
        ),
    }
}

impl Cublas {
    fn of(opened: &Opened) -> Result<Cublas, String> {
        let next = |says: String| format!("{says}\n  next: install cuBLAS anew");
        // SAFETY: types as in cublas_api.h, the same since CUDA 11.
        unsafe {
            let property: GetProperty = opened.get("cublasGetProperty").map_err(next)?;
            let number = |which: c_int| {
                let mut number = 0;
                (property(which, &mut number) == 0).then_some(number)
            };
            let version: Vec<String> = (0..3).filter_map(number).map(|n| n.to_string()).collect();
            Ok(Cublas {
                create: opened.get("cublasCreate_v2").map_err(next)?,
                destroy: opened.get("cublasDestroy_v2").map_err(next)?,
                sgemm_strided_batched: opened.get("cublasSgemmStridedBatched").map_err(next)?,
                about: Blas { version: version.join("."), file: opened.file.clone() },
            })
        }
    }

    /// A handle for the context that this thread has. Its work goes into the default stream.
    pub fn handle(&'static self) -> Result<Handle, Error> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: a place for a handle.
        check("cuBLAS does not start", unsafe { (self.create)(&mut raw) })?;
        Ok(Handle { raw, library: self })
    }
}

/// cuBLAS in one context.
pub struct Handle {
    raw: RawHandle,
    library: &'static Cublas,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: a handle of ours. A refusal has nobody to hear of it.
        let _ = unsafe { (self.library.destroy)(self.raw) };
    }
}

/// A matrix of each of a batch, columns one after another, as cuBLAS has them.
#[derive(Clone, Copy)]
pub struct Columns {
    /// The first one's address.
    pub at: u64,
    /// Whether its transpose is meant.
    pub transposed: bool,
    /// Numbers from one column to the next.
    pub leading: usize,
    /// Numbers from one matrix to the next.
    pub stride: usize,
}

impl Handle {
    /// C = A B, or C += A B where `add`, of `batch` matrices; A (m, k), B (k, n), C (m, n).
    ///
    /// # Safety
    /// The device has memory for all of each.
    pub unsafe fn product(
        &self,
        [m, n, k]: [usize; 3],
        [a, b, c]: [Columns; 3],
        add: bool,
        batch: usize,
    ) -> Result<(), Error> {
        let int = |n: usize| c_int::try_from(n).map_err(Error::device);
        let (one, beta) = (1.0f32, if add { 1.0f32 } else { 0.0 });
        // SAFETY: the caller's promise; the two scalars are on the host and read before the call returns.
        let status = unsafe {
            (self.library.sgemm_strided_batched)(
                self.raw,
                c_int::from(a.transposed),
                c_int::from(b.transposed),
                int(m)?,
                int(n)?,
                int(k)?,
                &one,
                a.at as *const f32,
                int(a.leading)?,
                a.stride as i64,
                b.at as *const f32,
                int(b.leading)?,
                b.stride as i64,
                &beta,
                c.at as *mut f32,
                int(c.leading)?,
                c.stride as i64,
                int(batch)?,
            )
        };
        check("a product of cuBLAS", status)
    }
}

/// A status as an error, in the words of cuBLAS's documentation.
fn check(what: &str, status: c_int) -> Result<(), Error> {
    let name = match status {
        0 => return Ok(()),
        1 => "CUBLAS_STATUS_NOT_INITIALIZED",
        3 => "CUBLAS_STATUS_ALLOC_FAILED",
        7 => "CUBLAS_STATUS_INVALID_VALUE",
        8 => "CUBLAS_STATUS_ARCH_MISMATCH",
        11 => "CUBLAS_STATUS_MAPPING_ERROR",
        13 => "CUBLAS_STATUS_EXECUTION_FAILED",
        14 => "CUBLAS_STATUS_INTERNAL_ERROR",
        15 => "CUBLAS_STATUS_NOT_SUPPORTED",
        _ => return Err(Error::refused(format!("{what}: cuBLAS's status {status}"))),
    };
    Err(Error::refused(format!("{what}: {name}")))
}
