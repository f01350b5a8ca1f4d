//! Chains of a simulated network, mined in passing: for tests and demonstrations.
//!
//! Every block is valid by the rules of its network, proof included. A block costs a try or two where the network's
//! limit is the easiest ([`crate::network::PKT_SIM`]), because all blocks of some thousand heights share one
//! announcement, in proofs of version 1, where announcements age slowly. [`Tree::mine_with`] takes any others.
//!
//! Nothing here looks at what transactions spend: who wants a block that a node would refuse can have it.

use crate::announcement::Announcement;
use crate::block::{Block, height_push};
use crate::compact::Compact;
use crate::difficulty::{WAIT, aged};
use crate::header;
use crate::network::Network;
use crate::packetcrypt::{Miner, Set};
use crate::reward::{steward_share, subsidy};
use crate::steward::Tally;
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::script::{Builder, Script, ScriptBuf};
use bitcoin::{
    Amount, BlockHash, CompactTarget, OutPoint, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness, merkle_tree, transaction,
};
use num_bigint::BigUint;
use std::collections::BTreeMap;

/// Blocks that share an announcement.
const SEGMENT: u32 = 4096;
/// Its target: of work `2 * SEGMENT`, so that it is still worth something at the segment's end.
const SEGMENT_TARGET: Compact = Compact(0x1f07_ffff);

/// All blocks of a network, on whatever branches.
#[derive(Debug)]
pub struct Tree {
    network: Network,
    miner: Miner,
    blocks: BTreeMap<BlockHash, Mined>,
    /// By the block that they were made after.
    announcements: BTreeMap<BlockHash, Announcement>,
}

/// A block in its place.
#[derive(Clone, Debug)]
pub struct Mined {
    /// The header, which is all that is known of the genesis.
    pub header: Header,
    /// `None`: the genesis.
    pub block: Option<Block>,
    /// Blocks below.
    pub height: u32,
    /// Of the headers up to this one.
    pub work: BigUint,
    /// Votes and steward after it.
    pub tally: Tally,
}

/// What a block shall be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The block that it stands on.
    pub parent: BlockHash,
    /// Seconds since 1970; must be after the median of the last 111. More than 120 after the parent's: half the work.
    pub time_s: u32,
    /// Who gets the reward.
    pub payee: ScriptBuf,
    /// Beside the coinbase; without witnesses. The coinbase takes no fees.
    pub transactions: Vec<Transaction>,
    /// Tells blocks apart that are the same otherwise.
    pub salt: u32,
}

