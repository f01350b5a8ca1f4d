//! Nodes: what is asked of each, what became of its answers, and what it is called for them.
//!
//! Each has a conversation of its own, one question at a time, so that none holds up another. What a node says is
//! checked where it can be; what it is called changes nothing of the chain.

use crate::chain::{Branch, Unplaced};
use crate::money::InvoiceState;
use crate::record::Header;
use crate::{Follow, UnixMillis};
use num_bigint::BigUint;
use primitives::bitcoin::{BlockHash, ScriptBuf, Transaction};
use primitives::block::Block;
use primitives::fault::Fault;
use primitives::header;
use serde::{Deserialize, Serialize};

/// Headers of an answer at most.
pub const HEADERS_MAX: usize = 2000;
/// Between two questions for a node's tip.
pub const POLL_MS: u64 = 15_000;
/// Until a question counts as unanswered.
pub const ANSWER_MS: u64 = 60_000;
/// Until a node that did not answer, or not with what it had told of, is asked again.
pub const RETRY_MS: u64 = 30_000;
/// Until a node that lied is asked again.
pub const LIED_MS: u64 = 3_600_000;
/// Without a new tip: while the best chain grows, and at all.
pub const STALLED_MS: u64 = 15 * 60_000;
/// Without a new tip at all.
pub const STALLED_ALONE_MS: u64 = 60 * 60_000;
/// Blocks of the best chain above a fork that make it more than two miners who were equally fast.
pub const FORKED_BLOCKS: u32 = 3;
/// Blocks that a node told of and did not have, one after the other.
const WITHHELD_MAX: u32 = 3;

/// A node, by a number that its operator gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// What is asked of a node. It answers with the [`Said`] of the same name, or [`Said::Failed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Its best block.
    Tip,
    /// The headers of its best chain above the first of these ids that is in it; at most [`HEADERS_MAX`].
    Headers(Vec<BlockHash>),
    /// A block.
    Block(BlockHash),
}

/// What a node says, asked or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// Its best block; also when it is a new one.
    Tip(BlockHash),
    /// Headers, each on the one before.
    Headers(Vec<Header>),
    /// A block's bytes.
    Block(Vec<u8>),
    /// It does not have the block that was asked for.
    NoBlock,
    /// The question had no answer: no connection, no time, an error.
    Failed,
    /// The answer had a form that none can have.
    Garbage,
    /// A transaction that waits for a block.
    Transaction(Transaction),
    /// An invoice of its own.
    Invoice {
        /// The payment hash.
        hash: [u8; 32],
        /// What was paid so far, units.
        units: u64,
        /// How far it is.
        state: InvoiceState,
    },
    /// Who is steward, and how many units are against; kept for comparison.
    Steward {
        /// The steward's output script.
        script: ScriptBuf,
        /// Units.
        against: i64,
    },
    /// What the operator's pool or miner says of itself; kept as it is.
    Pool(Pool),
}

/// An operator's part in a mining pool, as the pool tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Announcements accepted.
    pub announcements: u64,
    /// Announcements refused.
    pub refused: u64,
    /// Block shares accepted.
    pub shares: u64,
    /// The operator's part of the next reward, millionths.
    pub part_ppm: u32,
}

/// Something checkable that was false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Lie {
    /// A header that cannot stand where it stands.
    #[error("a header at height {height}: {fault}")]
    Header {
        /// Where.
        height: u32,
        /// The rule that it breaks.
        fault: Fault,
    },
    /// A block that is none.
    #[error("a block at height {height}: {fault}")]
    Block {
        /// Where.
        height: u32,
        /// The rule that it breaks.
        fault: Fault,
    },
    /// Another block than was asked for.
    #[error("another block than was asked for")]
    OtherBlock,
    /// More headers than an answer can have, or headers that do not begin at the ids that were sent.
    #[error("headers that were not asked for")]
    OtherHeaders,
    /// Headers again and again, and never the blocks.
    #[error("headers of blocks that it does not have")]
    Withheld,
    /// No form that an answer can have.
    #[error("an answer in a form that none can have")]
    Garbage,
    /// A preimage whose hash is another.
    #[error("an invoice's preimage that is none")]
    Preimage,
    /// An invoice that was settled and is no longer.
    #[error("an invoice that was settled and is no longer")]
    InvoiceUnsettled,
}

