//! Dense inverse search: optical flow in a hundredth of the time of TV-L1, less exact at edges.
//!
//! At each scale, coarse to fine, patches of 8 x 8 are searched for in the other frame by gradient descent on the squared
//! difference, mean taken off, with the Hessian of the patch that is looked for (so it is inverted once); a pixel's flow is
//! the mean of the patches that cover it, weighed by how well they fit; variational refinement smooths it. After Kroeger,
//! Timofte, Dai and Van Gool, Fast optical flow using dense inverse search (2016), with the parameters of OpenCV's medium
//! preset.

use super::field::Field;
use super::refine::{Planes, refine};
use crate::vision::image::Image;
use crate::vision::resize::resize_f32;

const PATCH: usize = 8;
const STRIDE: usize = 3;
const DESCENTS: usize = 25;
/// The finest scale that is searched: half the size.
const FINEST: usize = 1;
/// Least determinant of a patch's structure tensor that it is inverted with.
const LEAST_DETERMINANT: f32 = 0.01;

/// One scale of both frames.
struct Level {
    width: usize,
    height: usize,
    from: Vec<f32>,
    to: Vec<f32>,
}

impl Level {
    fn half(&self) -> Level {
        let size = (self.width / 2, self.height / 2);
        let shrink = |plane: &[f32]| resize_f32(plane, (self.width, self.height), size);
        Level { width: size.0, height: size.1, from: shrink(&self.from), to: shrink(&self.to) }
    }

    /// The other frame's value at a place between pixels; beyond the borders their values.
    fn to_at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x.clamp(0.0, (self.width - 1) as f32), y.clamp(0.0, (self.height - 1) as f32));
        let (left, top) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(self.width - 1), (top + 1).min(self.height - 1));
        let (fx, fy) = (x - left as f32, y - top as f32);
        let at = |x: usize, y: usize| self.to[y * self.width + x];
        let upper = at(left, top) * (1.0 - fx) + at(right, top) * fx;
        let lower = at(left, below) * (1.0 - fx) + at(right, below) * fx;
        upper * (1.0 - fy) + lower * fy
    }
}

/// The flow from one grey frame to another of the same size.
pub fn flow(from: &Image, to: &Image) -> Field {
    assert_eq!((from.width, from.height, from.channels), (to.width, to.height, to.channels), "frames of one size");
    let floats = |image: &Image| image.data.iter().map(|&v| f32::from(v)).collect();
    let (width, height) = (from.width, from.height);
    let mut levels = vec![Level { width, height, from: floats(from), to: floats(to) }];
    // Motion of a quarter of the frame is found; a frame has a few patches in each direction.
    let coarsest = ((width.max(height) as f64 / (4 * PATCH) as f64).log2() + 0.5)
        .min((width.min(height) as f64 / PATCH as f64).log2())
        .max(0.0) as usize;
    if width.min(height) < PATCH {
        return Field::still(width, height);
    }
    while levels.len() <= coarsest {
        let next = levels[levels.len() - 1].half();
        levels.push(next);
    }
    let finest = FINEST.min(coarsest);
    let coarse = &levels[coarsest];
    let mut field = Field::still(coarse.width, coarse.height);
    for scale in (finest..=coarsest).rev() {
        let level = &levels[scale];
        if (field.width, field.height) != (level.width, level.height) {
            field = enlarged(&field, level.width, level.height);
        }
        let patches = search(level, &field);
        densify(level, &patches, &mut field);
        refine(&Planes { width: level.width, height: level.height, from: &level.from, to: &level.to }, &mut field);
    }
    if (field.width, field.height) == (width, height) { field } else { enlarged(&field, width, height) }
}

/// A field at another size, its motion in that size's pixels.
fn enlarged(field: &Field, width: usize, height: usize) -> Field {
    let grow = |plane: &[f32], factor: f32| {
        let mut plane = resize_f32(plane, (field.width, field.height), (width, height));
        plane.iter_mut().for_each(|v| *v *= factor);
        plane
    };
    let factors = (width as f32 / field.width as f32, height as f32 / field.height as f32);
    Field { width, height, x: grow(&field.x, factors.0), y: grow(&field.y, factors.1) }
}

