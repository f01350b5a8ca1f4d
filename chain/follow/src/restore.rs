//! Beginning, and going on from records.

use crate::chain::Chain;
use crate::event::SOURCE_LEN_MAX;
use crate::money::{Money, News};
use crate::node::{Ask, NodeId};
use crate::record::{Change, Header, Key, Record, Since, Stored, Tip};
use crate::table::Table;
use crate::{Follow, Params};
use num_bigint::BigUint;
use primitives::bitcoin::BlockHash;
use primitives::header::{self, WINDOW};
use primitives::network::Network;
use primitives::packetcrypt::Verifier;
use primitives::steward::{State, Tally, Undo};
use std::collections::{BTreeMap, BTreeSet};

/// Headers that an anchor in the middle of a chain must have at least: announcements name parents that far below.
const ANCHOR_HEADERS_MIN: usize = 512;

/// Units that can vote: far more than all, and far less than what would not fit.
const VOTES_MAX: u128 = 1 << 100;

/// What is believed without proof: where to begin. It is final.
#[derive(Clone, Debug)]
pub struct Anchor {
    first: u32,
    headers: Vec<Header>,
    since: Since,
    steward: State,
}

/// Why headers are no anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// The first height is not one of a retarget.
    #[error("anchor: begins at height {0}, which is not a multiple of {WINDOW}")]
    First(u32),
    /// Too few.
    #[error("anchor: {0} headers, and {ANCHOR_HEADERS_MIN} are needed")]
    TooFew(usize),
    /// One does not stand on the one before, or is not a checkpoint's.
    #[error("anchor: the header at height {0} does not follow, or is not the checkpoint's")]
    Header(u32),
}

/// Why records are no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record of another kind than its key.
    #[error("restore: the record of {0:?} is of another kind")]
    Kind(Key),
    /// The record of the tip is not there.
    #[error("restore: there is no tip")]
    NoTip,
    /// Another network's.
    #[error("restore: the records are of the network {0:?}")]
    Network(String),
    /// Who is steward is not there.
    #[error("restore: there is no steward")]
    NoSteward,
    /// More money votes than there can be.
    #[error("restore: more money votes against the steward than there can be")]
    Votes,
    /// A gap among the headers, or none at all.
    #[error("restore: the headers do not follow each other at height {0}")]
    Headers(u32),
    /// A block that cannot be taken back has none below that can.
    #[error("restore: the block at height {0} cannot be taken back, and one below can")]
    Undo(u32),
}

impl Anchor {
    /// The network's first block: everything is verified.
    #[must_use]
    pub fn genesis(network: &Network) -> Self {
        Self {
            first: 0,
            headers: vec![network.genesis()],
            since: Since::Genesis,
            steward: Tally::genesis().state().clone(),
        }
    }

    /// Headers up to one that is trusted, a checkpoint's or one that the operator names. `first`: the height of the
    /// first of them. `steward`: as somebody tells it; votes count from here on.
    ///
    /// # Errors
    /// [`AnchorError`].
    pub fn at(
        network: &Network,
        first: u32,
        headers: Vec<Header>,
        steward: State,
    ) -> Result<Self, AnchorError> {
        if !first.is_multiple_of(WINDOW) {
            return Err(AnchorError::First(first));
        }
        if headers.len() < ANCHOR_HEADERS_MIN {
            return Err(AnchorError::TooFew(headers.len()));
        }
        let mut before: Option<BlockHash> = None;
        let mut last = first;
        for (header, height) in headers.iter().zip(first..) {
            let id = header.block_hash();
            let known = network.checkpoints.iter().find(|(known, _)| *known == height);
            if before.is_some_and(|before| before != header.prev_blockhash)
                || known.is_some_and(|(_, known)| *known != id.to_string())
            {
                return Err(AnchorError::Header(height));
            }
            (before, last) = (Some(id), height);
        }
        Ok(Self { first, headers, since: Since::Height(last), steward })
    }
}

impl Follow {
    /// From the beginning. All records are among the changes of the first step.
    #[must_use]
    pub fn new(params: &Params, anchor: Anchor) -> Self {
        let tip = Tip {
            network: params.network.name.to_owned(),
            work: anchor.headers.iter().map(header::work).sum(),
            since: anchor.since,
            changed_ms: 0,
            is_changed: true,
        };
        let mut follow = Self::empty(params, tip, Tally::resume(anchor.steward, BTreeMap::new()));
        for (header, height) in anchor.headers.into_iter().zip(anchor.first..) {
            follow.chain.ids.insert(header.block_hash(), height);
            follow.chain.headers.insert(height, Stored { header, effective: 0 });
        }
        follow
    }

