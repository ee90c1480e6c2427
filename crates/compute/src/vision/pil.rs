//! Bilinear resizing as Pillow does it: where an image shrinks, each pixel is a weighted mean over all input pixels that
//! its triangle covers. Weights in fixed point, rows first, each pass rounded to 8 bits.

use super::image::Image;

/// Fractional bits of a weight: 32 less the 8 of a pixel and 2 to spare.
const BITS: u32 = 22;

/// For each output position the first input position and the weights from there.
fn windows(from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let window = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let triangle = |x: f64| (1.0 - x.abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(|x| triangle((x as f64 - centre + 0.5) / support)).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: &f64| ((w / sum) * f64::from(1 << BITS) + 0.5) as i32;
        (first, weights.iter().map(fixed).collect())
    };
    (0..to).map(window).collect()
}

fn rounded(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// An image of `width` x `height`, bit for bit as `Image.resize((width, height), BILINEAR)`.
pub fn resize(image: &Image, width: usize, height: usize) -> Image {
    let channels = image.channels;
    let across = if width == image.width { image.clone() } else { resize_rows(image, width) };
    if height == image.height {
        return across;
    }
    let stride = width * channels;
    let mut out = Image::black(width, height, channels);
    let mut sums = vec![0i32; stride];
    for ((first, weights), line) in windows(image.height, height).into_iter().zip(out.data.chunks_exact_mut(stride)) {
        sums.fill(1 << (BITS - 1));
        for (row, w) in across.data[first * stride..].chunks_exact(stride).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += i32::from(x) * w);
        }
        line.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = rounded(sum));
    }
    out
}

fn resize_rows(image: &Image, width: usize) -> Image {
    let channels = image.channels;
    let windows = windows(image.width, width);
    let mut out = Image::black(width, image.height, channels);
    let lines = out.data.chunks_exact_mut(width * channels);
    for (row, line) in image.data.chunks_exact(image.width * channels).zip(lines) {
        for ((first, weights), pixel) in windows.iter().zip(line.chunks_exact_mut(channels)) {
            for (c, out) in pixel.iter_mut().enumerate() {
                let taps = row[first * channels + c..].iter().step_by(channels).zip(weights);
                *out = rounded(taps.fold(1 << (BITS - 1), |sum, (&x, w)| sum + i32::from(x) * w));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_takes_all_pixels_into_account() {
        let image = Image { width: 4, height: 1, channels: 1, data: vec![0, 0, 0, 255] };
        // Triangles of half-width 2 around 1 and 3, cut at the border: 3/4 3/4 1/4 and 1/4 3/4 3/4, over their sum.
        assert_eq!(resize(&image, 2, 1).data, [0, 109]);
        let image = Image { data: vec![0, 0, 255, 0], ..image };
        assert_eq!(resize(&image, 2, 1).data, [36, 109]);
    }

    #[test]
    fn the_same_size_is_the_same_image() {
        let image = Image { width: 3, height: 2, channels: 1, data: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(resize(&image, 3, 2), image);
    }
}
