//! Amounts in smallest units, and how people write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A number of smallest units; as text in JSON, whose readers lose digits of long numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount(pub u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, if it fits.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, if it is not less than nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum of all, if it fits.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let amount = digits.then(|| text.parse().ok()).flatten();
        let expected = "a whole number below 2^128, as text";
        amount
            .map(Self)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
    }
}

/// Most digits after the point of any unit: their power of ten fits beside its products.
const DIGITS_MAX: u32 = 36;

/// Which asset an account counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnitId(pub u32);

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How an asset is written: `2.5 PKT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    code: String,
    per_whole: u64,
}

/// Why something is no unit, or text no amount of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The smallest unit must have an end when written in decimal digits.
    #[error("unit of {0} parts: expected a number that divides 10^{DIGITS_MAX}")]
    Parts(u64),
    /// A code is what people call it.
    #[error("unit code {0:?}: expected 1 to 16 letters and digits")]
    Code(String),
    /// Not digits with at most one point between them.
    #[error("amount {0:?}: expected decimal digits, with at most one point among them")]
    NotANumber(String),
    /// Less than the smallest unit, or more than fits.
    #[error("amount {text:?}: not a whole number of 1/{per_whole}, or too large")]
    NotWhole {
        /// As it was written.
        text: String,
        /// Smallest units in one whole.
        per_whole: u64,
    },
}

impl Unit {
    /// `per_whole`: smallest units in one whole, such as 2³⁰ for PKT.
    ///
    /// # Errors
    /// [`AmountError::Parts`], [`AmountError::Code`].
    pub fn new(code: &str, per_whole: u64) -> Result<Self, AmountError> {
        let letters = code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !letters || code.is_empty() || code.len() > 16 {
            return Err(AmountError::Code(code.to_owned()));
        }
        if !10_u128.pow(DIGITS_MAX).is_multiple_of(u128::from(per_whole)) {
            return Err(AmountError::Parts(per_whole));
        }
        Ok(Self { code: code.to_owned(), per_whole })
    }

    /// What people call it.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The amount in wholes: exact decimal digits, no more than it takes.
    #[must_use]
    pub fn format(&self, amount: Amount) -> String {
        let per_whole = u128::from(self.per_whole);
        let (whole, mut rest) = div_rem(amount.0, per_whole);
        let mut text = whole.to_string();
        if rest > 0 {
            text.push('.');
        }
        // Ends, as a power of ten is a multiple of `per_whole`. `rest` stays below 2⁶⁴.
        while rest > 0 {
            let (digit, next) = div_rem(rest.saturating_mul(10), per_whole);
            text.push_str(&digit.to_string());
            rest = next;
        }
        text
    }

    /// The amount that is written in wholes.
    ///
    /// # Errors
    /// [`AmountError::NotANumber`], [`AmountError::NotWhole`].
    pub fn parse(&self, text: &str) -> Result<Amount, AmountError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) {
            return Err(AmountError::NotANumber(text.to_owned()));
        }
        self.amount(whole, part).ok_or_else(|| AmountError::NotWhole {
            text: text.to_owned(),
            per_whole: self.per_whole,
        })
    }

    fn amount(&self, whole: &str, part: &str) -> Option<Amount> {
        let per_whole = u128::from(self.per_whole);
        let whole = whole.parse::<u128>().ok()?.checked_mul(per_whole)?;
        let part = part.trim_end_matches('0');
        let places = u32::try_from(part.len()).ok()?;
        let value = if part.is_empty() { 0 } else { part.parse::<u128>().ok()? };
        // What more than DIGITS_MAX places say is no whole number, and need not fit.
        let ten = 10_u128.checked_pow(places)?;
        let common = greatest_common_divisor(per_whole, ten);
        let (per_whole, ten) = (per_whole.checked_div(common)?, ten.checked_div(common)?);
        let (smallest, rest) = div_rem(value.checked_mul(per_whole)?, ten);
        (rest == 0).then_some(())?;
        whole.checked_add(smallest).map(Amount)
    }
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, div_rem(a, b).1) }
}

fn div_rem(value: u128, by: u128) -> (u128, u128) {
    (value.checked_div(by).unwrap_or(0), value.checked_rem(by).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pkt() -> Unit {
        Unit::new("PKT", 1 << 30).unwrap()
    }

    #[test]
    fn units_are_what_decimal_digits_can_say() {
        for good in [1, 2, 10, 1 << 30, 100_000_000, 1_000_000_000_000_000_000, 1 << 36] {
            assert!(Unit::new("X", good).is_ok(), "{good}");
        }
        for bad in [0, 3, 6, 7 << 10, 1 << 37, u64::MAX] {
            assert_eq!(Unit::new("X", bad), Err(AmountError::Parts(bad)));
        }
        for code in ["", "=1", "a b", "ABCDEFGHIJKLMNOPQ", "é"] {
            assert_eq!(Unit::new(code, 1), Err(AmountError::Code(code.into())));
        }
    }

    #[test]
    fn the_smallest_unit_has_all_its_digits() {
        assert_eq!(pkt().format(Amount(1)), "0.000000000931322574615478515625");
        assert_eq!(pkt().format(Amount(5 << 29)), "2.5");
        assert_eq!(pkt().parse("2.50"), Ok(Amount(5 << 29)));
        assert_eq!(Unit::new("sat", 1).unwrap().format(Amount(u128::MAX)), u128::MAX.to_string());
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1,5", "1e3", " 1", "1.2.3", "٣"] {
            let bad = AmountError::NotANumber(text.into());
            assert_eq!(pkt().parse(text), Err(bad), "{text}");
        }
        let digits = format!("0.{}1", "0".repeat(80));
        for text in ["0.1", "0.0000000000000000000000000000001", &digits, &u128::MAX.to_string()] {
            let bad = AmountError::NotWhole { text: text.into(), per_whole: 1 << 30 };
            assert_eq!(pkt().parse(text), Err(bad), "{text}");
        }
    }

    #[test]
    fn json_has_amounts_as_text() {
        let text = serde_json::to_string(&Amount(u128::MAX)).unwrap();
        assert_eq!(text, format!("\"{}\"", u128::MAX));
        assert_eq!(serde_json::from_str::<Amount>(&text).unwrap(), Amount(u128::MAX));
        for bad in ["1", "\"\"", "\"+1\"", "\"-1\"", &format!("\"{}0\"", u128::MAX)] {
            assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn amounts_read_back(amount: u128, twos in 0_u32..=36, fives in 0_u32..=11) {
            let per_whole = 2_u64.checked_pow(twos).and_then(|two| two.checked_mul(5_u64.pow(fives)));
            if let Some(per_whole) = per_whole {
                let unit = Unit::new("X", per_whole).unwrap();
                prop_assert_eq!(unit.parse(&unit.format(Amount(amount))), Ok(Amount(amount)));
            }
        }

        #[test]
        fn reading_never_panics(text in "[0-9.]{0,80}") {
            // Text that is an amount is the same one when it is written and read again.
            if let Ok(amount) = pkt().parse(&text) {
                prop_assert_eq!(pkt().parse(&pkt().format(amount)), Ok(amount));
            }
        }
    }
}
