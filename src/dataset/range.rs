//! The magnitudes that features may have.

/// Magnitudes above this are refused: sums of their squares leave the range of f32, and fill values (1e20, 9.97e36) are
/// beyond it.
pub(super) const LARGEST: f32 = 1e18;

/// A file whose numbers are all smaller, and not all 0, is refused: standardising could not tell them from a constant.
pub(super) const SMALLEST: f32 = 1e-18;
