//! Dual TV-L1 optical flow, the flow of two-stream networks.
//!
//! Minimises over (u, v) the integral of |grad u| + |grad v| + lambda |I1(x + u, y + v) - I0|, coarse to fine. At each
//! of 5 scales, 0.8 apart, I1 is warped 5 times; between warps the brightness term, linear in the flow, and the total
//! variation are minimised in turn: thresholding for the one, Chambolle's projected steps on the dual variables for the
//! other, until the flow changes by less than 0.01 pixels (root mean square) or 300 times; every 30 steps the flow is
//! median-filtered. After Zach, Pock and Bischof, A duality based approach for realtime TV-L1 optical flow (2007), with the
//! parameters, the median filter and the cubic warps of OpenCV's `DualTVL1OpticalFlow`, which dense_flow uses.

use super::field::Field;
use super::median::Median;
use super::warp::warp;
use crate::vision::image::Image;
use crate::vision::resize::{resize_f32, shrink_f32};

const TAU: f32 = 0.25;
const LAMBDA: f32 = 0.15;
const THETA: f32 = 0.3;
const SCALES: usize = 5;
const SCALE_STEP: f64 = 0.8;
const WARPS: usize = 5;
const EPSILON: f64 = 0.01;
const INNER: usize = 30;
const OUTER: usize = 10;
/// A scale whose frame is smaller than this in either direction is left out.
const LEAST_SIDE: usize = 16;

/// Computes flows one after the other, with the same memory.
#[derive(Clone, Debug)]
pub struct TvL1 {
    median: Median,
}

impl Default for TvL1 {
    fn default() -> TvL1 {
        TvL1 { median: Median::new() }
    }
}

/// One scale of the two frames.
struct Level {
    width: usize,
    height: usize,
    from: Vec<f32>,
    to: Vec<f32>,
}

impl TvL1 {
    /// The flow from one grey frame to another of the same size.
    pub fn flow(&mut self, from: &Image, to: &Image) -> Field {
        assert_eq!((from.width, from.height, from.channels), (to.width, to.height, to.channels), "frames of one size");
        let floats = |image: &Image| image.data.iter().map(|&v| f32::from(v)).collect();
        let mut levels = vec![Level { width: from.width, height: from.height, from: floats(from), to: floats(to) }];
        while levels.len() < SCALES {
            let Level { width, height, from, to } = &levels[levels.len() - 1];
            let (from, size) = shrink_f32(from, (*width, *height), SCALE_STEP);
            if size.0 < LEAST_SIDE || size.1 < LEAST_SIDE {
                break;
            }
            let (to, _) = shrink_f32(to, (*width, *height), SCALE_STEP);
            levels.push(Level { width: size.0, height: size.1, from, to });
        }
        let mut field: Option<Field> = None;
        while let Some(level) = levels.pop() {
            let (width, height) = (level.width, level.height);
            let mut finer = match field.take() {
                None => Field::still(width, height),
                Some(coarse) => {
                    let grow = |plane: &[f32]| {
                        let mut plane = resize_f32(plane, (coarse.width, coarse.height), (width, height));
                        plane.iter_mut().for_each(|v| *v *= (1.0 / SCALE_STEP) as f32);
                        plane
                    };
                    Field { width, height, x: grow(&coarse.x), y: grow(&coarse.y) }
                }
            };
            self.refine(&level, &mut finer);
            field = Some(finer);
        }
        field.unwrap_or_else(|| Field::still(from.width, from.height))
    }

    /// One scale, from the flow of the coarser one.
    fn refine(&mut self, level: &Level, field: &mut Field) {
        let (width, height) = (level.width, level.height);
        let size = width * height;
        let least_change = EPSILON * EPSILON * size as f64;
        let (slope_x, slope_y) = centred_gradient(&level.to, width, height);
        let zeros = || vec![0.0f32; size];
        let (mut warped, mut warped_x, mut warped_y) = (zeros(), zeros(), zeros());
        let mut data = Data { ix: zeros(), iy: zeros(), square: zeros(), constant: zeros() };
        let mut dual = Dual { x: [zeros(), zeros()], y: [zeros(), zeros()] };
        for _ in 0..WARPS {
            warp(
                [&level.to, &slope_x, &slope_y],
                (width, height),
                (&field.x, &field.y),
                [&mut warped, &mut warped_x, &mut warped_y],
            );
            data.linearise(&level.from, &warped, &warped_x, &warped_y, field);
            let mut change = f64::INFINITY;
            for _ in 0..OUTER {
                if change <= least_change {
                    break;
                }
                self.median.filter(&mut field.x, width, height);
                self.median.filter(&mut field.y, width, height);
                for _ in 0..INNER {
                    if change <= least_change {
                        break;
                    }
                    change = data.step(&dual, field);
                    dual.step(field);
                }
            }
        }
    }
}

