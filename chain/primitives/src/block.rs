//! Blocks: Bitcoin's, with a proof between header and transactions.

use crate::amount::Amount;
use crate::fault::Fault;
use crate::proof::{Proof, Reader, write_number};
use bitcoin::consensus::{deserialize_partial, serialize};
use bitcoin::hashes::{Hash as _, sha256d};
use bitcoin::{Transaction, WitnessMerkleNode, block, merkle_tree};
use std::collections::BTreeSet;

/// Bytes of a header.
pub const HEADER_LEN: usize = 80;
/// Bytes of a block at most: its weight, of which every byte has one unit at least.
pub const LEN_MAX: usize = 4_000_000;

/// A block, parsed but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bitcoin's header; its hash is the block's id.
    pub header: block::Header,
    /// That the block was worked for.
    pub proof: Proof,
    /// The coinbase first.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// Reads a block, all of `bytes`.
    ///
    /// # Errors
    /// The first fault in its form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > LEN_MAX {
            return Err(Fault::TooBig);
        }
        let mut reader = Reader(bytes);
        let header = parse_header(reader.take(HEADER_LEN)?)?;
        let proof = Proof::read(&mut reader)?;
        let transactions = parse_transactions(reader.0)?;
        Ok(Self { header, proof, transactions })
    }

    /// The bytes, with the proof in standard form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serialize(&self.header);
        self.proof.write(&mut bytes);
        write_number(self.transactions.len() as u64, &mut bytes);
        self.transactions.iter().for_each(|transaction| bytes.extend(serialize(transaction)));
        bytes
    }

    /// Verifies what can be verified of the transactions without those that they spend: that there is one coinbase,
    /// with `height` in it, that header and coinbase commit to what is there, amounts, and no transaction twice.
    /// Weight, signature operations and scripts are the attached node's business.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn check_transactions(&self, height: u32) -> Result<(), Fault> {
        let Some((coinbase, others)) = self.transactions.split_first() else {
            return Err(Fault::Coinbase);
        };
        if !coinbase.is_coinbase() || others.iter().any(Transaction::is_coinbase) {
            return Err(Fault::Coinbase);
        }
        for transaction in &self.transactions {
            outputs_of(transaction)?;
        }
        let mut ids: Vec<_> = self.transactions.iter().map(Transaction::compute_txid).collect();
        let root =
            merkle_tree::calculate_root_inline(&mut ids.clone()).map(|root| root.to_raw_hash());
        if root != Some(self.header.merkle_root.to_raw_hash()) {
            return Err(Fault::MerkleRoot);
        }
        // The same root can be made by doubling the last ones: with them the block is another one.
        let unique: BTreeSet<_> = ids.drain(..).collect();
        if unique.len() != self.transactions.len() {
            return Err(Fault::DuplicateTransaction);
        }
        let script = coinbase.input.first().map_or(&[][..], |input| input.script_sig.as_bytes());
        if !script.starts_with(&height_push(height)) {
            return Err(Fault::CoinbaseHeight);
        }
        self.check_witnesses(coinbase)
    }

    /// BIP141, with witnesses active from block 1.
    fn check_witnesses(&self, coinbase: &Transaction) -> Result<(), Fault> {
        const PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
        let scripts = coinbase.output.iter().map(|output| output.script_pubkey.as_bytes());
        let Some(script) =
            scripts.rev().find(|script| script.len() >= 38 && script.starts_with(&PREFIX))
        else {
            let none = self
                .transactions
                .iter()
                .all(|transaction| transaction.input.iter().all(|input| input.witness.is_empty()));
            return if none { Ok(()) } else { Err(Fault::WitnessCommitment) };
        };
        let hashes = self.transactions.iter().enumerate().map(|(place, transaction)| match place {
            0 => WitnessMerkleNode::all_zeros().to_raw_hash(),
            _ => transaction.compute_wtxid().to_raw_hash(),
        });
        let root = merkle_tree::calculate_root(hashes).unwrap_or_else(sha256d::Hash::all_zeros);
        let witness = coinbase.input.first().map(|input| &input.witness);
        let reserved =
            witness.filter(|witness| witness.len() == 1).and_then(|witness| witness.nth(0));
        let reserved =
            reserved.filter(|reserved| reserved.len() == 32).ok_or(Fault::WitnessCommitment)?;
        let found = sha256d::Hash::hash(&[root.as_byte_array(), reserved].concat());
        if script[6..38] == found.as_byte_array()[..] {
            Ok(())
        } else {
            Err(Fault::WitnessCommitment)
        }
    }
}

/// Reads a header from exactly 80 bytes.
///
/// # Errors
/// [`Fault::Malformed`].
pub fn parse_header(bytes: &[u8]) -> Result<block::Header, Fault> {
    bitcoin::consensus::deserialize(bytes).map_err(|_malformed| Fault::Malformed)
}

/// Reads transactions with their count before them, all of `bytes`.
///
/// # Errors
/// [`Fault::Malformed`], [`Fault::Dangling`].
pub fn parse_transactions(bytes: &[u8]) -> Result<Vec<Transaction>, Fault> {
    let mut reader = Reader(bytes);
    let count = reader.number()?;
    let mut transactions = Vec::new();
    for _ in 0..count {
        let (transaction, len) =
            deserialize_partial(reader.0).map_err(|_malformed| Fault::Malformed)?;
        transactions.push(transaction);
        reader.take(len)?;
    }
    if reader.0.is_empty() { Ok(transactions) } else { Err(Fault::Dangling) }
}

/// The sum of a transaction's outputs.
///
/// # Errors
/// [`Fault::Amount`] if one of them or the sum is more than there can be.
pub fn outputs_of(transaction: &Transaction) -> Result<Amount, Fault> {
    let amounts = transaction.output.iter().map(|output| Amount::from_units(output.value.to_sat()));
    amounts
        .into_iter()
        .try_fold(Amount::ZERO, |sum, amount| sum.checked_add(amount.ok()?))
        .ok_or(Fault::Amount)
}

/// What a coinbase script begins with: the height as a script number (BIP34).
#[must_use]
pub fn height_push(height: u32) -> Vec<u8> {
    match height {
        0 => vec![0x00],
        1..=16 => vec![0x50 + height.to_le_bytes()[0]],
        _ => {
            let mut bytes = height.to_le_bytes().to_vec();
            bytes.push(0);
            // A number whose highest bit is set would be negative: it keeps a zero in front.
            while let [.., before, 0] = bytes[..]
                && before & 0x80 == 0
            {
                bytes.pop();
            }
            bytes.insert(0, u8::try_from(bytes.len()).unwrap_or(0));
            bytes
        }
    }
}
