//! Variational refinement of a flow field.
//!
//! Minimises over small changes (du, dv) the sum of robust penalties sqrt(x^2 + eps^2) of how brightness and its gradient
//! change along the flow, and of how the flow itself changes, by successive over-relaxation on the linearised equations.
//! After Brox, Bruhn, Papenberg and Weickert, High accuracy optical flow estimation based on a theory for warping (2004), with
//! the parameters of OpenCV's `VariationalRefinement` within its dense inverse search.

use super::field::Field;

const FIXED_POINTS: usize = 5;
const RELAXATIONS: usize = 5;
const OMEGA: f32 = 1.6;
/// Weights of smoothness, brightness and its gradient.
const ALPHA: f32 = 20.0;
const DELTA: f32 = 5.0;
const GAMMA: f32 = 10.0;
const ZETA: f32 = 0.1;
const EPSILON: f32 = 0.001;

/// Two frames of one size.
pub(super) struct Planes<'a> {
    pub width: usize,
    pub height: usize,
    pub from: &'a [f32],
    pub to: &'a [f32],
}

/// The linear equations of one fixed point: for each pixel a symmetric 2 x 2 matrix and a right side, and the weight of its
/// links to the right and below.
struct Equations {
    a11: Vec<f32>,
    a12: Vec<f32>,
    a22: Vec<f32>,
    b1: Vec<f32>,
    b2: Vec<f32>,
    link: Vec<f32>,
}

/// Half the differences to the right and left, below and above.
fn gradient(plane: &[f32], width: usize, height: usize) -> (Vec<f32>, Vec<f32>) {
    let at = |x: usize, y: usize| plane[y * width + x];
    let each = |i: usize| {
        let (x, y) = (i % width, i / width);
        let dx = at((x + 1).min(width - 1), y) - at(x.saturating_sub(1), y);
        let dy = at(x, (y + 1).min(height - 1)) - at(x, y.saturating_sub(1));
        (0.5 * dx, 0.5 * dy)
    };
    (0..plane.len()).map(each).unzip()
}

/// The second frame taken back along the flow.
fn warped(planes: &Planes<'_>, field: &Field) -> Vec<f32> {
    let (width, height) = (planes.width, planes.height);
    let each = |i: usize| {
        let x = ((i % width) as f32 + field.x[i]).clamp(0.0, (width - 1) as f32);
        let y = ((i / width) as f32 + field.y[i]).clamp(0.0, (height - 1) as f32);
        let (left, top) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
        let (fx, fy) = (x - left as f32, y - top as f32);
        let at = |x: usize, y: usize| planes.to[y * width + x];
        (at(left, top) * (1.0 - fx) + at(right, top) * fx) * (1.0 - fy)
            + (at(left, below) * (1.0 - fx) + at(right, below) * fx) * fy
    };
    (0..width * height).map(each).collect()
}