/// Half the difference of the neighbours to the right and left, below and above; at the borders of the pixel itself.
fn centred_gradient(plane: &[f32], width: usize, height: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut dx, mut dy) = (vec![0.0; plane.len()], vec![0.0; plane.len()]);
    for y in 0..height {
        for x in 0..width {
            let at = |x: usize, y: usize| plane[y * width + x];
            dx[y * width + x] = 0.5 * (at((x + 1).min(width - 1), y) - at(x.saturating_sub(1), y));
            dy[y * width + x] = 0.5 * (at(x, (y + 1).min(height - 1)) - at(x, y.saturating_sub(1)));
        }
    }
    (dx, dy)
}

/// The brightness term, linear in the flow: rho(u, v) = constant + ix u + iy v.
struct Data {
    ix: Vec<f32>,
    iy: Vec<f32>,
    /// ix^2 + iy^2
    square: Vec<f32>,
    constant: Vec<f32>,
}

impl Data {
    fn linearise(&mut self, from: &[f32], warped: &[f32], ix: &[f32], iy: &[f32], field: &Field) {
        self.ix.copy_from_slice(ix);
        self.iy.copy_from_slice(iy);
        for i in 0..from.len() {
            self.square[i] = ix[i] * ix[i] + iy[i] * iy[i];
            self.constant[i] = warped[i] - ix[i] * field.x[i] - iy[i] * field.y[i] - from[i];
        }
    }

    /// u = TH(u) + theta div p for both components; the sum of the squares of what changed.
    fn step(&self, dual: &Dual, field: &mut Field) -> f64 {
        let width = field.width;
        let limit = LAMBDA * THETA;
        let mut change = 0.0;
        let mut squares = vec![0.0f32; width];
        let zeros = vec![0.0f32; width];
        for y in 0..field.height {
            let row = y * width..(y + 1) * width;
            let above = |plane: &'_ [f32]| -> Vec<f32> {
                if y == 0 { zeros.clone() } else { plane[(y - 1) * width..y * width].to_vec() }
            };
            let (above_x, above_y) = (above(&dual.y[0]), above(&dual.y[1]));
            let (ix, iy) = (&self.ix[row.clone()], &self.iy[row.clone()]);
            let (square, constant) = (&self.square[row.clone()], &self.constant[row.clone()]);
            let (ux, uy) = (&mut field.x[row.clone()], &mut field.y[row.clone()]);
            let (px, py) = (&dual.x[0][row.clone()], &dual.x[1][row.clone()]);
            let (qx, qy) = (&dual.y[0][row.clone()], &dual.y[1][row.clone()]);
            let mut update = |x: usize, left_x: f32, left_y: f32| {
                let rho = constant[x] + (ix[x] * ux[x] + iy[x] * uy[x]);
                let share = (-rho / square[x].max(f32::EPSILON)).max(-limit).min(limit);
                let div_x = (px[x] - left_x) + (qx[x] - above_x[x]);
                let div_y = (py[x] - left_y) + (qy[x] - above_y[x]);
                let new_x = ux[x] + share * ix[x] + THETA * div_x;
                let new_y = uy[x] + share * iy[x] + THETA * div_y;
                let (dx, dy) = (new_x - ux[x], new_y - uy[x]);
                squares[x] = dx * dx + dy * dy;
                ux[x] = new_x;
                uy[x] = new_y;
            };
            update(0, 0.0, 0.0);
            for x in 1..width {
                update(x, px[x - 1], py[x - 1]);
            }
            change += squares.iter().map(|&s| f64::from(s)).sum::<f64>();
        }
        change
    }
}

/// The dual variables of both components of the flow: their parts along x and y.
struct Dual {
    x: [Vec<f32>; 2],
    y: [Vec<f32>; 2],
}

impl Dual {
    /// p = (p + tau / theta grad u) / (1 + tau / theta |grad u|)
    fn step(&mut self, field: &Field) {
        const STEP: f32 = TAU / THETA;
        let (width, height) = (field.width, field.height);
        for (component, plane) in [&field.x, &field.y].into_iter().enumerate() {
            for y in 0..height {
                let row = &plane[y * width..][..width];
                let below = if y + 1 < height { &plane[(y + 1) * width..][..width] } else { row };
                let px = &mut self.x[component][y * width..][..width];
                let py = &mut self.y[component][y * width..][..width];
                let mut update = |x: usize, dx: f32, dy: f32| {
                    let scale = 1.0 / (1.0 + STEP * (dx * dx + dy * dy).sqrt());
                    px[x] = (px[x] + STEP * dx) * scale;
                    py[x] = (py[x] + STEP * dy) * scale;
                };
                for x in 0..width - 1 {
                    update(x, row[x + 1] - row[x], below[x] - row[x]);
                }
                update(width - 1, 0.0, below[width - 1] - row[width - 1]);
            }
        }
    }
}
