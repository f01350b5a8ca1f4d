//! What a lease costs: prices by side of a port, unit and time.

use super::Tree;
use crate::terms::{PortSide, Slot, Time};
use dataplane_api::Direction;
use ledger::Amount;
use ledger::invoice::Tariff;
use serde::{Deserialize, Serialize};

/// An asset that prices are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Its number in the ledger, for good.
    pub id: u32,
    /// Smallest units in one whole.
    pub per_whole: u64,
}

/// What is asked for leases on one side of a port, for the time of a lease that lies in [from, until).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Name of the port.
    pub port: String,
    /// Which way.
    pub direction: Direction,
    /// Name of the unit.
    pub unit: String,
    /// First instant; `None`: always was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// First instant after it; `None`: until further notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// What a guaranteed rate costs.
    pub lease: RatePrice,
    /// What is charged for traffic above the guarantee; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered: Option<Tariff>,
}

/// So much for such a rate for such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatePrice {
    /// Smallest units.
    pub amount: Amount,
    /// For so many bytes a second, at least 1.
    pub bytes_per_s: u64,
    /// For so long, at least 1.
    pub ms: u64,
}

impl RatePrice {
    /// What a rate costs for a time, rounded up, if it fits.
    #[must_use]
    pub fn of(self, bytes_per_s: u64, ms: u64) -> Option<Amount> {
        let asked = u128::from(bytes_per_s).checked_mul(u128::from(ms))?;
        let per = u128::from(self.bytes_per_s).checked_mul(u128::from(self.ms))?;
        // Common factors go first, so that what fits in the end fits on the way.
        let common = greatest_common_divisor(asked, per).max(1);
        let product = self.amount.0.checked_mul(asked / common)?;
        (per > 0).then(|| Amount(product.div_ceil(per / common)))
    }
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Price {
    /// Its time.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot { start: self.from.unwrap_or(Time(0)), end: self.until.unwrap_or(Time::MAX) }
    }
}

/// What a lease costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// In all.
    pub total: Amount,
    /// For each price that applies, in order of time.
    pub parts: Vec<QuotePart>,
}

/// What one price makes of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuotePart {
    /// Name of the price.
    pub price: String,
    /// The time for which it applies.
    pub slot: Slot,
    /// How much that is.
    pub amount: Amount,
}

/// Why there is no quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Some of the time has no price.
    #[error("{side} has no price in {unit} at {at}")]
    NoPrice {
        /// Where.
        side: PortSide,
        /// In which unit.
        unit: String,
        /// The first instant without.
        at: Time,
    },
    /// Too much to be told.
    #[error("price {price}: what the lease costs would not fit in 128 bits")]
    TooMuch {
        /// At which price.
        price: String,
    },
}

impl Tree {
    /// What a rate on a side costs for a slot, in a unit. Rounded up for each price that applies: in parts it is never
    /// cheaper.
    ///
    /// # Errors
    /// [`QuoteError`].
    pub fn quote(
        &self,
        side: &PortSide,
        unit: &str,
        slot: Slot,
        bytes_per_s: u64,
    ) -> Result<Quote, QuoteError> {
        let is_here = |price: &&Price| price.applies_to(side, unit);
        let mut prices: Vec<_> = self.prices.iter().filter(|(_, price)| is_here(price)).collect();
        prices.sort_by_key(|(_, price)| price.slot().start);
        let (mut at, mut total, mut parts) = (slot.start, Amount::ZERO, Vec::new());
        for (name, price) in prices {
            let Slot { start, end } = price.slot();
            let end = end.min(slot.end);
            if start > at || at >= end {
                continue;
            }
            let too_much = || QuoteError::TooMuch { price: name.clone() };
            let part = Slot { start: at, end };
            let amount = price.lease.of(bytes_per_s, part.length_ms()).ok_or_else(too_much)?;
            total = total.plus(amount).ok_or_else(too_much)?;
            parts.push(QuotePart { price: name.clone(), slot: part, amount });
            at = end;
        }
        if at < slot.end {
            let (side, unit) = (side.clone(), unit.to_owned());
            return Err(QuoteError::NoPrice { side, unit, at });
        }
        Ok(Quote { total, parts })
    }
}

