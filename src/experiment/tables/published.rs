//! A number as a paper prints it.

use crate::brief::shortened;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value as a paper prints it: the number and how many decimals it is given with.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(with = "String")]
pub struct Published {
    /// The number.
    pub value: f64,
    /// Decimals; rounding alone makes it uncertain by half a unit of the last one.
    pub decimals: usize,
}

impl Published {
    /// Reads `"4.70"`, `"55,196"`: digits with a decimal point, and commas between groups of three digits or nowhere. A decimal
    /// comma (`"4,70"`) is refused; read as a thousands separator it would make 470 of 4.7.
    pub fn parse(text: &str) -> Option<Published> {
        let text = text.trim();
        let (sign, rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
        let (whole, decimals) = rest.split_once('.').unwrap_or((rest, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let mut groups = whole.split(',');
        let first = groups.next().unwrap_or_default();
        let mut later = groups.clone();
        let grouped = later.next().is_some();
        let first_fits = digits(first) && if grouped { (1..=3).contains(&first.len()) } else { first.len() <= 15 };
        if !first_fits || !groups.all(|group| group.len() == 3 && digits(group)) || !digits(decimals) {
            return None;
        }
        if decimals.len() > 15 || whole.len() > 20 || (first.is_empty() && decimals.is_empty()) {
            return None;
        }
        // With more digits than these a number would be rounded, and written otherwise than it was read.
        let figures =
            whole.bytes().chain(decimals.bytes()).filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
        if figures > 15 {
            return None;
        }
        let value: f64 = format!("0{}.{decimals}0", whole.replace(',', "")).parse().ok()?;
        Some(Published { value: sign * value, decimals: decimals.len() })
    }
}

impl<'de> Deserialize<'de> for Published {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Number(serde_json::Number),
        }
        let text = match Raw::deserialize(deserializer) {
            Ok(Raw::Text(text)) => text,
            Ok(Raw::Number(number)) => number.to_string(),
            Err(_) => return Err(serde::de::Error::custom("a published value should be a number such as \"4.70\"")),
        };
        Published::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "published value {:?} is no number; write it as printed, with a decimal point, such as \"4.70\" or \"55,196\"",
                shortened(&text, 40)
            ))
        })
    }
}

impl Serialize for Published {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.*}", self.decimals, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{published, read};
    use super::*;

    #[test]
    fn published_values_keep_the_precision_they_are_printed_with() {
        for (text, value, decimals) in [
            ("\"4.70\"", 4.7, 2),
            ("4.70", 4.7, 2),
            ("'4.7'", 4.7, 1),
            ("4", 4.0, 0),
            ("0.50", 0.5, 2),
            (".5", 0.5, 1),
            ("100", 100.0, 0),
        ] {
            let p = published(text).unwrap();
            assert_eq!((p.value, p.decimals), (value, decimals), "{text}");
        }
        assert_eq!(Published::parse("55,196").unwrap().value, 55196.0);
        assert_eq!(Published::parse("1,234,567.50").unwrap(), Published { value: 1234567.5, decimals: 2 });
    }

    #[test]
    fn what_is_no_printed_percentage_is_refused() {
        for text in [
            "\"4,70\"",
            "\"11,8\"",
            "\"4,700\"",
            "\"1,2,3\"",
            "\",5\"",
            "\"4.7.0\"",
            "\"4 .7\"",
            "470",
            "-1",
            "1e1",
            "0x10",
            "\"\"",
            "\".\"",
            "\"-\"",
            "\"4.7%\"",
            "\"٤\"",
            ".inf",
            ".nan",
            "true",
            "[4]",
            "\"0,470\"",
            "\"12345678901234567890\"",
        ] {
            let p = published(text);
            assert!(p.is_err() || text == "\"0,470\"", "{text}: {p:?}");
        }
        let p = published("\"4,70\"").unwrap_err();
        assert!(p.line == 5 && p.message.contains("decimal point"), "{p}");
        let p = published("470").unwrap_err();
        assert!(p.message.contains("from 0 to 100"), "{p}");
        let text = "tables:\n  - {table: 1, title: t, counts: [{key: a, row: a, count: total, published: {train: \"55.196\"}}]}\n";
        assert!(read(text).unwrap_err().message.contains("whole number"));
    }
}
