//! The engine that runs on a GPU: the driver by cudarc, which loads it when it is wanted; our kernels from their PTX, which the
//! driver compiles for the GPU at hand; products by cuBLAS in full single precision. All in the default stream.

use super::api::{Argument, Factor, GpuApi, Kernel, Product, Transfer};
use super::cublas::{self, Columns, Handle};
use super::detect::{load, refused};
use super::feature_cache::{FeatureCache, KeepsFeatures};
use super::kernels::SOURCES;
use super::probe::Version;
use crate::train::Error;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use cudarc::driver::{DriverError, result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::rc::Rc;

/// A GPU with our kernels. What it holds of the driver goes before the context does.
pub struct Driver {
    blas: Handle,
    copies: Stream,
    feature_cache: FeatureCache<Driver>,
    kernels: HashMap<&'static str, sys::CUfunction>,
    /// The pool that memory comes from, where the driver has one.
    pool: Option<sys::CUmemoryPool>,
    context: Rc<Context>,
}

/// What all work on a GPU happens in; other libraries share it. It is given back when nobody holds it any more.
struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
}

impl Context {
    /// Of the GPU of this number, for this thread.
    fn new(ordinal: usize) -> Result<Context, DriverError> {
        result::init()?;
        let device = result::device::get(i32::try_from(ordinal).unwrap_or(i32::MAX))?;
        // SAFETY: a GPU that the driver named.
        let context = Context { device, raw: unsafe { result::primary_ctx::retain(device) }? };
        context.bind()?;
        Ok(context)
    }

    /// Makes it this thread's.
    fn bind(&self) -> Result<(), DriverError> {
        // SAFETY: a context that is held.
        unsafe { result::ctx::set_current(self.raw) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: held until now. A refusal has nobody to hear of it.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// The stream that all work goes into.
fn stream() -> sys::CUstream {
    result::stream::null()
}

/// Memory on the GPU.
pub struct Memory {
    at: sys::CUdeviceptr,
    pooled: bool,
    context: Rc<Context>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in this way, and freed behind all work that was asked for. A refusal has nobody to hear of it.
        let _ = self.context.bind().and_then(|()| unsafe {
            match self.pooled {
                true => result::free_async(self.at, stream()),
                false => result::free_sync(self.at),
            }
        });
    }
}

/// A stream beside the default one, which does not wait for it.
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
    context: sys::CUcontext,
}

// SAFETY: memory of the host like any other; the context that it was made in is the process's.
unsafe impl Send for Pinned {}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Whoever drops it may be a thread that has done nothing with the GPU.
        // SAFETY: made by cuMemAllocHost in this context. A refusal has nobody to hear of it.
        let _ = unsafe { result::ctx::set_current(self.context).and_then(|()| result::free_host(self.memory)) };
    }
}

/// A place in a stream.
pub struct GpuEvent(sys::CUevent);

impl GpuEvent {
    fn of(stream: sys::CUstream) -> Result<GpuEvent, Error> {
        let event = GpuEvent(result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(refused)?);
        // SAFETY: an event just made, and a stream of ours.
        unsafe { result::event::record(event.0, stream) }.map_err(refused)?;
        Ok(event)
    }

    /// What `stream` is asked for from now on begins behind the event.
    fn holds_back(&self, stream: sys::CUstream) -> Result<(), Error> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: an event and a stream of ours.
        unsafe { result::stream::wait_event(stream, self.0, flags) }.map_err(refused)
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
    fn new(ordinal: usize) -> Result<Driver, Error> {
        if let Err(says) = &load().file {
            return Err(Error::refused(format!("NVIDIA's driver: {says}")));
        }
        let context = Context::new(ordinal).map_err(refused)?;
        let mut runs = 0;
        // SAFETY: a place for a number.
        unsafe { sys::cuDriverGetVersion(&mut runs) }.result().map_err(refused)?;
        let cublas = &cublas::find(Version::of_number(runs)).library;
        let cublas = cublas.as_ref().map_err(|says| Error::refused(says.clone()))?;
        let pool = pool(context.device).map_err(refused)?;
        let mut kernels = HashMap::new();
        for source in &SOURCES {
            let text = CString::new(source.ptx).map_err(Error::device)?;
            // SAFETY: PTX that ends with a zero. The module stays loaded as long as the process has the GPU.
            let module = unsafe { result::module::load_data(text.as_ptr().cast()) }.map_err(refused)?;
            for kernel in source.kernels {
                let name = CString::new(kernel.name).map_err(Error::device)?;
                // SAFETY: the module just loaded.
                kernels.insert(kernel.name, unsafe { result::module::get_function(module, name) }.map_err(refused)?);
            }
        }
        let copies = Stream(result::stream::create(result::stream::StreamKind::NonBlocking).map_err(refused)?);
        let (blas, context) = (cublas.handle()?, Rc::new(context));
        Ok(Driver { blas, copies, feature_cache: FeatureCache::default(), kernels, pool, context })
    }
}

