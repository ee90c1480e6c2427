//! Shows how extraction goes: a bar on a terminal, a line a minute elsewhere.

use super::progress::{clips_bar, say};
use crate::extract::Event;
use crate::report::format::duration;
use indicatif::ProgressBar;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Seconds between lines where there is no terminal.
const LINE: Duration = Duration::from_secs(60);

pub(super) struct ExtractProgress {
    bar: ProgressBar,
    counts: Mutex<Counts>,
}

struct Counts {
    todo: usize,
    ended: usize,
    failed: usize,
    started: Instant,
    said: Instant,
}

impl ExtractProgress {
    pub(super) fn new() -> ExtractProgress {
        let now = Instant::now();
        let counts = Counts { todo: 0, ended: 0, failed: 0, started: now, said: now };
        ExtractProgress { bar: clips_bar("extracting"), counts: Mutex::new(counts) }
    }

    /// Takes one event.
    pub(super) fn event(&self, event: Event) {
        let Ok(mut counts) = self.counts.lock() else { return };
        match event {
            Event::Start { todo, done } => {
                counts.todo = todo;
                counts.started = Instant::now();
                self.bar.set_length(todo as u64);
                if done > 0 {
                    self.line(&format!("{done} clips are done already, {todo} to do"));
                }
            }
            Event::Done { .. } | Event::Elsewhere { .. } => counts.ended += 1,
            Event::Failed { clip, reason } => {
                counts.ended += 1;
                counts.failed += 1;
                // All of them are told at the end; here, that something is wrong with all is seen at once.
                if counts.failed <= 3 {
                    self.line(&format!("failed: {clip}: {}", reason.lines().next().unwrap_or_default()));
                }
            }
        }
        self.bar.set_position(counts.ended as u64);
        if !std::io::stderr().is_terminal() && counts.said.elapsed() >= LINE && counts.ended > 0 {
            counts.said = Instant::now();
            let passed = counts.started.elapsed().as_secs_f64();
            let rate = counts.ended as f64 / passed;
            let left = (counts.todo.saturating_sub(counts.ended)) as f64 / rate;
            let failed = if counts.failed > 0 { format!(", {} failed", counts.failed) } else { String::new() };
            say(&format!(
                "{} of {} clips{failed}, {:.1} a minute, {} left",
                counts.ended,
                counts.todo,
                rate * 60.0,
                duration(left)
            ));
        }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
