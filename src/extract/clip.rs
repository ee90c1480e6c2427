//! One clip: decoded once, given to every network.

use super::cost::{Cost, Stage};
use super::decode::{Decoded, Wanted, rate};
use super::destination::{NetRecord, Record, State};
use super::error::ClipError;
use super::flow_folder;
use super::list::Clip;
use super::net::preset::{FlowBy, FlowStacks, Input, Pairs};
use super::net::{Net, Ready};
use super::plan::Job;
use super::sound::{self, Short, SoundFronts};
use super::vision::{self, FrameFront, Stacker};
use compute::audio::waveform::is_silent;
use compute::flow::tvl1::TvL1;
use compute::flow::{Field, dis};
use compute::vision::image::Image;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// What a worker keeps from clip to clip.
pub(super) struct Tools {
    sound: SoundFronts,
    tvl1: TvL1,
}

impl Tools {
    pub(super) fn new() -> Tools {
        Tools { sound: SoundFronts::new(), tvl1: TvL1::default() }
    }

    /// The flow between two grey frames.
    pub(super) fn flow(&mut self, by: FlowBy, from: &Image, to: &Image) -> Field {
        match by {
            FlowBy::Dis => dis::flow(from, to),
            FlowBy::TvL1 | FlowBy::Folder => self.tvl1.flow(from, to),
        }
    }
}

/// A network and the rows that it made.
struct Rows<'a> {
    net: &'a Net,
    ready: &'a Mutex<Ready>,
    crops: usize,
    cost: &'a Cost,
    features: Vec<Vec<f32>>,
    scores: Vec<Vec<f32>>,
}

impl<'a> Rows<'a> {
    fn new(net: &'a Net, ready: &'a Mutex<Ready>, cost: &'a Cost) -> Rows<'a> {
        let crops = match &net.input {
            Input::Frames(f) => f.crops.count(),
            Input::Flow(f) => f.crops.count(),
            Input::LogMel(_) | Input::Htk(_) => 1,
        };
        Rows { net, ready, crops, cost, features: Vec::new(), scores: Vec::new() }
    }

    /// Runs the network on patches or crops; crops of one frame become one row.
    fn take(&mut self, items: &[f32]) -> Result<(), ClipError> {
        let mut ready = self.ready.lock().unwrap_or_else(|e| e.into_inner());
        let outputs = self.cost.of(Stage::Networks, || ready.run(items));
        let outputs = outputs.map_err(|e| ClipError::network(self.net, e))?;
        for (output, rows) in outputs.iter().zip([&mut self.features, &mut self.scores]) {
            rows.extend(vision::average(output, self.crops));
        }
        Ok(())
    }

    /// Class probabilities of the clip: the logits' mean over rows, then softmax.
    fn probabilities(&self) -> Vec<f32> {
        let Some(first) = self.scores.first() else { return Vec::new() };
        let mean = |k: usize| self.scores.iter().map(|s| f64::from(s[k])).sum::<f64>() / self.scores.len() as f64;
        let logits: Vec<f64> = (0..first.len()).map(mean).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = logits.iter().map(|l| (l - largest).exp()).collect();
        let sum: f64 = exps.iter().sum();
        exps.iter().map(|e| (e / sum) as f32).collect()
    }

    fn check(&self) -> Result<(), ClipError> {
        for rows in [&self.features, &self.scores] {
            for (row, numbers) in rows.iter().enumerate() {
                if let Some(&value) = numbers.iter().find(|x| !x.is_finite()) {
                    return Err(ClipError::NotFinite { net: self.net.name.clone(), row, value });
                }
            }
        }
        Ok(())
    }
}

/// What a network of frames is fed by; there is one of each network.
#[allow(clippy::large_enum_variant)]
enum Feed {
    Frames(FrameFront),
    /// Flow between the sampled frames as they come.
    Flow(FlowStacks, Stacker, Option<Image>),
    /// Flow that is made once the sampled frames have been counted.
    Later(FlowStacks),
}

impl Feed {
    fn new(input: &Input) -> Option<Feed> {
        match input {
            Input::Frames(frames) => Some(Feed::Frames(FrameFront::new(frames))),
            Input::Flow(stacks) if stacks.by != FlowBy::Folder && stacks.pairs == Pairs::Sampled => {
                Some(Feed::Flow(stacks.clone(), Stacker::new(stacks, 1.0), None))
            }
            Input::Flow(stacks) => Some(Feed::Later(stacks.clone())),
            Input::LogMel(_) | Input::Htk(_) => None,
        }
    }

