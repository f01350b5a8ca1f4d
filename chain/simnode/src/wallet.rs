//! A wallet of the simulated network: keys, and real transactions.
//!
//! It gives out witness addresses as pktwallet does, and spends what was paid to its other ones: the network's blocks
//! have no witnesses.

use crate::network::{Coin, MATURITY};
use primitives::address::Address;
use primitives::bitcoin::absolute::LockTime;
use primitives::bitcoin::hashes::{Hash as _, hash160};
use primitives::bitcoin::script::{Builder, PushBytesBuf, Script, ScriptBuf};
use primitives::bitcoin::secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey, ecdsa};
use primitives::bitcoin::sighash::{EcdsaSighashType, SighashCache};
use primitives::bitcoin::{
    Amount, OutPoint, PubkeyHash, Sequence, Transaction, TxIn, TxOut, WPubkeyHash, Witness,
    transaction,
};
use primitives::vote::{Vote, stripped};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;

/// What every transaction pays, units. A kilobyte costs 1000.
const FEE: u64 = 10_000;
/// Inputs of a transaction at most.
const INPUTS_MAX: usize = 100;

/// Keys of one owner, made from a seed.
pub(crate) struct Keys {
    secp: Secp256k1<All>,
    seed: String,
    /// By the hash of their public halves, in the order in which they were made.
    known: BTreeMap<hash160::Hash, SecretKey>,
    made: u32,
    /// What outputs to itself vote.
    pub(crate) vote: Option<Vote>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("made", &self.made).finish_non_exhaustive()
    }
}

impl Keys {
    pub(crate) fn new(seed: &str) -> Self {
        let secp = Secp256k1::new();
        Self { secp, seed: seed.to_owned(), known: BTreeMap::new(), made: 0, vote: None }
    }

    /// A new key's address; `is_legacy`: one that it can spend from.
    pub(crate) fn address(&mut self, is_legacy: bool) -> Address {
        loop {
            self.made += 1;
            let text = format!("simulated wallet {} key {}", self.seed, self.made);
            // One in 2^128 is no key.
            let Ok(secret) = SecretKey::from_slice(&Sha256::digest(text)) else { continue };
            let public = PublicKey::from_secret_key(&self.secp, &secret).serialize();
            let hash = hash160::Hash::hash(&public);
            self.known.insert(hash, secret);
            return if is_legacy {
                Address::PubkeyHash(PubkeyHash::from_raw_hash(hash))
            } else {
                Address::WitnessPubkeyHash(WPubkeyHash::from_raw_hash(hash))
            };
        }
    }

    fn hash_of(script: &Script) -> Option<hash160::Hash> {
        match Address::of_script(script) {
            Address::PubkeyHash(hash) => Some(hash.to_raw_hash()),
            Address::WitnessPubkeyHash(hash) => Some(hash.to_raw_hash()),
            Address::ScriptHash(_) | Address::WitnessScriptHash(_) | Address::Script(_) => None,
        }
    }

    /// Whether an output is its own.
    pub(crate) fn owns(&self, script: &Script) -> bool {
        Self::hash_of(script).is_some_and(|hash| self.known.contains_key(&hash))
    }

    fn can_spend(&self, coin: &Coin, height: u32) -> bool {
        let is_mature = !coin.is_coinbase || height + 1 >= coin.height + MATURITY;
        let plain = stripped(&coin.output.script_pubkey);
        is_mature && plain.is_some_and(|plain| plain.is_p2pkh() && self.owns(&plain))
    }

