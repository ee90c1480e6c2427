//! `unmute data synth`: a synthetic data set with the structure that the study is about, and no recordings.
//!
//! K classes stand in groups of four (classes 4g..4g + 3). The four look alike and sound different; within a group, the
//! first and the last two share a motion, which one of the two runs forwards (s_c = +1) and the other backwards (-1).
//! Each clip has six latent factors u ~ N(0, I), seen and heard:
//!
//! | factor | seen in | |
//! | --- | --- | --- |
//! | u_0 distance, u_1 size, u_2 material | `rgb` | in every frame |
//! | u_3 effort | `flow` | in every frame, and as the strength of the motion |
//! | u_4 approach, u_5 rise | `flow` | in the order of frames only |
//!
//! With time t_k = (2k - T + 1) / (T - 1) in [-1, 1], standard normal n (one for each clip) and e (one for each frame),
//! and weights that [`Recipe`] holds, a frame's latent vectors and features are
//!
//! - rgb: z_k = (look_g + detail delta_c + blur n, factor (u_0, u_1, u_2)) + jitter e_k
//! - flow: z_k = (motion_p + s_c (1 + 0.3 u_3) sweep t_k sigma_p + shake n, factor (u_3, t_k u_4, t_k u_5)) + jitter e_k
//! - x_k = max(0, 1/2 + z_k W + grain noise), in both, with a fixed dictionary W (R, D).
//!
//! The mean of t_k is 0: s_c, u_4 and u_5 leave no trace in the average over frames, and no single frame tells them. A
//! generator that reads all frames in order can know them, and averages the jitter away besides.
//!
//! Sound has a latent vector y = (timbre code_c + echo u B + hiss n) / norm, unit variance in each place:
//!
//! - aenet: max(0, y A + grain noise - 0.385), which leaves about 65 % zeros, divided by its L2 norm;
//! - vggish: three blocks (1 + u_3 / 4) max(0, 1/4 + (y + fuzz n_j) G + grain noise), j = 1..3, weaker for their fuzz.
//!
//! code_c is in no image beyond what tells the class, and hiss in none at all, so true sound stays better than any
//! generated one.

use super::clips::{self, Clip, Split};
use super::features::{Features, Precision, Writer};
use super::manifest::{Feature, Kind, Manifest};
use super::{Error, write_folder, write_manifest};
use crate::random::Stream;
use rayon::prelude::*;
use std::path::Path;

mod verbs;

/// Raised whenever the same options would give other bytes than before.
const GENERATOR: u32 = 1;

/// Clips made at once; bounds memory (a clip of the paper's widths is 0.3 MB).
const BLOCK: usize = 64;

/// Latent factors of a clip that are both seen and heard.
const FACTORS: usize = 6;

/// Factors of each stream.
const SEEN: usize = 3;

/// Classes that look alike.
const GROUP: usize = 4;

/// VGGish patches in a clip of 3 s.
const PATCHES: usize = 3;

/// A data set to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Preset {
    /// 20 classes, 1,600 + 800 clips, widths of tens: trained in seconds.
    Mini,
    /// The paper's counts and widths: 200 classes, 100,000 + 10,000 clips, about 8 GB.
    Paper,
}

impl Preset {
    /// `mini` or `paper`.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Mini => "mini",
            Preset::Paper => "paper",
        }
    }
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The counts, widths and difficulty.
    pub preset: Preset,
    /// Seed of every draw.
    pub seed: u64,
    /// Train clips, if not the preset's.
    pub train_clips: Option<usize>,
    /// Val clips, if not the preset's.
    pub val_clips: Option<usize>,
    /// Keep the sound of the clips that would be silent too: for experiments that silence clips themselves (`missing`)
    /// and thereby know the truth. All other numbers stay as they are.
    pub sounded: bool,
}

/// What [`synth`] did.
#[derive(Debug)]
pub enum Outcome {
    /// A new data set was written.
    Made(Manifest),
    /// The destination already held it.
    AlreadyThere(Manifest),
}

