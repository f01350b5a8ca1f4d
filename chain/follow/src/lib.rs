//! Follows a PKT chain through nodes that are not believed, and says what came of it in terms of any chain.
//!
//! ```text
//! now, what a node said ──► step ──► asks of nodes │ events: seen, reverted, confirmed, clock
//!                             │      verdicts      │ changes: records for a store
//!                             └── headers ─► blocks, verified ─► the most work counts ─► payments, votes
//! ```
//!
//! Pure: no clock, no I/O, no thread; the same steps give the same outputs. The best chain is the one with the most work
//! in its headers among those whose every block was verified, proof included, from the [`Anchor`] on. A branch is
//! followed however deep it begins, down to `final_blocks` below the tip: what is deeper is final, and a node on such a
//! branch is called forked. Of two equal chains the first stays.
//!
//! What cannot be verified without all unspent outputs is believed to miners: that inputs exist and are signed for.
//!
//! The state is its [`Record`]s. Each step returns those that have changed; [`Follow::restore`] goes on from them, and
//! [`Follow::outstanding`] has the questions that wait for an answer. Memory is bounded: headers by `final_blocks` and a
//! window, branches by blocks and bytes, what nodes say by node; watches are the caller's, and votes those that are
//! unspent on the chain.
#![forbid(unsafe_code)]

mod chain;
pub mod event;
mod money;
mod node;
mod record;
mod restore;
mod status;
mod table;
mod vote;

pub use chain::Side;
pub use money::{Invoice, InvoiceState, MATURITY, Paid, Waiting, Watch, WatchError};
pub use node::{
    ANSWER_MS, Ask, FORKED_BLOCKS, HEADERS_MAX, LIED_MS, Lie, Node, NodeId, POLL_MS, Pool,
    RETRY_MS, STALLED_ALONE_MS, STALLED_MS, Said, Standing,
};
pub use record::{Change, Key, Record, Since, Stored, Tip};
pub use restore::{Anchor, AnchorError, RestoreError};
pub use status::{Candidate, Metrics, Mining, Steward};
pub use vote::{VoteError, compose_vote};

use chain::Chain;
use event::{Clock, Event};
use money::{Money, News};
use primitives::bitcoin::ScriptBuf;
use primitives::bitcoin::block::Header;
use primitives::network::Network;
use serde::{Deserialize, Serialize};
use table::Table;

/// Unix time, milliseconds.
pub type UnixMillis = u64;

/// Nodes that can be attached.
const NODES_MAX: usize = 64;

/// What is given from outside and never changes.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Whose rules.
    pub network: Network,
    /// Blocks that can be taken back; those below are final.
    pub final_blocks: u32,
}

impl Params {
    /// A day of blocks can be taken back.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self { network, final_blocks: 1440 }
    }
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A node is there to be asked.
    Attach(NodeId),
    /// One is there that follows no chain, and only says things of its own: Lightning. It is never asked.
    Listen(NodeId),
    /// It is not there any more.
    Detach(NodeId),
    /// Payments to a script count from the next block on.
    Watch(ScriptBuf, Watch),
    /// They do no more; nothing more is told of those that came.
    Unwatch(ScriptBuf),
    /// A Lightning invoice of a node's, by its payment hash.
    Expect {
        /// The payment hash.
        hash: [u8; 32],
        /// Whatever the events shall say; at most 128 bytes.
        reference: Vec<u8>,
        /// Whose invoice it is.
        node: NodeId,
    },
    /// A node says something.
    Said(NodeId, Said),
}

/// What comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// For the books, in order.
    pub events: Vec<Event>,
    /// Nodes that are called something else than before.
    pub verdicts: Vec<(NodeId, Standing)>,
    /// Questions; each node has one at a time.
    pub asks: Vec<(NodeId, Ask)>,
    /// For the store, to be written before the rest is acted on.
    pub changes: Vec<Change>,
}

/// The state.
pub struct Follow {
    chain: Chain,
    money: Money,
    nodes: Table<NodeId, Node>,
    /// Headers of better chains, as nodes tell them, whose blocks are not verified yet; by height.
    told: Table<(NodeId, u32), Header>,
    news: News,
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (height, id) = (self.chain.height(), self.chain.id());
        f.debug_struct("Follow").field("height", &height).field("id", &id).finish_non_exhaustive()
    }
}

impl Follow {
    /// Takes one thing that happened. `now` need not grow; where it falls, waits are longer.
    ///
    /// # Errors
    /// [`WatchError`]: what was to be watched is not; nothing else has changed.
    pub fn step(&mut self, now: UnixMillis, input: Input) -> Result<Output, WatchError> {
        match input {
            Input::Tick => {}
            Input::Attach(id) => self.attach(id, Node { moved_ms: now, ..Node::default() }),
            Input::Listen(id) => self.attach(id, Node { has_no_chain: true, ..Node::default() }),
            Input::Detach(id) => {
                self.forget_told(id);
                self.nodes.remove(&id);
            }
            Input::Watch(script, watch) => self.money.watch(script, watch)?,
            Input::Unwatch(script) => self.money.unwatch(&script),
            Input::Expect { hash, reference, node } => {
                let invoice = Invoice { reference, node, state: InvoiceState::Open, units: 0 };
                self.money.expect(hash, invoice)?;
            }
            Input::Said(id, said) => self.hear(id, said, now),
        }
        self.money.expire(now, &mut self.news);
        Ok(self.output(now))
    }

    fn attach(&mut self, id: NodeId, node: Node) {
        if self.nodes.get(&id).is_none() && self.nodes.map().len() < NODES_MAX {
            self.nodes.insert(id, node);
        }
    }

    fn output(&mut self, now: UnixMillis) -> Output {
        let mut output = Output::default();
        let is_changed = std::mem::take(&mut self.chain.tip.is_changed);
        if is_changed {
            self.chain.tip.changed_ms = now;
            self.money.confirm(self.chain.height(), &mut self.news);
        }
        let News { reverted, seen, confirmed } = std::mem::take(&mut self.news);
        output.events.extend(reverted.into_iter().map(Event::Reverted));
        output.events.extend(seen.into_iter().map(Event::Seen));
        output.events.extend(
            confirmed
                .into_iter()
                .map(|(payment, confirmations)| Event::Confirmed { payment, confirmations }),
        );
        if is_changed {
            output.events.push(Event::Clock(Clock {
                chain: self.chain.network.name.to_owned(),
                height: self.chain.height().into(),
                median_time_s: self.chain.median_time().into(),
            }));
        }
        let ids: Vec<_> = self.nodes.map().keys().copied().collect();
        for id in &ids {
            if let Some(ask) = self.next_ask(*id, now) {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.asked = Some((ask.clone(), now));
                }
                output.asks.push((*id, ask));
            }
        }
        for id in ids {
            let Some(node) = self.nodes.get(&id) else { continue };
            let standing = self.standing(node, now);
            if standing != node.standing
                && let Some(node) = self.nodes.get_mut(&id)
            {
                node.standing = standing;
                output.verdicts.push((id, standing));
            }
        }
        output.changes = self.take_changes(is_changed);
        output
    }
}
