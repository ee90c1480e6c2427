//! What a network is to those who run it, where it runs, and by what.

use std::path::PathBuf;

/// The results of one call: for each wanted output its shape and numbers.
pub type Outputs = Vec<(Vec<usize>, Vec<f32>)>;

/// A network that is ready to run.
pub trait Network: Send {
    /// Runs it on an input of this shape; what the runtime says where it refuses.
    fn run(&mut self, shape: &[usize], input: &[f32]) -> Result<Outputs, String>;
}

/// Where networks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// On the processor, one thread a worker.
    Cpu,
    /// On a CUDA device, all workers in turn.
    Cuda(usize),
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| format!("--device {text}: should be cpu, cuda or cuda:N")),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => write!(f, "cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// Which runtime, as it is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// ONNX Runtime's shared library: the one at this path, or one that is found.
    OnnxRuntime(Option<PathBuf>),
    /// rten, which is compiled in with `--features rten`.
    Rten,
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        match text.split_once('=') {
            None if text == "onnxruntime" => Ok(Wanted::OnnxRuntime(None)),
            Some(("onnxruntime", path)) if !path.is_empty() => Ok(Wanted::OnnxRuntime(Some(path.into()))),
            None if text == "rten" => Ok(Wanted::Rten),
            _ => Err(format!("--runtime {text}: should be onnxruntime, onnxruntime=PATH or rten")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_runtimes_are_read() {
        assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert!("gpu".parse::<Device>().is_err());
        assert_eq!("onnxruntime=/a=b.so".parse(), Ok(Wanted::OnnxRuntime(Some("/a=b.so".into()))));
        assert!("onnxruntime=".parse::<Wanted>().is_err());
        assert!("tract".parse::<Wanted>().is_err());
    }
}
