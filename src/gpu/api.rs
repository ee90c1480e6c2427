//! What fused operations ask of a GPU: memory, kernels and products, in one queue.
//!
//! Work is done in the order in which it is asked for. Only [`GpuApi::read`] and [`GpuApi::wait`] wait for it; an engine may
//! return from everything else before it is done. Beside the work, in a queue of their own, run the copies of
//! [`GpuApi::send`]; marks say which of the two waits for what of the other.

use crate::train::Error;
use bytemuck::Pod;
use std::marker::PhantomData;

/// A device that runs the kernels.
pub trait GpuApi: Sized {
    /// Some bytes on the device, given back when dropped.
    type Memory;

    /// Some bytes on the host that copies run from while work goes on, given back when dropped.
    type Pinned: Send;

    /// A place in one of the two queues.
    type GpuEvent;

    /// Memory full of zeros.
    fn alloc(&self, bytes: usize) -> Result<Self::Memory, Error>;

    /// Where memory begins, as the device counts.
    fn address(memory: &Self::Memory) -> u64;

    /// Sets bytes to 0.
    ///
    /// # Safety
    /// The device has memory for so many bytes at `at`.
    unsafe fn clear(&self, at: u64, bytes: usize) -> Result<(), Error>;

    /// Copies on the device.
    ///
    /// # Safety
    /// The device has memory for so many bytes at both places, which do not overlap.
    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error>;

    /// Copies from the host; `bytes` may be used for something else when it returns.
    ///
    /// # Safety
    /// The device has memory for all of `bytes` at `to`.
    unsafe fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Error>;

    /// Waits for all work and copies to the host.
    ///
    /// # Safety
    /// The device has memory for all of `bytes` at `from`.
    unsafe fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), Error>;

    /// Runs a kernel in at least `threads` threads.
    ///
    /// # Safety
    /// `arguments` are the kernel's, in number and type, and its addresses lead to memory of the sizes that it says.
    unsafe fn launch(&self, kernel: Kernel, threads: usize, arguments: &[Argument]) -> Result<(), Error>;

    /// Computes a product of every cell.
    ///
    /// # Safety
    /// [`Product::check`] found nothing.
    unsafe fn product(&self, product: &Product) -> Result<(), Error>;

    /// Memory on the host to copy from.
    fn pin(&self, bytes: usize) -> Result<Self::Pinned, Error>;

    /// Its bytes.
    fn pinned(memory: &mut Self::Pinned) -> &mut [u8];

    /// Copies from the host beside the work, but not before `after`; gives the mark that is reached when all are over.
    ///
    /// # Safety
    /// Each copy lies inside `from` and the device has memory for it; until the mark is waited for, `from` is neither written nor
    /// dropped, and no work that does not follow the mark touches what is copied to.
    unsafe fn send(
        &self,
        after: &Self::GpuEvent,
        from: &Self::Pinned,
        copies: &[Transfer],
    ) -> Result<Self::GpuEvent, Error>;

    /// The place behind all work that was asked for.
    fn mark(&self) -> Result<Self::GpuEvent, Error>;

    /// Work asked for from now on begins behind a mark.
    fn follow(&self, mark: &Self::GpuEvent) -> Result<(), Error>;

    /// Waits, on the host, until a mark is reached.
    fn wait(&self, mark: &Self::GpuEvent) -> Result<(), Error>;

    /// Bytes of the device's memory that nobody uses.
    fn free_bytes(&self) -> Result<u64, Error>;
}

/// A part of pinned memory, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// The first byte.
    pub from: usize,
    /// How many.
    pub bytes: usize,
    /// Where to, as the device counts.
    pub to: u64,
}

/// A kernel, as it is declared in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Its name there, which no other kernel has.
    pub name: &'static str,
    /// Types, without `const`, and names of what it takes.
    pub parameters: &'static [(&'static str, &'static str)],
}

/// Kernels in CUDA C, and the PTX that was made of them.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The names of both files, without their endings.
    pub name: &'static str,
    /// CUDA C.
    pub cuda: &'static str,
    /// PTX, which begins with what it was made of.
    pub ptx: &'static str,
    /// Its kernels.
    pub kernels: &'static [Kernel],
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// `count`: a size or a place.
    Count(i64),
    /// `float`.
    Number(f32),
    /// A pointer; 0 is none.
    Address(u64),
}

/// Numbers on a device.
pub struct Buffer<E: GpuApi, T = f32> {
    memory: E::Memory,
    len: usize,
    of: PhantomData<T>,
}

impl<E: GpuApi, T: Pod> Buffer<E, T> {
    /// Zeros.
    pub fn zeros(engine: &E, len: usize) -> Result<Self, Error> {
        // Nothing has an address nowhere: even an empty buffer has a byte.
        Ok(Buffer { memory: engine.alloc((len * size_of::<T>()).max(1))?, len, of: PhantomData })
    }

    /// A copy of numbers on the host.
    pub fn of(engine: &E, numbers: &[T]) -> Result<Self, Error> {
        let buffer = Self::zeros(engine, numbers.len())?;
        buffer.all().write(engine, numbers)?;
        Ok(buffer)
    }

    /// All of it.
    pub fn all(&self) -> View<'_, T> {
        View { address: E::address(&self.memory), len: self.len, of: PhantomData }
    }
}

