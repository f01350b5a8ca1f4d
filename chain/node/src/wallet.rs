//! pktwallet's JSON-RPC.
//!
//! Its amounts are floating-point PKT, exact up to 2^53 units; more than that is not sent. What it says of payments is a
//! hint: they are followed on the chain.

use crate::answer::{self, Tip, amount_of_float, float_of_amount};
use crate::error::{Lie, NodeError, code};
use crate::rpc::{Call, Rpc};
use crate::secret::Secret;
use primitives::amount::Amount;
use primitives::bitcoin::script::{Script, ScriptBuf};
use primitives::bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use primitives::network::Network;
use primitives::vote::{Vote, stripped};
use serde::Deserialize;
use serde_json::{Value, json};

/// A wallet.
#[derive(Debug)]
pub struct Wallet {
    rpc: Rpc,
    network: Network,
}

/// How a wallet took a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlock {
    /// It is open.
    Open,
    /// The passphrase is another one.
    WrongPassphrase,
}

/// A movement of the wallet's money, as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The transaction.
    pub txid: Txid,
    /// Whether money came.
    pub is_received: bool,
    /// How much, fee apart.
    pub amount: Amount,
    /// Blocks from the one that it is in to the tip; 0: it waits.
    pub confirmations: u32,
    /// The block.
    pub block: Option<BlockHash>,
}

/// An output that the wallet can spend, as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspent {
    /// Which.
    pub outpoint: OutPoint,
    /// How much.
    pub amount: Amount,
    /// To whom it was paid.
    pub script: ScriptBuf,
    /// Blocks from the one that it is in to the tip; 0: it waits.
    pub confirmations: u32,
}

/// What the wallet votes with every output that it makes for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Address of who should be steward.
    pub candidate: Option<String>,
    /// Address of who should not.
    pub against: Option<String>,
}

impl Wallet {
    /// `network`: whose addresses it must give.
    #[must_use]
    pub fn new(rpc: Rpc, network: Network) -> Self {
        Self { rpc, network }
    }

    /// The last block that it has looked at.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn tip(&self) -> Result<Tip, NodeError> {
        let best: answer::BestBlock = self.rpc.call(&Call::new("getbestblock", [])).await?;
        Ok(best.into())
    }

    /// What it can spend, of outputs with at least `confirmations`.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn balance(&self, confirmations: u32) -> Result<Amount, NodeError> {
        let pkt: f64 = self.rpc.call(&Call::new("getbalance", [json!(confirmations)])).await?;
        Ok(amount_of_float(pkt).ok_or(Lie::Impossible("the balance"))?)
    }

    /// A new address, checked to be of this network.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn new_address(&self) -> Result<String, NodeError> {
        let address: String =
            self.rpc.call(&Call::new("getnewaddress", [Value::from(false)])).await?;
        answer::script_of(&address, &self.network)?;
        Ok(address)
    }

    /// What an address received in blocks with at least `confirmations`.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn received(&self, address: &str, confirmations: u32) -> Result<Amount, NodeError> {
        let call = Call::new("getreceivedbyaddress", [json!(address), json!(confirmations)]);
        let pkt: f64 = self.rpc.call(&call).await?;
        Ok(amount_of_float(pkt).ok_or(Lie::Impossible("an amount"))?)
    }

    /// The last `count` movements but `skip`, oldest first.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn movements(&self, count: u32, skip: u32) -> Result<Vec<Movement>, NodeError> {
        let call = Call::new("listtransactions", [json!(count), json!(skip)]);
        let list: Vec<MovementAnswer> = self.rpc.call(&call).await?;
        Ok(list.into_iter().map(Movement::try_from).collect::<Result<_, _>>()?)
    }

    /// Outputs that it can spend, with at least `confirmations`.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn unspent(&self, confirmations: u32) -> Result<Vec<Unspent>, NodeError> {
        let call = Call::new("listunspent", [json!(confirmations), json!(9_999_999)]);
        let list: Vec<UnspentAnswer> = self.rpc.call(&call).await?;
        Ok(list.into_iter().map(Unspent::try_from).collect::<Result<_, _>>()?)
    }

    /// Makes, signs and sends a payment of `amount` to `address`.
    ///
    /// # Errors
    /// See [`NodeError`]. After any but [`NodeError::Refused`] it may have been sent all the same: [`Wallet::movements`] tells.
    pub async fn send(&self, address: &str, amount: Amount) -> Result<Txid, NodeError> {
        answer::script_of(address, &self.network)?;
        let pkt = float_of_amount(amount).ok_or(Lie::Impossible("an amount of that size"))?;
        self.rpc.call(&Call::new("sendtoaddress", [json!(address), json!(pkt)])).await
    }

    /// Makes and signs a payment of `amount` to `address`, and does not send it: [`crate::Node::broadcast`] does. The
    /// wallet's own vote stands in it where `is_vote` says so. That it pays what was asked is checked.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn compose(
        &self,
        address: &str,
        amount: Amount,
        is_vote: bool,
    ) -> Result<Transaction, NodeError> {
        let script = answer::script_of(address, &self.network)?;
        let pkt = float_of_amount(amount).ok_or(Lie::Impossible("an amount of that size"))?;
        let nothing = || Value::Null;
        let params = [
            json!(address),
            json!(pkt),
            // From any of its addresses, in the chain's own form, change to a new one, of any height.
            nothing(),
            Value::from(false),
            nothing(),
            nothing(),
            json!(1),
            Value::from(is_vote),
        ];
        let text: String = self.rpc.call(&Call::new("createtransaction", params)).await?;
        let transaction = answer::transaction(&text)?;
        let pays = |paid: &Script| *paid == *script || stripped(paid).is_some_and(|s| s == script);
        let mut outputs = transaction.output.iter();
        let is_paid = outputs
            .any(|output| output.value.to_sat() == amount.units() && pays(&output.script_pubkey));
        if is_paid { Ok(transaction) } else { Err(Lie::OtherPayment.into()) }
    }

    /// What it votes from now on; to vote with what it has, it must be moved: [`Wallet::compose`] to itself.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn set_votes(&self, votes: &Votes) -> Result<(), NodeError> {
        for address in [&votes.candidate, &votes.against].into_iter().flatten() {
            answer::script_of(address, &self.network)?;
        }
        let params = [json!(votes.candidate), json!(votes.against)];
        let _nothing: Option<Ignored> =
            self.rpc.call(&Call::new("setnetworkstewardvote", params)).await?;
        Ok(())
    }

    /// What it votes.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn votes(&self) -> Result<Votes, NodeError> {
        let answer: VotesAnswer = self.rpc.call(&Call::new("getnetworkstewardvote", [])).await?;
        let checked = |address: Option<String>| match address.filter(|address| !address.is_empty())
        {
            Some(address) => answer::script_of(&address, &self.network).map(|_| Some(address)),
            None => Ok(None),
        };
        Ok(Votes { candidate: checked(answer.vote_for)?, against: checked(answer.vote_against)? })
    }

    /// Whether payments need a passphrase first.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn is_locked(&self) -> Result<bool, NodeError> {
        self.rpc.call(&Call::new("walletislocked", [])).await
    }

    /// Opens it for `seconds`.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn unlock(&self, passphrase: &Secret, seconds: u32) -> Result<Unlock, NodeError> {
        let params = [json!(passphrase.expose()), json!(seconds)];
        match self.rpc.call::<Option<Ignored>>(&Call::new("walletpassphrase", params)).await {
            Ok(_nothing) => Ok(Unlock::Open),
            Err(NodeError::Refused { refusal, .. }) if refusal.code == code::PASSPHRASE => {
                Ok(Unlock::WrongPassphrase)
            }
            Err(error) => Err(error),
        }
    }

    /// Closes it.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn lock(&self) -> Result<(), NodeError> {
        let _nothing: Option<Ignored> = self.rpc.call(&Call::new("walletlock", [])).await?;
        Ok(())
    }
}

