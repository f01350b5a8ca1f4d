//! Announcements: 1024 bytes that prove bandwidth and work; blocks prove that they hold a set of them.

use crate::compact::Compact;

/// Bytes of an announcement.
pub const LEN: usize = 1024;
/// Bytes of its header.
pub const HEADER_LEN: usize = 88;
/// Siblings on the way to the root of its table: it has 8192 items.
pub const SIBLINGS: usize = 13;

/// An announcement, as its bytes; any are one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Announcement(pub [u8; LEN]);

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announcement")
            .field("version", &self.version())
            .field("parent_height", &self.parent_height())
            .field("target", &self.target())
            .finish_non_exhaustive()
    }
}

impl Announcement {
    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn part<const N: usize>(&self, at: usize) -> &[u8; N] {
        self.0[at..].first_chunk().unwrap_or(&[0; N])
    }

    /// 0, or 1: anything else is treated as 1.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0[0]
    }

    /// Which try over one table it is; 24 bits.
    #[must_use]
    pub fn soft_nonce(&self) -> u32 {
        self.word(0) >> 8
    }

    /// What its work hash must meet.
    #[must_use]
    pub fn target(&self) -> Compact {
        Compact(self.word(8))
    }

    /// Height of the block that it was made after.
    #[must_use]
    pub fn parent_height(&self) -> u32 {
        self.word(12)
    }

    /// What its content is, to those who sent it.
    #[must_use]
    pub fn content_type(&self) -> u32 {
        self.word(16)
    }

    /// Bytes of its content.
    #[must_use]
    pub fn content_len(&self) -> u32 {
        self.word(20)
    }

    /// Merkle root of the content; the content itself if it is no longer than 32 bytes.
    #[must_use]
    pub fn content_hash(&self) -> &[u8; 32] {
        self.part(24)
    }

    /// Ed25519 key whose signature a block must have; all zero: none.
    #[must_use]
    pub fn signing_key(&self) -> &[u8; 32] {
        self.part(56)
    }

    /// Whether a block must have a signature for it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        *self.signing_key() != [0; 32]
    }

    /// The header with the soft nonce taken out: what the table is made from.
    #[must_use]
    pub fn header_without_nonce(&self) -> [u8; HEADER_LEN] {
        let mut header = *self.part(0);
        header[1..4].fill(0);
        header
    }

    /// Siblings and tail of the item's place in the table; encrypted in version 1.
    #[must_use]
    pub fn siblings(&self) -> &[u8; 64 * SIBLINGS] {
        self.part(HEADER_LEN)
    }

    /// Root of the table.
    #[must_use]
    pub fn root(&self) -> &[u8; 64] {
        self.part(920)
    }

    /// Version 0: the beginning of the item; version 1: zeros, encrypted.
    #[must_use]
    pub fn tail(&self) -> &[u8; 40] {
        self.part(984)
    }
}

impl TryFrom<&[u8]> for Announcement {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}
