//! What a node's words mean, checked as far as they can be without a chain: pure, any words in.

use crate::error::{Lie, NodeError, Refusal, Text, code};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use primitives::address::Written;
use primitives::amount::{Amount, UNITS_PER_PKT};
use primitives::bitcoin::block::Header;
use primitives::bitcoin::consensus::{deserialize, serialize};
use primitives::bitcoin::hashes::Hash as _;
use primitives::bitcoin::script::ScriptBuf;
use primitives::bitcoin::{BlockHash, Transaction, Txid};
use primitives::block::{Block, LEN_MAX, parse_header};
use primitives::network::Network;
use serde::Deserialize;

/// Headers of one answer at most.
pub const HEADERS_MAX: usize = 2000;
/// Above this a floating-point number cannot say every unit.
const EXACT_UNITS_MAX: u64 = 1 << 53;

/// The end of a node's best chain, as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The last block.
    pub id: BlockHash,
    /// Its height.
    pub height: u32,
}

/// `getbestblock`.
#[derive(Debug, Deserialize)]
pub struct BestBlock {
    hash: BlockHash,
    height: u32,
}

impl From<BestBlock> for Tip {
    fn from(best: BestBlock) -> Self {
        Self { id: best.hash, height: best.height }
    }
}

/// Headers from hexadecimal text: each stands on the one before. A node that knows none of what was asked about
/// begins with its first block, so what the first stands on says nothing of its honesty.
///
/// # Errors
/// The [`Lie`] in it.
pub fn headers(texts: &[String]) -> Result<Vec<Header>, Lie> {
    if texts.len() > HEADERS_MAX {
        return Err(Lie::TooManyHeaders(texts.len()));
    }
    let mut headers: Vec<Header> = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let header = hex(text, 80).and_then(|bytes| parse_header(&bytes).ok());
        let header = header.ok_or(Lie::NoHeader(place))?;
        if headers.last().is_some_and(|last| last.block_hash() != header.prev_blockhash) {
            return Err(Lie::BrokenChain(place));
        }
        headers.push(header);
    }
    Ok(headers)
}

/// A block as it came, and what it says. Nothing of it is verified but that it is the one that was asked for.
#[derive(Clone, Debug)]
pub struct RawBlock {
    /// The bytes, proof included, which the id does not commit to.
    pub bytes: Vec<u8>,
    /// What they say.
    pub block: Block,
}

/// Block `id` from hexadecimal text.
///
/// # Errors
/// The [`Lie`] in it.
pub fn block(text: &str, id: BlockHash) -> Result<RawBlock, Lie> {
    let none = |fault| Lie::NoBlock { id, fault };
    let bytes = hex(text, LEN_MAX).ok_or_else(|| none(primitives::fault::Fault::Malformed))?;
    let header = bytes.get(..80).and_then(|bytes| parse_header(bytes).ok());
    let header = header.ok_or_else(|| none(primitives::fault::Fault::Malformed))?;
    if header.block_hash() != id {
        return Err(Lie::OtherBlock { asked: id, got: header.block_hash() });
    }
    let block = Block::parse(&bytes).map_err(none)?;
    Ok(RawBlock { bytes, block })
}

/// A transaction from hexadecimal text.
///
/// # Errors
/// [`Lie::NoTransaction`].
pub fn transaction(text: &str) -> Result<Transaction, Lie> {
    let bytes = hex(text, LEN_MAX).ok_or(Lie::NoTransaction)?;
    deserialize(&bytes).map_err(|_malformed| Lie::NoTransaction)
}

/// Transaction `id` from hexadecimal text.
///
/// # Errors
/// The [`Lie`] in it.
pub fn transaction_of(text: &str, id: Txid) -> Result<Transaction, Lie> {
    let transaction = transaction(text)?;
    let got = transaction.compute_txid();
    if got == id { Ok(transaction) } else { Err(Lie::OtherTransaction { asked: id, got }) }
}

/// Bytes of lower- or upper-case hexadecimal text, `len_max` at most.
pub(crate) fn hex(text: &str, len_max: usize) -> Option<Vec<u8>> {
    (text.len() / 2 <= len_max).then(|| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok())?
}

/// A transaction as it is sent.
#[must_use]
pub fn to_hex(transaction: &Transaction) -> String {
    HEXLOWER.encode(&serialize(transaction))
}

/// What became of a transaction that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// The node has it.
    Taken,
    /// It is in a block already.
    InChain,
    /// The node has it already.
    Known,
    /// It breaks a rule, of the chain's or of the node's.
    Rejected(Refusal),
}

