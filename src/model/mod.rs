//! What can be trained: generators and reconstruction losses, one file each.
//!
//! A generator ([`generator`]) is its settings in the experiment, one description of its network ([`network`]) from which
//! parameters, operation counts, memory, checkpoints and drawings are derived, and a forward pass in dfdx's operations. A loss
//! ([`loss`]) is a function of two matrices. Both are generic over dfdx's devices and know no engine: `train` and `gpu` have
//! faster forms of some of them. [`tensor`] has what dfdx's tensors need around them.

pub mod generator;
pub mod loss;
pub mod network;
pub mod settings;
pub mod tensor;

pub use generator::Architecture;
pub use loss::Loss;
pub use network::{Network, Sizes};
pub use tensor::{DeviceError, Matrix};

/// Declares an enum of words that YAML, command line, SQL and report share. Words are given (`PlattRaw = "platt-raw"`), or are the
/// names of modules, which are the variants' in lower case (`Lstm: lstm`).
#[macro_export]
#[doc(hidden)]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }
        $crate::words!(@methods $name { $($variant = $word),+ });
    };
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident: $module:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        $crate::words!(@methods $name { $($variant = stringify!($module)),+ });
    };
    (@methods $name:ident { $($variant:ident = $word:expr),+ }) => {
        impl $name {
            /// Every value, in order.
            pub const ALL: &[$name] = &[$($name::$variant),+];
            /// The word that YAML, CLI, SQL and report use.
            pub fn word(self) -> &'static str { match self { $($name::$variant => $word),+ } }
            /// The value of a word.
            pub fn of_word(word: &str) -> Option<$name> { Self::ALL.iter().copied().find(|v| v.word() == word) }
            /// Every word.
            pub fn words() -> Vec<&'static str> { Self::ALL.iter().map(|v| v.word()).collect() }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.word()) }
        }
    };
}
