//! The chain that orders are paid by, as far as people may ask of it.

use crate::problem::{Kind, Problem};
use ledger::Amount;
use serde::{Deserialize, Serialize};
use std::fmt;
use store::{Order, PayTo};
use utoipa::ToSchema;

/// Why a chain does not do what is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// What is needed for it does not answer.
    #[error("the chain is away: {0}")]
    Away(String),
    /// It cannot be.
    #[error("the chain refuses: {0}")]
    Refused(String),
}

/// By which way an order shall be paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PayBy)]
pub enum PayBy {
    /// To an address of the box's wallet.
    #[default]
    Chain,
    /// By an invoice; to an address where Lightning cannot carry it.
    Lightning,
}

/// Where an order can be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Till {
    /// There.
    pub pay_to: PayTo,
    /// Why it is not where it was asked for, if it is not.
    pub reason: Option<String>,
}

/// Whoever follows a chain. Calls may block: they are made where that harms nobody.
pub trait Chain: Send + Sync + fmt::Debug {
    /// A place of its own for an order that does not exist yet. `unit`: code of the one that it is paid in.
    ///
    /// # Errors
    /// [`ChainError`].
    fn till(&self, by: PayBy, unit: &str, price: Amount) -> Result<Till, ChainError>;

    /// Watches what comes to an order from now on; once and again is the same. When it returns, whoever ordered may pay.
    ///
    /// # Errors
    /// [`ChainError`].
    fn watch(&self, order: &Order) -> Result<(), ChainError>;

    /// Gives a place back for which there is no order after all.
    fn give_back(&self, till: &Till);

    /// How the chain, its nodes, steward and mining stand.
    ///
    /// # Errors
    /// [`ChainError`].
    fn status(&self) -> Result<ChainStatus, ChainError>;
}

/// A box without any.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoChain;

impl Chain for NoChain {
    fn till(&self, _: PayBy, _: &str, _: Amount) -> Result<Till, ChainError> {
        Err(ChainError::Refused("none is followed".into()))
    }

    fn watch(&self, _: &Order) -> Result<(), ChainError> {
        Err(ChainError::Refused("none is followed".into()))
    }

    fn give_back(&self, _: &Till) {}

    fn status(&self) -> Result<ChainStatus, ChainError> {
        Err(ChainError::Refused("none is followed".into()))
    }
}

/// A chain at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChainStatus {
    /// Name of the network.
    pub network: String,
    /// Blocks below the verified best chain's last one.
    pub height: u32,
    /// Id of that block.
    pub tip: String,
    /// For how long it has been the last one, milliseconds.
    pub lag_ms: u64,
    /// Verified blocks beside the best chain.
    pub side_blocks: u64,
    /// Headers that nodes told of and that are not verified yet.
    pub told_headers: u64,
    /// Scripts and invoices that payments are watched for.
    pub watches: u64,
    /// Payments to them that are known.
    pub payments: u64,
    /// Transactions with such payments that wait for a block.
    pub waiting: u64,
    /// Why what the chain does is not in the books yet, if it is not.
    pub trouble: Option<String>,
    /// Nodes that the configuration names, by name.
    pub nodes: Vec<ChainNode>,
    /// The Network Steward.
    pub steward: ChainSteward,
    /// Mining.
    pub mining: ChainMining,
}

/// An attached node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChainNode {
    /// Its name in the configuration.
    pub name: String,
    /// `pktd`, `pktwallet` or `lightning`.
    pub kind: String,
    /// `good`, `lying`, `forked`, `stalled`, `vanished` or `unusable`.
    pub standing: String,
    /// What it is called that for.
    pub why: Option<String>,
    /// Its best block, as last told.
    pub tip: Option<String>,
}

/// The Network Steward, and what votes say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChainSteward {
    /// Its address.
    pub address: String,
    /// Smallest units that are against it.
    pub against: String,
    /// From which height on votes were counted.
    pub since: u32,
    /// Names of nodes at the same block that say something else.
    pub contradicted_by: Vec<String>,
    /// Whom votes name, at most 100.
    pub candidates: Vec<ChainCandidate>,
}

/// Somebody whom votes name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChainCandidate {
    /// The address.
    pub address: String,
    /// Smallest units for it.
    pub approval: String,
    /// Smallest units against it.
    pub disapproval: String,
}

/// The network's mining, and the operator's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChainMining {
    /// The target, in the compact form of headers.
    pub bits: u32,
    /// Blocks until it changes.
    pub retarget_in: u32,
    /// Tries at blocks in `seconds`, by the proofs of the last 120 blocks.
    pub tries: String,
    /// The same by their targets alone.
    pub work: String,
    /// From the oldest of these blocks to the newest.
    pub seconds: u32,
    /// Smallest units mined to watched scripts that can be spent.
    pub mature: String,
    /// And those that are too young.
    pub immature: String,
}

impl From<ChainError> for Problem {
    fn from(error: ChainError) -> Self {
        let kind = match error {
            ChainError::Away(_) => Kind::Away,
            ChainError::Refused(_) => Kind::Conflict,
        };
        Self::new(kind, error.to_string())
    }
}
