//! A flow field.

/// For each pixel of a frame how far it has moved in the next one, in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// To the right, row after row.
    pub x: Vec<f32>,
    /// Down, row after row.
    pub y: Vec<f32>,
}

impl Field {
    /// No motion.
    pub fn still(width: usize, height: usize) -> Field {
        let zeros = vec![0.0; width * height];
        Field { width, height, x: zeros.clone(), y: zeros }
    }
}
