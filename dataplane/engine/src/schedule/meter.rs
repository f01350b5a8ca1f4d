//! What a lease says of each packet of its vif: guaranteed, priority, or neither.

use super::time::{PerByte, Ticks, after, later};

/// What a lease gives to what leaves by its vif.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Guaranteed, bytes of wire a second; 0: nothing is.
    pub rate: u64,
    /// How much of that at once, bytes.
    pub burst: u64,
    /// Share in what guarantees leave over, bytes a second; 0: what is not guaranteed is free.
    pub weight: u64,
    /// Most that leaves at all, bytes of wire a second; 0: no bound.
    pub ceiling: u64,
    /// While some of it waits as priority, what is guaranteed waits behind it.
    pub preserve_order: bool,
}

/// The meter of one vif and its terms: half a cache line, all that a packet touches of its lease.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub struct Meter {
    /// When the packets in profile so far would have been sent at the lease's rate: the virtual finish time.
    finish: Ticks,
    /// The same of its priority packets, in the calendar's own time.
    pub(super) tag: Ticks,
    byte: u32,
    weight: u32,
    /// How far [`Self::finish`] may lie ahead: burst over rate, in [`TOLERANCE_UNIT`].
    tolerance: u32,
    byte_shift: u8,
    weight_shift: u8,
    flags: u8,
    /// Bytes that the link and the wire add to a packet.
    overhead: u8,
}

const _: () = assert!(size_of::<Meter>() == 32, "two meters make a cache line");

/// Shortest frame with preamble and gap.
const WIRE_MIN: usize = 84;
/// 16 ns: up to 68 s fit.
const TOLERANCE_UNIT: Ticks = 1 << 12;

const GUARANTEED: u8 = 1;
const PRIORITY: u8 = 2;
const PRESERVE_ORDER: u8 = 4;
const CAPPED: u8 = 8;
const SHARED: u8 = 16;

/// What a packet is to its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// In profile: it will have left by `finish`, or little later.
    Guaranteed {
        /// When it could start at the lease's own rate.
        start: Ticks,
        /// When it would be done at that rate.
        finish: Ticks,
    },
    /// Above the guarantee, with a weight.
    Priority,
    /// No claim.
    Free,
}

impl Meter {
    /// A meter with a full burst; `None`: no lease.
    #[must_use]
    pub fn new(terms: Option<&Terms>, now: Ticks) -> Self {
        let mut meter = Self { finish: now, tag: 0, ..Self::default() };
        meter.change(terms);
        meter
    }

    /// Other terms: what was sent so far counts.
    pub fn change(&mut self, terms: Option<&Terms>) {
        let Some(terms) = terms else {
            (self.flags, self.tolerance) = (0, 0);
            return;
        };
        let (byte, weight) = (PerByte::at(terms.rate), PerByte::at(terms.weight));
        let tolerance = byte.times(terms.burst).div_ceil(TOLERANCE_UNIT);
        self.tolerance = u32::try_from(tolerance).unwrap_or(u32::MAX);
        (self.byte, self.byte_shift) = (byte.mantissa, byte.shift);
        (self.weight, self.weight_shift) = (weight.mantissa, weight.shift);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        self.flags = flag(terms.rate > 0, GUARANTEED)
            | flag(terms.weight > 0, PRIORITY)
            | flag(terms.preserve_order, PRESERVE_ORDER)
            | flag(terms.ceiling > 0, CAPPED);
    }

    /// Makes this the meter of a vif whose lease is metered at `leader`, another of its vifs.
    pub fn follow(&mut self, leader: u32) {
        (self.flags, self.tolerance) = (SHARED, leader);
    }

    /// The vif at which packets of this one are metered, if it is another.
    #[inline]
    #[must_use]
    pub fn leader(&self) -> Option<u32> {
        (self.flags & SHARED != 0).then_some(self.tolerance)
    }

    /// Bytes that link and wire add to each packet, at most 255.
    pub fn set_overhead(&mut self, bytes: u8) {
        self.overhead = bytes;
    }

    /// Bytes of wire of a packet.
    #[inline]
    #[must_use]
    pub fn wire_len(&self, packet: usize) -> u16 {
        let len = (packet + usize::from(self.overhead)).max(WIRE_MIN);
        // A frame's chunk is shorter than 64 KiB.
        u16::try_from(len).unwrap_or(u16::MAX)
    }

