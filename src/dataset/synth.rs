//! `unmute data synth`: a synthetic data set with the structure that the study is about, drawn from a model.
//!
//! **Classes.** Class c = 4 g + s has a look g, which it shares with three others, and a slot s, which it shares with
//! one class of every group. Slots 0 and 1 share one kind of motion, 2 and 3 another; the even slot runs it forwards,
//! the odd one backwards (w = +1, -1). The classes of a slot are a family of similar sound. So rgb tells the group,
//! motion and its direction the slot, and sound mostly the slot and a little of the class.
//!
//! **Factors.** Each clip has six factors u ~ N(0, I), seen and heard:
//!
//! | factor | seen in |
//! | --- | --- |
//! | u_0 distance, u_1 size, u_2 material | every frame of `rgb` |
//! | u_3 effort | every frame of `flow`, and the strength of the motion |
//! | u_4 approach, u_5 rise | `flow`, in the order of frames only |
//!
//! **Vision.** Frame k = 0..T is at time t = (2 k - T + 1) / (T - 1), from -1 to 1. With n ~ N(0, I) for each clip and
//! e ~ N(0, I) for each frame, the latent vectors z (R) and the features x (D) are
//!
//! - rgb: z = (look_g + detail own_c + blur n, factor (u_0, u_1, u_2)) + jitter e
//! - flow: z = (motion + w (1 + 0.3 u_3) sweep t path + shake n, factor (u_3, t u_4, t u_5)) + jitter e
//! - both: x = max(0, 1/2 + z W + grain e'), W (R, D) a fixed dictionary, e' noise of single numbers.
//!
//! t has mean 0, so w, u_4 and u_5 leave hardly a trace in the average over frames, and one frame without its time does
//! not tell them either: it takes a generator that reads the frames in order.
//!
//! **Sound.** y = (timbre voice_c + echo sum_f u_f b_f / sqrt(6) + hiss n) / sqrt(timbre^2 + echo^2 + hiss^2) has unit
//! variance in each of its places, and
//!
//! - aenet = a / |a|, a = max(0, y A + grain e' - 0.385): about 65 % zeros;
//! - vggish: patches (1 + u_3 / 4) max(0, 1/4 + (y + fuzz n_j) G + grain e'), j = 1..3: noisier and narrower.
//!
//! voice_c is half of the class's own and known to vision only as far as the class is, and nothing shows hiss: true
//! sound stays better than generated.
//!
//! **Silence** depends on the class: whistling is nearly always filmed for its sound, floating seldom.

use super::clips::{self, Clip, Split};
use super::error::Error;
use super::features::Features;
use super::folder;
use super::manifest::{Feature, Kind, Manifest};
use super::writer::Writer;
use compute::rng::Rng;
use rayon::prelude::*;
pub use recipe::Preset;
use recipe::Recipe;
use std::path::Path;
use world::World;

mod recipe;
mod verbs;
mod world;

/// Raised whenever the same options would give other numbers than before.
const GENERATOR: u32 = 1;

/// Clips of a split at most.
const MOST_CLIPS: usize = 10_000_000;

