//! The discrete Fourier transform of real frames whose length is a power of two.

use std::f64::consts::PI;

/// Tables for one length; [`Fft::magnitudes`] may then be called for any number of frames.
#[derive(Clone, Debug)]
pub(super) struct Fft {
    /// exp(-2 pi i k / n), k = 0..n/2, as (cosine, sine).
    twiddles: Vec<(f64, f64)>,
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Fft {
    /// For frames of up to `n` numbers; `n` is a power of two.
    pub(super) fn new(n: usize) -> Fft {
        assert!(n.is_power_of_two() && n >= 2, "the length of a transform is a power of two");
        let angle = |k: usize| -2.0 * PI * k as f64 / n as f64;
        let twiddles = (0..n / 2).map(|k| (angle(k).cos(), angle(k).sin())).collect();
        Fft { twiddles, re: vec![0.0; n], im: vec![0.0; n] }
    }

    /// |X_k| for k = 0..=n/2 of a frame, which is padded with zeros to n.
    pub(super) fn magnitudes(&mut self, frame: &[f64], out: &mut [f64]) {
        let n = self.re.len();
        let shift = usize::BITS - n.trailing_zeros();
        for i in 0..n {
            self.re[i.reverse_bits() >> shift] = frame.get(i).copied().unwrap_or(0.0);
        }
        self.im.fill(0.0);
        let mut half = 1;
        while half < n {
            let stride = n / (2 * half);
            for start in (0..n).step_by(2 * half) {
                for k in 0..half {
                    let (cos, sin) = self.twiddles[k * stride];
                    let (a, b) = (start + k, start + k + half);
                    let re = self.re[b] * cos - self.im[b] * sin;
                    let im = self.re[b] * sin + self.im[b] * cos;
                    (self.re[b], self.im[b]) = (self.re[a] - re, self.im[a] - im);
                    (self.re[a], self.im[a]) = (self.re[a] + re, self.im[a] + im);
                }
            }
            half *= 2;
        }
        for (k, magnitude) in out.iter_mut().enumerate().take(n / 2 + 1) {
            *magnitude = (self.re[k] * self.re[k] + self.im[k] * self.im[k]).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_those_of_the_definition() {
        let frame: Vec<f64> = (0..13).map(|i| ((i * i * 7 + 3) % 11) as f64 - 4.0).collect();
        let n = 16;
        let mut out = vec![0.0; n / 2 + 1];
        Fft::new(n).magnitudes(&frame, &mut out);
        for (k, &magnitude) in out.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, x) in frame.iter().enumerate() {
                let angle = -2.0 * PI * (i * k) as f64 / n as f64;
                re += x * angle.cos();
                im += x * angle.sin();
            }
            assert!((magnitude - re.hypot(im)).abs() < 1e-12, "bin {k}");
        }
    }
}
