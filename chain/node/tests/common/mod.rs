//! A simulated node, and clients of it.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use chain_node::{Credentials, Endpoint, Limits, Pktd, Rpc, Secret, Trust, Wallet};
use primitives::network::PKT_SIM;
use simnode::{Options, SimNetwork, SimNode};
use std::time::Duration;

/// Waits that a loaded machine does not exceed.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Limits for those who never answer.
pub(crate) fn short() -> Limits {
    Limits {
        call: Duration::from_millis(300),
        silence: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// Limits for those who do.
pub(crate) fn long() -> Limits {
    Limits { connect: LONG, call: LONG, silence: LONG, ..Limits::default() }
}

pub(crate) async fn start(options: Options) -> SimNode {
    SimNode::start(&SimNetwork::new(&PKT_SIM), options).await.unwrap()
}

pub(crate) fn credentials(password: &str) -> Credentials {
    Credentials::Basic { user: "lab".to_owned(), password: Secret::new(password.to_owned()) }
}

pub(crate) fn endpoint(url: &str, certificate: Option<&str>) -> Endpoint {
    let trust = certificate.map(|pem| Trust::from_pem(pem.as_bytes()).unwrap());
    Endpoint::new(url, trust, &credentials("labpass")).unwrap()
}

pub(crate) fn client(node: &SimNode, limits: Limits) -> Pktd {
    let endpoint = endpoint(&node.url(), node.certificate());
    Pktd::new(node.url(), Rpc::new(endpoint, limits))
}

pub(crate) fn wallet(node: &SimNode) -> Wallet {
    let endpoint = endpoint(&node.wallet_url(), node.wallet_certificate());
    Wallet::new(Rpc::new(endpoint, long()), PKT_SIM)
}
