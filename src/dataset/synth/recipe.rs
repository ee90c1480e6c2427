//! Sizes and difficulty of the presets.

use crate::dataset::features::Precision;

/// Latent factors of a clip that are both seen and heard.
pub(super) const FACTORS: usize = 6;

/// Factors that each stream shows.
pub(super) const SEEN: usize = 3;

/// Classes that look alike, and sound families.
pub(super) const GROUP: usize = 4;

/// VGGish patches in a clip of 3 s.
pub(super) const PATCHES: usize = 3;

/// A kind of data set to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Preset {
    /// 20 classes, 1,600 train and 800 val clips, widths of tens: trains in seconds
    Mini,
    /// The paper's counts and widths: 200 classes, 100,000 train and 10,000 val clips, 8 GB
    Paper,
}

impl Preset {
    /// `mini` or `paper`.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Mini => "mini",
            Preset::Paper => "paper",
        }
    }
}

/// Counts and widths, and the weights of the formulas at the head of [`synth`](super).
///
/// The weights were tuned so that, on silent clips, true sound > LSTM > autoencoder > mean fill in the accuracy of SVMs
/// on the feature and in its R^2, with no stream near chance and none near 100 %.
#[derive(Clone, Copy)]
pub(super) struct Recipe {
    pub classes: usize,
    /// T.
    pub frames: usize,
    /// (clips, silent ones) of train and val.
    pub counts: [(usize, usize); 2],
    pub rgb: usize,
    pub flow: usize,
    pub aenet: usize,
    /// All patches.
    pub vggish: usize,
    pub precision: Precision,
    /// Latent places of a stream beside its factors.
    pub seen_rank: usize,
    /// Latent places of sound.
    pub heard_rank: usize,
    /// The class's own share of its look.
    pub detail: f32,
    /// Clip noise of rgb.
    pub blur: f32,
    /// Clip noise of flow.
    pub shake: f32,
    /// Strength of the motion that only the order of frames shows.
    pub sweep: f32,
    /// The pair's own share of its motion and sweep.
    pub own_motion: f32,
    /// Strength of the factors in the streams.
    pub factor: f32,
    /// Latent noise of single frames.
    pub jitter: f32,
    /// Noise of single numbers.
    pub grain: f32,
    /// Weight of the class in sound.
    pub timbre: f32,
    /// The class's own share of its timbre.
    pub own_timbre: f32,
    /// Weight of the factors in sound.
    pub echo: f32,
    /// Weight of what nothing seen tells in sound.
    pub hiss: f32,
    /// Latent noise of single VGGish patches.
    pub fuzz: f32,
}

impl Preset {
    pub(super) fn recipe(self) -> Recipe {
        match self {
            Preset::Mini => Recipe {
                classes: 20,
                frames: 18,
                counts: [(1_600, 717), (800, 297)],
                rgb: 48,
                flow: 48,
                aenet: 64,
                vggish: 48,
                precision: Precision::F32,
                seen_rank: 8,
                heard_rank: 12,
                detail: 0.65,
                blur: 1.4,
                shake: 0.6,
                sweep: 2.0,
                own_motion: 0.2,
                factor: 1.5,
                jitter: 0.2,
                grain: 0.2,
                timbre: 0.75,
                own_timbre: 0.5,
                echo: 0.5,
                hiss: 0.43,
                fuzz: 0.3,
            },
            // The counts are those of the paper's Table 1.
            Preset::Paper => Recipe {
                classes: 200,
                counts: [(100_000, 44_804), (10_000, 3_714)],
                rgb: 1_024,
                flow: 1_024,
                aenet: 1_024,
                vggish: 384,
                precision: Precision::F16,
                seen_rank: 32,
                heard_rank: 14,
                detail: 0.2,
                blur: 1.6,
                shake: 1.0,
                own_motion: 0.2,
                own_timbre: 0.5,
                timbre: 0.75,
                echo: 0.5,
                hiss: 0.43,
                jitter: 0.4,
                fuzz: 0.3,
                ..Preset::Mini.recipe()
            },
        }
    }
}
