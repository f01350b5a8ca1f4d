//! Payments: what comes to watched scripts and invoices, told once for each step of its life.

use crate::UnixMillis;
use crate::event::{FOR_GOOD, Payment, Source};
use crate::node::{Lie, NodeId};
use crate::table::Table;
use primitives::bitcoin::hashes::{Hash as _, sha256};
use primitives::bitcoin::{OutPoint, Script, ScriptBuf, Transaction, Txid};
use primitives::vote;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Blocks until what a coinbase creates can be spent.
pub const MATURITY: u32 = 100;
/// How long a transaction may wait for a block before it is given up.
const WAITING_MS: u64 = 72 * 3600 * 1000;
/// Waiting transactions of a node at most.
const WAITING_MAX: usize = 1000;
/// Inputs and outputs that a waiting transaction may have.
const WAITING_PARTS_MAX: usize = 2000;
/// Scripts that can be watched, invoices, and payments that are kept.
const WATCHES_MAX: usize = 200_000;
const PAYMENTS_MAX: usize = 1_000_000;
/// Bytes of what a watch is for.
const REFERENCE_LEN_MAX: usize = 128;

/// A watched script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Whatever the events shall say; at most 128 bytes.
    pub reference: Vec<u8>,
    /// Confirmations that are told of one by one.
    pub depth: u32,
}

/// A payment to a watched script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    pub(crate) script: ScriptBuf,
    pub(crate) units: u64,
    /// `None`: in no block.
    pub(crate) height: Option<u32>,
    pub(crate) is_coinbase: bool,
    /// Whether somebody was told that it was seen.
    pub(crate) is_seen: bool,
    /// Confirmations that were told.
    pub(crate) told: u32,
}

/// A transaction with payments that is in no block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub(crate) node: NodeId,
    pub(crate) since_ms: UnixMillis,
    pub(crate) spends: Vec<OutPoint>,
    pub(crate) pays: Vec<u32>,
}

/// A Lightning invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Whatever the events shall say; at most 128 bytes.
    pub reference: Vec<u8>,
    /// Whose invoice it is; what others say of it does not count.
    pub node: NodeId,
    pub(crate) state: InvoiceState,
    /// As last told.
    pub(crate) units: u64,
}

/// How far an invoice is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvoiceState {
    /// Nobody has paid.
    #[default]
    Open,
    /// Paid by the sender and held here.
    Accepted,
    /// Paid, as the preimage of the hash shows.
    Settled {
        /// Its SHA-256 is the payment hash.
        preimage: [u8; 32],
    },
    /// Nobody will pay.
    Canceled,
}

/// Why something is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// More than there can be.
    #[error("watch: {WATCHES_MAX} scripts and as many invoices are watched already")]
    TooMany,
    /// A reference that is too long.
    #[error("watch: its reference has more than {REFERENCE_LEN_MAX} bytes")]
    Reference,
}

/// What one step brings, in the order in which it is told.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) reverted: Vec<Payment>,
    pub(crate) seen: Vec<Payment>,
    pub(crate) confirmed: Vec<(Payment, u32)>,
}

#[derive(Default)]
pub(crate) struct Money {
    /// Of the chain in sources and payments.
    pub(crate) chain: String,
    pub(crate) asset: String,
    pub(crate) watches: Table<ScriptBuf, Watch>,
    pub(crate) paid: Table<OutPoint, Paid>,
    pub(crate) waiting: Table<Txid, Waiting>,
    pub(crate) invoices: Table<[u8; 32], Invoice>,
    /// Payments by the height of their block.
    pub(crate) at: BTreeMap<u32, BTreeSet<OutPoint>>,
    /// Those of which something is to be told yet.
    pub(crate) live: BTreeSet<OutPoint>,
    /// Waiting transactions by what they spend.
    pub(crate) spenders: BTreeMap<OutPoint, BTreeSet<Txid>>,
}

