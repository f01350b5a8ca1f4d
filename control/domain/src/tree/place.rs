//! Where something stands in the tree: `vswitch.red.vif.2.mtu`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Names from the root down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Place(Vec<String>);

/// Text that is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "place {0:?}: expected names joined by points, and quotes around those with other than letters, digits, - and _"
)]
pub struct BadPlace(String);

impl Place {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// One step down.
    #[must_use]
    pub fn at(&self, name: impl fmt::Display) -> Self {
        let mut names = self.0.clone();
        names.push(name.to_string());
        Self(names)
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

fn is_bare(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(plain)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if is_bare(name) {
                f.write_str(name)?;
            } else {
                write!(f, "\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let bad = || BadPlace(text.to_owned());
        let mut names = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (name, after) = match rest.strip_prefix('"') {
                Some(quoted) => unquote(quoted).ok_or_else(bad)?,
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    let (name, after) = rest.split_at(end);
                    (is_bare(name).then(|| name.to_owned()).ok_or_else(bad)?, after)
                }
            };
            names.push(name);
            rest = match after.strip_prefix('.') {
                Some("") => return Err(bad()),
                Some(next) => next,
                None if after.is_empty() => after,
                None => return Err(bad()),
            };
        }
        Ok(Self(names))
    }
}

impl TryFrom<String> for Place {
    type Error = BadPlace;

    fn try_from(text: String) -> Result<Self, BadPlace> {
        text.parse()
    }
}

/// The name up to the closing quote, and what follows that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, text.get(at + 1..)?)),
            '\\' => name.push(characters.next()?.1),
            other => name.push(other),
        }
    }
    None
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_written_as_in_toml() {
        let place = Place::root().at("port").at("eth1.5").at("lease");
        assert_eq!(place.to_string(), "port.\"eth1.5\".lease");
        for bad in [".", "a.", ".a", "a..b", "a b", "\"a", "\"a\"b", "a.\"b\\"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn places_read_back(names in proptest::collection::vec(any::<String>(), 0..5)) {
            let place = names.iter().fold(Place::root(), |place, name| place.at(name));
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn reading_never_panics(text in any::<String>()) {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse(), Ok(place));
            }
        }
    }
}
