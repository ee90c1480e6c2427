//! Rust source as tokens, and what can be read off them: `use` statements, paths, declared names, modules within a file.

/// A name or a sign, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// One leaf of a `use` statement.
pub struct Import {
    pub path: Vec<String>,
    /// The name it has here; none for `*` and `_`.
    pub name: Option<String>,
    pub glob: bool,
    pub line: usize,
    pub public: bool,
}

/// Identifiers, numbers and punctuation. Comments, text and lifetimes are left out, except a text that is a path of
/// ours, which attributes such as `#[serde(with = "super::layers")]` hold.
pub fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut i, mut line) = (0, 1);
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    while i < bytes.len() {
        let rest = &text.as_bytes()[i..];
        let from = i;
        match bytes[i] {
            b'/' if rest.starts_with(b"//") => i += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"/*") => {
                let mut depth = 0;
                loop {
                    match &bytes[i..] {
                        [b'/', b'*', ..] => (depth, i) = (depth + 1, i + 2),
                        [b'*', b'/', ..] => (depth, i) = (depth - 1, i + 2),
                        [] => break,
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            b'"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                i += 1;
                let inner = text.get(from + 1..i - 1).unwrap_or_default();
                let ours = ["crate::", "super::", "self::"].iter().any(|start| inner.starts_with(start));
                if ours && inner.bytes().all(|b| word(b) || b == b':') {
                    let path = tokens(inner).into_iter();
                    found.extend(path.map(|t| Token { line, ..t }));
                    // What follows is no part of the path.
                    found.push(Token { text: ",".into(), line });
                }
            }
            b'\'' => {
                // 'a' and '\n' are characters, 'a alone is a lifetime.
                let escaped = rest.get(1) == Some(&b'\\');
                let end = rest.iter().skip(if escaped { 3 } else { 2 }).take(12).position(|b| *b == b'\'');
                let length = end.map(|e| e + if escaped { 4 } else { 3 });
                let letter = text[from + 1..].chars().next().map_or(1, char::len_utf8);
                match length {
                    Some(length) if escaped || length == letter + 2 => i += length,
                    _ => {
                        i += 1;
                        while i < bytes.len() && word(bytes[i]) {
                            i += 1;
                        }
                    }
                }
            }
            b if word(b) => {
                while i < bytes.len() && word(bytes[i]) {
                    i += 1;
                }
                let name = &text[from..i];
                let hashes = bytes[i..].iter().take_while(|b| **b == b'#').count();
                let quoted = bytes.get(i + hashes) == Some(&b'"');
                if matches!(name, "r" | "br" | "cr") && quoted {
                    let end = format!("\"{}", "#".repeat(hashes));
                    i += hashes + 1;
                    i += text[i..].find(&end).map_or(text.len() - i, |at| at + end.len());
                } else if name == "r" && hashes == 1 {
                    i += 1; // r#name
                } else if !(matches!(name, "b" | "c") && quoted) {
                    found.push(Token { text: name.into(), line });
                }
            }
            b if b.is_ascii_whitespace() => i += 1,
            b':' if rest.starts_with(b"::") => {
                i += 2;
                found.push(Token { text: "::".into(), line });
            }
            b => {
                i += 1;
                found.push(Token { text: char::from(b).into(), line });
            }
        }
        i = i.min(bytes.len());
        line += bytes[from..i].iter().filter(|b| **b == b'\n').count();
    }
    found
}

/// Takes out the items behind `#[cfg(test)]` and `#[cfg(all(test, ...))]`.
pub fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let text = |at: usize| tokens.get(at).map_or("", |t| t.text.as_str());
        let attribute = text(i) == "#" && text(i + 1) == "[" && text(i + 2) == "cfg" && text(i + 3) == "(";
        if attribute && (text(i + 4) == "test" || (text(i + 4) == "all" && text(i + 6) == "test")) {
            i = end_of_group(&tokens, i + 1);
            while text(i) == "#" {
                i = end_of_group(&tokens, i + 1);
            }
            while i < tokens.len() && !matches!(text(i), "{" | ";") {
                i = if matches!(text(i), "(" | "[") { end_of_group(&tokens, i) } else { i + 1 };
            }
            i = if text(i) == "{" { end_of_group(&tokens, i) } else { i + 1 };
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

/// The index behind the bracket that closes the one at `open`.
fn end_of_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The file's own module and the modules written out within it, each with its tokens.
pub fn blocks<'a>(module: &[String], tokens: &'a [Token]) -> Vec<(Vec<String>, &'a [Token])> {
    let mut found = Vec::new();
    let (mut from, mut i) = (0, 0);
    while i < tokens.len() {
        if tokens[i].text == "mod" && tokens.get(i + 2).is_some_and(|t| t.text == "{") {
            let end = end_of_group(tokens, i + 2);
            found.push((module.to_vec(), &tokens[from..i]));
            let inner = [module, &[tokens[i + 1].text.clone()]].concat();
            found.extend(blocks(&inner, &tokens[i + 3..end - 1]));
            (from, i) = (end, end);
        } else {
            i += 1;
        }
    }
    found.push((module.to_vec(), &tokens[from..]));
    found
}

