//! The states of a source's files: as long as they are the same, so are the contents, and nothing has to be read again.

use super::super::Error;
use super::super::identity::{Identity, now_ns};
use rayon::prelude::*;
use std::path::Path;

/// One hash over the states of files; none where one of them was changed so recently that another change might not show.
pub(super) fn states<'a>(paths: impl IntoParallelIterator<Item = &'a Path>) -> Result<Option<String>, Error> {
    let at = now_ns();
    let state = |path: &Path| {
        let meta = std::fs::metadata(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let identity = Identity::of(&meta);
        let mut hasher = blake3::Hasher::new();
        hasher.update(path.as_os_str().as_encoded_bytes()).update(b"\0");
        identity.hash_into(&mut hasher);
        Ok(identity.settled(at).then(|| hasher.finalize()))
    };
    let states: Vec<Option<blake3::Hash>> = paths.into_par_iter().map(state).collect::<Result<Vec<_>, Error>>()?;
    let Some(states) = states.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
    let mut hasher = blake3::Hasher::new();
    states.iter().for_each(|s| {
        hasher.update(s.as_bytes());
    });
    Ok(Some(hasher.finalize().to_hex().to_string()))
}
