//! Whether two values of an axis are the same one: `1`, `1.0` and `1e0` are.

use serde_json::{Map, Number, Value};

/// Whether two values mean the same, however their numbers are written.
pub fn same(a: &Value, b: &Value) -> bool {
    a == b || normal(a) == normal(b)
}

/// A value with every number written in one way, so that values that are the same are equal.
pub(super) fn normal(value: &Value) -> Value {
    match value {
        // Whole numbers beyond this are not all told apart in double precision.
        Value::Number(n) if n.as_i64().is_none_or(|n| n.abs() < 1 << 53) && n.as_u64().is_none_or(|n| n < 1 << 53) => {
            // 0 and -0 are one value.
            let number = n.as_f64().map(|x| if x == 0.0 { 0.0 } else { x }).and_then(Number::from_f64);
            number.map_or_else(|| value.clone(), Value::Number)
        }
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(map) => {
            let mut sorted: Vec<(String, Value)> = map.iter().map(|(k, v)| (k.clone(), normal(v))).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(sorted))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        let value = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
        for (a, b) in [("1", "1.0"), ("1e-3", "0.0010"), ("0", "-0.0"), ("[1, {\"a\": 2.0}]", "[1.0, {\"a\": 2}]")] {
            assert!(same(&value(a), &value(b)), "{a} {b}");
        }
        for (a, b) in [("1", "\"1\""), ("1", "1.5"), ("9007199254740993", "9007199254740992"), ("null", "0")] {
            assert!(!same(&value(a), &value(b)), "{a} {b}");
        }
    }
}
