//! Reads arrays, samples them and writes the data set, noting what the numbers are like.

use super::super::range::LARGEST;
use super::super::writer::Writer;
use super::super::{Error, Precision, clips, folder};
use super::array::Array;
use super::findings::Report;
use super::half_loss::{HalfLoss, Verdict};
use super::layout::shown;
use super::options::{Options, Rows};
use super::plan::Plan;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Clips read at once; bounds memory.
const BLOCK: usize = 256;

/// Numbers that programs put where something is missing.
const FILL_VALUES: [f32; 6] = [-999.0, -9999.0, -99999.0, 9999.0, 99999.0, 999_999.0];

/// A clip's array as it is written, and what was seen in it.
struct Converted {
    values: Vec<f32>,
    rows: usize,
    digest: blake3::Hash,
    trailing: u64,
    to_zero: usize,
    rounded: usize,
    nonzero: usize,
    lowest: f32,
    highest: f32,
    /// Rows of one number throughout.
    flat_rows: usize,
    fill: Option<f32>,
}

/// What was seen of a feature so far.
struct Seen {
    rows: Vec<usize>,
    lowest: f32,
    highest: f32,
    to_zero: usize,
    nonzero: usize,
    /// Clips (indices) by the hash of their arrays.
    by_digest: HashMap<blake3::Hash, usize>,
    half: Option<HalfLoss>,
    /// The lowest and highest of every dimension.
    range: Vec<(f32, f32)>,
}

impl Plan {
    /// Writes everything into `out`; returns the report and the hash over the contents that were read.
    pub fn write(
        &self,
        out: &Path,
        options: &Options,
        progress: &dyn Fn(usize, usize),
    ) -> Result<(Report, String), Error> {
        let m = &self.manifest;
        let mut report = self.report.clone();
        let mut digests = BTreeMap::new();
        let all: Vec<usize> = (0..self.clips.len()).collect();
        let with_audio: Vec<usize> = all.iter().copied().filter(|&i| self.clips[i].has_audio).collect();
        let total = m.streams.len() * all.len() + m.audio.len() * with_audio.len();
        let mut done = 0;
        let mut advance = |n: usize| {
            done += n;
            progress(done, total);
        };
        let streams = m.streams.iter().map(|s| (s, &all, Rows::Sample(m.frames), true));
        let audio = m.audio.iter().map(|a| (a, &with_audio, options.rows[&a.name], false));
        for (feature, clips, rows, is_stream) in streams.chain(audio) {
            let name = &feature.name;
            let (shape, width) = match (is_stream, rows) {
                (true, _) => (vec![clips.len(), m.frames, feature.width], feature.width),
                (false, Rows::Sample(n)) => (vec![clips.len(), feature.width], feature.width / n),
                (false, Rows::Mean) => (vec![clips.len(), feature.width], feature.width),
            };
            let names = clips.iter().map(|&i| self.clips[i].name.as_str());
            let mut writer = Writer::create(out, name, &shape, options.precision, names)?;
            let mut seen = Seen::new(feature.width, options.precision);
            for block in clips.chunks(BLOCK) {
                folder::go_on()?;
                let convert = |&clip: &usize| self.convert(clip, name, width, rows, options);
                let converted = block.par_iter().map(convert).collect::<Result<Vec<_>, _>>()?;
                for (&clip, converted) in block.iter().zip(&converted) {
                    writer.push(&converted.values)?;
                    seen.add(self, clip, name, converted, rows, &mut report);
                    digests.insert((clip, name.clone()), converted.digest);
                }
                advance(block.len());
            }
            writer.finish()?;
            seen.finish(self, name, width, &mut report)?;
        }
        if let Some(scores) = &self.scores {
            scores.write(&self.clips, &self.arrays, out, &mut digests, &mut report)?;
        }
        clips::write(&out.join("clips.csv"), &self.clips, &m.classes)?;
        m.write(out)?;
        Ok((report, self.contents_of(digests)))
    }