    /// Makes and signs a payment from `coins` at `height`, change to itself. `None`: not enough.
    pub(crate) fn pay(
        &mut self,
        coins: &BTreeMap<OutPoint, Coin>,
        height: u32,
        to: &Script,
        amount: u64,
        is_vote: bool,
    ) -> Option<Transaction> {
        let mut inputs: Vec<(&OutPoint, &Coin)> = Vec::new();
        let mut sum = 0u64;
        let wanted = amount.checked_add(FEE)?;
        for (outpoint, coin) in
            coins.iter().filter(|(_, coin)| self.can_spend(coin, height)).take(INPUTS_MAX)
        {
            if sum >= wanted {
                break;
            }
            sum = sum.saturating_add(coin.output.value.to_sat());
            inputs.push((outpoint, coin));
        }
        let change = sum.checked_sub(wanted)?;
        let vote = self.vote.clone().filter(|_| is_vote);
        let voting = |script: ScriptBuf| match &vote {
            Some(vote) => vote.attach(&script).unwrap_or(script),
            None => script,
        };
        let output = |value, script_pubkey| TxOut { value: Amount::from_sat(value), script_pubkey };
        let mut outputs = vec![output(amount, voting(to.to_owned()))];
        if change > 0 {
            outputs.push(output(change, voting(self.address(true).script())));
        }
        let unsigned = Transaction {
            version: transaction::Version::ONE,
            lock_time: LockTime::ZERO,
            input: inputs.iter().map(|(outpoint, _)| input(**outpoint)).collect(),
            output: outputs,
        };
        self.sign(unsigned, &inputs)
    }

    fn sign(&self, unsigned: Transaction, inputs: &[(&OutPoint, &Coin)]) -> Option<Transaction> {
        let mut signed = unsigned.clone();
        for (place, ((_, coin), input)) in inputs.iter().zip(&mut signed.input).enumerate() {
            let script = &coin.output.script_pubkey;
            let secret = self.known.get(&Self::hash_of(script)?)?;
            let signature = self.secp.sign_ecdsa(&digest(&unsigned, place, script)?, secret);
            let public = PublicKey::from_secret_key(&self.secp, secret).serialize();
            let mut bytes = signature.serialize_der().to_vec();
            bytes.push(EcdsaSighashType::All.to_u32().to_le_bytes()[0]);
            let push = |bytes: Vec<u8>| PushBytesBuf::try_from(bytes).ok();
            let script = Builder::new().push_slice(push(bytes)?).push_slice(push(public.to_vec())?);
            input.script_sig = script.into_script();
        }
        Some(signed)
    }
}

fn input(previous_output: OutPoint) -> TxIn {
    let script_sig = ScriptBuf::new();
    TxIn { previous_output, script_sig, sequence: Sequence::MAX, witness: Witness::new() }
}

/// What a signature of all inputs and outputs signs.
fn digest(transaction: &Transaction, place: usize, script: &Script) -> Option<Message> {
    let cache = SighashCache::new(transaction);
    let all = EcdsaSighashType::All.to_u32();
    let hash = cache.legacy_signature_hash(place, script, all).ok()?;
    Some(Message::from_digest(hash.to_byte_array()))
}

/// Whether input `place` may spend `output`: only payments to keys are known here.
pub(crate) fn is_signed(transaction: &Transaction, place: usize, output: &TxOut) -> bool {
    let check = || {
        let script = &output.script_pubkey;
        let mut pushes = transaction.input.get(place)?.script_sig.instructions();
        let mut push = || Some(pushes.next()?.ok()?.push_bytes()?.as_bytes().to_vec());
        let (mut signature, public) = (push()?, push()?);
        let is_all = signature.pop()? == EcdsaSighashType::All.to_u32().to_le_bytes()[0];
        let is_its =
            stripped(script)?.is_p2pkh() && Keys::hash_of(script)? == hash160::Hash::hash(&public);
        let public = PublicKey::from_slice(&public).ok()?;
        let signature = ecdsa::Signature::from_der(&signature).ok()?;
        let secp = Secp256k1::verification_only();
        let verified = secp.verify_ecdsa(&digest(transaction, place, script)?, &signature, &public);
        Some(is_all && is_its && verified.is_ok())
    };
    check().unwrap_or(false)
}
