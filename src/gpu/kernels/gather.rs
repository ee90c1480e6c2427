//! Batches of standardised rows from features that lie on the device.

use super::launcher::kernels;
use crate::gpu::api::{GpuApi, View};
use crate::train::Error;
use bytemuck::Pod;
use half::f16;

kernels! { "gather":
    gather_f32(
        steps: usize, batch: usize, features_frames: usize, features_width: usize, features: View<f32>, clips: View<i64>,
        frames: Option<View<i64>>, mean: View, inverse_sd: View, out: View, width: usize, from: usize,
    );
    gather_f16(
        steps: usize, batch: usize, features_frames: usize, features_width: usize, features: View<f16>, clips: View<i64>,
        frames: Option<View<i64>>, mean: View, inverse_sd: View, out: View, width: usize, from: usize,
    );
}

/// A number that features are kept as.
pub trait Kept: Pod {
    /// Launches the kernel that gathers them: [`gather`] without its checks.
    ///
    /// # Safety
    /// As for [`gather`], and sizes are as they are said to be.
    #[allow(clippy::too_many_arguments)]
    unsafe fn gather<E: GpuApi>(
        engine: &E,
        threads: usize,
        sizes: [usize; 2],
        source: &Source<Self>,
        clips: View<i64>,
        frames: Option<View<i64>>,
        out: View,
        columns: [usize; 2],
    ) -> Result<(), Error>;
}

macro_rules! kept {
    ($($number:ty: $kernel:ident),+) => {
        $(impl Kept for $number {
            unsafe fn gather<E: GpuApi>(
                engine: &E,
                threads: usize,
                [steps, batch]: [usize; 2],
                source: &Source<Self>,
                clips: View<i64>,
                frames: Option<View<i64>>,
                out: View,
                [width, from]: [usize; 2],
            ) -> Result<(), Error> {
                let Source { features, frames: of, width: wide, mean, inverse_sd } = *source;
                // SAFETY: the caller's promise.
                unsafe {
                    launch::$kernel(
                        engine, threads, steps, batch, of, wide, features, clips, frames, mean, inverse_sd, out, width, from,
                    )
                }
            }
        })+
    };
}

kept!(f32: gather_f32, f16: gather_f16);

/// Features of clips on the device, (N, F, D), with the statistics of their dimensions, (D) each.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, T> {
    /// (N, F, D).
    pub features: View<'a, T>,
    /// F.
    pub frames: usize,
    /// D.
    pub width: usize,
    /// Means.
    pub mean: View<'a>,
    /// 1 / sd.
    pub inverse_sd: View<'a>,
}

/// Standardised rows of `clips` (B) in columns `from..from + D` of `out` (R, `width`): frames 0 to `steps` - 1 of each clip,
/// time-major, or the frame that `frames` (B) names, and then `steps` is 1.
///
/// # Safety
/// `clips` are below N and `frames` below F: what lies on the device cannot be checked here.
pub(in crate::gpu) unsafe fn gather<E: GpuApi, T: Kept>(
    engine: &E,
    source: &Source<T>,
    steps: usize,
    clips: View<i64>,
    frames: Option<View<i64>>,
    out: View,
    [width, from]: [usize; 2],
) -> Result<(), Error> {
    let (rows, batch) = (steps * clips.len(), clips.len());
    if let Some(frames) = frames {
        frames.holds("frames", batch)?;
    }
    if from + source.width > width || steps > source.frames || (frames.is_some() && steps != 1) {
        return Err(Error::refused(format!("{steps} steps, columns from {from} of {width}: no such batch")));
    }
    source.mean.holds("means", source.width)?;
    source.inverse_sd.holds("deviations", source.width)?;
    out.holds("a batch", rows * width)?;
    let (threads, sizes) = (rows * source.width, [steps, batch]);
    // SAFETY: sizes were checked, and the caller answers for clips and frames.
    unsafe { T::gather(engine, threads, sizes, source, clips, frames, out, [width, from]) }
}
