//! Stand-ins for a generator: they show whether a gain comes from generation or from merely filling something in.

use crate::experiment::config::{Control, Knn, Ridge};
use compute::matmul::{Mat, product};
use rayon::prelude::*;

/// What a control may look at.
pub struct Material<'a> {
    /// Frame-averaged, standardised vision of the sounded train clips, (N, D_v).
    pub train_vision: &'a [f32],
    /// Their audio feature, (N, D_a), raw.
    pub train_audio: &'a [f32],
    /// Frame-averaged vision of the clips to fill in, (M, D_v).
    pub vision: &'a [f32],
    /// Their true audio, (M, D_a); empty where the data set does not know it.
    pub truth: &'a [f32],
    /// D_v.
    pub visual_width: usize,
    /// D_a.
    pub audio_width: usize,
}

/// The stand-in features, (M, D_a), raw.
pub fn generate(control: Control, material: &Material, knn: &Knn, ridge: &Ridge) -> Vec<f32> {
    let clips = material.vision.len() / material.visual_width;
    match control {
        Control::Zero => vec![0.0; clips * material.audio_width],
        Control::Mean => mean(material.train_audio, material.audio_width).repeat(clips),
        Control::Ridge => ridge_regression(material, ridge.lambda),
        Control::Knn => nearest_neighbours(material, knn.k),
        Control::Oracle => material.truth.to_vec(),
    }
}

fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let n = (rows.len() / width).max(1) as f64;
    let mut sum = vec![0.0f64; width];
    for row in rows.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
    }
    sum.into_iter().map(|s| (s / n) as f32).collect()
}

/// W = argmin |X W - Y|^2 + lambda N |W|^2 on centred Y, by the normal equations of the smaller side: (X^T X + lambda N I)
/// W = X^T Y, or W = X^T A with (X X^T + lambda N I) A = Y. Predictions are x W + mean(Y).
fn ridge_regression(m: &Material, lambda: f64) -> Vec<f32> {
    let (d, a) = (m.visual_width, m.audio_width);
    let n = m.train_vision.len() / d;
    let centre = mean(m.train_audio, a);
    let mut y = m.train_audio.to_vec();
    y.par_chunks_exact_mut(a).for_each(|row| row.iter_mut().zip(&centre).for_each(|(y, c)| *y -= c));
    let x = Mat::new(m.train_vision, n, d);
    let y_mat = Mat::new(&y, n, a);
    let penalty = lambda * n as f64;
    let mut w = vec![0.0f32; d * a];
    if d <= n {
        let (mut gram, mut right) = (vec![0.0f32; d * d], vec![0.0f32; d * a]);
        product(&mut gram, x.t(), x, 1.0, false);
        product(&mut right, x.t(), y_mat, 1.0, false);
        w = solve(&gram, penalty, right, d, a);
    } else {
        let mut gram = vec![0.0f32; n * n];
        product(&mut gram, x, x.t(), 1.0, false);
        let dual = solve(&gram, penalty, y.clone(), n, a);
        product(&mut w, x.t(), Mat::new(&dual, n, a), 1.0, false);
    }
    let clips = m.vision.len() / d;
    let mut out = centre.repeat(clips);
    product(&mut out, Mat::new(m.vision, clips, d), Mat::new(&w, d, a), 1.0, true);
    out
}

/// Solves (G + penalty I) X = B for a symmetric positive semidefinite G (n, n) and B (n, m), by Cholesky in f64.
fn solve(gram: &[f32], penalty: f64, right: Vec<f32>, n: usize, m: usize) -> Vec<f32> {
    let mut l: Vec<f64> = gram.iter().map(|&g| f64::from(g)).collect();
    for i in 0..n {
        l[i * n + i] += penalty;
    }
    // Row by row: L[i][j] = (A[i][j] - L[i][..j].L[j][..j]) / L[j][j]. Column j of all later rows at once.
    for j in 0..n {
        let (above, below) = l.split_at_mut((j + 1) * n);
        let row_j = &mut above[j * n..];
        let diagonal = (row_j[j] - row_j[..j].iter().map(|v| v * v).sum::<f64>()).max(f64::MIN_POSITIVE).sqrt();
        row_j[j] = diagonal;
        let row_j = &row_j[..j];
        below.par_chunks_exact_mut(n).with_min_len(64).for_each(|row| {
            let dot: f64 = row[..j].iter().zip(row_j).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - dot) / diagonal;
        });
    }
    // Columns of B are independent; work on B^T.
    let mut columns = vec![0.0f64; n * m];
    columns.par_chunks_exact_mut(n).enumerate().for_each(|(c, b)| {
        b.iter_mut().enumerate().for_each(|(i, b)| *b = f64::from(right[i * m + c]));
        for i in 0..n {
            let dot: f64 = l[i * n..i * n + i].iter().zip(b.iter()).map(|(l, b)| l * b).sum();
            b[i] = (b[i] - dot) / l[i * n + i];
        }
        for i in (0..n).rev() {
            b[i] /= l[i * n + i];
            let value = b[i];
            for j in 0..i {
                b[j] -= l[i * n + j] * value;
            }
        }
    });
    (0..n * m).map(|i| columns[(i % m) * n + i / m] as f32).collect()
}

