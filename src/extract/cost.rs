//! Processor seconds by stage, so that one sees what extraction spends its time with.

use std::cell::Cell;
use std::sync::Mutex;

/// What the time goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Resizing, cropping, normalising frames.
    Frames,
    /// Optical flow.
    Flow,
    /// Log-mels and filter banks.
    Sound,
    /// The networks.
    Networks,
}

/// Seconds of each stage, of all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Seconds {
    /// ffmpeg.
    pub decoding: f64,
    /// Resizing, cropping, normalising frames.
    pub frames: f64,
    /// Optical flow.
    pub flow: f64,
    /// Log-mels and filter banks.
    pub sound: f64,
    /// The networks.
    pub networks: f64,
    /// Everything: this process and its children.
    pub total: f64,
}

/// Adds up while workers work.
#[derive(Debug, Default)]
pub(super) struct Cost {
    seconds: Mutex<Seconds>,
    children_before: f64,
    total_before: f64,
}

thread_local! {
    /// Seconds that other threads have worked for this one, while it waited.
    static OF_OTHERS: Cell<f64> = const { Cell::new(0.0) };
}

/// The processor time of the calling thread, and of those that worked for it.
pub(super) fn thread() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9 + OF_OTHERS.get()
}

/// Another thread has worked so many seconds for the calling one.
#[cfg_attr(not(any(test, feature = "rten")), expect(dead_code, reason = "a runtime with threads of its own says it"))]
pub(super) fn worked_elsewhere(seconds: f64) {
    OF_OTHERS.set(OF_OTHERS.get() + seconds);
}

/// Processor time of this process, and of its children that have ended.
fn process() -> (f64, f64) {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let own = time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses: fields 3 and on; 16 and 17 are the children's, in ticks of 10 ms.
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    let ticks = fields.get(13).unwrap_or(&0.0) + fields.get(14).unwrap_or(&0.0);
    (own, ticks / 100.0)
}

impl Cost {
    pub(super) fn start() -> Cost {
        let (own, children) = process();
        Cost { seconds: Mutex::default(), children_before: children, total_before: own + children }
    }

    /// Does something and books its time.
    pub(super) fn of<R>(&self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let before = thread();
        let result = work();
        let took = thread() - before;
        let mut seconds = self.seconds.lock().unwrap_or_else(|e| e.into_inner());
        match stage {
            Stage::Frames => seconds.frames += took,
            Stage::Flow => seconds.flow += took,
            Stage::Sound => seconds.sound += took,
            Stage::Networks => seconds.networks += took,
        }
        result
    }

    pub(super) fn seconds(&self) -> Seconds {
        let (own, children) = process();
        let mut seconds = *self.seconds.lock().unwrap_or_else(|e| e.into_inner());
        seconds.decoding = children - self.children_before;
        seconds.total = own + children - self.total_before;
        seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_booked_to_its_stage() {
        let cost = Cost::start();
        let sum = cost.of(Stage::Flow, || (0..5_000_000u64).map(|x| std::hint::black_box(x) ^ 3).sum::<u64>());
        assert!(sum > 0);
        let seconds = cost.seconds();
        assert!(seconds.flow > 0.0 && seconds.sound == 0.0 && seconds.total >= seconds.flow, "{seconds:?}");
    }

    #[test]
    fn what_another_thread_does_for_a_worker_is_the_workers() {
        let cost = Cost::start();
        cost.of(Stage::Networks, || worked_elsewhere(2.0));
        cost.of(Stage::Sound, || ());
        let seconds = cost.seconds();
        assert!((2.0..2.5).contains(&seconds.networks) && seconds.sound < 0.5, "{seconds:?}");
    }
}
