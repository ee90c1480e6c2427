//! HTK's `FBANK_E_D_A` with 49 bands, the input of AENet: 50 log-mel bands and energy, their slopes and the slopes'
//! slopes, every 10 ms.
//!
//! Frames of 400 samples (25 ms, not scaled) every 160; energy ln(sum s^2) of the raw frame, normalised to the
//! recording's loudest frame; pre-emphasis s_n - 0.97 s_(n-1); a Hamming window; the magnitude of a Fourier transform of
//! 512; 49 triangles linear in mel over bins 1 to 255; ln(max(x, 1)). Slopes are regressions over two frames to both
//! sides. After the HTK Book, 5.4 to 5.9. Takahashi et al., Deep convolutional neural networks and data augmentation for
//! acoustic event recognition (2016), name the feature; the window, the pre-emphasis and the energy's normalisation are
//! HTK's usual ones, since the configuration of the authors is not published.

use super::fft::Fft;
use super::waveform::RATE;
use std::f64::consts::PI;

const WINDOW: usize = 400;
const HOP: usize = 160;
const FFT: usize = 512;
/// Mel bands; energy comes behind.
const BANDS: usize = 49;
/// Numbers of a frame before the slopes.
pub const STATIC: usize = BANDS + 1;
/// Static numbers, slopes, slopes of slopes.
pub const CHANNELS: usize = 3;
/// Numbers of a frame.
pub const WIDTH: usize = CHANNELS * STATIC;
/// Frames of a patch (2 s).
pub const PATCH: usize = 200;
/// Frames from a patch to the next (1 s).
pub const PATCH_HOP: usize = 100;
/// The least samples that a frame is made of.
pub const LEAST_SAMPLES: usize = WINDOW;

const PRE_EMPHASIS: f64 = 0.97;
/// HTK's stand-in for the logarithm of no energy.
const LOG_ZERO: f64 = -1.0e10;
/// The least energy that HTK takes the logarithm of.
const LEAST_ENERGY: f64 = 2.45e-308;
/// ENORMALISE: energies more than so many decibels below the loudest frame are raised to there.
const SILENCE_FLOOR_DB: f64 = 50.0;
/// ENORMALISE: energies are 1 - 0.1 (loudest - energy).
const ENERGY_SCALE: f64 = 0.1;

/// The front end, with its tables.
#[derive(Clone, Debug)]
pub struct Htk {
    normalise_energy: bool,
    window: Vec<f64>,
    /// For each bin the band below whose centre it lies (0: none), and its weight in it; the rest goes to the next band.
    lower: Vec<(usize, f64)>,
    fft: Fft,
    frame: Vec<f64>,
    magnitudes: Vec<f64>,
}

/// For bins 0..=256: the band (from 1) to the left, 0 for none, and the share that falls to it.
fn lower_bands() -> Vec<(usize, f64)> {
    let mel = |bin: f64| 1127.0 * (1.0 + bin * RATE as f64 / (FFT as f64 * 700.0)).ln();
    let high = mel((FFT / 2) as f64);
    let centre = |band: usize| high * band as f64 / (BANDS + 1) as f64;
    let band = |bin: usize| {
        let at = mel(bin as f64);
        let right = (1..=BANDS + 1).find(|&b| centre(b) >= at).unwrap_or(BANDS + 1);
        let left = right - 1;
        (left, (centre(right) - at) / (centre(right) - centre(left)))
    };
    (0..=FFT / 2).map(band).collect()
}

/// HTK's triangular weights of bins 0..256, (256, 49) row-major. The constant component has weight 0.
pub fn filter_bank() -> Vec<f64> {
    let mut matrix = vec![0.0; FFT / 2 * BANDS];
    for (bin, &(left, share)) in lower_bands().iter().enumerate().take(FFT / 2).skip(1) {
        let row = &mut matrix[bin * BANDS..][..BANDS];
        if left > 0 {
            row[left - 1] = share;
        }
        if left < BANDS {
            row[left] = 1.0 - share;
        }
    }
    matrix
}

impl Htk {
    /// With energies normalised to the recording's loudest frame (HTK's default), or as they are.
    pub fn new(normalise_energy: bool) -> Htk {
        let window = (0..WINDOW).map(|i| 0.54 - 0.46 * (2.0 * PI * i as f64 / (WINDOW - 1) as f64).cos()).collect();
        Htk {
            normalise_energy,
            window,
            lower: lower_bands(),
            fft: Fft::new(FFT),
            frame: vec![0.0; WINDOW],
            magnitudes: vec![0.0; FFT / 2 + 1],
        }
    }

    /// Frames that `samples` numbers hold.
    pub fn frames(samples: usize) -> usize {
        if samples < WINDOW { 0 } else { (samples - WINDOW) / HOP + 1 }
    }

    /// All frames of a recording, (frames, 150).
    pub fn features(&mut self, samples: &[i16]) -> Vec<f32> {
        let frames = Htk::frames(samples.len());
        let mut statics = Vec::with_capacity(frames * STATIC);
        for frame in 0..frames {
            self.push_static(&samples[frame * HOP..][..WINDOW], &mut statics);
        }
        if self.normalise_energy {
            normalise_energy(&mut statics);
        }
        let slopes = slopes(&statics);
        let slopes_of_slopes = self::slopes(&slopes);
        let mut out = Vec::with_capacity(frames * WIDTH);
        for frame in 0..frames {
            for channel in [&statics, &slopes, &slopes_of_slopes] {
                out.extend(channel[frame * STATIC..][..STATIC].iter().map(|&x| x as f32));
            }
        }
        out
    }

