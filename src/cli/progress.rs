//! Progress and messages, on stderr: bars on a terminal, plain lines elsewhere.

use super::visible::visible;
use crate::report::format::duration;
use crate::runs::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

/// One line on stderr. It may name what files of others hold.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(text));
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

/// A bar over so many of something.
pub(super) fn count_bar(what: &str, count: u64) -> ProgressBar {
    let bar = if animated() { ProgressBar::new(count) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_string());
    bar
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

/// What is being worked on.
#[derive(Default)]
struct Shown {
    /// By the name of a run, or of a group that is trained side by side.
    bars: HashMap<String, ProgressBar>,
    /// Groups by their runs, which have no bars of their own.
    groups: HashMap<String, String>,
}

/// Shows the workers' events.
pub(super) struct RunProgress {
    bars: MultiProgress,
    total: ProgressBar,
    shown: Mutex<Shown>,
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
        RunProgress { bars, total, shown: Mutex::default(), count: count as u64, ended: Mutex::new(0) }
    }

    /// Takes one event.
    pub(super) fn event(&self, event: Event) {
        let Ok(mut shown) = self.shown.lock() else { return };
        match event {
            Event::Together { name, runs } => {
                for run in runs {
                    // One that is tried again with fewer may have been in a group before.
                    self.take_away(&mut shown, &run);
                    shown.groups.insert(run, name.clone());
                }
                shown.bars.insert(name.clone(), self.bar(name));
            }
            Event::Started { name, attempt } => {
                if !shown.groups.contains_key(&name) {
                    let again = if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                    let bar = self.bar(format!("{name}{again}"));
                    shown.bars.insert(name, bar);
                }
            }
            Event::Step { name, done, total } => {
                if let Some(bar) = shown.bars.get(&name) {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                }
            }
            Event::Note { name, text } => self.line(&format!("{name}: {text}")),
            Event::Finished { name, top1, seconds } => {
                let top1 = top1.map_or_else(String::new, |t| format!("top-1 {t:.2} %, "));
                self.end(&mut shown, &name, &format!("{name}: {top1}{}", duration(seconds)));
            }
            Event::Divided { name, error } => {
                let of: Vec<String> =
                    shown.groups.iter().filter(|(_, g)| **g == name).map(|(r, _)| r.clone()).collect();
                of.iter().for_each(|run| self.take_away(&mut shown, run));
                let why = error.lines().next().unwrap_or_default();
                self.line(&format!("{name}: failed, trying again with half as many at a time: {why}"));
            }
            Event::Retried { name, error } => {
                self.take_away(&mut shown, &name);
                self.line(&format!("{name}: failed, trying again: {error}"));
            }
            Event::Failed { name, error } => self.end(&mut shown, &name, &format!("{name}: FAILED: {error}")),
            Event::Kept { name, epochs, of } => {
                self.take_away(&mut shown, &name);
                self.line(&match epochs {
                    Some(epochs) => format!("{name}: kept, with {epochs} of {of} epochs behind it"),
                    None => format!("{name}: nothing is kept yet; it begins again"),
                });
            }
            Event::Theirs { name, host, pid } => {
                self.line(&format!("{name}: process {pid} on {host} works on it; waiting"));
            }
        }
    }

    fn bar(&self, message: String) -> ProgressBar {
        let bar = self.bars.insert_before(&self.total, ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("  {msg:36} {bar:20} {percent:>3} %, {per_sec}") {
            bar.set_style(style);
        }
        bar.set_message(message);
        bar
    }

    /// Takes a run's bar off the screen, or its group's with the last of the group.
    fn take_away(&self, shown: &mut Shown, run: &str) {
        let bar = match shown.groups.remove(run) {
            Some(group) if shown.groups.values().any(|g| *g == group) => None,
            Some(group) => shown.bars.remove(&group),
            None => shown.bars.remove(run),
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn end(&self, shown: &mut Shown, name: &str, text: &str) {
        self.take_away(shown, name);
        self.total.inc(1);
        let ended = self.ended.lock().map_or(0, |mut e| {
            *e += 1;
            *e
        });
        self.line(&format!("[{ended}/{}] {text}", self.count));
    }

    fn line(&self, text: &str) {
        if animated() {
            let _ = self.bars.println(visible(text));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(progress: &RunProgress) -> Vec<String> {
        let mut names: Vec<String> = progress.shown.lock().unwrap().bars.keys().cloned().collect();
        names.sort();
        names
    }

    #[test]
    fn a_group_has_one_bar_until_its_last_run_has_ended() {
        let progress = RunProgress::new(4);
        let started = |name: &str| progress.event(Event::Started { name: name.into(), attempt: 1 });
        let finished = |name: &str| progress.event(Event::Finished { name: name.into(), top1: None, seconds: 1.0 });
        let together = |name: &str, runs: &[&str]| {
            progress.event(Event::Together { name: name.into(), runs: runs.iter().map(|r| r.to_string()).collect() });
            runs.iter().for_each(|run| started(run));
        };
        started("alone");
        together("3 cells", &["a", "b", "c"]);
        assert_eq!(bars(&progress), ["3 cells", "alone"]);
        progress.event(Event::Step { name: "3 cells".into(), done: 4, total: 10 });
        assert_eq!(progress.shown.lock().unwrap().bars["3 cells"].position(), 4);
        progress.event(Event::Divided { name: "3 cells".into(), error: "full".into() });
        assert_eq!(bars(&progress), ["alone"]);
        together("2 cells", &["a", "b"]);
        finished("a");
        assert_eq!(bars(&progress), ["2 cells", "alone"]);
        finished("b");
        started("c");
        assert_eq!(bars(&progress), ["alone", "c"]);
        ["c", "alone"].iter().for_each(|run| finished(run));
        assert!(bars(&progress).is_empty());
    }
}
