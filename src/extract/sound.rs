//! Sound to rows of features.

use super::error::{ClipError, Error};
use super::net::Net;
use super::net::preset::{HtkPatches, Input, LogMelPatches, Post};
use super::npy;
use compute::audio::htk::{self, Htk};
use compute::audio::mel::{self, LogMel};
use compute::audio::vggish::{Pca, Quantise, quantise};
use compute::audio::waveform::{RATE, padded};
use std::path::PathBuf;

/// What becomes of sound that is too short for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Short {
    /// Zeros behind it.
    Pad,
    /// The clip counts as silent.
    Silent,
    /// The clip fails.
    Fail,
}

impl std::str::FromStr for Short {
    type Err = String;

    fn from_str(text: &str) -> Result<Short, String> {
        match text {
            "pad" => Ok(Short::Pad),
            "silent" => Ok(Short::Silent),
            "fail" => Ok(Short::Fail),
            _ => Err(format!("--short {text}: should be pad, silent or fail")),
        }
    }
}

/// Numbers that the networks' authors publish beside the weights.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// AENet's mean and deviation, 150 numbers each.
    pub aenet: Option<(Vec<f32>, Vec<f32>)>,
    /// VGGish's PCA.
    pub pca: Option<Pca>,
    /// BLAKE3 of what was read.
    pub hash: String,
}

impl Stats {
    /// Reads `--aenet-stats MEAN,DEVIATION` and `--vggish-pca VECTORS,MEANS`.
    pub fn read(aenet: Option<&[PathBuf]>, pca: Option<&[PathBuf]>) -> Result<Stats, Error> {
        let mut hasher = blake3::Hasher::new();
        let mut read = |files: &[PathBuf]| -> Result<Vec<Vec<f64>>, Error> {
            let arrays = files.iter().map(|f| npy::read(f)).collect::<Result<Vec<_>, _>>()?;
            arrays.iter().flatten().for_each(|x| {
                hasher.update(&x.to_le_bytes());
            });
            Ok(arrays)
        };
        let mut stats = Stats::default();
        if let Some(files) = aenet {
            let arrays = read(files)?;
            let floats = |array: &Vec<f64>| array.iter().map(|&x| x as f32).collect::<Vec<f32>>();
            let (mean, deviation) = match &arrays[..] {
                [mean, deviation] if mean.len() == htk::WIDTH && deviation.len() == htk::WIDTH => {
                    (floats(mean), floats(deviation))
                }
                _ => {
                    let sizes: Vec<String> = arrays.iter().map(|a| a.len().to_string()).collect();
                    return Err(Error::Usage(format!(
                        "--aenet-stats: should be MEAN.npy,DEVIATION.npy of {} numbers each, not of {}",
                        htk::WIDTH,
                        sizes.join(" and ")
                    )));
                }
            };
            if let Some(at) = deviation.iter().position(|d| !(d.is_finite() && *d > 0.0)) {
                return Err(Error::Usage(format!(
                    "--aenet-stats: deviation {at} is {}; it should be above 0",
                    deviation[at]
                )));
            }
            stats.aenet = Some((mean, deviation));
        }
        if let Some(files) = pca {
            let mut arrays = read(files)?;
            let sizes: Vec<String> = arrays.iter().map(|a| a.len().to_string()).collect();
            let means = arrays.pop().unwrap_or_default();
            let vectors = arrays.pop().unwrap_or_default();
            stats.pca = Some(Pca::new(vectors, means).ok_or_else(|| {
                Error::Usage(format!(
                    "--vggish-pca: should be VECTORS.npy,MEANS.npy of 128 x 128 and 128 numbers, not of {}\n  next: numpy.save both arrays of vggish_pca_params.npz",
                    sizes.join(" and ")
                ))
            })?);
        }
        stats.hash = hasher.finalize().to_hex().to_string();
        Ok(stats)
    }

    /// Whether a network takes any of them.
    pub fn belong_to(&self, net: &Net) -> bool {
        match &net.input {
            Input::Htk(h) => h.stats,
            Input::LogMel(m) => m.post != Post::Raw,
            Input::Frames(_) | Input::Flow(_) => false,
        }
    }

