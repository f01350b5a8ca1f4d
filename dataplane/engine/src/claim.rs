//! Claim: what a packet says of itself, as far as the policy of the vif it came in by lets it.

use crate::admit::is_fitting;
use crate::rules::{Record, Rules};
use crate::schedule::{Ticks, ticks};
use crate::switch::HEADER_LEN;
use dataplane_api::{DropReason, Nanos, VifId};
use wire::traffic_class::TrafficClass;

/// Where the traffic class stands in a switch header.
const FIELD: std::ops::Range<usize> = HEADER_LEN - 2..HEADER_LEN;

/// What a packet claims where its egress vif has no lease that gives it more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) class: TrafficClass,
    /// The vif it came in by, which the claim is of.
    pub(crate) from: u16,
}

impl Claim {
    /// None.
    pub(crate) const NONE: Self = Self { class: TrafficClass::NONE, from: u16::MAX };
}

/// Links whose neighbours tell customer bit and priority, and are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldLinks {
    edition: u64,
    /// By vif.
    bits: Box<[u64]>,
}

impl ToldLinks {
    /// `edition`: other than that of every one before, and not 0.
    #[must_use]
    pub fn new(edition: u64, vifs: impl Iterator<Item = VifId>) -> Self {
        let mut bits = Vec::new();
        for vif in vifs {
            let (word, bit) = (vif.index() / 64, vif.index() % 64);
            bits.resize(bits.len().max(word + 1), 0);
            bits[word] |= 1 << bit;
        }
        Self { edition, bits: bits.into() }
    }

    /// Which these are.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether a vif's is among them.
    #[inline]
    #[must_use]
    pub fn contains(&self, vif: VifId) -> bool {
        self.bits.get(vif.index() / 64).is_some_and(|word| word >> (vif.index() % 64) & 1 != 0)
    }
}

/// One worker's part: how much of each cap is used.
#[derive(Debug)]
pub(crate) struct Claims {
    /// By ingress vif: see [`crate::rules::Policy::admits`].
    finish: Box<[Ticks]>,
    told: ToldLinks,
}

impl Claims {
    pub(crate) fn new(vifs: usize) -> Self {
        Self { finish: vec![0; vifs].into(), told: ToldLinks::default() }
    }

    /// Takes over which links are told.
    #[inline]
    pub(crate) fn adopt(&mut self, told: &ToldLinks) {
        if told.edition != self.told.edition {
            self.told.clone_from(told);
        }
    }

    /// What a packet that came in by `from` claims, from its switch header on.
    #[inline]
    pub(crate) fn of(&mut self, rules: &Rules, from: &Record, packet: &[u8], now: Nanos) -> Claim {
        let vif = from.vif();
        let (Some(policy), Some(finish)) =
            (rules.policies.of(vif), self.finish.get_mut(vif.index()))
        else {
            return Claim::NONE;
        };
        let said = match packet.get(FIELD) {
            Some(&[high, low])
                if policy.is_told() || policy.offers() && self.told.contains(vif) =>
            {
                TrafficClass::from_word(u16::from_be_bytes([high, low]))
            }
            _ => TrafficClass::NONE,
        };
        let class = policy.weigh(said);
        let is_within = class.weight() == 0 || policy.admits(finish, ticks(now), packet.len());
        let class = if is_within { class } else { class.free() };
        Claim { class, from: from.vif_index() }
    }

    /// Whether what a packet claims is told to the neighbour behind a vif.
    #[inline]
    pub(crate) fn is_told(&self, rules: &Rules, to: &Record) -> bool {
        let policy = rules.policies.of(to.vif());
        policy.is_some_and(|policy| {
            policy.is_told() || policy.offers() && self.told.contains(to.vif())
        })
    }
}

/// Writes what a packet claims into its switch header.
#[inline]
pub(crate) fn tell(packet: &mut [u8], class: TrafficClass) {
    if let Some(field) = packet.get_mut(FIELD) {
        field.copy_from_slice(&class.word().to_be_bytes());
    }
}

/// What becomes of a packet that policy and egress link answered so: a packet on behalf of a customer may go where
/// customers' may, whoever handed it on.
#[inline]
pub(crate) fn admit(
    rules: &Rules,
    claim: Claim,
    to: &Record,
    len: usize,
    admitted: Result<(), DropReason>,
) -> Result<(), DropReason> {
    if admitted != Err(DropReason::Policy) || !claim.class.is_customer() {
        return admitted;
    }
    let policy = rules.policies.of(VifId(claim.from.into()));
    match policy {
        Some(policy) if to.is_allowed_by(policy.customers()) => is_fitting(to, len),
        Some(_) | None => admitted,
    }
}
