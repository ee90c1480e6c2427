//! What a call asks for, and everything that is settled before the first video is decoded.

use super::cost::Cost;
use super::decode::Ffmpeg;
use super::destination::Destination;
use super::error::Error;
use super::list::List;
use super::net::network::{Device, Wanted};
use super::net::runtime::Runtime;
use super::net::spec::NetSpec;
use super::net::{Net, Ready};
use super::settings::{NetSettings, Report, Settings};
use super::sound::{Short, Stats};
use compute::audio::waveform::SILENCE;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What a call asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the videos, or that a list's paths are relative to.
    pub videos: PathBuf,
    /// A list of videos.
    pub clips: Option<PathBuf>,
    /// Where features go.
    pub destination: PathBuf,
    /// The networks, as `--net` has them.
    pub nets: Vec<String>,
    /// NAME=OUTPUT of networks that give class scores.
    pub scores: Vec<String>,
    /// Classes of the scores, one a line; the labels in alphabetical order by default.
    pub classes: Option<PathBuf>,
    /// Frames per second.
    pub fps: String,
    /// Crops of a frame, where a network does not say otherwise.
    pub crops: Option<String>,
    /// What becomes of sound that is too short.
    pub short: Short,
    /// Folders of flow images.
    pub flow: Option<PathBuf>,
    /// AENet's mean and deviation.
    pub aenet_stats: Option<Vec<PathBuf>>,
    /// VGGish's PCA.
    pub vggish_pca: Option<Vec<PathBuf>>,
    /// Clips with frames that do not decode fail.
    pub strict: bool,
    /// Workers; as many as there are threads by default.
    pub workers: Option<usize>,
    /// The part of the clips that this call takes: (i, n), i from 1.
    pub shard: Option<(usize, usize)>,
    /// What runs networks.
    pub runtime: Wanted,
    /// Where.
    pub device: Device,
    /// Waits for clips that other processes work on.
    pub wait: bool,
}

/// Everything that is settled before the first clip.
pub struct Job {
    pub(super) nets: Vec<Net>,
    /// The hash of each network's settings.
    pub(super) hashes: Vec<String>,
    pub(super) settings: Settings,
    pub(super) ffmpeg: Ffmpeg,
    pub(super) stats: Stats,
    pub(super) strict: bool,
    pub(super) flow: Option<PathBuf>,
    pub(super) destination: Destination,
    pub(super) cost: Cost,
    pub(super) list: List,
    pub(super) report: Report,
    /// For each slot the networks, ready to run; a worker uses one slot.
    pub(super) slots: Vec<Vec<Mutex<Ready>>>,
    pub(super) workers: usize,
    pub(super) shard: (usize, usize),
    pub(super) wait: bool,
}

impl Job {
    /// Checks everything that can be checked before a video is decoded: networks, versions, the folder's settings.
    pub fn new(options: &Options) -> Result<Job, Error> {
        if options.nets.is_empty() {
            return Err(Error::Usage(
                "no network: what should be extracted?\n  next: add --net NAME=PRESET:FILE.onnx, such as --net vggish=vggish:vggish.onnx".into(),
            ));
        }
        if super::decode::rate(&options.fps).is_none_or(|fps| fps > 1000.0) {
            return Err(Error::Usage(format!(
                "--fps {}: should be frames per second, such as 6 or 30000/1001",
                options.fps
            )));
        }
        let specs =
            options.nets.iter().map(|n| NetSpec::parse(n).map_err(Error::Usage)).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = specs.iter().find(|s| !names.insert(&s.name)) {
            return Err(Error::Usage(format!("--net {}: two networks have this name", twice.name)));
        }
        let scores = scores(&options.scores, &specs)?;
        let list = match &options.clips {
            Some(file) => List::of_file(file, &options.videos)?,
            None => List::of_folder(&options.videos)?,
        };
        let ffmpeg = Ffmpeg::find()?;
        let nets = specs
            .iter()
            .map(|spec| Net::open(spec, options.crops.as_deref(), scores.get(&spec.name).map(String::as_str)))
            .collect::<Result<Vec<_>, _>>()?;
        let stats = Stats::read(options.aenet_stats.as_deref(), options.vggish_pca.as_deref())?;
        nets.iter().try_for_each(|net| stats.check(net))?;
        super::flow_folder::check(options.flow.as_deref(), &nets)?;
        let runtime = Runtime::find(&options.runtime, options.device)?;
        let threads = rayon::current_num_threads();
        let workers = options.workers.unwrap_or(threads).max(1).min(list.clips.len());
        // On a GPU one network of each kind serves all workers in turn.
        let slots = if options.device == Device::Cpu { workers } else { 1 };
        let load = |net: &Net| net.load(&runtime, options.device);
        let first = nets.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let classes = classes(options, &nets, &first, &list)?;
        let settings = Settings { fps: options.fps.clone(), short: options.short, silence: SILENCE };
        let device = if options.device == Device::Cpu { "cpu" } else { "cuda" };
        let mut report = Report {
            made_by: format!("unmute {} extract", env!("CARGO_PKG_VERSION")),
            settings: settings.clone(),
            networks: BTreeMap::new(),
            ffmpeg: vec![ffmpeg.version.clone()],
            runtimes: vec![runtime.version()],
            clips: None,
            undecoded: BTreeMap::new(),
            warnings: BTreeMap::new(),
        };
        for net in &nets {
            let classes = if net.scores.is_some() { classes.clone() } else { Vec::new() };
            let stats = if stats.belong_to(net) { stats.hash.clone() } else { String::new() };
            report.networks.insert(net.name.clone(), NetSettings::new(net, classes, device.into(), stats));
        }
        let hashes = nets.iter().map(|n| report.networks[&n.name].hash(&settings)).collect();
        let destination = Destination::open(&options.destination)?;
        let report = destination.settle(&report)?;
        if nets.iter().any(|n| n.scores.is_some()) {
            destination.classes(&classes)?;
        }
        let more = (1..slots)
            .map(|_| nets.iter().map(|n| load(n).map(Mutex::new)).collect())
            .collect::<Result<Vec<_>, _>>()?;
        let slots = std::iter::once(first.into_iter().map(Mutex::new).collect()).chain(more).collect();
        Ok(Job {
            nets,
            hashes,
            settings,
            ffmpeg,
            stats,
            strict: options.strict,
            flow: options.flow.clone(),
            destination,
            cost: Cost::start(),
            list,
            report,
            slots,
            workers,
            shard: options.shard.unwrap_or((1, 1)),
            wait: options.wait,
        })
    }

