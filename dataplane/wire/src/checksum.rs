//! The Internet checksum. Source: RFC 1071; for control messages CJDNS-WIRE.md §5.1.

use std::net::IpAddr;

/// A ones' complement sum in the making. Only the last piece added may have an odd length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes as big-endian 16-bit words, an odd last byte padded with zero on the right.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, last) = bytes.as_chunks::<4>();
        // 32-bit words sum to the same, modulo 2¹⁶ − 1; 2³² of them fit.
        let sum = words.iter().fold(self.0, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
        let mut tail = [0; 4];
        tail[..last.len()].copy_from_slice(last);
        Self(sum + u64::from(u32::from_be_bytes(tail)))
    }

    /// Adds one 16-bit word.
    #[inline]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds what a UDP or other checksum takes from the IP header. Both addresses are of one family.
    #[must_use]
    pub fn pseudo_header(
        self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: u32,
    ) -> Self {
        let sum = [source, destination].into_iter().fold(self, |sum, address| match address {
            IpAddr::V4(address) => sum.bytes(&address.octets()),
            IpAddr::V6(address) => sum.bytes(&address.octets()),
        });
        sum.bytes(&length.to_be_bytes()).word(u16::from(protocol))
    }

    /// The checksum: the complement of the folded sum.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        let [.., high, low] = ((sum >> 16) + (sum & 0xffff)).to_be_bytes();
        !u16::from_be_bytes([high, low])
    }
}

/// The checksum of `bytes`.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).finish()
}

/// Whether `bytes`, the checksum among them, sum up.
#[inline]
#[must_use]
pub fn is_right(bytes: &[u8]) -> bool {
    checksum(bytes) == 0
}

/// The checksum after one of the words under it changed. Source: RFC 1624.
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(!checksum as u64 + !old as u64 + new as u64).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One word at a time, carry by carry.
    fn twin(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        /// The wide sum is the narrow one.
        #[test]
        fn equals_the_twin(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&bytes), twin(&bytes));
        }

        /// A changed word needs no second look at the rest.
        #[test]
        fn update_equals_summing_again(mut words in proptest::collection::vec(any::<u16>(), 1..40), new: u16) {
            let bytes = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
            // An all-zero sum has two representations; a header is never all zero.
            words.push(0x4500);
            let before = checksum(&bytes(&words));
            let old = std::mem::replace(&mut words[0], new);
            prop_assert_eq!(update(before, old, new), checksum(&bytes(&words)));
        }
    }
}