    /// 49 log-mel bands and the energy of one frame.
    fn push_static(&mut self, samples: &[i16], out: &mut Vec<f64>) {
        let energy: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
        let mut before = f64::from(samples[0]);
        for ((x, &s), w) in self.frame.iter_mut().zip(samples).zip(&self.window) {
            let s = f64::from(s);
            *x = (s - PRE_EMPHASIS * before) * w;
            before = s;
        }
        self.fft.magnitudes(&self.frame, &mut self.magnitudes);
        let mut bands = [0.0; BANDS];
        for (&(left, share), &magnitude) in self.lower.iter().zip(&self.magnitudes).take(FFT / 2).skip(1) {
            let lower = share * magnitude;
            if left > 0 {
                bands[left - 1] += lower;
            }
            if left < BANDS {
                bands[left] += magnitude - lower;
            }
        }
        out.extend(bands.iter().map(|b| b.max(1.0).ln()));
        out.push(if energy < LEAST_ENERGY { LOG_ZERO } else { energy.ln() });
    }
}

/// ENORMALISE: 1 - 0.1 (loudest - energy), floored 50 dB below the loudest.
fn normalise_energy(statics: &mut [f64]) {
    let loudest = statics.chunks_exact(STATIC).map(|f| f[BANDS]).fold(f64::NEG_INFINITY, f64::max);
    let floor = loudest - SILENCE_FLOOR_DB * 10.0f64.ln() / 10.0;
    for frame in statics.chunks_exact_mut(STATIC) {
        frame[BANDS] = 1.0 - (loudest - frame[BANDS].max(floor)) * ENERGY_SCALE;
    }
}

/// d_t = sum_k k (c_(t+k) - c_(t-k)) / (2 sum_k k^2), k = 1, 2; beyond both ends the last frame is repeated.
fn slopes(frames: &[f64]) -> Vec<f64> {
    let count = frames.len() / STATIC;
    let row = |t: isize| {
        let t = t.clamp(0, count as isize - 1) as usize;
        &frames[t * STATIC..][..STATIC]
    };
    let mut out = Vec::with_capacity(frames.len());
    for t in 0..count as isize {
        let (a, b, c, d) = (row(t - 2), row(t - 1), row(t + 1), row(t + 2));
        out.extend((0..STATIC).map(|i| ((c[i] - b[i]) + 2.0 * (d[i] - a[i])) / 10.0));
    }
    out
}

/// Patches that AENet takes of `frames` frames: fewer than 200 are doubled until they suffice.
pub fn patches(frames: usize) -> usize {
    if frames == 0 {
        return 0;
    }
    let mut frames = frames;
    while frames < PATCH {
        frames *= 2;
    }
    (frames - PATCH) / PATCH_HOP + 1
}

/// Patch `index` of the features (frames, 150), normalised as (x - mean) / deviation where these 150 numbers each are
/// given: (3, 200, 50), channel by time by frequency.
pub fn patch(features: &[f32], index: usize, stats: Option<(&[f32], &[f32])>) -> Vec<f32> {
    let frames = features.len() / WIDTH;
    let mut out = vec![0.0; CHANNELS * PATCH * STATIC];
    for t in 0..PATCH {
        let row = &features[(index * PATCH_HOP + t) % frames * WIDTH..][..WIDTH];
        for (i, &x) in row.iter().enumerate() {
            let z = stats.map_or(x, |(mean, deviation)| (x - mean[i]) / deviation[i]);
            out[(i / STATIC * PATCH + t) * STATIC + i % STATIC] = z;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_frames_are_doubled_until_they_suffice() {
        let rows: Vec<usize> = [0, 1, 48, 94, 96, 198, 200, 287, 298, 300, 1198].iter().map(|&n| patches(n)).collect();
        assert_eq!(rows, [0, 1, 2, 2, 2, 2, 1, 1, 1, 2, 10]);
    }

    #[test]
    fn slopes_of_a_line_are_its_slope_inside() {
        let frames: Vec<f64> = (0..6).flat_map(|t| vec![3.0 * t as f64; STATIC]).collect();
        let slopes = slopes(&frames);
        assert_eq!(slopes[2 * STATIC], 3.0);
        assert_eq!(slopes[0], (3.0 + 2.0 * 6.0) / 10.0);
        assert_eq!(slopes[5 * STATIC], slopes[0]);
    }

    #[test]
    fn silence_has_no_bands_and_the_energy_of_the_loudest() {
        let rows = Htk::new(true).features(&[0; 2000]);
        assert_eq!(rows.len(), 11 * WIDTH);
        assert!(rows.chunks_exact(WIDTH).all(|r| r[..BANDS].iter().all(|&x| x == 0.0) && r[BANDS] == 1.0));
        assert_eq!(Htk::new(false).features(&[0; 400])[BANDS], -1.0e10);
    }

    #[test]
    fn a_patch_is_channel_by_time_by_frequency() {
        let features: Vec<f32> = (0..3 * WIDTH).map(|i| i as f32).collect();
        let patch = patch(&features, 0, None);
        // Time 4 is frame 1 of three that repeat; its slopes' second number is at 51 of 150.
        assert_eq!(patch[(PATCH + 4) * STATIC + 1], (WIDTH + STATIC + 1) as f32);
    }
}
