//! The generators: networks that map vision to an audio feature.
//!
//! A new one is a file beside this one and a name in the list below; `docs/extending.md` shows it on an example.

pub use super::network::TestFrame;
use super::network::{Network, Sizes};
use super::settings::left_out;
use super::tensor::{DeviceError, Matrix, affine};
use dfdx::prelude::*;
use std::collections::HashMap;

/// Hands the list of generators, `module Type` each, to the macro `$then`. Words in YAML are the modules' names.
#[macro_export]
#[doc(hidden)]
macro_rules! for_each_generator {
    ($then:ident) => {
        $then! {
            lstm Lstm,
            autoencoder Autoencoder,
            mlp Mlp,
            transformer Transformer,
        }
    };
}

/// Layers that the fused engines have kernels for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FusedTrunk {
    /// One LSTM layer; both heads read its last state.
    Lstm {
        /// H.
        hidden: usize,
        /// What its products multiply in training.
        precision: compute::nn::lstm::Precision,
    },
    /// Affine layers with ReLU; the classifier reads the encoder's last, the feature's head the decoder's.
    Autoencoder {
        /// Widths.
        encoder: Vec<usize>,
        /// Widths.
        decoder: Vec<usize>,
    },
}

impl FusedTrunk {
    /// Whether its training rounds the factors of products, which the CPU's fused engine alone does.
    pub fn is_rounded(&self) -> bool {
        matches!(self, FusedTrunk::Lstm { precision: compute::nn::lstm::Precision::Bf16, .. })
    }
}

/// What a generator says of itself; implemented by its settings, a section of `experiment.yaml` of the generator's name.
pub trait Describe: std::fmt::Debug + Send + Sync {
    /// Settings that make no sense, as (key within the section, message); the first one found.
    fn check(&self) -> Result<(), (String, String)>;

    /// The network at these sizes.
    fn network(&self, sizes: Sizes) -> Network;

    /// Its form in the fused engines' kernels; none says that only dfdx's operations can train it.
    fn fused(&self) -> Option<FusedTrunk> {
        None
    }

    /// For a network of one frame: which of a val clip's it sees.
    fn test_frame(&self) -> TestFrame {
        TestFrame::Centre
    }
}

/// Parameters by name, on a device.
pub struct Params<D: Device<f32>>(pub HashMap<String, Matrix<D>>);

impl<D: Device<f32>> Params<D> {
    /// One of them.
    pub fn get(&self, name: &str) -> Result<&Matrix<D>, DeviceError> {
        self.0.get(name).ok_or_else(|| DeviceError(format!("the network has no parameter {name:?}")))
    }

    /// x W + b with `NAME.w` and `NAME.b`.
    pub fn affine(&self, name: &str, x: Taped<D>) -> Result<Taped<D>, DeviceError> {
        affine(x, self.get(&format!("{name}.w"))?, self.get(&format!("{name}.b"))?)
    }
}

/// What the heads read: for the classifier, and for the feature, each (B, width).
pub type Trunk<D> = Result<(Taped<D>, Taped<D>), DeviceError>;

/// A matrix that records what is done with it. Forward passes are compiled for it alone: where nothing is to be learned, the
/// record is dropped.
pub type Taped<D> = Matrix<D, OwnedTape<f32, D>>;

/// A generator's forward pass in dfdx's operations.
pub trait Forward {
    /// Whether an experiment's record has its settings also where they are the defaults, as those of the first two
    /// generators always were: what is hashed of an experiment does not change when a generator is added.
    const ALWAYS_STORED: bool = false;

    /// From a batch, as [`Sees`](super::network::Sees) says, to what the heads read.
    fn trunk<D: Device<f32>>(&self, p: &Params<D>, x: Taped<D>, frames: usize) -> Trunk<D>;
}

/// What a generator makes of a batch.
pub struct Output<D: Device<f32>, T> {
    /// Class logits, (B, K).
    pub logits: Matrix<D, T>,
    /// The generated feature, (B, D_a), on the scale of the target.
    pub audio: Matrix<D, T>,
}

/// The heads on what a trunk gives. The trunk's record goes with the feature, which is always learned from; the classifier's
/// branch may be left out of a loss.
fn heads<D: Device<f32>>(
    p: &Params<D>,
    for_classes: Taped<D>,
    for_audio: Taped<D>,
) -> Result<Output<D, OwnedTape<f32, D>>, DeviceError> {
    let ((for_classes, first), (for_audio, second)) = (for_classes.split_tape(), for_audio.split_tape());
    let logits = p.affine("classify", for_classes.put_tape(OwnedTape::default()))?;
    Ok(Output { logits, audio: p.affine("audio", for_audio.put_tape(first.merge(second)))? })
}

/// Whether settings are left out of an experiment's record.
pub(crate) fn is_unset<S: Forward + Default + PartialEq>(settings: &S) -> bool {
    left_out(!S::ALWAYS_STORED && *settings == S::default())
}

macro_rules! registry {
    ($($module:ident $Settings:ident,)+) => {
        $(pub mod $module;)+

        $crate::words!(
            /// A network that maps vision to an audio feature.
            Architecture {
                $(#[doc = concat!("See [`", stringify!($module), "`].")] $Settings: $module,)+
            }
        );

        /// A generator with its settings.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Generator {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $Settings($module::$Settings),)+
        }

        impl Architecture {
            /// This generator with the settings that it has where nobody says otherwise.
            pub fn with_defaults(self) -> Generator {
                match self { $(Architecture::$Settings => Generator::$Settings(Default::default()),)+ }
            }
        }

        impl Generator {
            /// Which it is.
            pub fn architecture(&self) -> Architecture {
                match self { $(Generator::$Settings(_) => Architecture::$Settings,)+ }
            }

            /// What it says of itself.
            pub fn describe(&self) -> &dyn Describe {
                match self { $(Generator::$Settings(settings) => settings,)+ }
            }

            /// Its settings as JSON.
            pub fn to_json(&self) -> serde_json::Value {
                match self { $(Generator::$Settings(settings) => serde_json::json!(settings),)+ }
            }

            /// A generator from settings as [`Generator::to_json`] gives them.
            pub fn from_json(which: Architecture, settings: serde_json::Value) -> Result<Generator, serde_json::Error> {
                Ok(match which {
                    $(Architecture::$Settings => Generator::$Settings(serde_json::from_value(settings)?),)+
                })
            }

            /// Runs a batch, in dfdx's own operations.
            pub fn forward<D: Device<f32>>(
                &self,
                p: &Params<D>,
                x: Taped<D>,
                frames: usize,
            ) -> Result<Output<D, OwnedTape<f32, D>>, DeviceError> {
                let (for_classes, for_audio) = match self {
                    $(Generator::$Settings(settings) => settings.trunk(p, x, frames)?,)+
                };
                heads(p, for_classes, for_audio)
            }
        }
    };
}

for_each_generator!(registry);
