//! Values of the tree as people write them.

use crate::control::human::{Rate, Span};
use anyhow::Result;
use dataplane_api::Secret;
use domain::tree::Place;
use serde_json::Value;

/// Name of all fields that hold one.
const PASSWORD: &str = "password";

/// A value: TOML, or else the text itself. Where bytes a second or milliseconds belong, `10Mbit/s` and `30d` are those.
///
/// # Errors
/// A rate or a duration that is none.
pub(crate) fn read(place: &Place, text: &str) -> Result<Value> {
    let name = place.names().last().map_or("", String::as_str);
    if is_password(place) {
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        return Ok(Value::String(text.to_owned()));
    }
    let is_measured = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_alphabetic());
    if is_measured && (name == "capacity" || name.ends_with("bytes_per_s")) {
        return Ok(text.parse::<Rate>()?.0.into());
    }
    if is_measured && (name == "ms" || name.ends_with("_ms")) {
        return Ok(text.parse::<Span>()?.0.into());
    }
    Ok(toml_value(text).unwrap_or_else(|| Value::String(text.to_owned())))
}

/// One TOML value; dates are text, as the tree has them.
fn toml_value(text: &str) -> Option<Value> {
    let mut table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    let value = table.remove("value").filter(|_| table.is_empty())?;
    json(value)
}

fn json(value: toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        // Nothing of the tree is a fraction or a date: a word may look like one.
        toml::Value::Float(_) | toml::Value::Datetime(_) => return None,
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Array(list) => list.into_iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Table(table) => {
            let pairs = table.into_iter().map(|(name, value)| Some((name, json(value)?)));
            Value::Object(pairs.collect::<Option<_>>()?)
        }
    })
}

/// Whether a password belongs there.
pub(crate) fn is_password(place: &Place) -> bool {
    place.names().last().is_some_and(|name| name == PASSWORD)
}

/// Whether a value holds a password, other than one that was not shown.
pub(crate) fn has_password(place: &Place, value: &Value) -> bool {
    let is_hidden = |value: &Value| value.as_str() == Some(Secret::HIDDEN);
    if is_password(place) {
        return !is_hidden(value);
    }
    if let Some(table) = value.as_object() {
        let holds = |(name, value): (&String, &Value)| {
            if name == PASSWORD { !is_hidden(value) } else { has_password(&Place::root(), value) }
        };
        return table.iter().any(holds);
    }
    value.as_array().into_iter().flatten().any(|value| has_password(&Place::root(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(place: &str, text: &str) -> Value {
        read(&place.parse().unwrap(), text).unwrap()
    }

    #[test]
    fn values_are_toml_or_words() {
        for (text, value) in [
            ("1500", json!(1500)),
            ("true", json!(true)),
            ("red", json!("red")),
            ("\"5\"", json!("5")),
            ("[\"a\", 2]", json!(["a", 2])),
            ("{ port = \"west\", x = 1 }", json!({"port": "west", "x": 1})),
            ("02:00:00:00:00:01", json!("02:00:00:00:00:01")),
            ("fc00::1", json!("fc00::1")),
            ("1.5", json!("1.5")),
            ("2027-01-31", json!("2027-01-31")),
            ("5\nother = 6", json!("5\nother = 6")),
            ("two words", json!("two words")),
        ] {
            assert_eq!(at("box.name", text), value, "{text}");
        }
        assert_eq!(at("vswitch.red.login.bob.password", "12"), json!("12"));
    }

    #[test]
    fn rates_and_durations_are_read_where_they_belong() {
        assert_eq!(at("port.west.capacity", "10Gbit/s"), json!(1_250_000_000_u64));
        assert_eq!(at("port.west.capacity", "1000"), json!(1000));
        assert_eq!(at("port.west.lease.grace_ms", "1h"), json!(3_600_000));
        assert_eq!(at("price.west.lease.ms", "1d"), json!(86_400_000));
        assert_eq!(at("box.name", "10Mbit/s"), json!("10Mbit/s"));
        assert!(read(&"port.west.capacity".parse().unwrap(), "10Mb").is_err());
    }

    #[test]
    fn passwords_are_seen_wherever_they_are() {
        let root = Place::root();
        let password = "vswitch.red.login.bob.password".parse().unwrap();
        assert!(has_password(&password, &json!("hunter2")));
        assert!(!has_password(&password, &json!(Secret::HIDDEN)));
        assert!(has_password(&root, &json!({"login": {"bob": {"password": "x"}}})));
        assert!(has_password(&root, &json!([{"password": {"deep": 1}}])));
        assert!(!has_password(&root, &json!({"login": {"bob": {"role": "peer"}}})));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in any::<String>(), number in any::<i64>()) {
            let place = "box.name".parse().unwrap();
            let quoted = toml::Value::String(text.clone()).to_string();
            prop_assert_eq!(read(&place, &quoted).unwrap(), json!(text));
            prop_assert_eq!(read(&place, &number.to_string()).unwrap(), json!(number));
            let _any = read(&place, &text);
        }
    }
}
