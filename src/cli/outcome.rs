//! How a command ends, and how it prints what it has to say.

use super::visible::visible;

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

/// Prints data to stdout; a reader that has gone away (`| head`) is no error. Only a terminal is spared what would act on it.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        true => print_text(text),
        false => print_bytes(text.as_bytes()),
    }
}

/// Prints what is made for people to read. It may hold names from files of others, so control characters are shown and not
/// sent.
pub(super) fn print_text(text: &str) -> Result<(), Failure> {
    print_bytes(visible(text).as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints JSON to stdout.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    // JSON escapes the first 32 control characters itself.
    let text: String = serde_json::to_string_pretty(value)? + "\n";
    if !text.chars().any(|c| ('\u{7f}'..='\u{9f}').contains(&c)) {
        return print_bytes(text.as_bytes());
    }
    let escaped = text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '\u{7f}'..='\u{9f}' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
        out
    });
    print_bytes(escaped.as_bytes())
}
