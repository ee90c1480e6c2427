//! Opens the device that was chosen.

use super::api::Device;
use super::cpu::OnTheCpu;
use super::cuda::OnGpu;
use crate::train::Error;

/// A device by its place; every run opens one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl Which {
    /// `cpu`, `cuda:0`.
    pub fn name(self) -> String {
        match self {
            Which::Cpu => "cpu".into(),
            Which::Cuda(ordinal) => format!("cuda:{ordinal}"),
        }
    }

    /// Generators that it trains side by side at most, where its memory holds them and nobody wants fewer.
    pub fn side_by_side(self) -> usize {
        match self {
            Which::Cpu => 1,
            Which::Cuda(_) => usize::MAX,
        }
    }

    /// Opens it.
    pub fn open(self) -> Result<Box<dyn Device>, Error> {
        match self {
            Which::Cpu => Ok(Box::new(OnTheCpu)),
            Which::Cuda(ordinal) => Ok(Box::new(OnGpu::open(ordinal)?)),
        }
    }
}
