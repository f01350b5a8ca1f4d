//! What is known: for people, and for metrics.

use crate::money::{Invoice, MATURITY, Watch};
use crate::node::{Lie, Node, NodeId, Standing};
use crate::record::Since;
use crate::{Follow, UnixMillis};
use num_bigint::BigUint;
use primitives::amount::Amount;
use primitives::bitcoin::{BlockHash, ScriptBuf};
use primitives::compact::Compact;
use primitives::header::{self, WINDOW};
use primitives::steward::State;
use std::collections::BTreeMap;

/// Blocks that rates are measured over.
const RATE_BLOCKS: usize = 120;

/// The Network Steward, and what votes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steward {
    /// Who it is, and how much money is against.
    pub state: State,
    /// From where on votes were counted.
    pub since: Since,
    /// By output script.
    pub candidates: BTreeMap<ScriptBuf, Candidate>,
    /// Nodes at the same tip that say something else.
    pub contradicted_by: Vec<NodeId>,
}

/// What unspent votes say of somebody, units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// For.
    pub approval: u128,
    /// Against.
    pub disapproval: u128,
}

/// The network's mining, and the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mining {
    /// The target of the tip's header.
    pub bits: Compact,
    /// Blocks until the next retarget.
    pub retarget_in: u32,
    /// Σ work(effective target) of the last 120 blocks at most: tries at blocks, in [`Mining::seconds`].
    pub tries: BigUint,
    /// Σ work(header target) of the same: by the seconds, what nodes call the network's hash rate.
    pub header_work: BigUint,
    /// From the oldest to the newest of these blocks, by their headers.
    pub seconds: u32,
    /// Coinbase outputs to watched scripts that can be spent, units.
    pub mature_units: u128,
    /// And those that are too young.
    pub immature_units: u128,
    /// What nodes say of the operator's pool.
    pub pools: BTreeMap<NodeId, crate::Pool>,
}

/// Numbers for a monitoring system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Blocks below the tip.
    pub height: u32,
    /// Since the tip became another one.
    pub lag_ms: u64,
    /// Verified blocks beside the best chain.
    pub side_blocks: usize,
    /// Headers told of and not verified.
    pub told_headers: usize,
    /// Watched scripts.
    pub watches: usize,
    /// Payments known.
    pub payments: usize,
    /// Transactions with payments that wait for a block.
    pub waiting: usize,
    /// Votes that are unspent.
    pub votes: usize,
    /// Nodes by what they are called.
    pub good: usize,
    /// Likewise.
    pub lying: usize,
    /// Likewise.
    pub forked: usize,
    /// Likewise.
    pub stalled: usize,
    /// Likewise.
    pub vanished: usize,
    /// What each lying node's lie was.
    pub lies: BTreeMap<NodeId, Lie>,
}

impl Follow {
    /// Height and id of the best chain's last block.
    #[must_use]
    pub fn tip(&self) -> (u32, BlockHash) {
        (self.chain.height(), self.chain.id())
    }

    /// Work of the best chain's headers, from the first of the anchor's on.
    #[must_use]
    pub fn work(&self) -> &BigUint {
        &self.chain.tip.work
    }