/// Makes a data set in the new folder `dst`; `progress(done, total)` counts clips.
///
/// The bytes depend on `options` alone: each clip draws from a stream of its own, so neither the number of threads nor
/// the order of their work matters.
pub fn synth(dst: &Path, options: &Options, progress: &dyn Fn(usize, usize)) -> Result<Outcome, Error> {
    let plan = Plan::new(options)?;
    let occupied = |found: String| {
        let next = format!("remove it, or make `{}` in another folder", plan.manifest.made_by);
        Error::Usage(format!("{}: {found}\n  next: {next}", dst.display()))
    };
    if dst.is_dir() && std::fs::read_dir(dst).is_ok_and(|mut entries| entries.next().is_some()) {
        let found = Manifest::read(dst).map_err(|_| occupied("exists already and is no data set".into()))?;
        if found.made_by != plan.manifest.made_by {
            let by = if found.made_by.is_empty() { String::new() } else { format!(", made by `{}`", found.made_by) };
            return Err(occupied(format!("holds another data set, {:?}{by}", found.name)));
        }
        plan.matches(dst, &found).map_err(|why| occupied(format!("holds this data set, but damaged: {why}")))?;
        return Ok(Outcome::AlreadyThere(found));
    }
    if dst.exists() && !dst.is_dir() {
        return Err(occupied("exists already and is a file".into()));
    }
    write_folder(dst, |dir| plan.write(dir, progress))?;
    Ok(Outcome::Made(plan.manifest))
}

/// Sizes and difficulty of a preset; the formulas stand at the head of this file.
#[derive(Clone, Copy)]
struct Recipe {
    classes: usize,
    frames: usize,
    /// (clips, silent ones) of train and val, Table 1 of the paper.
    counts: [(usize, usize); 2],
    rgb: usize,
    flow: usize,
    aenet: usize,
    /// All three blocks.
    vggish: usize,
    precision: Precision,
    /// Latent places of the streams (beside the factors) and of sound.
    rank: usize,
    pitch: usize,
    own_sound: f32,
    own_motion: f32,
    detail: f32,
    blur: f32,
    shake: f32,
    sweep: f32,
    factor: f32,
    jitter: f32,
    grain: f32,
    timbre: f32,
    echo: f32,
    hiss: f32,
    fuzz: f32,
}

impl Preset {
    fn recipe(self) -> Recipe {
        match self {
            Preset::Mini => Recipe {
                classes: 20,
                frames: 18,
                counts: [(1600, 717), (800, 297)],
                rgb: 32,
                flow: 32,
                aenet: 64,
                vggish: 48,
                precision: Precision::F32,
                rank: 8,
                pitch: 12,
                own_sound: 0.45,
                own_motion: 0.3,
                detail: 0.6,
                blur: 1.3,
                shake: 0.7,
                sweep: 2.0,
                factor: 1.5,
                jitter: 0.3,
                grain: 0.2,
                timbre: 0.75,
                echo: 0.5,
                hiss: 0.43,
                fuzz: 1.0,
            },
            Preset::Paper => Recipe {
                classes: 200,
                frames: 18,
                counts: [(100_000, 44_804), (10_000, 3_714)],
                rgb: 1024,
                flow: 1024,
                aenet: 1024,
                vggish: 384,
                precision: Precision::F16,
                rank: 32,
                pitch: 24,
                own_sound: 0.6,
                own_motion: 0.3,
                detail: 0.6,
                blur: 2.2,
                shake: 1.5,
                sweep: 2.0,
                factor: 1.5,
                jitter: 0.5,
                grain: 0.3,
                timbre: 0.75,
                echo: 0.5,
                hiss: 0.43,
                fuzz: 1.0,
            },
        }
    }
}

/// Everything settled before the first feature is drawn.
struct Plan {
    recipe: Recipe,
    seed: u64,
    manifest: Manifest,
    clips: Vec<Clip>,
}

