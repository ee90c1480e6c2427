//! Numbers as compressed blobs, each with a hash, so that a flipped bit is told and not believed.

/// Compressed f32: the first bytes of all numbers, then the second ones, ...: exponents lie together and shrink well.
pub fn pack(values: &[f32]) -> (Vec<u8>, String) {
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

/// Compresses bytes; gives the blob and its BLAKE3.
pub fn seal(bytes: &[u8]) -> (Vec<u8>, String) {
    // Compressing memory to memory fails for no input; storing it plainly would still be right.
    let blob = zstd::bulk::compress(bytes, 3).unwrap_or_default();
    let hash = blake3::hash(&blob).to_hex().to_string();
    (blob, hash)
}

/// Undoes [`seal`] for a known length.
pub fn open(blob: &[u8], hash: &str, length: usize) -> Result<Vec<u8>, String> {
    if blake3::hash(blob).to_hex().as_str() != hash {
        return Err("its bytes do not match their hash".into());
    }
    // A damaged row may claim any length; memory is taken only for what the blob itself says that it holds.
    let holds = zstd::zstd_safe::get_frame_content_size(blob).ok().flatten();
    match holds {
        Some(holds) if holds != length as u64 => Err(format!("holds {holds} bytes, {length} were expected")),
        Some(_) => zstd::bulk::decompress(blob, length).map_err(|e| format!("cannot be decompressed: {e}")),
        None => Err("is no zstd frame of a known length".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_bit_for_bit_and_damage_is_told() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32).sin() * 1e-3).collect();
        let (mut blob, hash) = pack(&values);
        assert_eq!(unpack(&blob, &hash, 1000).unwrap(), values);
        assert!(unpack(&blob, &hash, 999).is_err());
        blob[20] ^= 1;
        assert!(unpack(&blob, &hash, 1000).unwrap_err().contains("hash"));
    }
}
