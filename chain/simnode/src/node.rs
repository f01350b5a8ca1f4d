//! A simulated full node with its wallet: what it knows, and what can be done to it.

use crate::network::{Coin, SimNetwork, connect};
use crate::server::{Manner, Server};
use crate::socket::SocketManner;
use crate::wallet::{Keys, is_signed};
use crate::{rpc, socket};
use primitives::bitcoin::script::{Script, ScriptBuf};
use primitives::bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use primitives::block::{Block, outputs_of};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// News that wait for a client of the websocket.
const NEWS_MAX: usize = 4096;

/// What a node shall be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells nodes and their wallets' keys apart.
    pub name: String,
    /// Who may ask.
    pub user: String,
    /// Its password; that of the wallet's user too.
    pub password: String,
    /// Whether it speaks TLS, with a certificate of its own making.
    pub is_tls: bool,
    /// What opens the wallet, where it must be opened.
    pub passphrase: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let [name, user, password] = ["sim", "lab", "labpass"].map(str::to_owned);
        Self { name, user, password, is_tls: false, passphrase: None }
    }
}

/// What a node says that is false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// Nothing.
    #[default]
    None,
    /// Blocks with one byte of an announcement changed: the proof is bad, the id the same.
    BadProof,
    /// Blocks with one byte of a transaction changed.
    BadTransactions,
    /// The parent of the block that was asked for.
    OtherBlock,
    /// Bytes that are no block.
    NoBlock,
    /// One header left out.
    UnlinkedHeaders,
    /// Headers that stand on nothing that was asked about.
    ForeignHeaders,
    /// More headers than there may be.
    ManyHeaders,
    /// A tip that is higher than its chain.
    HighTip,
    /// Another transaction than was asked for.
    OtherTransaction,
    /// Results of another type.
    WrongTypes,
    /// Answers to another request.
    OtherId,
    /// Answers that are no JSON.
    NoJson,
    /// It has no block that it speaks of.
    Withheld,
}

/// What happened to the node's chain.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Connected(BlockHash, u32),
    Disconnected(BlockHash, u32),
    Waiting(Transaction),
    /// Every client of the websocket is to go.
    HangUp,
}

/// Why a transaction is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is in a block.
    #[error("transaction already exists in a block")]
    InChain,
    /// It waits already.
    #[error("already have transaction")]
    Known,
    /// It spends what is not there, or what is too young.
    #[error("an output that it spends is unknown, spent, or too young")]
    Missing,
    /// Somebody else's money.
    #[error("a signature is missing or wrong")]
    Signature,
    /// More out than in, or amounts that cannot be.
    #[error("it pays more than it spends")]
    Amounts,
}

/// What a node knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) network: SimNetwork,
    pub(crate) events: broadcast::Sender<Event>,
    view: Mutex<View>,
    wallet: Mutex<Wallet>,
    lie: Mutex<Lie>,
    socket: Mutex<SocketManner>,
}

#[derive(Debug)]
struct View {
    tip: BlockHash,
    /// In the order in which they came.
    waiting: Vec<Transaction>,
}

#[derive(Debug)]
pub(crate) struct Wallet {
    pub(crate) keys: Keys,
    pub(crate) is_locked: bool,
    payee: ScriptBuf,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A full node with a wallet, on ports of their own on loopback; both end when it goes.
#[derive(Debug)]
pub struct SimNode {
    state: Arc<State>,
    node: Server,
    wallet: Server,
}

impl Drop for SimNode {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl SimNode {
    /// Starts with the network's genesis as its tip.
    ///
    /// # Errors
    /// Of the system.
    pub async fn start(network: &SimNetwork, options: Options) -> io::Result<Self> {
        let state = Arc::new(State::new(network, options));
        let is_tls = state.options.is_tls;
        let node = Server::start(Arc::new(rpc::Node(Arc::clone(&state))), is_tls).await?;
        let wallet = Server::start(Arc::new(rpc::Wallet(Arc::clone(&state))), is_tls).await?;
        Ok(Self { state, node, wallet })
    }

    /// `http://127.0.0.1:port` of the node.
    #[must_use]
    pub fn url(&self) -> String {
        self.node.url()
    }

    /// That of its wallet.
    #[must_use]
    pub fn wallet_url(&self) -> String {
        self.wallet.url()
    }

    /// The node's certificate in PEM form, if it has one.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.node.certificate()
    }