impl Plan {
    fn new(options: &Options) -> Result<Plan, Error> {
        let recipe = options.preset.recipe();
        let verbs = &verbs::VERBS[..recipe.classes];
        let mut made_by = format!("unmute data synth --preset {} --seed {}", options.preset.name(), options.seed);
        let mut all = Vec::new();
        let wanted = [(Split::Train, options.train_clips), (Split::Val, options.val_clips)];
        for ((split, wanted), (preset, silent)) in wanted.into_iter().zip(recipe.counts) {
            let clips = wanted.unwrap_or(preset);
            if clips < recipe.classes {
                return Err(Error::Usage(format!(
                    "--{0}-clips {clips}: too few, each of the {1} classes needs one\n  next: pass --{0}-clips {1} or more",
                    split.name(),
                    recipe.classes
                )));
            }
            if clips != preset {
                made_by += &format!(" --{}-clips {clips}", split.name());
            }
            // Rounded to the nearest, in integers.
            let silent = (2 * silent as u128 * clips as u128 + preset as u128) / (2 * preset as u128);
            let silent = if options.sounded { 0 } else { silent as usize };
            let first = all.len();
            all.extend(split_clips(options.seed, split, first, clips, silent, verbs));
        }
        if options.sounded {
            made_by += " --sounded";
        }
        made_by += &format!(" (generator {GENERATOR})");
        let feature = |name: &str, width| Feature { name: name.into(), width };
        let manifest = Manifest {
            name: format!("synthetic-{}", options.preset.name()),
            kind: Kind::Synthetic,
            frames: recipe.frames,
            classes: verbs.iter().map(|(verb, _)| verb.to_string()).collect(),
            streams: vec![feature("rgb", recipe.rgb), feature("flow", recipe.flow)],
            audio: vec![feature("aenet", recipe.aenet), feature("vggish", recipe.vggish)],
            made_by,
            notes: "Drawn from a model, not measured: no video, no sound, and nothing learned from any. The classes have \
                    the names of actions only to make reports readable. Groups of four classes look alike and sound \
                    different; pairs among them differ in the order of frames only; each clip has factors that are both \
                    seen and heard. Accuracies on it say whether a method finds such structure, and nothing about \
                    recorded actions."
                .into(),
        };
        Ok(Plan { recipe, seed: options.seed, manifest, clips: all })
    }

    /// Whether the folder of `found` still holds these shapes and clips; says what it does not. Numbers are not read.
    fn matches(&self, dir: &Path, found: &Manifest) -> Result<(), String> {
        let (a, b) = (found, &self.manifest);
        if (a.kind, a.frames) != (b.kind, b.frames)
            || (&a.classes, &a.streams, &a.audio) != (&b.classes, &b.streams, &b.audio)
        {
            return Err("dataset.yaml was edited".into());
        }
        if clips::read(&dir.join("clips.csv"), &found.classes).map_err(|e| e.to_string())? != self.clips {
            return Err("clips.csv was edited".into());
        }
        for (feature, shape) in self.shapes() {
            Features::open(dir, &feature.name, &shape).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// rgb, flow, aenet, vggish and the shapes of their files.
    fn shapes(&self) -> Vec<(&Feature, Vec<usize>)> {
        let rows = self.clips.len();
        let sounded = self.clips.iter().filter(|c| c.has_audio).count();
        let streams = self.manifest.streams.iter().map(|s| (s, vec![rows, self.manifest.frames, s.width]));
        streams.chain(self.manifest.audio.iter().map(|a| (a, vec![sounded, a.width]))).collect()
    }

    fn write(&self, dir: &Path, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
        let world = World::new(self.seed, self.recipe);
        let mut writers = self
            .shapes()
            .into_iter()
            .map(|(feature, shape)| Writer::create(dir, &feature.name, &shape, self.recipe.precision))
            .collect::<Result<Vec<_>, _>>()?;
        let starts: Vec<usize> = (0..self.clips.len()).step_by(BLOCK).collect();
        let make = |start: &usize| -> Vec<[Vec<f32>; 4]> {
            let end = (start + BLOCK).min(self.clips.len());
            (*start..end).into_par_iter().map(|i| world.clip(i, &self.clips[i])).collect()
        };
        let mut ready = starts.first().map(make).unwrap_or_default();
        for (n, start) in starts.iter().enumerate() {
            // The next block is made while this one is written.
            let (written, next) = rayon::join(
                || ready.iter().try_for_each(|rows| writers.iter_mut().zip(rows).try_for_each(|(w, row)| w.push(row))),
                || starts.get(n + 1).map(make).unwrap_or_default(),
            );
            written?;
            progress(start + ready.len(), self.clips.len());
            ready = next;
        }
        writers.into_iter().try_for_each(Writer::finish)?;
        clips::write(&dir.join("clips.csv"), &self.clips, &self.manifest.classes)?;
        write_manifest(dir, &self.manifest)
    }
}

/// The clips of a split: as many of one class as of any other (give or take one), in random order, exactly `silent` of
/// them silent.
///
/// Every clip gets U / w_c, U uniform and w_c its class's weight; those with the lowest fall silent. So a class's rate is
/// proportional to w_c wherever that stays below 1, and the total is exact.
fn split_clips(seed: u64, split: Split, first: usize, count: usize, silent: usize, verbs: &[(&str, u8)]) -> Vec<Clip> {
    let mut stream = Stream::new(seed, &format!("synth/{}", split.name()));
    let labels: Vec<usize> = stream.permutation(count).into_iter().map(|i| i % verbs.len()).collect();
    let score: Vec<f64> = labels.iter().map(|&label| stream.uniform() / f64::from(verbs[label].1)).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| score[a].total_cmp(&score[b]).then(a.cmp(&b)));
    let mut clips: Vec<Clip> = labels
        .into_iter()
        .enumerate()
        .map(|(i, label)| Clip { name: format!("{}-{:06}", verbs[label].0, first + i), label, split, has_audio: true })
        .collect();
    order[..silent].iter().for_each(|&i| clips[i].has_audio = false);
    clips
}

/// A matrix whose rows are the directions of latent places in feature space, (R, D).
struct Dictionary {
    width: usize,
    values: Vec<f32>,
}

impl Dictionary {
    /// Entries N(0, 1 / R), so that unit latent variance gives about unit feature variance.
    fn new(stream: &mut Stream, rank: usize, width: usize) -> Dictionary {
        let scale = 1.0 / (rank as f64).sqrt();
        let values = (0..rank * width).map(|_| (scale * stream.normal()) as f32).collect();
        Dictionary { width, values }
    }