    /// Whether the lease has a ceiling.
    #[inline]
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.flags & CAPPED != 0
    }

    /// Whether there is a lease.
    #[inline]
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.flags != 0
    }

    /// Marks a packet of `len` bytes of wire. Only what is in profile uses the guarantee up. Source: CLOUD-ISP.md
    /// §3.5 R1.
    #[inline]
    pub fn mark(&mut self, now: Ticks, len: u64) -> Mark {
        if self.flags & GUARANTEED != 0 {
            let start = later(self.finish, now);
            let byte = PerByte { mantissa: self.byte, shift: self.byte_shift };
            let finish = start.wrapping_add(byte.times(len));
            let tolerance = u64::from(self.tolerance) * TOLERANCE_UNIT;
            // A finish before `now` cannot be: the start is not.
            if finish.wrapping_sub(now) <= tolerance {
                self.finish = finish;
                return Mark::Guaranteed { start, finish };
            }
        }
        if self.flags & PRIORITY != 0 { Mark::Priority } else { Mark::Free }
    }

    /// Takes part of the guarantee back: a packet that was marked guaranteed and did not find room.
    pub(super) fn take_back(&mut self, len: u64) {
        let byte = PerByte { mantissa: self.byte, shift: self.byte_shift };
        self.finish = self.finish.wrapping_sub(byte.times(len));
    }

    /// What a byte of the lease takes of the priority calendar's time.
    #[inline]
    pub(super) fn weight(&self) -> PerByte {
        PerByte { mantissa: self.weight, shift: self.weight_shift }
    }

    /// Whether order goes before delay, and some of the lease's priority packets may still wait at calendar time
    /// `served`.
    #[inline]
    pub(super) fn must_follow(&self, served: Ticks) -> bool {
        self.flags & PRESERVE_ORDER != 0 && after(self.tag, served) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ticks;

    /// A lease in exact arithmetic: a bucket of bytes × 10⁹, filled by rate × nanoseconds.
    struct Bucket {
        rate: u128,
        burst: u128,
        filled: u128,
        at: u64,
    }

    impl Bucket {
        fn takes(&mut self, now: u64, len: u64) -> bool {
            let filled = self.filled + self.rate * u128::from(now - self.at);
            (self.filled, self.at) = (filled.min(self.burst * 1_000_000_000), now);
            let needed = u128::from(len) * 1_000_000_000;
            if self.filled < needed {
                return false;
            }
            self.filled -= needed;
            true
        }
    }

    #[test]
    fn what_is_in_profile_is_what_an_exact_bucket_lets_through() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        for (rate, burst) in [(125_000, 9_252), (1_250_000, 9_252), (1_125_000_000, 5_625_000)] {
            let terms = Terms { rate, burst, weight: 0, ceiling: 0, preserve_order: false };
            let mut now = 1_000_000_000_u64;
            let mut meter = Meter::new(Some(&terms), ticks(now));
            let (wide, full) = (u128::from(rate), u128::from(burst));
            let mut bucket = Bucket { rate: wide, burst: full, filled: full << 30, at: now };
            let (mut marked, mut exact) = (0_u64, 0_u64);
            let end = now + 2_000_000_000;
            while now < end {
                let len = 84 + next() % 1459;
                // Twice the rate on average, in bursts.
                now += (len * 1_000_000_000 / rate) * (next() % 3) / 2;
                if matches!(meter.mark(ticks(now), len), Mark::Guaranteed { .. }) {
                    marked += len;
                }
                exact += len * u64::from(bucket.takes(now, len));
            }
            let off = marked.abs_diff(exact);
            assert!(off <= 1_542 + exact / 10_000, "{rate}: {marked} marked, {exact} exact");
        }
    }

    #[test]
    fn what_is_above_the_guarantee_does_not_use_it_up() {
        let terms =
            Terms { rate: 1_000_000, burst: 1_500, weight: 1, ceiling: 0, preserve_order: false };
        let mut meter = Meter::new(Some(&terms), 0);
        assert!(matches!(meter.mark(0, 1_500), Mark::Guaranteed { .. }));
        assert!((0..1_000).all(|_| meter.mark(0, 1_500) == Mark::Priority));
        let later = ticks(1_500_000);
        assert_eq!(
            meter.mark(later, 1_500),
            Mark::Guaranteed { start: later, finish: later + ticks(1_500_000) }
        );
    }

    #[test]
    fn a_change_of_terms_forgets_nothing_that_was_sent() {
        let terms =
            Terms { rate: 1_000_000, burst: 3_000, weight: 0, ceiling: 0, preserve_order: false };
        let mut meter = Meter::new(Some(&terms), 0);
        assert!(matches!(meter.mark(0, 3_000), Mark::Guaranteed { .. }));
        meter.change(Some(&Terms { weight: 5, ..terms }));
        assert_eq!(meter.mark(0, 100), Mark::Priority);
        meter.change(None);
        assert_eq!((meter.mark(0, 100), meter.is_leased()), (Mark::Free, false));
    }
}
