//! A vote to sign: money that its owner sends to himself, with a vote on it.

use primitives::amount::Amount;
use primitives::bitcoin::absolute::LockTime;
use primitives::bitcoin::script::{Script, ScriptBuf};
use primitives::bitcoin::transaction::Version;
use primitives::bitcoin::{self, OutPoint, Sequence, Transaction, TxIn, TxOut, Witness};
use primitives::vote::Vote;

/// Why there is no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteError {
    /// A candidate's script is shorter than 2 bytes or longer than 79.
    #[error("vote: a candidate's output script has 2 to 79 bytes")]
    Candidate,
    /// Nothing is spent.
    #[error("vote: nothing is spent, and only money votes")]
    Nothing,
    /// What is spent is no more than the fee, or adds up to more than there is.
    #[error("vote: what is spent must be more than the fee, and no more than there can be")]
    Amount,
}

/// An unsigned transaction that moves `spent` to `to` with a vote on all of it. The vote counts while the output is
/// unspent. `to`: an output script of the owner's, without a vote.
///
/// # Errors
/// [`VoteError`].
pub fn compose_vote(
    vote: &Vote,
    spent: &[(OutPoint, Amount)],
    to: &Script,
    fee: Amount,
) -> Result<Transaction, VoteError> {
    let script_pubkey = vote.attach(to).ok_or(VoteError::Candidate)?;
    if spent.is_empty() {
        return Err(VoteError::Nothing);
    }
    let sum = spent.iter().try_fold(Amount::ZERO, |sum, (_, amount)| sum.checked_add(*amount));
    let left = sum.and_then(|sum| sum.checked_sub(fee)).filter(|left| *left > Amount::ZERO);
    let value = bitcoin::Amount::from_sat(left.ok_or(VoteError::Amount)?.units());
    let input = |(previous_output, _): &(OutPoint, Amount)| TxIn {
        previous_output: *previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    Ok(Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: spent.iter().map(input).collect(),
        output: vec![TxOut { value, script_pubkey }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use primitives::bitcoin::Txid;
    use primitives::bitcoin::hashes::Hash as _;
    use primitives::vote::stripped;

    #[test]
    fn a_vote_is_on_all_the_money_but_the_fee() {
        let units = |units| Amount::from_units(units).unwrap();
        let spent = |vout, amount| (OutPoint { txid: Txid::all_zeros(), vout }, units(amount));
        let to = ScriptBuf::from_bytes([&[0, 20][..], &[7; 20]].concat());
        let candidate = ScriptBuf::from_bytes(vec![0x51, 0x52, 0x53]);
        let vote = Vote { candidate: Some(candidate.clone()), against: None };
        let inputs = [spent(0, 1000), spent(3, 500)];
        let made = compose_vote(&vote, &inputs, &to, units(100)).unwrap();
        assert_eq!(made.output[0].value.to_sat(), 1400);
        assert_eq!(Vote::parse(&made.output[0].script_pubkey), Some(vote.clone()));
        assert_eq!(stripped(&made.output[0].script_pubkey), Some(to.clone()));
        assert_eq!(made.input.len(), 2);
        let wrong = |inputs: &[_], fee| compose_vote(&vote, inputs, &to, units(fee)).unwrap_err();
        assert_eq!(wrong(&inputs, 1500), VoteError::Amount);
        assert_eq!(wrong(&[], 0), VoteError::Nothing);
        let long = Vote { candidate: None, against: Some(vec![0x51; 80].into()) };
        assert_eq!(compose_vote(&long, &inputs, &to, Amount::ZERO), Err(VoteError::Candidate));
    }
}
