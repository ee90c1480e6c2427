//! The median over 5 x 5 pixels, borders repeated.

/// Pixels treated at once.
const LANES: usize = 16;
/// Pixels of a window.
const WINDOW: usize = 25;
/// The median's place among them.
const MIDDLE: usize = WINDOW / 2;

/// Pairs to be put in order, one after the other, so that the middle one of 25 values ends in its place.
#[derive(Clone, Debug)]
pub(super) struct Median {
    exchanges: Vec<(usize, usize)>,
    /// The plane with two more pixels on each side.
    padded: Vec<f32>,
}

/// Batcher's odd-even merge sort of 25 values, without the exchanges that the middle one does not depend on.
fn exchanges() -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    let mut p = 1;
    while p < WINDOW {
        let mut k = p;
        while k >= 1 {
            for j in (k % p..WINDOW - k).step_by(2 * k) {
                for i in j..(j + k).min(WINDOW - k) {
                    if i / (2 * p) == (i + k) / (2 * p) {
                        all.push((i, i + k));
                    }
                }
            }
            k /= 2;
        }
        p *= 2;
    }
    let mut needed = [false; WINDOW];
    needed[MIDDLE] = true;
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for &(a, b) in all.iter().rev() {
        if needed[a] || needed[b] {
            (needed[a], needed[b]) = (true, true);
            kept.push((a, b));
        }
    }
    kept.reverse();
    kept
}

impl Median {
    pub(super) fn new() -> Median {
        Median { exchanges: exchanges(), padded: Vec::new() }
    }

    /// Replaces each pixel of a plane by the median of those around it.
    #[inline(always)]
    pub(super) fn filter(&mut self, plane: &mut [f32], width: usize, height: usize) {
        let stride = (width + 4).max(LANES + 4);
        self.padded.clear();
        for y in 0..height + 4 {
            let row = &plane[y.saturating_sub(2).min(height - 1) * width..][..width];
            self.padded.extend([row[0]; 2]);
            self.padded.extend_from_slice(row);
            self.padded.resize((y + 1) * stride, row[width - 1]);
        }
        for (y, line) in plane.chunks_exact_mut(width).enumerate() {
            let mut x = 0;
            while x < width {
                // The last block is moved to the left, so that it is whole; what it repeats comes out the same.
                let at = x.min(width.saturating_sub(LANES));
                let medians = self.block(y * stride + at, stride);
                let count = LANES.min(width - at);
                line[at..at + count].copy_from_slice(&medians[..count]);
                x += LANES;
            }
        }
    }

    #[inline(always)]
    fn block(&self, start: usize, stride: usize) -> [f32; LANES] {
        let mut values = [[0.0f32; LANES]; WINDOW];
        for (i, value) in values.iter_mut().enumerate() {
            value.copy_from_slice(&self.padded[start + i / 5 * stride + i % 5..][..LANES]);
        }
        for &(a, b) in &self.exchanges {
            let (x, y) = (values[a], values[b]);
            for lane in 0..LANES {
                values[a][lane] = if x[lane] < y[lane] { x[lane] } else { y[lane] };
                values[b][lane] = if x[lane] < y[lane] { y[lane] } else { x[lane] };
            }
        }
        values[MIDDLE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_sorting() {
        for (width, height) in [(1, 1), (3, 7), (16, 5), (37, 11)] {
            let plane: Vec<f32> = (0..width * height).map(|i| ((i * 7919) % 101) as f32 - 50.0).collect();
            let mut ours = plane.clone();
            Median::new().filter(&mut ours, width, height);
            for y in 0..height as isize {
                for x in 0..width as isize {
                    let mut window: Vec<f32> = (0..25)
                        .map(|i| {
                            let row = (y + i / 5 - 2).clamp(0, height as isize - 1) as usize;
                            let column = (x + i % 5 - 2).clamp(0, width as isize - 1) as usize;
                            plane[row * width + column]
                        })
                        .collect();
                    window.sort_by(f32::total_cmp);
                    assert_eq!(ours[y as usize * width + x as usize], window[12], "{x}, {y} of {width} x {height}");
                }
            }
        }
    }
}
