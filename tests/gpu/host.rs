//! An engine on the host: the `.cu` of `src/gpu/kernels` compiled by the machine's C compiler, products by the crate's own.

use crate::support::require;
use compute::matmul::{Mat, product};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use unmute::gpu::api::{Argument, Factor, GpuApi, Kernel, Product, Transfer};
use unmute::gpu::feature_cache::{FeatureCache, KeepsFeatures};
use unmute::gpu::kernels::{SHARED, SOURCES};
use unmute::train::Error;

type Run = unsafe extern "C" fn(*mut *mut c_void, u32, u32);

/// The kernels as functions of this process.
type Kernels = Arc<HashMap<&'static str, Run>>;

/// The engine of a thread.
pub struct Host {
    kernels: Kernels,
    feature_cache: FeatureCache<Host>,
    /// Bytes that it says are free.
    pub free: u64,
}

/// Copies that have not begun: they are made when somebody waits for them, as late as can be.
pub struct GpuEvent(RefCell<Vec<(*const u8, usize, u64)>>);

/// Threads of a block: not a divisor of any size in the tests, so that the last block is not full.
const BLOCK: usize = 24;

// SAFETY: POSIX, in the C library that the standard library is linked with.
#[link(name = "dl")]
unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The thread's engine, or nothing, said so, where there is no C compiler.
pub fn engine() -> Option<Rc<Host>> {
    static KERNELS: OnceLock<Option<Kernels>> = OnceLock::new();
    thread_local! {
        static ENGINE: RefCell<Option<Rc<Host>>> = const { RefCell::new(None) };
    }
    if !require::available("cc") {
        return None;
    }
    let kernels = KERNELS.get_or_init(|| {
        load(&|_, text| text.into()).map(|library| library.expect("the kernels do not compile for the host"))
    });
    let new = |kernels: &Kernels| Rc::new(Host::new(kernels.clone()));
    ENGINE.with_borrow_mut(|engine| Some(engine.get_or_insert(new(kernels.as_ref()?)).clone()))
}

impl Host {
    fn new(kernels: Kernels) -> Host {
        Host { kernels, feature_cache: FeatureCache::default(), free: 1 << 40 }
    }
}

/// Says what to compile for a source, by its name, instead of its text.
type Change<'a> = &'a dyn Fn(&str, &str) -> String;

/// An engine of kernels that are not what they should be; `None` without a compiler, an error with its words where it refuses.
pub fn compile(change: Change) -> Option<Result<Host, String>> {
    load(change).map(|kernels| kernels.map(Host::new))
}

/// A function that runs the whole grid of a kernel.
fn runner(kernel: &Kernel) -> String {
    let arguments = kernel.parameters.iter().enumerate().map(|(i, (kind, _))| format!("*({kind} *)arguments[{i}]"));
    let arguments = arguments.collect::<Vec<_>>().join(", ");
    let name = kernel.name;
    format!(
        "void run_{name}(void **arguments, unsigned blocks, unsigned threads) {{\n    blockDim.x = threads;\n    \
         for (blockIdx.x = blocks; blockIdx.x-- > 0;)\n        for (threadIdx.x = threads; threadIdx.x-- > 0;) \
         {name}({arguments});\n}}\n"
    )
}

