//! Bilinear resizing as OpenCV does it (`INTER_LINEAR`): two taps whatever the scale, in fixed point for 8-bit images.

use super::image::Image;

/// Fractional bits of a weight.
const BITS: u32 = 11;

/// For each output position the two input positions and the weight of the second; neighbouring output positions lie `scale`
/// input positions apart.
fn taps(from: usize, to: usize, scale: f64) -> Vec<(usize, usize, f32)> {
    let tap = |i: usize| {
        let at = ((i as f64 + 0.5) * scale - 0.5) as f32;
        let floor = at.floor();
        if floor < 0.0 {
            return (0, 0, 0.0);
        }
        let first = floor as usize;
        if first + 1 >= from {
            return (from - 1, from - 1, 0.0);
        }
        (first, first + 1, at - floor)
    };
    (0..to).map(tap).collect()
}

/// Input positions between neighbouring output positions.
fn ratio(from: usize, to: usize) -> f64 {
    1.0 / (to as f64 / from as f64)
}

/// An image of `width` x `height`, bit for bit as `cv2.resize(image, (width, height))` of 8-bit images.
///
/// Weights have 11 fractional bits; a sum of two rows drops 4, then 16 bits before the last rounding, as OpenCV's
/// vector code does.
pub fn resize(image: &Image, width: usize, height: usize) -> Image {
    if (width, height) == (image.width, image.height) {
        return image.clone();
    }
    let channels = image.channels;
    let fixed = |w: f32| {
        ((w * (1 << BITS) as f32).round_ties_even() as i32, ((1.0 - w) * (1 << BITS) as f32).round_ties_even() as i32)
    };
    let across: Vec<(usize, usize, i32, i32)> = taps(image.width, width, ratio(image.width, width))
        .into_iter()
        .map(|(a, b, w)| {
            let (second, first) = fixed(w);
            (a * channels, b * channels, first, second)
        })
        .collect();
    let stride = image.width * channels;
    let expand = |row: usize, out: &mut Vec<i32>| {
        let row = &image.data[row * stride..][..stride];
        out.clear();
        for &(a, b, first, second) in &across {
            for c in 0..channels {
                out.push(i32::from(row[a + c]) * first + i32::from(row[b + c]) * second);
            }
        }
    };
    let mut out = Image::black(width, height, channels);
    // Expanded rows are kept from one output row to the next, which mostly shares one of them.
    let mut kept: [(Option<usize>, Vec<i32>); 2] = Default::default();
    for ((a, b, w), line) in taps(image.height, height, ratio(image.height, height))
        .into_iter()
        .zip(out.data.chunks_exact_mut(width * channels))
    {
        if kept[0].0 != Some(a) && kept[1].0 == Some(a) {
            kept.swap(0, 1);
        }
        for (slot, row) in kept.iter_mut().zip([a, b]) {
            if slot.0 != Some(row) {
                expand(row, &mut slot.1);
                slot.0 = Some(row);
            }
        }
        let (second, first) = fixed(w);
        for ((out, &x), &y) in line.iter_mut().zip(&kept[0].1).zip(&kept[1].1) {
            let sum = ((first * (x >> 4)) >> 16) + ((second * (y >> 4)) >> 16);
            *out = ((sum + 2) >> 2).clamp(0, 255) as u8;
        }
    }
    out
}

/// `cv2.resize` of one plane of 32-bit numbers to a size.
pub fn resize_f32(plane: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    if from == to {
        return plane.to_vec();
    }
    scaled_f32(plane, from, to, (ratio(from.0, to.0), ratio(from.1, to.1)))
}

/// `cv2.resize` of one plane of 32-bit numbers by a factor: the size is rounded, which does not change where
/// pixels come from.
pub fn shrink_f32(plane: &[f32], from: (usize, usize), factor: f64) -> (Vec<f32>, (usize, usize)) {
    let side = |n: usize| ((n as f64 * factor).round_ties_even() as usize).max(1);
    let to = (side(from.0), side(from.1));
    (scaled_f32(plane, from, to, (1.0 / factor, 1.0 / factor)), to)
}

fn scaled_f32(plane: &[f32], from: (usize, usize), to: (usize, usize), scale: (f64, f64)) -> Vec<f32> {
    let ((from_width, from_height), (width, height)) = (from, to);
    let across = taps(from_width, width, scale.0);
    let mut out = Vec::with_capacity(width * height);
    let expand = |row: usize| -> Vec<f32> {
        let row = &plane[row * from_width..][..from_width];
        across.iter().map(|&(a, b, w)| row[a] * (1.0 - w) + row[b] * w).collect()
    };
    for (a, b, w) in taps(from_height, height, scale.1) {
        let (x, y) = (expand(a), expand(b));
        out.extend(x.iter().zip(&y).map(|(x, y)| x * (1.0 - w) + y * w));
    }
    out
}

/// Width and height after the shorter side has become `side`, the longer one times the same factor, rounded to the
/// nearest (mmcv) or down (PIL's users in torchvision and tsn-pytorch).
pub fn short_side(width: usize, height: usize, side: usize, nearest: bool) -> (usize, usize) {
    let (short, long) = (width.min(height), width.max(height));
    let exact = long as f64 * side as f64 / short as f64;
    let other = if nearest { (exact + 0.5) as usize } else { exact as usize }.max(side);
    if width <= height { (side, other) } else { (other, side) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_takes_the_mean_of_two_pixels() {
        let image = Image { width: 4, height: 1, channels: 1, data: vec![0, 100, 200, 50] };
        assert_eq!(resize(&image, 2, 1).data, [50, 125]);
        assert_eq!(resize_f32(&[0.0, 100.0, 200.0, 50.0], (4, 1), (2, 1)), [50.0, 125.0]);
    }

    #[test]
    fn fixed_point_is_within_one_of_exact_numbers() {
        let value = |i: usize| ((i * 7919 + i * i * 31) % 256) as u8;
        let image = Image { width: 13, height: 9, channels: 1, data: (0..13 * 9).map(value).collect() };
        let exact: Vec<f32> = image.data.iter().map(|&x| f32::from(x)).collect();
        for (width, height) in [(5, 4), (13, 20), (31, 9), (1, 1), (26, 18)] {
            let ours = resize(&image, width, height).data;
            let exact = resize_f32(&exact, (13, 9), (width, height));
            assert!(ours.iter().zip(&exact).all(|(&a, b)| (f32::from(a) - b).abs() < 1.0), "{width} x {height}");
        }
    }

    #[test]
    fn one_pixel_can_be_resized() {
        let image = Image { width: 1, height: 1, channels: 3, data: vec![1, 2, 3] };
        assert_eq!(resize(&image, 2, 2).data, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn the_short_side_is_exact_and_the_long_one_rounded() {
        assert_eq!(short_side(480, 360, 256, true), (341, 256));
        assert_eq!(short_side(360, 480, 256, false), (256, 341));
        assert_eq!(short_side(426, 240, 256, true), (454, 256));
        assert_eq!(short_side(100, 100, 256, true), (256, 256));
    }
}
