//! Labels as people write them: `0000.0000.0000.0013`, or plain hexadecimal.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A route word; bit 0 is consumed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) u64);

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is not a label: write it as hhhh.hhhh.hhhh.hhhh or as up to 16 hexadecimal digits"
            )
        };
        let digits = if text.contains('.') {
            let groups: Vec<&str> = text.split('.').collect();
            if groups.len() != 4 || groups.iter().any(|group| group.len() != 4) {
                return Err(bad());
            }
            groups.concat()
        } else {
            text.strip_prefix("0x").unwrap_or(text).to_owned()
        };
        // from_str_radix takes a sign, labels do not.
        if digits.is_empty()
            || digits.len() > 16
            || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(bad());
        }
        Ok(Self(u64::from_str_radix(&digits, 16).ok().ok_or_else(bad)?))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        wire::label::Dotted(self.0).fmt(f)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_a_label_are_read() {
        for (text, value) in [
            ("0000.0000.0000.0013", 0x13),
            ("13", 0x13),
            ("0x13", 0x13),
            ("8000000000000001", 1 << 63 | 1),
            ("FFFF.ffff.FFFF.ffff", u64::MAX),
        ] {
            assert_eq!(text.parse::<Label>(), Ok(Label(value)), "{text}");
        }
        assert_eq!(Label(0x8000_0000_0000_0013).to_string(), "8000.0000.0000.0013");
    }

    #[test]
    fn what_is_not_a_label_is_refused_with_the_way_to_write_one() {
        for text in [
            "",
            "0x",
            "+13",
            "13g",
            "00000000000000013",
            "0.0.0.13",
            "0000.0000.0013",
            "0000.0000.0000.0000.0013",
        ] {
            let error = text.parse::<Label>().unwrap_err();
            assert!(error.contains("hhhh.hhhh.hhhh.hhhh"), "{text}: {error}");
        }
    }
}