/// A refusal to take a transaction, where it is an answer.
///
/// # Errors
/// The error, where it is another.
pub fn broadcast(error: NodeError) -> Result<Broadcast, NodeError> {
    let NodeError::Refused { refusal, .. } = &error else { return Err(error) };
    if refusal.code == code::IN_CHAIN {
        return Ok(Broadcast::InChain);
    }
    if is_known(refusal) {
        return Ok(Broadcast::Known);
    }
    if [code::TRANSACTION, code::REJECTED].contains(&refusal.code) {
        return Ok(Broadcast::Rejected(refusal.clone()));
    }
    Err(error)
}

fn is_known(refusal: &Refusal) -> bool {
    let says = |what: &str| refusal.text.as_str().contains(what);
    let is_it = says("ErrTxExistsInMempool") || says("already have transaction");
    refusal.code == code::REJECTED && is_it
}

/// `getnetworksteward`.
#[derive(Debug, Deserialize)]
pub struct StewardAnswer {
    script: String,
    votesagainst: i64,
    totalpossible: i64,
}

/// Who is Network Steward, as told: nothing of it can be checked without all blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steward {
    /// Paid by the next block.
    pub script: ScriptBuf,
    /// Units whose owners vote against it; can be less than nothing.
    pub disapproval: i64,
    /// All money of the blocks before the tip.
    pub total: Amount,
}

impl TryFrom<StewardAnswer> for Steward {
    type Error = Lie;

    fn try_from(answer: StewardAnswer) -> Result<Self, Lie> {
        let script = hex(&answer.script, 10_000).filter(|script| !script.is_empty());
        let total = u64::try_from(answer.totalpossible)
            .ok()
            .and_then(|units| Amount::from_units(units).ok());
        Ok(Self {
            script: ScriptBuf::from_bytes(script.ok_or(Lie::Impossible("the steward's script"))?),
            disapproval: answer.votesagainst,
            total: total.ok_or(Lie::Impossible("the total of money"))?,
        })
    }
}

/// `getinfo`, the part that means something.
#[derive(Debug, Deserialize)]
pub struct Info {
    pub(crate) blocks: u32,
    #[serde(default)]
    pub(crate) connections: u32,
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its network's magic number, as [`Network::magic`].
    pub magic: u32,
    /// Height of its tip.
    pub blocks: u32,
    /// Other nodes that it is connected to.
    pub peers: u32,
}

/// The script of an address of `network`.
///
/// # Errors
/// [`Lie::NoAddress`].
pub fn script_of(address: &str, network: &Network) -> Result<ScriptBuf, Lie> {
    let written = Written::parse(address).ok().filter(|written| written.is_for(network));
    Ok(written.ok_or_else(|| Lie::NoAddress(Text::new(address)))?.address.script())
}

/// PKT in floating point, as wallets have them. `None`: less than nothing, more than there can be, or no number.
/// Above 2^53 units they are no longer exact.
#[must_use]
pub fn amount_of_float(pkt: f64) -> Option<Amount> {
    // Scaling by a power of two loses nothing.
    let units = (pkt * UNITS_PER_PKT as f64).round();
    if !(0.0..=Amount::MAX.units() as f64).contains(&units) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and in the range of u64, by the line above"
    )]
    let units = units as u64;
    Amount::from_units(units).ok()
}

/// PKT in floating point, exactly. `None`: more than 2^53 units (8 388 608 PKT), which might be rounded.
#[must_use]
pub fn float_of_amount(amount: Amount) -> Option<f64> {
    (amount.units() <= EXACT_UNITS_MAX).then(|| amount.units() as f64 / UNITS_PER_PKT as f64)
}

/// The id whose parts are all zero: for `getheaders`, no end.
pub(crate) fn no_block() -> BlockHash {
    BlockHash::all_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn floats_are_exact_up_to_where_they_can_be(units in 0..=EXACT_UNITS_MAX) {
            let amount = Amount::from_units(units).unwrap();
            let float = float_of_amount(amount).unwrap();
            // As it goes over the wire.
            let text = serde_json::to_string(&float).unwrap();
            prop_assert_eq!(amount_of_float(text.parse().unwrap()), Some(amount));
        }

        #[test]
        fn any_number_is_looked_at(bits: u64) {
            let _amount = amount_of_float(f64::from_bits(bits));
        }
    }

    #[test]
    fn impossible_floats_are_none() {
        for float in [-1.0, f64::NAN, f64::INFINITY, 1e300, 6_000_000_001.0] {
            assert_eq!(amount_of_float(float), None, "{float}");
        }
        assert_eq!(amount_of_float(6e9), Some(Amount::MAX));
        assert_eq!(float_of_amount(Amount::MAX), None);
    }
}