fn load(change: Change) -> Option<Result<Kernels, String>> {
    let dir = tempfile::tempdir().unwrap();
    let [library, source] = ["kernels.so", "kernels.c"].map(|name| dir.path().join(name));
    std::fs::write(dir.path().join("thread.cuh"), SHARED).unwrap();
    let mut text = include_str!("host.c").to_string();
    for of in &SOURCES {
        text += &format!("\n#line 1 \"{}.cu\"\n{}", of.name, change(of.name, of.cuda));
    }
    text.extend(SOURCES.iter().flat_map(|of| of.kernels).map(runner));
    std::fs::write(&source, text).unwrap();
    let output = Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-shared", "-fPIC"])
        .args([source.as_os_str(), "-o".as_ref(), library.as_os_str(), "-lm".as_ref()])
        .output()
        .ok()?;
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into()));
    }
    let path = CString::new(library.to_str().unwrap()).unwrap();
    const RTLD_NOW: c_int = 2;
    // SAFETY: a library just made from our own source, which runs nothing when loaded.
    let handle = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    assert!(!handle.is_null(), "{} does not load", library.display());
    let kernels = SOURCES.iter().flat_map(|source| source.kernels).map(|kernel| {
        let name = CString::new(format!("run_{}", kernel.name)).unwrap();
        // SAFETY: the library is never closed.
        let function = unsafe { dlsym(handle, name.as_ptr()) };
        assert!(!function.is_null(), "no run_{}", kernel.name);
        // SAFETY: `runner` gives every function this type.
        (kernel.name, unsafe { std::mem::transmute::<*mut c_void, Run>(function) })
    });
    Some(Ok(Arc::new(kernels.collect())))
}

impl GpuApi for Host {
    // Of u64, so that numbers of any type are aligned.
    type Memory = Box<[u64]>;
    type Pinned = Box<[u8]>;
    type GpuEvent = GpuEvent;

    fn alloc(&self, bytes: usize) -> Result<Self::Memory, Error> {
        Ok(vec![0; bytes.div_ceil(8)].into_boxed_slice())
    }

    fn address(memory: &Self::Memory) -> u64 {
        memory.as_ptr() as u64
    }

    unsafe fn clear(&self, at: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    unsafe fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    unsafe fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
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
        // SAFETY: the caller's promise.
        unsafe { self.kernels[kernel.name](pointers.as_mut_ptr(), threads.div_ceil(BLOCK) as u32, BLOCK as u32) };
        Ok(())
    }

    unsafe fn product(&self, p: &Product) -> Result<(), Error> {
        let [m, k, n] = p.sizes;
        for cell in 0..p.cells {
            // Copies, since results and factors may be parts of one buffer.
            let factor = |f: &Factor, len: usize| f.numbers.part(cell * f.stride, len)?.read(self);
            let (a, b) = (factor(&p.a, m * k)?, factor(&p.b, k * n)?);
            let matrix = |numbers, transposed: bool, rows, cols| match transposed {
                true => Mat::new(numbers, cols, rows).t(),
                false => Mat::new(numbers, rows, cols),
            };
            let (a, b) = (matrix(&a, p.a.transposed, m, k), matrix(&b, p.b.transposed, k, n));
            let at = p.out.numbers.part(cell * p.out.stride, m * n)?;
            let mut out = at.read(self)?;
            product(&mut out, a, b, 1.0, p.add);
            at.write(self, &out)?;
        }
        Ok(())
    }

    fn pin(&self, bytes: usize) -> Result<Self::Pinned, Error> {
        Ok(vec![0; bytes].into_boxed_slice())
    }

    fn pinned(memory: &mut Self::Pinned) -> &mut [u8] {
        memory
    }

    unsafe fn send(&self, _: &GpuEvent, from: &Self::Pinned, copies: &[Transfer]) -> Result<GpuEvent, Error> {
        let copy = |t: &Transfer| (from[t.from..t.from + t.bytes].as_ptr(), t.bytes, t.to);
        Ok(GpuEvent(RefCell::new(copies.iter().map(copy).collect())))
    }

    fn mark(&self) -> Result<GpuEvent, Error> {
        Ok(GpuEvent(RefCell::default()))
    }

    fn follow(&self, mark: &GpuEvent) -> Result<(), Error> {
        self.wait(mark)
    }

    fn wait(&self, mark: &GpuEvent) -> Result<(), Error> {
        for (from, bytes, to) in mark.0.take() {
            // SAFETY: whoever sent promised to keep both until now.
            unsafe { std::ptr::copy_nonoverlapping(from, to as *mut u8, bytes) };
        }
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        Ok(self.free)
    }
}

impl KeepsFeatures for Host {
    fn feature_cache(&self) -> &FeatureCache<Host> {
        &self.feature_cache
    }
}
