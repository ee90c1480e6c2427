//! What a run trained, as a file: its weights and all that is needed to use them, one safetensors file for each run.
//!
//! Files lie beside the store, named by their contents (`runs.db` has `runs.db.weights/HASH.safetensors`); the store says which
//! run has which, and may have them inside. Tensors of a generator are its parameters (`lstm.w`, `audio.b`, ...), the scales of
//! its input and target (`input.mean`, `input.inverse_sd`, `target.mean`, ...) and, where generated features are matched to
//! real ones, `match.from.*` and `match.to.*`; of a head on a stream, `head.w`, `head.b` and the input's scale. What they are
//! for is told by [`Description`], as JSON in the file's metadata.

use crate::dataset::{Feature, Standardiser};
use crate::experiment::Part;
use crate::experiment::config::{Engine, Svm};
use crate::store::{self, KeptWeights, RunRecord, Store};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The layout of the files that this version writes.
pub(super) const FORMAT: u32 = 1;

/// The key of the description in a file's metadata.
const KEY: &str = "unmute";

/// What weights are of, and what they are for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The layout of the file.
    pub format: u32,
    /// The run that trained them.
    pub run: String,
    /// Its cell's key.
    pub cell: String,
    /// Its seed.
    pub seed: Option<u64>,
    /// What was trained.
    pub part: Part,
    /// The data set's name.
    pub dataset: String,
    /// T.
    pub frames: usize,
    /// The streams side by side, in this order.
    pub streams: Vec<Feature>,
    /// What is generated; none for a head on a stream.
    pub audio: Option<Feature>,
    /// Class names, by index.
    pub classes: Vec<String>,
    /// The generator's settings; null for a head.
    pub settings: serde_json::Value,
    /// The engine that trained it.
    pub engine: Engine,
    /// How the SVM bank that scores its features was trained.
    pub svm: Svm,
    /// Names of the parameters, in the order of checkpoints.
    pub params: Vec<String>,
}

impl Description {
    /// `vggish/lstm/l2/with seed 0`.
    pub fn name(&self) -> String {
        self.seed.map_or(self.cell.clone(), |seed| format!("{} seed {seed}", self.cell))
    }
}

/// A named tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f32>,
}

impl Tensor {
    /// A vector.
    pub fn vector(name: impl Into<String>, values: Vec<f32>) -> Tensor {
        Tensor { name: name.into(), shape: vec![values.len()], values }
    }

    /// A matrix of so many columns.
    pub fn matrix(name: impl Into<String>, columns: usize, values: Vec<f32>) -> Tensor {
        Tensor { name: name.into(), shape: vec![values.len() / columns.max(1), columns], values }
    }
}

