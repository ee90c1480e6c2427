//! 16 kHz, 16 bit, mono PCM: the sound that both front ends start from.

/// Samples per second.
pub const RATE: usize = 16_000;

/// The largest sample, as a 16-bit integer, of a recording that counts as digital silence (ledger A14): 0 of an empty
/// track; 1 of one that was dithered when it was converted.
pub const SILENCE: u16 = 1;

/// Whether a recording is digital silence: no sample is larger than [`SILENCE`]. An empty one is silent.
pub fn is_silent(samples: &[i16]) -> bool {
    samples.iter().all(|s| s.unsigned_abs() <= SILENCE)
}

/// Zeros behind the samples, up to `least` of them.
pub fn padded(samples: &[i16], least: usize) -> Vec<i16> {
    let mut padded = samples.to_vec();
    padded.resize(least.max(samples.len()), 0);
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_matter_of_the_largest_sample() {
        assert!(is_silent(&[]));
        assert!(is_silent(&[0, 1, -1, 0]));
        assert!(!is_silent(&[0, 0, 2]));
        assert!(!is_silent(&[i16::MIN]));
    }

    #[test]
    fn padding_adds_zeros_behind() {
        assert_eq!(padded(&[1, 2], 4), [1, 2, 0, 0]);
        assert_eq!(padded(&[1, 2], 1), [1, 2]);
    }
}
