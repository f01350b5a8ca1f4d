//! Durations, rates, sizes and instants as people write them; exact both ways.

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::str::FromStr;

/// Units of time, milliseconds, the longest first.
const SPANS: [(&str, u64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
/// Units of rate, bits a second, the largest first.
const RATES: [(&str, u64); 10] = [
    ("Tbit/s", 1_000_000_000_000),
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1000),
    ("bit/s", 1),
    ("TB/s", 8_000_000_000_000),
    ("GB/s", 8_000_000_000),
    ("MB/s", 8_000_000),
    ("kB/s", 8000),
    ("B/s", 8),
];
/// Units of size, bytes.
const SIZES: [(&str, u64); 7] = [
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
/// Digits after the point that a rate is shown with, if that is exact.
const PLACES: u32 = 3;

/// How long, milliseconds: `90s`, `1d12h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

impl FromStr for Span {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || format!("{text:?}: expected a duration as 90s, 5m, 12h, 30d, 2w or 1d12h");
        ensure!(!text.is_empty(), bad());
        let (mut rest, mut total) = (text, 0_u64);
        // Each unit at most once, and in order, so that a slip is no other duration.
        let mut allowed = SPANS.as_slice();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).with_context(bad)?;
            let (number, after) = rest.split_at(digits);
            let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (name, next) = after.split_at(end);
            let at = allowed.iter().position(|(unit, _)| *unit == name).with_context(bad)?;
            let (_, ms) = allowed.get(at).with_context(bad)?;
            allowed = allowed.get(at + 1..).unwrap_or_default();
            let number: u64 = number.parse().with_context(bad)?;
            let part = number.checked_mul(*ms).with_context(bad)?;
            total = total.checked_add(part).with_context(bad)?;
            rest = next;
        }
        Ok(Self(total))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, ms) in SPANS {
            let count = rest / ms;
            rest %= ms;
            if count > 0 {
                write!(f, "{count}{name}")?;
            }
        }
        Ok(())
    }
}

impl Span {
    /// Whole seconds, at least one.
    pub(crate) fn seconds(self) -> Result<u64> {
        ensure!(self.0 > 0 && self.0.is_multiple_of(1000), "{self}: expected whole seconds");
        Ok(self.0 / 1000)
    }
}

/// How fast, bytes a second: `10Mbit/s`, `1.25MB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            format!(
                "{text:?}: expected a rate of whole bytes a second, as 10Mbit/s, 1.5Gbit/s or 125kB/s"
            )
        };
        let (number, unit) = split_unit(text);
        // People leave out the end of a rate in bits, where nothing else can be meant.
        let is_meant = |name: &str| {
            name == unit || (name.strip_suffix("/s") == Some(unit) && name.contains("bit"))
        };
        let (_, bits) = RATES.iter().find(|(name, _)| is_meant(name)).with_context(bad)?;
        let bits = scaled(number, *bits).with_context(bad)?;
        ensure!(bits.is_multiple_of(8), bad());
        Ok(Self(bits / 8))
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = u128::from(self.0) * 8;
        for (name, unit) in RATES.iter().take(5) {
            let unit = u128::from(*unit);
            let step = unit / 10_u128.pow(PLACES).min(unit);
            if bits >= unit && bits.is_multiple_of(step) {
                let places = if unit == 1 { 0 } else { PLACES as usize };
                return write!(f, "{}{name}", decimal(bits / step, places));
            }
        }
        write!(f, "{}bit/s", bits)
    }
}

/// How much, bytes: `64kB`, `1MiB`, `1500B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || format!("{text:?}: expected whole bytes, as 1500B, 64kB or 1MiB");
        let (number, unit) = split_unit(text);
        let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit).with_context(bad)?;
        Ok(Self(scaled(number, *bytes).with_context(bad)?))
    }
}

/// When: an instant, or so long from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Unix milliseconds.
    At(u64),
    /// So long after now.
    In(Span),
}

impl FromStr for When {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            format!(
                "{text:?}: expected now, +30d, 2027-01-31, 2027-01-31T12:00:00Z or @ and Unix milliseconds"
            )
        };
        if text == "now" {
            return Ok(Self::In(Span(0)));
        }
        if let Some(span) = text.strip_prefix('+') {
            return Ok(Self::In(span.parse()?));
        }
        if let Some(ms) = text.strip_prefix('@') {
            return Ok(Self::At(ms.parse().with_context(bad)?));
        }
        let at = match text.parse::<Timestamp>() {
            Ok(at) => at,
            Err(_) => midnight(text).with_context(bad)?,
        };
        Ok(Self::At(u64::try_from(at.as_millisecond()).with_context(bad)?))
    }
}

