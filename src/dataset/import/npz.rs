//! NumPy's `.npz` files: a ZIP archive with a `.npy` for each array, stored or deflated.
//!
//! Only what NumPy writes is read: one part, no encryption, sizes in the central directory (in its ZIP64 field where they
//! are large). Every size is compared with the file's and with a bound before memory is taken, and checksums are checked.

use super::super::Error;
use super::array::{Array, ArrayReader, Entry, MOST_BYTES};
use super::npy;
use crate::files;
use std::io::Read;
use std::path::Path;

/// Reads `.npz`.
pub(super) struct Npz;

/// Bytes of an archive that are read.
const MOST_ARCHIVE: u64 = 1 << 33;

/// Arrays in one archive at most.
const MOST_MEMBERS: u64 = 4096;

impl ArrayReader for Npz {
    fn ending(&self) -> &'static str {
        "npz"
    }

    fn names_arrays(&self) -> bool {
        true
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, Error> {
        let bytes = load(path)?;
        let members = directory(&bytes).map_err(|message| Error::Feature { path: path.into(), message })?;
        Ok(members.iter().map(|m| Entry { member: Some(m.name.clone()), shape: m.shape(&bytes) }).collect())
    }

    fn read(&self, path: &Path, member: Option<&str>) -> Result<Array, Error> {
        let bytes = load(path)?;
        let read = || {
            let members = directory(&bytes)?;
            let member = members.iter().find(|m| Some(m.name.as_str()) == member).ok_or("the array is gone")?;
            npy::parse(&member.unpack(&bytes)?).map_err(|e| format!("array {:?}: {e}", member.name))
        };
        read().map_err(|message| Error::Feature { path: path.into(), message })
    }
}

fn load(path: &Path) -> Result<Vec<u8>, Error> {
    files::read(path, MOST_ARCHIVE).map_err(|source| Error::Io { path: path.into(), source })
}

/// A file of the archive.
#[derive(Debug)]
struct Member {
    /// Without `.npy`.
    name: String,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    /// Where its local header begins.
    at: u64,
}

