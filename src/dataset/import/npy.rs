//! NumPy's `.npy` files: an array of floats or integers.
//!
//! Format (NEP 1): `\x93NUMPY`, version, length of the header, a Python dictionary with `descr`, `fortran_order` and
//! `shape`, then the numbers. What NumPy refuses is refused.

use super::super::Error;
use super::array::{Array, ArrayReader, Changed, Entry, MOST_BYTES};
use crate::files;
use half::f16;
use std::io::Read;
use std::path::Path;

/// Reads `.npy`.
pub(in crate::dataset) struct Npy;

/// Bytes of a header that are read; NumPy's own are a few hundred.
const MOST_HEADER: usize = 1 << 20;

/// Dimensions at most; NumPy's own bound.
const MOST_DIMENSIONS: usize = 64;

impl ArrayReader for Npy {
    fn ending(&self) -> &'static str {
        "npy"
    }

    fn names_arrays(&self) -> bool {
        false
    }

    fn list(&self, path: &Path) -> Result<Vec<Entry>, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let file = files::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut bytes = Vec::new();
        (&file).take(4096).read_to_end(&mut bytes).map_err(io)?;
        if header_end(&bytes).is_some_and(|end| end > bytes.len() && end <= MOST_HEADER) {
            (&file).take(MOST_HEADER as u64).read_to_end(&mut bytes).map_err(io)?;
        }
        Ok(vec![Entry { member: None, shape: Head::parse(&bytes).and_then(|h| h.fits(length).map(|_| h.shape)) }])
    }

    fn read(&self, path: &Path, _: Option<&str>) -> Result<Array, Error> {
        let bad = |message| Error::Feature { path: path.into(), message };
        // The bound holds for the array; a header comes before it.
        let bytes = files::read(path, MOST_BYTES + MOST_HEADER as u64)
            .map_err(|source| Error::Io { path: path.into(), source })?;
        parse(&bytes).map_err(bad)
    }
}

/// What stands before the numbers.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    descr: String,
    fortran: bool,
    pub shape: Vec<usize>,
    /// Where the numbers begin.
    start: usize,
}

impl Head {
    /// Reads the beginning of a file.
    pub fn parse(bytes: &[u8]) -> Result<Head, String> {
        let not_npy = "not a .npy file, or a truncated one";
        let end = header_end(bytes).ok_or(not_npy)?;
        if end > MOST_HEADER {
            return Err(format!("its header has {end} bytes; at most {MOST_HEADER} are read"));
        }
        let text = bytes.get(if bytes[6] == 1 { 10 } else { 12 }..end).ok_or(not_npy)?;
        let text = std::str::from_utf8(text).map_err(|_| "its header is no text")?;
        let (descr, fortran, shape) = Dictionary { rest: text, whole: text }.parse()?;
        Ok(Head { descr, fortran, shape, start: end })
    }

    /// The number of numbers and the end of the last, in a file of `length` bytes.
    fn fits(&self, length: u64) -> Result<(usize, u64), String> {
        let size = item_size(&self.descr)?;
        let numbers = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let bytes = numbers.and_then(|n| (n as u64).checked_mul(size as u64)).filter(|&b| b <= MOST_BYTES);
        let (Some(numbers), Some(bytes)) = (numbers, bytes) else {
            return Err(format!(
                "shape {} is too large: an array of at most {MOST_BYTES} bytes can be read",
                tuple(&self.shape)
            ));
        };
        let there = length.saturating_sub(self.start as u64);
        if there < bytes {
            return Err(format!("truncated: {there} bytes of numbers, {numbers} x {size} were expected"));
        }
        Ok((numbers, self.start as u64 + bytes))
    }
}

/// A shape as Python writes it.
pub(in crate::dataset) fn tuple(shape: &[usize]) -> String {
    let numbers: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("({}{})", numbers.join(", "), if shape.len() == 1 { "," } else { "" })
}

/// Reads a file's bytes.
pub(super) fn parse(bytes: &[u8]) -> Result<Array, String> {
    let head = Head::parse(bytes)?;
    let (numbers, end) = head.fits(bytes.len() as u64)?;
    let array = &bytes[..end as usize];
    let (values, changed) = decode(&head.descr, &array[head.start..])?;
    debug_assert_eq!(values.len(), numbers);
    let values = if head.fortran { row_major(&values, &head.shape) } else { values };
    let trailing = bytes.len() as u64 - end;
    Ok(Array { shape: head.shape, values, digest: blake3::hash(array), trailing, changed })
}

