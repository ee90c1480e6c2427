//! A report to be published: without the names of hosts and users, and without the folders of paths.

use crate::store::RunRecord;
use serde_json::Value;
use std::collections::BTreeSet;

/// Parts of the page that are the program's own or drawn by it, and hold no such names.
const OWN: [&str; 5] = ["style", "script", "version", "data", "damage"];

/// The hosts that runs were trained on.
pub(super) fn hosts(runs: &[RunRecord]) -> BTreeSet<String> {
    runs.iter().filter_map(|r| r.host.clone()).filter(|host| !host.is_empty()).collect()
}

/// Takes hosts, users and folders out of everything that a page says.
pub(super) fn scrub(context: &mut Value, hosts: &BTreeSet<String>) {
    match context {
        Value::String(text) => *text = clean(text, hosts),
        Value::Array(all) => all.iter_mut().for_each(|value| scrub(value, hosts)),
        Value::Object(map) => {
            map.iter_mut().filter(|(key, _)| !OWN.contains(&key.as_str())).for_each(|(_, value)| scrub(value, hosts));
        }
        _ => {}
    }
}

fn clean(text: &str, hosts: &BTreeSet<String>) -> String {
    if text.starts_with("<svg") {
        return text.into();
    }
    // The longest first, so that no host's name is left over as part of another's.
    let mut named: Vec<&String> = hosts.iter().collect();
    named.sort_by_key(|host| std::cmp::Reverse(host.len()));
    let text = named.into_iter().fold(text.to_string(), |text, host| replace_word(&text, host));
    without_folders(&text)
}

/// The name as a word of its own becomes `a machine`.
fn replace_word(text: &str, host: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(host) {
        let (before, behind) = (&rest[..at], &rest[at + host.len()..]);
        let inside = before.chars().next_back().is_some_and(part) || behind.chars().next().is_some_and(part);
        out = out + before + if inside { host } else { "a machine" };
        rest = behind;
    }
    out + rest
}

/// Of every absolute path, and every one that begins in a home folder, the last part alone.
fn without_folders(text: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "\"'`,;:()<>|".contains(c);
    let mut out = String::new();
    let mut rest = text;
    loop {
        let begins = rest.char_indices().find(|(i, c)| {
            let before = rest[..*i].chars().next_back().or(out.chars().next_back());
            let free = before.is_none_or(|b| ends(b) || b == '=');
            free && (*c == '/' || rest[*i..].starts_with("~/"))
        });
        let Some((at, _)) = begins else { break };
        let path = &rest[at..];
        let path = &path[..path.find(ends).unwrap_or(path.len())];
        out += &rest[..at];
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        if path.len() > 1 && !name.is_empty() && name != "~" {
            out += &format!("\u{2026}/{name}");
        } else {
            out += path;
        }
        rest = &rest[at + path.len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_folders_are_left_out() {
        let hosts: BTreeSet<String> = ["lab7", "lab"].map(String::from).into();
        for (text, clean_text) in [
            (
                "unmute run /home/ann/exp --dataset=/data/x --db ~/runs.db",
                "unmute run \u{2026}/exp --dataset=\u{2026}/x --db \u{2026}/runs.db",
            ),
            ("on lab7, not collab7", "on a machine, not collab7"),
            ("3/5 runs; train/val", "3/5 runs; train/val"),
            ("/tmp/a.npy: no such file", "\u{2026}/a.npy: no such file"),
            ("a / b", "a / b"),
            ("<svg>/home/x</svg>", "<svg>/home/x</svg>"),
        ] {
            assert_eq!(clean(text, &hosts), clean_text);
        }
    }
}
