//! The element-wise half of an LSTM step, vectorised: every function here is written so that the compiler turns its
//! loops into the widest vectors of the machine, chosen at run time. `LANES` is a vector's width in numbers, and `FMA` says that
//! the machine multiplies and adds at once.

use crate::simd::{self, Level};

/// a b + c.
#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Where there is no instruction for it, the standard library's is a slow function.
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's rule, the highest power's coefficient first.
#[inline(always)]
fn polynomial<const FMA: bool>(x: f32, coefficients: &[f32]) -> f32 {
    coefficients[1..].iter().fold(coefficients[0], |sum, c| fma::<FMA>(sum, x, *c))
}

/// exp(x) for x clamped to [-87, 88]: x = n ln 2 + r, a polynomial of degree 6 in r, and 2^n by its bits.
/// Relative error below 2e-7 (Cephes' coefficients).
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5 * 2^23 rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let n = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND) - ROUND;
    let r = fma::<FMA>(n, 2.121_944_4e-4, fma::<FMA>(n, -0.693_359_4, x));
    const P: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let p = fma::<FMA>(polynomial::<FMA>(r, &P), r * r, r) + 1.0;
    // SAFETY: x was clamped, so |n| is at most 128; a NaN, which a clamp lets through, is told apart.
    let power = if n.is_nan() { 0 } else { unsafe { n.to_int_unchecked::<i32>() } };
    p * f32::from_bits(((power + 127) << 23) as u32)
}

/// 1 / (1 + e^-x).
#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// tanh: x P(x^2) / Q(x^2) for x clamped to where it rounds to 1 (Eigen's coefficients). Relative error below 4e-7.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-7.905_311, 7.905_311);
    let z = x * x;
    const P: [f32; 7] =
        [-2.760_768_5e-16, 2.000_188e-13, -8.604_672e-11, 5.122_297e-8, 1.485_722_4e-5, 6.372_619_3e-4, 4.893_524_6e-3];
    const Q: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    (x * polynomial::<FMA>(z, &P) / polynomial::<FMA>(z, &Q)).clamp(-1.0, 1.0)
}

/// Numbers worked on at once. They are copied to arrays first, because the compiler cannot know that ten slices do not overlap.
type Lanes<const LANES: usize> = [f32; LANES];

/// Numbers `from..from + LANES` of a slice, zeros past its end.
#[inline(always)]
fn load<const LANES: usize>(slice: &[f32], from: usize) -> Lanes<LANES> {
    let mut lanes = [0.0; LANES];
    match slice.get(from..from + LANES) {
        Some(whole) => lanes.copy_from_slice(whole),
        None => lanes[..slice.len() - from].copy_from_slice(&slice[from..]),
    }
    lanes
}

/// Undoes [`load`].
#[inline(always)]
fn store<const LANES: usize>(slice: &mut [f32], from: usize, lanes: &Lanes<LANES>) {
    let end = slice.len().min(from + LANES);
    match slice.get_mut(from..from + LANES) {
        Some(whole) => whole.copy_from_slice(lanes),
        None => slice[from..end].copy_from_slice(&lanes[..end - from]),
    }
}

#[inline(always)]
fn each<const LANES: usize>(of: impl Fn(usize) -> f32) -> Lanes<LANES> {
    let mut lanes = [0.0; LANES];
    for (k, lane) in lanes.iter_mut().enumerate() {
        *lane = of(k);
    }
    lanes
}

/// What the frames give to the gates before their nonlinearities: x W + b, (T B, 4H).
pub struct Inputs<'a> {
    /// x W of the distinct rows of x.
    pub projected: &'a [f32],
    /// The distinct row that each row of x is; each its own where there are none.
    pub places: Option<&'a [u32]>,
    /// b, (4H,).
    pub bias: &'a [f32],
}

impl Inputs<'_> {
    /// x W of a row of x.
    fn row(&self, row: usize) -> &[f32] {
        let place = self.places.map_or(row, |places| places[row] as usize);
        &self.projected[place * self.bias.len()..][..self.bias.len()]
    }
}

/// Numbers of one gate before its nonlinearity: `gate` plus what its part of the inputs, which begins at `from`, gives.
#[inline(always)]
fn sum<const LANES: usize>(gate: &[f32], projected: &[f32], bias: &[f32], from: usize, at: usize) -> Lanes<LANES> {
    let end = from + gate.len();
    let (a, p, b): (Lanes<LANES>, Lanes<LANES>, Lanes<LANES>) =
        (load(gate, at), load(&projected[from..end], at), load(&bias[from..end], at));
    each(|k| a[k] + (p[k] + b[k]))
}