/// The motion of every patch.
struct Patches {
    columns: usize,
    rows: usize,
    x: Vec<f32>,
    y: Vec<f32>,
}

/// The left and upper borders of patches: every third pixel, and one that ends with the frame.
fn starts(size: usize) -> usize {
    (size - PATCH).div_ceil(STRIDE) + 1
}

fn start(index: usize, size: usize) -> usize {
    (index * STRIDE).min(size - PATCH)
}

/// Looks for every patch, first from the upper left, then from the lower right, beginning where the coarser scale or a
/// neighbour that was found fits best.
fn search(level: &Level, field: &Field) -> Patches {
    let (columns, rows) = (starts(level.width), starts(level.height));
    let mut patches = Patches { columns, rows, x: vec![0.0; columns * rows], y: vec![0.0; columns * rows] };
    for row in 0..rows {
        for column in 0..columns {
            let (left, top) = (start(column, level.width), start(row, level.height));
            let centre = (top + PATCH / 2) * level.width + left + PATCH / 2;
            patches.x[row * columns + column] = field.x[centre];
            patches.y[row * columns + column] = field.y[centre];
        }
    }
    for backwards in [false, true] {
        for n in 0..columns * rows {
            let n = if backwards { columns * rows - 1 - n } else { n };
            let (row, column) = (n / columns, n % columns);
            let patch = Patch::new(level, start(column, level.width), start(row, level.height));
            let mut best = (patches.x[n], patches.y[n]);
            let mut error = patch.compare(level, best).0;
            let beside = match backwards {
                false => [(column > 0).then(|| n - 1), (row > 0).then(|| n - columns)],
                true => [(column + 1 < columns).then(|| n + 1), (row + 1 < rows).then(|| n + columns)],
            };
            for other in beside.into_iter().flatten() {
                let candidate = (patches.x[other], patches.y[other]);
                let found = patch.compare(level, candidate).0;
                if found < error {
                    (best, error) = (candidate, found);
                }
            }
            let found = patch.descend(level, best);
            (patches.x[n], patches.y[n]) = found;
        }
    }
    patches
}

/// What is looked for: pixels, their slopes, and the inverse of the slopes' structure tensor.
struct Patch {
    left: usize,
    top: usize,
    pixels: [f32; PATCH * PATCH],
    slopes: [(f32, f32); PATCH * PATCH],
    sums: (f32, f32),
    inverse: (f32, f32, f32),
}

impl Patch {
    fn new(level: &Level, left: usize, top: usize) -> Patch {
        let at = |x: usize, y: usize| level.from[y.min(level.height - 1) * level.width + x.min(level.width - 1)];
        let mut pixels = [0.0; PATCH * PATCH];
        let mut slopes = [(0.0, 0.0); PATCH * PATCH];
        let (mut xx, mut xy, mut yy, mut sx, mut sy) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for i in 0..PATCH * PATCH {
            let (x, y) = (left + i % PATCH, top + i / PATCH);
            pixels[i] = at(x, y);
            let dx = 0.5 * (at(x + 1, y) - at(x.saturating_sub(1), y));
            let dy = 0.5 * (at(x, y + 1) - at(x, y.saturating_sub(1)));
            slopes[i] = (dx, dy);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
            sx += dx;
            sy += dy;
        }
        let n = (PATCH * PATCH) as f32;
        let (xx, xy, yy) = (xx - sx * sx / n, xy - sx * sy / n, yy - sy * sy / n);
        let determinant = (xx * yy - xy * xy).max(LEAST_DETERMINANT);
        Patch {
            left,
            top,
            pixels,
            slopes,
            sums: (sx, sy),
            inverse: (yy / determinant, -xy / determinant, xx / determinant),
        }
    }

