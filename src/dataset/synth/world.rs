//! The model that synthetic features are drawn from; its formulas stand at the head of [`synth`](super).

use super::recipe::{FACTORS, GROUP, PATCHES, Recipe, SEEN};
use crate::dataset::clips::Clip;
use compute::rng::Rng;

/// What all clips of a data set share.
pub(super) struct World {
    seed: u64,
    recipe: Recipe,
    look: Codes,
    detail: Codes,
    motion: Codes,
    sweep: Codes,
    timbre: Codes,
    echo: Codes,
    rgb: Dictionary,
    flow: Dictionary,
    aenet: Dictionary,
    vggish: Dictionary,
}

impl World {
    pub fn new(seed: u64, recipe: Recipe) -> World {
        let Recipe { classes, seen_rank, heard_rank, own_motion, own_timbre, .. } = recipe;
        let stream = |name: &str| Rng::new(seed, &format!("synth/{name}"));
        let seen = |name: &str, count| Codes::new(&mut stream(name), count, seen_rank);
        let heard = |name: &str, count| Codes::new(&mut stream(name), count, heard_rank);
        let dictionary = |name: &str, rank, width| Dictionary::new(&mut stream(name), rank, width);
        World {
            seed,
            recipe,
            look: seen("look", classes / GROUP),
            detail: seen("detail", classes),
            motion: seen("motion", classes / 2).mixed(&seen("motion/shared", GROUP / 2), own_motion),
            sweep: seen("sweep", classes / 2).mixed(&seen("sweep/shared", GROUP / 2), own_motion),
            timbre: heard("timbre", classes).mixed(&heard("timbre/shared", GROUP), own_timbre),
            echo: heard("echo", FACTORS),
            rgb: dictionary("dictionary/rgb", seen_rank + SEEN, recipe.rgb),
            flow: dictionary("dictionary/flow", seen_rank + SEEN, recipe.flow),
            aenet: dictionary("dictionary/aenet", heard_rank, recipe.aenet),
            vggish: dictionary("dictionary/vggish", heard_rank, recipe.vggish / PATCHES),
        }
    }

    /// A clip's rows of rgb (T, D), flow (T, D), aenet and vggish; the last two are empty if it is silent.
    pub fn clip(&self, index: usize, clip: &Clip) -> [Vec<f32>; 4] {
        let mut stream = Rng::new(self.seed, &format!("synth/clip/{index}"));
        let mut noise = Noise::new(&mut stream);
        let u: [f32; FACTORS] = std::array::from_fn(|_| stream.normal() as f32);
        let [rgb, flow] = self.streams(clip.label, &u, &mut stream, &mut noise);
        // Sound is drawn last, so that a clip looks the same with and without it.
        let [aenet, vggish] = match clip.has_audio {
            true => self.sound(clip.label, &u, &mut stream, &mut noise),
            false => [Vec::new(), Vec::new()],
        };
        [rgb, flow, aenet, vggish]
    }