/// Weights with what they are for.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// What they are of.
    pub description: Description,
    /// Parameters and scales.
    pub tensors: Vec<Tensor>,
}

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run left none.
    #[error(
        "run {} ({name}): its weights were not kept\n  next: `unmute verify {} --dataset DIR --keep-weights --db {}` trains it again, compares every bit and keeps them; `--set train.keep=all` keeps those of all runs to come",
        short(run), short(run), db.display()
    )]
    NotKept {
        /// The run.
        run: String,
        /// Its cell and seed.
        name: String,
        /// The store.
        db: PathBuf,
    },
    /// The store came without its files.
    #[error(
        "{}: the weights of run {} ({name}) are not there\n  next: bring the folder along with the store, or make a store that has them inside: `unmute export store OUT.db --with-weights` where they are",
        path.display(), short(run)
    )]
    Lost {
        /// Where they should be.
        path: PathBuf,
        /// The run.
        run: String,
        /// Its cell and seed.
        name: String,
    },
    /// The file is not what was written.
    #[error("{}: the weights are damaged ({why})\n  next: restore the file from a copy, or take it away and train the run again (`unmute verify RUN --dataset DIR --keep-weights`)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The operating system refused.
    #[error("{}: {}", path.display(), crate::explain_io(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The beginning of an id that is shown.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl Weights {
    /// A tensor's numbers.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Adds a scale as `NAME.mean` and `NAME.inverse_sd`.
    pub fn add_scale(&mut self, name: &str, scale: &Standardiser) {
        self.tensors.push(Tensor::vector(format!("{name}.mean"), scale.mean.clone()));
        self.tensors.push(Tensor::vector(format!("{name}.inverse_sd"), scale.inverse_sd.clone()));
    }

    /// A scale by its name.
    pub fn scale(&self, name: &str) -> Option<Standardiser> {
        let values = |end: &str| self.get(&format!("{name}.{end}")).map(|t| t.values.clone());
        let scale = Standardiser { mean: values("mean")?, inverse_sd: values("inverse_sd")? };
        (scale.mean.len() == scale.inverse_sd.len()).then_some(scale)
    }

    /// As a safetensors file. The same weights give the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let description = serde_json::to_string(&self.description).unwrap_or_default();
        safetensors(&self.tensors, HashMap::from([(KEY.to_string(), description)]))
    }

    /// From a file's bytes; says what is wrong with them.
    pub fn of_bytes(bytes: &[u8]) -> Result<Weights, String> {
        let (_, head) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let description = head.metadata().as_ref().and_then(|meta| meta.get(KEY)).ok_or("no weights of unmute")?;
        let format =
            serde_json::from_str::<serde_json::Value>(description).map_err(|e| e.to_string())?["format"].as_u64();
        if format != Some(u64::from(FORMAT)) {
            return Err(format!("written by another version: its layout is {format:?}, this one knows {FORMAT}"));
        }
        let description = serde_json::from_str(description).map_err(|e| e.to_string())?;
        Ok(Weights { description, tensors: tensors_of(bytes)? })
    }
}

/// The tensors of a safetensors file, by name; says what is wrong with it.
pub fn tensors_of(bytes: &[u8]) -> Result<Vec<Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let tensor = |(name, view): (String, TensorView)| match view.dtype() {
        Dtype::F32 => {
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            Ok(Tensor { name, shape: view.shape().to_vec(), values })
        }
        other => Err(format!("{name}: numbers are {other:?}; F32 was expected")),
    };
    let mut tensors = file.tensors().into_iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
    // A file has them in an order of its own.
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// Tensors as a safetensors file.
pub fn safetensors(
    tensors: &[Tensor],
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| little_endian(&t.values)).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(t, bytes)| Ok((t.name.as_str(), TensorView::new(Dtype::F32, t.shape.clone(), bytes)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    safetensors::serialize(views, Some(metadata))
}

/// Numbers as they lie in files.
pub fn little_endian(values: &[f32]) -> Vec<u8> {
    match cfg!(target_endian = "little") {
        true => bytemuck::cast_slice(values).to_vec(),
        false => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// Where a store's weights lie: `runs.db` has `runs.db.weights`.
pub fn folder(db: &Path) -> PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(".weights");
    name.into()
}

/// The file of this hash.
pub fn path(db: &Path, hash: &str) -> PathBuf {
    folder(db).join(format!("{hash}.safetensors"))
}

/// Writes weights beside a store, whole or not at all; the store is told by [`Store::put_weights`].
pub fn write(db: &Path, weights: &Weights) -> Result<KeptWeights, Error> {
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    let folder = folder(db);
    let bytes = weights.to_bytes().map_err(|e| std::io::Error::other(e.to_string())).map_err(at(&folder))?;
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let path = path(db, &hash);
    put(&path, &bytes).map_err(at(&path))?;
    Ok(KeptWeights { run: weights.description.run.clone(), hash, bytes: bytes.len() as u64 })
}

/// Writes a file under another name and renames it.
pub fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut part = tempfile::Builder::new().prefix(".weights-").suffix(".part").tempfile_in(folder)?;
    part.write_all(bytes)?;
    part.as_file().sync_all()?;
    part.persist(path).map_err(|e| e.error)?;
    // A temporary file is for its owner alone; what stays is for whoever may read the store.
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(())
}

/// The bytes of a file of weights, from inside the store or beside it; `None` where neither has it.
pub fn bytes(store: &Store, kept: &KeptWeights) -> Result<Option<Vec<u8>>, Error> {
    let path = path(store.path(), &kept.hash);
    let found = match store.weights_inside(&kept.hash)? {
        Some(inside) => inside,
        None => match crate::files::read(&path, kept.bytes) {
            Ok(beside) => beside,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { path, source }),
        },
    };
    if blake3::hash(&found).to_hex().as_str() != kept.hash {
        return Err(Error::Damaged { path, why: "its bytes do not match their hash".into() });
    }
    Ok(Some(found))
}

