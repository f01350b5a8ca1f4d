//! What announcements are worth, and what a block must reach with them.
//!
//! Proof versions 0 and 1 have one rule, 2 and later another. Source: PKT-CHAIN.md §2.8.

use crate::compact::{Compact, EASIEST, target_for_work, two_to_256};
use num_bigint::{BigUint, Sign};

/// Blocks that an announcement waits before it may be used.
pub const WAIT: u32 = 3;

/// The target that the work hash of a block must meet.
///
/// `bits`: of the header, or a pool's share target. `least`: target of the weakest announcement of the set. `count`: of
/// announcements in the set.
#[must_use]
pub fn effective(bits: Compact, least: Compact, count: u64, proof_version: u64) -> Compact {
    let header = bits.work().unwrap_or_default();
    let announcement = least.work().unwrap_or_default();
    let work = if announcement.bits() == 0 || count == 0 {
        two_to_256() - 1u32
    } else {
        let mut work = header.pow(3);
        let mut count = BigUint::from(count);
        if proof_version >= 2 {
            work >>= 10u32;
            count = count.pow(2);
        }
        work / announcement / count
    };
    Compact::from_number(&target_for_work(&work)).min(EASIEST)
}

/// The target of an announcement in a block `age` blocks above its parent. `None`: it cannot be used there.
#[must_use]
pub fn aged(target: Compact, age: u32, proof_version: u64) -> Option<Compact> {
    let extra = age.checked_sub(WAIT)?;
    if proof_version >= 2 {
        if extra == 0 {
            return Some(target);
        }
        let number = target.target()?;
        // Longer than any target before it is shifted: no need for a number of that size.
        let bits = number.bits().checked_add(u64::from(extra)).filter(|bits| *bits <= 255);
        return bits.map(|_| Compact::from_number(&(number << extra)));
    }
    if extra == 0 {
        return target.target().map(|target| Compact::from_number(&target));
    }
    let aged = Compact::from_number(&target_for_work(&(target.work()? / extra)));
    (aged <= EASIEST).then_some(aged)
}

/// Whether a commitment's least target makes sense at all.
#[must_use]
pub fn is_sane_least(least: Compact, proof_version: u64) -> bool {
    let easiest = if proof_version >= 2 { EASIEST } else { Compact(0x20ff_ffff) };
    let target = least.number();
    let positive = proof_version < 2 || target.sign() == Sign::Plus;
    let work = least.work().unwrap_or_default();
    least.0 > 0 && least <= easiest && positive && work.bits() > 0 && work < two_to_256()
}

/// The greatest soft nonce of an announcement with this target. `None`: the mantissa is zero.
#[must_use]
pub fn soft_nonce_max(target: Compact) -> Option<u32> {
    let exponent = i64::from(target.0 >> 24);
    let log = i64::from((target.0 & 0x007f_ffff).checked_ilog2()?);
    let bits = 22 - log + (32 - exponent) * 8 + 10;
    Some(match bits {
        24.. => 0x00ff_ffff,
        1..=23 => 0x00ff_ffff >> (24 - bits),
        _ => 0,
    })
}