    /// Whether all is there that a network needs.
    pub fn check(&self, net: &Net) -> Result<(), Error> {
        let name = &net.name;
        match &net.input {
            Input::Htk(h) if h.stats && self.aenet.is_none() => Err(Error::Usage(format!(
                "--net {name}: AENet takes (x - mean) / deviation, with the numbers of its authors\n  next: add --aenet-stats gmean.npy,gstd.npy, or say {},stats=no for a network without",
                net.preset
            ))),
            Input::LogMel(m) if m.post != Post::Raw && self.pca.is_none() => Err(Error::Usage(format!(
                "--net {name}: post={} needs the PCA\n  next: add --vggish-pca VECTORS.npy,MEANS.npy",
                serde_json::to_value(m.post).unwrap_or_default().as_str().unwrap_or_default()
            ))),
            _ => Ok(()),
        }
    }
}

/// The least sound that a network makes a row of, in samples.
pub(super) fn least_samples(net: &Net) -> usize {
    match &net.input {
        Input::LogMel(_) => mel::LEAST_SAMPLES,
        Input::Htk(_) => htk::LEAST_SAMPLES,
        Input::Frames(_) | Input::Flow(_) => 0,
    }
}

/// The clip's sound in seconds.
pub(super) fn seconds(samples: usize) -> f64 {
    samples as f64 / RATE as f64
}

/// Front ends with their tables; a worker has one.
pub(super) struct SoundFronts {
    htk: [Htk; 2],
}

impl SoundFronts {
    pub(super) fn new() -> SoundFronts {
        SoundFronts { htk: [Htk::new(false), Htk::new(true)] }
    }

    /// All patches of a clip for a network, one behind the other; the sound is padded to a row.
    pub(super) fn patches(&mut self, input: &Input, samples: &[i16], stats: &Stats) -> Vec<f32> {
        match input {
            Input::LogMel(LogMelPatches { offset, hop, .. }) => {
                let samples = padded(samples, mel::LEAST_SAMPLES);
                let mut front = LogMel::new(*offset);
                (0..LogMel::patches(samples.len(), *hop)).flat_map(|i| front.patch(&samples, i, *hop)).collect()
            }
            Input::Htk(HtkPatches { normalise_energy, stats: wanted, .. }) => {
                let samples = padded(samples, htk::LEAST_SAMPLES);
                let features = self.htk[usize::from(*normalise_energy)].features(&samples);
                let stats = stats.aenet.as_ref().filter(|_| *wanted).map(|(m, d)| (&m[..], &d[..]));
                let frames = features.len() / htk::WIDTH;
                (0..htk::patches(frames)).flat_map(|i| htk::patch(&features, i, stats)).collect()
            }
            Input::Frames(_) | Input::Flow(_) => Vec::new(),
        }
    }
}

/// What the network's rows become before they are written.
pub(super) fn finish(net: &Net, rows: Vec<Vec<f32>>, stats: &Stats) -> Result<Vec<Vec<f32>>, ClipError> {
    match &net.input {
        Input::Htk(h) if h.l2 => Ok(rows.into_iter().map(unit).collect()),
        Input::LogMel(m) if m.post != Post::Raw => {
            let pca = stats.pca.as_ref();
            let row = |row: Vec<f32>| {
                if row.len() != compute::audio::vggish::WIDTH {
                    let message = format!("its rows have {} numbers; the PCA takes 128", row.len());
                    return Err(ClipError::network(net, message));
                }
                let clipped = pca.map(|p| p.apply(&row)).unwrap_or_default();
                let levels = |how| quantise(&clipped, how).into_iter().map(f32::from).collect();
                Ok(match m.post {
                    Post::Quantised => levels(Quantise::Truncate),
                    Post::QuantisedNearest => levels(Quantise::Round),
                    Post::Raw | Post::Pca => clipped.iter().map(|&x| x as f32).collect(),
                })
            };
            rows.into_iter().map(row).collect()
        }
        _ => Ok(rows),
    }
}

/// A row divided by its length; zeros stay zeros.
fn unit(mut row: Vec<f32>) -> Vec<f32> {
    let length = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_length_one() {
        assert_eq!(unit(vec![3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(unit(vec![0.0, 0.0]), [0.0, 0.0]);
    }
}
