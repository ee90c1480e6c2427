//! `unmute export store`: a copy of the store in one file, with or without the weights.

use super::progress::say;
use super::use_args::StoreCopyArgs;
use super::{Exit, Failure, open};
use crate::report::format::bytes;
use crate::runs::weights;
use crate::store::Store;

pub(super) fn copy(args: &StoreCopyArgs) -> Result<Exit, Failure> {
    if args.out.exists() {
        return Err(Failure::usage(format!("{}: is there already\n  next: name a new file", args.out.display())));
    }
    // A mistyped name should not leave an empty store behind.
    drop(open::store(&args.db.db)?);
    let store = open::writable(&args.db.db)?;
    let parent = args.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    std::fs::create_dir_all(parent)?;
    let folder = tempfile::Builder::new().prefix(".unmute-").suffix(".part").tempdir_in(parent)?;
    let part = folder.path().join("copy.db");
    store.copy_to(&part)?;
    let (mut inside, mut lost) = (0, Vec::new());
    if args.with_weights {
        let copy = Store::open(&part)?;
        for kept in store.all_weights()? {
            match weights::bytes(&store, &kept)? {
                Some(file) => {
                    copy.put_weights_inside(&kept.hash, &file)?;
                    inside += 1;
                }
                None => lost.push(kept),
            }
        }
        // Closing folds the log into the file.
        drop(copy);
    }
    std::fs::rename(&part, &args.out)?;
    let size = args.out.metadata().map_or(0, |m| m.len());
    let with = if args.with_weights { format!(", with the weights of {inside} runs") } else { String::new() };
    say(&format!("{}: {}{with}", args.out.display(), bytes(size)));
    if !lost.is_empty() {
        say(&format!(
            "note: the weights of {} runs are not in {} any more: {}",
            lost.len(),
            weights::folder(store.path()).display(),
            lost.iter().take(5).map(|k| open::short(&k.run)).collect::<Vec<_>>().join(", ")
        ));
        return Ok(Exit::NotAll);
    }
    Ok(Exit::Done)
}