impl Votes {
    /// As it stands in outputs.
    ///
    /// # Errors
    /// [`Lie::NoAddress`].
    pub fn to_vote(&self, network: &Network) -> Result<Vote, Lie> {
        let script = |address: &Option<String>| {
            address.as_deref().map(|address| answer::script_of(address, network)).transpose()
        };
        Ok(Vote { candidate: script(&self.candidate)?, against: script(&self.against)? })
    }
}

type Ignored = serde::de::IgnoredAny;

#[derive(Debug, Deserialize)]
struct VotesAnswer {
    #[serde(rename = "votefor")]
    vote_for: Option<String>,
    #[serde(rename = "voteagainst")]
    vote_against: Option<String>,
}

#[derive(Debug, Deserialize)]
struct MovementAnswer {
    txid: Txid,
    category: String,
    amount: f64,
    #[serde(default)]
    confirmations: i64,
    #[serde(default)]
    blockhash: Option<String>,
}

impl TryFrom<MovementAnswer> for Movement {
    type Error = Lie;

    fn try_from(answer: MovementAnswer) -> Result<Self, Lie> {
        let block = answer.blockhash.filter(|id| !id.is_empty()).map(|id| id.parse()).transpose();
        Ok(Self {
            txid: answer.txid,
            is_received: answer.category != "send",
            amount: amount_of_float(answer.amount.abs()).ok_or(Lie::Impossible("an amount"))?,
            // Less than nothing: it contradicts one that is in a block.
            confirmations: u32::try_from(answer.confirmations.max(0)).unwrap_or(u32::MAX),
            block: block.map_err(|_wrong| Lie::Impossible("a block's id"))?,
        })
    }
}

#[derive(Debug, Deserialize)]
struct UnspentAnswer {
    txid: Txid,
    vout: u32,
    #[serde(rename = "scriptPubKey")]
    script: String,
    amount: f64,
    #[serde(default)]
    confirmations: i64,
}

impl TryFrom<UnspentAnswer> for Unspent {
    type Error = Lie;

    fn try_from(answer: UnspentAnswer) -> Result<Self, Lie> {
        let script = answer::hex(&answer.script, 10_000).ok_or(Lie::Impossible("a script"))?;
        Ok(Self {
            outpoint: OutPoint { txid: answer.txid, vout: answer.vout },
            amount: amount_of_float(answer.amount).ok_or(Lie::Impossible("an amount"))?,
            script: ScriptBuf::from_bytes(script),
            confirmations: u32::try_from(answer.confirmations.max(0)).unwrap_or(u32::MAX),
        })
    }
}

/// Every answer of a wallet, for whoever feeds it anything.
#[doc(hidden)]
pub fn parse_anything(bytes: &[u8]) {
    let read = crate::json::read::<Vec<MovementAnswer>>(bytes);
    let _movements = read.map(|list| list.into_iter().map(Movement::try_from).collect::<Vec<_>>());
    let read = crate::json::read::<Vec<UnspentAnswer>>(bytes);
    let _unspent = read.map(|list| list.into_iter().map(Unspent::try_from).collect::<Vec<_>>());
    let _votes = crate::json::read::<VotesAnswer>(bytes);
    let _amount = crate::json::read::<f64>(bytes).map(amount_of_float);
}
