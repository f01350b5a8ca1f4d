//! Who asks.

use domain::access::Grant;
use sha2::{Digest, Sha256};

/// Who asks, and what he may.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The author of what is done; in the audit log.
    pub name: String,
    /// What he may.
    pub grant: Grant,
    /// If he may send the same request again.
    pub once: Option<Once>,
}

impl Caller {
    /// The box itself: what time does.
    #[must_use]
    pub fn switchyard() -> Self {
        Self { name: "switchyard".into(), grant: Grant::owner(), once: None }
    }
}

/// A request that is done once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// Its name, given by who asks; his own.
    pub key: String,
    /// Digest of all that makes it this request.
    pub digest: Vec<u8>,
}

impl Once {
    /// A request of this name, that asks for this.
    #[must_use]
    pub fn new(key: &str, what: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in what {
            // With their lengths: no part runs into the next.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { key: key.to_owned(), digest: hash.finalize().to_vec() }
    }
}
