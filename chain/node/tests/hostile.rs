//! Nodes that lie: the error names what was false, and another node is asked.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use chain_node::error::Lie as Said;
use chain_node::node::{NoAnswer, Nodes};
use chain_node::{Node as _, NodeError, Pktd, Standing};
use common::{client, long, short, start};
use primitives::fault::Fault;
use primitives::network::PKT_SIM;
use primitives::packetcrypt::Verifier;
use simnode::{Lie, Manner, Options, SimNetwork, SimNode};
use tokio::time::Instant;

#[tokio::test]
async fn a_lie_is_named() {
    let node = start(Options::default()).await;
    node.mine(5);
    let client = client(&node, long());
    let (tip, genesis) = (node.tip(), PKT_SIM.genesis().block_hash());
    let coinbase = client.block(tip).await.unwrap().unwrap().block.transactions[0].compute_txid();
    assert!(client.transactions(&[coinbase]).await.unwrap()[0].is_some());
    let lie_of = |error: NodeError| {
        let NodeError::Lie(lie) = error else { panic!("{error:?}") };
        lie
    };
    type Is = fn(&Said) -> bool;
    let lies: [(Lie, Is); 3] = [
        (Lie::UnlinkedHeaders, |said| matches!(said, Said::BrokenChain(1))),
        (Lie::ForeignHeaders, |said| matches!(said, Said::BrokenChain(1))),
        (Lie::ManyHeaders, |said| matches!(said, Said::TooManyHeaders(2001))),
    ];
    for (lie, is) in lies {
        node.lie(lie);
        let said = lie_of(client.headers(&[genesis]).await.unwrap_err());
        assert!(is(&said), "{lie:?}: {said}");
    }
    node.lie(Lie::OtherBlock);
    let said = lie_of(client.block(tip).await.unwrap_err());
    assert!(matches!(said, Said::OtherBlock { asked, .. } if asked == tip), "{said}");
    node.lie(Lie::NoBlock);
    let said = lie_of(client.block(tip).await.unwrap_err());
    assert!(matches!(said, Said::NoBlock { fault: Fault::Malformed, .. }), "{said}");
    node.lie(Lie::OtherTransaction);
    let said = lie_of(client.transactions(&[coinbase]).await.unwrap_err());
    assert!(matches!(said, Said::OtherTransaction { asked, .. } if asked == coinbase), "{said}");
    node.lie(Lie::Withheld);
    assert!(client.block(tip).await.unwrap().is_none());
    for (lie, standing) in [
        (Lie::WrongTypes, Standing::Broken),
        (Lie::OtherId, Standing::Broken),
        (Lie::NoJson, Standing::Broken),
    ] {
        node.lie(lie);
        for error in [client.tip().await.unwrap_err(), client.block(tip).await.unwrap_err()] {
            assert_eq!(error.standing(), standing, "{lie:?}: {error}");
        }
        assert!(client.headers(&[genesis]).await.is_err(), "{lie:?}");
        assert!(client.steward().await.is_err(), "{lie:?}");
        assert!(client.transactions(&[coinbase]).await.is_err(), "{lie:?}");
    }
}

/// What the client cannot judge, whoever verifies does.
#[tokio::test]
async fn what_only_verification_finds_comes_through() {
    let node = start(Options::default()).await;
    node.mine(5);
    let client = client(&node, long());
    let headers = client.headers(&[PKT_SIM.genesis().block_hash()]).await.unwrap();
    let id_at = |height: u32| {
        let at = height
            .checked_sub(1)
            .map_or_else(|| PKT_SIM.genesis(), |place| headers[place as usize]);
        at.block_hash()
    };
    node.lie(Lie::BadProof);
    let block = client.block(node.tip()).await.unwrap().unwrap().block;
    let parents = block.parent_heights().map(id_at);
    let verdict = Verifier::detect().block(&block, 5, &parents, None, &PKT_SIM.gates);
    assert!(verdict.is_err(), "{verdict:?}");
    node.lie(Lie::BadTransactions);
    let block = client.block(node.tip()).await.unwrap().unwrap().block;
    assert_eq!(block.check_transactions(5), Err(Fault::MerkleRoot));
    node.lie(Lie::HighTip);
    assert_eq!(client.tip().await.unwrap().height, 1005);
}

#[tokio::test]
async fn the_next_node_is_asked() {
    let network = SimNetwork::new(&PKT_SIM);
    let mut sims = Vec::new();
    for name in ["a", "b", "c"] {
        let options = Options { name: name.to_owned(), ..Options::default() };
        sims.push(SimNode::start(&network, options).await.unwrap());
    }
    sims[0].mine(3);
    sims.iter().for_each(|sim| sim.switch_to(&sims[0].tip()));
    let limits = [short(), long(), long()];
    let clients = sims.iter().zip(limits).map(|(sim, limits)| client(sim, limits)).collect();
    let mut nodes = Nodes::<Pktd>::new(clients, 7);
    let tip = sims[0].tip();
    let block = async |node: &Pktd| node.block(tip).await;

    assert_eq!(nodes.ask(block).await.unwrap().0, 0);
    sims[0].behave(Manner::Silent);
    sims[1].lie(Lie::OtherBlock);
    let (place, found) = nodes.ask(block).await.unwrap();
    assert_eq!((place, found.unwrap().block.header.block_hash()), (2, tip));
    let standings: Vec<_> = nodes.all().map(|(_, standing)| standing).collect();
    assert_eq!(standings, [Standing::Vanished, Standing::Lying, Standing::Answers]);
    // Those that failed are left alone, at first for half a second at least, then longer each time.
    let now = Instant::now();
    assert_eq!(nodes.due(now + long().call), [0, 1, 2]);
    nodes.report(2, Standing::Broken, now);
    assert!(!nodes.due(now).contains(&2));
    sims[2].behave(Manner::Closing);
    for _ in 0..20 {
        (0..3).for_each(|place| nodes.report(place, Standing::Vanished, Instant::now()));
    }
    assert_eq!(nodes.due(now + std::time::Duration::from_secs(100)), [0usize; 0]);
    let error = nodes.ask(block).await.unwrap_err();
    assert!(matches!(error, NoAnswer::NoneDue(Some(_))), "{error}");
    // One that is found to be good again is asked at once.
    sims[0].behave(Manner::Good);
    nodes.report(0, Standing::Answers, now);
    assert_eq!(nodes.ask(block).await.unwrap().0, 0);
    sims[0].behave(Manner::Garbage);
    let error = nodes.ask(block).await.unwrap_err();
    assert!(matches!(error, NoAnswer::Failed { error: NodeError::Http(_), .. }), "{error}");
}