    /// The squared difference at a motion, means taken off, and the slopes' share of it.
    fn compare(&self, level: &Level, (u, v): (f32, f32)) -> (f32, f32, f32) {
        let (mut square, mut sum, mut gx, mut gy) = (0.0, 0.0, 0.0, 0.0);
        for (i, (pixel, slope)) in self.pixels.iter().zip(&self.slopes).enumerate() {
            let (x, y) = ((self.left + i % PATCH) as f32 + u, (self.top + i / PATCH) as f32 + v);
            let difference = level.to_at(x, y) - pixel;
            square += difference * difference;
            sum += difference;
            gx += difference * slope.0;
            gy += difference * slope.1;
        }
        let mean = sum / (PATCH * PATCH) as f32;
        (square - sum * mean, gx - mean * self.sums.0, gy - mean * self.sums.1)
    }

    /// Goes downhill from a motion until the difference grows; one that ends further than a patch away is none.
    fn descend(&self, level: &Level, begin: (f32, f32)) -> (f32, f32) {
        let mut at = begin;
        let mut best = (begin, f32::INFINITY);
        for _ in 0..DESCENTS {
            let (square, gx, gy) = self.compare(level, at);
            if square >= best.1 {
                break;
            }
            best = (at, square);
            let (a, b, c) = self.inverse;
            at = (at.0 - (a * gx + b * gy), at.1 - (b * gx + c * gy));
        }
        let far = (best.0.0 - begin.0).hypot(best.0.1 - begin.1) > PATCH as f32;
        if far || !best.0.0.is_finite() || !best.0.1.is_finite() { begin } else { best.0 }
    }
}

/// Every pixel takes the mean motion of the patches that cover it, weighed by 1 / max(1, |difference|).
fn densify(level: &Level, patches: &Patches, field: &mut Field) {
    let (width, height) = (level.width, level.height);
    let mut weights = vec![0.0f32; width * height];
    field.x.fill(0.0);
    field.y.fill(0.0);
    for row in 0..patches.rows {
        for column in 0..patches.columns {
            let (left, top) = (start(column, width), start(row, height));
            let (u, v) = (patches.x[row * patches.columns + column], patches.y[row * patches.columns + column]);
            for y in top..top + PATCH {
                for x in left..left + PATCH {
                    let i = y * width + x;
                    let difference = level.to_at(x as f32 + u, y as f32 + v) - level.from[i];
                    let weight = 1.0 / difference.abs().max(1.0);
                    weights[i] += weight;
                    field.x[i] += weight * u;
                    field.y[i] += weight * v;
                }
            }
        }
    }
    for (i, weight) in weights.iter().enumerate() {
        field.x[i] /= weight;
        field.y[i] /= weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_found() {
        let value = |x: f32, y: f32| 128.0 + 60.0 * (x * 0.31).sin() + 50.0 * (y * 0.23 + x * 0.05).cos();
        let image = |dx: f32, dy: f32| Image {
            width: 96,
            height: 64,
            channels: 1,
            data: (0..96 * 64).map(|i| value((i % 96) as f32 - dx, (i / 96) as f32 - dy) as u8).collect(),
        };
        let field = flow(&image(0.0, 0.0), &image(2.0, -1.5));
        for y in 12..52 {
            for x in 12..84 {
                let i = y * 96 + x;
                let error = (field.x[i] - 2.0).hypot(field.y[i] + 1.5);
                assert!(error < 0.4, "{x}, {y}: {} {}", field.x[i], field.y[i]);
            }
        }
    }

    #[test]
    fn frames_of_one_colour_and_tiny_ones_stand_still() {
        let grey = |width, height| Image { data: vec![77; width * height], ..Image::black(width, height, 1) };
        for (width, height) in [(40, 30), (3, 2), (8, 8), (1, 1)] {
            let field = flow(&grey(width, height), &grey(width, height));
            assert_eq!(field, Field::still(width, height));
        }
    }
}
