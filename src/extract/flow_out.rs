//! `unmute extract flow`: folders of flow images that dense_flow's and denseflow's users know, `CLIP/flow_x_00001.jpg`.
//!
//! A clip's images are written to a folder aside, which is renamed when it is whole.

use super::clip::Tools;
use super::decode::{Ffmpeg, Wanted};
use super::error::{ClipError, Error, io};
use super::job::Event;
use super::list::{Clip, List};
use super::net::preset::{Filter, FlowBy, FlowStacks, Input, Preset, parse_size};
use super::vision;
use super::{claims, net::preset::Size};
use compute::vision::image::Image;
use compute::vision::jpeg;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// JPEG's quality, OpenCV's default, which dense_flow takes.
const QUALITY: u16 = 95;

/// What a call asks for.
#[derive(Clone, Debug)]
pub struct FlowOptions {
    /// The folder of the videos.
    pub videos: PathBuf,
    /// A list of videos.
    pub clips: Option<PathBuf>,
    /// Where the folders go.
    pub destination: PathBuf,
    /// How flow is computed.
    pub by: FlowBy,
    /// Frames per second; None for all frames.
    pub fps: Option<String>,
    /// Motion of so many pixels becomes 0 or 255.
    pub bound: f64,
    /// Width and height, or the shorter side.
    pub size: String,
    /// The first image's number: 1 in dense_flow, 0 in denseflow.
    pub first: usize,
    /// Workers; as many as there are threads by default.
    pub workers: Option<usize>,
    /// The part of the clips that this call takes.
    pub shard: Option<(usize, usize)>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct FlowSummary {
    /// Clips that there are.
    pub listed: usize,
    /// Clips with flow, of all calls.
    pub done: usize,
    /// Clips that failed, and why.
    pub failed: Vec<(String, String)>,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

/// Computes the flow of all videos that have none yet.
pub fn run(options: &FlowOptions, stop: &AtomicBool, watch: &(dyn Fn(Event) + Sync)) -> Result<FlowSummary, Error> {
    let Input::Flow(mut stacks) = Preset::TsnBninception.input(true) else { return Ok(FlowSummary::default()) };
    if !(options.bound > 0.0 && options.bound.is_finite()) {
        return Err(Error::Usage(format!("--bound {}: should be pixels, above 0", options.bound)));
    }
    stacks.bound = options.bound;
    stacks.by = options.by;
    stacks.crop = 1;
    stacks.resize = parse_size(&options.size).ok_or_else(|| {
        Error::Usage(format!(
            "--size {}: should be WIDTHxHEIGHT such as 340x256, or the shorter side, such as 256",
            options.size
        ))
    })?;
    if let Some(fps) = &options.fps
        && super::decode::rate(fps).is_none_or(|fps| fps > 1000.0)
    {
        return Err(Error::Usage(format!("--fps {fps}: should be frames per second, or native")));
    }
    let list = match &options.clips {
        Some(file) => List::of_file(file, &options.videos)?,
        None => List::of_folder(&options.videos)?,
    };
    let ffmpeg = Ffmpeg::find()?;
    let dir = &options.destination;
    let settled = settings(options, &stacks);
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    settle(dir, &settled)?;
    sweep(dir);
    let (part, of) = options.shard.unwrap_or((1, 1));
    let mine = list.clips.iter().enumerate().filter(|(i, _)| i % of == part - 1).map(|(_, c)| c);
    let todo: Vec<&Clip> = mine.filter(|c| !dir.join(&c.name).exists()).collect();
    watch(Event::Start { todo: todo.len(), done: list.clips.len() - todo.len() });
    let failed: Mutex<Vec<(String, String)>> = Mutex::default();
    let fatal: Mutex<Option<Error>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let halt = AtomicBool::new(false);
    let work = || {
        let mut tools = Tools::new();
        while !stop.load(Ordering::Relaxed) && !halt.load(Ordering::Relaxed) {
            let Some(clip) = todo.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            match one(options, &stacks, &ffmpeg, clip, &mut tools, stop) {
                Ok(()) => watch(Event::Done { clip: clip.name.clone() }),
                Err(ClipError::Interrupted) => break,
                Err(ClipError::Fatal(error)) => {
                    halt.store(true, Ordering::Relaxed);
                    fatal.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                }
                Err(reason) => {
                    let reason = reason.to_string();
                    watch(Event::Failed { clip: clip.name.clone(), reason: reason.clone() });
                    failed.lock().unwrap_or_else(|e| e.into_inner()).push((clip.name.clone(), reason));
                }
            }
        }
    };
    let threads = rayon::current_num_threads();
    let workers = options.workers.unwrap_or(threads).clamp(1, todo.len().max(1));
    std::thread::scope(|scope| {
        // Where the system starts no more threads, those that it has started do the work.
        let started = (0..workers).filter(|_| std::thread::Builder::new().spawn_scoped(scope, work).is_ok());
        if started.count() == 0 {
            work();
        }
    });
    if let Some(error) = fatal.into_inner().unwrap_or_else(|e| e.into_inner()) {
        return Err(error);
    }
    let done = list.clips.iter().filter(|c| dir.join(&c.name).is_dir()).count();
    let mut failed = failed.into_inner().unwrap_or_else(|e| e.into_inner());
    failed.sort();
    Ok(FlowSummary { listed: list.clips.len(), done, failed, interrupted: stop.load(Ordering::Relaxed) })
}

fn one(
    options: &FlowOptions,
    stacks: &FlowStacks,
    ffmpeg: &Ffmpeg,
    clip: &Clip,
    tools: &mut Tools,
    stop: &AtomicBool,
) -> Result<(), ClipError> {
    let dir = &options.destination;
    let aside = dir.join(format!(".{}.{}.{}", clip.name, claims::place(), std::process::id()));
    let _ = std::fs::remove_dir_all(&aside);
    std::fs::create_dir(&aside).map_err(io(&aside))?;
    let mut before: Option<Image> = None;
    let mut number = options.first;
    let wanted = Wanted { frames: Some(options.fps.as_deref()), sound: false };
    let result = ffmpeg
        .decode(&clip.path, &wanted, stop, |frame| {
            let grey = vision::grey(&frame, stacks);
            if let Some(before) = &before {
                let field = tools.flow(stacks.by, before, &grey);
                for (axis, image) in ['x', 'y'].into_iter().zip(vision::levels(&field, stacks)) {
                    let path = aside.join(format!("flow_{axis}_{number:05}.jpg"));
                    std::fs::write(&path, jpeg::encode(&image, QUALITY)).map_err(io(path))?;
                }
                number += 1;
            }
            before = Some(grey);
            Ok(())
        })
        .and_then(|_| match number == options.first {
            true => Err(ClipError::Flow("one frame only; flow needs two".into())),
            false => Ok(()),
        });
    let path = dir.join(&clip.name);
    let result = result.and_then(|()| match std::fs::rename(&aside, &path) {
        // Another process was quicker, and wrote the same.
        Err(_) if path.is_dir() => {
            let _ = std::fs::remove_dir_all(&aside);
            Ok(())
        }
        other => Ok(other.map_err(io(&path))?),
    });
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&aside);
    }
    result
}

