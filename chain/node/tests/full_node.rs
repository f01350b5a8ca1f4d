//! Every call of the clients of node and wallet, against the simulated ones on real sockets.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use chain_node::answer::{Broadcast, RawBlock};
use chain_node::error::ConfigError;
use chain_node::wallet::{Unlock, Votes};
use chain_node::{Endpoint, Node as _, NodeError, Pktd, Rpc, Secret, Trust};
use common::{client, credentials, endpoint, long, start, wallet};
use primitives::address::Written;
use primitives::amount::Amount;
use primitives::bitcoin::BlockHash;
use primitives::bitcoin::hashes::Hash as _;
use primitives::network::PKT_SIM;
use primitives::packetcrypt::Verifier;
use primitives::vote::Vote;
use primitives::{header, reward};
use simnode::{Options, SimNode};

fn units(units: u64) -> Amount {
    Amount::from_units(units).unwrap()
}

fn script(address: &str) -> bitcoin::ScriptBuf {
    Written::parse(address).unwrap().address.script()
}

/// Everything that follow needs, verified as it does.
async fn sync(node: &Pktd) -> Vec<BlockHash> {
    let mut verifier = Verifier::detect();
    let mut chain = vec![PKT_SIM.genesis()];
    loop {
        let locator: Vec<_> = [chain.last(), chain.first()].map(|h| h.unwrap().block_hash()).into();
        let new = node.headers(&locator).await.unwrap();
        if new.is_empty() {
            return chain.iter().map(|header| header.block_hash()).collect();
        }
        for found in new {
            let height = u32::try_from(chain.len()).unwrap();
            let at = |height: u32| chain.get(height as usize).copied();
            header::check(&found, height, at, &PKT_SIM).unwrap();
            let RawBlock { block, .. } = node.block(found.block_hash()).await.unwrap().unwrap();
            block.check_transactions(height).unwrap();
            let parents = block.parent_heights().map(|height| chain[height as usize].block_hash());
            verifier.block(&block, height, &parents, None, &PKT_SIM.gates).unwrap();
            chain.push(found);
        }
    }
}

async fn every_call(options: Options) {
    let node = start(options).await;
    let client = client(&node, long());
    node.mine(101);
    let ids = sync(&client).await;
    let tip = client.tip().await.unwrap();
    assert_eq!((tip.height, tip.id), (101, node.tip()));
    assert_eq!(ids.last(), Some(&tip.id));
    assert_eq!(client.id_at(50).await.unwrap(), Some(ids[50]));
    assert_eq!(client.id_at(102).await.unwrap(), None);
    assert!(client.block(BlockHash::from_byte_array([1; 32])).await.unwrap().is_none());
    let status = client.status().await.unwrap();
    assert_eq!((status.magic, status.blocks, status.peers), (PKT_SIM.magic, 101, 0));
    let steward = client.steward().await.unwrap();
    assert_eq!((steward.disapproval, steward.total), (0, reward::total_before(101)));
    assert!(client.network_rate(120).await.unwrap() > 0.0);
    pay(&node, &client).await;
}

async fn pay(node: &SimNode, client: &Pktd) {
    let to = script(&node.address(false));
    let paid = node.pay(&to, 5 << 30).unwrap();
    let txid = paid.compute_txid();
    assert_eq!(client.mempool().await.unwrap(), [txid]);
    let unknown = node.tip().to_string().parse().unwrap();
    let found = client.transactions(&[unknown, txid]).await.unwrap();
    assert_eq!(found, [None, Some(paid.clone())]);
    assert_eq!(client.broadcast(&paid).await.unwrap(), Broadcast::Known);
    node.forget_waiting();
    assert_eq!(client.broadcast(&paid).await.unwrap(), Broadcast::Taken);
    let mined = node.mine(1)[0];
    assert_eq!(client.broadcast(&paid).await.unwrap(), Broadcast::InChain);
    let block = client.block(mined).await.unwrap().unwrap().block;
    assert_eq!(block.transactions[1], paid);
    // Spent twice.
    let mut again = paid;
    again.output.truncate(1);
    let Broadcast::Rejected(refusal) = client.broadcast(&again).await.unwrap() else { panic!() };
    assert_eq!(refusal.code, -25);
}

#[tokio::test]
async fn every_call_over_http() {
    every_call(Options::default()).await;
}

#[tokio::test]
async fn every_call_over_tls() {
    every_call(Options { is_tls: true, ..Options::default() }).await;
}

