//! What is asked of any node that a chain is followed by, and how several are kept.

use crate::answer::{Broadcast, RawBlock, Tip};
use crate::backoff::Backoff;
use crate::error::{NodeError, Standing};
use primitives::bitcoin::block::Header;
use primitives::bitcoin::{BlockHash, Transaction, Txid};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// Waits for a node that does not answer: from and to.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A node. What it says has the right form and is what was asked for, and that is all: truth and order are for whoever
/// follows the chain to judge.
pub trait Node: Send + Sync {
    /// The operator's name for it.
    fn name(&self) -> &str;

    /// The end of its best chain.
    fn tip(&self) -> impl Future<Output = Result<Tip, NodeError>> + Send;

    /// Up to 2000 headers after the first block of `locator` that is in its best chain, or after the genesis if none
    /// is: they stand on each other. None: nothing comes after it.
    ///
    /// `locator`: newest first.
    fn headers(
        &self,
        locator: &[BlockHash],
    ) -> impl Future<Output = Result<Vec<Header>, NodeError>> + Send;

    /// Block `id`, if it has it.
    fn block(
        &self,
        id: BlockHash,
    ) -> impl Future<Output = Result<Option<RawBlock>, NodeError>> + Send;

    /// Transactions that wait for a block.
    fn mempool(&self) -> impl Future<Output = Result<Vec<Txid>, NodeError>> + Send;

    /// Transactions by id, in the same order; `None`: it has not got it (any more).
    fn transactions(
        &self,
        ids: &[Txid],
    ) -> impl Future<Output = Result<Vec<Option<Transaction>>, NodeError>> + Send;

    /// Gives it a transaction.
    fn broadcast(
        &self,
        transaction: &Transaction,
    ) -> impl Future<Output = Result<Broadcast, NodeError>> + Send;
}

/// Several nodes, in the operator's order. Who fails is left alone for a while, each time longer.
#[derive(Debug)]
pub struct Nodes<N> {
    attached: Vec<Attached<N>>,
}

/// A node and what came of it.
#[derive(Debug)]
struct Attached<N> {
    node: N,
    backoff: Backoff,
    not_before: Option<Instant>,
    standing: Standing,
}

/// No node answered.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// All are being left alone.
    #[error("no node is due before {0:?}")]
    NoneDue(Option<Duration>),
    /// The last error of those that were asked.
    #[error("the last of the nodes, {name}: {error}")]
    Failed {
        /// Whose.
        name: String,
        /// What.
        #[source]
        error: NodeError,
    },
}

impl<N: Node> Nodes<N> {
    /// `seed`: another one on each box.
    #[must_use]
    pub fn new(nodes: Vec<N>, seed: u64) -> Self {
        let attach = |(place, node)| Attached {
            node,
            backoff: Backoff::new(WAIT.0, WAIT.1, seed.wrapping_add(place)),
            not_before: None,
            standing: Standing::Answers,
        };
        Self { attached: (0..).zip(nodes).map(attach).collect() }
    }

    /// All of them with what they are known for.
    pub fn all(&self) -> impl Iterator<Item = (&N, Standing)> {
        self.attached.iter().map(|attached| (&attached.node, attached.standing))
    }

    /// Places of those that may be asked now.
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<usize> {
        let attached = self.attached.iter().enumerate();
        attached.filter(|(_, attached)| attached.is_due(now)).map(|(place, _)| place).collect()
    }

    /// The node at `place`.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&N> {
        self.attached.get(place).map(|attached| &attached.node)
    }

    /// Says that the node at `place` answered, or how it failed. Also for what is found out later: that what it said
    /// was false.
    pub fn report(&mut self, place: usize, standing: Standing, now: Instant) {
        let Some(attached) = self.attached.get_mut(place) else { return };
        let name = attached.node.name();
        if standing == Standing::Answers {
            if attached.standing != standing {
                info!(node = name, "answers again");
            }
            attached.backoff.reset();
            attached.not_before = None;
        } else {
            let wait = attached.backoff.wait();
            if attached.standing != standing {
                warn!(node = name, %standing, "left alone for {wait:?}");
            }
            attached.not_before = Some(now + wait);
        }
        attached.standing = standing;
    }

    /// The first answer: asks one node after the other until one has none but an answer.
    ///
    /// # Errors
    /// What the last one said, if none did; or that none is due.
    pub async fn ask<T>(
        &mut self,
        question: impl AsyncFn(&N) -> Result<T, NodeError>,
    ) -> Result<(usize, T), NoAnswer> {
        let now = Instant::now();
        let soonest = self.attached.iter().filter_map(|attached| attached.not_before).min();
        let mut failed = NoAnswer::NoneDue(soonest.map(|soonest| soonest.duration_since(now)));
        for place in self.due(now) {
            let Some(attached) = self.attached.get(place) else { continue };
            match question(&attached.node).await {
                Ok(answer) => {
                    self.report(place, Standing::Answers, Instant::now());
                    return Ok((place, answer));
                }
                Err(error) => {
                    let name = attached.node.name().to_owned();
                    warn!(node = name, "{error}");
                    self.report(place, error.standing(), Instant::now());
                    failed = NoAnswer::Failed { name, error };
                }
            }
        }
        Err(failed)
    }
}

impl<N> Attached<N> {
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| not_before <= now)
    }
}
