//! Time as meters and calendars count it.

use dataplane_api::Nanos;

/// 2⁻⁸ ns, wrapping: 64 bytes at 100 Gb/s are 1 311. Two of them are compared by their distance, which is right for
/// a year.
pub type Ticks = u64;

const TICKS_PER_NANO: u32 = 8;
const TICKS_PER_SECOND: u128 = 1_000_000_000 << TICKS_PER_NANO;

/// A moment in ticks.
#[must_use]
pub fn ticks(time: Nanos) -> Ticks {
    time << TICKS_PER_NANO
}

/// How far `a` lies after `b`; negative if before.
#[inline]
pub(super) fn after(a: Ticks, b: Ticks) -> i64 {
    a.wrapping_sub(b).cast_signed()
}

/// The later of two moments.
#[inline]
pub(super) fn later(a: Ticks, b: Ticks) -> Ticks {
    if after(a, b) > 0 { a } else { b }
}

/// Five bits have to hold a shift: enough for 10¹¹ bytes a second.
const SHIFT_MAX: u8 = 31;

/// What a byte takes at some rate: `mantissa · 2^-shift` ticks, 31 bits exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerByte {
    pub(super) mantissa: u32,
    pub(super) shift: u8,
}

impl PerByte {
    /// Lowest rate that can be told, bytes a second.
    pub const RATE_MIN: u64 = dataplane_api::limits::RATE_MIN;

    /// At `rate` bytes a second, at least [`Self::RATE_MIN`].
    #[must_use]
    pub fn at(rate: u64) -> Self {
        let rate = u128::from(rate.max(Self::RATE_MIN));
        let mut shift = 0;
        // As long as the mantissa keeps to its 32 bits.
        while shift < SHIFT_MAX && (TICKS_PER_SECOND << (shift + 1)) / rate <= u128::from(u32::MAX)
        {
            shift += 1;
        }
        let mantissa = ((TICKS_PER_SECOND << shift) + rate / 2) / rate;
        Self { mantissa: u32::try_from(mantissa).unwrap_or(u32::MAX), shift }
    }

    /// Nothing.
    pub(crate) const ZERO: Self = Self { mantissa: 0, shift: 0 };

    /// The same as [`Self::at`] with 22 bits exact, for rates of 1 KB/s to 4 TB/s, at the cost of one division.
    #[inline]
    pub(super) fn roughly_at(rate: u64) -> Self {
        const TICKS: u64 = 1_000_000_000 << TICKS_PER_NANO;
        // The quotient keeps to 32 bits: 2.56·10¹¹ has 38.
        let shift = rate.ilog2().saturating_sub(6).min(TICKS.leading_zeros());
        let mantissa = (TICKS << shift) / rate;
        let shift = u8::try_from(shift).unwrap_or(SHIFT_MAX);
        Self { mantissa: u32::try_from(mantissa).unwrap_or(u32::MAX), shift }
    }

    /// What `bytes` take, to the nearest tick. `bytes` < 2³².
    #[inline]
    #[must_use]
    pub fn times(self, bytes: u64) -> Ticks {
        let half = (1_u64 << self.shift) >> 1;
        (bytes.wrapping_mul(u64::from(self.mantissa)) + half) >> self.shift
    }

    /// How many bytes go in `time`.
    #[must_use]
    pub fn bytes_in(self, time: Ticks) -> u64 {
        let bytes = (u128::from(time) << self.shift) / u128::from(self.mantissa.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_takes_what_exact_arithmetic_says() {
        for rate in [64, 1_000, 999_983, 1_250_000_000, 12_500_000_000, 125_000_000_000] {
            for bytes in [84_u64, 1_542, 9_042, 31_250_000] {
                let exact = u128::from(bytes) * TICKS_PER_SECOND / u128::from(rate);
                let found = u128::from(PerByte::at(rate).times(bytes));
                let off = found.abs_diff(exact);
                assert!(off <= 1 + (exact >> 30), "{bytes} at {rate}: {found}, not {exact}");
            }
        }
    }

    #[test]
    fn a_rough_rate_is_off_by_less_than_a_millionth() {
        let mut rate = wire::traffic_class::WEIGHT_MIN;
        while rate < wire::traffic_class::WEIGHT_MAX {
            let exact = 65_535 * TICKS_PER_SECOND / u128::from(rate);
            let found = u128::from(PerByte::roughly_at(rate).times(65_535));
            assert!(found.abs_diff(exact) <= 1 + exact / 1_000_000, "{rate}: {found}, not {exact}");
            rate += rate / 100 + 1;
        }
    }

    #[test]
    fn moments_are_ordered_across_the_wrap() {
        assert_eq!(later(5, u64::MAX - 5), 5);
        assert_eq!(after(u64::MAX, 1), -2);
    }
}
