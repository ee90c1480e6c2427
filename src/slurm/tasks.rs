//! Runs put into tasks, the longest first, by costs that no clock measures: the same plan gives the same tasks.

use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A run that is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Cell and seed.
    pub name: String,
    /// Operations.
    pub cost: f64,
    /// Seconds that these should take.
    pub seconds: f64,
    /// Runs of one number stay in one task: a GPU trains them side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<usize>,
}

/// How many tasks, or how long one should take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// So many; fewer where there are fewer runs.
    Tasks(usize),
    /// As many as it takes for each to last about so long.
    Minutes(f64),
}

/// What one job of an array does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Ids, the longest run first.
    pub runs: Vec<String>,
    /// Operations of all.
    pub cost: f64,
    /// Seconds that these should take, one run after the other.
    pub seconds: f64,
}

/// `tasks.json`: what each job of a round's array does. It is written once, and a job that is requeued does the same again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// The round, from 1.
    pub round: usize,
    /// By the index of the array, the longest first.
    pub tasks: Vec<Task>,
}

/// Runs that stay in one task.
type Block = Vec<Item>;

fn seconds(block: &[Item]) -> f64 {
    block.iter().map(|item| item.seconds).sum()
}

/// Puts runs into tasks: each, or those that are to stay together, the longest first, into the task that has least to do.
/// Tasks come the longest first too, since Slurm starts an array in the order of its indices.
pub fn tasks(items: Vec<Item>, size: Size) -> Vec<Task> {
    let blocks = blocks(items);
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut count = match size {
        Size::Tasks(count) => count.clamp(1, blocks.len()),
        Size::Minutes(minutes) => {
            let whole: f64 = blocks.iter().map(|block| seconds(block)).sum();
            ((whole / (60.0 * minutes)).ceil() as usize).clamp(1, blocks.len())
        }
    };
    loop {
        let tasks = fill(&blocks, count);
        let too_long = |task: &Task| match size {
            Size::Tasks(_) => false,
            Size::Minutes(minutes) => task.runs.len() > 1 && task.seconds > 60.0 * minutes,
        };
        if count == blocks.len() || !tasks.iter().any(too_long) {
            return tasks;
        }
        count = (count + count.div_ceil(20)).min(blocks.len());
    }
}

/// The longest first, and in each the longest run.
fn blocks(items: Vec<Item>) -> Vec<Block> {
    let mut together: BTreeMap<usize, Block> = BTreeMap::new();
    let mut blocks: Vec<Block> = Vec::new();
    for item in items {
        match item.together {
            Some(number) => together.entry(number).or_default().push(item),
            None => blocks.push(vec![item]),
        }
    }
    blocks.extend(together.into_values());
    for block in &mut blocks {
        block.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.id.cmp(&b.id)));
    }
    blocks.sort_by(|a, b| seconds(b).total_cmp(&seconds(a)).then_with(|| a[0].id.cmp(&b[0].id)));
    blocks
}

fn fill(blocks: &[Block], count: usize) -> Vec<Task> {
    let mut tasks = vec![Task::default(); count];
    // Nanoseconds, so that loads have an order; of equal ones the first task.
    let mut least: BinaryHeap<Reverse<(u64, usize)>> = (0..count).map(|task| Reverse((0, task))).collect();
    for block in blocks {
        let Some(Reverse((load, at))) = least.pop() else { break };
        for item in block {
            tasks[at].runs.push(item.id.clone());
            tasks[at].cost += item.cost;
            tasks[at].seconds += item.seconds;
        }
        least.push(Reverse((load.saturating_add((seconds(block) * 1e9) as u64), at)));
    }
    tasks.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.runs.cmp(&b.runs)));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(seconds: &[f64]) -> Vec<Item> {
        let item = |(i, s): (usize, &f64)| Item {
            id: format!("{i:03}"),
            name: String::new(),
            cost: *s,
            seconds: *s,
            together: None,
        };
        seconds.iter().enumerate().map(item).collect()
    }

    fn loads(tasks: &[Task]) -> Vec<f64> {
        tasks.iter().map(|task| task.seconds).collect()
    }

    #[test]
    fn the_longest_come_first_and_loads_are_even() {
        let all = tasks(items(&[1.0, 5.0, 2.0, 4.0, 3.0, 3.0]), Size::Tasks(3));
        assert_eq!(loads(&all), [6.0, 6.0, 6.0]);
        assert_eq!(all[0].runs, ["001", "000"], "the longest run first");
        assert_eq!(loads(&tasks(items(&[9.0, 1.0, 1.0]), Size::Tasks(2))), [9.0, 2.0]);
        assert_eq!(tasks(items(&[1.0, 1.0]), Size::Tasks(9)).len(), 2);
        assert_eq!(tasks(items(&[1.0, 1.0]), Size::Tasks(0)).len(), 1);
        assert!(tasks(Vec::new(), Size::Tasks(4)).is_empty());
        assert_eq!(tasks(items(&[1.0; 8]), Size::Tasks(3)), tasks(items(&[1.0; 8]), Size::Tasks(3)));
    }

    #[test]
    fn what_a_gpu_trains_side_by_side_stays_in_one_task() {
        let mut all = items(&[4.0, 1.0, 1.0, 3.0, 3.0]);
        for (item, together) in all.iter_mut().zip([None, Some(1), Some(1), Some(0), Some(0)]) {
            item.together = together;
        }
        let tasks = tasks(all, Size::Tasks(2));
        assert_eq!(tasks[0].runs, ["000", "001", "002"]);
        assert_eq!(tasks[1].runs, ["003", "004"]);
    }

    #[test]
    fn a_time_for_each_task_is_kept_unless_one_run_takes_longer() {
        let all = tasks(items(&[50.0; 13]), Size::Minutes(2.0));
        assert!(loads(&all).iter().all(|s| *s <= 120.0) && all.len() == 7, "{:?}", loads(&all));
        let all = tasks(items(&[500.0, 30.0, 30.0]), Size::Minutes(1.0));
        assert_eq!(all[0].runs.len(), 1);
        assert!(all[1..].iter().all(|t| t.seconds <= 60.0));
        let tiny = tasks(items(&[0.1; 100]), Size::Minutes(30.0));
        assert_eq!(tiny.len(), 1);
        let every: usize = tasks(items(&[70.0; 40]), Size::Minutes(1.0)).iter().map(|t| t.runs.len()).sum();
        assert_eq!(every, 40);
    }

    #[test]
    fn ten_thousand_runs_are_put_into_tasks_without_delay() {
        let seconds: Vec<f64> = (0..10_000).map(|i| 60.0 + f64::from(i % 977)).collect();
        let all = tasks(items(&seconds), Size::Minutes(30.0));
        let (longest, shortest) = (all[0].seconds, all[all.len() - 1].seconds);
        assert!(longest <= 1800.0 && shortest > 0.5 * longest, "{longest} {shortest}");
    }
}
