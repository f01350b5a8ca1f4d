//! Outputs that can be spent: what a block's money is checked against, where all blocks are at hand.

use crate::block::{Block, outputs_of};
use crate::fault::Fault;
use bitcoin::{OutPoint, TxOut};
use std::collections::HashMap;

/// All outputs that can be spent.
#[derive(Clone, Debug, Default)]
pub struct Unspent(HashMap<OutPoint, TxOut>);

impl Unspent {
    /// Moves a block's money; the fees, units.
    ///
    /// # Errors
    /// [`Fault::InputMissing`], [`Fault::Amount`]; a part of the money is moved then.
    pub fn connect(&mut self, block: &Block) -> Result<u64, Fault> {
        let mut fees = 0u64;
        for transaction in &block.transactions {
            if !transaction.is_coinbase() {
                let made = outputs_of(transaction)?.units();
                let mut spent = 0u64;
                for input in &transaction.input {
                    let output =
                        self.0.remove(&input.previous_output).ok_or(Fault::InputMissing)?;
                    spent = spent.checked_add(output.value.to_sat()).ok_or(Fault::Amount)?;
                }
                let fee = spent.checked_sub(made).ok_or(Fault::Amount)?;
                fees = fees.checked_add(fee).ok_or(Fault::Amount)?;
            }
            let txid = transaction.compute_txid();
            let outputs = (0..).zip(&transaction.output);
            self.0.extend(outputs.map(|(vout, output)| (OutPoint { txid, vout }, output.clone())));
        }
        Ok(fees)
    }

    /// The sum of all, units.
    #[must_use]
    pub fn units(&self) -> u128 {
        self.0.values().map(|output| u128::from(output.value.to_sat())).sum()
    }
}
