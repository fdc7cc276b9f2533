//! Rounding, for figures that people and machines read.

use serde_json::Value;

/// A number with so many digits after the point; null if it is not one.
pub(crate) fn number(value: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    serde_json::Number::from_f64((value * scale).round() / scale).map_or(Value::Null, Value::Number)
}
