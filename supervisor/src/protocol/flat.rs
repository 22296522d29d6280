//! An answer (a status, the outcome of a reload) as `KEY=VALUE` lines, for scripts that have no JSON parser: the keys of `--json`,
//! joined by dots.

use serde::Serialize;
use serde_json::Value;

use super::one_line;

/// One line for each value. A list's elements are numbered from 0; what is null has nothing behind the `=`; a line end
/// or a control character in a value is escaped, so that no value can look like another line.
pub(crate) fn flat(answer: &impl Serialize) -> String {
    let mut lines = String::new();
    // Our own types have string keys, so that this cannot fail.
    add(
        &mut lines,
        "",
        &serde_json::to_value(answer).unwrap_or(Value::Null),
    );
    lines
}

fn add(lines: &mut String, key: &str, value: &Value) {
    let text = match value {
        Value::Object(members) => {
            for (name, member) in members {
                add(lines, &below(key, name), member);
            }
            return;
        }
        Value::Array(elements) => {
            for (number, element) in elements.iter().enumerate() {
                add(lines, &below(key, &number.to_string()), element);
            }
            return;
        }
        Value::Null => String::new(),
        Value::String(text) => one_line(text, usize::MAX),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    for part in [key, "=", &text, "\n"] {
        lines.push_str(part);
    }
}

fn below(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}