/// A part of a buffer. Kernels write through views as they read through them: like a `Cell`, it may be had twice.
#[derive(Debug)]
pub struct View<'a, T = f32> {
    address: u64,
    len: usize,
    of: PhantomData<&'a T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T: Pod> View<'a, T> {
    /// Numbers that belong to somebody else.
    ///
    /// # Safety
    /// The device has `len` of them at `address` for as long as `'a`.
    pub unsafe fn new(address: u64, len: usize) -> View<'a, T> {
        View { address, len, of: PhantomData }
    }

    /// How many numbers.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Where it begins, as the device counts.
    pub fn address(self) -> u64 {
        self.address
    }

    /// Numbers `from` to the end; an error where there are not so many.
    pub fn from(self, from: usize) -> Result<View<'a, T>, Error> {
        let len = self.len.checked_sub(from);
        let len = len.ok_or_else(|| Error::refused(format!("number {from} of {} was asked for", self.len)))?;
        Ok(View { address: self.address + (from * size_of::<T>()) as u64, len, of: PhantomData })
    }

    /// Numbers `from..from + len`; an error where there are not so many.
    pub fn part(self, from: usize, len: usize) -> Result<View<'a, T>, Error> {
        let rest = self.from(from)?;
        rest.holds("part", len)?;
        Ok(View { len, ..rest })
    }

    /// An error unless it has at least `wanted` numbers; `what` names it.
    pub(super) fn holds(self, what: &str, wanted: usize) -> Result<View<'a, T>, Error> {
        if self.len < wanted {
            return Err(Error::refused(format!("{what} has {} numbers on the device, {wanted} are needed", self.len)));
        }
        Ok(self)
    }

    /// Copies all of it to the beginning of another buffer.
    pub fn copy_to<E: GpuApi>(self, engine: &E, to: View<T>) -> Result<(), Error> {
        to.holds("a copy's target", self.len)?;
        let (bytes, apart) = ((self.len * size_of::<T>()) as u64, self.address.abs_diff(to.address));
        if apart < bytes {
            return Err(Error::refused("a copy onto itself"));
        }
        // SAFETY: just checked.
        unsafe { engine.copy(self.address, to.address, bytes as usize) }
    }

    /// Sets all of it to 0.
    pub fn fill_zeros<E: GpuApi>(self, engine: &E) -> Result<(), Error> {
        // SAFETY: as long as the view.
        unsafe { engine.clear(self.address, self.len * size_of::<T>()) }
    }

    /// Copies numbers from the host to its beginning.
    pub fn write<E: GpuApi>(self, engine: &E, numbers: &[T]) -> Result<(), Error> {
        self.write_bytes(engine, bytemuck::cast_slice(numbers))
    }

    /// Copies numbers that lie on the host as the device wants them, little-endian.
    pub fn write_bytes<E: GpuApi>(self, engine: &E, bytes: &[u8]) -> Result<(), Error> {
        self.holds("a copy's target", bytes.len().div_ceil(size_of::<T>()))?;
        // SAFETY: just checked.
        unsafe { engine.write(self.address, bytes) }
    }

    /// Waits for all work and copies the numbers to the host.
    pub fn read<E: GpuApi>(self, engine: &E) -> Result<Vec<T>, Error> {
        let mut numbers = vec![T::zeroed(); self.len];
        // SAFETY: as long as the view.
        unsafe { engine.read(self.address, bytemuck::cast_slice_mut(&mut numbers)) }?;
        Ok(numbers)
    }
}

/// A matrix of every cell, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Factor<'a> {
    /// The first cell's matrix and all that follow.
    pub numbers: View<'a>,
    /// Numbers from one cell's matrix to the next one's; 0 where all cells have the same.
    pub stride: usize,
    /// Whether its transpose is meant.
    pub transposed: bool,
}

impl<'a> Factor<'a> {
    /// Matrices `stride` numbers apart.
    pub fn new(numbers: View<'a>, stride: usize) -> Factor<'a> {
        Factor { numbers, stride, transposed: false }
    }

    /// Their transposes.
    pub fn t(self) -> Factor<'a> {
        Factor { transposed: !self.transposed, ..self }
    }
}

/// out = a b of every cell, or out += a b where `add`; a (M, K), b (K, N), out (M, N), rows without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// G.
    pub cells: usize,
    /// M, K and N.
    pub sizes: [usize; 3],
    /// The left factor.
    pub a: Factor<'a>,
    /// The right factor.
    pub b: Factor<'a>,
    /// The result, not transposed.
    pub out: Factor<'a>,
    /// Whether the result is added to what is there.
    pub add: bool,
}

impl Product<'_> {
    /// Whether every matrix lies inside its memory and no two results overlap.
    pub fn check(&self) -> Result<(), Error> {
        let [m, k, n] = self.sizes;
        let last = self.cells.saturating_sub(1);
        for (what, factor, size) in
            [("a", self.a, m * k), ("b", self.b, k * n), ("a product's result", self.out, m * n)]
        {
            factor.numbers.holds(what, last * factor.stride + size)?;
        }
        if self.out.transposed || (last > 0 && self.out.stride < m * n) {
            return Err(Error::refused("results of a product overlap"));
        }
        Ok(())
    }

    /// Has it computed.
    pub fn run<E: GpuApi>(&self, engine: &E) -> Result<(), Error> {
        self.check()?;
        if self.cells == 0 || self.sizes.contains(&0) {
            return Err(Error::refused(format!("an empty product {:?}", self.sizes)));
        }
        // SAFETY: just checked.
        unsafe { engine.product(self) }
    }
}