    fn empty(params: &Params, tip: Tip, tally: Tally) -> Self {
        let Params { network, final_blocks } = *params;
        let chain = Chain {
            network,
            final_blocks,
            headers: Table::default(),
            undo: Table::default(),
            side: Table::default(),
            tip,
            tally,
            votes_changed: BTreeSet::new(),
            ids: BTreeMap::new(),
            verifier: Verifier::detect(),
        };
        let money =
            Money { chain: network.name.to_owned(), asset: "PKT".to_owned(), ..Money::default() };
        let (nodes, told) = (Table::default(), Table::default());
        Self { chain, money, nodes, told, news: News::default() }
    }

    /// Goes on from what was stored.
    ///
    /// # Errors
    /// [`RestoreError`]: what is there is no state, of this network.
    pub fn restore(
        params: &Params,
        records: impl IntoIterator<Item = (Key, Record)>,
    ) -> Result<Self, RestoreError> {
        let tip = Tip {
            network: String::new(),
            work: BigUint::ZERO,
            since: Since::Genesis,
            changed_ms: 0,
            is_changed: false,
        };
        let mut follow = Self::empty(params, tip, Tally::genesis());
        let (mut tip, mut steward, mut cast) = (None, None, BTreeMap::new());
        for (key, record) in records {
            match (key, record) {
                (Key::Tip, Record::Tip(found)) => tip = Some(found),
                (Key::Steward, Record::Steward(found)) => steward = Some(found),
                (Key::Vote(outpoint), Record::Vote(vote)) => drop(cast.insert(outpoint, vote)),
                (key, record) => follow.load(key, record)?,
            }
        }
        let tip = tip.ok_or(RestoreError::NoTip)?;
        if tip.network != params.network.name {
            return Err(RestoreError::Network(tip.network));
        }
        follow.chain.tip = tip;
        let steward = steward.ok_or(RestoreError::NoSteward)?;
        let undos = follow.chain.undo.map().values().map(Undo::state);
        if undos.chain([&steward]).any(|state| state.disapproval.unsigned_abs() > VOTES_MAX) {
            return Err(RestoreError::Votes);
        }
        follow.chain.tally = Tally::resume(steward, cast);
        follow.check_headers()?;
        follow.money.derive();
        Ok(follow)
    }

    fn load(&mut self, key: Key, record: Record) -> Result<(), RestoreError> {
        match (key, record) {
            (Key::Header(height), Record::Header(stored)) => {
                self.chain.ids.insert(stored.header.block_hash(), height);
                self.chain.headers.load(height, stored);
            }
            (Key::Undo(height), Record::Undo(undo)) => self.chain.undo.load(height, undo),
            (Key::Side(id), Record::Side(side)) => self.chain.side.load(id, side),
            (Key::Watch(script), Record::Watch(watch)) => self.money.watches.load(script, watch),
            (Key::Paid(outpoint), Record::Paid(paid)) => self.money.paid.load(outpoint, paid),
            (Key::Waiting(txid), Record::Waiting(one)) => self.money.waiting.load(txid, one),
            (Key::Invoice(hash), Record::Invoice(one)) => self.money.invoices.load(hash, one),
            (Key::Node(id), Record::Node(node)) => self.nodes.load(id, *node),
            (Key::Told(id, height), Record::Told(header)) => {
                self.told.load((id, height), header);
            }
            (key, _) => return Err(RestoreError::Kind(key)),
        }
        Ok(())
    }

    fn check_headers(&self) -> Result<(), RestoreError> {
        let headers = self.chain.headers.map();
        let mut before: Option<(u32, BlockHash)> = None;
        for (height, stored) in headers {
            let follows = before.is_none_or(|(last, id)| {
                last.checked_add(1) == Some(*height) && id == stored.header.prev_blockhash
            });
            if !follows {
                return Err(RestoreError::Headers(*height));
            }
            before = Some((*height, stored.header.block_hash()));
        }
        let (tip, _) = before.ok_or(RestoreError::Headers(0))?;
        // From the first that can be taken back on, all can.
        let first = self.chain.undo.map().keys().next().copied();
        let mut wanted = first.into_iter().flat_map(|first| first..=tip);
        let is_there = |height: &u32| {
            self.chain.undo.get(height).is_some()
                && height.checked_sub(1).is_some_and(|below| headers.contains_key(&below))
        };
        if let Some(missing) = wanted.find(|height| !is_there(height)) {
            return Err(RestoreError::Undo(missing));
        }
        match self.chain.undo.map().keys().next_back() {
            Some(last) if *last > tip => Err(RestoreError::Undo(*last)),
            _ => Ok(()),
        }
    }

