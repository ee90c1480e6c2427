//! The element-wise half of an LSTM step, vectorised: every function here is written so that the compiler turns its
//! loops into the widest vectors of the machine, chosen at run time. `LANES` is a vector's width in numbers, and `FMA` says that
//! the machine multiplies and adds at once.

use crate::matmul::MatMut;
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

/// Units of the layer whose gates lie side by side.
pub const BLOCK: usize = 16;

/// Where a column of the gates i, f, g, o, each of them `hidden` wide, lies where the gates of [`BLOCK`] units lie side by
/// side: first i of these units, then f, g and o, and then the next units. What one unit needs is near, products
/// with whole panels ([`crate::matmul::Packed`]) give all gates of some units, and a task can go on with these alone.
pub fn gate_column(column: usize, hidden: usize) -> usize {
    let (gate, unit) = (column / hidden, column % hidden);
    let first = unit / BLOCK * BLOCK;
    4 * first + gate * BLOCK.min(hidden - first) + unit - first
}

/// What the frames give to the gates before their nonlinearities: x W + b, (T B, 4H).
pub struct GateInputs<'a> {
    /// x W of the distinct rows of x.
    pub projected: &'a [f32],
    /// The distinct row that each row of x is; each its own where there are none.
    pub index: Option<&'a [u32]>,
    /// b, (4H,).
    pub bias: &'a [f32],
}

impl GateInputs<'_> {
    /// x W of a row of x.
    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        let place = self.index.map_or(row, |index| index[row] as usize);
        &self.projected[place * self.bias.len()..][..self.bias.len()]
    }
}

/// Some units' part of a step, all clips: gates (B, 4 units) and states (B, units).
pub struct Forward<'a> {
    /// Holds h_{t-1} U and gets the activations of that plus the inputs.
    pub gates: MatMut<'a>,
    /// c_t.
    pub c: MatMut<'a>,
    /// tanh(c_t).
    pub tanh_c: MatMut<'a>,
    /// h_t.
    pub h: MatMut<'a>,
}

/// As [`Forward`], on the way back.
pub struct Backward<'a> {
    /// Holds the activations and becomes the gradient before the nonlinearities.
    pub gates: MatMut<'a>,
    /// The gradient of h_t.
    pub dh: MatMut<'a>,
    /// The gradient of c_t from the step after; becomes that of c_{t-1}.
    pub dc: MatMut<'a>,
}

#[inline(always)]
fn of_gate(gates: &[f32], gate: usize, wide: usize) -> &[f32] {
    &gates[gate * wide..(gate + 1) * wide]
}

#[inline(always)]
fn of_gate_mut(gates: &mut [f32], gate: usize, wide: usize) -> &mut [f32] {
    &mut gates[gate * wide..(gate + 1) * wide]
}

/// Numbers of one gate of a block before its nonlinearity.
#[inline(always)]
fn sum<const LANES: usize>(
    gates: &[f32],
    projected: &[f32],
    bias: &[f32],
    [gate, wide]: [usize; 2],
    at: usize,
) -> Lanes<LANES> {
    let a: Lanes<LANES> = load(of_gate(gates, gate, wide), at);
    let p: Lanes<LANES> = load(of_gate(projected, gate, wide), at);
    let b: Lanes<LANES> = load(of_gate(bias, gate, wide), at);
    each(|k| a[k] + (p[k] + b[k]))
}

#[inline(always)]
fn activated<const LANES: usize>(lanes: Lanes<LANES>, by: impl Fn(f32) -> f32) -> Lanes<LANES> {
    each(|k| by(lanes[k]))
}

/// Calls `of` with each block's first unit and number of units.
#[inline(always)]
fn blocks(units: usize, mut of: impl FnMut(usize, usize)) {
    for block in 0..units / BLOCK {
        of(block * BLOCK, BLOCK);
    }
    if !units.is_multiple_of(BLOCK) {
        of(units / BLOCK * BLOCK, units % BLOCK);
    }
}

impl Forward<'_> {
    /// The units from `first` on: i, f, o = sigmoid, g = tanh, c = f c_prev + i g, h = o tanh(c). `row` is that of the first clip
    /// in the inputs, `c_prev` (B, H) has all units. `done` is given each clip and its part of h.
    pub fn run(self, inputs: &GateInputs, row: usize, c_prev: &[f32], first: usize, done: impl FnMut(usize, &[f32])) {
        match simd::level() {
            Level::Scalar => self.lanes::<8, false>(inputs, row, c_prev, first, done),
            Level::Neon | Level::Avx2 => simd::vectorise(
                #[inline(always)]
                || self.lanes::<8, true>(inputs, row, c_prev, first, done),
            ),
            Level::Avx512 => simd::vectorise(
                #[inline(always)]
                || self.lanes::<16, true>(inputs, row, c_prev, first, done),
            ),
        }
    }

    #[inline(always)]
    fn lanes<const LANES: usize, const FMA: bool>(
        mut self,
        inputs: &GateInputs,
        row: usize,
        c_prev: &[f32],
        first: usize,
        mut done: impl FnMut(usize, &[f32]),
    ) {
        let hidden = inputs.bias.len() / 4;
        let (clips, units) = self.c.shape();
        let bias = &inputs.bias[4 * first..][..4 * units];
        for clip in 0..clips {
            let gates = self.gates.row(clip);
            let projected = &inputs.row(row + clip)[4 * first..][..4 * units];
            let before = &c_prev[clip * hidden + first..][..units];
            let (c, tanh_c, h) = (self.c.row(clip), self.tanh_c.row(clip), self.h.row(clip));
            blocks(
                units,
                #[inline(always)]
                |from, wide| {
                    let all = 4 * from..4 * (from + wide);
                    let (gates, projected, bias) = (&mut gates[all.clone()], &projected[all.clone()], &bias[all]);
                    for j in (0..wide).step_by(LANES) {
                        let iv = activated(sum::<LANES>(gates, projected, bias, [0, wide], j), sigmoid::<FMA>);
                        let fv = activated(sum::<LANES>(gates, projected, bias, [1, wide], j), sigmoid::<FMA>);
                        let gv = activated(sum::<LANES>(gates, projected, bias, [2, wide], j), tanh::<FMA>);
                        let ov = activated(sum::<LANES>(gates, projected, bias, [3, wide], j), sigmoid::<FMA>);
                        let before: Lanes<LANES> = load(&before[from..from + wide], j);
                        let cv: Lanes<LANES> = each(|k| fma::<FMA>(fv[k], before[k], iv[k] * gv[k]));
                        let tv = activated(cv, tanh::<FMA>);
                        let hv: Lanes<LANES> = each(|k| ov[k] * tv[k]);
                        store(of_gate_mut(gates, 0, wide), j, &iv);
                        store(of_gate_mut(gates, 1, wide), j, &fv);
                        store(of_gate_mut(gates, 2, wide), j, &gv);
                        store(of_gate_mut(gates, 3, wide), j, &ov);
                        store(&mut c[from..from + wide], j, &cv);
                        store(&mut tanh_c[from..from + wide], j, &tv);
                        store(&mut h[from..from + wide], j, &hv);
                    }
                },
            );
            done(clip, h);
        }
    }
}