/// A little-endian number at a place of a slice.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(N)?)?;
    Some(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

/// The arrays that the central directory lists.
fn directory(bytes: &[u8]) -> Result<Vec<Member>, String> {
    let truncated = || "not a .npz file, or a truncated one".to_string();
    let (mut at, count) = directory_start(bytes).ok_or_else(truncated)?;
    if count > MOST_MEMBERS {
        return Err(format!("an archive of {count} files; at most {MOST_MEMBERS} are read"));
    }
    let mut members: Vec<Member> = Vec::new();
    for _ in 0..count {
        let (member, next) = entry(bytes, at).ok_or_else(truncated)??;
        at = next;
        let Some(name) = member.name.strip_suffix(".npy").map(str::to_string) else { continue };
        if members.iter().any(|m| m.name == name) {
            return Err(format!("holds two arrays called {name:?}"));
        }
        members.push(Member { name, ..member });
    }
    Ok(members)
}

/// Where the central directory begins and how many files it lists, from the record at the archive's end.
fn directory_start(bytes: &[u8]) -> Option<(usize, u64)> {
    // A comment of up to 65,535 bytes may follow the record's 22.
    let last = bytes.len().checked_sub(22)?;
    let end = (last.saturating_sub(65_535)..=last).rev().find(|&at| {
        bytes[at..].starts_with(b"PK\x05\x06") && number::<2>(bytes, at + 20) == Some((bytes.len() - at - 22) as u64)
    })?;
    let (count, start) = (number::<2>(bytes, end + 10)?, number::<4>(bytes, end + 16)?);
    if count != 0xffff && start != 0xffff_ffff {
        return Some((usize::try_from(start).ok()?, count));
    }
    // ZIP64: a locator before the record points to a longer one.
    let locator = end.checked_sub(20)?;
    let record = bytes[locator..].starts_with(b"PK\x06\x07").then(|| number::<8>(bytes, locator + 8))??;
    let record = usize::try_from(record).ok()?;
    bytes.get(record..)?.starts_with(b"PK\x06\x06").then_some(())?;
    let (count, start) = (number::<8>(bytes, record.checked_add(32)?)?, number::<8>(bytes, record.checked_add(48)?)?);
    Some((usize::try_from(start).ok()?, count))
}

/// An entry of the central directory, and where the next one begins.
fn entry(bytes: &[u8], at: usize) -> Option<Result<(Member, usize), String>> {
    let head = bytes.get(at..at.checked_add(46)?)?;
    head.starts_with(b"PK\x01\x02").then_some(())?;
    let flags = number::<2>(head, 8)?;
    let lengths = [28, 30, 32].map(|at| number::<2>(head, at).unwrap_or(0) as usize);
    let name = bytes.get(at + 46..at + 46 + lengths[0])?;
    let extra = bytes.get(at + 46 + lengths[0]..at + 46 + lengths[0] + lengths[1])?;
    let next = at + 46 + lengths.iter().sum::<usize>();
    let Ok(name) = std::str::from_utf8(name) else {
        return Some(Err("holds a file whose name is not UTF-8".into()));
    };
    if flags & 1 != 0 {
        return Some(Err(format!("file {name:?} of it is encrypted")));
    }
    let mut member = Member {
        name: name.to_string(),
        method: number::<2>(head, 10)? as u16,
        crc: number::<4>(head, 16)? as u32,
        packed: number::<4>(head, 20)?,
        size: number::<4>(head, 24)?,
        at: number::<4>(head, 42)?,
    };
    zip64(&mut member, extra)?;
    Some(Ok((member, next)))
}

/// Numbers of 8 bytes replace those that do not fit into 4, in this order.
fn zip64(member: &mut Member, extra: &[u8]) -> Option<()> {
    let mut fields = extra;
    while fields.len() >= 4 {
        let (id, length) = (number::<2>(fields, 0)?, number::<2>(fields, 2)? as usize);
        let field = fields.get(4..4 + length)?;
        if id == 1 {
            let mut at = 0;
            for value in [&mut member.size, &mut member.packed, &mut member.at] {
                if *value == 0xffff_ffff {
                    *value = number::<8>(field, at)?;
                    at += 8;
                }
            }
        }
        fields = &fields[4 + length..];
    }
    Some(())
}

impl Member {
    /// The packed bytes.
    fn data<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let at = usize::try_from(self.at).ok()?;
        let head = bytes.get(at..at.checked_add(30)?)?;
        head.starts_with(b"PK\x03\x04").then_some(())?;
        let start = at + 30 + number::<2>(head, 26)? as usize + number::<2>(head, 28)? as usize;
        bytes.get(start..start.checked_add(usize::try_from(self.packed).ok()?)?)
    }

    /// A reader of the unpacked bytes.
    fn open<'a>(&self, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, String> {
        let name = &self.name;
        let data = self.data(bytes).ok_or_else(|| format!("truncated: array {name:?} is not whole"))?;
        match self.method {
            0 => Ok(Box::new(data)),
            8 => Ok(Box::new(flate2::bufread::DeflateDecoder::new(data))),
            other => Err(format!("array {name:?} is packed by method {other}; only stored and deflated ones are read")),
        }
    }

    /// The shape, from no more than the header's bytes.
    fn shape(&self, bytes: &[u8]) -> Result<Vec<usize>, String> {
        let mut start = Vec::new();
        self.open(bytes)?.take(65_546).read_to_end(&mut start).map_err(|e| self.damaged(&e))?;
        npy::Head::parse(&start).map(|h| h.shape).map_err(|e| format!("array {:?}: {e}", self.name))
    }

    /// All bytes, checked.
    fn unpack(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let name = &self.name;
        if self.size > MOST_BYTES {
            return Err(format!("array {name:?} has {} bytes; at most {MOST_BYTES} are read", self.size));
        }
        // Deflate packs at best 1032 to 1, so that a size beyond that is a lie: no memory is set aside for it.
        let mut out = Vec::with_capacity(self.size.min(self.packed.saturating_mul(1032)) as usize);
        self.open(bytes)?.take(self.size + 1).read_to_end(&mut out).map_err(|e| self.damaged(&e))?;
        let mut crc = flate2::Crc::new();
        crc.update(&out);
        if out.len() as u64 != self.size || crc.sum() != self.crc {
            return Err(format!("array {name:?} is damaged: its length or checksum is not the archive's"));
        }
        Ok(out)
    }

    fn damaged(&self, e: &std::io::Error) -> String {
        format!("array {:?} is damaged: {e}", self.name)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// An archive of stored or deflated members, as `numpy.savez` and `savez_compressed` write it.
    pub fn archive(members: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
        let (mut out, mut central) = (Vec::new(), Vec::new());
        for (name, bytes) in members {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            let packed = if deflate {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            } else {
                bytes.to_vec()
            };
            let mut head = Vec::new();
            for n in [20, 0, if deflate { 8 } else { 0 }, 0, 0x21] {
                head.extend(u16::to_le_bytes(n));
            }
            for n in [crc.sum(), packed.len() as u32, bytes.len() as u32] {
                head.extend(n.to_le_bytes());
            }
            head.extend((name.len() as u16).to_le_bytes());
            head.extend(0u16.to_le_bytes());
            central.extend(b"PK\x01\x02\x14\x00");
            central.extend(&head);
            central.extend([0; 10]);
            central.extend((out.len() as u32).to_le_bytes());
            central.extend(name.as_bytes());
            out.extend(b"PK\x03\x04");
            out.extend(&head);
            out.extend(name.as_bytes());
            out.extend(packed);
        }
        let start = out.len() as u32;
        out.extend(&central);
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend([(members.len() as u16).to_le_bytes(); 2].concat());
        out.extend((central.len() as u32).to_le_bytes());
        out.extend(start.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    pub fn member() -> Vec<u8> {
        npy::tests::file("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}", &[1, 2, 3, 4, 5, 6])
    }

    fn open(bytes: &[u8]) -> Result<Array, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        std::fs::write(&path, bytes).unwrap();
        Npz.read(&path, Some("rgb")).map_err(|e| e.to_string())
    }

    #[test]
    fn stored_and_deflated_arrays_are_read_and_checked() {
        for deflate in [false, true] {
            let bytes = archive(&[("note.txt", b"x"), ("rgb.npy", &member())], deflate);
            let members = directory(&bytes).unwrap();
            assert_eq!(members.len(), 1);
            assert_eq!(members[0].shape(&bytes).unwrap(), [2, 3]);
            assert_eq!(open(&bytes).unwrap().values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        }
        let mut damaged = archive(&[("rgb.npy", &member())], false);
        damaged[30 + 7 + 20] ^= 1;
        assert!(open(&damaged).unwrap_err().contains("checksum"));
        assert!(open(b"PK").unwrap_err().contains("not a .npz file"));
        assert!(
            open(&archive(&[("rgb.npy", &member()), ("rgb.npy", &member())], true)).unwrap_err().contains("two arrays")
        );
    }
}
