//! The produced chain from its genesis: headers, proofs, transactions, steward and elections.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use bitcoin::block::Header;
use bitcoin::script::ScriptBuf;
use chain_primitives::block::{Block, parse_header, parse_transactions};
use chain_primitives::commitment::Commitment;
use chain_primitives::fault::Fault;
use chain_primitives::network::{PKT_LAB, PKT_TEST};
use chain_primitives::packetcrypt::Verifier;
use chain_primitives::steward::{State, Tally, check_coinbase};
use chain_primitives::unspent::Unspent;
use chain_primitives::vectors::{hex, read, report};
use chain_primitives::{header, reward};
use num_bigint::BigUint;
use serde_json::Value;

fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (block, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        bytes = rest;
        Some(block)
    })
}

#[test]
fn vectors_chain() {
    let (path, json) = read("chain.json");
    let (blocks_path, bytes) = read("chain_full.dat");
    let file: Value = serde_json::from_slice(&json).unwrap();
    let rows = file["rows"].as_array().unwrap();
    let mut chain = Chain::new();
    assert_eq!(chain.headers[0].block_hash().to_string(), rows[0][1]);
    let mut undos = Vec::new();
    for (row, bytes) in rows.iter().skip(1).zip(blocks(&bytes)) {
        let height = chain.height() + 1;
        assert_eq!(Some(u64::from(height)), row[0].as_u64());
        let block = Block::parse(bytes).unwrap();
        assert_eq!(block.to_bytes(), bytes, "{height}");
        assert_eq!(block.header, parse_header(&hex(row[2].as_str().unwrap())).unwrap());
        assert_eq!(block.transactions, parse_transactions(&hex(row[3].as_str().unwrap())).unwrap());
        if let Some(full) = file["full_blocks"][height.to_string()].as_str() {
            assert_eq!(bytes, hex(full));
        }
        undos.push(chain.connect(&block).unwrap_or_else(|fault| panic!("block {height}: {fault}")));
        assert_eq!(chain.headers.last().unwrap().block_hash().to_string(), row[1]);
        if let Some(snapshot) = file["snapshots"].get(height.to_string()) {
            let steward = &snapshot["steward"];
            let expected = State {
                steward: ScriptBuf::from_bytes(hex(steward["script"].as_str().unwrap())),
                disapproval: steward["votesagainst"].as_i64().unwrap().into(),
                is_disputed: false,
            };
            assert_eq!(*chain.tally.state(), expected, "{height}");
            assert_eq!(
                Some(reward::total_before(height).units()),
                steward["totalpossible"].as_u64()
            );
            assert_eq!(snapshot["txs"].as_u64(), Some(block.transactions.len() as u64));
        }
    }
    assert_eq!(Some(u64::from(chain.height())), file["tip"].as_u64());
    // The repository's own copy has only the beginning.
    if chain.height() == 2161 {
        assert_eq!(chain.work, BigUint::from(0x0087_2000_u32));
        assert_ne!(chain.tally.state(), Tally::genesis().state(), "there was an election");
    }
    report(&path, chain.headers.len());
    report(&blocks_path, chain.headers.len() - 1);

    // And all the way back.
    for undo in undos.into_iter().rev() {
        chain.tally.disconnect(undo);
    }
    assert_eq!(chain.tally, Tally::genesis());
}

/// A chain that is verified block by block, with the outputs that are unspent: obvious, and all in memory.
struct Chain {
    headers: Vec<Header>,
    work: BigUint,
    tally: Tally,
    unspent: Unspent,
    verifier: Verifier,
}

impl Chain {
    fn new() -> Self {
        let genesis = PKT_TEST.genesis();
        Self {
            work: header::work(&genesis),
            headers: vec![genesis],
            tally: Tally::genesis(),
            unspent: Unspent::default(),
            verifier: Verifier::detect(),
        }
    }

    fn height(&self) -> u32 {
        u32::try_from(self.headers.len()).unwrap() - 1
    }

    fn connect(&mut self, block: &Block) -> Result<chain_primitives::steward::Undo, Fault> {
        let height = self.height() + 1;
        let at = |height: u32| self.headers.get(height as usize).copied();
        header::check(&block.header, height, at, &PKT_LAB)?;
        block.check_transactions(height)?;
        let parents = block.parent_heights().map(|height| at(height).unwrap().block_hash());
        let verdict = self.verifier.block(block, height, &parents, None, &PKT_LAB.gates)?;
        assert_eq!(Commitment::find(&block.transactions[0]), Some(verdict.commitment));
        let fees = self.unspent.connect(block)?;
        check_coinbase(&block.transactions[0], height, &self.tally.state().steward, Some(fees))?;
        self.work += header::work(&block.header);
        self.headers.push(block.header);
        Ok(self.tally.connect(height, &block.transactions))
    }
}

/// Whatever is changed in a block of the chain, it is no longer a block of the chain.
#[test]
fn a_bent_block_is_refused() {
    let (_, bytes) = read("chain_full.dat");
    let mut chain = Chain::new();
    for bytes in blocks(&bytes).take(6) {
        chain.connect(&Block::parse(bytes).unwrap()).unwrap();
    }
    let seventh = blocks(&bytes).nth(6).unwrap();
    let mut taken = Vec::new();
    for place in (0..seventh.len()).step_by(37).chain(seventh.len() - 30..seventh.len()) {
        let mut bent = seventh.to_vec();
        bent[place] ^= 0x10;
        // The outputs of a block that was refused later than its money was moved are of no account here: it has one
        // coinbase.
        if Block::parse(&bent).and_then(|block| chain.connect(&block)).is_ok() {
            taken.push(place);
        }
    }
    assert_eq!(taken, Vec::<usize>::new());
    chain.connect(&Block::parse(seventh).unwrap()).unwrap();
}
