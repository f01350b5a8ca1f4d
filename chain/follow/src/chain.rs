//! The best verified chain: its last headers, what taking blocks back needs, and branches beside it.

use crate::money::{Money, News};
use crate::record::{Header, Since, Stored, Tip};
use crate::table::Table;
use num_bigint::BigUint;
use primitives::bitcoin::consensus::serialize;
use primitives::bitcoin::{BlockHash, OutPoint, ScriptBuf, Transaction};
use primitives::block::{Block, parse_transactions};
use primitives::fault::Fault;
use primitives::network::Network;
use primitives::packetcrypt::Verifier;
use primitives::reward::steward_share;
use primitives::steward::{Tally, Undo, check_coinbase};
use primitives::{header, steward};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Headers that are kept below those that can be taken back: the retarget wants 2016, and old announcements name parents
/// further below.
const HEADERS_BELOW: u32 = 12_288;
/// Blocks beside the best chain at most, and bytes of their transactions.
const SIDE_BLOCKS_MAX: usize = 4096;
const SIDE_BYTES_MAX: usize = 64 << 20;

/// A verified block that is not in the best chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub(crate) header: Header,
    pub(crate) height: u32,
    /// Of all headers up to this one.
    pub(crate) work: BigUint,
    /// With their count before them.
    pub(crate) transactions: Vec<u8>,
    /// The target that its work hash meets, compact.
    pub(crate) effective: u32,
}

pub(crate) struct Chain {
    pub(crate) network: Network,
    /// Blocks that can be taken back.
    pub(crate) final_blocks: u32,
    /// Of the best chain, without gaps, by height.
    pub(crate) headers: Table<u32, Stored>,
    /// Of the blocks that can be taken back.
    pub(crate) undo: Table<u32, Undo>,
    pub(crate) side: Table<BlockHash, Side>,
    pub(crate) tip: Tip,
    pub(crate) tally: Tally,
    pub(crate) votes_changed: BTreeSet<OutPoint>,
    /// Heights of the ids in `headers`.
    pub(crate) ids: BTreeMap<BlockHash, u32>,
    pub(crate) verifier: Verifier,
}

/// A way from the best chain to somewhere else.
pub(crate) struct Branch {
    /// Height of the last block that it has in common with the best chain.
    pub(crate) fork: u32,
    /// What it has above.
    pub(crate) above: Vec<Header>,
}

/// Why a block has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// Its parent is not known.
    Unknown,
    /// Its branch leaves the best chain below what can be taken back.
    TooDeep,
}

impl Branch {
    pub(crate) fn height(&self) -> u32 {
        self.fork.saturating_add(u32::try_from(self.above.len()).unwrap_or(u32::MAX))
    }
}

impl Chain {
    pub(crate) fn height(&self) -> u32 {
        self.headers.map().last_key_value().map_or(0, |(height, _)| *height)
    }

    pub(crate) fn id(&self) -> BlockHash {
        let last = self.headers.map().last_key_value();
        last.map_or_else(
            || self.network.genesis().block_hash(),
            |(_, stored)| stored.header.block_hash(),
        )
    }

    pub(crate) fn median_time(&self) -> u32 {
        let at = |height: u32| self.headers.get(&height).map(|stored| stored.header);
        let first = self.headers.map().first_key_value().map_or(0, |(height, _)| *height);
        let known = |height: u32| at(height.max(first));
        header::median_time(self.height().saturating_add(1), known).unwrap_or(0)
    }

    pub(crate) fn is_known(&self, id: &BlockHash) -> bool {
        self.ids.contains_key(id) || self.side.get(id).is_some()
    }

    /// The way to a known block.
    pub(crate) fn branch_to(&self, id: &BlockHash) -> Result<Branch, Unplaced> {
        let mut above = Vec::new();
        let mut next = *id;
        let fork = loop {
            if let Some(height) = self.ids.get(&next) {
                break *height;
            }
            // No longer than there are such blocks, whatever was restored.
            let side = self.side.get(&next).filter(|_| above.len() < SIDE_BLOCKS_MAX);
            let side = side.ok_or(Unplaced::Unknown)?;
            above.push(side.header);
            next = side.header.prev_blockhash;
        };
        if fork < self.floor() {
            return Err(Unplaced::TooDeep);
        }
        above.reverse();
        Ok(Branch { fork, above })
    }

    /// Height of the last block that is final.
    pub(crate) fn floor(&self) -> u32 {
        let first = self.undo.map().first_key_value().map(|(height, _)| height.saturating_sub(1));
        first.unwrap_or_else(|| self.height())
    }

    fn at(&self, branch: &Branch, height: u32) -> Option<Header> {
        match height.checked_sub(branch.fork) {
            Some(above @ 1..) => branch.above.get(above as usize - 1).copied(),
            _ => self.headers.get(&height).map(|stored| stored.header),
        }
    }