    /// out += z W. Places are added one after another, with no sum reordered: the same bits on every processor.
    fn add(&self, z: &[f32], out: &mut [f32]) {
        for (z, row) in z.iter().zip(self.values.chunks_exact(self.width)) {
            out.iter_mut().zip(row).for_each(|(o, w)| *o += z * w);
        }
    }
}

/// Vectors of norm sqrt(R) in random directions, one for each class, pair or group.
struct Codes {
    rank: usize,
    values: Vec<f32>,
}

impl Codes {
    fn new(stream: &mut Stream, count: usize, rank: usize) -> Codes {
        let mut values: Vec<f32> = (0..count * rank).map(|_| stream.normal() as f32).collect();
        for code in values.chunks_exact_mut(rank) {
            let norm = code.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            code.iter_mut().for_each(|x| *x *= (rank as f32).sqrt() / norm);
        }
        Codes { rank, values }
    }

    fn mixed(mut self, shared: &Codes, own: f32) -> Codes {
        let families = shared.values.len() / self.rank;
        for (i, code) in self.values.chunks_exact_mut(self.rank).enumerate() {
            code.iter_mut()
                .zip(shared.get(i % families))
                .for_each(|(x, s)| *x = own * *x + (1.0 - own * own).sqrt() * s);
        }
        self
    }

    fn get(&self, index: usize) -> &[f32] {
        &self.values[index * self.rank..][..self.rank]
    }
}

/// What all clips of a data set share.
struct World {
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
    fn new(seed: u64, recipe: Recipe) -> World {
        let Recipe { classes, rank, .. } = recipe;
        let codes = |name: &str, count| Codes::new(&mut Stream::new(seed, &format!("synth/{name}")), count, rank);
        let audio =
            |name: &str, count| Codes::new(&mut Stream::new(seed, &format!("synth/{name}")), count, recipe.pitch);
        let dictionary = |name: &str, rank, width| {
            Dictionary::new(&mut Stream::new(seed, &format!("synth/dictionary/{name}")), rank, width)
        };
        World {
            seed,
            recipe,
            look: codes("look", classes / GROUP),
            detail: codes("detail", classes),
            motion: codes("motion", classes / 2).mixed(&codes("motion/shared", 2), recipe.own_motion),
            sweep: codes("sweep", classes / 2).mixed(&codes("sweep/shared", 2), recipe.own_motion),
            timbre: audio("timbre", classes).mixed(&audio("timbre/shared", GROUP), recipe.own_sound),
            echo: audio("echo", FACTORS),
            rgb: dictionary("rgb", rank + SEEN, recipe.rgb),
            flow: dictionary("flow", rank + SEEN, recipe.flow),
            aenet: dictionary("aenet", recipe.pitch, recipe.aenet),
            vggish: dictionary("vggish", recipe.pitch, recipe.vggish / PATCHES),
        }
    }

    /// A clip's rows of rgb (T, D), flow (T, D), aenet and vggish; the last two are empty if it is silent.
    fn clip(&self, index: usize, clip: &Clip) -> [Vec<f32>; 4] {
        let mut stream = Stream::new(self.seed, &format!("synth/clip/{index}"));
        let mut noise = Noise::new(&mut stream);
        let u: [f32; FACTORS] = std::array::from_fn(|_| stream.normal() as f32);
        let [rgb, flow] = self.streams(clip.label, &u, &mut stream, &mut noise);
        // Sound comes last, so that a clip looks the same with and without it.
        let [aenet, vggish] = match clip.has_audio {
            true => self.sound(clip.label, &u, &mut stream, &mut noise),
            false => [Vec::new(), Vec::new()],
        };
        [rgb, flow, aenet, vggish]
    }