    /// That of its wallet.
    #[must_use]
    pub fn wallet_certificate(&self) -> Option<&str> {
        self.wallet.certificate()
    }

    /// Its network.
    #[must_use]
    pub fn network(&self) -> &SimNetwork {
        &self.state.network
    }

    /// The last block of its chain.
    #[must_use]
    pub fn tip(&self) -> BlockHash {
        self.state.tip()
    }

    /// Mines `count` blocks with what waits, paid to its own wallet.
    pub fn mine(&self, count: u32) -> Vec<BlockHash> {
        (0..count).filter_map(|_| self.mine_at(None)).collect()
    }

    /// Mines a block with this time, or a minute after the last.
    pub fn mine_at(&self, time_s: Option<u32>) -> Option<BlockHash> {
        let (tip, waiting) = self.state.candidates();
        let payee = lock(&self.state.wallet).payee.clone();
        let id = self.state.network.mine(tip, payee, waiting, time_s)?;
        self.state.switch_to(&id);
        Some(id)
    }

    /// Takes the last `depth` blocks back and mines `count` empty ones in their place. What was in them waits again.
    pub fn reorganise(&self, depth: u32, count: u32) -> Vec<BlockHash> {
        let path = self.state.network.headers(&self.tip());
        let place = path.len().saturating_sub(depth as usize + 1);
        let Some(mut tip) = path.get(place).map(|header| header.block_hash()) else {
            return Vec::new();
        };
        let payee = lock(&self.state.wallet).payee.clone();
        let mut mined = Vec::new();
        for _ in 0..count {
            let Some(id) = self.state.network.mine(tip, payee.clone(), Vec::new(), None) else {
                break;
            };
            tip = id;
            mined.push(id);
        }
        self.state.switch_to(&tip);
        mined
    }

    /// Follows another chain of the network, up to `tip`.
    pub fn switch_to(&self, tip: &BlockHash) {
        self.state.switch_to(tip);
    }

    /// Forgets what waits for a block.
    pub fn forget_waiting(&self) {
        lock(&self.state.view).waiting.clear();
    }

    /// A new address of its wallet; `is_legacy`: one that it can spend from.
    #[must_use]
    pub fn address(&self, is_legacy: bool) -> String {
        let address = lock(&self.state.wallet).keys.address(is_legacy);
        address.text(self.state.network.parameters())
    }

    /// Pays from its wallet; `None`: not enough money of the necessary age.
    #[must_use]
    pub fn pay(&self, to: &Script, units: u64) -> Option<Transaction> {
        let transaction = self.state.compose(to, units, false)?;
        self.state.take(transaction.clone()).ok()?;
        Some(transaction)
    }

    /// Takes a transaction as if it had come from another node.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn take(&self, transaction: Transaction) -> Result<Txid, Refused> {
        self.state.take(transaction)
    }

    /// How the node treats whoever connects from now on.
    pub fn behave(&self, manner: Manner) {
        self.node.behave(manner);
    }

    /// How its websocket treats whoever connects from now on.
    pub fn behave_on_socket(&self, manner: SocketManner) {
        *lock(&self.state.socket) = manner;
    }

    /// What it says from now on that is false.
    pub fn lie(&self, lie: Lie) {
        *lock(&self.state.lie) = lie;
    }

    /// Ends every connection of its websocket.
    pub fn hang_up(&self) {
        socket::hang_up(&self.state);
    }
}

impl State {
    fn new(network: &SimNetwork, options: Options) -> Self {
        let mut keys = Keys::new(&options.name);
        let payee = keys.address(true).script();
        let wallet = Wallet { keys, is_locked: options.passphrase.is_some(), payee };
        let tip = network.tree().genesis();
        Self {
            options,
            network: network.clone(),
            events: broadcast::Sender::new(NEWS_MAX),
            view: Mutex::new(View { tip, waiting: Vec::new() }),
            wallet: Mutex::new(wallet),
            lie: Mutex::new(Lie::None),
            socket: Mutex::new(SocketManner::Good),
        }
    }

    pub(crate) fn tip(&self) -> BlockHash {
        lock(&self.view).tip
    }

    pub(crate) fn waiting(&self) -> Vec<Transaction> {
        lock(&self.view).waiting.clone()
    }

    pub(crate) fn lies(&self, lie: Lie) -> bool {
        *lock(&self.lie) == lie
    }

    pub(crate) fn socket_manner(&self) -> SocketManner {
        *lock(&self.socket)
    }

