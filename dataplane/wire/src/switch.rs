//! The switch header. Source: CJDNS-WIRE.md §3.1.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian as be};

/// Bytes of the switch header.
pub const HEADER_LEN: usize = 12;
/// A label may be shifted by at most this many bits on its way.
pub const SHIFT_MAX: u8 = 63;
/// Switch version of this protocol, in the two high bits beside the shift.
pub const VERSION: u8 = 1;
/// Traffic class of a packet that carries none.
pub const UNCLASSIFIED: u16 = 0xffff;
/// Shortest packet that an error can quote.
pub const QUOTABLE_MIN: usize = 16;

/// ```text
///  0       8                9               10              12
/// | label | congestion : S | version:shift | traffic class |
/// ```
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Header {
    label: be::U64,
    congestion_and_suppress: u8,
    version_and_shift: u8,
    traffic_class: be::U16,
}

const _: () = assert!(size_of::<Header>() == HEADER_LEN);

impl Header {
    /// A header as a switch writes it: version 1, shift 0, unclassified.
    #[must_use]
    pub const fn new(label: u64, congestion_and_suppress: u8) -> Self {
        Self {
            label: be::U64::new(label),
            congestion_and_suppress,
            version_and_shift: VERSION << 6,
            traffic_class: be::U16::new(UNCLASSIFIED),
        }
    }

    /// The header at the start of `packet`, and what follows it.
    #[inline]
    #[must_use]
    pub fn split(packet: &[u8]) -> Option<(&Self, &[u8])> {
        Self::ref_from_prefix(packet).ok()
    }

    /// The same, to be rewritten in place.
    #[inline]
    #[must_use]
    pub fn split_mut(packet: &mut [u8]) -> Option<(&mut Self, &mut [u8])> {
        Self::mut_from_prefix(packet).ok()
    }

    /// Label in host order.
    #[inline]
    #[must_use]
    pub const fn label(&self) -> u64 {
        self.label.get()
    }

    /// Replaces the label (host order).
    #[inline]
    pub fn set_label(&mut self, label: u64) {
        self.label.set(label);
    }

    /// Congestion (7 bits) above the suppress-errors bit; never interpreted on the way.
    #[inline]
    #[must_use]
    pub const fn congestion_and_suppress(&self) -> u8 {
        self.congestion_and_suppress
    }

    /// Whether an error about this packet must not be answered with an error packet.
    #[inline]
    #[must_use]
    pub const fn suppresses_errors(&self) -> bool {
        self.congestion_and_suppress & 1 == 1
    }

    /// Bits the label has been shifted so far, `0..=63`.
    #[inline]
    #[must_use]
    pub const fn shift(&self) -> u8 {
        self.version_and_shift & 0x3f
    }

    /// Switch version, `0..=3`; never checked on the way.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_and_shift >> 6
    }

    /// Replaces the shift, of which the low six bits count, and keeps the version.
    #[inline]
    pub const fn set_shift(&mut self, shift: u8) {
        self.version_and_shift = (self.version_and_shift & 0xc0) | (shift & 0x3f);
    }

    /// Traffic class; [`UNCLASSIFIED`] between stock nodes.
    #[inline]
    #[must_use]
    pub const fn traffic_class(&self) -> u16 {
        self.traffic_class.get()
    }

    /// Replaces the traffic class.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u16) {
        self.traffic_class.set(class);
    }
}
