//! Who is Network Steward: paid by every block, voted out by half of all money.
//!
//! Source: PKT-CHAIN.md §4.3. A tally needs every block from the first on, or a state and the unspent votes to begin
//! with.

use crate::block::outputs_of;
use crate::fault::Fault;
use crate::reward::{steward_share, subsidy, total_before};
use crate::vote::{Vote, is_spendable};
use bitcoin::script::{Script, ScriptBuf};
use bitcoin::{OutPoint, Transaction};
use std::collections::BTreeMap;

/// The first steward's output script.
const FIRST: [u8; 34] = [
    0x00, 0x20, 0xd5, 0xc1, 0x00, 0x5c, 0x0d, 0x40, 0x12, 0xd3, 0xae, 0x26, 0x72, 0x31, 0x9e, 0x7f,
    0x9e, 0xb1, 0x5a, 0x57, 0x51, 0x6a, 0xee, 0xfa, 0xbb, 0xbc, 0x06, 0x22, 0x65, 0xf6, 0x7e, 0x30,
    0x8f, 0x2b,
];

/// Who it is after a block, and how much money is against.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct State {
    /// Paid by the next block.
    pub steward: ScriptBuf,
    /// Units whose owners vote against the steward. Below zero where votes were spent in the block that made them,
    /// which the reference counts as spent only.
    pub disapproval: i128,
    /// Whether the last election was between candidates of equal approval: the reference's choice is then not defined,
    /// and ours (the smallest script) may be another.
    pub is_disputed: bool,
}

/// An unspent output with a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cast {
    /// What it votes.
    pub vote: Vote,
    /// Its value, units.
    pub units: u64,
}

/// The state of a chain with all votes that are unspent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    state: State,
    cast: BTreeMap<OutPoint, Cast>,
}

/// How to take a block back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Undo {
    state: State,
    created: Vec<OutPoint>,
    spent: Vec<(OutPoint, Cast)>,
}

impl Undo {
    /// What it goes back to.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Outputs whose entry among the votes the block has changed.
    pub fn touched(&self) -> impl Iterator<Item = OutPoint> {
        self.created.iter().copied().chain(self.spent.iter().map(|(outpoint, _)| *outpoint))
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::genesis()
    }
}

impl Tally {
    /// After the first block.
    #[must_use]
    pub fn genesis() -> Self {
        let steward = ScriptBuf::from_bytes(FIRST.to_vec());
        Self { state: State { steward, disapproval: 0, is_disputed: false }, cast: BTreeMap::new() }
    }

    /// From what was stored.
    #[must_use]
    pub fn resume(state: State, cast: BTreeMap<OutPoint, Cast>) -> Self {
        Self { state, cast }
    }

    /// Who it is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Votes that are unspent.
    #[must_use]
    pub fn cast(&self) -> &BTreeMap<OutPoint, Cast> {
        &self.cast
    }

    /// Counts the votes that a block makes and spends, and elects if it comes to that.
    pub fn connect(&mut self, height: u32, transactions: &[Transaction]) -> Undo {
        let mut undo = Undo { state: self.state.clone(), created: Vec::new(), spent: Vec::new() };
        // Made and spent in this block.
        let mut passing = Vec::new();
        for transaction in transactions {
            for outpoint in transaction.input.iter().map(|input| input.previous_output) {
                let Some(cast) = self.cast.remove(&outpoint) else { continue };
                if undo.created.contains(&outpoint) {
                    undo.created.retain(|created| *created != outpoint);
                    passing.push(cast);
                } else {
                    undo.spent.push((outpoint, cast));
                }
            }
            self.cast_by(transaction, &mut undo.created);
        }
        let against = |cast: &Cast| is(cast.vote.against.as_ref(), &self.state.steward, cast);
        let created = undo.created.iter().filter_map(|outpoint| self.cast.get(outpoint));
        let gone = undo.spent.iter().map(|(_, cast)| cast).chain(&passing);
        let change = created.map(against).sum::<i128>() - gone.map(against).sum::<i128>();
        self.state.disapproval += change;
        if self.state.disapproval > i128::from(total_before(height).units() / 2) {
            self.elect(&passing);
        }
        undo
    }

    fn cast_by(&mut self, transaction: &Transaction, created: &mut Vec<OutPoint>) {
        let mut txid = None;
        for (vout, output) in (0..).zip(&transaction.output) {
            let script = &output.script_pubkey;
            let Some(vote) = Vote::parse(script).filter(|_| is_spendable(script)) else { continue };
            let txid = *txid.get_or_insert_with(|| transaction.compute_txid());
            let outpoint = OutPoint { txid, vout };
            self.cast.insert(outpoint, Cast { vote, units: output.value.to_sat() });
            created.push(outpoint);
        }
    }

    fn elect(&mut self, passing: &[Cast]) {
        let mut approval: BTreeMap<&Script, i128> = BTreeMap::new();
        let all =
            self.cast.values().map(|cast| (cast, 1)).chain(passing.iter().map(|cast| (cast, -1)));
        for (cast, sign) in all.clone() {
            if let Some(candidate) = &cast.vote.candidate {
                *approval.entry(candidate).or_default() += sign * i128::from(cast.units);
            }
        }
        let Some(most) = approval.values().copied().max().filter(|most| *most > 0) else { return };
        let mut winners =
            approval.iter().filter(|(_, approval)| **approval == most).map(|(script, _)| *script);
        let Some(winner) = winners.next() else { return };
        let is_disputed = winners.next().is_some();
        let against = all.map(|(cast, sign)| sign * is(cast.vote.against.as_ref(), winner, cast));
        self.state = State { disapproval: against.sum(), steward: winner.to_owned(), is_disputed };
    }

    /// Takes back the block that was connected last.
    pub fn disconnect(&mut self, undo: Undo) {
        for outpoint in &undo.created {
            self.cast.remove(outpoint);
        }
        self.cast.extend(undo.spent);
        self.state = undo.state;
    }
}

/// An output's value if it names `script`.
fn is(named: Option<&ScriptBuf>, script: &Script, cast: &Cast) -> i128 {
    if named.is_some_and(|named| named.as_script() == script) { cast.units.into() } else { 0 }
}

/// Verifies that a coinbase pays `steward`, who was it before this block, exactly the share, and creates no more than
/// it may.
///
/// `fees`: of the block's other transactions, units; `None`: unknown, and the sum stays unverified.
///
/// # Errors
/// [`Fault::StewardUnpaid`], [`Fault::Amount`].
pub fn check_coinbase(
    coinbase: &Transaction,
    height: u32,
    steward: &Script,
    fees: Option<u64>,
) -> Result<(), Fault> {
    let share = steward_share(height).units();
    let pays = |output: &bitcoin::TxOut| {
        output.value.to_sat() == share && output.script_pubkey.as_script() == steward
    };
    if !coinbase.output.iter().any(pays) {
        return Err(Fault::StewardUnpaid);
    }
    let created = outputs_of(coinbase)?.units();
    let limit = fees.map(|fees| fees.saturating_add(subsidy(height).units()));
    if limit.is_some_and(|limit| created > limit) { Err(Fault::Amount) } else { Ok(()) }
}
