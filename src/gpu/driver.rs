//! The engine that runs on a GPU, with cudarc: kernels compiled by NVRTC for the GPU at hand, products by cuBLAS in full
//! single precision, all in the default stream.

use super::api::{Argument, Factor, GpuApi, KERNELS, Kernel, Product, Transfer};
use super::feature_cache::FeatureCache;
use super::load::load;
use super::probe::{Found, Gpu, LEAST_FREE, Version, Wanted};
use crate::train::Error;
use cudarc::cublas::result::sgemm_strided_batched;
use cudarc::cublas::{CudaBlas, sys::cublasOperation_t};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{CudaDevice, CudaSlice, DevicePtr, DriverError, result};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::rc::Rc;
use std::sync::Arc;

/// Looks for a driver and GPUs. Free memory is asked only of the GPU that is wanted, and where any will do, of one after
/// another until one has enough: asking begins work on a GPU, and costs a part of a second.
pub fn find(wanted: Wanted) -> Found {
    if let Err(missing) = load() {
        return Found::NoLibrary { name: missing.name, says: missing.says };
    }
    look(wanted).unwrap_or_else(|e| Found::NoDriver(said(e)))
}

fn look(wanted: Wanted) -> Result<Found, DriverError> {
    result::init()?;
    let mut runs = 0;
    // SAFETY: a place for a number.
    unsafe { sys::cuDriverGetVersion(&mut runs) }.result()?;
    let (runs, built) = (Version::of_number(runs), Version::parse(env!("UNMUTE_NVCC")).unwrap_or(Version(0, 0)));
    let mut gpus = Vec::new();
    let mut enough = false;
    for ordinal in 0..result::device::get_count()? {
        let gpu = result::device::get(ordinal)?;
        let mut name = [0; 256];
        // SAFETY: a GPU that the driver named, and a buffer of the size that is said.
        unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, gpu) }.result()?;
        // SAFETY: the driver ends the name with a zero inside the buffer.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        // SAFETY: a GPU that the driver named.
        let (memory, compute) = unsafe { (result::device::total_mem(gpu)? as u64, compute(gpu)?) };
        let asked = match wanted {
            Wanted::Cuda(Some(n)) => n == ordinal as usize,
            Wanted::Auto | Wanted::Cuda(None) => !enough,
            Wanted::Cpu => false,
        };
        // One that will not do for another reason is left alone.
        let asked = asked && runs >= built && compute >= least();
        let free_bytes = if asked { free_memory(gpu)? } else { memory };
        enough |= asked && free_bytes >= LEAST_FREE;
        gpus.push(Gpu { name, compute, memory_bytes: memory, free_bytes });
    }
    Ok(Found::Driver { runs, built, least: least(), gpus })
}

/// The least compute capability that dfdx's kernels were built for.
fn least() -> (u32, u32) {
    let digits: u32 = env!("UNMUTE_COMPUTE_CAP").parse().unwrap_or(0);
    (digits / 10, digits % 10)
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

fn refused(e: DriverError) -> Error {
    Error::refused(said(e))
}

/// A GPU with our kernels.
pub struct Driver {
    device: Arc<CudaDevice>,
    blas: CudaBlas,
    kernels: HashMap<Kernel, sys::CUfunction>,
    copies: Stream,
    feature_cache: FeatureCache<Driver>,
}

/// A queue beside the default stream, which does not wait for it.
struct Stream(sys::CUstream);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: a stream of ours; what is still in it is done before it goes. A refusal has nobody to hear of it.
        let _ = unsafe { result::stream::destroy(self.0) };
    }
}

/// Page-locked memory on the host.
pub struct Pinned {
    memory: *mut c_void,
    bytes: usize,
}

// SAFETY: memory of the host like any other; the context that it was made in is the process's.
unsafe impl Send for Pinned {}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: made by cuMemAllocHost. A refusal has nobody to hear of it.
        let _ = unsafe { sys::cuMemFreeHost(self.memory) }.result();
    }
}

/// A place in a queue.
pub struct GpuEvent(sys::CUevent);

impl GpuEvent {
    fn of(queue: sys::CUstream) -> Result<GpuEvent, Error> {
        let mark = GpuEvent(result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(refused)?);
        // SAFETY: an event just made, and a queue of ours.
        unsafe { result::event::record(mark.0, queue) }.map_err(refused)?;
        Ok(mark)
    }

    /// What `queue` is asked for from now on begins behind the mark.
    fn holds_back(&self, queue: sys::CUstream) -> Result<(), Error> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: an event and a queue of ours.
        unsafe { result::stream::wait_event(queue, self.0, flags) }.map_err(refused)
    }
}

impl Drop for GpuEvent {
    fn drop(&mut self) {
        // SAFETY: an event of ours; the driver keeps what still waits for it.
        let _ = unsafe { result::event::destroy(self.0) };
    }
}

/// Threads of a block.
const BLOCK: u32 = 256;