/// Column-major numbers in row-major order.
fn row_major(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &d in shape {
        strides.push(stride);
        stride *= d;
    }
    let mut index = vec![0; shape.len()];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        out.push(values[index.iter().zip(&strides).map(|(i, s)| i * s).sum::<usize>()]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

/// Where the header ends, which is where the numbers begin; the file may be shorter.
fn header_end(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    match rest {
        [1, 0, a, b, ..] => Some(10 + usize::from(u16::from_le_bytes([*a, *b]))),
        [2 | 3, 0, a, b, c, d, ..] => 12usize.checked_add(u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => None,
    }
}

/// The header's text: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, entries in any order, each once.
struct Dictionary<'a> {
    rest: &'a str,
    whole: &'a str,
}

impl Dictionary<'_> {
    fn parse(mut self) -> Result<(String, bool, Vec<usize>), String> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.need("{")?;
        while !self.take("}") {
            let key = self.string()?;
            self.need(":")?;
            let again = match key.as_str() {
                "descr" if self.rest.trim_start().starts_with('[') => {
                    return Err("a structured array; plain numbers were expected".into());
                }
                "descr" => descr.replace(self.string()?).is_some(),
                "fortran_order" => fortran.replace(self.truth()?).is_some(),
                "shape" => shape.replace(self.tuple()?).is_some(),
                _ => return Err(self.bad(&format!("an unknown key {key:?}"))),
            };
            if again {
                return Err(self.bad(&format!("{key:?} twice")));
            }
            if !self.take(",") {
                self.need("}")?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return Err(self.bad("something after its end"));
        }
        let missing = |key: &str| format!("its header has no {key}: {}", shown(self.whole));
        Ok((
            descr.ok_or_else(|| missing("descr"))?,
            fortran.ok_or_else(|| missing("fortran_order"))?,
            shape.ok_or_else(|| missing("shape"))?,
        ))
    }

    fn bad(&self, what: &str) -> String {
        format!("its header has {what}: {}", shown(self.whole))
    }

    /// Takes `token`, after blanks, if it stands there.
    fn take(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn need(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(self.bad(&format!("no {token:?} where one should be"))) }
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = if self.take("'") {
            '\''
        } else {
            self.need("\"")?;
            '"'
        };
        let (text, rest) = self.rest.split_once(quote).ok_or_else(|| self.bad("a string without an end"))?;
        self.rest = rest;
        Ok(text.to_string())
    }

    fn truth(&mut self) -> Result<bool, String> {
        // What follows must not make it another word.
        let ends = |d: &Self| !d.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if self.take("True") && ends(self) {
            Ok(true)
        } else if self.take("False") && ends(self) {
            Ok(false)
        } else {
            Err(self.bad("a fortran_order that is neither True nor False"))
        }
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.need("(")?;
        let mut out = Vec::new();
        while !self.take(")") {
            let rest = self.rest.trim_start();
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number = rest[..digits].parse().map_err(|_| match digits {
                0 => self.bad("a shape that is no tuple of whole numbers"),
                _ => format!("a shape with {} is too large", &rest[..digits.min(40)]),
            })?;
            if out.len() == MOST_DIMENSIONS {
                return Err(self.bad(&format!("more than {MOST_DIMENSIONS} dimensions")));
            }
            out.push(number);
            self.rest = &rest[digits..];
            // Python 2 wrote its long integers so.
            self.take("L");
            if !self.take(",") {
                self.need(")")?;
                break;
            }
        }
        Ok(out)
    }
}

/// A header, cut to a line that can be shown.
fn shown(text: &str) -> String {
    let start: String = text.trim().chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if start.len() < text.trim().len() { format!("{start}...") } else { start }
}

const TYPES: &str = "f2, f4, f8, u1, u2, u4, u8, i1, i2, i4 or i8";

/// Bytes of one number of a type such as `<f4`.
fn item_size(descr: &str) -> Result<usize, String> {
    match descr.split_at_checked(1) {
        Some(("<" | ">" | "|" | "=", "u1" | "i1")) => Ok(1),
        Some(("<" | ">" | "|" | "=", "f2" | "u2" | "i2")) => Ok(2),
        Some(("<" | ">" | "|" | "=", "f4" | "u4" | "i4")) => Ok(4),
        Some(("<" | ">" | "|" | "=", "f8" | "u8" | "i8")) => Ok(8),
        _ => Err(format!("its numbers are {:?}; {TYPES} were expected", shown(descr))),
    }
}

/// Numbers of a NumPy type code as f32, and what that changed.
fn decode(descr: &str, data: &[u8]) -> Result<(Vec<f32>, Changed), String> {
    let (order, code) = descr.split_at_checked(1).unwrap_or_default();
    let big = order == ">";
    fn each<const N: usize>(data: &[u8], big: bool, of: impl FnMut([u8; N]) -> f32) -> Vec<f32> {
        let take = |b: &[u8]| {
            let mut bytes = [0; N];
            bytes.copy_from_slice(b);
            if big {
                bytes.reverse();
            }
            bytes
        };
        data.chunks_exact(N).map(take).map(of).collect()
    }
    let mut changed = Changed::default();
    let mut too_large = None;
    // Whether an integer is the same as f32 is asked in i128, which holds all of them.
    let mut rounds = |exact: i128, x: f32| {
        changed.rounded += usize::from(x as i128 != exact);
        x
    };
    let values = match code {
        "f4" => each(data, big, f32::from_le_bytes),
        "f8" => {
            let mut to_zero = 0;
            let values = each(data, big, |b| {
                let x = f64::from_le_bytes(b);
                let y = x as f32;
                if y.is_infinite() && x.is_finite() {
                    too_large.get_or_insert(x);
                }
                to_zero += usize::from(y == 0.0 && x != 0.0);
                y
            });
            changed.to_zero = to_zero;
            values
        }
        "f2" => each(data, big, |b| f16::from_le_bytes(b).to_f32()),
        "u1" => each(data, big, |[b]| f32::from(b)),
        "i1" => each(data, big, |b| f32::from(i8::from_le_bytes(b))),
        "u2" => each(data, big, |b| f32::from(u16::from_le_bytes(b))),
        "i2" => each(data, big, |b| f32::from(i16::from_le_bytes(b))),
        "u4" => each(data, big, |b| rounds(u32::from_le_bytes(b).into(), u32::from_le_bytes(b) as f32)),
        "i4" => each(data, big, |b| rounds(i32::from_le_bytes(b).into(), i32::from_le_bytes(b) as f32)),
        "u8" => each(data, big, |b| rounds(u64::from_le_bytes(b).into(), u64::from_le_bytes(b) as f32)),
        "i8" => each(data, big, |b| rounds(i64::from_le_bytes(b).into(), i64::from_le_bytes(b) as f32)),
        _ => return Err(format!("its numbers are {:?}; {TYPES} were expected", shown(descr))),
    };
    match too_large {
        Some(x) => Err(format!(
            "holds {x:e}, too large for f32\n  next: if it stands for a missing number, extract this clip again; if it was measured, scale the features down"
        )),
        None => Ok((values, changed)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn numbers(header: &str, data: &[u8]) -> Result<Vec<f32>, String> {
        parse(&file(header, data)).map(|a| a.values)
    }

    const C: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";

    #[test]
    fn types_and_orders_are_read() {
        let f4: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(numbers(C, &f4).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(numbers(&C.replace("False", "True"), &f4).unwrap(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let cube = C.replace("False", "True").replace("(2, 3)", "(1L, 3, 2)");
        assert_eq!(numbers(&cube, &f4).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let big: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(numbers("{'descr': '>f8', 'fortran_order': False, 'shape': (2,), }", &big).unwrap(), [1.5, -2.0]);
        assert_eq!(
            numbers("{\"shape\": (1, 2), 'descr': '|u1', 'fortran_order': False}", &[7, 255]).unwrap(),
            [7.0, 255.0]
        );
        let u4 = [3u32, 1 << 24].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(
            numbers("{'descr': '<u4', 'fortran_order': False, 'shape': (2,), }", &u4).unwrap(),
            [3.0, 16_777_216.0]
        );
    }

    #[test]
    fn what_f32_does_not_hold_is_counted_or_refused() {
        let f8 = |values: &[f64]| {
            let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            parse(&file("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", &data))
        };
        assert_eq!(f8(&[1e-60, 0.0]).unwrap().changed.to_zero, 1);
        assert!(f8(&[1.0, 1e39]).unwrap_err().contains("1e39, too large for f32"));
        let i8: Vec<u8> = [i64::MAX, 5].iter().flat_map(|v| v.to_le_bytes()).collect();
        let array = parse(&file("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", &i8)).unwrap();
        assert_eq!(array.changed.rounded, 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, says) in [
            ("<f4", "<f4", "truncated"),
            ("(2, 3)", "(99999999999, 99999999999)", "too large"),
            ("(2, 3)", "(99999999999999999999999, 1)", "too large"),
            ("(2, 3)", "(2, -3)", "no tuple of whole numbers"),
            ("(2, 3)", "(2, 3", "no tuple"),
            ("(2, 3)", "6", "no \"(\""),
            ("<f4", "<c8", "<c8"),
            ("'<f4'", "[('a', '<f4')]", "structured"),
            // NumPy refuses each of these too.
            ("False", "Trte", "neither True nor False"),
            ("False", "Falsehood", "neither True nor False"),
            ("False", "0", "neither True nor False"),
            ("'shape'", "'shapes'", "unknown key"),
            ("'fortran_order': False, ", "", "no fortran_order"),
            ("'descr': '<f4', ", "'descr': '<f4', 'descr': '<f4', ", "twice"),
            ("}", "} {", "after its end"),
        ] {
            let message = numbers(&C.replace(from, to), &[0; 20]).unwrap_err();
            assert!(message.contains(says), "{from} -> {to}: {message}");
        }
        assert!(parse(b"\x93NUMPY\x01").is_err());
        assert!(parse(b"\x93NUMPY\x04\x00\x02\x00{}").is_err());
        assert!(parse(b"hello").is_err());
        let long = [b"\x93NUMPY\x02\x00".as_slice(), &(1u32 << 30).to_le_bytes(), b"{"].concat();
        assert!(parse(&long).unwrap_err().contains("at most 1048576"));
    }

    #[test]
    fn bytes_after_the_array_are_counted_and_change_nothing() {
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}";
        let (one, two) = (parse(&file(header, &[1, 2])).unwrap(), parse(&file(header, &[1, 2, 3, 4, 5])).unwrap());
        assert_eq!((one.trailing, two.trailing), (0, 3));
        assert_eq!(one.digest, two.digest);
    }
}