    /// Reads one clip's array, checks it and samples its rows.
    fn convert(
        &self,
        clip: usize,
        name: &str,
        width: usize,
        rows: Rows,
        options: &Options,
    ) -> Result<Converted, Error> {
        let missing = || Error::Usage(format!("clip {:?}: its {name} is gone", self.clips[clip].name));
        let source = self.source(clip, name).ok_or_else(missing)?;
        let array = source.reader.read(&source.path, source.member.as_deref())?;
        let clip = &self.clips[clip].name;
        let path = || source.path.clone();
        let folding = options.folding(name);
        let frames = folding.frames(name, &array.shape).map_err(|message| Error::Feature { path: path(), message })?;
        if source.shape.as_ref() != Ok(&array.shape) || frames.width != width || frames.rows == 0 {
            return Err(Error::Changed { path: path(), what: "changed" });
        }
        let Array { digest, trailing, changed, .. } = array;
        let values = folding.apply(array);
        if let Some(at) = values.iter().position(|v| v.abs().to_bits() > LARGEST.to_bits()) {
            let (path, clip, row, place, value) = (path(), clip.clone(), at / width, at % width, values[at]);
            return Err(match value.is_finite() {
                true => Error::TooLarge { path, clip, row, place, value },
                false => Error::NotFinite { path, clip, row, place, value },
            });
        }
        let too_large = |v: &f32| options.precision == Precision::F16 && half::f16::from_f32(*v).is_infinite();
        if let Some(value) = values.iter().copied().find(too_large) {
            let message =
                format!("clip {clip:?} holds {value}, too large for f16\n  next: import with --precision f32");
            return Err(Error::Feature { path: path(), message });
        }
        let (mut lowest, mut highest, mut nonzero) = (f32::INFINITY, f32::NEG_INFINITY, 0);
        for &x in &values {
            (lowest, highest) = (x.min(lowest), x.max(highest));
            nonzero += usize::from(x != 0.0);
        }
        let mut fills = FILL_VALUES.into_iter().filter(|fill| (lowest..=highest).contains(fill));
        Ok(Converted {
            rows: frames.rows,
            digest,
            trailing,
            to_zero: changed.to_zero,
            rounded: changed.rounded,
            nonzero,
            lowest,
            highest,
            flat_rows: values.chunks_exact(width).filter(|r| width > 1 && r.iter().all(|v| *v == r[0])).count(),
            fill: fills.find(|fill| values.contains(fill)),
            values: match rows {
                Rows::Sample(n) => sampled(&values, frames.rows, width, n),
                Rows::Mean => mean(&values, frames.rows, width),
            },
        })
    }
}

/// Rows at the centres of `n` equal segments: row floor((i + 1/2) t / n), i = 0..n.
fn sampled(values: &[f32], rows: usize, width: usize, n: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(n * width);
    (0..n).for_each(|i| out.extend_from_slice(&values[(2 * i + 1) * rows / (2 * n) * width..][..width]));
    out
}

/// The mean over rows.
fn mean(values: &[f32], rows: usize, width: usize) -> Vec<f32> {
    let mut sum = vec![0.0f64; width];
    for row in values.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
    }
    sum.into_iter().map(|s| (s / rows as f64) as f32).collect()
}

impl Seen {
    fn new(width: usize, precision: Precision) -> Seen {
        Seen {
            rows: Vec::new(),
            lowest: f32::INFINITY,
            highest: f32::NEG_INFINITY,
            to_zero: 0,
            nonzero: 0,
            by_digest: HashMap::new(),
            half: (precision == Precision::F16).then(HalfLoss::new),
            range: vec![(f32::INFINITY, f32::NEG_INFINITY); width],
        }
    }