    fn streams(&self, label: usize, u: &[f32; FACTORS], stream: &mut Stream, noise: &mut Noise) -> [Vec<f32>; 2] {
        let r = &self.recipe;
        let (group, pair) = (label / GROUP, label / 2);
        let normals = |stream: &mut Stream, scale: f32| -> Vec<f32> {
            (0..r.rank).map(|_| scale * stream.normal() as f32).collect()
        };
        let (blur, shake) = (normals(stream, r.blur), normals(stream, r.shake));
        let way = if label.is_multiple_of(2) { 1.0 } else { -1.0 } * r.sweep * (1.0 + 0.3 * u[3]);
        let (look, detail, motion, sweep) =
            (self.look.get(group), self.detail.get(label), self.motion.get(pair), self.sweep.get(pair));
        let (mut rgb, mut flow) = (vec![0.5; r.frames * r.rgb], vec![0.5; r.frames * r.flow]);
        let (mut seen, mut moved) = (vec![0.0; r.rank + SEEN], vec![0.0; r.rank + SEEN]);
        let frames = rgb.chunks_exact_mut(r.rgb).zip(flow.chunks_exact_mut(r.flow));
        for (k, (rgb, flow)) in frames.enumerate() {
            let time = (2 * k + 1) as f32 - r.frames as f32;
            let time = time / (r.frames - 1) as f32;
            for i in 0..r.rank {
                seen[i] = look[i] + r.detail * detail[i] + blur[i];
                moved[i] = motion[i] + way * time * sweep[i] + shake[i];
            }
            seen[r.rank..].copy_from_slice(&[r.factor * u[0], r.factor * u[1], r.factor * u[2]]);
            moved[r.rank..].copy_from_slice(&[r.factor * u[3], r.factor * time * u[4], r.factor * time * u[5]]);
            for (dictionary, z, out) in [(&self.rgb, &mut seen, rgb), (&self.flow, &mut moved, flow)] {
                z.iter_mut().for_each(|z| *z += r.jitter * stream.normal() as f32);
                dictionary.add(z, out);
                noise.add(r.grain, out);
                out.iter_mut().for_each(|x| *x = x.max(0.0));
            }
        }
        [rgb, flow]
    }

    fn sound(&self, label: usize, u: &[f32; FACTORS], stream: &mut Stream, noise: &mut Noise) -> [Vec<f32>; 2] {
        let r = &self.recipe;
        let unit = 1.0 / (r.timbre * r.timbre + r.echo * r.echo + r.hiss * r.hiss).sqrt();
        let share = r.echo / (FACTORS as f32).sqrt();
        let timbre = self.timbre.get(label);
        let y: Vec<f32> = (0..r.pitch)
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

/// Cheap noise for every single number, where ChaCha and Box-Muller would cost more than all the rest: a hash of a
/// counter and a 64-bit key, its four bytes summed (an Irwin-Hall sum, near enough to a normal number). Integers only, so
/// the same on every processor.
struct Noise {
    key: [u32; 2],
    at: u32,
}

impl Noise {
    fn new(stream: &mut Stream) -> Noise {
        let mut half = || stream.below(1 << 32) as u32;
        Noise { key: [half(), half()], at: 0 }
    }

    /// out += scale noise, of zero mean and unit variance.
    fn add(&mut self, scale: f32, out: &mut [f32]) {
        // A byte has mean 255 / 2 and variance (256^2 - 1) / 12.
        let unit = scale / (4.0f32 * 65_535.0 / 12.0).sqrt();
        for (i, x) in (self.at..).zip(out.iter_mut()) {
            let h = hash(i, self.key);
            let sum = (h & 255) + (h >> 8 & 255) + (h >> 16 & 255) + (h >> 24);
            *x += unit * (sum as i32 - 510) as f32;
        }
        self.at = self.at.wrapping_add(out.len() as u32);
    }
}

/// Multiply-xorshift rounds (the constants of Wellons' `lowbias32`) with the key mixed in before and between.
#[inline(always)]
fn hash(i: u32, key: [u32; 2]) -> u32 {
    let mut h = i.wrapping_add(key[0]);
    h = (h ^ h >> 16).wrapping_mul(0x7feb_352d) ^ key[1];
    h = (h ^ h >> 15).wrapping_mul(0x846c_a68b);
    h ^ h >> 16
}