/// What a node is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Nothing is known against it.
    #[default]
    Good,
    /// Something checkable that it said was false.
    Lying(Lie),
    /// Its chain is valid as far as is known, and has less work.
    Forked {
        /// Height of the last block in common with the best chain; `None`: below what can be taken back.
        fork: Option<u32>,
    },
    /// It has had no new block for too long.
    Stalled,
    /// It does not answer.
    Vanished,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is called.
    pub standing: Standing,
    /// Its best block, as last told.
    pub tip: Option<BlockHash>,
    /// Who it says is steward, and how many units are against.
    pub steward: Option<(ScriptBuf, i64)>,
    /// What it says of its pool.
    pub pool: Option<Pool>,
    /// The question that it has not answered, and since when.
    pub asked: Option<(Ask, UnixMillis)>,
    /// When its tip became another one.
    pub(crate) moved_ms: UnixMillis,
    /// Not to be asked for its tip before.
    pub(crate) next_ms: UnixMillis,
    pub(crate) lie: Option<(Lie, UnixMillis)>,
    pub(crate) is_silent: bool,
    /// The tip whose headers were looked at, and led to no better chain.
    pub(crate) weighed: Option<BlockHash>,
    /// Where the tip's chain leaves the best one, if it does.
    pub(crate) fork: Option<Fork>,
    /// Some of its headers are ahead of the clock and may be taken later.
    pub(crate) is_ahead: bool,
    /// Work at the last of the headers that it told of.
    pub(crate) told_work: BigUint,
    pub(crate) withheld: u32,
    /// It follows no chain: nothing is asked of it.
    pub(crate) has_no_chain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fork {
    At(u32),
    TooDeep,
}

