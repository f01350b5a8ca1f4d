//! The produced chain from its genesis through the state machine, and corrupted blocks.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use chain_follow::{
    Anchor, Ask, Follow, Input, Key, Lie, NodeId, Params, Record, Said, Since, Standing,
};
use num_bigint::BigUint;
use primitives::bitcoin::BlockHash;
use primitives::bitcoin::block::Header;
use primitives::block::parse_header;
use primitives::fault::Fault;
use primitives::network::{Network, PKT_LAB, PKT_TEST};
use primitives::vectors::{read, report};
use std::collections::BTreeMap;

const NODE: NodeId = NodeId(7);
/// After the last block.
const NOW: u64 = 1_795_400_000_000;

/// A node with one chain, and blocks that it gives in the stead of others.
struct Node {
    headers: Vec<Header>,
    blocks: BTreeMap<BlockHash, Vec<u8>>,
}

impl Node {
    fn new(network: &Network, mut bytes: &[u8], most: usize) -> Self {
        let mut node = Self { headers: vec![network.genesis()], blocks: BTreeMap::new() };
        while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
            let (block, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
            if node.headers.len() > most {
                break;
            }
            let header = parse_header(&block[..80]).unwrap();
            node.headers.push(header);
            node.blocks.insert(header.block_hash(), block.to_vec());
            bytes = rest;
        }
        node
    }

    fn answer(&self, ask: &Ask) -> Said {
        match ask {
            Ask::Tip => Said::Tip(self.headers.last().unwrap().block_hash()),
            Ask::Headers(locator) => {
                let known = |header: &Header| locator.contains(&header.block_hash());
                let last = self.headers.iter().rposition(known).unwrap_or(0);
                Said::Headers(self.headers[last + 1..].iter().take(2000).copied().collect())
            }
            Ask::Block(id) => {
                self.blocks.get(id).map_or(Said::NoBlock, |block| Said::Block(block.clone()))
            }
        }
    }
}

/// Answers until nothing is asked any more; elections by height, and what the node is called in the end.
fn sync(follow: &mut Follow, node: &Node) -> (Vec<(u32, String)>, Standing) {
    let mut elections = Vec::new();
    let mut steward = follow.steward().state.steward;
    let mut asks = follow.step(NOW, Input::Attach(NODE)).unwrap().asks;
    while let Some((id, ask)) = asks.pop() {
        let output = follow.step(NOW, Input::Said(id, node.answer(&ask))).unwrap();
        asks.extend(output.asks);
        let now = follow.steward().state.steward;
        if now != steward {
            elections.push((follow.tip().0, format!("{now:x}")));
            steward = now;
        }
    }
    (elections, follow.nodes()[&NODE].standing)
}

#[test]
fn vectors_chain_syncs_from_genesis_with_its_elections() {
    let (path, bytes) = read("chain_full.dat");
    let node = Node::new(&PKT_LAB, &bytes, usize::MAX);
    let mut follow = Follow::new(&Params::new(PKT_LAB), Anchor::genesis(&PKT_LAB));
    let (elections, standing) = sync(&mut follow, &node);
    assert_eq!(standing, Standing::Good);
    let tip = node.headers.last().unwrap().block_hash();
    assert_eq!(follow.tip(), (u32::try_from(node.blocks.len()).unwrap(), tip));
    assert_eq!(follow.steward().since, Since::Genesis);
    // The repository's own copy has only the beginning.
    if follow.tip().0 == 2161 {
        assert_eq!(format!("{:x}", follow.work()), "872000");
        assert_eq!(elections.iter().map(|(height, _)| *height).collect::<Vec<_>>(), [1101]);
    }
    let mining = follow.mining();
    assert!(mining.tries.bits() > 0 && mining.seconds > 0);
    assert_eq!(mining.header_work, BigUint::from(4096 * 120.min(follow.tip().0 + 1)));
    report(&path, node.blocks.len());
}

/// What is wrong, where, in a chain of 40 blocks whose 20th is bent.
fn lie(network: Network, bend: impl Fn(&mut Vec<u8>), is_header: bool) -> (u32, Standing) {
    let (_, bytes) = read("chain_full.dat");
    let mut node = Node::new(&network, &bytes, 40);
    let id = node.headers[20].block_hash();
    let mut block = node.blocks.remove(&id).unwrap();
    bend(&mut block);
    let header = parse_header(&block[..80]).unwrap();
    if is_header {
        node.headers.truncate(20);
        node.headers.push(header);
    }
    node.blocks.insert(if is_header { header.block_hash() } else { id }, block);
    let mut follow = Follow::new(&Params::new(network), Anchor::genesis(&network));
    let (_, standing) = sync(&mut follow, &node);
    (follow.tip().0, standing)
}

#[test]
fn vectors_bent_blocks_are_refused_with_their_reason() {
    let block = |fault| (19, Standing::Lying(Lie::Block { height: 20, fault }));
    let header = |fault| (0, Standing::Lying(Lie::Header { height: 20, fault }));
    // Bytes of the header: version 0, previous id 4, merkle root 36, time 68, bits 72, nonce 76.
    assert_eq!(lie(PKT_LAB, |bytes| bytes[72] ^= 1, true), header(Fault::Bits));
    assert_eq!(
        lie(PKT_LAB, |bytes| bytes[0..4].copy_from_slice(&[3, 0, 0, 0]), true),
        header(Fault::HeaderVersion)
    );
    assert_eq!(lie(PKT_LAB, |bytes| bytes[68..72].fill(0), true), header(Fault::TimeTooOld));
    assert_eq!(lie(PKT_LAB, |bytes| bytes[40] ^= 1, true), block(Fault::MerkleRoot));
    assert_eq!(lie(PKT_LAB, |bytes| bytes[80 + 4 + 4 + 500] ^= 1, false).0, 19);
    assert_eq!(lie(PKT_LAB, |bytes| bytes[76] ^= 1, false), (19, Standing::Lying(Lie::OtherBlock)));
    assert_eq!(lie(PKT_LAB, |bytes| bytes[84] ^= 1, false), block(Fault::InsufficientWork));
    // The coinbase pays the steward in its first output.
    let unpaid = lie(PKT_LAB, |bytes| *bytes.last_mut().unwrap() ^= 1, false);
    assert_eq!(unpaid, block(Fault::MerkleRoot));
    let (_, standing) = lie(PKT_TEST, |_| (), false);
    assert_eq!(standing, Standing::Lying(Lie::Block { height: 1, fault: Fault::ProofVersion }));
}

/// From the middle of the chain, on believed headers.
#[test]
fn vectors_an_anchor_in_the_middle_is_enough() {
    let (_, bytes) = read("chain_full.dat");
    let node = Node::new(&PKT_LAB, &bytes, usize::MAX);
    if node.headers.len() < 2162 {
        return;
    }
    let told = Follow::new(&Params::new(PKT_LAB), Anchor::genesis(&PKT_LAB)).steward().state;
    let believed = node.headers[..1500].to_vec();
    let anchor = Anchor::at(&PKT_LAB, 0, believed, told).unwrap();
    let mut follow = Follow::new(&Params::new(PKT_LAB), anchor);
    let (_, standing) = sync(&mut follow, &node);
    assert_eq!(standing, Standing::Good);
    assert_eq!(follow.tip().0, 2161);
    assert_eq!(follow.steward().since, Since::Height(1499));
    assert_eq!(format!("{:x}", follow.work()), "872000");
    let kept = follow.records();
    assert!(matches!(kept[&Key::Header(0)], Record::Header(_)));
}
