//! How large a YAML file may be, asked before anything is made of it.
//!
//! The reader behind serde_yaml looks at every open bracket for every token, so that brackets within brackets take quadratic
//! time, and an alias of an alias of an alias takes memory that the file does not show. Here a file is gone through once,
//! token by token, and left at the first limit that it passes.

use saphyr_parser::{Event, Parser, Span};
use std::collections::HashMap;

/// Bytes of a file.
pub(super) const BYTES: u64 = 1 << 20;
/// Lists and mappings within each other; an experiment has four.
const DEPTH: usize = 32;
/// Keys and values, those that aliases repeat counted each time.
const NODES: usize = 100_000;
/// Letters of a key with all keys above it.
const PATH: usize = 500;

/// The first limit that a text passes: where, in bytes, and what is too much. Broken YAML passes none; it is told elsewhere.
pub(super) fn passed(text: &str) -> Option<(usize, String)> {
    /// A list or mapping that is being read.
    struct Open {
        anchor: usize,
        /// Nodes before it.
        before: usize,
        map: bool,
        key_next: bool,
        /// Letters of the path to it, and of the key that is open in it.
        path: usize,
        key: usize,
    }
    let mut open: Vec<Open> = Vec::new();
    let mut nodes = 0usize;
    let mut sizes: HashMap<usize, usize> = HashMap::new();
    let at = |span: Span| text.char_indices().nth(span.start.index()).map_or(text.len(), |(at, _)| at);
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { return too_deep_for_a_parser(text) };
        let path = open.last().map_or(0, |o| o.path + o.key + 1);
        let mut size = 1;
        match &event {
            Event::Scalar(value, _, anchor, _) => {
                sizes.insert(*anchor, 1);
                if let Some(o) = open.last_mut()
                    && o.map
                    && o.key_next
                {
                    o.key = value.chars().count();
                    if o.path + o.key > PATH {
                        let message = format!("a key of {} letters, at most {PATH} are read", o.path + o.key);
                        return Some((at(span), message));
                    }
                }
            }
            Event::Alias(anchor) => size = sizes.get(anchor).copied().unwrap_or(1),
            Event::MappingStart(anchor, _) | Event::SequenceStart(anchor, _) => {
                let map = matches!(event, Event::MappingStart(..));
                if open.len() == DEPTH {
                    let message = format!("lists and mappings more than {DEPTH} deep within each other");
                    return Some((at(span), message));
                }
                open.push(Open { anchor: *anchor, before: nodes, map, key_next: true, path, key: 0 });
                nodes += 1;
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(o) = open.pop() {
                    sizes.insert(o.anchor, nodes - o.before);
                }
                size = 0;
            }
            _ => continue,
        }
        nodes = nodes.saturating_add(size);
        if nodes > NODES {
            return Some((
                at(span),
                format!("more than {NODES} keys and values, those that aliases repeat counted in"),
            ));
        }
        if let Some(o) = open.last_mut() {
            o.key_next = !o.key_next;
        }
    }
    None
}

/// Of a text that the parser gives up on, which it also does where brackets or dashes go deep: whether they do, quotes and
/// comments not told apart. The reader that would tell what else is wrong takes quadratic time there.
fn too_deep_for_a_parser(text: &str) -> Option<(usize, String)> {
    let message = || format!("lists and mappings more than {DEPTH} deep within each other");
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return Some((at, message()));
        }
    }
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        if line.split_whitespace().take_while(|word| *word == "-" || *word == "?").count() > DEPTH {
            return Some((begin, message()));
        }
        begin += line.len();
    }
    None
}

/// The same of the dotted key of a `--set`.
pub(super) fn passed_by_key(key: &str) -> Option<(usize, String)> {
    let (letters, depth) = (key.chars().count(), key.split('.').count());
    if letters > PATH {
        return Some((0, format!("a key of {letters} letters, at most {PATH} are read")));
    }
    (depth > DEPTH).then(|| (0, format!("keys more than {DEPTH} deep within each other")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        passed(text).map_or_else(String::new, |(at, message)| {
            assert!(text.is_char_boundary(at));
            message
        })
    }

    #[test]
    fn deep_wide_and_long_files_are_left_early() {
        assert!(told(&format!("x: {}{}", "[".repeat(400_000), "]".repeat(400_000))).contains("32 deep"));
        assert!(told(&"- ".repeat(300_000)).contains("32 deep"));
        let nested: String = (0..100).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        assert!(told(&nested).contains("32 deep"));
        assert!(told(&format!("x: [{}]", "1,".repeat(200_000))).contains("more than 100000"));
        assert!(told(&format!("{}: 1", "é".repeat(501))).contains("a key of 501 letters"));
        let long = "k".repeat(300);
        assert!(told(&format!("{long}: {{{long}: 1}}")).contains("a key of 601 letters"));
    }

    #[test]
    fn aliases_count_as_what_they_stand_for() {
        let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
        for i in 1..9 {
            let again = format!("*a{}, ", i - 1).repeat(9);
            text += &format!("a{i}: &a{i} [{again}]\n");
        }
        assert!(told(&text).contains("aliases"), "{}", told(&text));
        assert_eq!(told("a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}\n"), "");
    }

    #[test]
    fn usual_files_pass_and_broken_ones_are_told_elsewhere() {
        for text in ["", "a: 1", "[1, 2", "a: {b: [1, {c: d}]}\nb: &x y\nc: *x\n", "? [a, b]\n: c\n", "*none", "\u{0}"]
        {
            assert_eq!(told(text), "", "{text}");
        }
    }
}