    /// Questions without an answer: after a restart they must be asked again.
    pub fn outstanding(&self) -> impl Iterator<Item = (NodeId, &Ask)> {
        let nodes = self.nodes.map().iter();
        nodes.filter_map(|(id, node)| Some((*id, &node.asked.as_ref()?.0)))
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> BTreeMap<Key, Record> {
        let chain = &self.chain;
        let mut all = BTreeMap::from([
            (Key::Tip, Record::Tip(chain.tip.clone())),
            (Key::Steward, Record::Steward(chain.tally.state().clone())),
        ]);
        let cast = chain.tally.cast().iter();
        all.extend(cast.map(|(outpoint, vote)| (Key::Vote(*outpoint), Record::Vote(vote.clone()))));
        macro_rules! put {
            ($($table:expr, |$key:ident| $name:expr, |$value:ident| $record:expr;)*) => {$(
                all.extend($table.map().iter().map(|($key, $value)| ($name, $record)));
            )*};
        }
        put! {
            chain.headers, |height| Key::Header(*height), |stored| Record::Header(*stored);
            chain.undo, |height| Key::Undo(*height), |undo| Record::Undo(undo.clone());
            chain.side, |id| Key::Side(*id), |side| Record::Side(side.clone());
            self.money.watches, |script| Key::Watch(script.clone()), |watch| Record::Watch(watch.clone());
            self.money.paid, |outpoint| Key::Paid(*outpoint), |paid| Record::Paid(paid.clone());
            self.money.waiting, |txid| Key::Waiting(*txid), |one| Record::Waiting(one.clone());
            self.money.invoices, |hash| Key::Invoice(*hash), |one| Record::Invoice(one.clone());
            self.nodes, |id| Key::Node(*id), |node| Record::Node(Box::new(node.clone()));
            self.told, |key| Key::Told(key.0, key.1), |header| Record::Told(*header);
        }
        all
    }

    pub(crate) fn take_changes(&mut self, is_moved: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut add = |key: Key, record: Option<Record>| {
            changes.push(match record {
                Some(record) => Change::Put(key, record),
                None => Change::Remove(key),
            });
        };
        let chain = &mut self.chain;
        if is_moved {
            add(Key::Tip, Some(Record::Tip(chain.tip.clone())));
            add(Key::Steward, Some(Record::Steward(chain.tally.state().clone())));
        }
        for outpoint in std::mem::take(&mut chain.votes_changed) {
            let vote = chain.tally.cast().get(&outpoint).cloned();
            add(Key::Vote(outpoint), vote.map(Record::Vote));
        }
        for (height, stored) in chain.headers.take_changes() {
            add(Key::Header(height), stored.map(Record::Header));
        }
        for (height, undo) in chain.undo.take_changes() {
            add(Key::Undo(height), undo.map(Record::Undo));
        }
        for (id, side) in chain.side.take_changes() {
            add(Key::Side(id), side.map(Record::Side));
        }
        for (script, watch) in self.money.watches.take_changes() {
            add(Key::Watch(script), watch.map(Record::Watch));
        }
        for (outpoint, paid) in self.money.paid.take_changes() {
            add(Key::Paid(outpoint), paid.map(Record::Paid));
        }
        for (txid, waiting) in self.money.waiting.take_changes() {
            add(Key::Waiting(txid), waiting.map(Record::Waiting));
        }
        for (hash, invoice) in self.money.invoices.take_changes() {
            add(Key::Invoice(hash), invoice.map(Record::Invoice));
        }
        for (id, node) in self.nodes.take_changes() {
            add(Key::Node(id), node.map(|node| Record::Node(Box::new(node))));
        }
        for ((id, height), header) in self.told.take_changes() {
            add(Key::Told(id, height), header.map(Record::Told));
        }
        changes
    }
}

const _: () = assert!(SOURCE_LEN_MAX >= 16 + 8 + 36);
