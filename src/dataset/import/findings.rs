//! What an import says at its end: what it used, what it left out, and what looks doubtful.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Some of a kind, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What they are, in the plural.
    pub what: String,
    /// How many.
    pub count: usize,
    /// The first, by name.
    pub first: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} (first: {})", self.count, self.what, self.first)
    }
}

/// Findings by kind, in the order in which kinds turned up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Findings {
    list: Vec<Finding>,
    #[serde(skip)]
    place: BTreeMap<String, usize>,
}

impl Findings {
    /// One more of a kind.
    pub(super) fn add(&mut self, what: impl Into<String>, name: impl Into<String>) {
        let what = what.into();
        match self.place.get(&what) {
            Some(&at) => self.list[at].count += 1,
            None => {
                self.place.insert(what.clone(), self.list.len());
                self.list.push(Finding { what, count: 1, first: name.into() });
            }
        }
    }

    /// Those of all kinds.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// An import in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was used, a line for the clips and one for each feature.
    pub used: Vec<String>,
    /// What was left out.
    pub unused: Findings,
    /// What was used and should be looked at.
    pub doubtful: Findings,
    /// What was made to fit: frames repeated, axes dropped.
    pub adapted: Findings,
}

impl Report {
    /// What `--strict` does not let pass, a line each; empty where everything was used.
    pub fn objections(&self) -> Vec<String> {
        let unused = self.unused.iter().map(|f| format!("  not used: {f}"));
        unused.chain(self.doubtful.iter().map(|f| format!("  look at: {f}"))).collect()
    }

    /// All of it, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut out: Vec<String> = self.used.iter().map(|line| format!("  {line}")).collect();
        out.extend(self.adapted.iter().map(|f| format!("  note: {f}")));
        out.extend(self.objections());
        if self.unused.is_empty() {
            out.push("  nothing of the source was left out".into());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_and_the_first_is_named() {
        let mut report = Report::default();
        assert!(report.objections().is_empty());
        for name in ["b.txt", "a.txt"] {
            report.unused.add("other files", name);
        }
        report.doubtful.add("clips that are all zero", "c3");
        assert_eq!(
            report.objections(),
            ["  not used: 2 other files (first: b.txt)", "  look at: 1 clips that are all zero (first: c3)"]
        );
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap().lines(), report.lines());
    }
}