impl Money {
    /// Watches a script from the next block on.
    pub(crate) fn watch(&mut self, script: ScriptBuf, watch: Watch) -> Result<(), WatchError> {
        is_reference(&watch.reference)?;
        if self.watches.map().len() >= WATCHES_MAX && self.watches.get(&script).is_none() {
            return Err(WatchError::TooMany);
        }
        let depth = watch.depth;
        if self.watches.get(&script).is_some() {
            let paid = self.paid.map().iter();
            for (outpoint, paid) in paid.filter(|(_, paid)| paid.script == script) {
                self.live.remove(outpoint);
                if is_live(paid, depth) {
                    self.live.insert(*outpoint);
                }
            }
        }
        self.watches.insert(script, watch);
        Ok(())
    }

    /// Forgets a script and the payments to it; nothing more is told of them.
    pub(crate) fn unwatch(&mut self, script: &ScriptBuf) {
        if self.watches.remove(script).is_none() {
            return;
        }
        let paid = self.paid.map().iter().filter(|(_, paid)| paid.script == *script);
        let paid: Vec<_> = paid.map(|(outpoint, _)| *outpoint).collect();
        paid.iter().for_each(|outpoint| drop(self.forget(outpoint)));
    }

    pub(crate) fn expect(&mut self, hash: [u8; 32], invoice: Invoice) -> Result<(), WatchError> {
        is_reference(&invoice.reference)?;
        if self.invoices.map().len() >= WATCHES_MAX {
            return Err(WatchError::TooMany);
        }
        // What is known of it already stays.
        if self.invoices.get(&hash).is_none() {
            self.invoices.insert(hash, invoice);
        }
        Ok(())
    }

    fn forget(&mut self, outpoint: &OutPoint) -> Option<Paid> {
        let paid = self.paid.remove(outpoint)?;
        self.live.remove(outpoint);
        if let Some(height) = paid.height
            && let Some(at) = self.at.get_mut(&height)
        {
            at.remove(outpoint);
            if at.is_empty() {
                self.at.remove(&height);
            }
        }
        Some(paid)
    }

    /// The watched script that an output pays to, with a vote in it or without.
    fn watched(&self, script: &Script) -> Option<ScriptBuf> {
        if self.watches.map().contains_key(script) {
            return Some(script.to_owned());
        }
        let stripped = script.as_bytes().contains(&0x66).then(|| vote::stripped(script))??;
        self.watches.map().contains_key(&stripped).then_some(stripped)
    }

    fn payment(&self, outpoint: &OutPoint, paid: &Paid) -> Option<Payment> {
        let which = [&outpoint.txid.as_byte_array()[..], &outpoint.vout.to_be_bytes()].concat();
        Some(Payment {
            chain: self.chain.clone(),
            source: Source::new(&self.chain, "output", &which)?,
            watch: self.watches.get(&paid.script)?.reference.clone(),
            asset: self.asset.clone(),
            amount: paid.units.into(),
        })
    }

    /// A transaction that waits for a block, as a node says.
    pub(crate) fn wait(
        &mut self,
        node: NodeId,
        transaction: &Transaction,
        now: UnixMillis,
        news: &mut News,
    ) {
        let (inputs, outputs) = (&transaction.input, &transaction.output);
        let pays = outputs.iter().zip(0u32..).filter_map(|(output, vout)| {
            Some((vout, output.value.to_sat(), self.watched(&output.script_pubkey)?))
        });
        let pays: Vec<_> = pays.collect();
        let of_node = self.waiting.map().values().filter(|waiting| waiting.node == node).count();
        let is_much = inputs.len().saturating_add(outputs.len()) > WAITING_PARTS_MAX;
        if pays.is_empty() || transaction.is_coinbase() || is_much || of_node >= WAITING_MAX {
            return;
        }
        let txid = transaction.compute_txid();
        let is_known = |vout: u32| self.paid.get(&OutPoint { txid, vout }).is_some();
        if self.waiting.get(&txid).is_some() || pays.iter().any(|(vout, ..)| is_known(*vout)) {
            return;
        }
        for (vout, units, script) in &pays {
            let outpoint = OutPoint { txid, vout: *vout };
            let paid = Paid {
                script: script.clone(),
                units: *units,
                height: None,
                is_coinbase: false,
                is_seen: true,
                told: 0,
            };
            news.seen.extend(self.payment(&outpoint, &paid));
            self.paid.insert(outpoint, paid);
        }
        let spends: Vec<_> = inputs.iter().map(|input| input.previous_output).collect();
        for outpoint in &spends {
            self.spenders.entry(*outpoint).or_default().insert(txid);
        }
        let pays = pays.into_iter().map(|(vout, ..)| vout).collect();
        self.waiting.insert(txid, Waiting { node, since_ms: now, spends, pays });
    }

