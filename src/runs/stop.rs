//! How a process that was asked to stop ends its work: at the end of an epoch, where the time that it is given reaches so far.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Whether somebody asked for the end, and how long that may take.
#[derive(Debug, Default)]
pub struct Stop(OnceLock<Asked>);

#[derive(Debug)]
struct Asked {
    at: Instant,
    grace: Duration,
}

impl Stop {
    /// Nobody has asked.
    pub const fn new() -> Stop {
        Stop(OnceLock::new())
    }

    /// Asks for the end, with so much time to keep what there is; whether it is the first to ask.
    pub fn ask(&self, grace: Duration) -> bool {
        self.0.set(Asked { at: Instant::now(), grace }).is_ok()
    }

    /// Whether somebody has asked: nothing new is begun, and what is under way ends where it can go on later.
    pub fn is_asked(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether the time is over: what is under way is left, wherever it is.
    pub fn is_over(&self) -> bool {
        self.0.get().is_some_and(|asked| asked.at.elapsed() >= asked.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_is_heard_and_its_time_passes() {
        let stop = Stop::new();
        assert!(!stop.is_asked() && !stop.is_over());
        assert!(stop.ask(Duration::from_secs(3600)) && !stop.ask(Duration::ZERO));
        assert!(stop.is_asked() && !stop.is_over());
        let at_once = Stop::new();
        at_once.ask(Duration::ZERO);
        assert!(at_once.is_over());
    }
}