    fn add(&mut self, plan: &Plan, clip: usize, name: &str, c: &Converted, rows: Rows, report: &mut Report) {
        let who = &plan.clips[clip].name;
        self.rows.push(c.rows);
        (self.lowest, self.highest) = (self.lowest.min(c.lowest), self.highest.max(c.highest));
        (self.to_zero, self.nonzero) = (self.to_zero + c.to_zero, self.nonzero + c.nonzero);
        let width = self.range.len();
        for row in c.values.chunks_exact(width) {
            for ((low, high), &x) in self.range.iter_mut().zip(row) {
                (*low, *high) = (low.min(x), high.max(x));
            }
        }
        if let Some(half) = &mut self.half {
            half.add(&c.values, width);
        }
        if let Rows::Sample(n) = rows
            && c.rows < n
        {
            report.adapted.add(format!("clips with fewer than {n} rows of {name}, which were repeated"), who);
        }
        if c.trailing > 0 {
            let path = plan.source(clip, name).map_or_else(String::new, |s| shown(&s.path, &plan.src));
            report.unused.add("files with something after their array, such as a second one", path);
        }
        if c.to_zero > 0 {
            report.doubtful.add(format!("arrays of {name} with numbers too small for f32, which became 0"), who);
        }
        if c.rounded > 0 {
            report.doubtful.add(format!("arrays of {name} with integers that f32 rounds"), who);
        }
        if let Some(fill) = c.fill {
            report
                .doubtful
                .add(format!("arrays of {name} that hold {fill}, which often stands for a missing number"), who);
        }
        if c.lowest == c.highest && c.rows * width > 1 {
            report.doubtful.add(format!("clips whose {name} is one number throughout"), format!("{who}: {}", c.lowest));
            return;
        }
        if c.flat_rows > 0 {
            report
                .doubtful
                .add(format!("clips with rows of {name} that are one number throughout, as padding is"), who);
        }
        match self.by_digest.get(&c.digest) {
            None => {
                self.by_digest.insert(c.digest, clip);
            }
            Some(&first) => {
                let (a, b) = (&plan.clips[first], &plan.clips[clip]);
                let where_ = if a.split == b.split { "in one split" } else { "in two splits" };
                let pair = format!("{} ({}) and {} ({})", a.name, a.split.name(), b.name, b.split.name());
                report.doubtful.add(format!("clips with the same {name} as another, {where_}"), pair);
            }
        }
    }

    fn finish(self, plan: &Plan, name: &str, width: usize, report: &mut Report) -> Result<(), Error> {
        let bad = |message: String| Error::Feature { path: plan.src.join("features"), message };
        if self.to_zero > 0 && self.nonzero < self.to_zero {
            return Err(bad(format!(
                "{name}: {} of its numbers are too small for f32 and would become 0, more than are kept\n  next: scale the features up",
                self.to_zero
            )));
        }
        if let Some(half) = &self.half {
            let percent = |n: usize| 100.0 * n as f64 / (self.rows.len() * self.range.len()).max(1) as f64;
            match half.verdict() {
                Verdict::Refused(why) => {
                    return Err(bad(format!("{name}: {why}\n  next: import with --precision f32")));
                }
                Verdict::Some { lost, varying } => report.doubtful.add(
                    "features with f16 errors of more than a tenth of the deviation in some dimensions (--precision f32 keeps them)",
                    format!("{name}, {lost} of {varying} dimensions"),
                ),
                Verdict::Fine => (),
            }
            let mut lines = Vec::new();
            if half.underflowed > 0 {
                lines.push(format!("{} numbers ({:.2} %) became 0", half.underflowed, percent(half.underflowed)));
            }
            if half.coarse > 0 {
                lines.push(format!(
                    "{} ({:.2} %) are below its normal range and lost digits",
                    half.coarse,
                    percent(half.coarse)
                ));
            }
            if !lines.is_empty() {
                report.adapted.add(
                    "features with numbers too small for f16 (--precision f32 keeps them)",
                    format!("{name}: {}", lines.join(", ")),
                );
            }
        }
        let constant = self.range.iter().filter(|(low, high)| low == high).count();
        if constant == self.range.len() && self.rows.len() > 1 {
            report.doubtful.add("features that are the same in every clip: nothing can be learned of them", name);
        } else if constant > 0 {
            report
                .adapted
                .add("features with dimensions that never vary", format!("{name}, {constant} of {}", self.range.len()));
        }
        let (mut rows, count) = (self.rows.clone(), self.rows.len());
        rows.sort_unstable();
        let (least, middle, most) = (rows[0], rows[rows.len() / 2], rows[rows.len() - 1]);
        let rows = match least == most {
            true => format!("{least} rows in every clip"),
            false => format!("{least} to {most} rows (median {middle})"),
        };
        report.used.push(format!(
            "{name}: {count} arrays of width {width}, {rows}, numbers from {} to {}",
            self.lowest, self.highest
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(rows: usize, width: usize) -> Vec<f32> {
        (0..rows * width).map(|i| i as f32).collect()
    }

    #[test]
    fn rows_are_taken_at_the_centres_of_equal_segments() {
        assert_eq!(sampled(&numbers(6, 1), 6, 1, 3), [1.0, 3.0, 5.0]);
        assert_eq!(sampled(&numbers(1, 2), 1, 2, 2), [0.0, 1.0, 0.0, 1.0]);
        assert_eq!(sampled(&numbers(4, 1), 4, 1, 4), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(mean(&numbers(3, 2), 3, 2), [2.0, 3.0]);
    }
}
