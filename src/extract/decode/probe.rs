//! What ffprobe knows of a file; asked only where ffmpeg gave up, or a frame rate is wanted.

use super::ffmpeg::{Ffmpeg, file};
use std::path::Path;

/// Tracks of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tracks {
    /// Moving pictures; a cover is none.
    pub video: usize,
    pub sound: usize,
    /// Frames per second of the first video track, on average.
    pub rate: Option<f64>,
}

#[derive(serde::Deserialize)]
struct Report {
    #[serde(default)]
    streams: Vec<Stream>,
}

#[derive(serde::Deserialize)]
struct Stream {
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    avg_frame_rate: String,
    #[serde(default)]
    disposition: Disposition,
}

#[derive(Default, serde::Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

impl Ffmpeg {
    /// None where ffprobe cannot read the file either.
    pub(super) fn probe(&self, path: &Path) -> Option<Tracks> {
        let mut command = self.ffprobe();
        command.args(["-v", "error", "-show_streams", "-of", "json"]).arg(file(path));
        let output = command.output().ok().filter(|o| o.status.success())?;
        tracks(&output.stdout)
    }

    /// Frames per second of a file's video, on average.
    pub fn frame_rate(&self, path: &Path) -> Option<f64> {
        self.probe(path)?.rate
    }
}

fn tracks(json: &[u8]) -> Option<Tracks> {
    let report: Report = serde_json::from_slice(json).ok()?;
    let mut tracks = Tracks::default();
    for stream in &report.streams {
        match stream.codec_type.as_str() {
            "audio" => tracks.sound += 1,
            "video" if stream.disposition.attached_pic == 0 => {
                tracks.video += 1;
                tracks.rate = tracks.rate.or_else(|| rate(&stream.avg_frame_rate));
            }
            _ => {}
        }
    }
    Some(tracks)
}

/// `30000/1001`, `25` or `25.5`.
pub(in crate::extract) fn rate(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let rate = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_are_no_video() {
        let json = br#"{"streams": [
            {"codec_type": "audio", "avg_frame_rate": "0/0"},
            {"codec_type": "video", "avg_frame_rate": "90000/1", "disposition": {"attached_pic": 1}},
            {"codec_type": "video", "avg_frame_rate": "30000/1001"}]}"#;
        assert_eq!(tracks(json), Some(Tracks { video: 1, sound: 1, rate: Some(30000.0 / 1001.0) }));
        assert_eq!(tracks(b"{}"), Some(Tracks::default()));
        assert_eq!(tracks(b""), None);
        assert_eq!(rate("0/0"), None);
    }
}
