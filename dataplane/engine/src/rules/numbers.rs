//! The one place where a wide word becomes an index.

/// `value` as an index.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "this runs on 64-bit machines; a table access checks its bound"
)]
pub(crate) fn index(value: u64) -> usize {
    value as usize
}
