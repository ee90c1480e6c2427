//! `unmute export clips`: which clips train and sound in an experiment, for generators from elsewhere.

use super::use_args::ClipsArgs;
use super::{Exit, Failure, open, print};
use crate::dataset::{Dataset, View};
use crate::experiment::Experiment;
use std::sync::Arc;

pub(super) fn clips(args: &ClipsArgs) -> Result<Exit, Failure> {
    let experiment = Experiment::load(&args.experiment, &args.sets)?;
    let dataset = Arc::new(Dataset::open(&args.dataset)?);
    open::notes(&dataset);
    // Of further axes, the first values, as in tables.
    let streams: Vec<String> = dataset.manifest.streams.iter().map(|s| s.name.clone()).collect();
    let cells = experiment.cells(&streams)?;
    let missing = cells.first().and_then(|cell| cell.config.missing.clone());
    let view = View::new(dataset, missing.as_ref())?;
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["clip", "label", "split", "has_audio"])?;
    let classes = &view.dataset.manifest.classes;
    for (clip, sounded) in view.dataset.clips.iter().zip(&view.sounded) {
        out.write_record([clip.name.as_str(), &classes[clip.label], clip.split.name(), &sounded.to_string()])?;
    }
    let bytes = out.into_inner().map_err(|e| std::io::Error::other(e.to_string()))?;
    print(&String::from_utf8_lossy(&bytes))?;
    Ok(Exit::Done)
}
