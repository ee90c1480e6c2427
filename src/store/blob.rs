//! Numbers as compressed blobs, each with a hash, so that a flipped bit is told and not believed; and with a length that is
//! known beforehand, so that a few bytes from a stranger do not take all memory.

use crate::score::Scores;

/// Bytes that a blob may hold: forty times the scores of the paper's data set.
const LARGEST: usize = 1 << 30;

/// Bytes of the val clips of a view, for each clip (its name, label and sound) and at most.
const TEXT_PER_CLIP: usize = 4096;
const LARGEST_TEXT: usize = 256 << 20;

/// Compressed f32: the first bytes of all numbers, then the second ones, ...: exponents lie together and shrink well.
pub fn pack(values: &[f32]) -> Result<(Vec<u8>, String), String> {
    let n = values.len();
    let mut planes = vec![0u8; n * 4];
    for (i, v) in values.iter().enumerate() {
        for (plane, byte) in v.to_le_bytes().into_iter().enumerate() {
            planes[plane * n + i] = byte;
        }
    }
    seal(&planes)
}

/// Undoes [`pack`]; says what is wrong if hash, compression or length are.
pub fn unpack(blob: &[u8], hash: &str, n: usize) -> Result<Vec<f32>, String> {
    let planes = open(blob, hash, n.saturating_mul(4))?;
    Ok((0..n).map(|i| f32::from_le_bytes([planes[i], planes[n + i], planes[2 * n + i], planes[3 * n + i]])).collect())
}

/// Scores of (clips, classes) from their blob; `present` has one byte a clip, or is absent where all are present.
pub fn scores(
    blob: &[u8],
    hash: &str,
    present: Option<&[u8]>,
    (clips, classes): (usize, usize),
) -> Result<Scores, String> {
    let values = unpack(blob, hash, clips.saturating_mul(classes))?;
    match present {
        None => Ok(Scores { classes, values, present: vec![true; clips] }),
        Some(marks) if marks.len() != clips => Err(format!("{} of {clips} marks", marks.len())),
        Some(marks) => Ok(Scores { classes, values, present: marks.iter().map(|&b| b != 0).collect() }),
    }
}

/// The numbers (mean, inverse sd, weights) and sigmoids of an SVM bank.
pub type BankNumbers = (Vec<f32>, Vec<(f64, f64)>);

/// An SVM bank of (classes, width) from its blob; `known` are the classes and width that its data set has.
pub fn bank(
    blob: &[u8],
    hash: &str,
    (classes, width): (i64, i64),
    known: Option<(usize, usize)>,
) -> Result<BankNumbers, String> {
    let size = |n: i64| usize::try_from(n).map_err(|_| format!("a size of {n}"));
    let (classes, width) = (size(classes)?, size(width)?);
    if let Some((k, d)) = known.filter(|known| *known != (classes, width)) {
        return Err(format!("{classes} classes of width {width}, where its data set has {k} of {d}"));
    }
    let numbers = classes.saturating_mul(width.saturating_add(1)).saturating_add(width.saturating_mul(2));
    let bytes = open(blob, hash, numbers.saturating_mul(4).saturating_add(classes.saturating_mul(16)))
        .or_else(|_| open(blob, hash, numbers.saturating_mul(4)))?;
    let (floats, sigmoids) = bytes.split_at(numbers * 4);
    let double = |b: &[u8]| f64::from_le_bytes(b.try_into().unwrap_or_default());
    Ok((
        floats.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        sigmoids.chunks_exact(16).map(|b| (double(&b[..8]), double(&b[8..]))).collect(),
    ))
}

/// Compresses bytes; gives the blob and its BLAKE3. What [`open`] would refuse is refused here.
pub fn seal(bytes: &[u8]) -> Result<(Vec<u8>, String), String> {
    if bytes.len() > LARGEST {
        return Err(format!("{} bytes; at most {LARGEST} can be stored as one", bytes.len()));
    }
    let blob = zstd::bulk::compress(bytes, 3).map_err(|e| format!("cannot be compressed: {e}"))?;
    let hash = blake3::hash(&blob).to_hex().to_string();
    Ok((blob, hash))
}