impl Driver {
    fn new(device: Arc<CudaDevice>) -> Result<Driver, Error> {
        device.bind_to_thread().map_err(refused)?;
        keep_memory(&device).map_err(refused)?;
        // SAFETY: the GPU of a device that is open.
        let (major, minor) = unsafe { compute(*device.cu_device()) }.map_err(refused)?;
        let arch = architecture(10 * major + minor);
        let options = CompileOptions { arch: Some(arch), ..CompileOptions::default() };
        let ptx = compile_ptx_with_opts(KERNELS, options).map_err(Error::device)?;
        let text = CString::new(ptx.to_src()).map_err(Error::device)?;
        // SAFETY: PTX that ends with a zero. The module stays loaded as long as the process has the GPU.
        let module = unsafe { result::module::load_data(text.as_ptr().cast()) }.map_err(refused)?;
        let mut kernels = HashMap::new();
        for kernel in Kernel::ALL {
            let name = CString::new(kernel.name()).map_err(Error::device)?;
            // SAFETY: the module just loaded.
            kernels.insert(kernel, unsafe { result::module::get_function(module, name) }.map_err(refused)?);
        }
        let blas = CudaBlas::new(device.clone()).map_err(Error::device)?;
        let copies = Stream(result::stream::create(result::stream::StreamKind::NonBlocking).map_err(refused)?);
        Ok(Driver { device, blas, kernels, copies, feature_cache: FeatureCache::default() })
    }

    fn stream(&self) -> sys::CUstream {
        *self.device.cu_stream()
    }
}

/// NVRTC's name of an architecture: the GPU's own, or the newest known that it runs.
fn architecture(capability: u32) -> &'static str {
    const KNOWN: [(u32, &str); 9] = [
        (120, "compute_120"),
        (100, "compute_100"),
        (90, "compute_90"),
        (89, "compute_89"),
        (87, "compute_87"),
        (86, "compute_86"),
        (80, "compute_80"),
        (75, "compute_75"),
        (70, "compute_70"),
    ];
    KNOWN.iter().find(|(known, _)| *known <= capability).map_or("compute_60", |(_, name)| name)
}

/// The pool that memory comes from, where the driver has one.
fn pool(device: &CudaDevice) -> Result<Option<sys::CUmemoryPool>, DriverError> {
    // SAFETY: an open device, and a place for a pool.
    unsafe {
        let ordinal = *device.cu_device();
        if result::device::get_attribute(ordinal, Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)? == 0 {
            return Ok(None);
        }
        let mut pool = std::ptr::null_mut();
        sys::cuDeviceGetDefaultMemPool(&mut pool, ordinal).result()?;
        Ok(Some(pool))
    }
}

/// Has the driver keep freed memory for the next step instead of giving it back whenever a loss is read.
fn keep_memory(device: &CudaDevice) -> Result<(), DriverError> {
    let Some(pool) = pool(device)? else { return Ok(()) };
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: a pool of the driver's, and a threshold of the type that this attribute has.
    unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()) }.result()
}

impl GpuApi for Driver {
    type Memory = CudaSlice<u8>;
    type Pinned = Pinned;
    type GpuEvent = GpuEvent;

    fn alloc(&self, bytes: usize) -> Result<Self::Memory, Error> {
        self.device.alloc_zeros(bytes).map_err(refused)
    }

    fn address(memory: &Self::Memory) -> u64 {
        *memory.device_ptr()
    }

