//! Progress and messages, on stderr: bars on a terminal, plain lines elsewhere.

use super::Failure;
use super::shared_args::TellArgs;
use super::time_left::TimeLeft;
use super::visible::visible;
use crate::report::format::duration;
use crate::runs::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether only what went wrong is said.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Where every line is written as well.
static LOG: Mutex<Option<File>> = Mutex::new(None);

/// Bars that are on the screen: a line that is said meanwhile stands above them, and is not overwritten.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Sets how much is said, and where else.
pub(super) fn set_up(tell: &TellArgs) -> Result<(), Failure> {
    QUIET.store(tell.quiet, Ordering::Relaxed);
    if let Some(path) = &tell.log {
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|e| Failure::usage(format!("--log {}: {}", path.display(), crate::explain_io(&e))))?;
        if let Ok(mut log) = LOG.lock() {
            *log = Some(file);
        }
    }
    Ok(())
}

/// One line on stderr. It may name what files of others hold.
pub(super) fn say(text: &str) {
    tell(text, false);
}

/// One line on stderr that is said even to those who want to hear of nothing but what went wrong.
pub(super) fn insist(text: &str) {
    tell(text, true);
}

fn tell(text: &str, always: bool) {
    let shown = visible(text);
    if let Ok(mut log) = LOG.lock()
        && let Some(file) = &mut *log
    {
        let at = crate::store::now();
        for line in shown.lines().filter(|line| !line.trim().is_empty()) {
            // A log that cannot be written to is no reason to stop.
            let _ = writeln!(file, "{at} {line}");
        }
    }
    if QUIET.load(Ordering::Relaxed) && !always {
        return;
    }
    let write = || drop(writeln!(std::io::stderr().lock(), "{shown}"));
    let bars = BARS.lock().ok().and_then(|bars| bars.clone());
    match bars {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

fn animated() -> bool {
    !QUIET.load(Ordering::Relaxed) && std::io::stderr().is_terminal()
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
    time: Mutex<TimeLeft>,
    began: Instant,
}

impl RunProgress {
    /// For so many runs, with the work of each where it is known.
    pub(super) fn new(count: usize, work: HashMap<String, f64>) -> RunProgress {
        let target = if animated() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let total = bars.add(ProgressBar::new(count as u64));
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} runs, {elapsed} elapsed{msg}") {
            total.set_style(style);
        }
        if animated() {
            total.enable_steady_tick(Duration::from_millis(500));
            if let Ok(mut shown) = BARS.lock() {
                *shown = Some(bars.clone());
            }
        }
        RunProgress {
            bars,
            total,
            shown: Mutex::default(),
            count: count as u64,
            ended: Mutex::new(0),
            time: Mutex::new(TimeLeft::new(work)),
            began: Instant::now(),
        }
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
                    // What a checkpoint held was not done just now.
                    if bar.length() != Some(total as u64) {
                        bar.set_length(total as u64);
                        bar.set_position(done as u64);
                        bar.reset_eta();
                    }
                    bar.set_position(done as u64);
                }
                let of_group: Vec<&String> =
                    shown.groups.iter().filter(|(_, group)| **group == name).map(|(run, _)| run).collect();
                if let Ok(mut time) = self.time.lock() {
                    match of_group.is_empty() {
                        true => time.step(&name, done, total),
                        false => of_group.iter().for_each(|run| time.step(run, done, total)),
                    }
                }
                self.tell_left();
            }
            Event::Note { name, text } => self.line(&format!("{name}: {text}")),
            Event::Finished { name, top1, seconds } => {
                let top1 = top1.map_or_else(String::new, |t| format!("top-1 {t:.2} %, "));
                let text = self.end(&mut shown, &name, &format!("{name}: {top1}{}", duration(seconds)));
                self.line(&text);
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
            Event::Failed { name, error } => {
                let text = self.end(&mut shown, &name, &format!("{name}: FAILED: {error}"));
                insist(&text);
            }
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
        // The name takes what the terminal leaves, so that all else stands in columns at any width.
        if let Ok(style) = ProgressStyle::with_template("  {wide_msg} {bar:12} {percent:>3} % {rate:>14}") {
            let rate = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{:.0} steps/s", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
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

    /// Counts a run as ended; gives its line.
    fn end(&self, shown: &mut Shown, name: &str, text: &str) -> String {
        self.take_away(shown, name);
        self.total.inc(1);
        if let Ok(mut time) = self.time.lock() {
            time.ended(name);
        }
        self.tell_left();
        let ended = self.ended.lock().map_or(0, |mut e| {
            *e += 1;
            *e
        });
        format!("[{ended}/{}] {text}", self.count)
    }

    /// Beside the bar of all: how long the rest may take.
    fn tell_left(&self) {
        let left = self.time.lock().ok().and_then(|time| time.left(self.began.elapsed().as_secs_f64()));
        self.total.set_message(left.map_or_else(String::new, |left| format!(", about {} left", duration(left))));
    }

    fn line(&self, text: &str) {
        say(text);
    }

    /// Takes the bars off the screen.
    pub(super) fn finish(&self) {
        if let Ok(mut shown) = BARS.lock() {
            *shown = None;
        }
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
        let progress = RunProgress::new(4, HashMap::new());
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