    /// Work of the headers up to a known block.
    pub(crate) fn work_at(&self, id: &BlockHash) -> Option<BigUint> {
        if let Some(side) = self.side.get(id) {
            return Some(side.work.clone());
        }
        let above = self.headers.map().range(self.ids.get(id)?..).skip(1);
        let work: BigUint = above.map(|(_, stored)| header::work(&stored.header)).sum();
        Some(if work > self.tip.work { BigUint::ZERO } else { &self.tip.work - work })
    }

    /// Puts a header on a branch.
    pub(crate) fn extend(&self, branch: &mut Branch, header: Header) -> Result<(), Fault> {
        let height = branch.height().checked_add(1).ok_or(Fault::Parent)?;
        header::check(&header, height, |height| self.at(branch, height), &self.network)?;
        branch.above.push(header);
        Ok(())
    }

    /// Verifies a block, and follows it if its chain is the best now.
    pub(crate) fn take(
        &mut self,
        block: Block,
        money: &mut Money,
        news: &mut News,
    ) -> Result<(), Fault> {
        let id = block.header.block_hash();
        if self.is_known(&id) {
            return Ok(());
        }
        let parent = block.header.prev_blockhash;
        let mut branch = self.branch_to(&parent).map_err(|_unplaced| Fault::Parent)?;
        let work = self.work_at(&parent).ok_or(Fault::Parent)? + header::work(&block.header);
        let is_next = branch.above.is_empty() && branch.fork == self.height();
        self.extend(&mut branch, block.header)?;
        let height = branch.height();
        block.check_transactions(height)?;
        let effective = self.check_proof(&block, &branch)?;
        let stored = Stored { header: block.header, effective };
        if is_next {
            return self.connect(stored, &block.transactions, money, news);
        }
        let transactions = serialize(&block.transactions);
        let Stored { header, effective } = stored;
        let better = work > self.tip.work;
        self.side.insert(id, Side { header, height, work, transactions, effective });
        if better {
            return self.switch(id, money, news);
        }
        self.bound_side();
        Ok(())
    }

    fn check_proof(&mut self, block: &Block, branch: &Branch) -> Result<u32, Fault> {
        let height = branch.height();
        let mut parents = [block.header.prev_blockhash; 4];
        for (id, parent) in parents.iter_mut().zip(block.parent_heights()) {
            let known = Some(parent).filter(|parent| *parent < height);
            let known = known.and_then(|parent| self.at(branch, parent));
            *id = known.ok_or(Fault::ParentAboveBlock)?.block_hash();
        }
        let gates = self.network.gates;
        let verdict = self.verifier.block(block, height, &parents, None, &gates)?;
        Ok(verdict.effective.0)
    }

    /// Puts a verified block onto the tip.
    fn connect(
        &mut self,
        stored: Stored,
        transactions: &[Transaction],
        money: &mut Money,
        news: &mut News,
    ) -> Result<(), Fault> {
        let height = self.height().checked_add(1).ok_or(Fault::Parent)?;
        check_steward(height, transactions, &self.tally, self.tip.since)?;
        let undo = self.tally.connect(height, transactions);
        self.votes_changed.extend(undo.touched());
        self.tip.work += header::work(&stored.header);
        self.tip.is_changed = true;
        self.ids.insert(stored.header.block_hash(), height);
        self.headers.insert(height, stored);
        self.undo.insert(height, undo);
        self.prune(height);
        money.connect(height, transactions, news);
        Ok(())
    }

    /// Forgets what is too deep.
    fn prune(&mut self, height: u32) {
        if let Some(last) = height.checked_sub(self.final_blocks) {
            self.undo.remove(&last);
            let old = |side: &Side| side.height <= last;
            let old: Vec<_> =
                self.side.map().iter().filter(|(_, side)| old(side)).map(|(id, _)| *id).collect();
            old.iter().for_each(|id| drop(self.side.remove(id)));
        }
        let kept = self.final_blocks.saturating_add(HEADERS_BELOW);
        if let Some(last) = height.checked_sub(kept)
            && let Some(stored) = self.headers.remove(&last)
        {
            self.ids.remove(&stored.header.block_hash());
        }
    }

    /// Drops the weakest of the blocks that nothing stands on until the rest has room.
    fn bound_side(&mut self) {
        loop {
            let sides = self.side.map();
            let bytes: usize = sides.values().map(|side| side.transactions.len()).sum();
            if sides.len() <= SIDE_BLOCKS_MAX && bytes <= SIDE_BYTES_MAX {
                return;
            }
            let parents: BTreeSet<_> =
                sides.values().map(|side| side.header.prev_blockhash).collect();
            let leaves = sides.iter().filter(|(id, _)| !parents.contains(*id));
            let Some(weakest) = leaves.min_by_key(|(_, side)| &side.work).map(|(id, _)| *id) else {
                return;
            };
            self.side.remove(&weakest);
        }
    }

