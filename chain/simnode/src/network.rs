//! The simulated network: all blocks that anybody mined, and what a node's chain is.

use primitives::bitcoin::block::Header;
use primitives::bitcoin::script::ScriptBuf;
use primitives::bitcoin::{BlockHash, OutPoint, Transaction, TxOut, Txid};
use primitives::block::Block;
use primitives::builder::{Plan, Tree};
use primitives::network::Network;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When the first block is mined, seconds since 1970, unless told otherwise.
const FIRST_TIME_S: u32 = 1_795_192_579;
/// Between blocks, unless told otherwise.
const INTERVAL_S: u32 = 60;
/// Blocks before a coinbase can be spent.
pub(crate) const MATURITY: u32 = 100;

/// The blocks of a simulated network, which several nodes may share.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    parameters: Network,
    tree: Arc<Mutex<Tree>>,
}

/// An output that can be spent.
#[derive(Clone, Debug)]
pub(crate) struct Coin {
    pub(crate) output: TxOut,
    pub(crate) height: u32,
    pub(crate) is_coinbase: bool,
}

impl SimNetwork {
    /// With a genesis and nothing else.
    #[must_use]
    pub fn new(parameters: &Network) -> Self {
        let tree = Arc::new(Mutex::new(Tree::new(parameters)));
        Self { parameters: *parameters, tree }
    }

    /// Its rules.
    #[must_use]
    pub fn parameters(&self) -> &Network {
        &self.parameters
    }

    /// All blocks: whoever wants one of their own, or a bad one, mines it here.
    pub fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Headers from the genesis to `tip`, by height.
    #[must_use]
    pub fn headers(&self, tip: &BlockHash) -> Vec<Header> {
        self.tree().path(tip)
    }

    pub(crate) fn height(&self, id: &BlockHash) -> Option<u32> {
        self.tree().get(id).map(|mined| mined.height)
    }

    pub(crate) fn block(&self, id: &BlockHash) -> Option<Block> {
        self.tree().get(id).and_then(|mined| mined.block.clone())
    }

    /// Mines on `parent`, `time_s` or a minute after it.
    pub(crate) fn mine(
        &self,
        parent: BlockHash,
        payee: ScriptBuf,
        transactions: Vec<Transaction>,
        time_s: Option<u32>,
    ) -> Option<BlockHash> {
        let mut tree = self.tree();
        let before = tree.get(&parent)?.header.time;
        let usual = before.saturating_add(INTERVAL_S).max(FIRST_TIME_S);
        // Another salt for each block, so that branches of the same content are different.
        let salt = u32::try_from(tree.blocks().count()).unwrap_or(u32::MAX);
        let time_s = time_s.unwrap_or(usual);
        tree.mine(&Plan { parent, time_s, payee, transactions, salt })
    }

    /// What can be spent after `tip`.
    pub(crate) fn coins(&self, tip: &BlockHash) -> BTreeMap<OutPoint, Coin> {
        let tree = self.tree();
        let mut coins = BTreeMap::new();
        for (height, header) in (0..).zip(tree.path(tip)) {
            let block = tree.get(&header.block_hash()).and_then(|mined| mined.block.as_ref());
            for transaction in block.into_iter().flat_map(|block| &block.transactions) {
                connect(&mut coins, transaction, height);
            }
        }
        coins
    }

    /// The block in which a transaction is, and the transaction.
    pub(crate) fn transaction(
        &self,
        tip: &BlockHash,
        id: Txid,
    ) -> Option<(BlockHash, Transaction)> {
        let tree = self.tree();
        tree.path(tip).iter().find_map(|header| {
            let block = tree.get(&header.block_hash())?.block.as_ref()?;
            let found = block.transactions.iter().find(|one| one.compute_txid() == id)?;
            Some((header.block_hash(), found.clone()))
        })
    }

    /// Blocks to take back, newest first, and blocks to put there, oldest first, on the way from one tip to another.
    pub(crate) fn way(&self, from: &BlockHash, to: &BlockHash) -> (Vec<BlockHash>, Vec<BlockHash>) {
        let tree = self.tree();
        let ids = |tip| tree.path(tip).iter().map(Header::block_hash).collect::<Vec<_>>();
        let (from, to) = (ids(from), ids(to));
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let back = from.iter().skip(common).rev().copied().collect();
        (back, to.into_iter().skip(common).collect())
    }
}

/// Spends and makes what a transaction does.
pub(crate) fn connect(
    coins: &mut BTreeMap<OutPoint, Coin>,
    transaction: &Transaction,
    height: u32,
) {
    let is_coinbase = transaction.is_coinbase();
    for input in &transaction.input {
        coins.remove(&input.previous_output);
    }
    let txid = transaction.compute_txid();
    for (vout, output) in (0..).zip(&transaction.output) {
        let coin = Coin { output: output.clone(), height, is_coinbase };
        coins.insert(OutPoint { txid, vout }, coin);
    }
}
