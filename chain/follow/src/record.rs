//! What a store keeps: small records by key. All of them are the state; each step says which have changed.

use crate::chain::Side;
use crate::money::{Invoice, Paid, Waiting, Watch};
use crate::node::{Node, NodeId};
use num_bigint::BigUint;
pub(crate) use primitives::bitcoin::block::Header;
use primitives::bitcoin::{BlockHash, OutPoint, ScriptBuf, Txid};
use primitives::steward::{Cast, State, Undo};
use serde::{Deserialize, Serialize};

/// A record's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    /// The one [`Record::Tip`].
    Tip,
    /// The one [`Record::Steward`].
    Steward,
    /// A height of the best chain.
    Header(u32),
    /// Likewise.
    Undo(u32),
    /// A block beside the best chain.
    Side(BlockHash),
    /// An output with a vote.
    Vote(OutPoint),
    /// A watched script.
    Watch(ScriptBuf),
    /// An output to one.
    Paid(OutPoint),
    /// A transaction that is in no block.
    Waiting(Txid),
    /// A payment hash.
    Invoice([u8; 32]),
    /// A node.
    Node(NodeId),
    /// A header that a node has told of and whose block is not verified, by height.
    Told(NodeId, u32),
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// What the best chain adds up to.
    Tip(Tip),
    /// Who is steward.
    Steward(State),
    /// A header of the best chain.
    Header(Stored),
    /// How to take its votes back.
    Undo(Undo),
    /// A block beside the best chain.
    Side(Side),
    /// A vote that is unspent.
    Vote(Cast),
    /// What a payment to the script is for.
    Watch(Watch),
    /// A payment.
    Paid(Paid),
    /// A transaction that is in no block.
    Waiting(Waiting),
    /// A Lightning invoice.
    Invoice(Invoice),
    /// What is known of a node.
    Node(Box<Node>),
    /// A header that a node has told of.
    Told(Header),
}

/// One change of the state. Of a step's changes no two have the same key; a store takes all or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The record is there now, in place of what may have been.
    Put(Key, Record),
    /// There is none any more.
    Remove(Key),
}

/// A header of the best chain, with what its proof has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The header.
    pub header: Header,
    /// The target that the block's work hash meets, compact; 0 where the proof was not looked at.
    pub effective: u32,
}

/// What the best chain adds up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// The network's name.
    pub network: String,
    /// Of all headers from the first that was given on.
    pub work: BigUint,
    /// From where on votes were counted.
    pub since: Since,
    /// When it last became another one, Unix time in milliseconds.
    pub changed_ms: u64,
    /// In the step that is going on.
    #[serde(skip)]
    pub(crate) is_changed: bool,
}

/// From where on something was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// All of it.
    Genesis,
    /// From this height on; what was before is as somebody told it.
    Height(u32),
}
