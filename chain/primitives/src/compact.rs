//! Compact targets (Bitcoin's `nBits`), work, and numbers of any size between them.

use num_bigint::{BigInt, BigUint, Sign};

/// A target in 32 bits: 8 of exponent, a sign, 23 of mantissa. Any value can stand in a header; most make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Compact(pub u32);

/// The easiest target of a PacketCrypt proof.
pub const EASIEST: Compact = Compact(0x207f_ffff);

impl Compact {
    /// The number it stands for: up to 2040 bits, or negative.
    #[must_use]
    pub fn number(self) -> BigInt {
        let mantissa = self.0 & 0x007f_ffff;
        let exponent = self.0 >> 24;
        let magnitude = match exponent {
            0..=3 => BigUint::from(mantissa >> (8 * (3 - exponent))),
            _ => BigUint::from(mantissa) << (8 * (exponent - 3)),
        };
        let sign = if self.0 & 0x0080_0000 == 0 { Sign::Plus } else { Sign::Minus };
        BigInt::from_biguint(sign, magnitude)
    }

    /// The target; `None`: negative.
    #[must_use]
    pub fn target(self) -> Option<BigUint> {
        self.number().to_biguint()
    }

    /// The nearest compact number that is not greater. Numbers of more than 255 bytes lose their exponent's high bits,
    /// as in the reference; nothing that is verified here comes near.
    #[must_use]
    pub fn from_number(number: &BigUint) -> Self {
        let mut exponent = number.bits().div_ceil(8);
        let mantissa = if exponent <= 3 {
            number << (8 * (3 - exponent))
        } else {
            number >> (8 * (exponent - 3))
        };
        let mut mantissa = mantissa.iter_u32_digits().next().unwrap_or(0);
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            exponent += 1;
        }
        let exponent = u32::try_from(exponent & 0xff).unwrap_or(0);
        Self(exponent << 24 | mantissa)
    }

    /// Tries until a hash meets it, on average: `2^256 // (target + 1)`. `None`: a negative target.
    #[must_use]
    pub fn work(self) -> Option<BigUint> {
        Some(two_to_256() / (self.target()? + 1u32))
    }

    /// Whether a hash, read as a little-endian number, is not greater. Nothing meets a target that is not positive.
    #[must_use]
    pub fn is_met_by(self, hash: &[u8; 32]) -> bool {
        let target = self.number();
        target.sign() == Sign::Plus && BigUint::from_bytes_le(hash) <= *target.magnitude()
    }
}

/// The target whose work is `work`: `(2^256 − work) // work`; the work 0 gives 2^256, more than 2^256 gives 0.
#[must_use]
pub fn target_for_work(work: &BigUint) -> BigUint {
    let all = two_to_256();
    if work.bits() == 0 {
        return all;
    }
    if *work > all {
        return BigUint::ZERO;
    }
    (all - work) / work
}

pub(crate) fn two_to_256() -> BigUint {
    BigUint::from(1u32) << 256u32
}