    fn streams(&self, label: usize, u: &[f32; FACTORS], stream: &mut Rng, noise: &mut Noise) -> [Vec<f32>; 2] {
        let r = &self.recipe;
        let (group, pair) = (label / GROUP, label / 2);
        let blur: Vec<f32> = (0..r.seen_rank).map(|_| r.blur * stream.normal() as f32).collect();
        let shake: Vec<f32> = (0..r.seen_rank).map(|_| r.shake * stream.normal() as f32).collect();
        let (look, detail) = (self.look.get(group), self.detail.get(label));
        let (motion, sweep) = (self.motion.get(pair), self.sweep.get(pair));
        let way = if label.is_multiple_of(2) { 1.0 } else { -1.0 };
        let strength = way * r.sweep * (1.0 + 0.3 * u[3]);

        let (mut rgb, mut flow) = (vec![0.5; r.frames * r.rgb], vec![0.5; r.frames * r.flow]);
        let (mut seen, mut moved) = (vec![0.0; r.seen_rank + SEEN], vec![0.0; r.seen_rank + SEEN]);
        for (k, (rgb, flow)) in rgb.chunks_exact_mut(r.rgb).zip(flow.chunks_exact_mut(r.flow)).enumerate() {
            let time = ((2 * k + 1) as f32 - r.frames as f32) / (r.frames - 1) as f32;
            for i in 0..r.seen_rank {
                seen[i] = look[i] + r.detail * detail[i] + blur[i];
                moved[i] = motion[i] + strength * time * sweep[i] + shake[i];
            }
            seen[r.seen_rank..].copy_from_slice(&[r.factor * u[0], r.factor * u[1], r.factor * u[2]]);
            moved[r.seen_rank..].copy_from_slice(&[r.factor * u[3], r.factor * time * u[4], r.factor * time * u[5]]);
            for (dictionary, z, out) in [(&self.rgb, &mut seen, rgb), (&self.flow, &mut moved, flow)] {
                z.iter_mut().for_each(|z| *z += r.jitter * stream.normal() as f32);
                dictionary.add(z, out);
                noise.add(r.grain, out);
                out.iter_mut().for_each(|x| *x = x.max(0.0));
            }
        }
        [rgb, flow]
    }

    fn sound(&self, label: usize, u: &[f32; FACTORS], stream: &mut Rng, noise: &mut Noise) -> [Vec<f32>; 2] {
        let r = &self.recipe;
        let unit = 1.0 / (r.timbre * r.timbre + r.echo * r.echo + r.hiss * r.hiss).sqrt();
        let share = r.echo / (FACTORS as f32).sqrt();
        let timbre = self.timbre.get(label);
        let y: Vec<f32> = (0..r.heard_rank)
            .map(|i| {
                let echo: f32 = (0..FACTORS).map(|f| u[f] * self.echo.get(f)[i]).sum();
                unit * (r.timbre * timbre[i] + share * echo + r.hiss * stream.normal() as f32)
            })
            .collect();

        let mut aenet = vec![-0.385; r.aenet];
        self.aenet.add(&y, &mut aenet);
        noise.add(r.grain, &mut aenet);
        aenet.iter_mut().for_each(|x| *x = x.max(0.0));
        let norm = aenet.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        aenet.iter_mut().for_each(|x| *x /= norm);

        let mut vggish = vec![0.25; r.vggish];
        let loudness = (1.0 + 0.25 * u[3]).max(0.1);
        for patch in vggish.chunks_exact_mut(r.vggish / PATCHES) {
            let y: Vec<f32> = y.iter().map(|y| y + r.fuzz * stream.normal() as f32).collect();
            self.vggish.add(&y, patch);
            noise.add(r.grain, patch);
            patch.iter_mut().for_each(|x| *x = loudness * x.max(0.0));
        }
        [aenet, vggish]
    }
}

/// A matrix whose rows are the directions of latent places in feature space, (R, D).
struct Dictionary {
    width: usize,
    values: Vec<f32>,
}

impl Dictionary {
    /// Entries N(0, 1 / R), so that unit latent variance gives about unit feature variance.
    fn new(stream: &mut Rng, rank: usize, width: usize) -> Dictionary {
        let scale = 1.0 / (rank as f64).sqrt();
        let values = (0..rank * width).map(|_| (scale * stream.normal()) as f32).collect();
        Dictionary { width, values }
    }

    /// out += z W. Places are added one after another, and no sum is reordered: the same bits on every processor.
    fn add(&self, z: &[f32], out: &mut [f32]) {
        for (z, row) in z.iter().zip(self.values.chunks_exact(self.width)) {
            out.iter_mut().zip(row).for_each(|(o, w)| *o += z * w);
        }
    }
}

/// Vectors of norm sqrt(R) in random directions: one for each class, pair, group or factor.
struct Codes {
    rank: usize,
    values: Vec<f32>,
}