#[inline(always)]
fn activated<const LANES: usize>(lanes: Lanes<LANES>, by: impl Fn(f32) -> f32) -> Lanes<LANES> {
    each(|k| by(lanes[k]))
}

/// One forward step for one clip. `gates` (4H; i, f, g, o) holds h_{t-1} U and gets the activations of that plus `projected` plus
/// `bias`; `c_prev`, `c`, `tanh_c` and `h` (H each): i, f, o = sigmoid, g = tanh, c = f c_prev + i g, h = o tanh(c).
#[inline(always)]
fn forward_row<const LANES: usize, const FMA: bool>(
    gates: &mut [f32],
    [projected, bias]: [&[f32]; 2],
    c_prev: &[f32],
    c: &mut [f32],
    tanh_c: &mut [f32],
    h: &mut [f32],
) {
    let hidden = c.len();
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    for j in (0..hidden).step_by(LANES) {
        let iv = activated::<LANES>(sum(i, projected, bias, 0, j), sigmoid::<FMA>);
        let fv = activated::<LANES>(sum(f, projected, bias, hidden, j), sigmoid::<FMA>);
        let gv = activated::<LANES>(sum(g, projected, bias, 2 * hidden, j), tanh::<FMA>);
        let ov = activated::<LANES>(sum(o, projected, bias, 3 * hidden, j), sigmoid::<FMA>);
        let before: Lanes<LANES> = load(c_prev, j);
        let cv: Lanes<LANES> = each(|k| fma::<FMA>(fv[k], before[k], iv[k] * gv[k]));
        let tv = activated::<LANES>(cv, tanh::<FMA>);
        let hv: Lanes<LANES> = each(|k| ov[k] * tv[k]);
        for (slice, lanes) in [(&mut *i, &iv), (&mut *f, &fv), (&mut *g, &gv), (&mut *o, &ov)] {
            store(slice, j, lanes);
        }
        store(c, j, &cv);
        store(tanh_c, j, &tv);
        store(h, j, &hv);
    }
}

/// One backward step for one clip. `gates` holds activations and becomes the gradient before the nonlinearities; `dh` is
/// the gradient of h; `dc` that of c from the step after, and becomes that of c_prev.
#[inline(always)]
fn backward_row<const LANES: usize>(gates: &mut [f32], c_prev: &[f32], tanh_c: &[f32], dh: &[f32], dc: &mut [f32]) {
    let hidden = dc.len();
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    for j in (0..hidden).step_by(LANES) {
        let [iv, fv, gv, ov]: [Lanes<LANES>; 4] = [load(i, j), load(f, j), load(g, j), load(o, j)];
        let [before, tv, dhv, after]: [Lanes<LANES>; 4] = [load(c_prev, j), load(tanh_c, j), load(dh, j), load(dc, j)];
        let d: Lanes<LANES> = each(|k| after[k] + dhv[k] * ov[k] * (1.0 - tv[k] * tv[k]));
        let di: Lanes<LANES> = each(|k| d[k] * gv[k] * iv[k] * (1.0 - iv[k]));
        let df: Lanes<LANES> = each(|k| d[k] * before[k] * fv[k] * (1.0 - fv[k]));
        let dg: Lanes<LANES> = each(|k| d[k] * iv[k] * (1.0 - gv[k] * gv[k]));
        let d_o: Lanes<LANES> = each(|k| dhv[k] * tv[k] * ov[k] * (1.0 - ov[k]));
        let d_before: Lanes<LANES> = each(|k| d[k] * fv[k]);
        for (slice, lanes) in [(&mut *i, &di), (&mut *f, &df), (&mut *g, &dg), (&mut *o, &d_o)] {
            store(slice, j, lanes);
        }
        store(dc, j, &d_before);
    }
}