/// Names of the items declared at any depth: a superset of what a path can name.
pub fn declared(tokens: &[Token]) -> Vec<String> {
    let keyword = |t: &str| {
        matches!(t, "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" | "macro_rules" | "mut")
    };
    let pairs = tokens.windows(2).filter(|w| keyword(&w[0].text));
    pairs.map(|w| w[1].text.clone()).filter(|n| n != "_" && n != "fn").collect()
}

/// Where every `use` statement begins and ends (behind its semicolon).
fn statements(tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let captures = tokens.get(i + 1).is_none_or(|t| t.text == "<");
        if tokens[i].text == "use" && !captures {
            let end = tokens[i..].iter().position(|t| t.text == ";").map_or(tokens.len(), |at| i + at + 1);
            found.push((i, end));
            i = end;
        } else {
            i += 1;
        }
    }
    found
}

pub fn uses(tokens: &[Token]) -> Vec<Import> {
    let mut found = Vec::new();
    for (from, end) in statements(tokens) {
        let before = from.checked_sub(1).map_or("", |at| &tokens[at].text);
        let public = before == "pub" || before == ")";
        let mut at = from + 1;
        leaves(&tokens[..end], &mut at, &[], public, &mut found);
    }
    found
}

/// The leaves of a tree of imports: `a::{b as c, d::*}` has `a::b` under the name `c`, and everything of `a::d`.
fn leaves(tokens: &[Token], at: &mut usize, prefix: &[String], public: bool, found: &mut Vec<Import>) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(*at) {
        let line = token.line;
        *at += 1;
        match token.text.as_str() {
            "{" => {
                while tokens.get(*at).is_some_and(|t| t.text != "}") {
                    leaves(tokens, at, &path, public, found);
                    if tokens.get(*at).is_some_and(|t| t.text == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "*" => {
                found.push(Import { path, name: None, glob: true, line, public });
                return;
            }
            "::" => {}
            name => {
                // `a::{self, b}` names a itself.
                if name != "self" || path.is_empty() {
                    path.push(name.into());
                }
                match tokens.get(*at).map(|t| t.text.as_str()) {
                    Some("::") => {}
                    Some("as") => {
                        let alias = tokens.get(*at + 1).map(|t| t.text.clone()).filter(|n| n != "_");
                        *at += 2;
                        found.push(Import { path, name: alias, glob: false, line, public });
                        return;
                    }
                    _ => {
                        let name = path.last().cloned();
                        found.push(Import { path, name, glob: false, line, public });
                        return;
                    }
                }
            }
        }
    }
}

pub fn without_uses(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut from = 0;
    for (start, end) in statements(tokens) {
        kept.extend_from_slice(&tokens[from..start]);
        from = end;
    }
    kept.extend_from_slice(&tokens[from..]);
    kept
}

/// Paths of two names or more, `crate::store::Store`, with their lines.
pub fn paths(tokens: &[Token]) -> Vec<(Vec<String>, usize)> {
    let name = |t: &Token| t.text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let after = i > 0 && matches!(tokens[i - 1].text.as_str(), "::" | ".");
        if !name(&tokens[i]) || after {
            i += 1;
            continue;
        }
        let line = tokens[i].line;
        let mut path = vec![tokens[i].text.clone()];
        while tokens.get(i + 1).is_some_and(|t| t.text == "::") && tokens.get(i + 2).is_some_and(name) {
            path.push(tokens[i + 2].text.clone());
            i += 2;
        }
        if path.len() > 1 {
            found.push((path, line));
        }
        i += 1;
    }
    found
}
