//! Canonical JSON: one value, one text.
//!
//! Two forms, both with keys sorted by their bytes: [`document`], indented by two spaces and ended
//! by a newline, for files that people read and compare; [`compact`], with no white space at all,
//! for hashing. Floating-point numbers are refused, since one of them has many spellings.
//!
//! Keys are sorted here and not by `serde_json`, whose order changes as soon as any crate in the
//! build turns on its `preserve_order` feature.

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

/// Why a value has no canonical JSON.
#[derive(Debug, Error)]
pub enum CanonicalError {
    /// It can't be written as JSON at all, for example a map whose keys are no strings.
    #[error("the value can't be written as JSON")]
    Serialize(#[source] serde_json::Error),
    /// It holds a floating-point number.
    #[error("canonical JSON has no floating-point numbers, found `{found}`")]
    Float {
        /// The number.
        found: String,
    },
}

/// A file's text: sorted keys, two spaces of indentation, a newline at the end.
///
/// # Errors
///
/// The value holds a floating-point number or can't be JSON.
pub fn document(value: &impl Serialize) -> Result<String, CanonicalError> {
    let mut text = write(value, Some(0))?;
    text.push('\n');
    Ok(text)
}

/// The text to hash: sorted keys, no white space, no newline.
///
/// # Errors
///
/// The value holds a floating-point number or can't be JSON.
pub fn compact(value: &impl Serialize) -> Result<String, CanonicalError> {
    write(value, None)
}

fn write(value: &impl Serialize, indent: Option<usize>) -> Result<String, CanonicalError> {
    let value = serde_json::to_value(value).map_err(CanonicalError::Serialize)?;
    let mut text = String::new();
    push(&mut text, &value, indent)?;
    Ok(text)
}

fn push(text: &mut String, value: &Value, indent: Option<usize>) -> Result<(), CanonicalError> {
    match value {
        Value::Array(items) => {
            let item = |text: &mut String, item: &Value, inner| push(text, item, inner);
            list(text, ['[', ']'], items.iter(), indent, item)
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            list(text, ['{', '}'], members.into_iter(), indent, |text, (key, value), inner| {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push_str(if inner.is_some() { ": " } else { ":" });
                push(text, value, inner)
            })
        }
        Value::Number(number) if number.is_f64() => {
            Err(CanonicalError::Float { found: number.to_string() })
        }
        scalar => {
            text.push_str(&scalar.to_string());
            Ok(())
        }
    }
}

fn list<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: impl ExactSizeIterator<Item = T>,
    indent: Option<usize>,
    mut each: impl FnMut(&mut String, T, Option<usize>) -> Result<(), CanonicalError>,
) -> Result<(), CanonicalError> {
    let inner = indent.map(|depth| depth + 1);
    let empty = items.len() == 0;
    text.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        line(text, inner);
        each(text, item, inner)?;
    }
    if !empty {
        line(text, indent);
    }
    text.push(close);
    Ok(())
}

fn line(text: &mut String, indent: Option<usize>) {
    if let Some(depth) = indent {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sorts_keys_and_ends_with_a_newline() {
        let value = json!({"b": [1, -2, null], "a": {"ä\n\"": true}, "c": {}, "B": []});
        let expected = "{\n  \"B\": [],\n  \"a\": {\n    \"ä\\n\\\"\": true\n  },\n  \"b\": [\n    \
                        1,\n    -2,\n    null\n  ],\n  \"c\": {}\n}\n";
        assert_eq!(document(&value).expect("canonical"), expected);
        let expected = r#"{"B":[],"a":{"ä\n\"":true},"b":[1,-2,null],"c":{}}"#;
        assert_eq!(compact(&value).expect("canonical"), expected);
    }

    #[test]
    fn refuses_what_has_more_than_one_spelling() {
        let error = compact(&json!({"a": 1.5})).expect_err("a float");
        assert_eq!(error.to_string(), "canonical JSON has no floating-point numbers, found `1.5`");
        let keys = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(compact(&keys), Err(CanonicalError::Serialize(_))));
    }
}
