//! Lists, mappings and quoted texts that are never closed. The reader notices where something comes that does not belong
//! there, lines later; what is to be mended is where they begin.

use saphyr_parser::{Event, Parser};

/// Where what is not closed begins, in bytes, and what to say of it: of broken YAML that a reader gave up on at `noticed`,
/// with these words of its. `None` where nothing is left open.
pub(super) fn unclosed(text: &str, noticed: usize, told: &str) -> Option<(usize, String)> {
    let opened = begin_of(text, told).or_else(|| told.contains("node content").then(|| innermost(text)).flatten())?;
    let (what, close) = match text.get(opened..)?.chars().next()? {
        '[' => ("list", "]"),
        '{' => ("mapping", "}"),
        '"' => ("text", "\""),
        '\'' => ("text", "'"),
        _ => return None,
    };
    if text.get(noticed..)?.trim().is_empty() {
        return Some((opened, format!("this {what} is not closed: the file ends without its {close}")));
    }
    // What is in a list stands further to the right than the key of the list: other lines are not part of it. On its own line,
    // or in one that may be part of it, the mistake may be what was noticed.
    let line = |at: usize| text[..at].rfind('\n').map_or(0, |end| end + 1);
    let indent = |from: usize| text[from..].len() - text[from..].trim_start_matches(' ').len();
    let (first, later) = (line(opened), line(noticed));
    if later == first || indent(later) > indent(first) {
        return None;
    }
    let number = text[..noticed].matches('\n').count() + 1;
    Some((opened, format!("this {what} is not closed: line {number} comes before its {close}")))
}

/// The beginning of what the reader was in, in bytes; it tells its line and column.
fn begin_of(text: &str, told: &str) -> Option<usize> {
    const WITHIN: [&str; 3] =
        ["while parsing a flow sequence", "while parsing a flow mapping", "while scanning a quoted scalar"];
    let within = WITHIN.iter().find_map(|words| told.split_once(words))?.1;
    // Of what begins with the file, no place is told.
    let Some((line, column)) = within.strip_prefix(" at line ").and_then(|rest| rest.split_once(" column ")) else {
        return Some(0);
    };
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let from: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let letters = text.get(from..)?.char_indices().map(|(at, _)| from + at);
    letters.chain([text.len()]).nth(column.checked_sub(1)?)
}

/// The innermost list or mapping in brackets that is open where the text can be read no further.
fn innermost(text: &str) -> Option<usize> {
    let at = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    let mut open: Vec<usize> = Vec::new();
    for event in Parser::new_from_str(text) {
        match event {
            Ok((Event::MappingStart(..) | Event::SequenceStart(..), span)) => open.push(span.start.index()),
            Ok((Event::MappingEnd | Event::SequenceEnd, _)) => drop(open.pop()),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    open.into_iter().rev().map(at).find(|at| text[*at..].starts_with(['[', '{']))
}

#[cfg(test)]
mod tests {
    use crate::experiment::yaml::Document;
    use std::path::Path;

    fn told(text: &str) -> (usize, usize, String) {
        let p = Document::parse(Path::new("f.yaml"), text).unwrap_err();
        (p.line, p.column, p.message)
    }

    #[test]
    fn what_is_not_closed_is_told_where_it_begins() {
        for (text, place, words) in [
            ("a: 1\nb: [1, 2\nc: 3\n", (2, 4), "this list is not closed: line 3 comes before its ]"),
            ("a: 1\nö: [1, 2\n", (2, 4), "this list is not closed: the file ends without its ]"),
            ("a: 1\nb: [1, 2,\n", (2, 4), "this list is not closed: the file ends without its ]"),
            ("a: [[1], [2, 3]\n", (1, 4), "this list is not closed: the file ends without its ]"),
            ("a: {x: [1, 2}\n", (1, 13), "did not find expected ',' or ']'"),
            ("a: {x: 1\nb:\n  c: 2\n", (1, 4), "this mapping is not closed: line 2 comes before its }"),
            ("a:\n  b: {x: 1,\n", (2, 6), "this mapping is not closed: the file ends without its }"),
            ("a: 1\nb: \"two\nc: 3\n", (2, 4), "this text is not closed: the file ends without its \""),
            ("a: 1\nb: 'it\n", (2, 4), "this text is not closed: the file ends without its '"),
            ("[1, 2\n", (1, 1), "this list is not closed: the file ends without its ]"),
        ] {
            let (line, column, message) = told(text);
            assert_eq!(((line, column), message.as_str()), (place, words), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_inside_of_a_list_is_told_there() {
        let (line, column, _) = told("a: [1,\n  \"b\" \"c\",\n  3]\n");
        assert_eq!((line, column), (2, 7));
        assert_eq!(told("a: [\"b\" \"c\"]\n").1, 9);
    }
}
