//! The reward schedule: what a block creates, and whose it is.

use crate::amount::{Amount, UNITS_PER_PKT};
use num_bigint::BigUint;

/// Blocks of a period of one subsidy.
pub const PERIOD: u32 = 144_000;
/// Subsidy of the first period, PKT.
const FIRST: u64 = 4166;

/// What the blocks of a period create each: 4166 PKT, a tenth less in each period than in the one before, divided once
/// at the end.
#[must_use]
pub fn subsidy(height: u32) -> Amount {
    amount(&of_period(height / PERIOD))
}

/// What of it is the Network Steward's: 51/256, exactly.
#[must_use]
pub fn steward_share(height: u32) -> Amount {
    amount(&(of_period(height / PERIOD) * 51u32 / 256u32))
}

/// What all blocks below `height` have created: the sum that an election asks for half of.
#[must_use]
pub fn total_before(height: u32) -> Amount {
    let period = height / PERIOD;
    // The subsidy has gone to nothing by then.
    let full: BigUint = (0..period.min(400)).map(|period| of_period(period) * PERIOD).sum();
    amount(&(full + of_period(period) * (height % PERIOD)))
}

fn of_period(period: u32) -> BigUint {
    // 0.9^400 of 2^43 is nothing; the powers would be long.
    if period >= 400 {
        return BigUint::ZERO;
    }
    let first = BigUint::from(FIRST * UNITS_PER_PKT);
    first * BigUint::from(9u32).pow(period) / BigUint::from(10u32).pow(period)
}

/// The whole schedule adds up to less than [`Amount::MAX`].
fn amount(units: &BigUint) -> Amount {
    u64::try_from(units)
        .ok()
        .and_then(|units| Amount::from_units(units).ok())
        .unwrap_or(Amount::MAX)
}