    fn frame(&mut self, frame: &Image, tools: &mut Tools, rows: &mut Rows<'_>) -> Result<(), ClipError> {
        let cost = rows.cost;
        match self {
            Feed::Frames(front) => {
                let items = cost.of(Stage::Frames, || front.crops(frame));
                rows.take(&items)
            }
            Feed::Flow(stacks, stacker, before) => {
                let grey = cost.of(Stage::Frames, || vision::grey(frame, stacks));
                if let Some(before) = before.as_ref() {
                    let field = cost.of(Stage::Flow, || tools.flow(stacks.by, before, &grey));
                    stacker.push(vision::levels(&field, stacks), |items| rows.take(&items))?;
                }
                *before = Some(grey);
                Ok(())
            }
            Feed::Later(_) => Ok(()),
        }
    }
}

/// Makes everything of a clip that `nets` (numbers of networks) name, and writes it.
pub(super) fn extract(
    job: &Job,
    clip: &Clip,
    nets: &[usize],
    ready: &[&Mutex<Ready>],
    tools: &mut Tools,
    stop: &AtomicBool,
) -> Result<Record, ClipError> {
    let file = |e| ClipError::File(crate::explain_io(&e));
    let state = State::of(&clip.path).map_err(file)?;
    let mut record = Record::of(&clip.path, &clip.shown).map_err(file)?;
    let cost = &job.cost;
    let mut streams: Vec<(Feed, Rows<'_>)> = Vec::new();
    let mut sounds: Vec<Rows<'_>> = Vec::new();
    for &n in nets {
        let rows = Rows::new(&job.nets[n], ready[n], cost);
        match Feed::new(&job.nets[n].input) {
            Some(feed) => streams.push((feed, rows)),
            None => sounds.push(rows),
        }
    }
    let wanted =
        Wanted { frames: (!streams.is_empty()).then_some(Some(job.settings.fps.as_str())), sound: !sounds.is_empty() };
    let decoded = job.ffmpeg.decode(&clip.path, &wanted, stop, |frame| {
        streams.iter_mut().try_for_each(|(feed, rows)| feed.frame(&frame, tools, rows))
    })?;
    record.undecoded = decoded.undecoded;
    record.warnings.extend(decoded.messages.iter().map(|m| format!("ffmpeg: {m}")));
    if job.strict && decoded.undecoded > 0 {
        let first = decoded.messages.first().cloned().unwrap_or_default();
        return Err(ClipError::Undecoded { undecoded: decoded.undecoded, first });
    }
    for (feed, rows) in &mut streams {
        flow_to_the_end(job, clip, decoded.frames, feed, rows, tools, stop, &mut record.warnings)?;
    }
    let made = streams.into_iter().map(|(_, rows)| rows);
    let heard = listen(job, &decoded, &mut sounds, tools, &mut record)?;
    let made: Vec<Rows<'_>> = if heard { made.chain(sounds).collect() } else { made.collect() };
    if State::of(&clip.path).map_err(file)? != state {
        return Err(ClipError::File(
            "it was changed while it was read\n  next: leave it alone and run the same command again".into(),
        ));
    }
    write(job, clip, nets, made, &mut record)?;
    Ok(record)
}

/// The rows of flow that could not be made while the frames came.
#[allow(clippy::too_many_arguments)]
fn flow_to_the_end(
    job: &Job,
    clip: &Clip,
    frames: usize,
    feed: &mut Feed,
    rows: &mut Rows<'_>,
    tools: &mut Tools,
    stop: &AtomicBool,
    warnings: &mut Vec<String>,
) -> Result<(), ClipError> {
    let still = |stacks: &FlowStacks, image: &Image| vision::levels(&Field::still(image.width, image.height), stacks);
    match feed {
        Feed::Frames(_) => return Ok(()),
        Feed::Flow(stacks, stacker, last) => {
            if frames == 1
                && let Some(image) = last
            {
                warnings.push(format!("{}: one frame only, taken for no motion", rows.net.name));
                stacker.push(still(stacks, image), |items| rows.take(&items))?;
            }
            stacker.finish(frames, |items| rows.take(&items))?;
        }
        Feed::Later(stacks) if stacks.by == FlowBy::Folder => {
            let folder = job.flow.as_deref().ok_or_else(|| ClipError::Flow("no --flow folder".into()))?;
            let fields = flow_folder::Fields::of(folder, clip)?;
            let mut stacker = Stacker::new(stacks, (fields.len() + 1) as f64 / frames as f64);
            for field in 0..fields.len() {
                let [x, y] = fields.read(field)?.map(|image| vision::levels_resized(&image, stacks));
                stacker.push([x, y], |items| rows.take(&items))?;
            }
            stacker.finish(frames, |items| rows.take(&items))?;
        }
        Feed::Later(stacks) => {
            let native = job
                .ffmpeg
                .frame_rate(&clip.path)
                .ok_or_else(|| ClipError::Flow("its frame rate is not known".into()))?;
            let sampled = rate(&job.settings.fps).unwrap_or(native);
            let mut stacker = Stacker::new(stacks, native / sampled);
            let mut before: Option<Image> = None;
            let mut count = 0;
            let wanted = Wanted { frames: Some(None), sound: false };
            job.ffmpeg.decode(&clip.path, &wanted, stop, |frame| {
                let grey = rows.cost.of(Stage::Frames, || vision::grey(&frame, stacks));
                if let Some(before) = &before {
                    let field = rows.cost.of(Stage::Flow, || tools.flow(stacks.by, before, &grey));
                    stacker.push(vision::levels(&field, stacks), |items| rows.take(&items))?;
                }
                before = Some(grey);
                count += 1;
                Ok(())
            })?;
            if count == 1
                && let Some(image) = &before
            {
                stacker.push(still(stacks, image), |items| rows.take(&items))?;
            }
            stacker.finish(frames, |items| rows.take(&items))?;
        }
    }
    rows.features.truncate(frames);
    rows.scores.truncate(frames);
    Ok(())
}

/// Runs the networks of sound; false where the clip is silent (ledger A14).
fn listen(
    job: &Job,
    decoded: &Decoded,
    sounds: &mut [Rows<'_>],
    tools: &mut Tools,
    record: &mut Record,
) -> Result<bool, ClipError> {
    let samples = match &decoded.sound {
        Some(samples) if !is_silent(samples) => samples,
        _ => return Ok(false),
    };
    for rows in sounds.iter() {
        let least = sound::least_samples(rows.net);
        if samples.len() >= least {
            continue;
        }
        let (net, have, least) = (rows.net.name.clone(), sound::seconds(samples.len()), sound::seconds(least));
        match job.settings.short {
            Short::Pad => record.warnings.push(format!("{net}: {have:.3} s of sound, padded to {least:.3} s")),
            Short::Silent => {
                record.warnings.push(format!("{net}: {have:.3} s of sound, too short for {least:.3} s; silent"));
                return Ok(false);
            }
            Short::Fail => return Err(ClipError::ShortSound { seconds: have, net, least }),
        }
    }
    for rows in sounds.iter_mut() {
        let net = rows.net;
        let patches = job.cost.of(Stage::Sound, || tools.sound.patches(&net.input, samples, &job.stats));
        rows.take(&patches)?;
        rows.features = sound::finish(net, std::mem::take(&mut rows.features), &job.stats)?;
    }
    record.has_audio = true;
    Ok(true)
}

/// Writes what was made, and books it; networks of sound are booked for silent clips too.
fn write(job: &Job, clip: &Clip, nets: &[usize], made: Vec<Rows<'_>>, record: &mut Record) -> Result<(), ClipError> {
    for &n in nets {
        let settings = job.hashes[n].clone();
        record.nets.insert(job.nets[n].name.clone(), NetRecord { settings, rows: 0, width: 0, classes: 0 });
    }
    for rows in made {
        rows.check()?;
        let name = &rows.net.name;
        let scores = rows.probabilities();
        job.destination.features(&clip.name, name, &rows.features)?;
        if !scores.is_empty() {
            job.destination.scores(&clip.name, name, &scores)?;
        }
        if let Some(net) = record.nets.get_mut(name) {
            net.rows = rows.features.len();
            net.width = rows.features.first().map_or(0, Vec::len);
            net.classes = scores.len();
        }
    }
    Ok(())
}
