//! Money.

use std::fmt;
use std::str::FromStr;

/// Units of one PKT.
pub const UNITS_PER_PKT: u64 = 1 << 30;

/// An amount in units of 2⁻³⁰ PKT, from 0 to [`Amount::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

/// What is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// More than there can be.
    #[error("amount {0} in 1/2^30 PKT is more than {max}", max = Amount::MAX.units())]
    TooGreat(u64),
    /// Not `12.5` and the like.
    #[error("an amount in PKT is digits, with a fraction of a whole number of 1/2^30 at most")]
    Text,
}

impl Amount {
    /// None.
    pub const ZERO: Self = Self(0);
    /// The most of any amount or sum: 6 000 000 000 PKT.
    pub const MAX: Self = Self(6_000_000_000 * UNITS_PER_PKT);

    /// From units.
    ///
    /// # Errors
    /// [`AmountError::TooGreat`].
    pub fn from_units(units: u64) -> Result<Self, AmountError> {
        if units <= Self::MAX.0 { Ok(Self(units)) } else { Err(AmountError::TooGreat(units)) }
    }

    /// In units.
    #[must_use]
    pub const fn units(self) -> u64 {
        self.0
    }

    /// The sum; `None`: more than [`Amount::MAX`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Self::from_units(self.0.checked_add(other.0)?).ok()
    }

    /// The difference; `None`: less than nothing.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// In PKT, exactly: every unit has 30 decimal places at most.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 / UNITS_PER_PKT)?;
        let mut rest = self.0 % UNITS_PER_PKT;
        if rest > 0 {
            f.write_str(".")?;
        }
        while rest > 0 {
            rest *= 10;
            write!(f, "{}", rest / UNITS_PER_PKT)?;
            rest %= UNITS_PER_PKT;
        }
        Ok(())
    }
}

/// From PKT; a fraction that is no whole number of units is refused.
impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 10 || fraction.len() > 30 {
            return Err(AmountError::Text);
        }
        let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let (units, rest) = fraction_units(fraction, scale).ok_or(AmountError::Text)?;
        if rest {
            return Err(AmountError::Text);
        }
        let whole: u64 = whole.parse().map_err(|_wrong| AmountError::Text)?;
        let units = u128::from(whole) * u128::from(UNITS_PER_PKT) + u128::from(units);
        let units = u64::try_from(units).map_err(|_wrong| AmountError::Text)?;
        Self::from_units(units)
    }
}

/// Units of a decimal fraction of `scale`, and whether something is left. Doubles 30 times instead of multiplying by
/// 2^30, which would not fit.
fn fraction_units(fraction: &str, scale: u128) -> Option<(u64, bool)> {
    let mut part: u128 = fraction.parse().ok()?;
    let mut units = 0;
    for _ in 0..30 {
        part *= 2;
        units *= 2;
        if part >= scale {
            part -= scale;
            units += 1;
        }
    }
    Some((units, part > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_unit_is_two_to_minus_thirty() {
        assert_eq!(Amount(1).to_string(), "0.000000000931322574615478515625");
        assert_eq!(Amount(4166 << 30).to_string(), "4166");
        assert_eq!("0.5".parse(), Ok(Amount(1 << 29)));
        for wrong in ["", ".", "1.", ".5", "-1", "0.1", "1e3", "99999999999", "0.0000000001"] {
            assert_eq!(wrong.parse::<Amount>(), Err(AmountError::Text), "{wrong}");
        }
        assert!(matches!("6000000000.5".parse::<Amount>(), Err(AmountError::TooGreat(_))));
    }

    proptest! {
        #[test]
        fn text_is_exact(units in 0..=Amount::MAX.0) {
            let amount = Amount(units);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }
}