/// Undoes [`seal`] for a known length.
pub fn open(blob: &[u8], hash: &str, length: usize) -> Result<Vec<u8>, String> {
    if blake3::hash(blob).to_hex().as_str() != hash {
        return Err("its bytes do not match their hash".into());
    }
    if length > LARGEST {
        return Err(format!("{length} bytes were expected; at most {LARGEST} are read"));
    }
    // A damaged row may claim any length; memory is taken only for what the blob itself says that it holds.
    let holds = zstd::zstd_safe::get_frame_content_size(blob).ok().flatten();
    match holds {
        Some(holds) if holds != length as u64 => Err(format!("holds {holds} bytes, {length} were expected")),
        Some(_) => match zstd::bulk::decompress(blob, length) {
            Ok(bytes) if bytes.len() == length => Ok(bytes),
            Ok(bytes) => Err(format!("holds {} bytes, {length} were expected", bytes.len())),
            Err(e) => Err(format!("cannot be decompressed: {e}")),
        },
        None => Err("is no zstd frame of a known length".into()),
    }
}

/// The most bytes that the text about this many clips can have.
fn text_limit(clips: usize) -> usize {
    clips.saturating_mul(TEXT_PER_CLIP).saturating_add(4096).min(LARGEST_TEXT)
}

/// Compresses the text about `clips` clips.
pub fn pack_text(text: &str, clips: usize) -> Result<Vec<u8>, String> {
    if text.len() > text_limit(clips) {
        return Err(format!(
            "the names of {clips} clips have {} bytes; at most {} can be stored",
            text.len(),
            text_limit(clips)
        ));
    }
    zstd::bulk::compress(text.as_bytes(), 3).map_err(|e| format!("cannot be compressed: {e}"))
}

/// Undoes [`pack_text`].
pub fn text(packed: &[u8], clips: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let limit = text_limit(clips);
    let mut text = Vec::new();
    let decoder = zstd::stream::Decoder::new(packed).map_err(|e| format!("cannot be decompressed: {e}"))?;
    decoder.take(limit as u64 + 1).read_to_end(&mut text).map_err(|e| format!("cannot be decompressed: {e}"))?;
    match text.len() > limit {
        true => Err(format!("holds more than the {limit} bytes that {clips} clips can have")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_bit_for_bit_and_damage_is_told() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32).sin() * 1e-3).collect();
        let (mut blob, hash) = pack(&values).unwrap();
        assert_eq!(unpack(&blob, &hash, 1000).unwrap(), values);
        assert!(unpack(&blob, &hash, 999).is_err());
        blob[20] ^= 1;
        assert!(unpack(&blob, &hash, 1000).unwrap_err().contains("hash"));
    }

    #[test]
    fn a_few_bytes_that_claim_gigabytes_take_no_memory() {
        let bomb = zstd::bulk::compress(&vec![b' '; 64 << 20], 3).unwrap();
        assert!(bomb.len() < 10_000);
        let hash = blake3::hash(&bomb).to_hex().to_string();
        assert!(unpack(&bomb, &hash, 100).unwrap_err().contains("were expected"));
        assert!(open(&bomb, &hash, usize::MAX).unwrap_err().contains("at most"));
        assert!(text(&bomb, 10).unwrap_err().contains("holds more than the 45056 bytes"));
        assert!(text(&bomb, usize::MAX).is_ok());
        assert!(pack_text(&"x".repeat(5000), 0).is_err());
        assert_eq!(text(&pack_text("[]", 0).unwrap(), 0).unwrap(), b"[]");
    }

    /// Whatever bytes a stranger's blob has, reading it ends with numbers or a message.
    #[test]
    fn mutated_blobs_are_refused_or_read_and_never_a_panic() {
        let mut rng = compute::rng::Rng::new(16, "blobs");
        let values: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
        let (whole, _) = pack(&values).unwrap();
        let text_whole = pack_text("{\"clips\":[\"a\"],\"labels\":[0],\"sounded\":[true]}", 1).unwrap();
        for i in 0..4000 {
            let mut blob = if i % 2 == 0 { whole.clone() } else { text_whole.clone() };
            for _ in 0..1 + i % 4 {
                let at = (rng.uniform() * blob.len() as f64) as usize % blob.len().max(1);
                match i % 3 {
                    0 => blob[at] ^= 1 << (i % 8),
                    1 => blob[at] = (rng.uniform() * 256.0) as u8,
                    _ => blob.truncate(at.max(1)),
                }
            }
            let hash = blake3::hash(&blob).to_hex().to_string();
            let _ = unpack(&blob, &hash, 64);
            let _ = text(&blob, 1);
            let _ = bank(&blob, &hash, (i - 2000, i64::MAX - i), None);
            let _ = scores(&blob, &hash, Some(&blob), (usize::MAX, 2));
        }
    }
}