/// Refines a field in place.
pub(super) fn refine(planes: &Planes<'_>, field: &mut Field) {
    let (width, height) = (planes.width, planes.height);
    let size = width * height;
    let second = warped(planes, field);
    let mean: Vec<f32> = planes.from.iter().zip(&second).map(|(a, b)| 0.5 * (a + b)).collect();
    let time: Vec<f32> = planes.from.iter().zip(&second).map(|(a, b)| b - a).collect();
    let (ix, iy) = gradient(&mean, width, height);
    let (ixx, ixy) = gradient(&ix, width, height);
    let (_, iyy) = gradient(&iy, width, height);
    let (ixz, iyz) = gradient(&time, width, height);
    let (mut du, mut dv) = (vec![0.0f32; size], vec![0.0f32; size]);
    let zeros = || vec![0.0f32; size];
    let mut eq = Equations { a11: zeros(), a12: zeros(), a22: zeros(), b1: zeros(), b2: zeros(), link: zeros() };
    for _ in 0..FIXED_POINTS {
        for i in 0..size {
            let norm = ix[i] * ix[i] + iy[i] * iy[i] + ZETA * ZETA;
            let change = time[i] + ix[i] * du[i] + iy[i] * dv[i];
            let w = DELTA / (change * change / norm + EPSILON * EPSILON).sqrt() / norm;
            let (n1, n2) =
                (ixx[i] * ixx[i] + ixy[i] * ixy[i] + ZETA * ZETA, iyy[i] * iyy[i] + ixy[i] * ixy[i] + ZETA * ZETA);
            let cx = ixz[i] + ixx[i] * du[i] + ixy[i] * dv[i];
            let cy = iyz[i] + ixy[i] * du[i] + iyy[i] * dv[i];
            let g = GAMMA / (cx * cx / n1 + cy * cy / n2 + EPSILON * EPSILON).sqrt();
            eq.a11[i] = w * ix[i] * ix[i] + ZETA * ZETA + g * (ixx[i] * ixx[i] / n1 + ixy[i] * ixy[i] / n2);
            eq.a12[i] = w * ix[i] * iy[i] + g * (ixx[i] * ixy[i] / n1 + ixy[i] * iyy[i] / n2);
            eq.a22[i] = w * iy[i] * iy[i] + ZETA * ZETA + g * (ixy[i] * ixy[i] / n1 + iyy[i] * iyy[i] / n2);
            eq.b1[i] = -w * ix[i] * time[i] - g * (ixx[i] * ixz[i] / n1 + ixy[i] * iyz[i] / n2);
            eq.b2[i] = -w * iy[i] * time[i] - g * (ixy[i] * ixz[i] / n1 + iyy[i] * iyz[i] / n2);
        }
        eq.smooth(field, &du, &dv);
        for _ in 0..RELAXATIONS {
            eq.relax(width, height, &mut du, &mut dv);
        }
    }
    field.x.iter_mut().zip(&du).for_each(|(u, d)| *u += d);
    field.y.iter_mut().zip(&dv).for_each(|(v, d)| *v += d);
}

impl Equations {
    /// Adds the smoothness of field + change: links between neighbours, weighed by how much the flow changes there.
    fn smooth(&mut self, field: &Field, du: &[f32], dv: &[f32]) {
        let (width, height) = (field.width, field.height);
        for y in 0..height {
            for x in 0..width {
                let i = y * width + x;
                let (right, below) =
                    (if x + 1 < width { i + 1 } else { i }, if y + 1 < height { i + width } else { i });
                let u = |i: usize| field.x[i] + du[i];
                let v = |i: usize| field.y[i] + dv[i];
                let (ux, uy, vx, vy) = (u(right) - u(i), u(below) - u(i), v(right) - v(i), v(below) - v(i));
                let w = ALPHA / (ux * ux + uy * uy + vx * vx + vy * vy + EPSILON * EPSILON).sqrt();
                self.link[i] = w;
                for other in [right, below].into_iter().filter(|o| *o != i) {
                    let (gu, gv) = (w * (field.x[other] - field.x[i]), w * (field.y[other] - field.y[i]));
                    self.b1[i] += gu;
                    self.b2[i] += gv;
                    self.b1[other] -= gu;
                    self.b2[other] -= gv;
                    for j in [i, other] {
                        self.a11[j] += w;
                        self.a22[j] += w;
                    }
                }
            }
        }
    }

    /// One sweep of successive over-relaxation.
    fn relax(&self, width: usize, height: usize, du: &mut [f32], dv: &mut [f32]) {
        for y in 0..height {
            for x in 0..width {
                let i = y * width + x;
                let (mut su, mut sv) = (0.0, 0.0);
                let mut add = |weight: f32, j: usize| {
                    su += weight * du[j];
                    sv += weight * dv[j];
                };
                if x > 0 {
                    add(self.link[i - 1], i - 1);
                }
                if y > 0 {
                    add(self.link[i - width], i - width);
                }
                if x + 1 < width {
                    add(self.link[i], i + 1);
                }
                if y + 1 < height {
                    add(self.link[i], i + width);
                }
                du[i] += OMEGA * ((su + self.b1[i] - self.a12[i] * dv[i]) / self.a11[i] - du[i]);
                dv[i] += OMEGA * ((sv + self.b2[i] - self.a12[i] * du[i]) / self.a22[i] - dv[i]);
            }
        }
    }
}
