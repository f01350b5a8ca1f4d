//! Arithmetic on labels: 64 bits, host order, bit 0 consumed first, the highest 1 bit ends the path.
//!
//! `INVALID` results are `None`. Source: CJDNS-WIRE.md §4.2, §4.3.

use std::fmt;

/// The label of the node itself.
pub const SELF: u64 = 1;

/// Highest position of the end of a usable path: four zero bits above it keep the self director recognisable.
pub const END_MAX: u32 = 59;

/// Position of the highest 1 bit; 0 for 0.
#[inline]
#[must_use]
pub const fn end(label: u64) -> u32 {
    match label.checked_ilog2() {
        Some(position) => position,
        None => 0,
    }
}

/// Turns a delivered label into the path back, and a received label into the label of the error about it.
#[inline]
#[must_use]
pub const fn reverse(label: u64) -> u64 {
    label.reverse_bits()
}

/// The path to `go` as seen from the start of `via`, where `go` is seen from the end of `via`.
#[must_use]
pub const fn splice(go: u64, via: u64) -> Option<u64> {
    if end(go) + end(via) > END_MAX {
        return None;
    }
    Some(((go ^ 1) << end(via)) ^ via)
}

/// The rest of `full` as seen from the end of `mid`.
#[must_use]
pub const fn unsplice(full: u64, mid: u64) -> u64 {
    full >> end(mid)
}

/// Whether the path `dest` begins with the path `mid`.
#[must_use]
pub const fn routes_through(dest: u64, mid: u64) -> bool {
    if mid > dest {
        return false;
    }
    let bits = end(mid);
    (dest ^ mid) & ((1 << bits) - 1) == 0
}

/// A label as people write it: `0000.0000.0000.0013`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dotted(pub u64);

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32| self.0 >> shift & 0xffff;
        write!(f, "{:04x}.{:04x}.{:04x}.{:04x}", part(48), part(32), part(16), part(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples_of_the_specification() {
        assert_eq!(splice(0x15, 0x13), Some(0x153));
        assert_eq!(splice(0xa6, 0x404), Some(0x2_9804));
        assert_eq!(splice(0x4000_0001, 0x4000_0001), None);
        assert_eq!(splice(0x13, 0), Some(0x12));
        assert_eq!(unsplice(0x153, 0x13), 0x15);
        assert!(routes_through(0x153, 0x13));
        assert!(!routes_through(0x153, 0x15));
        assert!(!routes_through(0x13, 0x153));
        assert!(routes_through(0x153, 1));
    }

    #[test]
    fn a_reversed_label_reversed_is_the_label() {
        assert_eq!(reverse(reverse(0x8000_0000_0000_0153)), 0x8000_0000_0000_0153);
        assert_eq!(reverse(1), 1 << 63);
    }
}
