//! What fits into a GPU's memory: which features stay there, how many cells are trained side by side, and how much of a
//! batch is worked on at once.
//!
//! A batch is never made smaller, because that would train another network: it is worked on in parts whose gradients add
//! up. What had to give way is said in words.

/// Features that a training gathers batches from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// A stream's name, or an audio feature's.
    pub name: String,
    /// Its clips.
    pub clips: u64,
    /// Bytes of one clip, as they lie on disk: f16 stays f16.
    pub clip_bytes: u64,
}

impl Kept {
    fn bytes(&self) -> u64 {
        self.clips * self.clip_bytes
    }
}

/// What a training asks for, in bytes on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Features of all clips.
    pub features: Vec<Kept>,
    /// Cells that could be trained side by side.
    pub cells: usize,
    /// Clips in a batch.
    pub batch: usize,
    /// One cell's parameters, gradients and moments.
    pub cell_bytes: u64,
    /// One clip of a batch in one cell: activations and their gradients.
    pub cell_clip_bytes: u64,
    /// One clip of a batch that all cells share: its standardised input and target.
    pub clip_bytes: u64,
}

impl Demand {
    /// Training `cells` cells on `part` clips at once.
    fn working(&self, cells: usize, part: usize) -> u64 {
        let (cells, part) = (cells as u64, part as u64);
        cells * self.cell_bytes + part * (self.clip_bytes + cells * self.cell_clip_bytes)
    }
}

/// Where features are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Features {
    /// On the device, all of them.
    Resident,
    /// On the host; blocks of so many clips pass through pinned memory, one worked on while the next comes.
    Streamed {
        /// Clips in a block, at least a batch.
        block: usize,
    },
}

/// What is done with the memory that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Where features are.
    pub features: Features,
    /// Cells trained side by side.
    pub cells: usize,
    /// Clips of a batch worked on at once; all of it, or parts whose gradients are added up.
    pub part: usize,
    /// What a user should know: what stays where, and what had to give way.
    pub words: Vec<String>,
}