/// One forward step for some clips, the first of which has row `first` of the inputs: `gates` (B, 4H; i, f, g, o) holds h_{t-1} U
/// and gets the activations, and with `c_prev` (B, H) gives `c`, `tanh_c` and `h`, (B, H): i, f, o = sigmoid, g = tanh,
/// c = f c_prev + i g, h = o tanh(c).
pub fn forward(
    inputs: &Inputs,
    first: usize,
    gates: &mut [f32],
    c_prev: &[f32],
    c: &mut [f32],
    tanh_c: &mut [f32],
    h: &mut [f32],
) {
    let rows = Rows { inputs, first, gates, c_prev, c, tanh_c, h };
    match simd::level() {
        Level::Scalar => rows.forward::<8, false>(),
        Level::Neon | Level::Avx2 => simd::vectorise(
            #[inline(always)]
            || rows.forward::<8, true>(),
        ),
        Level::Avx512 => simd::vectorise(
            #[inline(always)]
            || rows.forward::<16, true>(),
        ),
    }
}

/// The arguments of [`forward`].
struct Rows<'a> {
    inputs: &'a Inputs<'a>,
    first: usize,
    gates: &'a mut [f32],
    c_prev: &'a [f32],
    c: &'a mut [f32],
    tanh_c: &'a mut [f32],
    h: &'a mut [f32],
}

impl Rows<'_> {
    #[inline(always)]
    fn forward<const LANES: usize, const FMA: bool>(self) {
        let hidden = self.inputs.bias.len() / 4;
        let rows = (self.first..).zip(self.gates.chunks_exact_mut(4 * hidden)).zip(self.c_prev.chunks_exact(hidden));
        let (c, tanh_c) = (self.c.chunks_exact_mut(hidden), self.tanh_c.chunks_exact_mut(hidden));
        for (((row, g), p), ((c, t), h)) in rows.zip(c.zip(tanh_c).zip(self.h.chunks_exact_mut(hidden))) {
            forward_row::<LANES, FMA>(g, [self.inputs.row(row), self.inputs.bias], p, c, t, h);
        }
    }
}

/// One backward step for every clip: `gates` holds activations and becomes the gradient before the nonlinearities; `dh` is the
/// gradient of h; `dc` that of c from the step after, and becomes that of c_prev.
pub fn backward(hidden: usize, gates: &mut [f32], c_prev: &[f32], tanh_c: &[f32], dh: &[f32], dc: &mut [f32]) {
    match simd::level() {
        Level::Avx512 => simd::vectorise(
            #[inline(always)]
            || backward_rows::<16>(hidden, gates, c_prev, tanh_c, dh, dc),
        ),
        _ => simd::vectorise(
            #[inline(always)]
            || backward_rows::<8>(hidden, gates, c_prev, tanh_c, dh, dc),
        ),
    }
}

#[inline(always)]
fn backward_rows<const LANES: usize>(
    hidden: usize,
    gates: &mut [f32],
    c_prev: &[f32],
    tanh_c: &[f32],
    dh: &[f32],
    dc: &mut [f32],
) {
    let rows = gates.chunks_exact_mut(4 * hidden).zip(c_prev.chunks_exact(hidden));
    let ins = tanh_c.chunks_exact(hidden).zip(dh.chunks_exact(hidden)).zip(dc.chunks_exact_mut(hidden));
    for ((g, p), ((t, dh), dc)) in rows.zip(ins) {
        backward_row::<LANES>(g, p, t, dh, dc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonlinearities_agree_with_the_standard_library<const FMA: bool>() {
        for i in -4000..4000 {
            let x = i as f32 * 0.01;
            let close = |a: f32, b: f64| (f64::from(a) - b).abs() <= 4e-7 * b.abs().max(1e-30);
            assert!(close(exp::<FMA>(x), f64::from(x).exp()), "exp {x}");
            assert!(close(tanh::<FMA>(x), f64::from(x).tanh()), "tanh {x}");
            assert!(close(sigmoid::<FMA>(x), 1.0 / (1.0 + (-f64::from(x)).exp())), "sigmoid {x}");
        }
        assert_eq!(tanh::<FMA>(0.0), 0.0);
        assert!((1.0 - tanh::<FMA>(100.0)).abs() < 2e-7 && sigmoid::<FMA>(-200.0) < 1e-30);
        assert!(tanh::<FMA>(f32::NAN).is_nan() && sigmoid::<FMA>(f32::NAN).is_nan());
    }

    #[test]
    fn nonlinearities_agree_with_the_standard_library_with_and_without_fma() {
        nonlinearities_agree_with_the_standard_library::<true>();
        nonlinearities_agree_with_the_standard_library::<false>();
    }
}
