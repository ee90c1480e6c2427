//! How much memory tasks ask for, and what becomes of them in as much as there is.

use crate::dataset::Precision;
use crate::gpu::feature_cache::KeepsFeatures;
use crate::gpu::memory::{Demand, Kept, MemoryPlan, plan};
use crate::train::{Error, Task};

/// Bytes that a plan may count on: free memory, and cached features of earlier trainings, which are evicted.
pub fn free_bytes<E: KeepsFeatures>(api: &E) -> Result<u64, Error> {
    Ok(api.free_bytes()? + api.feature_cache().bytes())
}

/// What becomes of `tasks`, which could be trained side by side, in so much memory: features on the device or streamed, so many
/// cells at a time, a batch in parts; an error where not even one clip of one cell fits.
pub fn side_by_side(tasks: &[Task], free_bytes: u64) -> Result<MemoryPlan, Error> {
    plan(&demand(tasks)?, free_bytes).map_err(Error::Memory)
}

/// What tasks ask of the device.
pub fn demand(tasks: &[Task]) -> Result<Demand, Error> {
    let first = tasks.first().ok_or(Error::Nothing)?;
    let dataset = &first.view.dataset;
    let mut audio: Vec<&str> = tasks.iter().map(|t| t.audio.as_str()).collect();
    audio.sort_unstable();
    audio.dedup();
    let files = dataset.streams.iter().chain(audio.iter().filter_map(|name| dataset.audio(name)));
    let kept = |file: &crate::dataset::Features| Kept {
        name: file.name().into(),
        clips: file.rows() as u64,
        clip_bytes: (file.row_len()
            * match file.precision() {
                Precision::F32 => 4,
                Precision::F16 => 2,
            }) as u64,
    };
    let (mut cell, mut cell_clip, mut targets) = (0, 0, 0);
    for task in tasks {
        let sizes = task.sizes()?;
        let network = task.generator.describe().network(sizes);
        let (parameters, numbers) = (network.count(), network.numbers_of_a_clip());
        // Values, gradients, and two moments.
        cell = cell.max(4 * 4 * parameters);
        cell_clip = cell_clip.max(4 * numbers);
        targets += 4 * sizes.audio;
    }
    let steps = if first.sees_one_frame()? { 1 } else { first.vision.frames() };
    Ok(Demand {
        features: files.map(kept).collect(),
        cells: tasks.len(),
        batch: first.config.train.batch,
        cell_bytes: cell as u64,
        cell_clip_bytes: cell_clip as u64,
        clip_bytes: (4 * steps * first.vision.width() + targets) as u64,
    })
}