impl When {
    /// Unix milliseconds.
    pub(crate) fn at(self, now: u64) -> Result<u64> {
        match self {
            Self::At(at) => Ok(at),
            Self::In(span) => now.checked_add(span.0).context("that is too far in the future"),
        }
    }
}

/// A day begins at midnight UTC.
fn midnight(text: &str) -> Result<Timestamp> {
    let date: Date = text.parse()?;
    if date.to_string() != text {
        bail!("more than a date");
    }
    Ok(date.to_zoned_datetime(TimeZone::UTC)?.timestamp())
}

/// An instant, in UTC and to the second: `2027-01-31 12:00:00Z`.
pub(crate) fn instant(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_second(ms / 1000).ok());
    match at {
        Some(at) => at.to_string().replace('T', " "),
        // What is beyond all years is meant to be.
        None => "never".to_owned(),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start_matches(' '))
}

/// Decimal digits times a unit, if that is a whole number that fits.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    let ten = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let value = whole.parse::<u128>().ok()?.checked_mul(ten)?.checked_add(part)?;
    let product = value.checked_mul(unit.into())?;
    if !product.is_multiple_of(ten) {
        return None;
    }
    u64::try_from(product / ten).ok()
}

/// A number with the point so many places from its end, and no zeros behind it.
fn decimal(value: u128, places: usize) -> String {
    let digits = format!("{value:0>width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let part = part.trim_end_matches('0');
    if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_is_read() {
        let span = |text: &str| text.parse::<Span>().unwrap().0;
        assert_eq!(span("30d"), 30 * 86_400_000);
        assert_eq!(span("1d12h"), 36 * 3_600_000);
        assert_eq!(span("1m500ms"), 60_500);
        let rate = |text: &str| text.parse::<Rate>().unwrap().0;
        assert_eq!(rate("10Mbit/s"), 1_250_000);
        assert_eq!(rate("10Mbit"), 1_250_000);
        assert_eq!(rate("1.5Gbit/s"), 187_500_000);
        assert_eq!(rate("125 kB/s"), 125_000);
        assert_eq!("64kB".parse::<Size>().unwrap().0, 64_000);
        assert_eq!("0.5KiB".parse::<Size>().unwrap().0, 512);
        let when = |text: &str| text.parse::<When>().unwrap().at(1000).unwrap();
        assert_eq!(when("now"), 1000);
        assert_eq!(when("+1s"), 2000);
        assert_eq!(when("@5"), 5);
        assert_eq!(when("1970-01-02"), 86_400_000);
        assert_eq!(when("1970-01-01T01:00:00+01:00"), 0);
    }

    #[test]
    fn what_may_mean_something_else_is_refused() {
        for text in
            ["", "5", "d", "5x", "-5d", "1.5d", "12h1d", "1d1d", "1 d", "99999999999999999999d"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in [
            "",
            "10",
            "10M",
            "3bit/s",
            "10MB",
            ".5Mbit/s",
            "1.Mbit/s",
            "1.2.3Mbit/s",
            "-1Mbit/s",
            "0.0001kbit/s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["", "64", "64k", "1.5B", "64KB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["", "tomorrow", "1969-12-31", "2027-13-01", "+", "@x", "2027-01-31T12:00"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }

    #[test]
    fn instants_are_shown_in_utc() {
        assert_eq!(instant(86_400_999), "1970-01-02 00:00:00Z");
        assert_eq!(instant(u64::MAX), "never");
    }

    proptest! {
        #[test]
        fn durations_read_back(ms in any::<u64>()) {
            prop_assert_eq!(Span(ms).to_string().parse::<Span>().unwrap(), Span(ms));
        }

        #[test]
        fn rates_read_back(bytes_per_s in 0..u64::MAX / 8, round in 0_u32..15) {
            let rounded = bytes_per_s / 10_u64.pow(round) * 10_u64.pow(round);
            for rate in [bytes_per_s, rounded] {
                prop_assert_eq!(Rate(rate).to_string().parse::<Rate>().unwrap(), Rate(rate));
            }
        }

        #[test]
        fn reading_never_panics(text in "[0-9.a-zA-Z/ +@:-]{0,24}") {
            let _read = (text.parse::<Span>(), text.parse::<Rate>(), text.parse::<Size>());
            if let Ok(when) = text.parse::<When>() {
                let _at = when.at(u64::MAX);
            }
        }
    }
}
