//! NumPy's `.npy` files: features are written as little-endian f32, statistics read from f4 and f8.

use super::error::{Error, io};
use std::path::Path;

/// The bytes of an array, row-major.
pub(super) fn bytes(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let shape = if shape.matches(',').count() > 1 { shape.trim_end_matches(", ") } else { shape.trim_end() };
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}");
    let length = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dictionary:<width$}\n", width = length - 1).bytes());
    bytes.reserve(4 * values.len());
    values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    bytes
}

/// All numbers of a file, whatever its shape.
pub(super) fn read(path: &Path) -> Result<Vec<f64>, Error> {
    let bytes = crate::files::read(path, 1 << 28).map_err(io(path))?;
    parse(&bytes).ok_or_else(|| {
        Error::Usage(format!(
            "{}: should be an .npy file of little-endian floats in C order\n  next: numpy.save(PATH, numpy.ascontiguousarray(x, dtype='<f4'))",
            path.display()
        ))
    })
}

pub(super) fn parse(bytes: &[u8]) -> Option<Vec<f64>> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (length, start) = match rest.first()? {
        1 => (usize::from(u16::from_le_bytes(rest.get(2..4)?.try_into().ok()?)), 4),
        2 | 3 => (u32::from_le_bytes(rest.get(2..6)?.try_into().ok()?) as usize, 6),
        _ => return None,
    };
    let header = std::str::from_utf8(rest.get(start..start + length)?).ok()?;
    let data = &rest[start + length..];
    // A one-dimensional array is in both orders; numpy writes False for it.
    if !header.contains("'fortran_order': False") {
        return None;
    }
    let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
    let sizes = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse::<usize>().ok());
    let count = sizes.collect::<Option<Vec<_>>>()?.into_iter().try_fold(1usize, usize::checked_mul)?;
    if header.contains("'<f4'") && data.len() == count.checked_mul(4)? {
        Some(data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect())
    } else if header.contains("'<f8'") && data.len() == count.checked_mul(8)? {
        Some(data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[3][..], &[1, 3], &[3, 1, 1]] {
            let bytes = bytes(shape, &[1.0, -2.5, 3.0]);
            assert_eq!(bytes.len() % 64, 12);
            assert_eq!(parse(&bytes).unwrap(), [1.0, -2.5, 3.0]);
            assert!(parse(&bytes[..bytes.len() - 1]).is_none());
        }
        assert!(bytes(&[3], &[0.0; 3]).windows(13).any(|w| w == b"'shape': (3,)"));
        assert!(parse(b"hello").is_none());
    }
}