    /// The attached nodes.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        self.nodes.map()
    }

    /// The watched scripts.
    #[must_use]
    pub fn watches(&self) -> &BTreeMap<ScriptBuf, Watch> {
        self.money.watches.map()
    }

    /// The invoices, by payment hash.
    #[must_use]
    pub fn invoices(&self) -> &BTreeMap<[u8; 32], Invoice> {
        self.money.invoices.map()
    }

    /// Steward and votes.
    #[must_use]
    pub fn steward(&self) -> Steward {
        let tally = &self.chain.tally;
        let mut candidates: BTreeMap<ScriptBuf, Candidate> = BTreeMap::new();
        for cast in tally.cast().values() {
            if let Some(named) = &cast.vote.candidate {
                candidates.entry(named.clone()).or_default().approval += u128::from(cast.units);
            }
            if let Some(named) = &cast.vote.against {
                candidates.entry(named.clone()).or_default().disapproval += u128::from(cast.units);
            }
        }
        let state = tally.state().clone();
        let id = self.chain.id();
        let contradicts = |node: &Node| {
            let told = node.steward.as_ref().filter(|_| node.tip == Some(id));
            told.is_some_and(|(script, against)| {
                *script != state.steward || i128::from(*against) != state.disapproval
            })
        };
        let nodes = self.nodes.map().iter().filter(|(_, node)| contradicts(node));
        let contradicted_by = nodes.map(|(id, _)| *id).collect();
        Steward { since: self.chain.tip.since, candidates, contradicted_by, state }
    }

    /// Mining.
    #[must_use]
    pub fn mining(&self) -> Mining {
        let height = self.chain.height();
        let headers = self.chain.headers.map();
        let last: Vec<_> = headers.values().rev().take(RATE_BLOCKS).collect();
        let times = || last.iter().map(|stored| stored.header.time);
        let span = times().max().zip(times().min()).map(|(newest, oldest)| newest - oldest);
        let tries = last.iter().map(|stored| Compact(stored.effective));
        let tries = tries.filter(|target| target.0 > 0).filter_map(Compact::work).sum::<BigUint>();
        let bits = headers.get(&height).map_or(0, |stored| stored.header.bits.to_consensus());
        let sum = |is_mature: bool| {
            let paid = self.money.paid.map().values().filter(|paid| paid.is_coinbase);
            let age = |at: u32| height.saturating_sub(at).saturating_add(1);
            paid.filter(|paid| paid.height.is_some_and(|at| (age(at) >= MATURITY) == is_mature))
                .map(|paid| u128::from(paid.units))
                .sum()
        };
        let pools = self.nodes.map().iter().filter_map(|(id, node)| Some((*id, node.pool?)));
        Mining {
            bits: Compact(bits),
            retarget_in: (WINDOW - height % WINDOW) % WINDOW,
            tries,
            header_work: last.iter().map(|stored| header::work(&stored.header)).sum(),
            seconds: span.unwrap_or(0),
            mature_units: sum(true),
            immature_units: sum(false),
            pools: pools.collect(),
        }
    }

    /// What has come to a watched script and is in the best chain with `confirmations` at least.
    #[must_use]
    pub fn received(&self, script: &ScriptBuf, confirmations: u32) -> Option<Amount> {
        let height = self.chain.height();
        let is_deep = |at: u32| height.saturating_sub(at).saturating_add(1) >= confirmations;
        let paid = self.money.paid.map().values().filter(|paid| paid.script == *script);
        let deep = paid.filter(|paid| paid.height.is_some_and(is_deep));
        deep.map(|paid| Amount::from_units(paid.units).ok())
            .try_fold(Amount::ZERO, |sum, units| sum.checked_add(units?))
    }

    /// Numbers of the moment.
    #[must_use]
    pub fn metrics(&self, now: UnixMillis) -> Metrics {
        let mut metrics = Metrics {
            height: self.chain.height(),
            lag_ms: now.saturating_sub(self.chain.tip.changed_ms),
            side_blocks: self.chain.side.map().len(),
            told_headers: self.told.map().len(),
            watches: self.money.watches.map().len(),
            payments: self.money.paid.map().len(),
            waiting: self.money.waiting.map().len(),
            votes: self.chain.tally.cast().len(),
            ..Metrics::default()
        };
        for (id, node) in self.nodes.map() {
            match node.standing {
                Standing::Good => metrics.good += 1,
                Standing::Lying(lie) => {
                    metrics.lying += 1;
                    metrics.lies.insert(*id, lie);
                }
                Standing::Forked { .. } => metrics.forked += 1,
                Standing::Stalled => metrics.stalled += 1,
                Standing::Vanished => metrics.vanished += 1,
            }
        }
        metrics
    }
}