impl Tree {
    /// With the genesis alone.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let header = network.genesis();
        let genesis = Mined {
            header,
            block: None,
            height: 0,
            work: header::work(&header),
            tally: Tally::genesis(),
        };
        Self {
            network: *network,
            miner: Miner::default(),
            blocks: BTreeMap::from([(header.block_hash(), genesis)]),
            announcements: BTreeMap::new(),
        }
    }

    /// The first block's id.
    #[must_use]
    pub fn genesis(&self) -> BlockHash {
        self.network.genesis().block_hash()
    }

    /// A block by its id.
    #[must_use]
    pub fn get(&self, id: &BlockHash) -> Option<&Mined> {
        self.blocks.get(id)
    }

    /// All blocks.
    pub fn blocks(&self) -> impl Iterator<Item = (&BlockHash, &Mined)> {
        self.blocks.iter()
    }

    /// The headers from the genesis to `tip`, by height; empty if that is unknown.
    #[must_use]
    pub fn path(&self, tip: &BlockHash) -> Vec<Header> {
        let mut path = Vec::new();
        let mut next = self.blocks.get(tip);
        while let Some(mined) = next {
            path.push(mined.header);
            next = self.blocks.get(&mined.header.prev_blockhash);
        }
        path.reverse();
        path
    }

    /// Mines a block and puts it into the tree. `None`: its parent is not in it.
    pub fn mine(&mut self, plan: &Plan) -> Option<BlockHash> {
        let announcement = self.announcement(&plan.parent)?;
        self.mine_with(plan, &[announcement], 1)
    }

    /// Mines a block that pays `steward`, whoever was voted for, and keeps it out of the tree. `None`: its parent is not
    /// in it.
    pub fn mine_aside(&mut self, plan: &Plan, steward: &Script) -> Option<Block> {
        let announcement = self.announcement(&plan.parent)?;
        self.make(plan, steward, &[announcement], 1)
    }

    /// The one that blocks on `parent` share.
    fn announcement(&mut self, parent: &BlockHash) -> Option<Announcement> {
        let height = self.blocks.get(parent)?.height + 1;
        let from = height.saturating_sub(WAIT) / SEGMENT * SEGMENT;
        let after = self.path(parent).get(from as usize)?.block_hash();
        if !self.announcements.contains_key(&after) {
            let made = self.miner.announce((from, after), SEGMENT_TARGET, 1);
            self.announcements.insert(after, made.into_iter().next()?);
        }
        self.announcements.get(&after).cloned()
    }

    /// Mines a block with announcements that were made after some of its ancestors, at least 3 below it from height 3
    /// on. `None`: its parent is not in the tree, or one of the announcements cannot be used.
    pub fn mine_with(
        &mut self,
        plan: &Plan,
        announcements: &[Announcement],
        proof_version: u64,
    ) -> Option<BlockHash> {
        let parent = self.blocks.get(&plan.parent)?;
        let (height, mut tally) = (parent.height + 1, parent.tally.clone());
        let before = parent.work.clone();
        let block = self.make(plan, &tally.state().steward, announcements, proof_version)?;
        let _undo = tally.connect(height, &block.transactions);
        let (header, work) = (block.header, before + header::work(&block.header));
        let mined = Mined { header, block: Some(block), height, work, tally };
        self.blocks.insert(header.block_hash(), mined);
        Some(header.block_hash())
    }

    fn make(
        &mut self,
        plan: &Plan,
        steward: &Script,
        announcements: &[Announcement],
        proof_version: u64,
    ) -> Option<Block> {
        let path = self.path(&plan.parent);
        let height = self.blocks.get(&plan.parent)?.height + 1;
        let age = |announcement: &Announcement| {
            let target = announcement.target();
            if height < WAIT {
                return Some(target);
            }
            aged(target, height.checked_sub(announcement.parent_height())?, proof_version)
        };
        let least = announcements.iter().map(age).collect::<Option<Vec<_>>>()?.into_iter().max()?;
        let set = Set::new(announcements.iter().cloned());
        let commitment = set.commitment(least);
        let coinbase = coinbase(plan, height, steward, &commitment.script());
        let transactions: Vec<_> =
            std::iter::once(coinbase).chain(plan.transactions.iter().cloned()).collect();
        let ids = transactions.iter().map(|one| one.compute_txid().to_raw_hash());
        let root = merkle_tree::calculate_root(ids)?;
        let at = |height: u32| path.get(height as usize).copied();
        let bits = header::required_bits(plan.time_s, height, at, &self.network)?;
        let mut header = Header {
            version: Version::from_consensus(0x2000_0000),
            prev_blockhash: plan.parent,
            merkle_root: TxMerkleNode::from_raw_hash(root),
            time: plan.time_s,
            bits: CompactTarget::from_consensus(bits.0),
            nonce: 0,
        };
        let mut prove = |nonce| {
            header.nonce = nonce;
            self.miner.prove(&header, &commitment, &set, proof_version)
        };
        // With an even number of announcements every other header or so has no proof.
        let proof = (0..64).find_map(&mut prove)?;
        Some(Block { header, proof, transactions })
    }

    /// Makes announcements after a block of the tree; empty if it is unknown. See [`Miner::announce`] for the cost.
    pub fn announce(
        &mut self,
        after: &BlockHash,
        target: Compact,
        count: usize,
    ) -> Vec<Announcement> {
        let Some(height) = self.blocks.get(after).map(|mined| mined.height) else {
            return Vec::new();
        };
        self.miner.announce((height, *after), target, count)
    }
}

fn coinbase(plan: &Plan, height: u32, steward: &Script, commitment: &[u8]) -> Transaction {
    let share = steward_share(height).units();
    let rest = subsidy(height).units().saturating_sub(share);
    let output = |units: u64, script: ScriptBuf| TxOut {
        value: Amount::from_sat(units),
        script_pubkey: script,
    };
    let salt = Builder::new().push_slice(plan.salt.to_le_bytes());
    Transaction {
        version: transaction::Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: [height_push(height), salt.into_bytes()].concat().into(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        }],
        output: vec![
            output(share, steward.to_owned()),
            output(rest, plan.payee.clone()),
            output(0, commitment.to_vec().into()),
        ],
    }
}