/// The driver's pool, told to keep freed memory for the next step instead of giving it back whenever a loss is read.
fn pool(device: sys::CUdevice) -> Result<Option<sys::CUmemoryPool>, DriverError> {
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: a GPU that the driver named, its pool, and a threshold of the type that this attribute has.
    unsafe {
        if result::device::get_attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)? == 0 {
            return Ok(None);
        }
        let pool = result::device::get_default_mem_pool(device)?;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast())?;
        Ok(Some(pool))
    }
}

impl GpuApi for Driver {
    type Memory = Memory;
    type Pinned = Pinned;
    type GpuEvent = GpuEvent;

    fn alloc(&self, bytes: usize) -> Result<Self::Memory, Error> {
        // SAFETY: memory of so many bytes, which are set before anything else is done with them.
        unsafe {
            let at = match self.pool {
                Some(_) => result::malloc_async(stream(), bytes),
                None => result::malloc_sync(bytes),
            };
            let memory =
                Memory { at: at.map_err(refused)?, pooled: self.pool.is_some(), context: self.context.clone() };
            result::memset_d8_async(memory.at, 0, bytes, stream()).map_err(refused)?;
            Ok(memory)
        }
    }

    fn address(memory: &Self::Memory) -> u64 {
        memory.at
    }

    unsafe fn clear(&self, at: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { result::memset_d8_async(at, 0, bytes, stream()) }.map_err(refused)
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, bytes, stream()) }.map_err(refused)
    }

    unsafe fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        // From memory that is not pinned the driver copies into its own before it returns.
        // SAFETY: the caller's promise.
        unsafe { result::memcpy_htod_async(to, bytes, stream()) }.map_err(refused)
    }

    unsafe fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the caller's promise; the copy is waited for while `bytes` is borrowed.
        unsafe {
            let copied = result::memcpy_dtoh_async(bytes, from, stream());
            copied.and_then(|()| result::stream::synchronize(stream())).map_err(refused)
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
        let missing = || Error::refused(format!("no kernel {}", kernel.name));
        let function = *self.kernels.get(kernel.name).ok_or_else(missing)?;
        let (grid, block) = ((blocks, 1, 1), (BLOCK, 1, 1));
        // SAFETY: the caller's promise; arguments are read before the call returns.
        unsafe { result::launch_kernel(function, grid, block, 0, stream(), &mut pointers) }.map_err(refused)
    }

    unsafe fn product(&self, p: &Product) -> Result<(), Error> {
        let [m, k, n] = p.sizes;
        // cuBLAS reads columns, so its view of a row-major matrix is the transpose: out^T = b^T a^T.
        let columns = |f: &Factor, rows: usize, cols: usize| Columns {
            at: f.numbers.address(),
            transposed: f.transposed,
            leading: if f.transposed { rows } else { cols },
            stride: f.stride,
        };
        let (a, b, out) = (columns(&p.a, m, k), columns(&p.b, k, n), columns(&p.out, m, n));
        // SAFETY: the caller's promise.
        unsafe { self.blas.product([n, m, k], [b, a, out], p.add, p.cells) }
    }

    fn pin(&self, bytes: usize) -> Result<Pinned, Error> {
        let mut memory = std::ptr::null_mut();
        // SAFETY: a place for an address.
        unsafe { sys::cuMemAllocHost_v2(&mut memory, bytes.max(1)) }.result().map_err(refused)?;
        // SAFETY: so many bytes were just given. They are set so that none is read that nobody wrote.
        unsafe { std::ptr::write_bytes(memory.cast::<u8>(), 0, bytes) };
        Ok(Pinned { memory, bytes, context: self.context.raw })
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
        GpuEvent::of(stream())
    }

    fn follow(&self, mark: &GpuEvent) -> Result<(), Error> {
        mark.holds_back(stream())
    }

    fn wait(&self, mark: &GpuEvent) -> Result<(), Error> {
        // SAFETY: an event of ours.
        unsafe { result::event::synchronize(mark.0) }.map_err(refused)
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        // What was freed is in the driver's pool, and counts as used until the pool gives it back.
        // SAFETY: the default stream, and the pool of the driver.
        unsafe {
            result::stream::synchronize(stream()).map_err(refused)?;
            if let Some(pool) = self.pool {
                result::mem_pool::trim_to(pool, 0).map_err(refused)?;
            }
        }
        Ok(result::mem_get_info().map_err(refused)?.0 as u64)
    }
}

impl KeepsFeatures for Driver {
    fn feature_cache(&self) -> &FeatureCache<Driver> {
        &self.feature_cache
    }
}

thread_local! {
    /// Drivers stay on their thread. They outlive a run, so that kernels are loaded once.
    static DRIVERS: RefCell<HashMap<usize, Rc<Driver>>> = RefCell::default();
}

impl Driver {
    /// The GPU of this number, on this thread.
    pub fn open(ordinal: usize) -> Result<Rc<Self>, Error> {
        DRIVERS.with_borrow_mut(|drivers| match drivers.get(&ordinal) {
            Some(driver) => Ok(driver.clone()),
            None => {
                let driver = Rc::new(Driver::new(ordinal)?);
                drivers.insert(ordinal, driver.clone());
                Ok(driver)
            }
        })
    }
}
