//! NumPy's `.npy` files: a (t, D) array of one clip, of floats or integers.
//!
//! Format (NEP 1): `\x93NUMPY`, version, length of the header, a Python dictionary with `descr`, `fortran_order` and
//! `shape`, then the numbers.

use super::Error;
use half::f16;
use std::path::{Path, PathBuf};

/// A two-dimensional array, row-major.
pub struct Npy {
    /// Where it was read.
    pub path: PathBuf,
    /// t.
    pub rows: usize,
    /// D.
    pub width: usize,
    /// Row after row.
    pub values: Vec<f32>,
}

/// What the header says.
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Npy {
    /// Reads a one- or two-dimensional array; one dimension is taken for one row.
    pub fn read(path: &Path) -> Result<Npy, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
        Npy::parse(path, &bytes).map_err(|message| Error::Feature { path: path.into(), message })
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Npy, String> {
        let (header, data) = split(bytes).ok_or("not a .npy file, or a truncated one")?;
        let Header { descr, fortran, shape } = Header::parse(header)?;
        let (rows, width) = match shape[..] {
            [width] => (1, width),
            [rows, width] => (rows, width),
            _ => return Err(format!("shape is {shape:?}; (t, D) was expected")),
        };
        if rows == 0 || width == 0 {
            return Err(format!("shape is ({rows}, {width}): zero frames; a clip needs at least one"));
        }
        let numbers = rows.checked_mul(width).ok_or_else(|| format!("shape ({rows}, {width}) is too large"))?;
        let values = decode(&descr, data, numbers)?;
        let values = match fortran {
            false => values,
            true => (0..numbers).map(|i| values[(i % width) * rows + i / width]).collect(),
        };
        Ok(Npy { path: path.into(), rows, width, values })
    }
}

/// The header's text and the bytes after it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (&major, rest) = rest.split_first()?;
    let (_, rest) = rest.split_first()?;
    let (length, rest) = match major {
        1 => (usize::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?)), &rest[2..]),
        2 | 3 => (u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize, &rest[4..]),
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

impl Header {
    /// Takes the three entries out of `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Header, String> {
        let bad = |what: &str| format!("its header has no {what}: {}", text.trim());
        let after = |key: &str| text.split_once(key).map(|(_, rest)| rest.trim_start_matches(['\'', '"', ' ', ':']));
        let descr = after("descr").ok_or_else(|| bad("descr"))?;
        if descr.starts_with('[') {
            return Err("a structured array; plain numbers were expected".into());
        }
        let descr = descr.split(['\'', '"']).next().unwrap_or_default().to_string();
        let fortran = after("fortran_order").ok_or_else(|| bad("fortran_order"))?.starts_with("True");
        let shape = after("shape")
            .and_then(|s| s.strip_prefix('('))
            .and_then(|s| s.split_once(')'))
            .ok_or_else(|| bad("shape"))?
            .0;
        let shape = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.trim_end_matches('L').parse());
        Ok(Header { descr, fortran, shape: shape.collect::<Result<_, _>>().map_err(|_| bad("shape"))? })
    }
}

/// Numbers of a NumPy type code as f32.
fn decode(descr: &str, data: &[u8], numbers: usize) -> Result<Vec<f32>, String> {
    let (order, code) = descr.split_at_checked(1).ok_or_else(|| format!("its type is {descr:?}"))?;
    let big = order == ">";
    fn each<const N: usize>(
        data: &[u8],
        numbers: usize,
        big: bool,
        of: impl Fn([u8; N]) -> f32,
    ) -> Result<Vec<f32>, String> {
        let whole = numbers.checked_mul(N).and_then(|n| data.get(..n));
        let data = whole
            .ok_or_else(|| format!("truncated: {} bytes of numbers, {numbers} x {N} were expected", data.len()))?;
        let take = |b: &[u8]| {
            let mut bytes = [0; N];
            bytes.copy_from_slice(b);
            if big {
                bytes.reverse();
            }
            of(bytes)
        };
        Ok(data.chunks_exact(N).map(take).collect())
    }
    match code {
        "f4" => each(data, numbers, big, f32::from_le_bytes),
        "f8" => each(data, numbers, big, |b| f64::from_le_bytes(b) as f32),
        "f2" => each(data, numbers, big, |b| f16::from_le_bytes(b).to_f32()),
        "u1" => each(data, numbers, big, |[b]| f32::from(b)),
        "i1" => each(data, numbers, big, |b| f32::from(i8::from_le_bytes(b))),
        "u2" => each(data, numbers, big, |b| f32::from(u16::from_le_bytes(b))),
        "i2" => each(data, numbers, big, |b| f32::from(i16::from_le_bytes(b))),
        "i4" => each(data, numbers, big, |b| i32::from_le_bytes(b) as f32),
        "i8" => each(data, numbers, big, |b| i64::from_le_bytes(b) as f32),
        _ => Err(format!("its numbers are {descr:?}; f2, f4, f8, u1, u2, i1, i2, i4 or i8 were expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn parse(header: &str, data: &[u8]) -> Result<Vec<f32>, String> {
        Npy::parse(Path::new("x.npy"), &file(header, data)).map(|n| n.values)
    }

    #[test]
    fn types_and_orders_are_read() {
        let f4: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let c = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
        assert_eq!(parse(c, &f4).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(parse(&c.replace("False", "True"), &f4).unwrap(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let big: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(parse("{'descr': '>f8', 'fortran_order': False, 'shape': (2,), }", &big).unwrap(), [1.5, -2.0]);
        assert_eq!(
            parse("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2)}", &[7, 255]).unwrap(),
            [7.0, 255.0]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let c = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert!(parse(c, &[0; 20]).unwrap_err().contains("truncated"));
        assert!(parse(&c.replace("(2, 3)", "(0, 3)"), &[]).unwrap_err().contains("zero frames"));
        assert!(parse(&c.replace("(2, 3)", "(2, 3, 4)"), &[]).unwrap_err().contains("(t, D)"));
        assert!(parse(&c.replace("<f4", "<c8"), &[0; 80]).unwrap_err().contains("<c8"));
        assert!(parse(&c.replace("(2, 3)", "(99999999999, 99999999999)"), &[]).unwrap_err().contains("too large"));
        assert!(Npy::parse(Path::new("x"), b"\x93NUMPY\x01").is_err());
        assert!(Npy::parse(Path::new("x"), b"hello").is_err());
    }
}