/// A run's weights.
pub fn read(store: &Store, run: &RunRecord) -> Result<Weights, Error> {
    let name = run.seed.map_or(run.key.clone(), |seed| format!("{} seed {seed}", run.key));
    let Some(kept) = store.weights(&run.id)? else {
        return Err(Error::NotKept { run: run.id.clone(), name, db: store.path().into() });
    };
    let path = path(store.path(), &kept.hash);
    let Some(bytes) = bytes(store, &kept)? else { return Err(Error::Lost { path, run: run.id.clone(), name }) };
    Weights::of_bytes(&bytes).map_err(|why| Error::Damaged { path, why })
}

/// Forgets these runs' weights, and takes away files that no run needs any more.
pub fn forget(store: &Store, dropped: &[KeptWeights]) -> Result<(), store::Error> {
    for hash in store.drop_weights(dropped)? {
        // One that is gone already is no matter, and one that stays is swept up by `gc`.
        let _ = std::fs::remove_file(path(store.path(), &hash));
    }
    Ok(())
}

/// Files beside a store that none of its runs needs, with their sizes. Young ones may be about to be noted.
pub fn unneeded(store: &Store) -> Result<Vec<(PathBuf, u64)>, store::Error> {
    const YOUNG: Duration = Duration::from_secs(3600);
    let needed: BTreeSet<String> = store.all_weights()?.into_iter().map(|kept| kept.hash + ".safetensors").collect();
    let limit = SystemTime::now() - YOUNG;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder(store.path())).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(metadata) = entry.metadata() else { continue };
        let ours = name.ends_with(".safetensors") || name.ends_with(".part");
        let old = metadata.modified().is_ok_and(|at| at < limit);
        if metadata.is_file() && ours && old && !needed.contains(&name) {
            files.push((entry.path(), metadata.len()));
        }
    }
    files.sort();
    Ok(files)
}

/// What came of looking at a store's files of weights, or of taking them over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Runs whose weights are whole, or were taken over.
    pub whole: usize,
    /// Runs whose weights are not there: the store came without its folder.
    pub lost: usize,
    /// Runs whose weights are damaged, and how.
    pub damaged: Vec<(String, String)>,
}

/// Looks at every file of weights that runs of a store have.
pub fn check(store: &Store) -> Result<Looked, Error> {
    let mut looked = Looked::default();
    for kept in store.all_weights()? {
        match bytes(store, &kept) {
            Ok(Some(file)) if file.len() as u64 == kept.bytes => looked.whole += 1,
            Ok(Some(file)) => {
                let why = format!("they have {} bytes, and should have {}", file.len(), kept.bytes);
                looked.damaged.push((kept.run, why));
            }
            Ok(None) => looked.lost += 1,
            Err(Error::Damaged { why, .. }) => looked.damaged.push((kept.run, why)),
            Err(error) => looked.damaged.push((kept.run, error.to_string())),
        }
    }
    Ok(looked)
}

/// How a store's weights are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct State {
    /// Runs whose weights were kept.
    pub kept: usize,
    /// Their bytes, each file once.
    pub bytes: u64,
    /// Files that are neither inside the store nor beside it.
    pub missing: usize,
    /// Files beside it that are not what was written: run, cell and seed, file.
    pub damaged: Vec<(String, String, PathBuf)>,
    /// Files beside it that no run needs, and their bytes.
    pub unneeded: (usize, u64),
}