    /// Makes the branch to `tip` the best chain; if a block of it turns out wrong, as far as it is right and still
    /// better.
    fn switch(&mut self, tip: BlockHash, money: &mut Money, news: &mut News) -> Result<(), Fault> {
        let branch = self.branch_to(&tip).map_err(|_unplaced| Fault::Parent)?;
        let ids: Vec<_> = branch.above.iter().map(Header::block_hash).collect();
        let (blocks, fault) = self.rehearse(branch.fork, &ids);
        let right = ids.get(..blocks.len()).unwrap_or_default();
        if fault.is_some() {
            self.drop_with_children(ids.iter().skip(right.len()).copied().collect());
        }
        let work = right.last().and_then(|id| self.side.get(id)).map(|side| side.work.clone());
        if work.is_some_and(|work| work > self.tip.work) {
            self.disconnect_to(branch.fork, money, news);
            for (id, transactions) in right.iter().zip(blocks) {
                let Some(side) = self.side.remove(id) else { break };
                let stored = Stored { header: side.header, effective: side.effective };
                self.connect(stored, &transactions, money, news)?;
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// The transactions of a branch's blocks, as many as would connect, and why the next one would not.
    fn rehearse(&self, fork: u32, ids: &[BlockHash]) -> (Vec<Vec<Transaction>>, Option<Fault>) {
        let mut tally = self.tally.clone();
        for (_, undo) in self.undo.map().range(fork.saturating_add(1)..).rev() {
            tally.disconnect(undo.clone());
        }
        let mut blocks = Vec::new();
        for id in ids {
            let Some(side) = self.side.get(id) else { break };
            let checked = parse_transactions(&side.transactions).and_then(|transactions| {
                check_steward(side.height, &transactions, &tally, self.tip.since)?;
                Ok(transactions)
            });
            match checked {
                Ok(transactions) => {
                    let _undo = tally.connect(side.height, &transactions);
                    blocks.push(transactions);
                }
                Err(fault) => return (blocks, Some(fault)),
            }
        }
        (blocks, None)
    }

    /// Drops blocks beside the best chain, and what stands on them.
    fn drop_with_children(&mut self, mut dropped: BTreeSet<BlockHash>) {
        while !dropped.is_empty() {
            dropped.iter().for_each(|id| drop(self.side.remove(id)));
            let sides = self.side.map().iter();
            dropped = sides
                .filter(|(_, side)| dropped.contains(&side.header.prev_blockhash))
                .map(|(id, _)| *id)
                .collect();
        }
    }

    /// What stood on the blocks that go is forgotten with them: nodes tell of it again.
    fn disconnect_to(&mut self, fork: u32, money: &mut Money, news: &mut News) {
        let gone = self.headers.map().range(fork.saturating_add(1)..);
        self.drop_with_children(gone.map(|(_, stored)| stored.header.block_hash()).collect());
        while self.height() > fork {
            let height = self.height();
            let Some(undo) = self.undo.remove(&height) else { return };
            self.votes_changed.extend(undo.touched());
            self.tally.disconnect(undo);
            if let Some(stored) = self.headers.remove(&height) {
                let work = header::work(&stored.header);
                self.tip.work = if work > self.tip.work {
                    BigUint::ZERO
                } else {
                    std::mem::take(&mut self.tip.work) - work
                };
                self.ids.remove(&stored.header.block_hash());
            }
            self.tip.is_changed = true;
            money.disconnect(height, news);
        }
    }

    /// Ids to ask for headers with: the newest first, then with growing gaps down to what can be taken back.
    pub(crate) fn locator(&self) -> Vec<BlockHash> {
        let id = |height: u32| self.headers.get(&height).map(|stored| stored.header.block_hash());
        let height = self.height();
        let last = self.floor();
        let steps = (0..10).chain((4..31).map(|power| 1u32 << power));
        let heights =
            steps.map_while(|step| height.checked_sub(step)).filter(|height| *height > last);
        heights.chain([last]).filter_map(id).collect()
    }
}

/// That the coinbase pays the steward: by name if the tally is complete, else that it pays somebody the share.
fn check_steward(
    height: u32,
    transactions: &[Transaction],
    tally: &Tally,
    since: Since,
) -> Result<(), Fault> {
    let coinbase = transactions.first().ok_or(Fault::Coinbase)?;
    let steward::State { steward, is_disputed, .. } = tally.state();
    if since == Since::Genesis && !is_disputed {
        return check_coinbase(coinbase, height, steward, None);
    }
    let share = steward_share(height).units();
    let paid = coinbase.output.iter().find(|output| output.value.to_sat() == share);
    let paid = paid.map_or_else(ScriptBuf::new, |output| output.script_pubkey.clone());
    check_coinbase(coinbase, height, &paid, None)
}
