//! Text from files, made harmless for a terminal: what would move the cursor, colour, ring, rename the window or turn the
//! direction of writing is shown as an escape instead.

use std::borrow::Cow;

/// The text with every control character but line breaks and tabs written as `\u{1b}`.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if acts(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    }))
}

/// Whether a character does something to a terminal: C0 and C1 controls, and marks that turn the direction of writing.
fn acts(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_acts_on_a_terminal_is_escaped() {
        assert!(matches!(visible("a\tb\nc é 日本"), Cow::Borrowed(_)));
        assert_eq!(visible("\u{1b}]0;title\u{7}"), "\\u{1b}]0;title\\u{7}");
        assert_eq!(visible("a\u{9b}2J\r\u{7f}"), "a\\u{9b}2J\\u{d}\\u{7f}");
        assert_eq!(visible("abc\u{202e}cba"), "abc\\u{202e}cba");
    }
}
