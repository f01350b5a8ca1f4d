//! Against a real full node, where one is given; else nothing is run, and it says so.
//!
//! `SWITCHYARD_PKTD=https://127.0.0.1:64513`, `SWITCHYARD_PKTD_CERT` (the path of its `rpc.cert`; none for `http`),
//! `SWITCHYARD_PKTD_LOGIN=user:password`, of an administrator: a pktd on its test network without any block, with
//! `--txindex`, whose first two height gates are 0 (PKT-CHAIN.md §1.2), so that the produced chain is valid there.
//! The tree of 2021 also needs a guard where it looks for a checkpoint: the test network has none.
//! `SWITCHYARD_PKTD_BLOCKS`: how many of its blocks.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says what it did"
)]

mod common;

use chain_node::attach::Link;
use chain_node::rpc::Call;
use chain_node::{
    Backoff, Credentials, Endpoint, Filter, News, Node as _, Pktd, Rpc, Trust, Watch,
};
use common::{LONG, long};
use data_encoding::HEXLOWER;
use follow::event::Event;
use follow::{Anchor, Follow, Input, NodeId, Params, Said};
use primitives::bitcoin::BlockHash;
use primitives::block::parse_header;
use primitives::network::PKT_LAB;
use primitives::vectors::read;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};
use tokio::sync::mpsc;
use tokio::time::timeout;

fn endpoint() -> Option<Endpoint> {
    let url = env::var("SWITCHYARD_PKTD").ok()?;
    let pem = env::var("SWITCHYARD_PKTD_CERT").ok().map(|path| fs::read(path).unwrap());
    let trust = pem.map(|pem| Trust::from_pem(&pem).unwrap());
    let login = Credentials::from_cookie(&env::var("SWITCHYARD_PKTD_LOGIN").unwrap()).unwrap();
    Some(Endpoint::new(&url, trust, &login).unwrap())
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// The produced chain's blocks: each with its length before it.
fn blocks() -> Vec<Vec<u8>> {
    let (_path, bytes) = read("chain_full.dat");
    let mut rest = bytes.as_slice();
    let mut blocks = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (block, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        blocks.push(block.to_vec());
        rest = after;
    }
    blocks
}

/// Gives the node a block that was produced for its rules.
async fn submit(client: &Pktd, block: &[u8]) -> BlockHash {
    let call = Call::new("submitblock", [json!(HEXLOWER.encode(block))]);
    let verdict: Value = client.rpc().call(&call).await.unwrap();
    assert!(verdict.is_null(), "{verdict}");
    parse_header(&block[..80]).unwrap().block_hash()
}

/// Follows the node until something is so.
struct Following {
    follow: Follow,
    link: Link,
    said: mpsc::Receiver<(NodeId, Said)>,
    events: Vec<Event>,
}

impl Following {
    fn new(client: Pktd, watch: Watch) -> Self {
        let (sender, said) = mpsc::channel(16);
        let link = Link::attach(NodeId(0), client, Some(watch), sender);
        let follow = Follow::new(&Params::new(PKT_LAB), Anchor::genesis(&PKT_LAB));
        Self { follow, link, said, events: Vec::new() }
    }

    fn step(&mut self, input: Input) {
        let output = self.follow.step(now_ms(), input).unwrap();
        output.asks.into_iter().for_each(|(_, ask)| assert!(self.link.ask(ask)));
        self.events.extend(output.events);
    }

    async fn until_at(&mut self, tip: BlockHash) {
        while self.follow.tip().1 != tip {
            let (id, said) = timeout(LONG, self.said.recv()).await.unwrap().unwrap();
            self.step(Input::Said(id, said));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_node_is_followed() {
    let Some(endpoint) = endpoint() else {
        println!("skipped: SWITCHYARD_PKTD names no node");
        return;
    };
    let new_client = || Pktd::new("real".to_owned(), Rpc::new(endpoint.clone(), long()));
    let client = new_client();
    let status = client.status().await.unwrap();
    assert_eq!((status.magic, status.blocks), (PKT_LAB.magic, 0), "a fresh node is needed");
    let count = env::var("SWITCHYARD_PKTD_BLOCKS").map_or(300, |count| count.parse().unwrap());
    let blocks: Vec<_> = blocks().into_iter().take(count).collect();
    let (last, others) = blocks.split_last().unwrap();
    let mut tip = PKT_LAB.genesis().block_hash();
    for block in others {
        tip = submit(&client, block).await;
    }
    println!("{} blocks taken, {:?}", others.len(), client.steward().await.unwrap());

    let start = || Watch::start(endpoint.clone(), long(), Filter::default(), Backoff::usual(1));
    let mut following = Following::new(new_client(), start());
    following.step(Input::Attach(NodeId(0)));
    following.until_at(tip).await;
    println!("followed to height {}, every proof verified", following.follow.tip().0);
    let mut watch = start();
    assert_eq!(timeout(LONG, watch.next()).await.unwrap(), Some(News::Attached));
    let id = submit(&client, last).await;
    let news = timeout(LONG, watch.next()).await.unwrap();
    println!("{news:?}");
    assert!(matches!(news, Some(News::Connected { id: told, .. }) if told == id));
    following.until_at(id).await;
    assert!(following.events.iter().any(|event| matches!(event, Event::Clock(_))));

    // What is in a block, what nobody has, and what spends nothing.
    let raw = client.block(id).await.unwrap().unwrap();
    let coinbase = raw.block.transactions[0].clone();
    let txid = coinbase.compute_txid();
    assert_eq!(client.transactions(&[txid]).await.unwrap(), [Some(coinbase.clone())]);
    assert!(client.mempool().await.unwrap().is_empty());
    println!("a coinbase sent: {:?}", client.broadcast(&coinbase).await);
    let mut unfounded = coinbase;
    unfounded.input[0].previous_output.vout = 0;
    println!("a payment from nowhere sent: {:?}", client.broadcast(&unfounded).await);
    assert_eq!(client.block(no_block()).await.unwrap().map(|raw| raw.bytes), None);
    assert_eq!(client.id_at(1_000_000).await.unwrap(), None);
    assert_eq!(client.tip().await.unwrap().id, id);
}

fn no_block() -> BlockHash {
    "11".repeat(32).parse().unwrap()
}
