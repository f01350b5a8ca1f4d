//! Numbers of one, three, five or nine bytes. Source: CJDNS-WIRE.md §6.4.

/// Longest written number.
pub const LEN_MAX: usize = 9;

/// Appends `value` in the shortest form.
pub fn put(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let (mark, len) = match value {
        0..=0xfc => (None, 1),
        0xfd..=0xffff => (Some(0xfd), 2),
        0x1_0000..=0xffff_ffff => (Some(0xfe), 4),
        _ => (Some(0xff), 8),
    };
    out.extend(mark);
    out.extend(bytes.iter().skip(bytes.len() - len));
}

/// The number at the start of `bytes`, in whatever form, and what follows it.
#[must_use]
pub fn split(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let len = match first {
        0..=0xfc => return Some((u64::from(*first), rest)),
        0xfd => 2,
        0xfe => 4,
        0xff => 8,
    };
    let (number, rest) = rest.split_at_checked(len)?;
    Some((number.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)), rest))
}