impl Follow {
    /// What a node has said. What was not asked for, or comes from nobody that is attached, is nothing.
    pub(crate) fn hear(&mut self, id: NodeId, said: Said, now: UnixMillis) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        // A preimage proves itself, whoever says it.
        let is_proof = matches!(said, Said::Invoice { .. });
        if !is_proof && node.lie.is_some_and(|(_, since)| now.saturating_sub(since) < LIED_MS) {
            return;
        }
        let asked = node.asked.as_ref().map(|(ask, _)| ask.clone());
        if !matches!(said, Said::Failed) {
            node.is_silent = false;
        }
        match (said, asked) {
            (Said::Tip(tip), asked) => {
                if asked == Some(Ask::Tip) {
                    node.asked = None;
                }
                self.tip_told(id, tip, now);
            }
            (Said::Headers(headers), Some(Ask::Headers(_))) => {
                node.asked = None;
                if let Err(lie) = self.headers_told(id, &headers, now) {
                    self.lied(id, lie, now);
                }
            }
            (Said::Block(bytes), Some(Ask::Block(asked))) => {
                node.asked = None;
                match self.block_told(&bytes, asked) {
                    Ok(()) => {
                        if let Some(node) = self.nodes.get_mut(&id) {
                            node.withheld = 0;
                        }
                    }
                    Err(lie) => self.lied(id, lie, now),
                }
            }
            (Said::NoBlock, Some(Ask::Block(_))) => {
                node.withheld = node.withheld.saturating_add(1);
                let withheld = node.withheld;
                self.start_again(id, now);
                if withheld >= WITHHELD_MAX {
                    self.lied(id, Lie::Withheld, now);
                }
            }
            (Said::Failed, Some(_)) => self.unanswered(id, now),
            (Said::Garbage, Some(_)) => self.lied(id, Lie::Garbage, now),
            (Said::Transaction(transaction), _) => {
                self.money.wait(id, &transaction, now, &mut self.news);
            }
            (Said::Invoice { hash, units, state }, _) => {
                if let Err(lie) = self.money.invoice(id, hash, units, state, &mut self.news) {
                    self.lied(id, lie, now);
                }
            }
            (Said::Steward { script, against }, _) => {
                node.steward = Some((script, against)).filter(|(script, _)| script.len() <= 10_000);
            }
            (Said::Pool(pool), _) => node.pool = Some(pool),
            (
                Said::Headers(_) | Said::Block(_) | Said::NoBlock | Said::Failed | Said::Garbage,
                _,
            ) => {}
        }
    }

    fn tip_told(&mut self, id: NodeId, tip: BlockHash, now: UnixMillis) {
        let fork = self.chain.branch_to(&tip).map(|branch| branch.fork);
        let is_best = self.chain.ids.contains_key(&tip);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.lie = None;
        if node.tip != Some(tip) {
            node.tip = Some(tip);
            node.moved_ms = now;
            node.weighed = None;
        } else if std::mem::take(&mut node.is_ahead) {
            node.weighed = None;
        }
        if is_best {
            node.fork = None;
        } else if let Ok(fork) = fork {
            node.fork = Some(Fork::At(fork));
        }
    }

    /// Takes headers that may lead to a better chain; what they lead to otherwise is noted.
    fn headers_told(&mut self, id: NodeId, headers: &[Header], now: UnixMillis) -> Result<(), Lie> {
        if headers.len() > HEADERS_MAX {
            return Err(Lie::OtherHeaders);
        }
        let new = headers.iter().position(|header| !self.chain.is_known(&header.block_hash()));
        let new = new.and_then(|new| headers.get(new..)).unwrap_or_default();
        let Some(first) = new.first() else {
            self.weigh(id, |node| node.weighed = node.tip);
            return Ok(());
        };
        let mut branch = match self.chain.branch_to(&first.prev_blockhash) {
            Ok(branch) => branch,
            Err(Unplaced::Unknown) if new.len() < headers.len() => return Err(Lie::OtherHeaders),
            Err(_) => {
                self.weigh(id, |node| {
                    (node.weighed, node.fork) = (node.tip, Some(Fork::TooDeep));
                });
                return Ok(());
            }
        };
        let from = branch.above.len();
        let is_ahead = self.take_headers(&mut branch, new, now)?;
        let Branch { fork, above } = branch;
        let told = above.get(from..).unwrap_or_default();
        let before = self.chain.work_at(&first.prev_blockhash).unwrap_or_default();
        let work = before + told.iter().map(header::work).sum::<BigUint>();
        let is_better = work > self.chain.tip.work && !told.is_empty();
        let is_branch = fork < self.chain.height();
        self.weigh(id, |node| {
            node.is_ahead = is_ahead;
            node.fork = is_branch.then_some(Fork::At(fork));
            node.told_work = work;
            if !is_better {
                node.weighed = node.tip;
            }
        });
        if is_better {
            let first = fork.saturating_add(u32::try_from(from).unwrap_or(u32::MAX));
            for (header, height) in told.iter().zip(first.saturating_add(1)..) {
                self.told.insert((id, height), *header);
            }
        }
        Ok(())
    }

    /// Puts headers on a branch; whether some are left that are ahead of the clock.
    fn take_headers(
        &self,
        branch: &mut Branch,
        headers: &[Header],
        now: UnixMillis,
    ) -> Result<bool, Lie> {
        for header in headers {
            if header::is_ahead(header, now / 1000) {
                return Ok(true);
            }
            let height = branch.height().saturating_add(1);
            self.chain.extend(branch, *header).map_err(|fault| Lie::Header { height, fault })?;
        }
        Ok(false)
    }

    fn weigh(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(&id) {
            change(node);
        }
    }

    fn block_told(&mut self, bytes: &[u8], asked: BlockHash) -> Result<(), Lie> {
        let height = |follow: &Self, parent: &BlockHash| {
            let branch = follow.chain.branch_to(parent);
            branch.map_or(0, |branch| branch.height().saturating_add(1))
        };
        let block = Block::parse(bytes).map_err(|fault| Lie::Block { height: 0, fault })?;
        if block.header.block_hash() != asked {
            return Err(Lie::OtherBlock);
        }
        let parent = block.header.prev_blockhash;
        if self.chain.branch_to(&parent).is_err() {
            // The best chain has grown meanwhile, and left its parent too far below.
            return Ok(());
        }
        let height = height(self, &parent);
        self.chain
            .take(block, &mut self.money, &mut self.news)
            .map_err(|fault| Lie::Block { height, fault })
    }

    fn lied(&mut self, id: NodeId, lie: Lie, now: UnixMillis) {
        self.forget_told(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        *node = Node {
            lie: Some((lie, now)),
            standing: node.standing,
            steward: node.steward.take(),
            pool: node.pool,
            moved_ms: node.moved_ms,
            has_no_chain: node.has_no_chain,
            ..Node::default()
        };
    }

    fn unanswered(&mut self, id: NodeId, now: UnixMillis) {
        self.start_again(id, now);
        self.weigh(id, |node| node.is_silent = true);
    }

    /// Asks for its tip after a while.
    fn start_again(&mut self, id: NodeId, now: UnixMillis) {
        self.forget_told(id);
        self.weigh(id, |node| {
            node.asked = None;
            node.tip = None;
            node.next_ms = now.saturating_add(RETRY_MS);
        });
    }

    pub(crate) fn forget_told(&mut self, id: NodeId) {
        let told = self.told.map().range((id, 0)..=(id, u32::MAX));
        let told: Vec<_> = told.map(|(key, _)| *key).collect();
        for key in told {
            self.told.remove(&key);
        }
    }

    /// The next question for a node, if it is time.
    pub(crate) fn next_ask(&mut self, id: NodeId, now: UnixMillis) -> Option<Ask> {
        let node = self.nodes.get(&id)?;
        if node.has_no_chain
            || node.lie.is_some_and(|(_, since)| now.saturating_sub(since) < LIED_MS)
        {
            return None;
        }
        if let Some((_, since)) = &node.asked {
            if now.saturating_sub(*since) <= ANSWER_MS {
                return None;
            }
            self.unanswered(id, now);
        }
        if let Some(wanted) = self.wanted(id) {
            return Some(Ask::Block(wanted));
        }
        let node = self.nodes.get(&id)?;
        let is_new = node.tip.filter(|tip| node.weighed != Some(*tip));
        if is_new.is_some_and(|tip| !self.chain.is_known(&tip)) {
            return Some(Ask::Headers(self.chain.locator()));
        }
        if now < node.next_ms {
            return None;
        }
        self.weigh(id, |node| node.next_ms = now.saturating_add(POLL_MS));
        Some(Ask::Tip)
    }

    /// The first block that a node has told of and that is not verified, if all of them would be a better chain.
    fn wanted(&mut self, id: NodeId) -> Option<BlockHash> {
        loop {
            let mut told = self.told.map().range((id, 0)..=(id, u32::MAX));
            let (key, header) = told.next()?;
            let (key, header) = (*key, *header);
            let block = header.block_hash();
            if self.chain.is_known(&block) {
                self.told.remove(&key);
                continue;
            }
            let is_better = self.nodes.get(&id)?.told_work > self.chain.tip.work;
            if is_better && self.chain.branch_to(&header.prev_blockhash).is_ok() {
                return Some(block);
            }
            self.forget_told(id);
        }
    }

    /// What a node is called now.
    pub(crate) fn standing(&self, node: &Node, now: UnixMillis) -> Standing {
        if let Some((lie, _)) = node.lie {
            return Standing::Lying(lie);
        }
        if node.has_no_chain {
            return Standing::Good;
        }
        if node.is_silent {
            return Standing::Vanished;
        }
        let still_ms = now.saturating_sub(node.moved_ms);
        let is_behind =
            node.tip != Some(self.chain.id()) && self.chain.tip.changed_ms > node.moved_ms;
        if still_ms > STALLED_ALONE_MS || (still_ms > STALLED_MS && is_behind) {
            return Standing::Stalled;
        }
        match node.fork {
            Some(Fork::TooDeep) => Standing::Forked { fork: None },
            Some(Fork::At(fork)) if self.is_left_behind(node, fork) => {
                Standing::Forked { fork: Some(fork) }
            }
            _ => Standing::Good,
        }
    }

    fn is_left_behind(&self, node: &Node, fork: u32) -> bool {
        let is_better = node.tip != node.weighed && node.told_work > self.chain.tip.work;
        self.chain.height().saturating_sub(fork) >= FORKED_BLOCKS && !is_better
    }
}
