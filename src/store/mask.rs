//! Names of machines, of people and of their home folders, taken out of what is published.

use super::{Error, Store};
use serde_json::Value;
use std::collections::BTreeSet;

/// Folders whose next part is a person's name.
const HOMES: [&str; 3] = ["/home/", "/Users/", "\\Users\\"];

/// What stands in texts in place of what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mask {
    /// Whole words, the longest first.
    words: Vec<(String, String)>,
}

impl Store {
    /// A mask for all that the store's runs name: machines become `machine-1`, `machine-2`, ..., people `user`, and their
    /// home folders `~`.
    pub fn mask(&self) -> Result<Mask, Error> {
        let rows = self.rows(sqlx::query(
            "SELECT DISTINCT host FROM run WHERE host IS NOT NULL
             UNION SELECT json_extract(record, '$.host') FROM environment WHERE json_valid(record)",
        ))?;
        let hosts: Vec<Option<String>> = rows.iter().map(|r| self.get(r, 0)).collect::<Result<_, _>>()?;
        let mut texts = Vec::new();
        for sql in [
            "SELECT DISTINCT command FROM run WHERE command IS NOT NULL",
            "SELECT json_extract(record, '$.folder') FROM environment WHERE json_valid(record)",
            "SELECT json_extract(record, '$.experiment.folder') FROM environment WHERE json_valid(record)",
        ] {
            for row in &self.rows(sqlx::query(sql))? {
                texts.extend(self.get::<Option<String>>(row, 0)?);
            }
        }
        Ok(Mask::new(hosts.into_iter().flatten(), texts.iter().map(String::as_str)))
    }
}

impl Mask {
    /// Of machines by name, and of the people whose home folders stand in texts.
    pub fn new<'a>(hosts: impl Iterator<Item = String>, texts: impl Iterator<Item = &'a str>) -> Mask {
        let hosts: BTreeSet<String> = hosts.filter(|host| !host.is_empty()).collect();
        let mut words: Vec<(String, String)> =
            (1..).zip(hosts).map(|(n, host)| (host, format!("machine-{n}"))).collect();
        let people: BTreeSet<String> = texts.flat_map(people).collect();
        words.extend(people.into_iter().map(|name| (name, "user".to_string())));
        words.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Mask { words }
    }

    /// A text without what is masked.
    pub fn text(&self, text: &str) -> String {
        let mut out = text.to_string();
        for (word, instead) in &self.words {
            for home in HOMES {
                out = replace_words(&out, &format!("{home}{word}"), "~", |_| true);
            }
            out = replace_words(&out, word, instead, |before| !before.is_some_and(part_of_a_name));
        }
        replace_words(&out, "/root", "~", |before| !before.is_some_and(|c| part_of_a_name(c) || c == '/'))
    }

    /// Every text of a JSON value without what is masked.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => {
                Value::Object(map.iter().map(|(key, value)| (key.clone(), self.value(value))).collect())
            }
            other => other.clone(),
        }
    }
}

/// Names behind the folders of homes.
fn people(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for home in HOMES {
        for (at, _) in text.match_indices(home) {
            let name: String = text[at + home.len()..].chars().take_while(|c| part_of_a_name(*c)).collect();
            if !name.is_empty() {
                names.push(name);
            }
        }
    }
    names
}

fn part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// Replaces a word where it does not go on, and where what stands before it may.
fn replace_words(text: &str, word: &str, instead: &str, begins: impl Fn(Option<char>) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, behind) = (&rest[..at], &rest[at + word.len()..]);
        let last = before.chars().next_back().or_else(|| out.chars().next_back());
        let whole =
            begins(last) && !behind.chars().next().is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
        out += before;
        out += if whole { instead } else { word };
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_people_and_homes_are_masked_and_other_words_are_not() {
        let hosts = ["node7.example.org".to_string(), "box".to_string()];
        let texts = ["unmute run /home/alice/exp --db /scratch/alice/runs.db"];
        let mask = Mask::new(hosts.into_iter(), texts.into_iter());
        assert_eq!(mask.text(texts[0]), "unmute run ~/exp --db /scratch/user/runs.db");
        assert_eq!(mask.text("box, process 3 on node7.example.org"), "machine-1, process 3 on machine-2");
        assert_eq!(mask.text("a boxing match in /root/x and /data/root/x"), "a boxing match in ~/x and /data/root/x");
        assert_eq!(mask.text("alicex malice"), "alicex malice");
        let value = serde_json::json!({ "host": "box", "n": 1, "list": ["/Users/alice/x"] });
        assert_eq!(mask.value(&value), serde_json::json!({ "host": "machine-1", "n": 1, "list": ["~/x"] }));
    }
}
