//! Typed launchers: a kernel is declared with the parameters that it has in its `.cu`, by name and type, and what calls it
//! gives these. The tests compare each declaration with the source, and have a C compiler check it.

use crate::gpu::api::{Argument, View};
use half::f16;

/// What a kernel takes as an argument.
pub(super) trait Parameter {
    /// Its type in the `.cu`, without `const`.
    const TYPE: &'static str;

    /// Itself, for a launch.
    fn argument(self) -> Argument;
}

impl Parameter for usize {
    const TYPE: &'static str = "count";

    fn argument(self) -> Argument {
        Argument::Count(self as i64)
    }
}

impl Parameter for f32 {
    const TYPE: &'static str = "float";

    fn argument(self) -> Argument {
        Argument::Number(self)
    }
}

macro_rules! pointers {
    ($($number:ty: $name:literal),+) => {
        $(impl Parameter for View<'_, $number> {
            const TYPE: &'static str = $name;

            fn argument(self) -> Argument {
                Argument::Address(self.address())
            }
        })+
    };
}

pointers!(f32: "float *", f64: "double *", i64: "count *", f16: "unsigned short *");

/// A null pointer where there is none.
impl Parameter for Option<View<'_, i64>> {
    const TYPE: &'static str = "count *";

    fn argument(self) -> Argument {
        Argument::Address(self.map_or(0, View::address))
    }
}

/// Declares the kernels of a `.cu` beside this file: `SOURCE`, and in `launch` a function for each.
macro_rules! kernels {
    ($file:literal: $($kernel:ident($($parameter:ident: $type:ty),+ $(,)?);)+) => {
        /// The source of these kernels, and what was made of it.
        pub const SOURCE: $crate::gpu::api::Source = $crate::gpu::api::Source {
            name: $file,
            cuda: include_str!(concat!($file, ".cu")),
            ptx: include_str!(concat!($file, ".ptx")),
            kernels: &[$(launch::names::$kernel),+],
        };

        /// The kernels. Each runs in at least `threads` threads.
        pub(in crate::gpu) mod launch {
            #[allow(unused_imports)]
            use super::*;
            use $crate::gpu::kernels::launcher::Parameter;

            #[allow(non_upper_case_globals)]
            pub(super) mod names {
                use super::Parameter;
                #[allow(unused_imports)]
                use super::super::*;
                $(pub const $kernel: $crate::gpu::api::Kernel = $crate::gpu::api::Kernel {
                    name: stringify!($kernel),
                    parameters: &[$((<$type as Parameter>::TYPE, stringify!($parameter))),+],
                };)+
            }

            $(
                /// # Safety
                /// Sizes are those of what the addresses lead to, as the `.cu` has them.
                #[allow(clippy::too_many_arguments)]
                pub unsafe fn $kernel<E: $crate::gpu::api::GpuApi>(
                    engine: &E,
                    threads: usize,
                    $($parameter: $type),+
                ) -> Result<(), $crate::train::Error> {
                    // SAFETY: the caller's promise; number and types are the kernel's.
                    unsafe { engine.launch(names::$kernel, threads, &[$(Parameter::argument($parameter)),+]) }
                }
            )+
        }
    };
}

pub(super) use kernels;
