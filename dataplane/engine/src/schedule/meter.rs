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
    /// How far [`Self::finish`] may lie ahead: burst over rate, 24 bits in [`TOLERANCE_UNIT`]; or who meters in its stead.
    /// Above it, the bytes that link and wire add to a packet.
    limits: u32,
    /// Shift of `byte`, shift of `weight`, and flags.
    packed: u16,
    /// When the guaranteed packet before was due, rounded up, in [`DUE_UNIT_BITS`], wrapping.
    due: u16,
}

const _: () = assert!(size_of::<Meter>() == 32, "two meters make a cache line");

/// Shortest frame with preamble and gap.
const WIRE_MIN: usize = 84;
/// 4.1 µs: up to 68 s fit.
const TOLERANCE_UNIT: Ticks = 1 << 20;
const TOLERANCE_MAX: u32 = (1 << 24) - 1;
/// 8.2 µs: a wrap of [`Meter::due`] is 537 ms, twice what the calendar of deadlines spans.
const DUE_UNIT_BITS: u32 = 21;

const SHIFT_BITS: u32 = 5;
const SHIFT_MASK: u16 = (1 << SHIFT_BITS) - 1;
const GUARANTEED: u16 = 1 << (2 * SHIFT_BITS);
const PRIORITY: u16 = GUARANTEED << 1;
const PRESERVE_ORDER: u16 = GUARANTEED << 2;
const CAPPED: u16 = GUARANTEED << 3;
const SHARED: u16 = GUARANTEED << 4;
const FLAGS: u16 = 31 * GUARANTEED;

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
            self.set(0, 0);
            return;
        };
        let (byte, weight) = (PerByte::at(terms.rate), PerByte::at(terms.weight));
        let tolerance = byte.times(terms.burst).div_ceil(TOLERANCE_UNIT);
        (self.byte, self.weight) = (byte.mantissa, weight.mantissa);
        let flag = |on: bool, flag: u16| if on { flag } else { 0 };
        let packed = u16::from(byte.shift)
            | u16::from(weight.shift) << SHIFT_BITS
            | flag(terms.rate > 0, GUARANTEED)
            | flag(terms.weight > 0, PRIORITY)
            | flag(terms.preserve_order, PRESERVE_ORDER)
            | flag(terms.ceiling > 0, CAPPED);
        self.set(packed, u32::try_from(tolerance).unwrap_or(TOLERANCE_MAX));
    }

    fn set(&mut self, packed: u16, low: u32) {
        self.packed = packed;
        self.limits = self.limits & !TOLERANCE_MAX | low.min(TOLERANCE_MAX);
    }

    /// What was sent so far counts as one burst of the terms of now, at most: after a change from a lower rate.
    pub fn forgive(&mut self, now: Ticks) {
        let latest = now.wrapping_add(self.tolerance());
        if after(self.finish, latest) > 0 {
            self.finish = latest;
        }
    }

    /// Makes this the meter of a vif whose lease is metered at `leader`, another of its vifs.
    pub fn follow(&mut self, leader: u32) {
        self.set(SHARED, leader);
    }

    /// The vif at which packets of this one are metered, if it is another.
    #[inline]
    #[must_use]
    pub fn leader(&self) -> Option<u32> {
        (self.packed & SHARED != 0).then_some(self.limits & TOLERANCE_MAX)
    }

    /// Bytes that link and wire add to each packet, at most 255.
    pub fn set_overhead(&mut self, bytes: u8) {
        self.limits = self.limits & TOLERANCE_MAX | u32::from(bytes) << TOLERANCE_MAX.count_ones();
    }

    /// Bytes of wire of a packet.
    #[inline]
    #[must_use]
    pub fn wire_len(&self, packet: usize) -> u16 {
        let len = (packet + (self.limits >> TOLERANCE_MAX.count_ones()) as usize).max(WIRE_MIN);
        // A frame's chunk is shorter than 64 KiB.
        u16::try_from(len).unwrap_or(u16::MAX)
    }

    /// Whether the lease has a ceiling.
    #[inline]
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.packed & CAPPED != 0
    }

    /// Whether there is a lease.
    #[inline]
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.packed & FLAGS != 0
    }

    /// Marks a packet of `len` bytes of wire. Only what is in profile uses the guarantee up. Source: CLOUD-ISP.md
    /// §3.5 R1.
    #[inline]
    pub fn mark(&mut self, now: Ticks, len: u64) -> Mark {
        self.mark_late(now, 0, len)
    }

    /// The same of a packet that came up to `late` before `now`: what the lease gives in that time counts for it too.
    #[inline]
    pub fn mark_late(&mut self, now: Ticks, late: Ticks, len: u64) -> Mark {
        if self.packed & GUARANTEED != 0 {
            let start = later(self.finish, now.wrapping_sub(late));
            let finish = start.wrapping_add(self.byte().times(len));
            if after(finish, now) <= self.tolerance().cast_signed() {
                self.finish = finish;
                return Mark::Guaranteed { start, finish };
            }
        }
        if self.packed & PRIORITY != 0 { Mark::Priority } else { Mark::Free }
    }

    /// Takes part of the guarantee back: a packet that was marked guaranteed and did not find room.
    pub(super) fn take_back(&mut self, len: u64) {
        self.finish = self.finish.wrapping_sub(self.byte().times(len));
    }

    /// When what finishes at `finish` is due, if `soon` is early enough: by its finish, and not before what the lease
    /// sent before it.
    #[inline]
    pub(super) fn due(&mut self, now: Ticks, soon: Ticks, finish: Ticks) -> Ticks {
        let unit = 1_u64 << DUE_UNIT_BITS;
        // The last due time, if it lies ahead; else it has passed, and holds nothing up.
        let ahead = self.due.wrapping_sub(low(now >> DUE_UNIT_BITS)).cast_signed();
        let last = (now & !(unit - 1)).wrapping_add_signed(i64::from(ahead) << DUE_UNIT_BITS);
        let due = later(soon, last);
        let due = if after(due, finish) > 0 { finish } else { due };
        self.due = low(due.wrapping_add(unit - 1) >> DUE_UNIT_BITS);
        due
    }

    #[inline]
    fn tolerance(&self) -> Ticks {
        u64::from(self.limits & TOLERANCE_MAX) * TOLERANCE_UNIT
    }

    #[inline]
    fn byte(&self) -> PerByte {
        PerByte { mantissa: self.byte, shift: (self.packed & SHIFT_MASK) as u8 }
    }

    /// What a byte of the lease takes of the priority calendar's time.
    #[inline]
    pub(super) fn weight(&self) -> PerByte {
        PerByte { mantissa: self.weight, shift: (self.packed >> SHIFT_BITS & SHIFT_MASK) as u8 }
    }

    /// Whether order goes before delay, and some of the lease's priority packets may still wait at calendar time
    /// `served`.
    #[inline]
    pub(super) fn must_follow(&self, served: Ticks) -> bool {
        self.packed & PRESERVE_ORDER != 0 && after(self.tag, served) > 0
    }
}

