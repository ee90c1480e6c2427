//! What Google's VGGish makes of its output for AudioSet: PCA, clipping, eight bits.

/// Numbers of an embedding.
pub const WIDTH: usize = 128;
/// The PCA's output is clipped to plus and minus this.
const CLIP: f64 = 2.0;

/// How the clipped PCA becomes whole numbers from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantise {
    /// Down, as Google's code casts.
    Truncate,
    /// To the nearest, ties to even, as torchvggish does.
    Round,
}

/// The released PCA: y = V (x - m), V (128, 128) with an eigenvector a row, m (128).
#[derive(Clone, Debug, PartialEq)]
pub struct Pca {
    vectors: Vec<f64>,
    means: Vec<f64>,
}

impl Pca {
    /// From `pca_eigen_vectors` (128, 128) and `pca_means` (128); None where there are more or fewer numbers.
    pub fn new(vectors: Vec<f64>, means: Vec<f64>) -> Option<Pca> {
        (vectors.len() == WIDTH * WIDTH && means.len() == WIDTH).then_some(Pca { vectors, means })
    }

    /// The PCA of one embedding, clipped to plus and minus 2.
    pub fn apply(&self, embedding: &[f32]) -> Vec<f64> {
        let centred: Vec<f64> = embedding.iter().zip(&self.means).map(|(&x, m)| f64::from(x) - m).collect();
        let project = |v: &[f64]| v.iter().zip(&centred).map(|(v, x)| v * x).sum::<f64>().clamp(-CLIP, CLIP);
        self.vectors.chunks_exact(WIDTH).map(project).collect()
    }
}

/// (y + 2) 255 / 4 as a whole number.
pub fn quantise(clipped: &[f64], how: Quantise) -> Vec<u8> {
    let scaled = |y: &f64| (y + CLIP) * (255.0 / (2.0 * CLIP));
    let whole = |y: f64| match how {
        Quantise::Truncate => y.trunc(),
        Quantise::Round => y.round_ties_even(),
    };
    clipped.iter().map(|y| whole(scaled(y)).clamp(0.0, 255.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pca_projects_and_clips() {
        let mut vectors = vec![0.0; WIDTH * WIDTH];
        vectors[0] = 2.0;
        vectors[1] = 1.0;
        vectors[WIDTH] = 100.0;
        let pca = Pca::new(vectors, vec![0.5; WIDTH]).unwrap();
        let mut x = [0.5f32; WIDTH];
        x[0] = 1.0;
        x[1] = 0.25;
        assert_eq!(pca.apply(&x)[..3], [0.75, 2.0, 0.0]);
        assert!(Pca::new(vec![0.0; 3], vec![0.0; WIDTH]).is_none());
    }

    #[test]
    fn truncation_and_rounding_differ_by_one_at_most() {
        assert_eq!(quantise(&[-2.0, 0.0, 2.0, 1.99], Quantise::Truncate), [0, 127, 255, 254]);
        assert_eq!(quantise(&[-2.0, 0.0, 2.0, 1.99], Quantise::Round), [0, 128, 255, 254]);
    }
}
