//! What is mined for simulated networks is valid by their rules.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bitcoin::BlockHash;
use chain_primitives::block::Block;
use chain_primitives::builder::{Mined, Plan, Tree};
use chain_primitives::compact::EASIEST;
use chain_primitives::fault::Fault;
use chain_primitives::header;
use chain_primitives::network::{Network, PKT_LAB, PKT_SIM};
use chain_primitives::packetcrypt::Verifier;
use chain_primitives::steward::check_coinbase;
use num_bigint::BigUint;

const TIME_S: u32 = 1_800_000_000;

fn plan(parent: BlockHash, time_s: u32) -> Plan {
    let payee = vec![0x51].into();
    Plan { parent, time_s, payee, transactions: Vec::new(), salt: 0 }
}

fn check(tree: &Tree, network: &Network, id: &BlockHash) -> Result<(), Fault> {
    let Mined { block, height, .. } = tree.get(id).unwrap();
    let block = Block::parse(&block.as_ref().unwrap().to_bytes())?;
    let path = tree.path(id);
    let at = |height: u32| path.get(height as usize).copied();
    header::check(&block.header, *height, at, network)?;
    block.check_transactions(*height)?;
    let before = &tree.get(&block.header.prev_blockhash).unwrap().tally;
    check_coinbase(&block.transactions[0], *height, &before.state().steward, Some(0))?;
    let parents = block.parent_heights().map(|height| path[height as usize].block_hash());
    Verifier::detect().block(&block, *height, &parents, None, &network.gates)?;
    Ok(())
}

#[test]
fn a_simulated_chain_is_valid() {
    let mut tree = Tree::new(&PKT_SIM);
    let mut tip = tree.genesis();
    for height in 1..=200 {
        // Some late.
        let late = if height % 5 == 0 { 100 } else { 0 };
        tip = tree.mine(&plan(tip, TIME_S + 130 * height + late)).unwrap();
        assert_eq!(check(&tree, &PKT_SIM, &tip), Ok(()), "{height}");
    }
    let fork = tree.path(&tip)[150].block_hash();
    let late = tree.mine(&plan(fork, TIME_S + 130 * 160)).unwrap();
    let timely = tree.mine(&plan(fork, TIME_S + 130 * 150 + 170)).unwrap();
    assert_eq!(check(&tree, &PKT_SIM, &late), Ok(()));
    assert_eq!(check(&tree, &PKT_SIM, &timely), Ok(()));
    let work = |id: &BlockHash| tree.get(id).unwrap().work.clone();
    assert_eq!(work(&late) - work(&fork), BigUint::from(2u32));
    assert_eq!(work(&timely) - work(&fork), BigUint::from(4u32));
}

/// Today's versions: fresh announcements, in sets of several sizes.
#[test]
fn sets_of_many_sizes_are_proven() {
    let mut tree = Tree::new(&PKT_SIM);
    let genesis = tree.genesis();
    let announcements = tree.announce(&genesis, EASIEST, 300);
    for count in (1..20).chain([255, 256, 257, 300]) {
        let id = tree.mine_with(&plan(genesis, TIME_S), &announcements[..count], 2).unwrap();
        assert_eq!(check(&tree, &PKT_SIM, &id), Ok(()), "{count}");
    }
    let one = tree.mine(&plan(genesis, TIME_S)).unwrap();
    let two = tree.mine(&plan(one, TIME_S + 60)).unwrap();
    let three = tree.mine_with(&plan(two, TIME_S + 120), &announcements[..1], 2).unwrap();
    assert_eq!(check(&tree, &PKT_SIM, &three), Ok(()));
    assert_eq!(tree.mine_with(&plan(three, TIME_S + 180), &announcements[..1], 2), None, "too old");
    assert_eq!(tree.mine_with(&plan(one, TIME_S + 60), &[], 2), None);
}

/// A block of the public test network's difficulty: some hundred tries.
#[test]
fn a_block_of_the_public_difficulty_is_valid() {
    let mut tree = Tree::new(&PKT_LAB);
    let genesis = tree.genesis();
    let announcements = tree.announce(&genesis, EASIEST, 600);
    let id = tree.mine_with(&plan(genesis, TIME_S), &announcements, 2).unwrap();
    assert_eq!(check(&tree, &PKT_LAB, &id), Ok(()));
}
