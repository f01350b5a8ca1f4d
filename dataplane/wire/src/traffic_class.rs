//! The traffic class of the switch header as boxes of this kind agree to read it. Towards all others it is
//! [`UNCLASSIFIED`], and what they write there means nothing.
//!
//! ```text
//!  15         14                 0
//! | customer | priority, log scale |
//! ```

use crate::switch::UNCLASSIFIED;

/// Steps of the scale to a doubling: each is a thousandth more than the one before.
const STEP_BITS: u32 = 10;
const STEPS: u64 = 1 << STEP_BITS;
/// The weight of the scale's first step, bytes a second.
pub const WEIGHT_MIN: u64 = STEPS;
/// And of its last. With the customer bit one more would be [`UNCLASSIFIED`].
pub const WEIGHT_MAX: u64 = weight(PRIORITY_MAX);

const CUSTOMER: u16 = 1 << 15;
const PRIORITY_MAX: u16 = CUSTOMER - 2;

/// What a packet says of itself: whether it is on behalf of a customer, and which weight it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficClass(u16);

impl TrafficClass {
    /// Says nothing.
    pub const NONE: Self = Self(UNCLASSIFIED);

    /// `weight`: bytes a second, rounded down to the scale; below [`WEIGHT_MIN`] nothing is claimed.
    #[must_use]
    pub fn new(customer: bool, weight: u64) -> Self {
        Self(priority(weight)).with_customer(customer)
    }

    /// From the header's field, host order.
    #[inline]
    #[must_use]
    pub const fn from_word(word: u16) -> Self {
        Self(word)
    }

    /// For the header's field, host order.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u16 {
        self.0
    }

    /// Whether it says nothing.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == UNCLASSIFIED
    }

    /// Whether it is on behalf of a customer.
    #[inline]
    #[must_use]
    pub const fn is_customer(self) -> bool {
        self.0 & CUSTOMER != 0 && !self.is_none()
    }

    /// The same weight, on behalf of a customer or not.
    #[inline]
    #[must_use]
    pub const fn with_customer(self, customer: bool) -> Self {
        let priority = self.priority();
        Self(if customer { priority | CUSTOMER } else { priority })
    }

    /// Step on the scale; 0 claims nothing.
    #[inline]
    const fn priority(self) -> u16 {
        if self.is_none() {
            return 0;
        }
        let priority = self.0 & !CUSTOMER;
        if priority > PRIORITY_MAX { PRIORITY_MAX } else { priority }
    }

    /// Weight, bytes a second; 0 claims nothing.
    #[inline]
    #[must_use]
    pub const fn weight(self) -> u64 {
        weight(self.priority())
    }

    /// The same claiming no more than `most` does.
    #[inline]
    #[must_use]
    pub fn at_most(self, most: Self) -> Self {
        Self(self.priority().min(most.priority())).with_customer(self.is_customer())
    }

    /// The same claiming nothing.
    #[inline]
    #[must_use]
    pub const fn free(self) -> Self {
        Self(if self.is_customer() { CUSTOMER } else { 0 })
    }
}

const fn weight(priority: u16) -> u64 {
    if priority == 0 {
        return 0;
    }
    let step = priority as u64 - 1;
    (STEPS + step % STEPS) << (step >> STEP_BITS)
}

/// The last step of the scale that is not above a weight.
fn priority(weight: u64) -> u16 {
    let weight = weight.min(WEIGHT_MAX);
    let Some(octave) = weight.checked_ilog2().and_then(|log| log.checked_sub(STEP_BITS)) else {
        return 0;
    };
    let step = u64::from(octave) * STEPS + (weight >> octave) - STEPS;
    u16::try_from(step + 1).unwrap_or(PRIORITY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_class_and_every_weight_is_within_a_thousandth() {
        for word in 0..=u16::MAX {
            let class = TrafficClass::from_word(word);
            assert!(class.weight() <= WEIGHT_MAX);
            if word != u16::MAX && word & 0x7fff != 0x7fff {
                let again = TrafficClass::new(class.is_customer(), class.weight());
                assert_eq!(again, class, "{word:04x}");
            }
            assert_eq!(class.free().weight(), 0);
            assert_eq!(class.free().is_customer(), class.is_customer());
        }
        let mut weight = WEIGHT_MIN;
        while weight < WEIGHT_MAX {
            let told = TrafficClass::new(true, weight);
            assert!(told.is_customer() && !told.is_none());
            assert!(
                told.weight() <= weight && weight - told.weight() <= weight / STEPS,
                "{weight}"
            );
            weight += weight / 777 + 1;
        }
        assert_eq!(TrafficClass::new(true, WEIGHT_MIN - 1).weight(), 0);
        assert_eq!(TrafficClass::new(true, u64::MAX).weight(), WEIGHT_MAX);
        assert!(!TrafficClass::new(true, u64::MAX).is_none());
    }

    #[test]
    fn a_cap_cuts_the_weight_and_leaves_the_bit() {
        let (high, low) = (TrafficClass::new(true, 1 << 30), TrafficClass::new(false, 1 << 20));
        assert_eq!(high.at_most(low), TrafficClass::new(true, 1 << 20));
        assert_eq!(low.at_most(high), low);
        assert_eq!(TrafficClass::NONE.at_most(high), TrafficClass::new(false, 0));
    }
}
