//! Flow as 8-bit images, as two-stream networks take it: [-bound, bound] becomes [0, 255], no motion 127.5.

/// How a value between two whole numbers becomes one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, ties to even, as dense_flow and denseflow do.
    Nearest,
    /// Down, as mmaction2's flow extraction does.
    Down,
}

/// 255 (v + bound) / (2 bound), beyond the bounds 0 and 255. A value that is not a number counts as no motion.
pub fn quantise(plane: &[f32], bound: f64, rounding: Rounding) -> Vec<u8> {
    let level = |&v: &f32| {
        let v = if v.is_nan() { 0.0 } else { f64::from(v) };
        let exact = (255.0 * (v + bound) / (2.0 * bound)).clamp(0.0, 255.0);
        match rounding {
            Rounding::Nearest => exact.round_ties_even() as u8,
            // In single precision, as NumPy does it for mmaction2: at a level's edge the last bit decides.
            Rounding::Down => {
                let (v, bound) = (v as f32, bound as f32);
                (255.0 * (v.clamp(-bound, bound) + bound) / (2.0 * bound)) as u8
            }
        }
    };
    plane.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_rounding() {
        let plane = [-21.0, -20.0, 0.0, 19.99, 20.0, 1e9, f32::NAN, 0.1];
        assert_eq!(quantise(&plane, 20.0, Rounding::Nearest), [0, 0, 128, 255, 255, 255, 128, 128]);
        assert_eq!(quantise(&plane, 20.0, Rounding::Down), [0, 0, 127, 254, 255, 255, 127, 128]);
    }
}
