//! The program ffmpeg: which one, its version, and what it is called with.

use crate::extract::error::Error;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The oldest version whose options are known here.
const LEAST: (u32, u32) = (4, 4);
const LEAST_NAME: &str = "4.4";

/// What is wanted of a clip.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Frames, at so many per second, or all as they were recorded (None).
    pub frames: Option<Option<&'a str>>,
    /// The first sound track, as 16 kHz, 16 bit, mono.
    pub sound: bool,
}

/// An ffmpeg that starts.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    program: OsString,
    /// What it calls itself, such as `5.1.9-0+deb12u1`.
    pub version: String,
    /// `-fps_mode` took the place of `-vsync` in 5.1.
    fps_mode: &'static str,
}

impl Ffmpeg {
    /// The one that `UNMUTE_FFMPEG` names, or the first on the path.
    pub fn find() -> Result<Ffmpeg, Error> {
        let program = std::env::var_os("UNMUTE_FFMPEG").filter(|p| !p.is_empty()).unwrap_or_else(|| "ffmpeg".into());
        let shown = program.to_string_lossy().into_owned();
        let output = Command::new(&program)
            .arg("-version")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::NoFfmpeg { program: shown.clone(), least: LEAST_NAME, source })?;
        let said = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_string();
        let too_old = |said: String| Error::OldFfmpeg { program: shown.clone(), said, least: LEAST_NAME };
        let Some(version) = said.strip_prefix("ffmpeg version ").and_then(|v| v.split_whitespace().next()) else {
            return Err(too_old(format!("says {said:?}, which is no version of ffmpeg")));
        };
        // Builds of a day's state are called N-12345-g0123abc or after a date, and taken for new.
        let number = number(version).unwrap_or((u32::MAX, 0));
        if number < LEAST {
            return Err(too_old(format!("is version {version}")));
        }
        let fps_mode = if number >= (5, 1) { "-fps_mode" } else { "-vsync" };
        Ok(Ffmpeg { version: version.to_string(), program, fps_mode })
    }

    /// The call that writes a clip's frames and samples to stdout, and messages to stderr.
    pub(super) fn command(&self, path: &Path, wanted: &Wanted<'_>) -> Command {
        let mut command = self.quiet(&self.program.clone());
        // One thread: workers share the cores, and a broken frame comes out the same each time.
        command.args(["-nostdin", "-v", "repeat+level+warning", "-threads", "1"]).arg("-i").arg(file(path));
        match wanted.frames {
            Some(rate) => {
                command.args(["-map", "0:V:0?", "-c:v", "rawvideo", "-pix_fmt", "bgr24", "-filter_threads", "1"]);
                match rate {
                    Some(rate) => command.args(["-vf", &format!("fps={rate}"), self.fps_mode, "cfr"]),
                    None => command.args([self.fps_mode, "passthrough"]),
                };
            }
            None => {
                command.arg("-vn");
            }
        }
        match wanted.sound {
            true => command.args(["-map", "0:a:0?", "-c:a", "pcm_s16le", "-ac", "1", "-ar", "16000"]),
            false => command.arg("-an"),
        };
        // Frames and samples need not be in step, so nothing waits for the other.
        command.args(["-sn", "-dn", "-map_metadata", "-1", "-max_interleave_delta", "1"]);
        command.args(["-f", "matroska", "-allow_raw_vfw", "1", "-live", "1", "pipe:1"]);
        command
    }

    /// The call of ffprobe, which stands beside ffmpeg.
    pub(super) fn ffprobe(&self) -> Command {
        let path = Path::new(&self.program);
        let name =
            path.file_name().map_or_else(|| "ffprobe".into(), |n| n.to_string_lossy().replace("ffmpeg", "ffprobe"));
        let program = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.join(name).into_os_string(),
            _ => name.into(),
        };
        self.quiet(&program)
    }

    fn quiet(&self, program: &OsString) -> Command {
        let mut command = Command::new(program);
        // Ctrl-C is for unmute, which ends it; else a clip cut short would look like a short clip.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The first two numbers of a version, `n5.1.2` and `5.1-dev` included.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('n').split(|c: char| !c.is_ascii_digit());
    let first = parts.next()?.parse().ok()?;
    // Dates, such as 2024-01-01-git, are no versions.
    (first < 1000).then(|| (first, parts.next().and_then(|p| p.parse().ok()).unwrap_or(0)))
}

/// A path that ffmpeg takes for nothing else than a file, whatever characters are in it.
pub(super) fn file(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_dates() {
        assert_eq!(number("5.1.9-0+deb12u1"), Some((5, 1)));
        assert_eq!(number("n7.0"), Some((7, 0)));
        assert_eq!(number("4"), Some((4, 0)));
        assert_eq!(number("2024-01-01-git-1234"), None);
        assert_eq!(number("N-117770-g6d2da8"), None);
    }
}
