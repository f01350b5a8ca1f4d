//! How good a link is, from what its receiving end measured.

use crate::announce::item::Sample;

/// Milliseconds of a slot.
pub(super) const SLOT_MS: u64 = 10_000;
/// What a new slot weighs against all before it.
const WEIGHT: f64 = 0.25;
/// Without news a link's value halves in so many slots (two minutes).
const HALF_LIFE_SLOTS: f64 = 12.0;
/// So many times of its packets a link loses before its value has fallen to 1/e: one in fifty.
const DROPS_SCALE: f64 = 50.0;
/// What a drop figure of all is.
const DROPS_ALL: f64 = 262_144.0;
/// Cost of a link of no value. It can be used, but anything else is better.
pub(super) const COST_WORTHLESS: f64 = 1e20;

/// The value of a link: grows with what it carries, falls with its lag and, exponentially, with what it loses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Value {
    value: f64,
    /// The slot of the newest sample, since the epoch.
    slot: u64,
}

impl Value {
    /// Takes in samples, the newest of which is of the slot that `time_ms` is in.
    pub(super) fn take(&mut self, time_ms: u64, samples: &[Sample]) {
        let newest = time_ms / SLOT_MS;
        self.value = self.at(newest);
        self.slot = self.slot.max(newest);
        for sample in samples {
            self.value += (worth(sample) - self.value) * WEIGHT;
        }
    }

    /// What it costs to go this way.
    pub(super) fn cost(self, time_ms: u64) -> f64 {
        let value = self.at(time_ms / SLOT_MS);
        if value > 1.0 / COST_WORTHLESS { 1.0 / value } else { COST_WORTHLESS }
    }

    fn at(self, slot: u64) -> f64 {
        let slots = u32::try_from(slot.saturating_sub(self.slot)).unwrap_or(u32::MAX);
        self.value * (-f64::from(slots) / HALF_LIFE_SLOTS).exp2()
    }
}

/// A slot without lag was not measured, and is worth nothing.
fn worth(sample: &Sample) -> f64 {
    if sample.lag_ms == 0 {
        return 0.0;
    }
    let traffic = 1.0 + f64::from(sample.kilobytes).ln_1p();
    let lost = f64::from(sample.drops) / DROPS_ALL;
    traffic * (-lost * DROPS_SCALE).exp() / f64::from(sample.lag_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(lag_ms: u16, drops: u16, kilobytes: u32) -> f64 {
        let mut value = Value::default();
        value.take(1_000_000, &[Sample { lag_ms, drops, kilobytes }; 6]);
        value.cost(1_000_000)
    }

    #[test]
    fn better_links_cost_less() {
        assert!(cost(5, 0, 10) < cost(50, 0, 10));
        assert!(cost(5, 0, 1000) < cost(5, 0, 10));
        assert!(cost(5, 0, 10) < cost(5, 2621, 10));
        assert_eq!(cost(0, 0, 1000).total_cmp(&COST_WORTHLESS), std::cmp::Ordering::Equal);
    }

    #[test]
    fn without_news_a_link_gets_dearer() {
        let mut value = Value::default();
        value.take(1_000_000, &[Sample { lag_ms: 5, drops: 0, kilobytes: 10 }; 6]);
        let costs = [0, 2, 20, 2000].map(|minutes| value.cost(1_000_000 + minutes * 60_000));
        assert!(costs.is_sorted(), "{costs:?}");
        assert!(costs[1] / costs[0] > 1.9 && costs[1] / costs[0] < 2.1);
        assert_eq!(costs[3].total_cmp(&COST_WORTHLESS), std::cmp::Ordering::Equal);
        // A clock that goes back is no news either.
        value.take(0, &[]);
        assert!(value.cost(0).is_finite());
    }
}
