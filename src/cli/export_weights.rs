//! `unmute export weights`: what a run trained, for other programs.

use super::progress::say;
use super::use_args::{WeightsArgs, WeightsFormat};
use super::{Exit, Failure, open, used};
use crate::runs::portable::state_dict::state_dict;
use crate::runs::portable::{Portable, npz, onnx};
use crate::runs::{trained, weights};
use serde_json::json;
use std::collections::HashMap;

pub(super) fn weights(args: &WeightsArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let run = used::finished(open::run(&store, &args.run)?)?;
    let (portable, description) = match run.kind.as_str() {
        "bank" => {
            let classes = store.dataset(store.view(run.view_id)?.dataset_id)?.manifest.classes;
            let bank = trained::bank_of(&store, &run)?;
            let description = json!({
                "run": run.id, "cell": run.key, "part": run.spec["part"], "svm": run.spec["svm"], "classes": classes,
            });
            (Portable::Bank(Box::new(bank), description.to_string()), description.to_string())
        }
        "generator" | "stream" => {
            let weights = weights::read(&store, &run)?;
            let description = serde_json::to_string(&weights.description)?;
            (Portable::Network(weights), description)
        }
        _ => {
            return Err(Failure::usage(format!(
                "run {} ({}) is a control, which trains nothing\n  next: `unmute ls --where kind=generator` lists generators",
                open::short(&run.id),
                run.key
            )));
        }
    };
    let bytes = match args.format {
        WeightsFormat::Safetensors => {
            weights::safetensors(&state_dict(&portable)?, HashMap::from([("unmute".to_string(), description)]))?
        }
        WeightsFormat::TorchNpz => {
            let arrays = state_dict(&portable)?;
            let mut files: Vec<(String, Vec<u8>)> =
                arrays.iter().map(|t| (format!("{}.npy", t.name), used::npy(&t.values, &t.shape))).collect();
            files.push(("unmute.json".into(), description.into_bytes()));
            let too_large = || Failure::usage("--format torch-npz: more than 4 GiB\n  next: --format safetensors");
            npz::zip(&files).ok_or_else(too_large)?
        }
        WeightsFormat::Onnx => onnx::onnx(&portable)?,
    };
    used::write_file(&args.out, &bytes)?;
    let size = crate::report::format::bytes(bytes.len() as u64);
    say(&format!("{}: {} (run {}), {size}", args.out.display(), run.key, open::short(&run.id)));
    Ok(Exit::Done)
}