/// Clips made at once; bounds memory (two blocks of the paper's widths are 40 MB).
const BLOCK: usize = 128;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Counts, widths and difficulty.
    pub preset: Preset,
    /// Seed of every draw.
    pub seed: u64,
    /// Train clips, if not the preset's.
    pub train_clips: Option<usize>,
    /// Val clips, if not the preset's.
    pub val_clips: Option<usize>,
    /// Keep the sound of the clips that would be silent too: for experiments that silence clips themselves (`missing`)
    /// and so know the truth. All else stays as it is.
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
    let occupied =
        |found: String| Error::Usage(format!("{}: {found}\n  next: remove it, or name another folder", dst.display()));
    if dst.exists() && !dst.is_dir() {
        return Err(occupied("exists already, and is a file".into()));
    }
    if std::fs::read_dir(dst).is_ok_and(|mut entries| entries.next().is_some()) {
        let found = Manifest::read(dst).map_err(|_| occupied("exists already, and is no data set".into()))?;
        if found.made_by != plan.manifest.made_by {
            let by = if found.made_by.is_empty() { String::new() } else { format!(", made by `{}`", found.made_by) };
            return Err(occupied(format!("holds another data set, {:?}{by}", found.name)));
        }
        plan.matches(dst, &found).map_err(|why| occupied(format!("was changed since it was made ({why})")))?;
        return Ok(Outcome::AlreadyThere(found));
    }
    folder::write(dst, |dir| plan.write(dir, progress))?;
    Ok(Outcome::Made(plan.manifest))
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
                let (split, classes) = (split.name(), recipe.classes);
                return Err(Error::Usage(format!(
                    "{clips} {split} clips are too few: each of the {classes} classes needs one\n  next: ask for {classes} or more"
                )));
            }
            if clips > MOST_CLIPS {
                return Err(Error::Usage(format!(
                    "{clips} {} clips are too many; at most {MOST_CLIPS} are possible",
                    split.name()
                )));
            }
            if clips != preset {
                made_by += &format!(" --{} {clips}", split.name());
            }
            let silent = (silent as f64 / preset as f64 * clips as f64).round() as usize;
            all.extend(split_clips(options.seed, split, all.len(), clips, silent, verbs));
        }
        if options.sounded {
            made_by += " --sounded";
            all.iter_mut().for_each(|clip: &mut Clip| clip.has_audio = true);
        }
        made_by += &format!(" (generator {GENERATOR})");
        let feature = |name: &str, width| Feature { name: name.into(), width };
        let manifest = Manifest {
            scores: Vec::new(),
            name: format!("synthetic-{}", options.preset.name()),
            kind: Kind::Synthetic,
            frames: recipe.frames,
            classes: verbs.iter().map(|(verb, _)| verb.to_string()).collect(),
            streams: vec![feature("rgb", recipe.rgb), feature("flow", recipe.flow)],
            audio: vec![feature("aenet", recipe.aenet), feature("vggish", recipe.vggish)],
            made_by,
            notes: NOTES.into(),
        };
        Ok(Plan { recipe, seed: options.seed, manifest, clips: all })
    }

    /// Whether the folder of `found` still holds these shapes and clips; says what it does not. Numbers are not read.
    fn matches(&self, dir: &Path, found: &Manifest) -> Result<(), String> {
        let (a, b) = (found, &self.manifest);
        let same = (a.kind, a.frames) == (b.kind, b.frames) && (&a.streams, &a.audio) == (&b.streams, &b.audio);
        if !same || a.classes != b.classes {
            return Err("dataset.yaml is another".into());
        }
        if clips::read(&dir.join("clips.csv"), &found.classes).map_err(|e| e.to_string())? != self.clips {
            return Err("clips.csv is another".into());
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
            .map(|(feature, shape)| {
                let of_stream = self.manifest.stream(&feature.name).is_some();
                let clips = self.clips.iter().filter(|c| of_stream || c.has_audio).map(|c| c.name.as_str());
                Writer::create(dir, &feature.name, &shape, self.recipe.precision, clips)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let make = |start: usize| -> Vec<[Vec<f32>; 4]> {
            let end = (start + BLOCK).min(self.clips.len());
            (start..end).into_par_iter().map(|i| world.clip(i, &self.clips[i])).collect()
        };
        let (mut ready, mut done) = (make(0), 0);
        while !ready.is_empty() {
            folder::go_on()?;
            done += ready.len();
            // The next block is made while this one is written.
            let (written, next) = rayon::join(
                || ready.iter().try_for_each(|rows| writers.iter_mut().zip(rows).try_for_each(|(w, row)| w.push(row))),
                || make(done),
            );
            written?;
            progress(done, self.clips.len());
            ready = next;
        }
        writers.into_iter().try_for_each(Writer::finish)?;
        clips::write(&dir.join("clips.csv"), &self.clips, &self.manifest.classes)?;
        self.manifest.write(dir)
    }
}

const NOTES: &str = "Drawn from a model, not measured: no video, no sound, nothing learned from any. The classes bear \
    names of actions to make reports readable. Groups of four look alike and sound different; pairs of them differ in \
    the order of frames only; factors of each clip are both seen and heard. Accuracies say whether a method finds such \
    structure, and nothing about recorded actions.";

/// The clips of a split: as many of one class as of any other (give or take one), in random order, exactly `silent` of
/// them silent.
///
/// Every clip gets U / r_c, U uniform and r_c its class's silent share; those with the least fall silent. So shares are
/// in proportion to r_c, and the total is exact.
fn split_clips(seed: u64, split: Split, first: usize, count: usize, silent: usize, verbs: &[(&str, u8)]) -> Vec<Clip> {
    let mut stream = Rng::new(seed, &format!("synth/{}", split.name()));
    let labels: Vec<usize> = stream.permutation(count).into_iter().map(|i| i % verbs.len()).collect();
    let luck: Vec<f64> = labels.iter().map(|&label| stream.uniform() / f64::from(verbs[label].1)).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| luck[a].total_cmp(&luck[b]));
    let name = |i: usize, label: usize| format!("{}-{:06}", verbs[label].0, first + i);
    let clip = |(i, label)| Clip { name: name(i, label), label, split, has_audio: true };
    let mut clips: Vec<Clip> = labels.into_iter().enumerate().map(clip).collect();
    order[..silent].iter().for_each(|&i| clips[i].has_audio = false);
    clips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;
    use std::collections::{BTreeMap, HashSet};

    fn mini(seed: u64) -> Options {
        Options { preset: Preset::Mini, seed, train_clips: Some(200), val_clips: Some(100), sounded: false }
    }

    fn make(dst: &Path, options: &Options) -> Dataset {
        synth(dst, options, &|_, _| ()).unwrap();
        Dataset::open(dst).unwrap()
    }

    /// The files that [`synth`] writes, by name.
    fn bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        ["dataset.yaml", "clips.csv", "rgb.safetensors", "flow.safetensors", "aenet.safetensors", "vggish.safetensors"]
            .map(|name| (name.to_string(), std::fs::read(dir.join(name)).unwrap()))
            .into()
    }

    fn rows(features: &Features) -> Vec<Vec<f32>> {
        let mut values = vec![0.0; features.row_len()];
        let mut row = |i| {
            features.read_row(i, &mut values);
            values.clone()
        };
        (0..features.rows()).map(&mut row).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
        let dir = tempfile::tempdir().unwrap();
        let with = |threads: usize, name: &str, options: &Options| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let dst = dir.path().join(name);
            // Progress needs not be shared between threads, so the call stays on this one; its work does not.
            pool.install(|| synth(&dst, options, &|_, _| ())).unwrap();
            bytes(&dst)
        };
        let one = with(1, "one", &mini(0));
        assert!(one == with(3, "three", &mini(0)), "the number of threads changes bytes");
        let other = with(2, "other", &mini(1));
        assert!(one.iter().all(|(name, bytes)| other[name] != *bytes), "the seed changes nothing in some file");
    }

    #[test]
    fn counts_are_those_of_table_1_and_shares_of_silence_depend_on_the_class() {
        let paper = Options { preset: Preset::Paper, train_clips: None, val_clips: None, ..mini(0) };
        let clips = Plan::new(&paper).unwrap().clips;
        let count = |split, has_audio| clips.iter().filter(|c| c.split == split && c.has_audio == has_audio).count();
        assert_eq!((count(Split::Train, true), count(Split::Train, false)), (55_196, 44_804));
        assert_eq!((count(Split::Val, true), count(Split::Val, false)), (6_286, 3_714));
        let verbs: HashSet<&str> = verbs::VERBS.iter().map(|(verb, _)| *verb).collect();
        assert!(verbs.len() == 200 && verbs.iter().all(|v| v.ends_with("ing")));
        let silent = |verb: &str| {
            let label = verbs::VERBS.iter().position(|(v, _)| *v == verb);
            let of_class = || clips.iter().filter(|c| Some(c.label) == label && c.split == Split::Train);
            assert_eq!(of_class().count(), 500);
            of_class().filter(|c| !c.has_audio).count()
        };
        assert!(silent("whistling") < 50 && silent("boiling") > 250 && silent("swimming") > 250);
        let mini = Plan::new(&Options { train_clips: None, val_clips: None, ..mini(0) }).unwrap().clips;
        assert_eq!(mini.iter().filter(|c| !c.has_audio).count(), 717 + 297);
    }

    #[test]
    fn audio_features_look_like_their_namesakes() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = make(&dir.path().join("mini"), &mini(0));
        let aenet = rows(&dataset.audio[0]);
        let zeros =
            aenet.iter().flatten().filter(|&&x| x == 0.0).count() as f64 / aenet.iter().flatten().count() as f64;
        assert!((0.6..0.7).contains(&zeros), "{zeros}");
        for row in &aenet {
            assert!(row.iter().all(|&x| x >= 0.0) && (row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
        }
        assert!(rows(&dataset.audio[1]).iter().flatten().all(|&x| x >= 0.0));
        assert_eq!(dataset.manifest.kind, Kind::Synthetic);
    }

    #[test]
    fn the_classes_of_a_pair_differ_in_the_order_of_frames_only() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { train_clips: Some(1_600), ..mini(0) };
        let dataset = make(&dir.path().join("mini"), &options);
        let (frames, width) = (dataset.frames(), dataset.manifest.streams[1].width);
        let flow = rows(&dataset.streams[1]);
        // Mean over a class's clips of the frame average, and of the second half less the first.
        let profile = |label: usize| {
            let (mut average, mut order, mut clips) = (vec![0.0f64; width], vec![0.0f64; width], 0.0);
            for (row, _) in flow.iter().zip(&dataset.clips).filter(|(_, c)| c.label == label) {
                clips += 1.0;
                for (k, frame) in row.chunks_exact(width).enumerate() {
                    let half = if 2 * k < frames { -2.0 } else { 2.0 };
                    for (d, &x) in frame.iter().enumerate() {
                        average[d] += f64::from(x) / frames as f64;
                        order[d] += half * f64::from(x) / frames as f64;
                    }
                }
            }
            average.iter_mut().chain(&mut order).for_each(|x| *x /= clips);
            (average, order)
        };
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        for pair in 0..10 {
            let ((average, order), (average_b, order_b)) = (profile(2 * pair), profile(2 * pair + 1));
            let (alike, apart) = (distance(&average, &average_b), distance(&order, &order_b));
            assert!(apart > 4.0 * alike, "pair {pair}: {apart} in order, {alike} on average");
        }
    }

    #[test]
    fn silent_clips_look_the_same_when_their_sound_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let some = make(&dir.path().join("some"), &mini(0));
        let all = make(&dir.path().join("all"), &Options { sounded: true, ..mini(0) });
        assert_eq!(rows(&some.streams[1]), rows(&all.streams[1]));
        let (of_some, of_all) = (rows(&some.audio[0]), rows(&all.audio[0]));
        assert_eq!(of_all.len(), 300);
        for (clip, row) in some.audio_row.iter().enumerate() {
            assert!(row.is_none_or(|row| of_some[row] == of_all[clip]));
        }
    }

    #[test]
    fn a_second_call_is_free_and_a_strange_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dst = dir.path().join("mini");
        std::fs::create_dir(&dst).unwrap();
        assert!(matches!(synth(&dst, &mini(0), &|_, _| ()), Ok(Outcome::Made(_))), "an empty folder is no obstacle");
        assert!(matches!(synth(&dst, &mini(0), &|_, _| panic!("made again")), Ok(Outcome::AlreadyThere(_))));
        let refused = |dst: &Path, options: &Options| synth(dst, options, &|_, _| ()).unwrap_err().to_string();
        let message = refused(&dst, &mini(1));
        assert!(
            message.contains("--seed 0 --train 200 --val 100 (generator 1)") && message.contains("next:"),
            "{message}"
        );
        std::fs::write(dst.join("rgb.safetensors"), "").unwrap();
        assert!(refused(&dst, &mini(0)).contains("rgb.safetensors"));
        std::fs::remove_file(dst.join("dataset.yaml")).unwrap();
        assert!(refused(&dst, &mini(0)).contains("is no data set"));
        assert!(refused(&dst.join("clips.csv"), &mini(0)).contains("is a file"));
        let few = Options { val_clips: Some(3), ..mini(0) };
        assert!(refused(&dir.path().join("few"), &few).contains("3 val clips are too few"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-made is left behind");
    }
}
