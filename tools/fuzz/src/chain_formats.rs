//! Every parser of the chain's formats; what parses is written back and read the same again.

use primitives::address::{Address, Written};
use primitives::amount::Amount;
use primitives::bitcoin::script::Script;
use primitives::block::{Block, HEADER_LEN, parse_header, parse_transactions};
use primitives::commitment::Commitment;
use primitives::compact::Compact;
use primitives::network::{Network, PKT};
use primitives::steward::{Tally, check_coinbase};
use primitives::vote::{Vote, stripped};
use primitives::{difficulty, header, reward};

/// Parses `input` as everything.
pub fn chain_formats(input: &[u8]) {
    block(input);
    script(input);
    numbers(input);
    if let Ok(text) = std::str::from_utf8(input) {
        words(text);
    }
}

fn block(input: &[u8]) {
    if let Ok(block) = Block::parse(input) {
        let written = block.to_bytes();
        assert!(!block.proof.is_standard || written.len() <= input.len());
        let again = Block::parse(&written);
        assert_eq!(again.as_ref().map(|block| (&block.header, &block.transactions)), {
            Ok((&block.header, &block.transactions))
        });
        assert!(again.is_ok_and(|block| block.proof.is_standard));
        // Either answer; it reads all that is there.
        let _right = block.check_transactions(1);
    }
    if let Ok(transactions) = parse_transactions(input) {
        let mut tally = Tally::genesis();
        let undo = tally.connect(1, &transactions);
        tally.disconnect(undo);
        assert_eq!(tally, Tally::genesis());
        for transaction in &transactions {
            let _paid = check_coinbase(transaction, 1, &tally.state().steward, Some(u64::MAX));
            let _commitment = Commitment::find(transaction);
        }
    }
    if let Some(first) = input.get(..HEADER_LEN).and_then(|bytes| parse_header(bytes).ok()) {
        let genesis = PKT.genesis();
        let _right = header::check(&first, 1, |height| (height == 0).then_some(genesis), &PKT);
        let _late = header::is_ahead(&first, 0);
    }
}

fn script(input: &[u8]) {
    let script = Script::from_bytes(input);
    if let Some(commitment) = Commitment::parse(input) {
        assert_eq!(Commitment::parse(&commitment.script()), Some(commitment));
    }
    if let Some(vote) = Vote::parse(script)
        && let Some(plain) = stripped(script)
        && let Some(attached) = vote.attach(&plain)
    {
        assert_eq!(Vote::parse(&attached), Some(vote));
    }
    let address = Address::of_script(script);
    for network in Network::ALL {
        let written = Written::parse(&address.text(network));
        assert!(written.is_ok_and(|written| written.address == address && written.is_for(network)));
    }
}

fn words(text: &str) {
    if let Ok(written) = Written::parse(text) {
        // A script that is written out may be one of the others.
        let _address = Address::of_script(&written.address.script());
    }
    if let Ok(amount) = text.parse::<Amount>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
}

/// Any targets, counts and heights.
fn numbers(input: &[u8]) {
    let Some(([bits, least, age, height], _)) = input
        .split_first_chunk::<16>()
        .map(|(words, rest)| (words.as_chunks::<4>().0.to_vec(), rest))
        .and_then(|(words, rest)| Some((<[[u8; 4]; 4]>::try_from(words).ok()?, rest)))
    else {
        return;
    };
    let [bits, least] = [bits, least].map(|word| Compact(u32::from_le_bytes(word)));
    let [age, height] = [age, height].map(u32::from_le_bytes);
    for version in [0, 2] {
        let effective = difficulty::effective(bits, least, age.into(), version);
        assert!(effective <= primitives::compact::EASIEST);
        let _aged = difficulty::aged(bits, age, version);
        let _sane = difficulty::is_sane_least(least, version);
    }
    let _limit = difficulty::soft_nonce_max(bits);
    let next = header::retarget(PKT.pow_limit, age.into(), PKT.pow_limit);
    assert!(next <= PKT.pow_limit);
    assert!(reward::steward_share(height) <= reward::subsidy(height));
    assert!(reward::total_before(height) <= Amount::MAX);
}
