//! What a coinbase says of the announcements that its block was mined with: a set of them, by its tree's root.

use crate::compact::Compact;
use bitcoin::Transaction;

/// Bytes of a commitment.
pub const LEN: usize = 48;
/// `OP_RETURN`, a push of 48 bytes, and what they begin with.
const PREFIX: [u8; 6] = [0x6a, 0x30, 0x09, 0xf9, 0x11, 0x02];

/// The commitment to a set of announcements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Target of the weakest announcement of the set, aged.
    pub least: Compact,
    /// Root of the proof tree.
    pub root: [u8; 32],
    /// Announcements of the set.
    pub count: u64,
}

impl Commitment {
    /// The commitment of a coinbase: that of the first output which begins like one. What is missing at its end is
    /// zero, as in the reference.
    #[must_use]
    pub fn find(coinbase: &Transaction) -> Option<Self> {
        coinbase.output.iter().find_map(|output| Self::parse(output.script_pubkey.as_bytes()))
    }

    /// The commitment in an output's script.
    #[must_use]
    pub fn parse(script: &[u8]) -> Option<Self> {
        if script.len() <= PREFIX.len() || !script.starts_with(&PREFIX) {
            return None;
        }
        let mut bytes = [0; LEN];
        bytes.iter_mut().zip(script.iter().skip(2)).for_each(|(to, from)| *to = *from);
        let (_, [least, rest @ ..]) = bytes.as_chunks::<4>().0.split_first()? else { return None };
        let (root, count) = rest.as_flattened().split_first_chunk()?;
        Some(Self {
            least: Compact(u32::from_le_bytes(*least)),
            root: *root,
            count: u64::from_le_bytes(*count.first_chunk()?),
        })
    }

    /// The script of an output with it.
    #[must_use]
    pub fn script(&self) -> Vec<u8> {
        let (least, count) = (self.least.0.to_le_bytes(), self.count.to_le_bytes());
        [&PREFIX[..], &least, &self.root, &count].concat()
    }
}
