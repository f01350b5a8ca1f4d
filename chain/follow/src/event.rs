//! What a chain tells whoever keeps the books: payments and time, of any chain.
//!
//! Nothing here is of one chain in particular. A consumer needs no more than this: a [`Payment`] has one [`Source`] for
//! ever, and what is told of a source is
//!
//! ```text
//! ( Seen? Confirmed* Reverted )*  Seen? Confirmed*
//! ```
//!
//! Of everything that one step of a chain causes, what is reverted comes first, then what is confirmed, then the
//! clock. `Seen` is somebody's word; `Confirmed` was verified as deeply as its chain can be, and its confirmations
//! never fall without a `Reverted`.

use serde::{Deserialize, Serialize};

/// Bytes of a source at most.
pub const SOURCE_LEN_MAX: usize = 128;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A payment is on its way, as somebody says.
    Seen(Payment),
    /// A payment is in the chain.
    Confirmed {
        /// Which.
        payment: Payment,
        /// How deep: 1 in the newest block. [`FOR_GOOD`] where nothing can take it back.
        confirmations: u32,
    },
    /// A payment that was seen or confirmed is no longer there.
    Reverted(Payment),
    /// The chain has grown, or is another one.
    Clock(Clock),
}

/// Confirmations of what no longer depends on the chain.
pub const FOR_GOOD: u32 = u32::MAX;

/// Money that came to something watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The chain's name.
    pub chain: String,
    /// Where it comes from.
    pub source: Source,
    /// What was given with the watch that it came to.
    pub watch: Vec<u8>,
    /// What it is paid in, by the chain's name of it.
    pub asset: String,
    /// In the asset's smallest units.
    pub amount: u128,
}

/// Identity of a payment: the chain's name, what kind of thing it is, and which one. At most [`SOURCE_LEN_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source(Vec<u8>);

impl Source {
    /// `chain:kind:` and what tells it from others of its kind. `None`: too long.
    #[must_use]
    pub fn new(chain: &str, kind: &str, which: &[u8]) -> Option<Self> {
        let bytes = [chain.as_bytes(), b":", kind.as_bytes(), b":", which].concat();
        (bytes.len() <= SOURCE_LEN_MAX).then_some(Self(bytes))
    }

    /// As it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How far a chain is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The chain's name.
    pub chain: String,
    /// Blocks below the newest.
    pub height: u64,
    /// Seconds since 1970 that most of its last blocks are after: it does not jump with one miner's clock.
    pub median_time_s: u64,
}
