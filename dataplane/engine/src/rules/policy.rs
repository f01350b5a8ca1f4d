//! What of a vif's policy packets meet: a word by ingress vif, looked at only where some vif has a policy.

use crate::schedule::{PerByte, Ticks, ticks};
use dataplane_api::{DefaultClass, Role, VifId, VifPolicy};
use wire::traffic_class::TrafficClass;

/// All that comes in with a claim at once: so many milliseconds of the cap, and so many long frames, if that is more.
const BURST_MS: u64 = 5;
const BURST_FRAMES: u64 = 6;
/// Longest frame that is counted with, bytes: cables have no MTU of their own.
const FRAME_MAX: u16 = 9_216;

/// By vif; empty if no vif has a policy that packets meet.
#[derive(Debug, Default)]
pub(crate) struct Policies(Box<[Policy]>);

/// A vif's policy: half a cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Of packets that say nothing of themselves.
    default: TrafficClass,
    cap: TrafficClass,
    non_customer_cap: TrafficClass,
    /// By role, as bits: where customers' packets of the vswitch may leave to.
    customers: u8,
    /// Bytes that link and wire add to a packet.
    overhead: u8,
    flags: u8,
    /// What a byte takes of the cap.
    byte: PerByte,
    /// How far claims may run ahead of it.
    tolerance: Ticks,
}

const _: () = assert!(size_of::<Policy>() <= 32, "two policies make a cache line");

const CLEARS: u8 = 1;
const METERED: u8 = 2;
const OFFERS: u8 = 4;
const TOLD: u8 = 8;

impl Policies {
    pub(crate) fn new(words: Vec<Policy>, is_met: bool) -> Self {
        Self(if is_met { words.into() } else { Box::default() })
    }

    /// Whether packets meet any.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn of(&self, vif: VifId) -> Option<&Policy> {
        self.0.get(vif.index())
    }
}

/// Whether packets meet a policy: who sees them is not theirs to know.
pub(crate) fn is_met(policy: &VifPolicy) -> bool {
    let seen = VifPolicy { mirror: policy.mirror, trace: policy.trace, ..VifPolicy::default() };
    *policy != seen
}

/// What a [`Policy`] is made of beside the vif's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    pub(crate) role: Role,
    pub(crate) customers: u8,
    pub(crate) overhead: u8,
    pub(crate) mtu: u16,
    /// There is a neighbour to ask.
    pub(crate) is_link: bool,
    /// It is the end of a cable whose other end wants to be told too.
    pub(crate) is_told: bool,
}

impl Policy {
    /// Of an id that nobody has.
    pub(crate) const NOBODY: Self = Self {
        default: TrafficClass::NONE,
        cap: TrafficClass::NONE,
        non_customer_cap: TrafficClass::NONE,
        customers: 0,
        overhead: 0,
        flags: 0,
        byte: PerByte::ZERO,
        tolerance: 0,
    };

    pub(crate) fn new(policy: &VifPolicy, around: &Around) -> Self {
        let is_customer = around.role == Role::Customer;
        let default = match policy.default_class {
            DefaultClass::Free => TrafficClass::new(is_customer, 0),
            DefaultClass::Priority(weight) => TrafficClass::new(is_customer, weight),
        };
        let cap = |most: Option<u64>| TrafficClass::new(false, most.unwrap_or(u64::MAX));
        let frame = u64::from(around.mtu.min(FRAME_MAX)) + u64::from(around.overhead);
        let rate = policy.priority_cap.unwrap_or(0);
        let burst = (BURST_FRAMES * frame).max(rate.saturating_mul(BURST_MS) / 1_000);
        let byte = if rate > 0 { PerByte::at(rate) } else { PerByte::ZERO };
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        Self {
            default,
            cap: cap(policy.priority_cap),
            non_customer_cap: cap(policy.deprioritise_non_customer),
            customers: around.customers,
            overhead: around.overhead,
            flags: flag(policy.clear_customer_bit, CLEARS)
                | flag(rate > 0, METERED)
                | flag(policy.traffic_class && around.is_link, OFFERS)
                | flag(around.is_told, TOLD),
            byte,
            tolerance: byte.times(burst).max(ticks(1)),
        }
    }

