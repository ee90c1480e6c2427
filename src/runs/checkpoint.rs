//! Checkpoints: a training between two epochs as a safetensors file, written whole or not at all. Its metadata holds the
//! numbers of the epochs behind it, so that another store can go on from it without a hole in the curve, and a hash of
//! everything else, so that one that was damaged is not gone on from.

use crate::train::trainer::SavedParam;
use crate::train::{Best, Checkpoint, Epoch, Measures};
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

/// The checkpoint of a run in a folder of them: `RUN.safetensors`.
pub fn path(folder: &Path, run: &str) -> PathBuf {
    folder.join(format!("{run}.safetensors"))
}

/// What stands in a file: the state of a training, and how it came there.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// The state.
    pub checkpoint: Checkpoint,
    /// The epochs behind it; none in files of earlier versions.
    pub epochs: Vec<Epoch>,
    /// The attempt that wrote it, from 1; 0 in files of earlier versions.
    pub attempt: i64,
}

/// Writes a checkpoint to a temporary file and renames it.
pub fn save(path: &Path, saved: &Saved) -> std::io::Result<()> {
    let checkpoint = &saved.checkpoint;
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
    let (epochs, attempt) = (epochs_text(&saved.epochs), saved.attempt.to_string());
    let mut meta = HashMap::from([
        ("epoch".to_string(), checkpoint.epoch.to_string()),
        ("step".to_string(), checkpoint.step.to_string()),
        ("order".to_string(), order.join(" ")),
        ("blake3".to_string(), digest(checkpoint, Some((&epochs, &attempt)))),
        ("epochs".to_string(), epochs),
        ("attempt".to_string(), attempt),
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
    // Two machines may have processes of one number.
    let writer = format!("{}-{}", &super::environment::worker_id()[..8], std::process::id());
    let part = path.with_extension(format!("{writer}.part"));
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
pub fn load(path: &Path) -> Option<Saved> {
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
    let behind =
        meta.get("epochs").zip(meta.get("attempt")).map(|(epochs, attempt)| (epochs.as_str(), attempt.as_str()));
    if *meta.get("blake3")? != digest(&checkpoint, behind) {
        return None;
    }
    let (epochs, attempt) = match behind {
        Some((epochs, attempt)) => (epochs_of(epochs)?, attempt.parse().ok()?),
        None => (Vec::new(), 0),
    };
    Some(Saved { checkpoint, epochs, attempt })
}

/// An epoch a line: its number, and the bits of its ten measures, so that what is no number comes back as well.
fn epochs_text(epochs: &[Epoch]) -> String {
    let line = |epoch: &Epoch| {
        let bits = [&epoch.train, &epoch.val].into_iter().flat_map(|m| measures(m).map(f64::to_bits));
        bits.fold(epoch.epoch.to_string(), |line, bits| format!("{line} {bits:016x}"))
    };
    epochs.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn measures(m: &Measures) -> [f64; 5] {
    [m.loss, m.loss_cls, m.loss_rec, m.accuracy, m.feature_error]
}

fn epochs_of(text: &str) -> Option<Vec<Epoch>> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let epoch = words.next()?.parse().ok()?;
        let bits = words.map(|word| u64::from_str_radix(word, 16).ok().map(f64::from_bits));
        let values: [f64; 10] = bits.collect::<Option<Vec<f64>>>()?.try_into().ok()?;
        let of =
            |v: &[f64]| Measures { loss: v[0], loss_cls: v[1], loss_rec: v[2], accuracy: v[3], feature_error: v[4] };
        Some(Epoch { epoch, train: of(&values[..5]), val: of(&values[5..]) })
    };
    text.lines().map(line).collect()
}

/// The hash of all that a checkpoint says, with the epochs and the attempt behind it where they are told.
fn digest(checkpoint: &Checkpoint, behind: Option<(&str, &str)>) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("epoch {} step {}\n", checkpoint.epoch, checkpoint.step).as_bytes());
    if let Some((epochs, attempt)) = behind {
        hasher.update(format!("attempt {attempt}\n{epochs}\n").as_bytes());
    }
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
    /// A head holds the curve so far, some 180 letters an epoch; more than this no reader of safetensors takes.
    const MOST: u64 = 100_000_000;
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
        let path = path(&folder(&dir.path().join("runs.db")), "abc");
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
        let measures =
            Measures { loss: 0.1, loss_cls: f64::MIN_POSITIVE, loss_rec: -0.0, accuracy: 50.0, feature_error: 1e300 };
        let epochs: Vec<Epoch> = (1..=3).map(|epoch| Epoch { epoch, train: measures, val: measures }).collect();
        let merit = -0.1 - 0.2;
        let checkpoint = of(3, Some(Box::new(Best { merit, state: of(2, None) })));
        let whole = Saved { checkpoint, epochs: epochs.clone(), attempt: 2 };
        save(&path, &whole).unwrap();
        assert_eq!(load(&path).unwrap(), whole, "with the best epoch so far");
        let whole = Saved { checkpoint: of(3, None), epochs: epochs.clone(), attempt: 2 };
        save(&path, &whole).unwrap();
        assert_eq!(load(&path).unwrap(), whole);
        // A long curve makes a long head.
        let long: Vec<Epoch> = (1..=20_000).map(|epoch| Epoch { epoch, train: measures, val: measures }).collect();
        let whole = Saved { checkpoint: of(20_000, None), epochs: long, attempt: 1 };
        save(&path, &whole).unwrap();
        assert!(epoch(&path) == Some(20_000) && load(&path).unwrap() == whole);
        save(&path, &Saved { checkpoint: of(3, None), epochs: epochs.clone(), attempt: 2 }).unwrap();
        let unknown = Measures { feature_error: f64::NAN, ..measures };
        let back = epochs_of(&epochs_text(&[Epoch { epoch: 7, train: unknown, val: measures }])).unwrap();
        assert!(back[0].epoch == 7 && back[0].train.feature_error.is_nan() && back[0].val == measures);
        assert!(epochs_of("1 0 0").is_none() && epochs_of("").unwrap().is_empty());
        assert_eq!((epoch(&path), epoch(&path.with_extension("none"))), (Some(3), None));
        let mut bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).expect("any reader of safetensors takes it");
        assert_eq!(tensors.tensor("z/value").unwrap().shape(), [2, 2]);
        let another = String::from_utf8_lossy(&bytes).find("\"epoch\":\"3\"").unwrap() + 9;
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
