//! Square crops of a frame, mirrored or not, as the numbers that a network takes.

use super::image::Image;

/// Where a crop lies, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Columns to its left.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Left and right change places.
    pub mirrored: bool,
}

/// How many crops are taken of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crops {
    /// The centre.
    One,
    /// Top left, top right, bottom left, bottom right, centre.
    Five,
    /// The five, then their mirror images.
    Ten,
}

impl Crops {
    /// Their number.
    pub fn count(self) -> usize {
        match self {
            Crops::One => 1,
            Crops::Five => 5,
            Crops::Ten => 10,
        }
    }

    /// Crops of `size` x `size` of a frame that is at least as large, in TSN's order. The centre's margins are rounded
    /// down.
    pub fn places(self, width: usize, height: usize, size: usize) -> Vec<Crop> {
        let (right, bottom) = (width - size, height - size);
        let centre = (right / 2, bottom / 2);
        let five = [(0, 0), (right, 0), (0, bottom), (right, bottom), centre];
        let crops = |mirrored: bool| five.iter().map(move |&(left, top)| Crop { left, top, mirrored });
        match self {
            Crops::One => vec![Crop { left: centre.0, top: centre.1, mirrored: false }],
            Crops::Five => crops(false).collect(),
            Crops::Ten => crops(false).chain(crops(true)).collect(),
        }
    }
}

/// What becomes of a channel's 256 values.
pub type Table = [f32; 256];

/// (v - mean) / deviation for v = 0..256.
pub fn table(mean: f64, deviation: f64) -> Table {
    std::array::from_fn(|v| ((v as f64 - mean) / deviation) as f32)
}

/// Writes one channel of a crop, `size` x `size` numbers, through a table.
///
/// `channel` is the channel's place in the image; `invert` takes 255 - v first, as for the horizontal flow of a mirror
/// image.
pub fn write_plane(
    image: &Image,
    channel: usize,
    crop: Crop,
    size: usize,
    table: &Table,
    invert: bool,
    out: &mut [f32],
) {
    let flip = if invert { 255 } else { 0 };
    for (y, line) in out.chunks_exact_mut(size).enumerate().take(size) {
        let start = ((crop.top + y) * image.width + crop.left) * image.channels + channel;
        let pixels = image.data[start..].iter().step_by(image.channels).take(size);
        let values = pixels.map(|&v| table[usize::from(v ^ flip)]);
        if crop.mirrored {
            line.iter_mut().rev().zip(values).for_each(|(out, v)| *out = v);
        } else {
            line.iter_mut().zip(values).for_each(|(out, v)| *out = v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_crops_lie_as_in_tsn() {
        let crops = Crops::Ten.places(340, 256, 224);
        let at: Vec<(usize, usize)> = crops.iter().map(|c| (c.left, c.top)).collect();
        assert_eq!(at[..5], [(0, 0), (116, 0), (0, 32), (116, 32), (58, 16)]);
        assert_eq!(at[5..], at[..5]);
        assert!(crops[5..].iter().all(|c| c.mirrored) && !crops[..5].iter().any(|c| c.mirrored));
        assert_eq!(Crops::One.places(341, 256, 224), [Crop { left: 58, top: 16, mirrored: false }]);
    }

    #[test]
    fn a_mirror_image_of_horizontal_flow_changes_direction() {
        let image = Image { width: 3, height: 2, channels: 2, data: vec![0, 9, 10, 9, 20, 9, 30, 9, 40, 9, 250, 9] };
        let mut out = [0.0; 4];
        let crop = Crop { left: 1, top: 0, mirrored: true };
        write_plane(&image, 0, crop, 2, &table(0.0, 1.0), true, &mut out);
        assert_eq!(out, [235.0, 245.0, 5.0, 215.0]);
        write_plane(&image, 0, Crop { mirrored: false, ..crop }, 2, &table(128.0, 2.0), false, &mut out);
        assert_eq!(out, [-59.0, -54.0, -44.0, 61.0]);
    }
}
