//! Reads what ffmpeg writes as Matroska into a pipe: uncompressed frames and samples, with the frame's size in front.
//!
//! Matroska is a tree of elements: an id and a size, each a number of 1 to 8 bytes whose leading zeros tell its length,
//! then that many bytes (RFC 8794, RFC 9559). Only what is needed here is understood; everything else is passed over.

use std::io::{self, Read};

const SEGMENT: u64 = 0x1853_8067;
const CLUSTER: u64 = 0x1F43_B675;
const TRACKS: u64 = 0x1654_AE6B;
const TRACK_ENTRY: u64 = 0xAE;
const TRACK_NUMBER: u64 = 0xD7;
const TRACK_TYPE: u64 = 0x83;
const VIDEO: u64 = 0xE0;
const PIXEL_WIDTH: u64 = 0xB0;
const PIXEL_HEIGHT: u64 = 0xBA;
const SIMPLE_BLOCK: u64 = 0xA3;
const BLOCK_GROUP: u64 = 0xA0;
const BLOCK: u64 = 0xA1;

/// A piece of a stream.
pub(super) enum Block<'a> {
    /// A frame, bgr24.
    Frame {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// 3 width height numbers.
        data: &'a [u8],
    },
    /// Samples, 16 bit, little-endian.
    Sound(&'a [u8]),
}

#[derive(Default)]
struct Track {
    number: u64,
    kind: u64,
    width: usize,
    height: usize,
}

/// Calls `take` with every block of the stream until it ends, or `take` says no (false).
pub(super) fn read(input: impl Read, mut take: impl FnMut(Block<'_>) -> bool) -> io::Result<()> {
    let mut input = Input { input };
    let mut tracks: Vec<Track> = Vec::new();
    let mut payload = Vec::new();
    while let Some(id) = input.id()? {
        let size = input.size()?;
        match id {
            // Their contents follow; where they end does not matter.
            SEGMENT | CLUSTER | TRACKS | BLOCK_GROUP => {}
            TRACK_ENTRY => tracks.push(Track::default()),
            VIDEO => {}
            TRACK_NUMBER | TRACK_TYPE | PIXEL_WIDTH | PIXEL_HEIGHT => {
                let value = input.unsigned(size)?;
                let Some(track) = tracks.last_mut() else { continue };
                match id {
                    TRACK_NUMBER => track.number = value,
                    TRACK_TYPE => track.kind = value,
                    PIXEL_WIDTH => track.width = value as usize,
                    _ => track.height = value as usize,
                }
            }
            SIMPLE_BLOCK | BLOCK => {
                input.bytes(size, &mut payload)?;
                let (number, length) = vint(&payload).ok_or_else(|| bad("a block without a track"))?;
                // Time (2 bytes) and flags (1 byte) follow the track's number.
                let data = payload.get(length + 3..).ok_or_else(|| bad("a block that is too short"))?;
                let track = tracks.iter().find(|t| t.number == number);
                let more = match track {
                    Some(Track { kind: 1, width, height, .. }) => {
                        let announced = width.checked_mul(*height).and_then(|n| n.checked_mul(3));
                        if announced != Some(data.len()) {
                            return Err(bad("a frame of another size than announced"));
                        }
                        take(Block::Frame { width: *width, height: *height, data })
                    }
                    Some(Track { kind: 2, .. }) => take(Block::Sound(data)),
                    _ => true,
                };
                if !more {
                    return Ok(());
                }
            }
            _ => input.skip(size)?,
        }
    }
    Ok(())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("ffmpeg's output holds {what}"))
}

/// A number whose leading zeros tell its length, without the marking bit, and the length.
fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let rest = bytes.get(1..length)?;
    let marked = u64::from(first) & ((1u64 << (8 - length.min(8))) - 1);
    Some((rest.iter().fold(marked, |value, &b| value << 8 | u64::from(b)), length))
}

