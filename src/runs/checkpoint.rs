//! Checkpoints: a training between two epochs as a safetensors file beside the store, written whole or not at all. Its
//! metadata holds a hash of everything else, so that one that was damaged is not gone on from.

use crate::train::trainer::SavedParam;
use crate::train::{Best, Checkpoint};
use compute::nn::ParamState;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What stands before the names of parameters of the best epoch so far.
const BEST: &str = "best/";

/// Where a store keeps its checkpoints: `runs.db` has `runs.db.checkpoints`.
pub fn folder(db: &Path) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(".checkpoints");
    name.into()
}

/// Where a store keeps the checkpoint of a run: `runs.db.checkpoints/RUN.safetensors`.
pub fn path(db: &Path, run: &str) -> PathBuf {
    folder(db).join(format!("{run}.safetensors"))
}

/// Writes a checkpoint to a temporary file and renames it.
pub fn save(path: &Path, checkpoint: &Checkpoint) -> std::io::Result<()> {
    let mut tensors: Vec<(String, Vec<u8>, Vec<usize>)> = Vec::new();
    let best = checkpoint.best.iter().flat_map(|best| &best.state.params).map(|p| (BEST, p));
    for (prefix, p) in checkpoint.params.iter().map(|p| ("", p)).chain(best) {
        for (what, values) in [("value", &p.state.value), ("moment1", &p.state.moment1), ("moment2", &p.state.moment2)]
        {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((format!("{prefix}{}/{what}", p.name), bytes, vec![p.shape.0, p.shape.1]));
        }
    }
    let other = |e: safetensors::SafeTensorError| std::io::Error::other(e.to_string());
    let views = tensors
        .iter()
        .map(|(name, bytes, shape)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(other)?))
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    // The order of the parameters is kept apart: the file sorts its tensors.
    let order: Vec<&str> = checkpoint.params.iter().map(|p| p.name.as_str()).collect();
    let mut meta = HashMap::from([
        ("epoch".to_string(), checkpoint.epoch.to_string()),
        ("step".to_string(), checkpoint.step.to_string()),
        ("order".to_string(), order.join(" ")),
        ("blake3".to_string(), digest(checkpoint)),
    ]);
    if let Some(best) = &checkpoint.best {
        let Best { merit, state } = &**best;
        // All bits of it: an epoch that is as good is no better.
        let words = format!("{} {} {}", state.epoch, state.step, merit.to_bits());
        meta.insert("best".into(), words);
    }
    let bytes = safetensors::serialize(views, Some(meta)).map_err(other)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let write = || {
        use std::io::Write;
        let mut file = crate::files::create(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&part);
    })
}

/// Reads a checkpoint; `None` where there is none, or one that is not whole (training then begins anew).
pub fn load(path: &Path) -> Option<Checkpoint> {
    let bytes = crate::files::read_own(path, u64::MAX).ok()?;
    let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
    let meta = header.metadata().as_ref()?;
    let tensors = SafeTensors::deserialize(&bytes).ok()?;
    let numbers = |name: String| -> Option<(Vec<f32>, (usize, usize))> {
        let view = tensors.tensor(&name).ok()?;
        let &[rows, cols] = view.shape() else { return None };
        if view.dtype() != Dtype::F32 {
            return None;
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Some((values, (rows, cols)))
    };
    let order = meta.get("order")?;
    let params = |prefix: &str| {
        let param = |name: &str| {
            let (value, shape) = numbers(format!("{prefix}{name}/value"))?;
            let (moment1, _) = numbers(format!("{prefix}{name}/moment1"))?;
            let (moment2, _) = numbers(format!("{prefix}{name}/moment2"))?;
            Some(SavedParam { name: name.into(), shape, state: ParamState { value, moment1, moment2 } })
        };
        order.split(' ').map(param).collect::<Option<Vec<_>>>()
    };
    let best = match meta.get("best") {
        None => None,
        Some(words) => {
            let mut words = words.split(' ');
            let (epoch, step) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let state = Checkpoint { epoch, step, params: params(BEST)?, best: None };
            Some(Box::new(Best { merit: f64::from_bits(words.next()?.parse().ok()?), state }))
        }
    };
    let (epoch, step) = (meta.get("epoch")?.parse().ok()?, meta.get("step")?.parse().ok()?);
    let checkpoint = Checkpoint { epoch, step, params: params("")?, best };
    (*meta.get("blake3")? == digest(&checkpoint)).then_some(checkpoint)
}

/// The hash of all that a checkpoint says.
fn digest(checkpoint: &Checkpoint) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("epoch {} step {}\n", checkpoint.epoch, checkpoint.step).as_bytes());
    let best = checkpoint.best.iter().flat_map(|best| {
        hasher.update(format!("best {} {} {}\n", best.state.epoch, best.state.step, best.merit.to_bits()).as_bytes());
        &best.state.params
    });
    let best: Vec<&SavedParam> = best.collect();
    for p in checkpoint.params.iter().chain(best) {
        hasher.update(format!("{} {:?}\n", p.name, p.shape).as_bytes());
        for values in [&p.state.value, &p.state.moment1, &p.state.moment2] {
            for chunk in values.chunks(4096) {
                let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// The epoch of a checkpoint, of which only the head is read; the rest may turn out not to be whole.
pub fn epoch(path: &Path) -> Option<usize> {
    /// More than the names and shapes of any network take.
    const MOST: u64 = 1 << 20;
    use std::io::Read;
    let mut file = crate::files::open(path).ok()?;
    let mut size = [0; 8];
    file.read_exact(&mut size).ok()?;
    let mut head = Vec::new();
    file.take(u64::from_le_bytes(size).min(MOST)).read_to_end(&mut head).ok()?;
    let head: serde_json::Value = serde_json::from_slice(&head).ok()?;
    head["__metadata__"]["epoch"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_come_back_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(&dir.path().join("runs.db"), "abc");
        let saved = |name: &str| SavedParam {
            name: name.into(),
            shape: (2, 2),
            state: ParamState {
                value: vec![1.0, -2.5, f32::MIN_POSITIVE, 0.1],
                moment1: vec![0.0; 4],
                moment2: vec![1e-30; 4],
            },
        };
        let of = |epoch, best| Checkpoint { epoch, step: 12, params: vec![saved("z"), saved("a")], best };
        let merit = -0.1 - 0.2;
        let checkpoint = of(3, Some(Box::new(Best { merit, state: of(2, None) })));
        save(&path, &checkpoint).unwrap();
        assert_eq!(load(&path).unwrap(), checkpoint, "with the best epoch so far");
        let checkpoint = of(3, None);
        save(&path, &checkpoint).unwrap();
        assert_eq!(load(&path).unwrap(), checkpoint);
        assert_eq!((epoch(&path), epoch(&path.with_extension("none"))), (Some(3), None));
        let mut bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).expect("any reader of safetensors takes it");
        assert_eq!(tensors.tensor("z/value").unwrap().shape(), [2, 2]);
        let another = String::from_utf8_lossy(&bytes[..300]).find("\"3\"").unwrap() + 1;
        bytes[another] = b'4';
        std::fs::write(&path, &bytes).unwrap();
        assert!(load(&path).is_none(), "of another epoch than it says");
        bytes[another] = b'3';
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(load(&path).is_none());
        std::fs::write(&path, &bytes[..10]).unwrap();
        assert!(load(&path).is_none() && epoch(&path).is_none());
    }
}