    pub(crate) fn wallet(&self) -> MutexGuard<'_, Wallet> {
        lock(&self.wallet)
    }

    /// What can be spent, of blocks and of what waits.
    pub(crate) fn coins(&self) -> BTreeMap<OutPoint, Coin> {
        let (tip, waiting) = {
            let view = lock(&self.view);
            (view.tip, view.waiting.clone())
        };
        let mut coins = self.network.coins(&tip);
        let height = self.network.height(&tip).unwrap_or(0) + 1;
        waiting.iter().for_each(|transaction| connect(&mut coins, transaction, height));
        coins
    }

    pub(crate) fn compose(&self, to: &Script, units: u64, is_vote: bool) -> Option<Transaction> {
        let coins = self.coins();
        let height = self.network.height(&self.tip())?;
        self.wallet().keys.pay(&coins, height, to, units, is_vote)
    }

    /// The tip, and what can be in a block upon it.
    fn candidates(&self) -> (BlockHash, Vec<Transaction>) {
        let view = lock(&self.view);
        let mut coins = self.network.coins(&view.tip);
        let height = self.network.height(&view.tip).unwrap_or(0) + 1;
        let mut taken = Vec::new();
        for transaction in &view.waiting {
            if check(transaction, &coins, height).is_ok() {
                connect(&mut coins, transaction, height);
                taken.push(transaction.clone());
            }
        }
        (view.tip, taken)
    }

    pub(crate) fn take(&self, transaction: Transaction) -> Result<Txid, Refused> {
        let id = transaction.compute_txid();
        let tip = self.tip();
        if self.network.transaction(&tip, id).is_some() {
            return Err(Refused::InChain);
        }
        if self.waiting().iter().any(|waiting| waiting.compute_txid() == id) {
            return Err(Refused::Known);
        }
        check(&transaction, &self.coins(), self.network.height(&tip).unwrap_or(0) + 1)?;
        lock(&self.view).waiting.push(transaction.clone());
        self.tell(Event::Waiting(transaction));
        Ok(id)
    }

    fn switch_to(&self, tip: &BlockHash) {
        let (back, forth) = {
            let mut view = lock(&self.view);
            let (back, forth) = self.network.way(&view.tip, tip);
            let mut waiting = Vec::new();
            for block in back.iter().rev().filter_map(|id| self.network.block(id)) {
                waiting.extend(block.transactions.into_iter().skip(1));
            }
            waiting.append(&mut view.waiting);
            view.tip = *tip;
            view.waiting = self.still_valid(tip, waiting);
            (back, forth)
        };
        let height = |id: &BlockHash| self.network.height(id).unwrap_or(0);
        back.iter().for_each(|id| self.tell(Event::Disconnected(*id, height(id))));
        forth.iter().for_each(|id| self.tell(Event::Connected(*id, height(id))));
    }

    fn still_valid(&self, tip: &BlockHash, waiting: Vec<Transaction>) -> Vec<Transaction> {
        let mut coins = self.network.coins(tip);
        let height = self.network.height(tip).unwrap_or(0) + 1;
        let mut valid = Vec::new();
        for transaction in waiting {
            if check(&transaction, &coins, height).is_ok() {
                connect(&mut coins, &transaction, height);
                valid.push(transaction);
            }
        }
        valid
    }

    fn tell(&self, event: Event) {
        // Nobody may be listening.
        let _told = self.events.send(event);
    }

    pub(crate) fn block(&self, id: &BlockHash) -> Option<Block> {
        self.network.block(id)
    }
}

/// Whether a transaction may be in a block at `height`.
fn check(
    transaction: &Transaction,
    coins: &BTreeMap<OutPoint, Coin>,
    height: u32,
) -> Result<(), Refused> {
    let mut sum = 0u64;
    let mut left = coins.clone();
    for (place, input) in transaction.input.iter().enumerate() {
        let coin = left.remove(&input.previous_output).ok_or(Refused::Missing)?;
        if coin.is_coinbase && height < coin.height + crate::network::MATURITY {
            return Err(Refused::Missing);
        }
        if !is_signed(transaction, place, &coin.output) {
            return Err(Refused::Signature);
        }
        sum = sum.saturating_add(coin.output.value.to_sat());
    }
    let paid = outputs_of(transaction).map_err(|_impossible| Refused::Amounts)?.units();
    if paid <= sum { Ok(()) } else { Err(Refused::Amounts) }
}