/// The stream, element by element.
struct Input<R> {
    input: R,
}

impl<R: Read> Input<R> {
    fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The next element's id, None at the end of the stream.
    fn id(&mut self) -> io::Result<Option<u64>> {
        let Some(first) = self.byte()? else { return Ok(None) };
        let length = first.leading_zeros() as usize + 1;
        if length > 4 {
            return Err(bad("an element without an id"));
        }
        let mut id = u64::from(first);
        for _ in 1..length {
            id = id << 8 | u64::from(self.need()?);
        }
        Ok(Some(id))
    }

    fn need(&mut self) -> io::Result<u8> {
        self.byte()?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// An element's size; containers of unknown size have one that nobody asks for.
    fn size(&mut self) -> io::Result<u64> {
        let first = self.need()?;
        let length = first.leading_zeros() as usize + 1;
        if length > 8 {
            return Err(bad("an element without a size"));
        }
        let mut size = u64::from(first) & ((1u64 << (8 - length)) - 1);
        for _ in 1..length {
            size = size << 8 | u64::from(self.need()?);
        }
        Ok(size)
    }

    fn unsigned(&mut self, size: u64) -> io::Result<u64> {
        if size > 8 {
            return Err(bad("a number of more than 8 bytes"));
        }
        (0..size).try_fold(0, |value, _| Ok(value << 8 | u64::from(self.need()?)))
    }

    fn bytes(&mut self, size: u64, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        let read = self.input.by_ref().take(size).read_to_end(out)? as u64;
        if read < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn skip(&mut self, size: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.input.by_ref().take(size), &mut io::sink())?;
        if skipped < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn element(id: &[u8], contents: &[u8]) -> Vec<u8> {
        let mut bytes = id.to_vec();
        bytes.push(0x80 | contents.len() as u8);
        bytes.extend(contents);
        bytes
    }

    pub fn stream() -> Vec<u8> {
        let video = element(&[0xE0], &[element(&[0xB0], &[1]), element(&[0xBA], &[2])].concat());
        let first = [element(&[0xD7], &[1]), element(&[0x83], &[1]), video].concat();
        let second = [element(&[0xD7], &[2]), element(&[0x83], &[2])].concat();
        let tracks = [element(&[0xAE], &first), element(&[0xAE], &second)].concat();
        [
            element(&[0x1A, 0x45, 0xDF, 0xA3], &[1, 2, 3]),
            // A segment and a cluster of unknown size.
            vec![0x18, 0x53, 0x80, 0x67, 0xFF],
            element(&[0x16, 0x54, 0xAE, 0x6B], &tracks),
            vec![0x1F, 0x43, 0xB6, 0x75, 0xFF],
            element(&[0xE7], &[0]),
            element(&[0xA3], &[0x82, 0, 0, 0x80, 7, 8]),
            element(&[0xA0], &element(&[0xA1], &[0x81, 0, 0, 0, 1, 2, 3, 4, 5, 6])),
        ]
        .concat()
    }

    fn blocks(bytes: &[u8]) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        read(bytes, |block| {
            found.push(match block {
                Block::Frame { width, height, data } => format!("{width}x{height} {data:?}"),
                Block::Sound(data) => format!("sound {data:?}"),
            });
            true
        })?;
        Ok(found)
    }

    #[test]
    fn frames_and_samples_are_told_apart() {
        assert_eq!(blocks(&stream()).unwrap(), ["sound [7, 8]", "1x2 [1, 2, 3, 4, 5, 6]"]);
    }

    #[test]
    fn a_stream_that_breaks_off_is_an_error_anywhere_inside_an_element() {
        let whole = stream();
        assert!(blocks(&whole[..whole.len() - 1]).is_err());
        for cut in 0..whole.len() {
            let _ = blocks(&whole[..cut]);
        }
        assert!(blocks(&[0]).is_err());
        assert!(blocks(&[]).unwrap().is_empty());
    }
}
