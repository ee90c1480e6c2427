//! Log-mel patches, the input of VGGish and YAMNet.
//!
//! Samples s / 32768 in frames of 400 (25 ms) every 160 (10 ms), a periodic Hann window, the magnitude of a Fourier
//! transform of 512, 64 triangles that are linear in mel = 1127 ln(1 + f / 700) between 125 and 7500 Hz, and
//! ln(mel + offset), offset 0.01 (VGGish) or 0.001 (YAMNet). A patch is 96 frames (0.96 s). No frame reaches beyond the
//! samples, so that a patch takes 15,600 samples (0.975 s). After Hershey et al., CNN architectures for large-scale
//! audio classification (ICASSP 2017), and Google's published code of both networks.

use super::fft::Fft;
use super::waveform::RATE;
use std::f64::consts::PI;

/// Samples in a frame.
const WINDOW: usize = 400;
/// Samples from a frame to the next.
const HOP: usize = 160;
const FFT: usize = 512;
const BINS: usize = FFT / 2 + 1;
/// Mel bands of a frame.
pub const BANDS: usize = 64;
const LOW_HZ: f64 = 125.0;
const HIGH_HZ: f64 = 7500.0;
/// Frames of a patch.
pub const PATCH: usize = 96;
/// The least samples that a patch is made of.
pub const LEAST_SAMPLES: usize = (PATCH - 1) * HOP + WINDOW;

/// The front end, with its tables.
#[derive(Clone, Debug)]
pub struct LogMel {
    offset: f64,
    window: Vec<f64>,
    /// For each band the first bin that it weighs, and the weights from there.
    bands: Vec<(usize, Vec<f64>)>,
    fft: Fft,
    frame: Vec<f64>,
    magnitudes: Vec<f64>,
}

/// Hertz to mel, HTK's formula.
fn mel(hz: f64) -> f64 {
    1127.0 * (1.0 + hz / 700.0).ln()
}

/// The (257, 64) matrix that turns magnitudes of bins into mel bands, row-major. The constant component has weight 0.
pub fn mel_matrix() -> Vec<f64> {
    let (low, high) = (mel(LOW_HZ), mel(HIGH_HZ));
    let edge = |i: usize| low + (high - low) * i as f64 / (BANDS + 1) as f64;
    let mut matrix = vec![0.0; BINS * BANDS];
    for bin in 1..BINS {
        let at = mel(bin as f64 * (RATE as f64 / 2.0) / (BINS - 1) as f64);
        for band in 0..BANDS {
            let (left, centre, right) = (edge(band), edge(band + 1), edge(band + 2));
            let rise = (at - left) / (centre - left);
            let fall = (right - at) / (right - centre);
            matrix[bin * BANDS + band] = rise.min(fall).max(0.0);
        }
    }
    matrix
}

impl LogMel {
    /// With ln(mel + `offset`).
    pub fn new(offset: f64) -> LogMel {
        let window = (0..WINDOW).map(|i| 0.5 - 0.5 * (2.0 * PI * i as f64 / WINDOW as f64).cos()).collect();
        let matrix = mel_matrix();
        let band = |band: usize| {
            let weight = |bin: usize| matrix[bin * BANDS + band];
            let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
            let weights = (first..BINS).map(weight).take_while(|&w| w > 0.0).collect();
            (first, weights)
        };
        LogMel {
            offset,
            window,
            bands: (0..BANDS).map(band).collect(),
            fft: Fft::new(FFT),
            frame: vec![0.0; WINDOW],
            magnitudes: vec![0.0; BINS],
        }
    }

    /// Frames that `samples` numbers hold.
    pub fn frames(samples: usize) -> usize {
        if samples < WINDOW { 0 } else { (samples - WINDOW) / HOP + 1 }
    }

    /// Patches of 96 frames that start every `hop` frames: (samples / 160 ... - 96) / hop + 1, none where there are
    /// fewer than 96.
    pub fn patches(samples: usize, hop: usize) -> usize {
        let frames = LogMel::frames(samples);
        if frames < PATCH { 0 } else { (frames - PATCH) / hop + 1 }
    }

    /// Log-mel frames `from..from + count`, (count, 64) in f64.
    pub fn log_mel(&mut self, samples: &[i16], from: usize, count: usize) -> Vec<f64> {
        let mut out = Vec::with_capacity(count * BANDS);
        for frame in from..from + count {
            let samples = &samples[frame * HOP..][..WINDOW];
            for ((x, &s), w) in self.frame.iter_mut().zip(samples).zip(&self.window) {
                *x = f64::from(s) / 32768.0 * w;
            }
            self.fft.magnitudes(&self.frame, &mut self.magnitudes);
            out.extend(self.bands.iter().map(|(first, weights)| {
                let energy: f64 = weights.iter().zip(&self.magnitudes[*first..]).map(|(w, m)| w * m).sum();
                (energy + self.offset).ln()
            }));
        }
        out
    }

    /// Patch `index` of those that start every `hop` frames: (96, 64), time by frequency.
    pub fn patch(&mut self, samples: &[i16], index: usize, hop: usize) -> Vec<f32> {
        self.log_mel(samples, index * hop, PATCH).into_iter().map(|x| x as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_takes_15600_samples_and_three_46320() {
        let rows: Vec<usize> =
            [0, 399, 400, 15_360, 15_599, 15_600, 46_240, 46_320].iter().map(|&n| LogMel::patches(n, 96)).collect();
        assert_eq!(rows, [0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(LEAST_SAMPLES, 15_600);
        assert_eq!(LogMel::patches(48_000, 48), 5);
    }

    #[test]
    fn silence_is_the_logarithm_of_the_offset() {
        let patch = LogMel::new(0.01).patch(&[0; LEAST_SAMPLES], 0, PATCH);
        assert_eq!(patch.len(), PATCH * BANDS);
        assert!(patch.iter().all(|&x| x == 0.01f64.ln() as f32));
    }

    #[test]
    fn bands_hold_what_the_matrix_holds() {
        let (front, matrix) = (LogMel::new(0.01), mel_matrix());
        for (band, (first, weights)) in front.bands.iter().enumerate() {
            let column: Vec<f64> = (0..BINS).map(|bin| matrix[bin * BANDS + band]).collect();
            assert_eq!(column[*first..first + weights.len()], weights[..]);
            assert_eq!(column.iter().sum::<f64>(), weights.iter().sum::<f64>());
        }
    }
}
