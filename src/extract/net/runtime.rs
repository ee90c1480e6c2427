//! What runs a network.

use super::network::{Device, Network, Wanted};
use crate::extract::error::Error;

/// A runtime that has been found.
#[derive(Clone, Debug)]
pub enum Runtime {
    /// ONNX Runtime.
    OnnxRuntime(super::onnxruntime::Library),
    /// rten.
    #[cfg(feature = "rten")]
    Rten,
}

impl Runtime {
    /// Finds or loads it.
    pub fn find(wanted: &Wanted, device: Device) -> Result<Runtime, Error> {
        match wanted {
            Wanted::OnnxRuntime(path) => super::onnxruntime::Library::load(path.as_deref()).map(Runtime::OnnxRuntime),
            Wanted::Rten if device != Device::Cpu => Err(Error::Usage(format!(
                "--device {device}: rten runs on the processor only\n  next: --runtime onnxruntime"
            ))),
            #[cfg(feature = "rten")]
            Wanted::Rten => Ok(Runtime::Rten),
            #[cfg(not(feature = "rten"))]
            Wanted::Rten => Err(Error::Runtime {
                message:
                    "this program was built without rten\n  next: --runtime onnxruntime, or build with --features rten"
                        .into(),
            }),
        }
    }

    /// Its name and version.
    pub fn version(&self) -> String {
        match self {
            Runtime::OnnxRuntime(library) => format!("onnxruntime {}", library.version),
            #[cfg(feature = "rten")]
            Runtime::Rten => format!("rten {}", super::rten::VERSION),
        }
    }

    /// Makes a network ready; `bytes` are the file's, with all wanted outputs among the graph's.
    pub fn network(
        &self,
        bytes: &[u8],
        file: Option<&std::path::Path>,
        outputs: &[String],
        device: Device,
    ) -> Result<Box<dyn Network>, String> {
        match self {
            Runtime::OnnxRuntime(library) => library.network(bytes, file, outputs, device),
            #[cfg(feature = "rten")]
            Runtime::Rten => super::rten::network(bytes, outputs),
        }
    }
}