impl Codes {
    fn new(stream: &mut Rng, count: usize, rank: usize) -> Codes {
        let mut values: Vec<f32> = (0..count * rank).map(|_| stream.normal() as f32).collect();
        for code in values.chunks_exact_mut(rank) {
            let norm = code.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            code.iter_mut().for_each(|x| *x *= (rank as f32).sqrt() / norm);
        }
        Codes { rank, values }
    }

    /// Code i becomes own c_i + sqrt(1 - own^2) s_(i mod n), with n shared codes.
    fn mixed(mut self, shared: &Codes, own: f32) -> Codes {
        let common = (1.0 - own * own).sqrt();
        for (code, shared) in self.values.chunks_exact_mut(self.rank).zip(shared.values.chunks(self.rank).cycle()) {
            code.iter_mut().zip(shared).for_each(|(c, s)| *c = own * *c + common * s);
        }
        self
    }

    fn get(&self, index: usize) -> &[f32] {
        &self.values[index * self.rank..][..self.rank]
    }
}

/// Cheap noise for every single number, where ChaCha and Box-Muller would cost more than all the rest: a hash of a
/// counter and a 64-bit key, its four bytes summed (an Irwin-Hall sum, near enough to a normal number). Integers only,
/// so the same on every processor.
struct Noise {
    key: [u32; 2],
    at: u32,
}

impl Noise {
    fn new(stream: &mut Rng) -> Noise {
        let mut half = || (stream.uniform() * 4_294_967_296.0) as u32;
        Noise { key: [half(), half()], at: 0 }
    }

    /// out += scale e, with e of zero mean and unit variance.
    fn add(&mut self, scale: f32, out: &mut [f32]) {
        // A byte has mean 255 / 2 and variance (256^2 - 1) / 12.
        let unit = scale / (4.0f32 * 65_535.0 / 12.0).sqrt();
        for (i, x) in (0..).zip(out.iter_mut()) {
            let h = hash(self.at.wrapping_add(i), self.key);
            let sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
            *x += unit * (sum as i32 - 510) as f32;
        }
        self.at = self.at.wrapping_add(out.len() as u32);
    }
}

/// Multiply-xorshift rounds (constants of Wellons' `lowbias32`) with the key mixed in before and between.
#[inline(always)]
fn hash(i: u32, key: [u32; 2]) -> u32 {
    let mut h = i.wrapping_add(key[0]);
    h = (h ^ h >> 16).wrapping_mul(0x7feb_352d) ^ key[1];
    h = (h ^ h >> 15).wrapping_mul(0x846c_a68b);
    h ^ h >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_zero_mean_and_unit_variance_and_differs_between_keys() {
        let mut stream = Rng::new(0, "test");
        let mut draw = || {
            let mut out = vec![0.0f32; 100_000];
            Noise::new(&mut stream).add(1.0, &mut out);
            out
        };
        let (a, b) = (draw(), draw());
        let mean = |x: &mut dyn Iterator<Item = f32>| x.map(f64::from).sum::<f64>() / a.len() as f64;
        assert!(mean(&mut a.iter().copied()).abs() < 0.01);
        assert!((mean(&mut a.iter().map(|x| x * x)) - 1.0).abs() < 0.02);
        assert!(mean(&mut a.iter().zip(&b).map(|(a, b)| a * b)).abs() < 0.01);
        assert!(mean(&mut a.iter().zip(&a[1..]).map(|(a, b)| a * b)).abs() < 0.01);
    }

    #[test]
    fn codes_keep_their_norm_nearly_and_share_what_is_shared() {
        let mut stream = Rng::new(0, "test");
        let shared = Codes::new(&mut stream, 2, 64);
        let codes = Codes::new(&mut stream, 4, 64).mixed(&shared, 0.5);
        let dot = |a: usize, b: usize| codes.get(a).iter().zip(codes.get(b)).map(|(x, y)| x * y).sum::<f32>() / 64.0;
        assert!((dot(0, 0) - 1.0).abs() < 0.4 && dot(0, 2) > 0.4 && dot(1, 3) > 0.4 && dot(0, 1).abs() < 0.5);
    }
}
