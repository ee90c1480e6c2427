//! "Did you mean ...?": the nearest valid name for a mistyped one.

/// Letters of a word that is compared: no name is longer, and what a stranger's file holds may be.
const LONGEST: usize = 100;

/// The candidate most like `wrong`, if any is near enough to be what was meant.
pub fn closest<'a, S: AsRef<str>>(wrong: &str, candidates: &'a [S]) -> Option<&'a str> {
    if wrong.len() > LONGEST {
        return None;
    }
    candidates
        .iter()
        .filter(|c| c.as_ref().len() <= LONGEST)
        .map(|c| (strsim::jaro_winkler(&wrong.to_lowercase(), &c.as_ref().to_lowercase()), c.as_ref()))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

/// `"; did you mean X?"`, or the valid names where none is near and they are few, or nothing.
pub fn nearest<S: AsRef<str>>(wrong: &str, candidates: &[S]) -> String {
    match closest(wrong, candidates) {
        Some(name) => format!("; did you mean {name:?}?"),
        None if candidates.is_empty() || candidates.len() > 20 => String::new(),
        None => {
            let all: Vec<&str> = candidates.iter().map(AsRef::as_ref).collect();
            format!("; valid: {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("lsmt", &["lstm", "autoencoder"]), "; did you mean \"lstm\"?");
        assert_eq!(nearest("zzz", &["lstm", "autoencoder"]), "; valid: lstm, autoencoder");
        assert_eq!(nearest("x", &[] as &[&str]), "");
    }
}