    /// It is in a block, or never will be.
    fn no_longer_waits(&mut self, txid: &Txid) -> Option<Waiting> {
        let waiting = self.waiting.remove(txid)?;
        for outpoint in &waiting.spends {
            if let Some(spenders) = self.spenders.get_mut(outpoint) {
                spenders.remove(txid);
                if spenders.is_empty() {
                    self.spenders.remove(outpoint);
                }
            }
        }
        Some(waiting)
    }

    fn give_up(&mut self, txid: &Txid, news: &mut News) {
        for vout in self.no_longer_waits(txid).into_iter().flat_map(|waiting| waiting.pays) {
            self.revert(&OutPoint { txid: *txid, vout }, news);
        }
    }

    fn revert(&mut self, outpoint: &OutPoint, news: &mut News) {
        let payment = self.paid.get(outpoint).and_then(|paid| self.payment(outpoint, paid));
        let Some(paid) = self.forget(outpoint) else { return };
        if paid.is_seen || paid.told > 0 {
            news.reverted.extend(payment);
        }
    }

    /// Gives up what has waited too long.
    pub(crate) fn expire(&mut self, now: UnixMillis, news: &mut News) {
        let old = self.waiting.map().iter();
        let old = old.filter(|(_, waiting)| now.saturating_sub(waiting.since_ms) > WAITING_MS);
        let old: Vec<_> = old.map(|(txid, _)| *txid).collect();
        old.iter().for_each(|txid| self.give_up(txid, news));
    }

    /// A block on the best chain.
    pub(crate) fn connect(&mut self, height: u32, transactions: &[Transaction], news: &mut News) {
        for transaction in transactions {
            let txid = transaction.compute_txid();
            self.no_longer_waits(&txid);
            for input in &transaction.input {
                // Spent here, and so nowhere else.
                let others = self.spenders.get(&input.previous_output).cloned();
                others.into_iter().flatten().for_each(|other| self.give_up(&other, news));
            }
            for (output, vout) in transaction.output.iter().zip(0u32..) {
                let Some(script) = self.watched(&output.script_pubkey) else { continue };
                let outpoint = OutPoint { txid, vout };
                let units = output.value.to_sat();
                let is_coinbase = transaction.is_coinbase();
                let is_seen = self.paid.get(&outpoint).is_some_and(|paid| paid.is_seen);
                let paid =
                    Paid { script, units, height: Some(height), is_coinbase, is_seen, told: 0 };
                drop(self.forget(&outpoint));
                self.paid.insert(outpoint, paid);
                self.live.insert(outpoint);
                self.at.entry(height).or_default().insert(outpoint);
            }
        }
        if self.paid.map().len() > PAYMENTS_MAX {
            self.forget_oldest();
        }
    }

    /// The one whose block is the deepest, of which all is told.
    fn forget_oldest(&mut self) {
        let all = self.at.values().flatten();
        let Some(oldest) = all.copied().find(|outpoint| !self.live.contains(outpoint)) else {
            return;
        };
        drop(self.forget(&oldest));
    }

