//! `tests/fixtures/NAME.json`: numbers computed by PyTorch, scikit-learn and SciPy; see `make_fixtures.py` beside them.

use serde_json::Value;

/// A whole fixture.
pub fn read(name: &str) -> Value {
    let path = super::root().join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The cases of a fixture.
pub fn cases(fixture: &Value) -> &Vec<Value> {
    fixture["cases"].as_array().unwrap()
}

/// A list of numbers.
pub fn doubles(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// A list of numbers, as networks take them.
pub fn floats(value: &Value) -> Vec<f32> {
    doubles(value).into_iter().map(|v| v as f32).collect()
}

/// A list of indices.
pub fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

/// An extent or count.
pub fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}
