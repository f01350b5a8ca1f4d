//! What packets of a vif may claim on their way through the box, and who sees them.

use serde::{Deserialize, Serialize};
use wire::traffic_class::{WEIGHT_MAX, WEIGHT_MIN};

/// The policy of one vif, for what comes in by it. Source: CLOUD-ISP.md §2.5.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VifPolicy {
    /// What packets that say nothing of themselves are: all packets of stock neighbours.
    pub default_class: DefaultClass,
    /// Most weight that a packet may claim, and most that comes in with a claim, bytes of wire a second; what is above
    /// that is free. `None`: no bound. 0: nothing may be claimed.
    pub priority_cap: Option<u64>,
    /// Packets are taken as not on behalf of a customer, whoever sent them.
    pub clear_customer_bit: bool,
    /// Most weight that packets which are not on behalf of a customer may claim, bytes a second. `None`: no bound. 0: they
    /// are free.
    pub deprioritise_non_customer: Option<u64>,
    /// Offer the neighbour to tell each other customer bit and priority in the switch header's traffic class. A neighbour
    /// that does not answer, as no stock node does, is never told, and not believed.
    pub traffic_class: bool,
    /// Copies of its packets go to a capture file.
    pub mirror: bool,
    /// The steps of its packets are always recorded, some a second.
    pub trace: bool,
}

/// What a packet is that says nothing of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultClass {
    /// Without a claim.
    #[default]
    Free,
    /// With this weight in what guarantees leave over, bytes a second.
    Priority(u64),
}

impl VifPolicy {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// A weight that cannot be told, and where it stands.
    #[must_use]
    pub fn bad_weight(&self) -> Option<(&'static str, u64)> {
        let class = match self.default_class {
            DefaultClass::Free => None,
            DefaultClass::Priority(weight) => Some(weight),
        };
        let weights = [
            ("default_class", class),
            ("priority_cap", self.priority_cap.filter(|cap| *cap > 0)),
            ("deprioritise_non_customer", self.deprioritise_non_customer.filter(|cap| *cap > 0)),
        ];
        let mut given = weights.into_iter().filter_map(|(name, weight)| Some((name, weight?)));
        given.find(|(_, weight)| !(WEIGHT_MIN..=WEIGHT_MAX).contains(weight))
    }
}