    /// The last block of the best chain is taken back.
    pub(crate) fn disconnect(&mut self, height: u32, news: &mut News) {
        for outpoint in self.at.get(&height).cloned().into_iter().flatten() {
            self.revert(&outpoint, news);
        }
    }

    /// Tells confirmations, once the best chain stands.
    pub(crate) fn confirm(&mut self, tip: u32, news: &mut News) {
        for outpoint in self.live.clone() {
            let Some((paid, depth)) = self
                .paid
                .get(&outpoint)
                .and_then(|paid| Some((paid.clone(), self.watches.get(&paid.script)?.depth)))
            else {
                continue;
            };
            let Some(above) = paid.height.and_then(|height| tip.checked_sub(height)) else {
                continue;
            };
            let confirmations = above.saturating_add(1);
            let first = if paid.is_coinbase { MATURITY } else { 1 };
            if confirmations < first || confirmations <= paid.told {
                continue;
            }
            if let Some(payment) = self.payment(&outpoint, &paid) {
                news.confirmed.push((payment, confirmations));
            }
            if let Some(paid) = self.paid.get_mut(&outpoint) {
                paid.told = confirmations;
            }
            if confirmations >= depth {
                self.live.remove(&outpoint);
            }
        }
    }

    /// What a node says of an invoice.
    pub(crate) fn invoice(
        &mut self,
        node: NodeId,
        hash: [u8; 32],
        units: u64,
        state: InvoiceState,
        news: &mut News,
    ) -> Result<(), Lie> {
        let Some(invoice) = self.invoices.get(&hash).filter(|invoice| invoice.node == node) else {
            return Ok(());
        };
        let before = invoice.state;
        let payment = Source::new(&self.chain, "invoice", &hash).map(|source| Payment {
            chain: self.chain.clone(),
            source,
            watch: invoice.reference.clone(),
            asset: self.asset.clone(),
            amount: units.into(),
        });
        match (before, state) {
            (InvoiceState::Settled { .. }, InvoiceState::Settled { .. }) => return Ok(()),
            (InvoiceState::Settled { .. }, _) => return Err(Lie::InvoiceUnsettled),
            (_, InvoiceState::Settled { preimage }) => {
                if sha256::Hash::hash(&preimage).to_byte_array() != hash {
                    return Err(Lie::Preimage);
                }
                news.confirmed.extend(payment.map(|payment| (payment, FOR_GOOD)));
            }
            (InvoiceState::Open | InvoiceState::Canceled, InvoiceState::Accepted) => {
                news.seen.extend(payment);
            }
            (InvoiceState::Accepted, InvoiceState::Open | InvoiceState::Canceled) => {
                let amount = invoice.units.into();
                news.reverted.extend(payment.map(|payment| Payment { amount, ..payment }));
            }
            _ if before == state => return Ok(()),
            _ => {}
        }
        if let Some(invoice) = self.invoices.get_mut(&hash) {
            (invoice.state, invoice.units) = (state, units);
        }
        Ok(())
    }

    /// Fills what follows from the records.
    pub(crate) fn derive(&mut self) {
        for (outpoint, paid) in self.paid.map() {
            let Some(height) = paid.height else { continue };
            self.at.entry(height).or_default().insert(*outpoint);
            let depth = self.watches.get(&paid.script).map_or(0, |watch| watch.depth);
            if is_live(paid, depth) {
                self.live.insert(*outpoint);
            }
        }
        for (txid, waiting) in self.waiting.map() {
            for outpoint in &waiting.spends {
                self.spenders.entry(*outpoint).or_default().insert(*txid);
            }
        }
    }
}

/// Whether something is to be told of it yet.
fn is_live(paid: &Paid, depth: u32) -> bool {
    paid.height.is_some() && (paid.told == 0 || paid.told < depth)
}

fn is_reference(reference: &[u8]) -> Result<(), WatchError> {
    if reference.len() > REFERENCE_LEN_MAX { Err(WatchError::Reference) } else { Ok(()) }
}