/// What the images were made with.
fn settings(options: &FlowOptions, stacks: &FlowStacks) -> serde_json::Value {
    let size = match stacks.resize {
        Size::Exact(width, height) => format!("{width}x{height}"),
        Size::Short(side) => side.to_string(),
    };
    serde_json::json!({
        "made_by": format!("unmute {} extract flow", env!("CARGO_PKG_VERSION")),
        "method": stacks.by,
        "fps": options.fps.as_deref().unwrap_or("native"),
        "bound": stacks.bound,
        "size": size,
        "filter": Filter::Cv2,
        "first": options.first,
        "quality": QUALITY,
    })
}

/// A folder holds flow of one kind only.
fn settle(dir: &Path, settings: &serde_json::Value) -> Result<(), Error> {
    let path = dir.join("flow.json");
    let text = serde_json::to_string_pretty(settings).unwrap_or_default() + "\n";
    match crate::files::read(&path, 1 << 20) {
        Ok(found) => {
            let found: serde_json::Value = serde_json::from_slice(&found).unwrap_or_default();
            match super::settings::difference("flow", &found, settings) {
                Some(difference) => Err(Error::OtherSettings { path, difference }),
                None => Ok(()),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            crate::files::replace(&path, text.as_bytes()).map_err(io(path))
        }
        Err(e) => Err(io(path)(e)),
    }
}

/// Folders that processes of this machine which are gone left half filled.
fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.rsplitn(3, '.');
        if name.starts_with('.')
            && let (Some(pid), Some(host), Some(_)) = (parts.next(), parts.next(), parts.next())
            && host == claims::place()
            && !claims::alive(pid)
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
