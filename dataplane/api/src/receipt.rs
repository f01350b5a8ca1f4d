//! Receipts: what a lease gave in a minute, each with the digest of the one before, signed with the vswitch's key.

use crate::status::{LeaseTotals, Volume};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use wire::key::PublicKey;

/// What is digested begins with it, so that nothing else that is signed with the key can be taken for a receipt.
const DOMAIN: &[u8] = b"switchyard receipt 1\0";

/// What one lease gave in one interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Key of the vswitch that the lease's vifs are of, `.k` form.
    pub vswitch: String,
    /// The lease's id.
    pub lease: u32,
    /// Begin of the interval, Unix milliseconds.
    pub from: u64,
    /// End of the interval.
    pub until: u64,
    /// What became of its packets.
    pub totals: LeaseTotals,
    /// Most bytes of wire that left in one second.
    pub peak: u64,
    /// Digest of the receipt before, 64 hexadecimal digits; zeros for the first.
    pub previous: String,
    /// SHA-256 of [`Self::message`], 64 hexadecimal digits.
    pub digest: String,
    /// Ed25519 key that signed the digest, 64 hexadecimal digits: the vswitch's; empty: its private key is not here.
    pub signing_key: String,
    /// Its signature, 128 hexadecimal digits.
    pub signature: String,
}

impl Receipt {
    /// What the digest is of. `None`: key or previous digest are none.
    ///
    /// ```text
    /// | domain 21 | X25519 key 32 | lease u32 | from u64 | until u64 | 5 volumes: packets u64, bytes u64
    /// | 8 delays u64 | peak u64 | previous 32 |      little-endian
    /// ```
    #[must_use]
    pub fn message(&self) -> Option<Vec<u8>> {
        let key: PublicKey = self.vswitch.parse().ok()?;
        let previous: [u8; 32] = HEXLOWER.decode(self.previous.as_bytes()).ok()?.try_into().ok()?;
        let LeaseTotals { guaranteed, priority, free, above_ceiling, no_room, delays } =
            self.totals;
        let mut message = DOMAIN.to_vec();
        message.extend(key.0);
        message.extend(self.lease.to_le_bytes());
        let volumes = [guaranteed, priority, free, above_ceiling, no_room];
        let volumes = volumes.into_iter().flat_map(|Volume { packets, bytes }| [packets, bytes]);
        let words = [self.from, self.until].into_iter().chain(volumes).chain(delays);
        message.extend(words.chain([self.peak]).flat_map(u64::to_le_bytes));
        message.extend(previous);
        Some(message)
    }
}