impl Backward<'_> {
    /// The units from `first` on; `c_prev` and `tanh_c` (B, H) have all units. `done` is given each clip and its gradients.
    pub fn run(self, c_prev: &[f32], tanh_c: &[f32], [first, hidden]: [usize; 2], done: impl FnMut(usize, &[f32])) {
        match simd::level() {
            Level::Avx512 => simd::vectorise(
                #[inline(always)]
                || self.lanes::<16>(c_prev, tanh_c, [first, hidden], done),
            ),
            _ => simd::vectorise(
                #[inline(always)]
                || self.lanes::<8>(c_prev, tanh_c, [first, hidden], done),
            ),
        }
    }

    #[inline(always)]
    fn lanes<const LANES: usize>(
        mut self,
        c_prev: &[f32],
        tanh_c: &[f32],
        [first, hidden]: [usize; 2],
        mut done: impl FnMut(usize, &[f32]),
    ) {
        let (clips, units) = self.dc.shape();
        for clip in 0..clips {
            let gates = self.gates.row(clip);
            let (dh, dc) = (&*self.dh.row(clip), self.dc.row(clip));
            let (before, tanh_c) =
                (&c_prev[clip * hidden + first..][..units], &tanh_c[clip * hidden + first..][..units]);
            blocks(
                units,
                #[inline(always)]
                |from, wide| {
                    let gates = &mut gates[4 * from..4 * (from + wide)];
                    let all = from..from + wide;
                    for j in (0..wide).step_by(LANES) {
                        let (iv, fv): (Lanes<LANES>, Lanes<LANES>) =
                            (load(of_gate(gates, 0, wide), j), load(of_gate(gates, 1, wide), j));
                        let (gv, ov): (Lanes<LANES>, Lanes<LANES>) =
                            (load(of_gate(gates, 2, wide), j), load(of_gate(gates, 3, wide), j));
                        let (before, tv): (Lanes<LANES>, Lanes<LANES>) =
                            (load(&before[all.clone()], j), load(&tanh_c[all.clone()], j));
                        let (dhv, after): (Lanes<LANES>, Lanes<LANES>) =
                            (load(&dh[all.clone()], j), load(&dc[all.clone()], j));
                        let d: Lanes<LANES> = each(|k| after[k] + dhv[k] * ov[k] * (1.0 - tv[k] * tv[k]));
                        let di: Lanes<LANES> = each(|k| d[k] * gv[k] * iv[k] * (1.0 - iv[k]));
                        let df: Lanes<LANES> = each(|k| d[k] * before[k] * fv[k] * (1.0 - fv[k]));
                        let dg: Lanes<LANES> = each(|k| d[k] * iv[k] * (1.0 - gv[k] * gv[k]));
                        let d_o: Lanes<LANES> = each(|k| dhv[k] * tv[k] * ov[k] * (1.0 - ov[k]));
                        let d_before: Lanes<LANES> = each(|k| d[k] * fv[k]);
                        store(of_gate_mut(gates, 0, wide), j, &di);
                        store(of_gate_mut(gates, 1, wide), j, &df);
                        store(of_gate_mut(gates, 2, wide), j, &dg);
                        store(of_gate_mut(gates, 3, wide), j, &d_o);
                        store(&mut dc[all.clone()], j, &d_before);
                    }
                },
            );
            done(clip, gates);
        }
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

    #[test]
    fn gates_of_units_lie_side_by_side() {
        for hidden in [1, 7, 16, 37, 64] {
            let mut places: Vec<usize> = (0..4 * hidden).map(|column| gate_column(column, hidden)).collect();
            for (gate, unit) in (0..4).flat_map(|gate| (0..hidden).map(move |unit| (gate, unit))) {
                let block = 4 * (unit / BLOCK * BLOCK);
                assert!((block..block + 4 * BLOCK).contains(&places[gate * hidden + unit]), "{gate} of {unit}");
            }
            assert_eq!(
                [0, 1, 2, 3].map(|gate| places[gate * hidden]),
                [0, 1, 2, 3].map(|gate| gate * hidden.min(BLOCK))
            );
            places.sort_unstable();
            assert!(places.into_iter().eq(0..4 * hidden));
        }
    }
}
