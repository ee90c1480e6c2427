//! A message about a place in a YAML file, with the line that it is about.

use crate::brief::shortened;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Letters of a message, of a help, and of the line that is shown, at most: what is longer is a value that nobody reads.
pub(crate) const MESSAGE: usize = 400;
const LINE: usize = 120;

/// A message about a place in a YAML file.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The file, or `--set`.
    pub file: PathBuf,
    /// Line, from 1; 0 where no place is known.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, if anything is near.
    pub help: Option<String>,
    excerpt: Option<Box<Excerpt>>,
}

/// The line that a problem is in, or a piece of it, and what is meant in it.
#[derive(Clone, Debug)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    pub(crate) marked: Range<usize>,
}

impl Problem {
    /// A problem with a file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Problem {
        let message = shortened(&message.into(), MESSAGE);
        Problem { file: file.into(), line: 0, column: 0, message, help: None, excerpt: None }
    }

    /// A problem with a part of a file's text, in bytes; of a part that runs over several lines the first is shown.
    pub(super) fn in_text(file: &Path, text: &str, range: Range<usize>, message: impl Into<String>) -> Problem {
        let start = text.floor_char_boundary(range.start.min(text.len()));
        let before = &text[..start];
        let from = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text[from..].lines().next().unwrap_or("");
        let end = text.floor_char_boundary(range.end.clamp(start, text.len()));
        let first = text[start..end].lines().next().unwrap_or("").trim_end().len();
        Problem {
            line: before.matches('\n').count() + 1,
            column: text[from..start].chars().count() + 1,
            excerpt: Some(Box::new(Excerpt::around(line, start - from..start - from + first))),
            ..Problem::of_file(file, message)
        }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(shortened(&help.into(), MESSAGE));
        self
    }

    /// Adds `did you mean ...?` where one of `valid` is near.
    pub fn suggest<S: AsRef<str>>(self, wrong: &str, valid: &[S]) -> Problem {
        let hint = crate::suggest::nearest(wrong, valid);
        match hint.strip_prefix("; ") {
            Some(hint) => self.help(hint),
            None => self,
        }
    }
}

impl std::error::Error for Problem {}

impl std::fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: message`, the line, and the help.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.file.display().to_string();
        if self.line == 0 {
            write!(f, "{path}: {}", self.message)?;
            return self.help.as_ref().map_or(Ok(()), |help| write!(f, "\n  help: {help}"));
        }
        writeln!(f, "{path}:{}:{}: {}", self.line, self.column, self.message)?;
        let Some(excerpt) = self.excerpt.as_deref() else { return Ok(()) };
        let snippet = Snippet::source(&excerpt.text).path(&path).line_start(self.line);
        let snippet = snippet.annotation(AnnotationKind::Primary.span(excerpt.marked.clone()));
        let mut group = Group::with_title(Level::ERROR.primary_title(&self.message)).element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        let drawn = Renderer::plain().render(&[group]);
        let body = drawn.split_once('\n').map_or("", |(_, body)| body);
        // The column is that of the file, also where only a piece of the line is shown.
        let shown = format!("{path}:{}:", self.line);
        let body = body.lines().enumerate().map(|(i, line)| match line.split_once(&shown) {
            Some((arrow, _)) if i == 0 => format!("{arrow}{shown}{}", self.column),
            _ => line.to_string(),
        });
        write!(f, "{}", body.collect::<Vec<_>>().join("\n").trim_end())
    }
}

impl Excerpt {
    /// What is marked of a line, with what fits of the letters around it.
    pub(crate) fn around(line: &str, marked: Range<usize>) -> Excerpt {
        if line.chars().count() <= LINE {
            return Excerpt { text: line.into(), marked };
        }
        let before: String = line[..marked.start].chars().rev().take(LINE / 3).collect();
        let before: String = before.chars().rev().collect();
        let cut = before.len() < marked.start;
        let rest: Vec<char> = line[marked.start..].chars().take(LINE - before.chars().count()).collect();
        let kept: String = rest.iter().collect();
        let open = if cut { "..." } else { "" };
        let start = open.len() + before.len();
        let end = start + kept.len().min(marked.len());
        let close = if marked.start + kept.len() < line.len() { "..." } else { "" };
        Excerpt { text: format!("{open}{before}{kept}{close}"), marked: start..end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_and_what_is_long_is_cut() {
        let text = format!("a: 1\nb: {}wrong{}\nc: 2\n", "x".repeat(100_000), "y".repeat(100_000));
        let at = text.find("wrong").unwrap();
        let p = Problem::in_text(Path::new("f.yaml"), &text, at..at + 5, "m".repeat(100_000)).help("h".repeat(9000));
        let told = p.to_string();
        assert!(told.starts_with("f.yaml:2:100004: mmm") && told.len() < 3000, "{}", told.len());
        assert!(told.contains("xxxwrongyyy") && told.contains("(100000 letters)"), "{told}");
        assert!(told.lines().count() < 12, "{told}");
        let p = Problem::in_text(Path::new("f.yaml"), "é: 1\nö: wrong\n", 10..15, "not so");
        assert_eq!((p.line, p.column), (2, 4), "{p}");
        assert!(p.to_string().contains("2 | ö: wrong"), "{p}");
    }

    #[test]
    fn any_part_of_a_text_can_be_pointed_at() {
        let text = "ä: [1,\n  2]\n\nb: é";
        for start in 0..text.len() + 2 {
            for end in start..text.len() + 2 {
                let _ = Problem::in_text(Path::new("f"), text, start..end, "m").to_string();
            }
        }
    }
}
