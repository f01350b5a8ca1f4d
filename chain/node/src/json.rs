//! JSON from strangers: depth and length of lists are looked at before any parser runs, and types are checked by place.

use crate::error::{NodeError, Text};
use serde::de::DeserializeOwned;

/// How deep an answer may be nested.
pub const DEPTH_MAX: usize = 32;
/// How many entries a list or object may have. A block has 16 700 transactions at most.
pub const ENTRIES_MAX: usize = 20_000;

/// Reads `bytes`, all of them, as a `T`.
///
/// # Errors
/// [`NodeError::TooDeep`], [`NodeError::TooMany`], and [`NodeError::Shape`] with the place of what is wrong.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NodeError> {
    check_bounds(bytes)?;
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| shape(&error))?;
    parser.end().map_err(|error| shape_at_end(&error))?;
    Ok(value)
}

pub(crate) fn shape(error: &serde_path_to_error::Error<serde_json::Error>) -> NodeError {
    let place = Text::new(&error.path().to_string());
    NodeError::Shape { place, reason: Text::new(&error.inner().to_string()) }
}

pub(crate) fn shape_at_end(error: &serde_json::Error) -> NodeError {
    NodeError::Shape { place: Text::new("."), reason: Text::new(&error.to_string()) }
}

/// Walks over the brackets and commas outside texts. What is no JSON at all is left to the parser.
pub(crate) fn check_bounds(bytes: &[u8]) -> Result<(), NodeError> {
    let mut commas = [0; DEPTH_MAX];
    let mut depth = 0;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_text(&mut rest),
            b'[' | b'{' => {
                let place = commas.get_mut(depth).ok_or(NodeError::TooDeep { max: DEPTH_MAX })?;
                *place = 0;
                depth += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => {
                let Some(place) = depth.checked_sub(1).and_then(|place| commas.get_mut(place))
                else {
                    continue;
                };
                *place += 1;
                if *place >= ENTRIES_MAX {
                    return Err(NodeError::TooMany { max: ENTRIES_MAX });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn skip_text(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// How deep and how long a value is, by looking at it.
    fn bounds(value: &Value) -> (usize, usize) {
        let inner: Vec<_> = match value {
            Value::Array(list) => list.iter().map(bounds).collect(),
            Value::Object(map) => map.values().map(bounds).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return (0, 0),
        };
        let depth = inner.iter().map(|(depth, _)| depth + 1).max().unwrap_or(1);
        (depth, inner.iter().map(|(_, many)| *many).max().unwrap_or(0).max(inner.len()))
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        leaf.prop_recursive(40, 60, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                (".*", inner).prop_map(|(name, value)| serde_json::json!({ name: value })),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_in_bounds_is_read_as_it_is(value in values()) {
            let text = value.to_string();
            match read::<Value>(text.as_bytes()) {
                Ok(read) => prop_assert_eq!(read, value),
                Err(NodeError::TooDeep { .. }) => prop_assert!(bounds(&value).0 > DEPTH_MAX),
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }

    #[test]
    fn depth_and_entries_are_bounded() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read::<Value>(deep(DEPTH_MAX).as_bytes()).is_ok());
        for depth in [DEPTH_MAX + 1, 1_000_000] {
            assert!(matches!(
                read::<Value>(deep(depth).as_bytes()),
                Err(NodeError::TooDeep { .. })
            ));
        }
        let long = |entries: usize| format!("[{}0]", "0,".repeat(entries - 1));
        assert!(read::<Value>(long(ENTRIES_MAX).as_bytes()).is_ok());
        let error = read::<Value>(long(ENTRIES_MAX + 1).as_bytes());
        assert!(matches!(error, Err(NodeError::TooMany { .. })));
        // Brackets in texts are none.
        let text = format!("\"\\\"{}\"", "[,".repeat(100_000));
        assert!(read::<Value>(text.as_bytes()).is_ok());
    }

    #[test]
    fn places_are_named() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only that they are read")]
        struct Inner {
            height: u32,
        }
        let error = read::<Vec<Inner>>(br#"[{"height":1},{"height":"2"}]"#).unwrap_err();
        let NodeError::Shape { place, reason } = error else { panic!("{error}") };
        assert_eq!(place.as_str(), "[1].height");
        assert!(
            reason.as_str().starts_with("invalid type: string \"2\", expected u32"),
            "{reason}"
        );
        for wrong in ["", "[", "[1,]", "nul", "[] []", "\"\u{0}\"", "{\"a\" 1}"] {
            assert!(
                matches!(read::<Value>(wrong.as_bytes()), Err(NodeError::Shape { .. })),
                "{wrong}"
            );
        }
    }
}
