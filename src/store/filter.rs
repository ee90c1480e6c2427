//! `generator=lstm and (top1>30 or seed=0)`: conditions on runs, as a tree and as SQL.

use super::run_fields::{Name, Names, words};
use crate::brief::shortened;
use crate::experiment::grid::external;
use crate::experiment::problem::{Excerpt, MESSAGE};
use std::ops::Range;

/// What is wrong with a condition, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}\n{}", shortened(.message, MESSAGE), pointed(.text, .at))]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    text: String,
    at: Range<usize>,
}

/// The line that is meant, or what fits of it, with marks below.
fn pointed(text: &str, at: &Range<usize>) -> String {
    let start = text.floor_char_boundary(at.start.min(text.len()));
    let from = text[..start].rfind('\n').map_or(0, |before| before + 1);
    let line = text[from..].lines().next().unwrap_or("");
    let start = (start - from).min(line.len());
    let end = line.floor_char_boundary(at.end.saturating_sub(from).clamp(start, line.len()));
    let Excerpt { text, marked } = Excerpt::around(line, start..end);
    let before = text[..marked.start].chars().count();
    let length = text[marked].chars().count().max(1);
    format!("  {text}\n  {}{}", " ".repeat(before), "^".repeat(length))
}

/// A parameter of an SQL statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bind {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
}

/// A condition on runs, ready to be part of a `WHERE`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub(super) sql: String,
    pub(super) binds: Vec<Bind>,
}

/// Nesting deeper than this is nobody's intention.
const DEPTH: usize = 64;

const OPERATORS: [&str; 7] = ["!=", "<=", ">=", "=", "<", ">", "~"];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Operator(&'static str),
    Word(String),
    Quoted(String),
}

impl Filter {
    /// Reads a condition: NAME OPERATOR VALUE, joined by `and`, `or` and parentheses. Operators are = != < <= > >= and ~
    /// (contains). `none` as a value means that the run has none.
    pub fn parse(text: &str, names: &Names) -> Result<Filter, Problem> {
        let tokens = tokens(text)?;
        let mut parser = Parser { text, tokens, next: 0, names, binds: Vec::new() };
        let sql = parser.any(0)?;
        if let Some((token, at)) = parser.tokens.get(parser.next) {
            let message = match token {
                Token::Close => "a ) without its (".into(),
                _ => "\"and\" or \"or\" is missing here".to_string(),
            };
            return Err(parser.problem(message, at.clone()));
        }
        Ok(Filter { sql, binds: parser.binds })
    }
}

fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Problem> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let operator = OPERATORS.iter().find(|o| rest.starts_with(**o));
        let (token, length) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '"' | '\'' => match rest[1..].find(c) {
                Some(end) => (Token::Quoted(rest[1..=end].into()), end + 2),
                None => {
                    let message = format!("a {c} without a second one");
                    return Err(Problem { message, text: text.into(), at: at..text.len() });
                }
            },
            _ if operator.is_some() => {
                let operator = operator.copied().unwrap_or_default();
                // `==` is what many type.
                let length = if rest.starts_with("==") { 2 } else { operator.len() };
                (Token::Operator(operator), length)
            }
            _ => {
                let ends = |c: char| c.is_whitespace() || "()=!<>~\"'".contains(c);
                let length = rest.find(ends).unwrap_or(rest.len()).max(c.len_utf8());
                (Token::Word(rest[..length].into()), length)
            }
        };
        tokens.push((token, at..at + length));
        at += length;
    }
    Ok(tokens)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    next: usize,
    names: &'a Names,
    binds: Vec<Bind>,
}

/// Runs that have a tag like that.
fn of_tag(condition: &str) -> String {
    format!("run.id IN (SELECT g.run_id FROM tag g WHERE {condition})")
}