#[tokio::test]
async fn a_reorganisation_is_seen_by_asking() {
    let node = start(Options::default()).await;
    let client = client(&node, long());
    node.mine(10);
    let old = sync(&client).await;
    let new = node.reorganise(3, 5);
    // From the old tip downwards to what is still there.
    let locator: Vec<_> = old.iter().rev().copied().collect();
    let headers = client.headers(&locator).await.unwrap();
    assert_eq!(headers.iter().map(|h| h.block_hash()).collect::<Vec<_>>(), new);
    assert_eq!(headers[0].prev_blockhash, old[7]);
    assert!(client.block(old[10]).await.unwrap().is_some());
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let options = Options { is_tls: true, ..Options::default() };
    let (node, other) = (start(options.clone()).await, start(options).await);
    node.mine(1);
    let ask = |certificate: Option<&str>| {
        let rpc = Rpc::new(endpoint(&node.url(), certificate), long());
        async move { Pktd::new("n".to_owned(), rpc).tip().await }
    };
    assert!(ask(node.certificate()).await.is_ok());
    let both = [other.certificate().unwrap(), node.certificate().unwrap()].concat();
    assert!(ask(Some(&both)).await.is_ok());
    let error = ask(other.certificate()).await.unwrap_err();
    assert!(matches!(error, NodeError::Tls { .. }), "{error}");
    // And nobody speaks TLS there.
    let plain = start(Options::default()).await;
    let url = plain.url().replace("http:", "https:");
    let rpc = Rpc::new(endpoint(&url, node.certificate()), long());
    let error = Pktd::new("n".to_owned(), rpc).tip().await.unwrap_err();
    assert!(matches!(error, NodeError::Tls { .. }), "{error}");
    for pem in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        assert!(matches!(Trust::from_pem(pem.as_bytes()), Err(ConfigError::Certificate(_))));
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let node = start(Options::default()).await;
    let wrong = Endpoint::new(&node.url(), None, &credentials("hunter2")).unwrap();
    let client = Pktd::new("n".to_owned(), Rpc::new(wrong, long()));
    let error = client.tip().await.unwrap_err();
    assert!(matches!(error, NodeError::Unauthorized), "{error}");
    assert!(!format!("{error} {error:?} {client:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_wallet_pays_and_votes() {
    let node =
        start(Options { passphrase: Some("open sesame".to_owned()), ..Options::default() }).await;
    let (client, wallet) = (client(&node, long()), wallet(&node));
    node.mine(102);
    assert_eq!(wallet.tip().await.unwrap(), client.tip().await.unwrap());
    let address = wallet.new_address().await.unwrap();
    assert!(wallet.is_locked().await.unwrap());
    let locked = wallet.send(&address, units(1 << 30)).await.unwrap_err();
    assert!(
        matches!(&locked, NodeError::Refused { refusal, .. } if refusal.code == -13),
        "{locked}"
    );
    let secret = |text: &str| Secret::new(text.to_owned());
    assert_eq!(wallet.unlock(&secret("mellon"), 60).await.unwrap(), Unlock::WrongPassphrase);
    assert_eq!(wallet.unlock(&secret("open sesame"), 60).await.unwrap(), Unlock::Open);
    assert!(!wallet.is_locked().await.unwrap());
    let before = wallet.balance(1).await.unwrap();
    let own_share =
        |height| reward::subsidy(height).units() - reward::steward_share(height).units();
    assert_eq!(before, units((1..=102).map(own_share).sum()));

    let txid = wallet.send(&address, units(12_345_678_901)).await.unwrap();
    assert_eq!(client.mempool().await.unwrap(), [txid]);
    node.mine(1);
    assert_eq!(wallet.received(&address, 1).await.unwrap(), units(12_345_678_901));
    assert_eq!(wallet.received(&address, 2).await.unwrap(), Amount::ZERO);
    let movements = wallet.movements(500, 0).await.unwrap();
    assert!(movements.iter().any(|movement| movement.is_received && movement.confirmations == 1));
    assert_eq!(
        wallet.movements(3, 1).await.unwrap()[..],
        movements[movements.len() - 4..movements.len() - 1]
    );
    let unspent = wallet.unspent(1).await.unwrap();
    let paid =
        unspent.iter().find(|one| one.outpoint.txid == txid && one.script == script(&address));
    assert_eq!(paid.unwrap().amount, units(12_345_678_901));
    vote(&node, &client, &wallet).await;
    wallet.lock().await.unwrap();
    assert!(wallet.is_locked().await.unwrap());
}

async fn vote(node: &SimNode, client: &Pktd, wallet: &chain_node::Wallet) {
    assert_eq!(wallet.votes().await.unwrap(), Votes::default());
    let votes = Votes { candidate: Some(node.address(true)), against: None };
    wallet.set_votes(&votes).await.unwrap();
    assert_eq!(wallet.votes().await.unwrap(), votes);
    let to = node.address(true);
    let composed = wallet.compose(&to, units(1 << 31), true).await.unwrap();
    let expected = votes.to_vote(&PKT_SIM).unwrap();
    let cast = composed.output.iter().map(|output| Vote::parse(&output.script_pubkey));
    assert!(cast.clone().all(|vote| vote.as_ref() == Some(&expected)), "{composed:?}");
    assert!(client.mempool().await.unwrap().is_empty());
    assert_eq!(client.broadcast(&composed).await.unwrap(), Broadcast::Taken);
    node.mine(1);
    // What was voted with can be spent.
    let back = wallet.compose(&to, units(1 << 30), false).await.unwrap();
    assert_eq!(client.broadcast(&back).await.unwrap(), Broadcast::Taken);
    let foreign = wallet.send("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", units(1)).await;
    assert!(matches!(foreign, Err(NodeError::Lie(_))), "{foreign:?}");
    let inexact = wallet.send(&to, Amount::MAX).await;
    assert!(matches!(inexact, Err(NodeError::Lie(_))), "{inexact:?}");
    let too_much = wallet.send(&to, units(1 << 50)).await;
    assert!(matches!(too_much, Err(NodeError::Refused { .. })), "{too_much:?}");
}
