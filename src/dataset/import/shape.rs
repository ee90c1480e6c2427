//! How an array of any number of dimensions becomes (t, D), one row a frame.

use super::array::Array;
use super::npy::tuple;
use serde::{Deserialize, Serialize};

/// What is made of an axis that is neither time nor feature, such as ten crops of each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReduceBy {
    /// The mean over it.
    Mean,
    /// The largest number along it.
    Max,
    /// Its first entry.
    First,
}

/// `--reduce`: which axis of (a, b, D) goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduce {
    /// How.
    pub by: ReduceBy,
    /// 0 or 1.
    pub axis: usize,
}

impl std::str::FromStr for Reduce {
    type Err = ();

    /// `mean`, `max` or `first`, of axis 1 or of the one behind a colon: `mean:0`.
    fn from_str(text: &str) -> Result<Reduce, ()> {
        let (by, axis) = match text.split_once(':') {
            None => (text, 1),
            Some((by, "0")) => (by, 0),
            Some((by, "1")) => (by, 1),
            Some(_) => return Err(()),
        };
        let by = match by {
            "mean" => ReduceBy::Mean,
            "max" => ReduceBy::Max,
            "first" => ReduceBy::First,
            _ => return Err(()),
        };
        Ok(Reduce { by, axis })
    }
}

impl std::fmt::Display for Reduce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = match self.by {
            ReduceBy::Mean => "mean",
            ReduceBy::Max => "max",
            ReduceBy::First => "first",
        };
        write!(f, "{by}:{}", self.axis)
    }
}

/// How arrays of a feature are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Folding {
    /// What becomes of a third axis.
    pub reduce: Option<Reduce>,
    /// Arrays are (D, t).
    pub transpose: bool,
}

/// An array's rows and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frames {
    /// t; may be 0.
    pub rows: usize,
    /// D.
    pub width: usize,
    /// Whether axes of length 1 were dropped.
    pub squeezed: bool,
    /// Whether an axis was reduced.
    pub reduced: bool,
}

impl Folding {
    /// Rows and width of an array of this shape; says what would have to be asked for.
    pub fn frames(&self, name: &str, shape: &[usize]) -> Result<Frames, String> {
        let mut axes = shape.to_vec();
        let reduced = self.reduce.filter(|_| axes.len() == 3);
        if let Some(reduce) = reduced
            && axes.remove(reduce.axis) == 0
        {
            return Err(format!("shape is {}: axis {} is empty", tuple(shape), reduce.axis));
        }
        // An axis of length 1 before the last carries nothing.
        let before = axes.len();
        while axes.len() > 2
            && let Some(one) = axes[..axes.len() - 1].iter().position(|&d| d == 1)
        {
            axes.remove(one);
        }
        let squeezed = axes.len() < before;
        let (rows, width) = match (&axes[..], self.transpose) {
            ([], _) => {
                return Err(format!(
                    "holds a single number; an array (t, D) was expected\n  next: --skip {name} leaves it out"
                ));
            }
            ([width], _) => (1, *width),
            ([rows, width], false) | ([width, rows], true) => (*rows, *width),
            ([_, _, _], _) => {
                return Err(format!(
                    "shape is {}; (t, D) was expected\n  next: --reduce {name}=mean averages the middle axis (crops, say), --reduce {name}=mean:0 the first",
                    tuple(shape)
                ));
            }
            _ => return Err(format!("shape is {}; (t, D) was expected", tuple(shape))),
        };
        if width == 0 {
            return Err(format!("shape is {}: its rows hold no numbers", tuple(shape)));
        }
        Ok(Frames { rows, width, squeezed, reduced: reduced.is_some() })
    }

    /// The array's numbers, frame after frame.
    pub fn apply(&self, array: Array) -> Vec<f32> {
        let values = match (self.reduce, &array.shape[..]) {
            (Some(reduce), &[a, b, d]) => reduced(&array.values, [a, b, d], reduce),
            _ => array.values,
        };
        let long: Vec<usize> = array.shape.iter().copied().filter(|&d| d != 1).collect();
        match long[..] {
            // One row or column lies the same way in both orders.
            [width, rows] if self.transpose && array.shape.len() == 2 => {
                (0..rows * width).map(|i| values[(i % width) * rows + i / width]).collect()
            }
            _ => values,
        }
    }
}