/// Counts a store's files of weights and looks at their lengths; [`check`] reads them.
pub fn state(store: &Store) -> Result<State, Error> {
    let mut state = State::default();
    let mut seen = BTreeSet::new();
    for kept in store.all_weights()? {
        state.kept += 1;
        if !seen.insert(kept.hash.clone()) {
            continue;
        }
        state.bytes += kept.bytes;
        let path = path(store.path(), &kept.hash);
        let inside = store.has_weights_inside(&kept.hash)?;
        match path.metadata() {
            Ok(file) => {
                if file.len() != kept.bytes {
                    let run = store.run(&kept.run)?;
                    let name = run.map(|r| r.seed.map_or(r.key.clone(), |seed| format!("{} seed {seed}", r.key)));
                    state.damaged.push((kept.run, name.unwrap_or_default(), path));
                }
            }
            Err(_) => state.missing += usize::from(!inside),
        }
    }
    let unneeded = unneeded(store)?;
    state.unneeded = (unneeded.len(), unneeded.iter().map(|(_, bytes)| bytes).sum());
    Ok(state)
}

/// Takes over from another store the weights of runs that both have finished and that have none here.
pub fn take_over(store: &Store, other: &Path) -> Result<Looked, Error> {
    let theirs = Store::open_to_read(other)?;
    let mut looked = Looked::default();
    for kept in theirs.all_weights()? {
        let here = store.run(&kept.run)?.is_some_and(|run| run.state == store::State::Done);
        if !here || store.weights(&kept.run)?.is_some() {
            continue;
        }
        let bytes = match bytes(&theirs, &kept) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                looked.lost += 1;
                continue;
            }
            Err(Error::Damaged { why, .. }) => {
                looked.damaged.push((kept.run, why));
                continue;
            }
            Err(error) => return Err(error),
        };
        let to = path(store.path(), &kept.hash);
        put(&to, &bytes).map_err(|source| Error::Io { path: to, source })?;
        store.put_weights(&kept)?;
        looked.whole += 1;
    }
    Ok(looked)
}

/// Keeps the weights of a run that was trained again in another store, and came out the same, as those of `run`. `false`
/// where it trained none.
pub fn adopt(store: &Store, run: &RunRecord, again: &Store, second: &RunRecord) -> Result<bool, Error> {
    if again.weights(&second.id)?.is_none() {
        return Ok(false);
    }
    let mut weights = read(again, second)?;
    weights.description.run = run.id.clone();
    store.put_weights(&write(store.path(), &weights)?)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        let description = Description {
            format: FORMAT,
            run: "abc".into(),
            cell: "rgb".into(),
            seed: Some(3),
            part: Part::Stream { stream: "rgb".into() },
            dataset: "tiny".into(),
            frames: 4,
            streams: vec![Feature { name: "rgb".into(), width: 2 }],
            audio: None,
            classes: vec!["a".into(), "b".into()],
            settings: serde_json::Value::Null,
            engine: Engine::Fused,
            svm: Svm::default(),
            params: vec![],
        };
        let mut weights =
            Weights { description, tensors: vec![Tensor::matrix("head.w", 2, vec![1.0, -2.5, 1e-30, 0.1])] };
        weights.add_scale("input", &Standardiser { mean: vec![0.5, 1.0], inverse_sd: vec![2.0, 3.0] });
        weights
    }

    #[test]
    fn weights_come_back_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("runs.db");
        let kept = write(&db, &weights()).unwrap();
        assert_eq!(write(&db, &weights()).unwrap(), kept, "the same weights are the same file");
        let bytes = std::fs::read(path(&db, &kept.hash)).unwrap();
        let back = Weights::of_bytes(&bytes).unwrap();
        assert_eq!(back.description, weights().description);
        assert_eq!(back.get("head.w"), weights().get("head.w"));
        assert_eq!(back.scale("input"), weights().scale("input"));
        assert!(Weights::of_bytes(&bytes[..bytes.len() - 3]).is_err());
        let mut other = weights();
        other.description.format = 99;
        assert!(Weights::of_bytes(&other.to_bytes().unwrap()).unwrap_err().contains("another version"));
        let plain = safetensors(&weights().tensors, HashMap::new()).unwrap();
        assert!(Weights::of_bytes(&plain).unwrap_err().contains("no weights of unmute"));
    }
}
