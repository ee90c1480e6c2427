//! What a program can know of a machine's GPUs.

use std::fmt;
use std::path::PathBuf;

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A GPU if the machine has one.
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU: the first, or the one of this number.
    Cuda(Option<usize>),
}

impl Wanted {
    /// Reads `auto`, `cpu`, `cuda` or `cuda:N`.
    pub fn parse(text: &str) -> Option<Wanted> {
        match text {
            "auto" => Some(Wanted::Auto),
            "cpu" => Some(Wanted::Cpu),
            "cuda" => Some(Wanted::Cuda(None)),
            other => {
                let number = other.strip_prefix("cuda:")?;
                // A sign would be read too.
                number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())?.map(|n| Wanted::Cuda(Some(n)))
            }
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Auto => f.write_str("auto"),
            Wanted::Cpu => f.write_str("cpu"),
            Wanted::Cuda(None) => f.write_str("cuda"),
            Wanted::Cuda(Some(n)) => write!(f, "cuda:{n}"),
        }
    }
}

/// A GPU, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// `NVIDIA H200`.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute: (u32, u32),
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// What of it no program uses, in bytes; all of it where nobody asked.
    pub free_bytes: u64,
}

/// A CUDA version, major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// From the number that CUDA uses: 12040 is 12.4.
    pub fn of_number(number: i32) -> Version {
        let number = number.max(0).unsigned_abs();
        Version(number / 1000, number % 1000 / 10)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nobody looked: the CPU is wanted.
    NotLooked,
    /// The driver's library is not there: where it was looked for.
    NoLibrary(String),
    /// The driver is there and does not start: its words, or why it cannot be used.
    NoDriver(String),
    /// A driver that answers.
    Driver {
        /// The newest CUDA version that it runs.
        runs: Version,
        /// The GPUs, in the driver's order.
        gpus: Vec<Gpu>,
        /// The matrix products that this driver runs; or what is the matter with them, and what to do. Nobody looks for
        /// them where there is no GPU that will do.
        cublas: Result<Blas, String>,
    },
}

/// cuBLAS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blas {
    /// `13.0.2`.
    pub version: String,
    /// Where it is.
    pub file: PathBuf,
}

/// How a library was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The library.
    pub what: String,
    /// Places in their order; the last has it, if any does.
    pub looked: Vec<Looked>,
    /// One that is too new for the driver, where none else was found.
    pub newer: Option<PathBuf>,
}

/// A place, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// `CUDA_PATH=/usr/local/cuda`.
    pub place: String,
    /// The library's file, or why it is not taken from here.
    pub outcome: String,
}

impl Search {
    /// Where it was not found, on one line.
    pub fn in_vain(&self) -> String {
        let looked: Vec<String> = self.looked.iter().map(|l| format!("{}: {}", l.place, l.outcome)).collect();
        looked.join("; ")
    }
}

/// The least that a driver runs: our kernels' PTX, and memory pools.
pub const LEAST_CUDA: Version = Version(11, 4);

/// The least compute capability of a GPU that runs our kernels.
pub const LEAST_COMPUTE: (u32, u32) = (8, 0);

/// Memory without which nothing can be trained: what CUDA itself takes, and a small network.
pub const LEAST_FREE: u64 = 1 << 30;
