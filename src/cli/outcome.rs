//! How a command ends, and how it prints what it has to say.

/// How a command ends; its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done = 0,
    /// 1: something went wrong.
    Failed = 1,
    /// 2: the call makes no sense.
    Usage = 2,
    /// 3: finished, with failed runs or a claim or verification that does not hold.
    NotAll = 3,
    /// 130: stopped by Ctrl-C.
    Interrupted = 130,
}

/// An error that is shown to the user.
pub struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl Failure {
    /// A call that makes no sense.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { exit: Exit::Failed, message: error.to_string() }
    }
}

/// Prints to stdout; a reader that has gone away (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints JSON to stdout.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