    unsafe fn clear(&self, at: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream()) }.map_err(refused)
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream()) }.map_err(refused)
    }

    unsafe fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        // From memory that is not pinned the driver copies into its own before it returns.
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream()) }.map_err(refused)
    }

    unsafe fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the caller's promise; the copy is waited for while `bytes` is borrowed.
        unsafe {
            let copied = result::memcpy_dtoh_async(bytes, from, self.stream());
            copied.and_then(|()| result::stream::synchronize(self.stream())).map_err(refused)
        }
    }

    unsafe fn launch(&self, kernel: Kernel, threads: usize, arguments: &[Argument]) -> Result<(), Error> {
        let mut pointers: Vec<*mut c_void> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Count(n) => std::ptr::from_ref(n) as *mut c_void,
                Argument::Number(x) => std::ptr::from_ref(x) as *mut c_void,
                Argument::Address(at) => std::ptr::from_ref(at) as *mut c_void,
            })
            .collect();
        let blocks = u32::try_from(threads.div_ceil(BLOCK as usize)).map_err(Error::device)?;
        if blocks == 0 {
            return Ok(());
        }
        let function = *self.kernels.get(&kernel).ok_or_else(|| Error::refused(format!("no kernel {kernel:?}")))?;
        let (grid, block) = ((blocks, 1, 1), (BLOCK, 1, 1));
        // SAFETY: the caller's promise; arguments are read before the call returns.
        unsafe { result::launch_kernel(function, grid, block, 0, self.stream(), &mut pointers) }.map_err(refused)
    }

    unsafe fn product(&self, p: &Product) -> Result<(), Error> {
        let [m, k, n] = p.sizes;
        let int = |n: usize| i32::try_from(n).map_err(Error::device);
        let stride = |f: &Factor| f.stride as i64;
        // cuBLAS reads columns, so its view of a row-major matrix is the transpose: out^T = b^T a^T.
        let side = |f: &Factor, rows: usize, cols: usize| {
            let (long, op) = match f.transposed {
                false => (cols, cublasOperation_t::CUBLAS_OP_N),
                true => (rows, cublasOperation_t::CUBLAS_OP_T),
            };
            Ok::<_, Error>((op, f.numbers.address() as *const f32, int(long)?, stride(f)))
        };
        let ((op_a, a, lda, by_a), (op_b, b, ldb, by_b)) = (side(&p.a, m, k)?, side(&p.b, k, n)?);
        let (one, beta) = (1.0f32, if p.add { 1.0f32 } else { 0.0 });
        let out = p.out.numbers.address() as *mut f32;
        // SAFETY: the caller's promise; the two scalars are on the host and read before the call returns.
        let done = unsafe {
            #[rustfmt::skip]
            let done = sgemm_strided_batched(
                *self.blas.handle(), op_b, op_a, int(n)?, int(m)?, int(k)?,
                &one, b, ldb, by_b, a, lda, by_a,
                &beta, out, int(n)?, stride(&p.out), int(p.cells)?,
            );
            done
        };
        done.map_err(Error::device)
    }

    fn pin(&self, bytes: usize) -> Result<Pinned, Error> {
        let mut memory = std::ptr::null_mut();
        // SAFETY: a place for an address.
        unsafe { sys::cuMemAllocHost_v2(&mut memory, bytes.max(1)) }.result().map_err(refused)?;
        // SAFETY: so many bytes were just given. They are set so that none is read that nobody wrote.
        unsafe { std::ptr::write_bytes(memory.cast::<u8>(), 0, bytes) };
        Ok(Pinned { memory, bytes })
    }

    fn pinned(memory: &mut Pinned) -> &mut [u8] {
        // SAFETY: memory of so many bytes, borrowed as long as it is.
        unsafe { std::slice::from_raw_parts_mut(memory.memory.cast(), memory.bytes) }
    }

    unsafe fn send(&self, after: &GpuEvent, from: &Pinned, copies: &[Transfer]) -> Result<GpuEvent, Error> {
        after.holds_back(self.copies.0)?;
        // What has begun is marked even where a later copy is refused, so that nobody drops memory under it.
        let begun = copies.iter().try_for_each(|copy| {
            // SAFETY: the caller's promise.
            unsafe {
                let bytes = std::slice::from_raw_parts(from.memory.cast::<u8>().add(copy.from), copy.bytes);
                result::memcpy_htod_async(copy.to, bytes, self.copies.0).map_err(refused)
            }
        });
        let mark = GpuEvent::of(self.copies.0)?;
        if begun.is_err() {
            self.wait(&mark)?;
        }
        begun.map(|()| mark)
    }

    fn mark(&self) -> Result<GpuEvent, Error> {
        GpuEvent::of(self.stream())
    }

    fn follow(&self, mark: &GpuEvent) -> Result<(), Error> {
        mark.holds_back(self.stream())
    }

    fn wait(&self, mark: &GpuEvent) -> Result<(), Error> {
        // SAFETY: an event of ours.
        unsafe { sys::cuEventSynchronize(mark.0) }.result().map_err(refused)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        // What was freed is in the driver's pool, and counts as used until the pool gives it back.
        // SAFETY: the stream and the device of an open device.
        unsafe {
            result::stream::synchronize(self.stream()).map_err(refused)?;
            if let Some(pool) = pool(&self.device).map_err(refused)? {
                sys::cuMemPoolTrimTo(pool, 0).result().map_err(refused)?;
            }
        }
        Ok(result::mem_get_info().map_err(refused)?.0 as u64)
    }

    fn feature_cache(&self) -> &FeatureCache<Driver> {
        &self.feature_cache
    }
}

thread_local! {
    /// Drivers stay on their thread. They outlive a run, so that kernels are compiled once.
    static DRIVERS: RefCell<HashMap<usize, Rc<Driver>>> = RefCell::default();
}

impl Driver {
    /// The GPU of this number, on this thread.
    pub fn open(ordinal: usize) -> Result<Rc<Self>, Error> {
        DRIVERS.with_borrow_mut(|drivers| match drivers.get(&ordinal) {
            Some(driver) => Ok(driver.clone()),
            None => {
                let device = CudaDevice::new(ordinal).map_err(refused)?;
                let driver = Rc::new(Driver::new(device)?);
                drivers.insert(ordinal, driver.clone());
                Ok(driver)
            }
        })
    }
}