impl Price {
    pub(super) fn applies_to(&self, side: &PortSide, unit: &str) -> bool {
        self.port == side.port && self.direction == side.direction && self.unit == unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn side() -> PortSide {
        PortSide { port: "west".into(), direction: Direction::Out }
    }

    fn price(from: u64, until: u64, amount: u128, bytes_per_s: u64, ms: u64) -> Price {
        Price {
            port: "west".into(),
            direction: Direction::Out,
            unit: "PKT".into(),
            from: Some(Time(from)),
            until: Some(Time(until)),
            lease: RatePrice { amount: Amount(amount), bytes_per_s, ms },
            metered: None,
        }
    }

    fn slot(start: u64, end: u64) -> Slot {
        Slot { start: Time(start), end: Time(end) }
    }

    #[test]
    fn prices_follow_one_another() {
        let mut tree = Tree::default();
        tree.prices.insert("night".into(), price(0, 100, 1, 10, 10));
        tree.prices.insert("day".into(), price(100, 200, 3, 10, 10));
        let quote = tree.quote(&side(), "PKT", slot(95, 111), 20).unwrap();
        let parts: Vec<_> =
            quote.parts.iter().map(|part| (part.price.as_str(), part.amount.0)).collect();
        // 1 · 20/10 · 5/10 = 1; 3 · 20/10 · 11/10 = 6.6.
        assert_eq!((quote.total.0, parts), (8, vec![("night", 1), ("day", 7)]));
        let none = |at| QuoteError::NoPrice { side: side(), unit: "PKT".into(), at: Time(at) };
        assert_eq!(tree.quote(&side(), "PKT", slot(150, 201), 20), Err(none(200)));
        tree.prices.remove("night");
        assert_eq!(tree.quote(&side(), "PKT", slot(95, 111), 20), Err(none(95)));
        let euro = tree.quote(&side(), "EUR", slot(100, 111), 20);
        assert!(matches!(euro, Err(QuoteError::NoPrice { at: Time(100), .. })));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let most = RatePrice { amount: Amount(u128::MAX), bytes_per_s: u64::MAX, ms: u64::MAX };
        assert_eq!(most.of(u64::MAX, u64::MAX), Some(Amount(u128::MAX)));
        assert_eq!(most.of(0, 5), Some(Amount(0)));
        let one = RatePrice { bytes_per_s: 1, ms: 1, ..most };
        assert_eq!((one.of(1, 1), one.of(2, 1)), (Some(Amount(u128::MAX)), None));
        assert_eq!(RatePrice { ms: 0, ..one }.of(1, 1), None);
    }

    proptest! {
        /// Against a walk over every millisecond; and two halves never cost less than the whole.
        #[test]
        fn a_quote_is_the_sum_of_its_milliseconds(
            cuts in prop::collection::btree_set(1_u64..300, 0..5),
            amounts in prop::collection::vec((0_u128..50, 1_u64..20, 1_u64..20), 6),
            (start, length, rate) in (0_u64..250, 2_u64..50, 0_u64..100),
        ) {
            let mut tree = Tree::default();
            let cuts: Vec<u64> = [0].into_iter().chain(cuts).chain([300]).collect();
            for (index, pair) in cuts.windows(2).enumerate() {
                let (amount, bytes, ms) = amounts[index];
                let price = price(pair[0], pair[1], amount, bytes, ms);
                // Names in another order than times.
                tree.prices.insert(format!("{}", 9 - index), price);
            }
            let whole = slot(start, start + length);
            let quote = tree.quote(&side(), "PKT", whole, rate).unwrap();
            let mut total = 0;
            for (index, pair) in cuts.windows(2).enumerate() {
                let (amount, bytes, ms) = amounts[index];
                let there = (pair[0]..pair[1]).filter(|at| (start..start + length).contains(at));
                let product: u128 = there.map(|_| amount * u128::from(rate)).sum();
                let per = u128::from(bytes * ms);
                total += product.div_ceil(per);
            }
            prop_assert_eq!(quote.total.0, total);
            let middle = start + length / 2;
            let parts = [slot(start, middle), slot(middle, start + length)];
            let halves = parts.map(|half| tree.quote(&side(), "PKT", half, rate).unwrap().total.0);
            prop_assert!(halves[0] + halves[1] >= total);
        }
    }
}