/// The mean audio of the k train clips nearest in vision (Euclidean; ties by place).
fn nearest_neighbours(m: &Material, k: usize) -> Vec<f32> {
    const BLOCK: usize = 256;
    let (d, a) = (m.visual_width, m.audio_width);
    let n = m.train_vision.len() / d;
    let k = k.min(n);
    let norms: Vec<f32> = m.train_vision.par_chunks_exact(d).map(|x| x.iter().map(|v| v * v).sum()).collect();
    let mut out = Vec::with_capacity(m.vision.len() / d * a);
    for block in m.vision.chunks(BLOCK * d) {
        let clips = block.len() / d;
        let mut dots = vec![0.0f32; clips * n];
        product(&mut dots, Mat::new(block, clips, d), Mat::new(m.train_vision, n, d).t(), 1.0, false);
        let rows: Vec<Vec<f32>> = dots
            .par_chunks_exact(n)
            .map(|dots| {
                // |x - y|^2 less the clip's own norm, which changes no order.
                let distance = |i: usize| norms[i] - 2.0 * dots[i];
                let mut order: Vec<usize> = (0..n).collect();
                let nearer = |&i: &usize, &j: &usize| distance(i).total_cmp(&distance(j)).then(i.cmp(&j));
                if k < n {
                    order.select_nth_unstable_by(k, nearer);
                }
                order.truncate(k);
                order.sort_unstable();
                let near: Vec<f32> = order.iter().flat_map(|&i| m.train_audio[i * a..][..a].to_vec()).collect();
                mean(&near, a)
            })
            .collect();
        out.extend(rows.into_iter().flatten());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use compute::rng::Rng;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut stream = Rng::new(seed, "test");
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    /// Both sides of the normal equations give the minimiser: the gradient there is zero.
    #[test]
    fn ridge_is_stationary() {
        for (n, d) in [(40, 6), (6, 40)] {
            let (x, y) = (random(n * d, 1), random(n * 3, 2));
            let m =
                Material { train_vision: &x, train_audio: &y, vision: &x, truth: &[], visual_width: d, audio_width: 3 };
            // Predictions on unit vectors give W + mean.
            let eye: Vec<f32> = (0..d * d).map(|i| f32::from(u8::from(i / d == i % d))).collect();
            let w = ridge_regression(&Material { vision: &eye, ..m }, 0.1);
            let centre = mean(&y, 3);
            for j in 0..d {
                for a in 0..3 {
                    let wja = w[j * 3 + a] - centre[a];
                    let mut gradient = 0.1 * n as f32 * wja;
                    for i in 0..n {
                        let p: f32 = (0..d).map(|l| x[i * d + l] * (w[l * 3 + a] - centre[a])).sum();
                        gradient += x[i * d + j] * (p - (y[i * 3 + a] - centre[a]));
                    }
                    assert!(gradient.abs() < 1e-3, "{n} {d} {gradient}");
                }
            }
        }
    }

    #[test]
    fn neighbours_and_means() {
        let m = Material {
            train_vision: &[0.0, 1.0, 10.0],
            train_audio: &[1.0, 3.0, 100.0],
            vision: &[0.4, 9.0],
            truth: &[],
            visual_width: 1,
            audio_width: 1,
        };
        assert_eq!(nearest_neighbours(&m, 2), [2.0, 51.5]);
        assert_eq!(nearest_neighbours(&m, 1), [1.0, 100.0]);
        assert_eq!(nearest_neighbours(&m, 9).len(), 2);
        let knn = Knn::default();
        assert_eq!(generate(Control::Zero, &m, &knn, &Ridge::default()), [0.0, 0.0]);
        let mean = generate(Control::Mean, &m, &knn, &Ridge::default());
        assert!((mean[0] - 104.0 / 3.0).abs() < 1e-4 && mean[0] == mean[1]);
    }
}