/// The low bits of a time.
fn low(time: u64) -> u16 {
    let [a, b, ..] = time.to_le_bytes();
    u16::from_le_bytes([a, b])
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
        let mut next = crate::schedule::tests::random(88_172_645_463_325_252);
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
    fn nothing_is_due_before_what_came_before_it_nor_after_its_finish() {
        let mut random = crate::schedule::tests::random(7);
        let terms = Terms { rate: 10_000_000, burst: 200_000, ..Terms::default() };
        let (mut meter, mut now, mut last) = (Meter::new(Some(&terms), 0), 0, 0);
        for _ in 0..100_000 {
            // Now and then nothing for longer than the due time before can be told.
            now += ticks(if random() % 100 == 0 {
                random() % 2_000_000_000
            } else {
                random() % 100_000
            });
            let Mark::Guaranteed { finish, .. } = meter.mark(now, 1_000) else { continue };
            let soon = now + ticks(random() % 20_000_000);
            let due = meter.due(now, soon, finish);
            assert!(
                after(due, last) >= 0 && after(due, finish) <= 0,
                "{due} after {last}, by {finish}"
            );
            last = due;
        }
    }

    #[test]
    fn a_vif_of_a_lease_keeps_its_own_overhead() {
        let mut meter = Meter::default();
        meter.set_overhead(200);
        meter.follow(65_535);
        assert_eq!(
            (meter.leader(), meter.wire_len(100), meter.wire_len(0)),
            (Some(65_535), 300, 200)
        );
        // More than can be told: 68 s.
        meter.change(Some(&Terms { rate: 64, burst: u64::from(u32::MAX), ..Terms::default() }));
        assert_eq!((meter.leader(), meter.is_leased(), meter.wire_len(100)), (None, true, 300));
        assert!(matches!(meter.mark(0, 4_300), Mark::Guaranteed { .. }));
        assert_eq!(meter.mark(0, 100), Mark::Free);
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
        // 3 ms at the old rate are far more than a burst of the new one.
        let faster = Terms { rate: 10_000_000, ..terms };
        meter.change(Some(&faster));
        meter.forgive(0);
        assert_eq!(meter.mark(ticks(290_000), 3_000), Mark::Free);
        assert!(matches!(meter.mark(ticks(305_000), 3_000), Mark::Guaranteed { .. }));
    }
}
