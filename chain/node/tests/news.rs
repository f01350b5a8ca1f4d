//! News by websocket: what comes, what does not, and what a lost or hostile connection costs.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use chain_node::{Backoff, Endpoint, Filter, Limits, News, Watch};
use common::{LONG, credentials, endpoint, long, short, start};
use primitives::address::Written;
use primitives::bitcoin::BlockHash;
use simnode::{Options, SimNode, SocketManner};
use std::time::Duration;
use tokio::time::timeout;

/// Nobody is to be waited for.
fn quick() -> Backoff {
    Backoff::new(Duration::from_millis(5), Duration::from_millis(20), 1)
}

fn watch(node: &SimNode, limits: Limits, addresses: Vec<String>) -> Watch {
    let endpoint = endpoint(&node.url(), node.certificate());
    Watch::start(endpoint, limits, Filter { addresses }, quick())
}

async fn next(watch: &mut Watch) -> News {
    timeout(LONG, watch.next()).await.unwrap().unwrap()
}

fn connected(ids: &[BlockHash], first: u32) -> Vec<News> {
    ids.iter().zip(first..).map(|(id, height)| News::Connected { id: *id, height }).collect()
}

async fn blocks_and_payments(options: Options) {
    let node = start(options).await;
    node.mine(101);
    let address = node.address(false);
    let mut watch = watch(&node, long(), vec![address.clone()]);
    assert_eq!(next(&mut watch).await, News::Attached);
    let paid = node.pay(&Written::parse(&address).unwrap().address.script(), 1 << 30).unwrap();
    assert_eq!(next(&mut watch).await, News::Waiting(paid.clone()));
    let mined = node.mine(2);
    let [first, second] = connected(&mined, 102).try_into().unwrap();
    assert_eq!(next(&mut watch).await, first);
    let News::Filtered { height: 102, header, transactions } = next(&mut watch).await else {
        panic!()
    };
    assert_eq!((header.block_hash(), transactions), (mined[0], vec![paid]));
    assert_eq!(next(&mut watch).await, second);
    // A reorganisation: down, then up.
    let new = node.reorganise(2, 3);
    for (id, height) in [(mined[1], 103), (mined[0], 102)] {
        assert_eq!(next(&mut watch).await, News::Disconnected { id, height });
    }
    for news in connected(&new, 102) {
        assert_eq!(next(&mut watch).await, news);
    }
}

#[tokio::test]
async fn blocks_and_payments_over_http() {
    blocks_and_payments(Options::default()).await;
}

#[tokio::test]
async fn blocks_and_payments_over_tls() {
    blocks_and_payments(Options { is_tls: true, ..Options::default() }).await;
}

#[tokio::test]
async fn a_lost_connection_is_told_and_made_again() {
    let node = start(Options::default()).await;
    let mut watch = watch(&node, long(), Vec::new());
    for height in 1..=2 {
        assert_eq!(next(&mut watch).await, News::Attached);
        let mined = node.mine(1);
        assert_eq!(next(&mut watch).await, News::Connected { id: mined[0], height });
        node.hang_up();
        assert_eq!(next(&mut watch).await, News::Lost);
        // Nobody tells of this one: there is no replay.
        node.forget_waiting();
    }
}

#[tokio::test]
async fn hostile_sockets_are_left() {
    let node = start(Options::default()).await;
    for manner in [SocketManner::HangUp, SocketManner::Junk, SocketManner::Huge] {
        node.behave_on_socket(manner);
        let mut watch = watch(&node, long(), Vec::new());
        if manner == SocketManner::Huge {
            // Fails before it is attached, which is no news.
            assert!(timeout(short().call, watch.next()).await.is_err());
        } else {
            for _ in 0..3 {
                assert_eq!(next(&mut watch).await, News::Attached, "{manner:?}");
                assert_eq!(next(&mut watch).await, News::Lost, "{manner:?}");
            }
        }
        node.behave_on_socket(SocketManner::Good);
        // What was told before the change may still wait. Attached without a loss after it is the good one.
        let mined = loop {
            while next(&mut watch).await != News::Attached {}
            let mined = node.mine(1)[0];
            let news = next(&mut watch).await;
            if news != News::Lost {
                break (mined, news);
            }
        };
        assert!(
            matches!(mined, (id, News::Connected { id: told, .. }) if told == id),
            "{manner:?}: {mined:?}"
        );
    }
}

#[tokio::test]
async fn a_flood_waits_for_who_reads_it() {
    let node = start(Options::default()).await;
    node.behave_on_socket(SocketManner::Flood);
    let mut watch = watch(&node, long(), Vec::new());
    assert_eq!(next(&mut watch).await, News::Attached);
    for height in 0..10_000 {
        let news = next(&mut watch).await;
        assert!(matches!(news, News::Connected { height: h, .. } if h == height), "{news:?}");
    }
}

#[tokio::test]
async fn silence_is_not_waited_for_for_ever() {
    let node = start(Options::default()).await;
    // A good node answers pings, so that its silence is none.
    let limits = Limits { silence: Duration::from_secs(1), ..long() };
    let mut watched = watch(&node, limits, Vec::new());
    assert_eq!(next(&mut watched).await, News::Attached);
    let quiet = timeout(limits.silence * 3, watched.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    drop(watched);
    // A mute one is never attached.
    node.behave_on_socket(SocketManner::Mute);
    let mut watched = watch(&node, short(), Vec::new());
    assert!(timeout(short().call * 3, watched.next()).await.is_err());
    node.behave_on_socket(SocketManner::Good);
    assert_eq!(next(&mut watched).await, News::Attached);
}

#[tokio::test]
async fn a_wrong_password_never_attaches() {
    let node = start(Options::default()).await;
    let wrong = Endpoint::new(&node.url(), None, &credentials("hunter2")).unwrap();
    let mut watch = Watch::start(wrong, long(), Filter::default(), quick());
    assert!(timeout(short().call * 3, watch.next()).await.is_err());
}
