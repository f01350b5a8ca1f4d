//! Netlink messages as bytes. What the kernel sends is input like any other: lengths are believed only as far as the
//! bytes go.

/// Bytes of the header: length, kind, flags, sequence, port id.
const HEADER_LEN: usize = 16;
/// Bytes of an attribute's header: length and kind.
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// Of an attribute's kind, the bits that are no flags.
const ATTRIBUTE_KIND: u16 = 0x3fff;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

/// The messages of one datagram; ends at the first that is cut short.
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::try_from(u32_at(rest, 0)?).ok()?;
        let message = Message {
            kind: u16_at(rest, 4)?,
            flags: u16_at(rest, 6)?,
            sequence: u32_at(rest, 8)?,
            payload: rest.get(HEADER_LEN..len)?,
        };
        rest = rest.get(aligned(len)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes of a message or of a nesting attribute, as (kind, value); ends at the first that is cut short.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & ATTRIBUTE_KIND;
        let value = rest.get(ATTRIBUTE_HEADER_LEN..len)?;
        rest = rest.get(aligned(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a kind.
pub(super) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A request: header, what the kind of message begins with, attributes.
pub(super) fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    fixed: &[u8],
    attributes: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // Port id 0: the kernel knows who asks.
    bytes.extend([0; 4]);
    bytes.extend(fixed);
    for (kind, value) in attributes {
        let len = u16::try_from(ATTRIBUTE_HEADER_LEN + value.len()).unwrap_or(u16::MAX);
        bytes.resize(aligned(bytes.len()), 0);
        bytes.extend(len.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
    }
    bytes.resize(aligned(bytes.len()), 0);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_reads_back_with_its_attributes() {
        let bytes = request(26, 1, 7, &[2, 32, 0, 0], &[(1, &[10, 0, 0, 1]), (4, &[9, 0, 0])]);
        let found: Vec<_> = messages(&bytes).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind, found[0].flags, found[0].sequence), (26, 1, 7));
        let rest = &found[0].payload[4..];
        assert_eq!(attribute(rest, 1), Some(&[10, 0, 0, 1][..]));
        assert_eq!(attribute(rest, 4), Some(&[9, 0, 0][..]));
        assert_eq!(attribute(rest, 5), None);
    }

    #[test]
    fn a_length_beyond_the_bytes_ends_the_datagram() {
        let mut bytes = request(26, 1, 7, &[0; 12], &[]);
        bytes[..4].copy_from_slice(&1000_u32.to_ne_bytes());
        assert_eq!(messages(&bytes).count(), 0);
        bytes[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(messages(&bytes).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                prop_assert!(attributes(message.payload).count() <= message.payload.len());
            }
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
