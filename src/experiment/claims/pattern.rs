//! Patterns of rows: `*` stands for one word, `**` for anything.

use std::collections::HashSet;

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Word,
    Anything,
}

pub(super) fn parts(pattern: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('*') {
        if at > 0 {
            out.push(Piece::Text(rest[..at].into()));
        }
        rest = &rest[at + 1..];
        match rest.strip_prefix('*') {
            Some(after) => {
                rest = after;
                out.push(Piece::Anything);
            }
            None => out.push(Piece::Word),
        }
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest.into()));
    }
    out
}

/// What stands in `text` in place of the stars; `None` where the pattern does not fit. Each star takes as much as it can.
pub(super) fn captures(parts: &[Piece], text: &str) -> Option<Vec<String>> {
    /// Ends of the stars from piece `piece` on, the last first. `failed` holds the places from which nothing fits, so that no
    /// place is tried twice and the time is bounded by pieces times letters.
    fn fit(
        parts: &[Piece],
        piece: usize,
        text: &str,
        at: usize,
        failed: &mut HashSet<(usize, usize)>,
    ) -> Option<Vec<usize>> {
        let Some(first) = parts.get(piece) else { return (at == text.len()).then(Vec::new) };
        if failed.contains(&(piece, at)) {
            return None;
        }
        let rest = &text[at..];
        let longest = match first {
            Piece::Text(literal) => {
                let fits = rest.starts_with(literal.as_str());
                return if fits { fit(parts, piece + 1, text, at + literal.len(), failed) } else { None };
            }
            Piece::Word => rest.find(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).unwrap_or(rest.len()),
            Piece::Anything => rest.len(),
        };
        for end in (1..=longest).rev().map(|length| at + length).filter(|end| text.is_char_boundary(*end)) {
            if let Some(mut ends) = fit(parts, piece + 1, text, end, failed) {
                ends.push(end);
                return Some(ends);
            }
        }
        failed.insert((piece, at));
        None
    }
    let ends = fit(parts, 0, text, 0, &mut HashSet::new())?;
    let (mut at, mut words, mut ends) = (0, Vec::new(), ends.into_iter().rev());
    for piece in parts {
        match piece {
            Piece::Text(literal) => at += literal.len(),
            Piece::Word | Piece::Anything => {
                let end = ends.next()?;
                words.push(text[at..end].to_string());
                at = end;
            }
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_its_letters() {
        let pattern = "**a".repeat(16) + "b";
        assert_eq!(captures(&parts(&pattern), &"a".repeat(200)), None);
        assert_eq!(captures(&parts("*é*"), "aéb"), Some(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn a_star_is_one_word() {
        let fit = |pattern: &str, text: &str| captures(&parts(pattern), text);
        assert_eq!(fit("rgb+*(*)", "rgb+aenet(lstm)"), Some(vec!["aenet".into(), "lstm".into()]));
        assert_eq!(fit("rgb+*(*)", "rgb+flow+aenet(lstm)"), None);
        assert_eq!(fit("rgb**", "rgb+flow+aenet(lstm)"), Some(vec!["+flow+aenet(lstm)".into()]));
        assert_eq!(fit("rgb", "rgb"), Some(Vec::new()));
        assert_eq!(fit("*", ""), None);
    }
}
