//! Wall time in inits: what keeps a recorded one from being taken again.

use std::fmt;

/// Bytes of a timestamp.
pub(super) const LEN: usize = 12;
/// Second 0 of Unix in TAI64: 2⁶², and ten leap seconds.
const EPOCH: u64 = 0x4000_0000_0000_000a;
const SECOND_NS: u32 = 1_000_000_000;

/// A TAI64N timestamp: seconds (8) and nanoseconds (4), big-endian, so that later ones compare as greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tai64n(pub [u8; LEN]);

impl Tai64n {
    /// From seconds and nanoseconds since 1970.
    #[must_use]
    pub fn from_unix(seconds: u64, nanoseconds: u32) -> Self {
        Self::of(EPOCH.saturating_add(seconds), nanoseconds)
    }

    fn of(seconds: u64, nanoseconds: u32) -> Self {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanoseconds.to_be_bytes());
        Self(bytes)
    }

    /// The next one, a nanosecond later.
    #[must_use]
    pub fn next(self) -> Self {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = self.0;
        let seconds = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        match u32::from_be_bytes([n0, n1, n2, n3]) {
            nanoseconds if nanoseconds < SECOND_NS - 1 => Self::of(seconds, nanoseconds + 1),
            _ => Self::of(seconds.saturating_add(1), 0),
        }
    }
}

impl fmt::Debug for Tai64n {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tai64n({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_tai64n_and_grow() {
        let at = Tai64n::from_unix(1, 2);
        assert_eq!(at.0, [0x40, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 2]);
        assert_eq!(at.next(), Tai64n::from_unix(1, 3));
        assert_eq!(Tai64n::from_unix(1, 999_999_999).next(), Tai64n::from_unix(2, 0));
        assert!(Tai64n::default() < at && at < at.next());
    }
}
