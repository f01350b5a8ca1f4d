//! What a lease is made of: a share of one side of a port, for a slot of time.

use dataplane_api::Direction;
pub use dataplane_api::limits::RATE_MIN;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes that Ethernet puts around a frame on the wire: preamble and start 8, check sequence 4, gap 12.
pub const FRAME_OVERHEAD: u64 = 24;
/// Ethernet's header with one 802.1Q tag.
const FRAME_HEADER: u64 = 18;
/// Highest rate (bytes a second) and burst (bytes) of one lease, and highest capacity of a port. With
/// [`crate::calendar::BOOKINGS_MAX`] it keeps every sum below 2⁶¹.
pub const SHARE_MAX: u64 = 1 << 40;

/// Unix time in milliseconds, at most [`Time::MAX`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// What a JSON number can still hold exactly, some 285 000 years on.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// So much later, at most [`Time::MAX`].
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms)).min(Self::MAX)
    }

    /// So much earlier, at least 0.
    #[must_use]
    pub fn before(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

/// [start, end): the end does not belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// First instant.
    pub start: Time,
    /// First instant after it.
    pub end: Time,
}

impl Slot {
    /// Milliseconds; 0 if it ends before it starts.
    #[must_use]
    pub fn length_ms(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }
}

/// A lease, dense over the box.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LeaseId(pub u32);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A port in one direction: what leases are shares of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortSide {
    /// Name of the port, as a spec has it: its number changes with the configuration.
    pub port: String,
    /// Which way.
    pub direction: Direction,
}

impl fmt::Display for PortSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Out => "out",
            Direction::In => "in",
        };
        write!(f, "{} {direction}", self.port)
    }
}

/// What a lease guarantees, or what of it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Bytes a second on the wire, [`FRAME_OVERHEAD`] counted for each frame.
    pub bytes_per_s: u64,
    /// Bytes on the wire that may come at once.
    pub burst_bytes: u64,
}

/// What of a port's side is for sale, and by which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortTerms {
    /// Measured capacity, bytes a second on the wire, at most [`SHARE_MAX`].
    pub capacity_bytes_per_s: u64,
    /// Parts of a million of the capacity that may be guaranteed (η).
    pub guaranteed_ppm: u32,
    /// Depth of the buffer for guaranteed packets, microseconds of the capacity.
    pub buffer_us: u32,
    /// The port's MTU, bytes.
    pub mtu: u16,
    /// How long a lease keeps its room after its end, so that a late renewal leaves no gap.
    pub grace_ms: u64,
    /// Longest time after a lease's end for which its holder is asked first.
    pub first_refusal_ms: u64,
    /// How long before the end the holder must have decided.
    pub notice_ms: u64,
}

impl PortTerms {
    /// The usual terms for a measured capacity: η 0.9, 25 ms of buffer, an hour of grace, no first refusal.
    #[must_use]
    pub fn usual(capacity_bytes_per_s: u64, mtu: u16) -> Self {
        Self {
            capacity_bytes_per_s,
            guaranteed_ppm: 900_000,
            buffer_us: 25_000,
            mtu,
            grace_ms: 3_600_000,
            first_refusal_ms: 0,
            notice_ms: 0,
        }
    }

    /// What may be promised at one instant, rounded down.
    #[must_use]
    pub fn limit(&self) -> Share {
        let of_capacity = |parts: u32| {
            let capacity = u128::from(self.capacity_bytes_per_s.min(SHARE_MAX));
            u64::try_from(capacity * u128::from(parts) / 1_000_000).unwrap_or(u64::MAX)
        };
        Share {
            bytes_per_s: of_capacity(self.guaranteed_ppm.min(1_000_000)),
            burst_bytes: of_capacity(self.buffer_us),
        }
    }

    /// The largest frame on the wire, bytes.
    #[must_use]
    pub fn frame_max(&self) -> u64 {
        u64::from(self.mtu) + FRAME_HEADER + FRAME_OVERHEAD
    }

    /// Least burst of a lease: two of the largest frames.
    #[must_use]
    pub fn burst_min(&self) -> u64 {
        2 * self.frame_max()
    }

    /// Burst of a lease that asks for none: the larger of six of the largest frames and 5 ms at its rate.
    #[must_use]
    pub fn burst_usual(&self, bytes_per_s: u64) -> u64 {
        (6 * self.frame_max()).max(bytes_per_s.div_ceil(200))
    }
}

/// How much burst somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Burst {
    /// [`PortTerms::burst_usual`] as far as there is room, no less than [`PortTerms::burst_min`].
    Usual,
    /// So many bytes as far as there is room, no less than [`PortTerms::burst_min`].
    UpTo(u64),
    /// So many bytes or nothing.
    Exactly(u64),
}

/// What somebody wants to lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Where.
    pub side: PortSide,
    /// When.
    pub slot: Slot,
    /// Bytes a second on the wire.
    pub bytes_per_s: u64,
    /// How much at once.
    pub burst: Burst,
}

/// Rate on the wire of `frames_per_s` frames of `frame_bytes` each (check sequence not counted).
#[must_use]
pub fn wire_rate(frames_per_s: u64, frame_bytes: u64) -> u64 {
    frames_per_s.saturating_mul(frame_bytes.saturating_add(FRAME_OVERHEAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_exact_parts_rounded_down() {
        let terms = PortTerms::usual(1_250_000_001, 1500);
        let limit = terms.limit();
        assert_eq!((limit.bytes_per_s, limit.burst_bytes), (1_125_000_000, 31_250_000));
        let widest = PortTerms { guaranteed_ppm: u32::MAX, ..PortTerms::usual(u64::MAX, 1500) };
        assert_eq!(widest.limit().bytes_per_s, SHARE_MAX);
    }

    #[test]
    fn bursts_count_what_the_wire_carries() {
        let terms = PortTerms::usual(1_250_000_000, 1500);
        assert_eq!((terms.burst_min(), terms.burst_usual(1)), (2 * 1542, 6 * 1542));
        assert_eq!(terms.burst_usual(100_000_001), 500_001);
    }

    #[test]
    fn ten_gigabits_of_the_smallest_frames() {
        // 64 bytes with the check sequence: 14.88 million of them fill 10 Gb/s.
        assert_eq!(wire_rate(14_880_952, 60), 1_249_999_968);
    }
}
