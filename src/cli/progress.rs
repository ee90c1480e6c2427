//! Progress and messages, on stderr: bars on a terminal, plain lines elsewhere.

use crate::report::format::duration;
use crate::runs::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

/// One line on stderr.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn animated() -> bool {
    std::io::stderr().is_terminal()
}

/// A spinner that vanishes when dropped.
pub(super) struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Shows that something takes a while.
pub(super) fn spinner(message: &str) -> Spinner {
    let bar = if animated() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_message(message.to_string());
    if animated() {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    Spinner(bar)
}

/// A bar over clips.
pub(super) fn clips_bar(what: &str) -> ProgressBar {
    let bar = if animated() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len} clips, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(what.to_string());
    bar
}

/// Shows the workers' events.
pub(super) struct RunProgress {
    bars: MultiProgress,
    total: ProgressBar,
    runs: Mutex<HashMap<String, ProgressBar>>,
    count: u64,
    ended: Mutex<u64>,
}

impl RunProgress {
    /// For so many runs.
    pub(super) fn new(count: usize) -> RunProgress {
        let target = if animated() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let total = bars.add(ProgressBar::new(count as u64));
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} runs, {elapsed} elapsed, {eta} left") {
            total.set_style(style);
        }
        if animated() {
            total.enable_steady_tick(Duration::from_millis(500));
        }
        RunProgress { bars, total, runs: Mutex::default(), count: count as u64, ended: Mutex::new(0) }
    }

    /// Takes one event.
    pub(super) fn event(&self, event: Event) {
        let Ok(mut runs) = self.runs.lock() else { return };
        match event {
            Event::Started { name, attempt } => {
                let bar = self.bars.insert_before(&self.total, ProgressBar::new(0));
                if let Ok(style) = ProgressStyle::with_template("  {msg:36} {bar:20} {percent:>3} %, {per_sec}") {
                    bar.set_style(style);
                }
                let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                bar.set_message(format!("{name}{again}"));
                runs.insert(name, bar);
            }
            Event::Step { name, done, total } => {
                if let Some(bar) = runs.get(&name) {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                }
            }
            Event::Finished { name, top1, seconds } => {
                let top1 = top1.map_or_else(String::new, |t| format!("top-1 {t:.2} %, "));
                self.end(&mut runs, &name, &format!("{name}: {top1}{}", duration(seconds)));
            }
            Event::Retried { name, error } => {
                if let Some(bar) = runs.remove(&name) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                self.line(&format!("{name}: failed, trying again: {error}"));
            }
            Event::Failed { name, error } => self.end(&mut runs, &name, &format!("{name}: FAILED: {error}")),
            Event::Theirs { name, host, pid } => {
                self.line(&format!("{name}: process {pid} on {host} works on it; waiting"));
            }
        }
    }

    fn end(&self, runs: &mut HashMap<String, ProgressBar>, name: &str, text: &str) {
        if let Some(bar) = runs.remove(name) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        self.total.inc(1);
        let ended = self.ended.lock().map_or(0, |mut e| {
            *e += 1;
            *e
        });
        self.line(&format!("[{ended}/{}] {text}", self.count));
    }

    fn line(&self, text: &str) {
        if animated() {
            let _ = self.bars.println(text);
        } else {
            say(text);
        }
    }

    /// Takes the bars off the screen.
    pub(super) fn finish(&self) {
        self.total.finish_and_clear();
        let _ = self.bars.clear();
    }
}
