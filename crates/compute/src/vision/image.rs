//! A decoded frame.

/// An 8-bit image, row after row, the channels of a pixel side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Numbers of a pixel: 3 (blue, green, red, as ffmpeg's bgr24) or 1.
    pub channels: usize,
    /// height x width x channels numbers.
    pub data: Vec<u8>,
}

impl Image {
    /// A black one.
    pub fn black(width: usize, height: usize, channels: usize) -> Image {
        Image { width, height, channels, data: vec![0; width * height * channels] }
    }

    /// Luma of a blue-green-red image as OpenCV computes it: (3735 B + 19235 G + 9798 R) / 2^15, rounded.
    pub fn grey(&self) -> Image {
        let luma = |p: &[u8]| {
            let sum = 3735 * u32::from(p[0]) + 19235 * u32::from(p[1]) + 9798 * u32::from(p[2]);
            ((sum + (1 << 14)) >> 15) as u8
        };
        let data = self.data.chunks_exact(3).map(luma).collect();
        Image { width: self.width, height: self.height, channels: 1, data }
    }
}
