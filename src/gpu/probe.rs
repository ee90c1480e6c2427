//! What a program can know of a machine's GPUs.

use std::fmt;

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A GPU if the program and the machine have one.
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

/// A CUDA version, major and minor: the newest that a driver runs, or the one that a program was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// From the number that CUDA uses: 12040 is 12.4.
    pub fn of_number(number: i32) -> Version {
        let number = number.max(0).unsigned_abs();
        Version(number / 1000, number % 1000 / 10)
    }

    /// From `12.4`.
    pub fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What the program and the machine have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The program was built without the feature `cuda`.
    NotBuilt,
    /// A library that CUDA programs need is not there: its name, and what the system says.
    NoLibrary {
        /// `libcuda.so.1`, which a driver brings, or one of a CUDA toolkit.
        name: String,
        /// The system's words.
        says: String,
    },
    /// The driver is there and does not start: its words.
    NoDriver(String),
    /// A driver that answers, and its GPUs.
    Driver {
        /// The newest CUDA version that it runs.
        runs: Version,
        /// What the program was built with: a driver for less cannot read its kernels.
        built: Version,
        /// The least compute capability that the program's kernels run on.
        least: (u32, u32),
        /// The GPUs, in the driver's order.
        gpus: Vec<Gpu>,
    },
}

/// Memory without which nothing can be trained: what CUDA itself takes, and a small network.
pub const LEAST_FREE: u64 = 1 << 30;
