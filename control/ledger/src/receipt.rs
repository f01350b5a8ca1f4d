//! Receipts: what a lease carried, interval by interval, each with the digest of the one before.
//!
//! Signatures and digests are checked by who reads receipts in; here they are numbers that must be equal.

use crate::UnixMillis;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};
use std::fmt;

/// 32 bytes: a hash, or a key. Hexadecimal digits in text.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// Text that is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("digest: expected 64 hexadecimal digits")]
pub struct BadDigest;

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(BadDigest)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Packets, and their bytes on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// How many.
    pub packets: u64,
    /// How long together.
    pub bytes: u64,
}

/// What became of a lease's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Sent as guaranteed.
    pub guaranteed: Traffic,
    /// Sent above that, by priority.
    pub priority: Traffic,
    /// Sent as free.
    pub free: Traffic,
    /// Dropped, for whatever reason.
    pub dropped: Traffic,
}

impl Traffic {
    /// The sum, if it fits.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            packets: self.packets.checked_add(other.packets)?,
            bytes: self.bytes.checked_add(other.bytes)?,
        })
    }
}

impl Usage {
    /// The sum, if it fits.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            guaranteed: self.guaranteed.plus(other.guaranteed)?,
            priority: self.priority.plus(other.priority)?,
            free: self.free.plus(other.free)?,
            dropped: self.dropped.plus(other.dropped)?,
        })
    }
}

/// What one lease carried in one interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Key of the box.
    #[serde(rename = "box")]
    pub issuer: Digest,
    /// Which lease.
    pub lease: u32,
    /// Begin of the interval.
    pub from: UnixMillis,
    /// End of the interval.
    pub until: UnixMillis,
    /// What was counted in it.
    pub usage: Usage,
    /// Digest of the receipt before.
    pub previous: Digest,
    /// Digest of this one, its signature left out.
    pub digest: Digest,
}

/// What a row of receipts says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sum of all.
    pub usage: Usage,
    /// Time for which there is no receipt, in order.
    pub gaps: Vec<Gap>,
}

/// Time between two receipts that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// End of the one.
    pub from: UnixMillis,
    /// Begin of the other.
    pub until: UnixMillis,
    /// The other does not name the one as the one before: receipts are missing. Otherwise there never were any.
    pub is_missing: bool,
}

/// Why receipts make no row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// They are of different leases or boxes.
    #[error("receipt {digest}: of lease {lease} of box {issuer}, not of the lease before it")]
    Foreign {
        /// Which.
        digest: Digest,
        /// Whose.
        issuer: Digest,
        /// Of what.
        lease: u32,
    },
    /// An interval must have a length.
    #[error("receipt {digest}: from {from} to {until}, expected a later end")]
    Empty {
        /// Which.
        digest: Digest,
        /// Its begin.
        from: UnixMillis,
        /// Its end.
        until: UnixMillis,
    },
    /// One begins before the one before it ends: it is not in order, there twice, or two tell of one time.
    #[error("receipt {digest}: from {from}, but the one before it goes until {until}")]
    Overlap {
        /// Which.
        digest: Digest,
        /// Its begin.
        from: UnixMillis,
        /// End of the one before.
        until: UnixMillis,
    },
    /// No time lies between two of which the second names another as the one before.
    #[error("receipt {digest}: it follows {previous}, but before it comes {found}")]
    Broken {
        /// Which.
        digest: Digest,
        /// What it names.
        previous: Digest,
        /// What is there.
        found: Digest,
    },
    /// A sum does not fit in 64 bits.
    #[error("receipt {digest}: the counters so far would not fit in 64 bits")]
    Overflow {
        /// At which.
        digest: Digest,
    },
}

/// Adds up the receipts of one lease, in order of time.
///
/// `last`: the one before them, already accounted for; `None` if there is none.
///
/// # Errors
/// [`ReceiptError`] of the first receipt that does not follow.
pub fn tally(last: Option<&Receipt>, receipts: &[Receipt]) -> Result<Tally, ReceiptError> {
    let mut tally = Tally::default();
    let mut before = last;
    for receipt in receipts {
        let &Receipt { issuer, lease, from, until, digest, .. } = receipt;
        if from >= until {
            return Err(ReceiptError::Empty { digest, from, until });
        }
        if let Some(before) = before {
            if (before.issuer, before.lease) != (issuer, lease) {
                return Err(ReceiptError::Foreign { digest, issuer, lease });
            }
            if from < before.until {
                return Err(ReceiptError::Overlap { digest, from, until: before.until });
            }
            let is_missing = receipt.previous != before.digest;
            if from > before.until {
                tally.gaps.push(Gap { from: before.until, until: from, is_missing });
            } else if is_missing {
                let (previous, found) = (receipt.previous, before.digest);
                return Err(ReceiptError::Broken { digest, previous, found });
            }
        }
        let sum = tally.usage.plus(receipt.usage);
        tally.usage = sum.ok_or(ReceiptError::Overflow { digest })?;
        before = Some(receipt);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(from: UnixMillis, until: UnixMillis, previous: u8, digest: u8) -> Receipt {
        let carried = Traffic { packets: 1, bytes: 100 };
        Receipt {
            issuer: Digest([9; 32]),
            lease: 7,
            from,
            until,
            usage: Usage { priority: carried, ..Usage::default() },
            previous: Digest([previous; 32]),
            digest: Digest([digest; 32]),
        }
    }

    #[test]
    fn receipts_in_a_row_add_up() {
        let row = [receipt(0, 60, 0, 1), receipt(60, 120, 1, 2), receipt(120, 180, 2, 3)];
        let all = tally(None, &row).unwrap();
        assert_eq!((all.usage.priority.bytes, all.gaps.len()), (300, 0));
        let rest = tally(Some(&row[0]), &row[1..]).unwrap();
        assert_eq!(rest.usage.priority, Traffic { packets: 2, bytes: 200 });
        assert_eq!(tally(None, &[]), Ok(Tally::default()));
    }

    #[test]
    fn a_gap_is_named_and_says_whether_something_is_missing() {
        let row = [receipt(0, 60, 0, 1), receipt(90, 120, 1, 2), receipt(200, 260, 8, 3)];
        let gaps = [
            Gap { from: 60, until: 90, is_missing: false },
            Gap { from: 120, until: 200, is_missing: true },
        ];
        assert_eq!(tally(None, &row).unwrap().gaps, gaps);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let first = receipt(0, 60, 0, 1);
        let digest = Digest([2; 32]);
        let then = |second: Receipt| tally(None, &[first.clone(), second]).unwrap_err();
        assert_eq!(
            then(receipt(60, 60, 1, 2)),
            ReceiptError::Empty { digest, from: 60, until: 60 }
        );
        assert_eq!(
            then(receipt(59, 61, 1, 2)),
            ReceiptError::Overlap { digest, from: 59, until: 60 }
        );
        let broken =
            ReceiptError::Broken { digest, previous: Digest([5; 32]), found: Digest([1; 32]) };
        assert_eq!(then(receipt(60, 120, 5, 2)), broken);
        let foreign = Receipt { lease: 8, ..receipt(60, 120, 1, 2) };
        assert!(matches!(then(foreign), ReceiptError::Foreign { lease: 8, .. }));
        let mut much = receipt(60, 120, 1, 2);
        much.usage.priority.bytes = u64::MAX - 99;
        assert_eq!(then(much), ReceiptError::Overflow { digest });
        // The same receipt twice is no second one.
        assert!(matches!(then(first.clone()), ReceiptError::Overlap { .. }));
    }
}