/// (a, b, D) without one of the first two axes.
fn reduced(values: &[f32], [a, b, d]: [usize; 3], reduce: Reduce) -> Vec<f32> {
    let (kept, gone) = if reduce.axis == 0 { (b, a) } else { (a, b) };
    let at = |k: usize, g: usize| if reduce.axis == 0 { (g * b + k) * d } else { (k * b + g) * d };
    let mut out = Vec::with_capacity(kept * d);
    for k in 0..kept {
        let row = |g: usize| &values[at(k, g)..][..d];
        match reduce.by {
            ReduceBy::First => out.extend_from_slice(row(0)),
            ReduceBy::Max => {
                let mut most = row(0).to_vec();
                for g in 1..gone {
                    // NaN wins, so that the check for finite numbers sees it.
                    most.iter_mut().zip(row(g)).for_each(|(m, &x)| *m = if x > *m || x.is_nan() { x } else { *m });
                }
                out.extend(most);
            }
            ReduceBy::Mean => {
                let mut sum = vec![0.0f64; d];
                for g in 0..gone {
                    sum.iter_mut().zip(row(g)).for_each(|(s, &x)| *s += f64::from(x));
                }
                out.extend(sum.into_iter().map(|s| (s / gone as f64) as f32));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize]) -> Array {
        let numbers = shape.iter().product();
        Array {
            shape: shape.to_vec(),
            values: (0..numbers).map(|i: usize| i as f32).collect(),
            digest: blake3::hash(b""),
            trailing: 0,
            changed: Default::default(),
        }
    }

    fn frames(folding: &Folding, shape: &[usize]) -> Result<(usize, usize), String> {
        folding.frames("rgb", shape).map(|f| (f.rows, f.width))
    }

    #[test]
    fn shapes_become_frames_by_width() {
        let plain = Folding::default();
        for (shape, is) in [
            (&[6][..], (1, 6)),
            (&[4, 6], (4, 6)),
            (&[4, 1, 6], (4, 6)),
            (&[1, 4, 6], (4, 6)),
            (&[1, 1, 6], (1, 6)),
            (&[1, 4, 1, 6], (4, 6)),
            (&[0, 6], (0, 6)),
        ] {
            assert_eq!(frames(&plain, shape).unwrap(), is, "{shape:?}");
            assert_eq!(plain.apply(array(shape)), array(shape).values);
        }
        for shape in [&[][..], &[4, 10, 6], &[2, 6, 1], &[2, 3, 4, 5], &[3, 0]] {
            assert!(frames(&plain, shape).is_err(), "{shape:?}");
        }
        assert!(frames(&plain, &[4, 10, 6]).unwrap_err().contains("--reduce rgb=mean"));
    }

    #[test]
    fn crops_are_reduced_on_request() {
        let by = |text: &str| Folding { reduce: Some(text.parse().unwrap()), transpose: false };
        assert_eq!(frames(&by("mean"), &[4, 10, 6]), Ok((4, 6)));
        assert_eq!(frames(&by("mean"), &[1, 10, 6]), Ok((1, 6)), "crops of the only frame are no frames");
        assert_eq!(frames(&by("mean:0"), &[10, 4, 6]), Ok((4, 6)));
        assert_eq!(frames(&by("mean"), &[4, 6]), Ok((4, 6)));
        // 0 1 | 2 3 and 4 5 | 6 7
        assert_eq!(by("mean").apply(array(&[2, 2, 2])), [1.0, 2.0, 5.0, 6.0]);
        assert_eq!(by("mean:0").apply(array(&[2, 2, 2])), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(by("max").apply(array(&[2, 2, 2])), [2.0, 3.0, 6.0, 7.0]);
        assert_eq!(by("first").apply(array(&[2, 2, 2])), [0.0, 1.0, 4.0, 5.0]);
        assert!("median".parse::<Reduce>().is_err() && "mean:2".parse::<Reduce>().is_err());
    }

    #[test]
    fn arrays_on_their_side_are_turned_on_request() {
        let turned = Folding { reduce: None, transpose: true };
        assert_eq!(frames(&turned, &[3, 2]), Ok((2, 3)));
        assert_eq!(turned.apply(array(&[3, 2])), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(turned.apply(array(&[3, 1])), [0.0, 1.0, 2.0]);
    }
}
