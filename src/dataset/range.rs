//! The magnitudes that features may have.

/// Magnitudes above this are refused: sums of their squares leave the range of f32, and fill values (1e20, 9.97e36) are
/// beyond it.
pub(super) const LARGEST: f32 = 1e18;

/// A file whose numbers are all smaller, and not all 0, is refused: standardising could not tell them from a constant.
pub(super) const SMALLEST: f32 = 1e-18;

/// How far from 1 a clip's probabilities may sum up to: what rounded files and networks in half precision come to.
const TOLERANCE: f32 = 1e-3;

/// Whether these are class probabilities; says why not.
pub(super) fn probabilities(row: &[f32]) -> Result<(), String> {
    const NEXT: &str =
        "class probabilities were expected, of 0 to 1 and 1 together\n  next: put logits through a softmax first";
    if let Some(p) = row.iter().find(|p| !(-TOLERANCE..=1.0 + TOLERANCE).contains(*p)) {
        return Err(format!("holds {p}; {NEXT}"));
    }
    let sum: f32 = row.iter().sum();
    if (sum - 1.0).abs() > TOLERANCE {
        return Err(format!("sums to {sum}; {NEXT}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(probabilities(&[0.25, 0.75]).is_ok() && probabilities(&[0.0, 1.0004]).is_ok());
        for bad in [&[2.0f32, -1.0][..], &[0.5, 0.6], &[f32::NAN, 1.0], &[0.0, 0.0]] {
            assert!(probabilities(bad).unwrap_err().contains("softmax"), "{bad:?}");
        }
    }
}