    /// What a packet may claim of what it says of itself, as far as its rate allows.
    #[inline]
    pub(crate) fn weigh(&self, said: TrafficClass) -> TrafficClass {
        let class = if said.is_none() { self.default } else { said };
        let is_customer = class.is_customer() && self.flags & CLEARS == 0;
        let class = class.with_customer(is_customer).at_most(self.cap);
        if is_customer { class } else { class.at_most(self.non_customer_cap) }
    }

    /// Whether a packet of `len` bytes is within the rate at which claims may come in. `finish`: the state of that.
    #[inline]
    pub(crate) fn admits(&self, finish: &mut Ticks, now: Ticks, len: usize) -> bool {
        if self.flags & METERED == 0 {
            return true;
        }
        // What lies farther ahead is of another policy, or of before the time wrapped.
        let ahead = finish.wrapping_sub(now);
        let ahead = if ahead <= self.tolerance { ahead } else { 0 };
        let ahead = ahead + self.byte.times(len as u64 + u64::from(self.overhead));
        let admits = ahead <= self.tolerance;
        if admits {
            *finish = now.wrapping_add(ahead);
        }
        admits
    }

    /// By role, as bits: where packets on behalf of customers may leave to.
    #[inline]
    pub(crate) fn customers(&self) -> u8 {
        self.customers
    }

    /// The other end of the cable tells, and is told.
    #[inline]
    pub(crate) fn is_told(&self) -> bool {
        self.flags & TOLD != 0
    }

    /// Whether the neighbour shall be asked.
    #[inline]
    pub(crate) fn offers(&self) -> bool {
        self.flags & OFFERS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(of: VifPolicy, role: Role) -> Policy {
        Policy::new(
            &of,
            &Around {
                role,
                customers: 0b111,
                overhead: 44,
                mtu: 1_494,
                is_link: true,
                is_told: false,
            },
        )
    }

    #[test]
    fn caps_cut_what_is_said_and_what_is_not() {
        let said = TrafficClass::new(true, 1 << 30);
        let none = TrafficClass::NONE;
        let plain = policy(VifPolicy::default(), Role::Customer);
        assert_eq!((plain.weigh(said), plain.weigh(none)), (said, TrafficClass::new(true, 0)));
        let peer = policy(VifPolicy::default(), Role::Peer);
        assert_eq!(peer.weigh(none), TrafficClass::new(false, 0));
        let default_class = DefaultClass::Priority(1 << 20);
        let capped = policy(
            VifPolicy { default_class, priority_cap: Some(1 << 25), ..VifPolicy::default() },
            Role::Customer,
        );
        assert_eq!(capped.weigh(said), TrafficClass::new(true, 1 << 25));
        assert_eq!(capped.weigh(none), TrafficClass::new(true, 1 << 20));
        let cleared = VifPolicy {
            default_class,
            clear_customer_bit: true,
            deprioritise_non_customer: Some(1 << 15),
            ..VifPolicy::default()
        };
        let cleared = policy(cleared, Role::Customer);
        assert_eq!(cleared.weigh(said), TrafficClass::new(false, 1 << 15));
        assert_eq!(cleared.weigh(none), TrafficClass::new(false, 1 << 15));
        let nothing = VifPolicy { priority_cap: Some(0), ..VifPolicy::default() };
        assert_eq!(policy(nothing, Role::Peer).weigh(said), TrafficClass::new(true, 0));
    }

    #[test]
    fn claims_come_in_at_the_rate_of_the_cap_and_a_burst() {
        let rate = 1_000_000;
        let of =
            policy(VifPolicy { priority_cap: Some(rate), ..VifPolicy::default() }, Role::Customer);
        // Also long after the clock of ticks has wrapped half.
        for begin in [0_u64, 400 * 86_400 * 1_000_000_000] {
            let (mut finish, mut bytes) = (0, 0);
            for at in 0..20_000_u64 {
                let now = ticks(begin + at * 100_000);
                bytes += if of.admits(&mut finish, now, 1_000) { 1_044 } else { 0 };
            }
            // Two seconds, and at most a burst of six frames.
            assert!((2 * rate..=2 * rate + 6 * 1_538).contains(&bytes), "{bytes}");
        }
    }
}
