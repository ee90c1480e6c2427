//! Decoding by the system's ffmpeg: one process a clip, frames and samples streamed out of it.

mod ffmpeg;
mod matroska;
mod probe;

pub use ffmpeg::{Ffmpeg, Wanted};
pub(super) use probe::rate;

use super::error::ClipError;
use compute::vision::image::Image;
use matroska::Block;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What came of it, beside the frames.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// Frames.
    pub frames: usize,
    /// Samples; None without a sound track, or where it was not wanted.
    pub sound: Option<Vec<i16>>,
    /// Frames and packets that ffmpeg could not decode, or concealed.
    pub undecoded: usize,
    /// What ffmpeg said, its first lines, without addresses.
    pub messages: Vec<String>,
}

/// Lines of ffmpeg that are kept.
const LINES: usize = 8;

impl Ffmpeg {
    /// Decodes a clip; `frame` takes each frame in turn. Memory is bounded by a frame and the samples (32 kB a second).
    pub fn decode(
        &self,
        path: &Path,
        wanted: &Wanted<'_>,
        stop: &AtomicBool,
        mut frame: impl FnMut(Image) -> Result<(), ClipError>,
    ) -> Result<Decoded, ClipError> {
        let size = std::fs::metadata(path).map_err(|e| ClipError::File(crate::explain_io(&e)))?;
        if size.is_file() && size.len() == 0 {
            return Err(ClipError::File("the file is empty (0 bytes)".into()));
        }
        let start = |e: std::io::Error| ClipError::Decode(format!("it did not start: {e}"));
        let mut child = self.command(path, wanted).spawn().map_err(start)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(ClipError::Decode("its output cannot be read".into()));
        };
        let messages = std::thread::Builder::new().spawn(move || Messages::read(stderr));
        let messages = messages.map_err(|e| {
            let _ = child.kill();
            let _ = child.wait();
            ClipError::Decode(format!("no thread to read its messages: {e}"))
        })?;
        let mut decoded = Decoded::default();
        let mut sound: Option<Vec<i16>> = None;
        let mut failed = None;
        let read = matroska::read(BufReader::with_capacity(1 << 16, stdout), |block| {
            if stop.load(Ordering::Relaxed) {
                failed = Some(ClipError::Interrupted);
                return false;
            }
            match block {
                Block::Sound(data) => {
                    let samples = data.as_chunks::<2>().0.iter().map(|b| i16::from_le_bytes(*b));
                    sound.get_or_insert_default().extend(samples);
                }
                Block::Frame { width, height, data } => {
                    decoded.frames += 1;
                    if let Err(e) = frame(Image { width, height, channels: 3, data: data.to_vec() }) {
                        failed = Some(e);
                    }
                }
            }
            failed.is_none()
        });
        if failed.is_some() || read.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(start)?;
        let messages = messages.join().unwrap_or_default().without(&format!("file:{}: ", path.display()));
        if let Some(failed) = failed {
            return Err(failed);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(ClipError::Interrupted);
        }
        if let Err(e) = read
            && status.success()
        {
            return Err(ClipError::Decode(e.to_string()));
        }
        if !status.success() {
            return self.why(path, wanted, &messages);
        }
        if wanted.frames.is_some() && decoded.frames == 0 {
            let tracks = self.probe(path);
            if tracks.is_some_and(|t| t.video == 0) {
                return Err(ClipError::NoVideo);
            }
            let said = messages.lines.first().map_or_else(String::new, |line| format!(": {line}"));
            return Err(ClipError::NoFrames(said));
        }
        decoded.sound = sound;
        decoded.undecoded = messages.undecoded;
        decoded.messages = messages.lines;
        Ok(decoded)
    }

    /// ffmpeg gave up: says why, from what ffprobe knows of the file. A clip without sound, of which only sound was
    /// wanted, is none to complain of.
    fn why(&self, path: &Path, wanted: &Wanted<'_>, messages: &Messages) -> Result<Decoded, ClipError> {
        match self.probe(path) {
            Some(tracks) if wanted.frames.is_some() && tracks.video == 0 => Err(ClipError::NoVideo),
            Some(tracks) if wanted.frames.is_none() && tracks.sound == 0 => Ok(Decoded::default()),
            _ => Err(ClipError::Decode(messages.summary())),
        }
    }
}

/// What ffmpeg writes to stderr.
#[derive(Debug, Default)]
struct Messages {
    lines: Vec<String>,
    undecoded: usize,
}

impl Messages {
    fn read(mut input: impl Read) -> Messages {
        let mut messages = Messages::default();
        let mut bytes = Vec::new();
        let mut block = [0u8; 4096];
        loop {
            let n = match input.read(&mut block) {
                Ok(0) | Err(_) => break,
                Ok(n) => n,
            };
            bytes.extend_from_slice(&block[..n]);
            while let Some(end) = bytes.iter().position(|&b| b == b'\n' || b == b'\r') {
                let line: Vec<u8> = bytes.drain(..=end).collect();
                messages.line(&String::from_utf8_lossy(&line[..end]));
            }
            // A line without an end is cut.
            if bytes.len() > 1 << 16 {
                bytes.clear();
            }
        }
        messages.line(&String::from_utf8_lossy(&bytes));
        messages
    }

    /// Counts what a line says of a broken frame, and keeps it if it is an error.
    fn line(&mut self, line: &str) {
        if line.contains("corrupt decoded frame") || line.contains("Error while decoding stream") {
            self.undecoded += 1;
        }
        let Some((place, text)) = line.split_once("[error] ").or_else(|| line.split_once("[fatal] ")) else { return };
        // "[h264 @ 0x55dc..] " holds an address that is another in each process.
        let place = place.trim_start_matches('[').split(" @ ").next().unwrap_or_default().trim();
        let text = text.trim();
        let text = if place.is_empty() { text.to_string() } else { format!("{place}: {text}") };
        if self.lines.len() < LINES && !self.lines.contains(&text) {
            self.lines.push(text);
        }
    }

    /// Without the file's own path, which is said beside it.
    fn without(mut self, url: &str) -> Messages {
        self.lines.iter_mut().for_each(|line| *line = line.replace(url, ""));
        self
    }

    fn summary(&self) -> String {
        match self.lines.is_empty() {
            true => "it gave no reason".into(),
            false => self.lines.join("; "),
        }
    }
}

/// A stream as ffmpeg writes it.
#[cfg(test)]
pub(super) fn a_stream() -> Vec<u8> {
    matroska::tests::stream()
}

/// Whether such a stream is read to its end.
#[cfg(test)]
pub(super) fn reads(bytes: &[u8]) -> bool {
    let take = |block: Block<'_>| match block {
        Block::Frame { width, height, data } => data.len() == 3 * width * height,
        Block::Sound(_) => true,
    };
    matroska::read(bytes, take).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_and_kept_without_addresses() {
        let said = "[h264 @ 0x55dcbe763340] [error] error while decoding MB 17 0\n\
                    [warning] file:x.mp4: corrupt decoded frame in stream 0\n\
                    [error] Error while decoding stream #0:0: Invalid data found\r\
                    [h264 @ 0x55dcbe763999] [error] error while decoding MB 17 0\n\
                    [swscaler @ 0x1] [warning] deprecated pixel format used";
        let messages = Messages::read(said.as_bytes());
        assert_eq!(messages.undecoded, 2);
        assert_eq!(
            messages.lines,
            ["h264: error while decoding MB 17 0", "Error while decoding stream #0:0: Invalid data found"]
        );
    }
}