impl Parser<'_> {
    fn problem(&self, message: impl Into<String>, at: Range<usize>) -> Problem {
        Problem { message: message.into(), text: self.text.into(), at }
    }

    fn take(&mut self, expected: &str) -> Result<(Token, Range<usize>), Problem> {
        let end = self.text.len();
        let found = self.tokens.get(self.next).cloned();
        self.next += 1;
        found.ok_or_else(|| self.problem(format!("{expected} was expected here"), end..end))
    }

    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.next), Some((Token::Word(w), _)) if w.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<String, Problem> {
        let mut sql = self.all(depth)?;
        while self.keyword("or") {
            sql = format!("{sql} OR {}", self.all(depth)?);
        }
        Ok(format!("({sql})"))
    }

    fn all(&mut self, depth: usize) -> Result<String, Problem> {
        let mut sql = self.term(depth)?;
        while self.keyword("and") {
            sql = format!("{sql} AND {}", self.term(depth)?);
        }
        Ok(sql)
    }

    fn term(&mut self, depth: usize) -> Result<String, Problem> {
        let (token, at) = self.take("a name, such as generator or top1,")?;
        let name = match token {
            Token::Open if depth == DEPTH => return Err(self.problem("nested too deeply", at)),
            Token::Open => {
                let sql = self.any(depth + 1)?;
                return match self.take("a )")? {
                    (Token::Close, _) => Ok(sql),
                    (_, at) => Err(self.problem("\"and\", \"or\" or a ) was expected here", at)),
                };
            }
            Token::Word(name) | Token::Quoted(name) => name,
            _ => return Err(self.problem("a name, such as generator or top1, was expected here", at)),
        };
        let name = self.names.resolve(&name).map_err(|message| self.problem(message, at))?;
        let operator = match self.take("= != < <= > >= or ~")? {
            (Token::Operator(operator), _) => operator,
            (_, at) => return Err(self.problem("= != < <= > >= or ~ was expected here", at)),
        };
        match self.take("a value")? {
            (Token::Word(value), at) => self.test(&name, operator, &value, at, false),
            (Token::Quoted(value), at) => self.test(&name, operator, &value, at, true),
            (_, at) => Err(self.problem("a value was expected here; quote it if it holds blanks or signs", at)),
        }
    }

    fn test(
        &mut self,
        name: &Name,
        operator: &'static str,
        value: &str,
        at: Range<usize>,
        quoted: bool,
    ) -> Result<String, Problem> {
        if !quoted && value == "none" {
            return match operator {
                "=" => Ok(format!("{} IS NULL", name.sql())),
                "!=" => Ok(format!("{} IS NOT NULL", name.sql())),
                _ => Err(self.problem("none goes with = and != only", at)),
            };
        }
        if operator == "~" {
            self.binds.push(Bind::Text(value.to_lowercase()));
            return Ok(match name {
                Name::Experiment => self.of_experiment("instr(lower(e.name), ?) > 0"),
                Name::Tag => of_tag("instr(lower(g.name), ?) > 0"),
                _ => format!("instr(lower({}), ?) > 0", name.sql()),
            });
        }
        let bind = self.bind(name, operator, value, at)?;
        self.binds.push(bind);
        // A run that has nothing under the name differs from every value.
        let (negated, plain) = if operator == "!=" { ("NOT ", "=") } else { ("", operator) };
        Ok(match name {
            Name::Experiment => format!("{negated}{}", self.of_experiment(&format!("e.name {plain} ?"))),
            Name::Tag => format!("{negated}{}", of_tag(&format!("g.name {plain} ?"))),
            Name::Value(value) => {
                let name = value.replace('\'', "''");
                format!(
                    "run.id {negated}IN (SELECT x.run_id FROM value x WHERE x.name = '{name}' AND x.value {plain} ?)"
                )
            }
            _ if operator == "!=" => format!("{} IS NOT ?", name.sql()),
            _ => format!("{} {operator} ?", name.sql()),
        })
    }

    fn of_experiment(&self, condition: &str) -> String {
        format!(
            "(run.cell IN (SELECT c.fingerprint FROM cell c JOIN experiment e ON e.id = c.experiment_id WHERE {condition}))"
        )
    }

    fn bind(&self, name: &Name, operator: &str, value: &str, at: Range<usize>) -> Result<Bind, Problem> {
        let number = || match value.parse::<i64>() {
            Ok(whole) => Some(Bind::Integer(whole)),
            // Seeds above i64 are kept as the same bits.
            Err(_) => (value.parse::<u64>().ok().map(|n| Bind::Integer(n as i64)))
                .or_else(|| value.parse::<f64>().ok().filter(|n| !n.is_nan()).map(Bind::Real)),
        };
        let text = || Bind::Text(value.into());
        match name {
            Name::Value(_) => number().ok_or_else(|| self.not_a_number(name, value, at)),
            Name::Field(field) if field.number => number().ok_or_else(|| self.not_a_number(name, value, at)),
            Name::Field(field) => match words(field) {
                Some(words)
                    if matches!(operator, "=" | "!=") && !words.contains(&value) && external(value).is_none() =>
                {
                    let hint = crate::suggest::nearest(value, &words);
                    Err(self.problem(format!("{value:?} is no {}{hint}", field.name), at))
                }
                _ => Ok(text()),
            },
            Name::Key(_) | Name::Missing(_) => Ok(number().unwrap_or_else(text)),
            Name::Experiment | Name::Tag => Ok(text()),
        }
    }

    fn not_a_number(&self, name: &Name, value: &str, at: Range<usize>) -> Problem {
        self.problem(format!("{} is a number; {value:?} is none", name.text()), at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Filter, Problem> {
        Filter::parse(text, &Names::new(vec!["top1".into(), "r2/silent".into()]))
    }

    #[test]
    fn and_binds_closer_than_or_and_parentheses_closer_still() {
        let sql = |text: &str| parse(text).unwrap().sql;
        assert_eq!(
            sql("kind=bank or seed=1 and state=done"),
            "(run.kind = ? OR run.seed = ? AND run.state = ?)".to_string()
        );
        assert_eq!(
            sql("(kind=bank or seed=1) and state=done"),
            "((run.kind = ? OR run.seed = ?) AND run.state = ?)".to_string()
        );
        assert_eq!(
            parse("seed>=2 and train.lr=1e-3 and key~'l2/With'").unwrap().binds,
            vec![Bind::Integer(2), Bind::Real(1e-3), Bind::Text("l2/with".into())]
        );
        assert_eq!(sql("error!=none"), "(run.error IS NOT NULL)");
        assert_eq!(sql("r2/silent > -0.5"), parse("r2/silent>-0.5").unwrap().sql);
    }

    #[test]
    fn mistakes_are_placed_and_the_nearest_name_is_offered() {
        let told = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            told("seed=1 and generatr=lstm"),
            "\"generatr\" is not known; did you mean \"generator\"?\n  seed=1 and generatr=lstm\n             ^^^^^^^^"
        );
        assert!(told("generator=lsmt").contains("\"lsmt\" is no generator; did you mean \"lstm\"?"));
        assert!(told("top1>high").contains("top1 is a number") && told("top1>nan").contains("top1 is a number"));
        for wrong in ["", "(", ")", "seed", "seed=", "seed 1", "seed=1 seed=2", "(seed=1", "seed=1)", "'", "=", "é=1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(told(&"(".repeat(100_000)).contains("nested too deeply"));
        // However long it is, and on however many lines, the message is short.
        for long in ["'", "generatr=", "seed=", "seed=1 and", "é", "(seed=1 "] {
            for (before, after) in [(0, 9_000), (9_000, 0), (9_000, 9_000)] {
                let text = format!("{}{long}\n{}", "seed=1 or ".repeat(before / 10), "x ".repeat(after / 2));
                if let Err(problem) = parse(&text) {
                    let told = problem.to_string();
                    assert!(told.len() < 900 && told.lines().count() <= 3 && told.contains('^'), "{told}");
                }
            }
        }
        assert!(told(&"y".repeat(9_000)).len() < 900);
    }

    /// Whatever is typed behind `--where` is a condition that SQLite understands, or a message that points into it.
    #[test]
    fn mutated_conditions_are_read_or_refused_and_never_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(&dir.path().join("runs.db")).unwrap();
        let seeds = [
            "generator=lstm and (top1>30 or seed=0)",
            "state!=failed and key~'l2/With' or train.lr>=1e-3",
            "missing.rate=0.4 and experiment=\"tiny\" and error=none",
        ];
        let words =
            ["'", "\"", "(", ")", " and ", "or", "=", "!=", "~", "none", "é", "\0", "1e999", "%", ";", "--", "top5"];
        let mut rng = compute::rng::Rng::new(16, "conditions");
        let mut read = 0;
        for i in 0..3000 {
            let mut text: Vec<char> = seeds[i % seeds.len()].chars().collect();
            for _ in 0..1 + i % 3 {
                let at = rng.below(text.len().max(1)).min(text.len());
                match rng.below(3) {
                    0 if at < text.len() => drop(text.remove(at)),
                    1 => text.truncate(at),
                    _ => {
                        let tail = text.split_off(at);
                        text.extend(words[rng.below(words.len())].chars().chain(tail));
                    }
                }
            }
            let text: String = text.into_iter().collect();
            match parse(&text) {
                Err(problem) => assert!(problem.to_string().contains('^'), "{text}"),
                Ok(filter) => {
                    read += 1;
                    let selection = crate::store::Selection { filter: Some(filter), ..Default::default() };
                    assert!(store.select(&selection).is_ok(), "{text}: {:?}", store.select(&selection));
                }
            }
        }
        assert!(read > 100, "{read} were conditions");
    }
}
