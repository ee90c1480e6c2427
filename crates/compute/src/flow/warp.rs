//! Taking a frame's values where a flow field points to, as the `remap` of OpenCV 5 with `INTER_CUBIC` does: Keys's cubic with
//! a = -3/4, 0 outside of the frame. OpenCV before 5 rounded positions to 1/32 pixel, which moves TV-L1's flow by 0.01 pixels.

const A: f32 = -0.75;

/// The weights of the four pixels around a position that lies `x` behind the second.
fn weights(x: f32) -> [f32; 4] {
    let far = |d: f32| ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A;
    let near = |d: f32| ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0;
    let (a, b, c) = (far(x + 1.0), near(x), near(1.0 - x));
    [a, b, c, 1.0 - a - b - c]
}

/// For each pixel (x, y) the values of N planes at (x + u, y + v).
pub(super) fn warp<const N: usize>(
    planes: [&[f32]; N],
    (width, height): (usize, usize),
    (u, v): (&[f32], &[f32]),
    out: [&mut [f32]; N],
) {
    let mut out = out;
    for y in 0..height {
        for x in 0..width {
            let at = y * width + x;
            let (left, across) = split(x as f32 + u[at]);
            let (top, down) = split(y as f32 + v[at]);
            let (across, down) = (weights(across), weights(down));
            let inside = left >= 0 && top >= 0 && left + 3 < width as i64 && top + 3 < height as i64;
            for (plane, out) in planes.iter().zip(&mut out) {
                let mut sum = 0.0;
                if inside {
                    let first = top as usize * width + left as usize;
                    for (row, wy) in down.iter().enumerate() {
                        let p = &plane[first + row * width..][..4];
                        sum += wy * (p[0] * across[0] + p[1] * across[1] + p[2] * across[2] + p[3] * across[3]);
                    }
                } else {
                    for (row, wy) in (top..).zip(down).filter(|(row, _)| (0..height as i64).contains(row)) {
                        for (column, wx) in (left..).zip(across).filter(|(c, _)| (0..width as i64).contains(c)) {
                            sum += wy * wx * plane[row as usize * width + column as usize];
                        }
                    }
                }
                out[at] = sum;
            }
        }
    }
}

/// The first of the four pixels around a position, and how far behind the second it lies. A flow that is not finite, or far
/// beyond any frame, points outside.
fn split(position: f32) -> (i64, f32) {
    let floor = position.floor();
    if !floor.is_finite() || floor.abs() > 1e9 {
        return (-8, 0.0);
    }
    (floor as i64 - 1, position - floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_steps_take_pixels_and_the_outside_is_0() {
        let plane: Vec<f32> = (1..=30).map(|i| i as f32).collect();
        let mut out = vec![0.0; 30];
        warp([&plane], (6, 5), (&[1.0; 30], &[0.0; 30]), [&mut out]);
        for y in 0..5 {
            assert_eq!(out[y * 6..y * 6 + 5], plane[y * 6 + 1..y * 6 + 6]);
            assert_eq!(out[y * 6 + 5], 0.0);
        }
    }

    #[test]
    fn the_cubic_is_exact_on_lines_and_its_weights_sum_to_one() {
        assert_eq!(weights(0.0), [0.0, 1.0, 0.0, 0.0]);
        let plane: Vec<f32> = (0..64).map(|i| (i % 8) as f32 * 3.0).collect();
        let mut out = vec![0.0; 64];
        warp([&plane], (8, 8), (&[0.5; 64], &[0.25; 64]), [&mut out]);
        assert!((out[3 * 8 + 3] - 10.5).abs() < 1e-5);
    }
}