    /// The videos.
    pub fn list(&self) -> &List {
        &self.list
    }

    /// Workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Names of networks of sound.
    pub fn sounds(&self) -> Vec<&str> {
        self.nets.iter().filter(|n| n.input.is_sound()).map(|n| n.name.as_str()).collect()
    }
}

/// `--scores NAME=OUTPUT` by network.
fn scores(words: &[String], specs: &[NetSpec]) -> Result<BTreeMap<String, String>, Error> {
    let mut scores = BTreeMap::new();
    for word in words {
        let (name, output) = word
            .split_once('=')
            .filter(|(_, o)| !o.is_empty())
            .ok_or_else(|| Error::Usage(format!("--scores {word}: should be NAME=OUTPUT, such as rgb=logits")))?;
        if !specs.iter().any(|s| s.name == name) {
            let names: Vec<&String> = specs.iter().map(|s| &s.name).collect();
            let hint = crate::suggest::nearest(name, &names);
            return Err(Error::Usage(format!("--scores {word}: no --net is called {name:?}{hint}")));
        }
        scores.insert(name.to_string(), output.to_string());
    }
    Ok(scores)
}

/// The classes of the scores, in the networks' order, and whether the networks have as many.
fn classes(options: &Options, nets: &[Net], ready: &[Ready], list: &List) -> Result<Vec<String>, Error> {
    if nets.iter().all(|n| n.scores.is_none()) {
        return Ok(Vec::new());
    }
    let (classes, from): (Vec<String>, String) = match &options.classes {
        Some(path) => {
            let text = crate::files::read_text(path, 16 << 20).map_err(super::error::io(path))?;
            (
                text.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect(),
                path.display().to_string(),
            )
        }
        None => {
            let labels: BTreeSet<&String> = list.clips.iter().map(|c| &c.label).collect();
            (labels.into_iter().cloned().collect(), "the videos' labels, in alphabetical order".into())
        }
    };
    for (net, ready) in nets.iter().zip(ready).filter(|(n, _)| n.scores.is_some()) {
        let found = ready.widths().get(1).copied().unwrap_or(0);
        if found != classes.len() {
            return Err(Error::Usage(format!(
                "--scores {}: the network knows {found} classes, but there are {} ({from})\n  next: name the network's classes in its order, one a line, by --classes FILE",
                net.name,
                classes.len()
            )));
        }
    }
    Ok(classes)
}

/// `i/n`, i from 1.
pub fn parse_shard(text: &str) -> Result<(usize, usize), String> {
    let bad = || format!("{text}: should be I/N with I from 1 to N, such as 1/4");
    let (part, of) = text.split_once('/').ok_or_else(bad)?;
    let (part, of): (usize, usize) = (part.parse().map_err(|_| bad())?, of.parse().map_err(|_| bad())?);
    if part >= 1 && part <= of { Ok((part, of)) } else { Err(bad()) }
}

/// The folder of a call, for messages.
pub fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains([' ', '\'', '"', '$', '&', ';', '(', ')']) {
        format!("'{}'", text.replace('\'', "'\\''"))
    } else {
        text
    }
}
