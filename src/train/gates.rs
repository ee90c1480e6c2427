//! The element-wise half of an LSTM step, vectorised: every function here is written so that the compiler turns its
//! loops into the widest vectors of the machine, chosen at run time.

use crate::simd;

/// exp(x) for x clamped to [-87, 88]: x = n ln 2 + r, a polynomial of degree 6 in r, and 2^n by its bits.
/// Relative error below 2e-7 (Cephes' coefficients).
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    // Adding 1.5 * 2^23 rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = n * -0.693_359_4 + x;
    let r = n * 2.121_944_4e-4 + r;
    let mut p = 1.987_569_1e-4f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * (r * r) + r + 1.0;
    // SAFETY: x was clamped, so |n| is at most 128; a NaN, which a clamp lets through, is told apart.
    let power = if n.is_nan() { 0 } else { unsafe { n.to_int_unchecked::<i32>() } };
    p * f32::from_bits(((power + 127) << 23) as u32)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh: an odd polynomial below 0.625 (Cephes), 1 - 2 / (1 + e^2|x|) with x's sign above.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3f32;
    p = p * z + 2.063_909e-2;
    p = p * z - 5.373_971_5e-2;
    p = p * z + 1.333_144_2e-1;
    p = p * z - 3.333_328e-1;
    let small = p * z * x + x;
    let a = x.abs();
    let large = (1.0 - 2.0 / (1.0 + exp(2.0 * a))).copysign(x);
    if a < 0.625 { small } else { large }
}

/// Numbers worked on at once: two vectors of AVX2, one of AVX-512. They are copied to arrays first, because the compiler
/// cannot know that ten slices do not overlap.
const LANES: usize = 16;

type Lanes = [f32; LANES];

/// Numbers `from..from + LANES` of a slice, zeros past its end.
#[inline(always)]
fn load(slice: &[f32], from: usize) -> Lanes {
    let mut lanes = [0.0; LANES];
    match slice.get(from..from + LANES) {
        Some(whole) => lanes.copy_from_slice(whole),
        None => lanes[..slice.len() - from].copy_from_slice(&slice[from..]),
    }
    lanes
}

/// Undoes [`load`].
#[inline(always)]
fn store(slice: &mut [f32], from: usize, lanes: &Lanes) {
    let end = slice.len().min(from + LANES);
    match slice.get_mut(from..from + LANES) {
        Some(whole) => whole.copy_from_slice(lanes),
        None => slice[from..end].copy_from_slice(&lanes[..end - from]),
    }
}

#[inline(always)]
fn each(of: impl Fn(usize) -> f32) -> Lanes {
    let mut lanes = [0.0; LANES];
    for (k, lane) in lanes.iter_mut().enumerate() {
        *lane = of(k);
    }
    lanes
}

/// One forward step for one clip. `gates` (4H; i, f, g, o before their nonlinearity, activations after), `c_prev`, `c`,
/// `tanh_c` and `h` (H each):
/// i, f, o = sigmoid, g = tanh, c = f c_prev + i g, h = o tanh(c).
#[inline(always)]
fn forward_row(gates: &mut [f32], c_prev: &[f32], c: &mut [f32], tanh_c: &mut [f32], h: &mut [f32]) {
    let hidden = c.len();
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    for j in (0..hidden).step_by(LANES) {
        let (ia, fa, ga, oa, before) = (load(i, j), load(f, j), load(g, j), load(o, j), load(c_prev, j));
        let iv = each(|k| sigmoid(ia[k]));
        let fv = each(|k| sigmoid(fa[k]));
        let gv = each(|k| tanh(ga[k]));
        let ov = each(|k| sigmoid(oa[k]));
        let cv = each(|k| fv[k] * before[k] + iv[k] * gv[k]);
        let tv = each(|k| tanh(cv[k]));
        let hv = each(|k| ov[k] * tv[k]);
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
fn backward_row(gates: &mut [f32], c_prev: &[f32], tanh_c: &[f32], dh: &[f32], dc: &mut [f32]) {
    let hidden = dc.len();
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    for j in (0..hidden).step_by(LANES) {
        let (iv, fv, gv, ov) = (load(i, j), load(f, j), load(g, j), load(o, j));
        let (before, tv, dhv, after) = (load(c_prev, j), load(tanh_c, j), load(dh, j), load(dc, j));
        let d = each(|k| after[k] + dhv[k] * ov[k] * (1.0 - tv[k] * tv[k]));
        let di = each(|k| d[k] * gv[k] * iv[k] * (1.0 - iv[k]));
        let df = each(|k| d[k] * before[k] * fv[k] * (1.0 - fv[k]));
        let dg = each(|k| d[k] * iv[k] * (1.0 - gv[k] * gv[k]));
        let d_o = each(|k| dhv[k] * tv[k] * ov[k] * (1.0 - ov[k]));
        let d_before = each(|k| d[k] * fv[k]);
        for (slice, lanes) in [(&mut *i, &di), (&mut *f, &df), (&mut *g, &dg), (&mut *o, &d_o)] {
            store(slice, j, lanes);
        }
        store(dc, j, &d_before);
    }
}

/// One forward step for every clip: `gates` (B, 4H; i, f, g, o before their nonlinearity) becomes the activations, and with
/// `c_prev` (B, H) gives `c`, `tanh_c` and `h`, (B, H): i, f, o = sigmoid, g = tanh, c = f c_prev + i g, h = o tanh(c).
pub fn forward(hidden: usize, gates: &mut [f32], c_prev: &[f32], c: &mut [f32], tanh_c: &mut [f32], h: &mut [f32]) {
    simd::vectorise(
        #[inline(always)]
        || {
            let rows = gates.chunks_exact_mut(4 * hidden).zip(c_prev.chunks_exact(hidden));
            let outs = c.chunks_exact_mut(hidden).zip(tanh_c.chunks_exact_mut(hidden)).zip(h.chunks_exact_mut(hidden));
            for ((g, p), ((c, t), h)) in rows.zip(outs) {
                forward_row(g, p, c, t, h);
            }
        },
    );
}

/// One backward step for every clip: `gates` holds activations and becomes the gradient before the nonlinearities; `dh` is the
/// gradient of h; `dc` that of c from the step after, and becomes that of c_prev.
pub fn backward(hidden: usize, gates: &mut [f32], c_prev: &[f32], tanh_c: &[f32], dh: &[f32], dc: &mut [f32]) {
    simd::vectorise(
        #[inline(always)]
        || {
            let rows = gates.chunks_exact_mut(4 * hidden).zip(c_prev.chunks_exact(hidden));
            let ins = tanh_c.chunks_exact(hidden).zip(dh.chunks_exact(hidden)).zip(dc.chunks_exact_mut(hidden));
            for ((g, p), ((t, dh), dc)) in rows.zip(ins) {
                backward_row(g, p, t, dh, dc);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonlinearities_agree_with_the_standard_library() {
        for i in -4000..4000 {
            let x = i as f32 * 0.01;
            let close = |a: f32, b: f64| (f64::from(a) - b).abs() <= 4e-7 * b.abs().max(1e-30);
            assert!(close(exp(x), f64::from(x).exp()), "exp {x}");
            assert!(close(tanh(x), f64::from(x).tanh()), "tanh {x}");
            assert!(close(sigmoid(x), 1.0 / (1.0 + (-f64::from(x)).exp())), "sigmoid {x}");
        }
        assert_eq!(tanh(0.0), 0.0);
        assert!(tanh(100.0) == 1.0 && sigmoid(-200.0) < 1e-30);
    }
}
