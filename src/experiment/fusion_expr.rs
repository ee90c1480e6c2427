//! The small language of a table's rows: `rgb+flow+vggish(lstm)`.
//!
//! A fusion adds terms. A term is a stream (`rgb`), an audio feature as recorded (`vggish`: silent clips have none), or
//! an audio feature with its silent clips filled in (`vggish(CHOICE)`), where the choice is one cell
//! (`lstm/l2/with`), the best cell of one generator (`lstm`, `autoencoder`), what another program generated
//! (`external:mygan`), the best of all (`best`), or a control (`zero`, `mean`, `ridge`, `knn`, `oracle`).

use super::config::{Architecture, Classifier, Control, Loss};
use super::grid::{check_external, external};

/// Which generated feature fills the silent clips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The best of all generator cells of the audio feature.
    Best,
    /// The best cell of one architecture.
    BestOf(Architecture),
    /// One cell.
    Cell(Architecture, Loss, Classifier),
    /// Features that another program generated, by its name.
    External(String),
    /// A control.
    Control(Control),
}

/// One summand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// A stream or audio feature; `audio` stands for the table's.
    pub name: String,
    /// For audio features: what fills silent clips; `None` leaves them without.
    pub choice: Option<Choice>,
}

/// A sum of terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fusion {
    /// At least one.
    pub terms: Vec<Term>,
}

impl Fusion {
    /// Reads a fusion; says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Fusion, String> {
        let terms = text.split('+').map(|t| Term::parse(t.trim(), text)).collect::<Result<Vec<_>, _>>()?;
        for (i, term) in terms.iter().enumerate() {
            if terms[..i].iter().any(|t| t.name == term.name) {
                return Err(format!("{:?} is added twice in {text:?}", term.name));
            }
        }
        Ok(Fusion { terms })
    }
}

impl Term {
    fn parse(text: &str, whole: &str) -> Result<Term, String> {
        let (name, choice) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let inner = rest.strip_suffix(')').ok_or_else(|| format!("{whole:?}: no ')' after {text:?}"))?;
                (name.trim(), Some(Choice::parse(inner.trim())?))
            }
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
            return Err(format!("{whole:?}: {name:?} is no name of a stream or audio feature"));
        }
        Ok(Term { name: name.into(), choice })
    }
}

impl Choice {
    fn parse(text: &str) -> Result<Choice, String> {
        if text == "best" {
            return Ok(Choice::Best);
        }
        if let Some(control) = Control::of_word(text) {
            return Ok(Choice::Control(control));
        }
        if let Some(name) = external(text) {
            return check_external(name).map(|()| Choice::External(name.into()));
        }
        let words: Vec<&str> = text.split('/').collect();
        let wrong = |word: &str, valid: Vec<&'static str>| {
            format!("{word:?} in {text:?} is not known{}", crate::suggest::nearest(word, &valid))
        };
        let architecture = || {
            let mut valid = Architecture::words();
            valid.extend(["best"].iter().chain(Control::words().iter()));
            Architecture::of_word(words[0]).ok_or_else(|| wrong(words[0], valid))
        };
        match words[..] {
            [_] => Ok(Choice::BestOf(architecture()?)),
            [_, loss, classifier] => Ok(Choice::Cell(
                architecture()?,
                Loss::of_word(loss).ok_or_else(|| wrong(loss, Loss::words()))?,
                Classifier::of_word(classifier).ok_or_else(|| wrong(classifier, Classifier::words()))?,
            )),
            _ => Err(format!("{text:?} should be GENERATOR, GENERATOR/LOSS/CLASSIFIER, best or a control")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fusions_are_read() {
        let f = Fusion::parse("rgb + flow+vggish(lstm/l2/with)").unwrap();
        assert_eq!(f.terms.len(), 3);
        assert_eq!(f.terms[2].choice, Some(Choice::Cell(Architecture::Lstm, Loss::L2, Classifier::With)));
        assert_eq!(Fusion::parse("a(best)").unwrap().terms[0].choice, Some(Choice::Best));
        let mine = Some(Choice::External("my-gan".into()));
        assert_eq!(Fusion::parse("rgb+a(external:my-gan)").unwrap().terms[1].choice, mine);
        assert_eq!(Fusion::parse("a(oracle)").unwrap().terms[0].choice, Some(Choice::Control(Control::Oracle)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("rgb+", "no name"),
            ("a(lsmt)", "did you mean \"lstm\""),
            ("a(lstm", "no ')'"),
            ("a(external:)", "should follow"),
            ("a+a", "twice"),
            ("a(lstm/l2)", "should be"),
        ] {
            let message = Fusion::parse(text).unwrap_err();
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}