/// `79.1 GiB`, or where that would say nothing, `20.3 MiB`.
pub fn gib(bytes: u64) -> String {
    let mib = bytes as f64 / (1u64 << 20) as f64;
    if mib < 100.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// Memory that is left alone, of 16 parts: what libraries take for themselves, and what is lost between allocations.
const SPARE: u64 = 2;

/// The part of `free` bytes that may be used.
pub(super) fn budget(free: u64) -> u64 {
    free / 16 * (16 - SPARE)
}

/// Plans for `free` bytes. Features have the first claim where one cell can be trained beside them: reading them again and
/// again from the host costs more than training cells one after another. An error says what was asked for and what to do.
pub fn plan(demand: &Demand, free: u64) -> Result<MemoryPlan, String> {
    let budget = budget(free);
    let (wanted, batch) = (demand.cells.max(1), demand.batch.max(1));
    let resident: u64 = demand.features.iter().map(Kept::bytes).sum();
    let clip: u64 = demand.features.iter().map(|f| f.clip_bytes).sum();
    let stays = resident + demand.working(1, batch) <= budget;
    // Two blocks of at least a batch each.
    let features = if stays { resident } else { 2 * clip * batch as u64 };
    let room = budget.saturating_sub(features);
    let cells = (1..=wanted).rev().find(|&cells| demand.working(cells, batch) <= room);
    // Halves, so that parts are of equal size and few sizes are met.
    let halves = || std::iter::successors(Some(batch), |&part| (part > 1).then(|| part.div_ceil(2)));
    let (cells, part) = match cells {
        Some(cells) => (cells, batch),
        None => match halves().find(|&part| demand.working(1, part) <= room) {
            Some(part) => (1, part),
            None => {
                return Err(format!(
                    "one clip of one cell needs {}, and {} of GPU memory are free\n  next: end what else runs on the GPU, make the network smaller, or use --device cpu",
                    gib(features + demand.working(1, 1)),
                    gib(free)
                ));
            }
        },
    };
    let features = if stays {
        Features::Resident
    } else {
        let each = (budget - demand.working(cells, part)) / 2 / clip.max(1);
        let most = demand.features.iter().map(|f| f.clips).max().unwrap_or(0);
        Features::Streamed { block: each.min(most) as usize }
    };
    let words = words(demand, free, &features, cells, part, resident);
    Ok(MemoryPlan { features, cells, part, words })
}

fn words(d: &Demand, free: u64, features: &Features, cells: usize, part: usize, resident: u64) -> Vec<String> {
    let names: Vec<&str> = d.features.iter().map(|f| f.name.as_str()).collect();
    let names = names.join(", ");
    let mut words = vec![match features {
        Features::Resident => format!("{names} stay on the GPU ({} of {} free)", gib(resident), gib(free)),
        Features::Streamed { block } => format!(
            "{names} take {} and {} of GPU memory are free: they are streamed in blocks of {block} clips",
            gib(resident),
            gib(free)
        ),
    }];
    if cells < d.cells {
        words.push(format!("{cells} of {} cells at a time: more do not fit beside the features", d.cells));
    }
    if part < d.batch {
        words.push(format!(
            "a batch of {} clips is worked on in parts of {part}, whose gradients are added up",
            d.batch
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// The paper's size: 55,196 clips of 18 frames, 2048 numbers in f16; 16 LSTMs of 512.
    fn paper() -> Demand {
        let (steps, hidden, input) = (18u64, 512u64, 2048u64);
        Demand {
            features: vec![
                Kept { name: "rgb".into(), clips: 55_196, clip_bytes: steps * 1024 * 2 },
                Kept { name: "flow".into(), clips: 55_196, clip_bytes: steps * 1024 * 2 },
            ],
            cells: 8,
            batch: 128,
            cell_bytes: 16 * ((input + hidden) * 4 * hidden),
            cell_clip_bytes: 4 * steps * 7 * hidden,
            clip_bytes: 4 * steps * input,
        }
    }

    #[test]
    fn a_large_gpu_keeps_everything_and_says_so() {
        let plan = plan(&paper(), 140 * GIB).unwrap();
        assert_eq!((plan.features, plan.cells, plan.part), (Features::Resident, 8, 128));
        assert_eq!(plan.words, ["rgb, flow stay on the GPU (3.8 GiB of 140.0 GiB free)"]);
    }

    #[test]
    fn cells_give_way_before_resident_features() {
        let plan = plan(&paper(), 5 * GIB).unwrap();
        assert_eq!((plan.features, plan.part), (Features::Resident, 128));
        assert!(plan.cells < 8 && plan.cells >= 1, "{plan:?}");
        assert!(plan.words[1].starts_with(&format!("{} of 8 cells at a time", plan.cells)), "{:?}", plan.words);
    }

    #[test]
    fn features_that_do_not_fit_are_streamed_in_blocks_of_a_batch_or_more() {
        let plan = plan(&paper(), 3 * GIB).unwrap();
        let Features::Streamed { block } = plan.features else { panic!("{plan:?}") };
        assert!((128..55_196).contains(&block) && plan.part == 128 && plan.cells == 8, "{plan:?}");
        assert!(plan.words[0].contains("streamed in blocks of"), "{:?}", plan.words);
    }

    #[test]
    fn a_batch_that_does_not_fit_is_divided_and_not_made_smaller() {
        let mut demand = paper();
        demand.batch = 1000;
        demand.cell_clip_bytes *= 8;
        let plan = plan(&demand, GIB).unwrap();
        assert_eq!(plan.cells, 1);
        assert!(plan.part < 1000 && plan.part > 1, "{plan:?}");
        assert!(plan.words.iter().any(|w| w.contains(&format!("parts of {}", plan.part))), "{:?}", plan.words);
        let message = super::plan(&demand, 50 << 20).unwrap_err();
        assert!(message.contains("one clip of one cell needs") && message.contains("next:"), "{message}");
    }

    #[test]
    fn a_plan_fits_whatever_the_memory() {
        let demand = paper();
        let mut before = (0, 0);
        for free in (1..400).map(|n| n * (GIB / 20)) {
            let Ok(plan) = plan(&demand, free) else { continue };
            let kept = match plan.features {
                Features::Resident => demand.features.iter().map(Kept::bytes).sum(),
                Features::Streamed { block } => {
                    assert!(block >= demand.batch);
                    2 * block as u64 * demand.features.iter().map(|f| f.clip_bytes).sum::<u64>()
                }
            };
            assert!(kept + demand.working(plan.cells, plan.part) <= free, "{free}: {plan:?}");
            assert!(plan.cells >= 1 && plan.cells <= 8 && plan.part >= 1 && plan.part <= 128);
            let now = (usize::from(plan.features == Features::Resident), plan.cells * plan.part);
            assert!(now >= before, "more memory, less of it used: {now:?} after {before:?}");
            before = now;
        }
        assert_eq!(before, (1, 8 * 128));
    }
}
