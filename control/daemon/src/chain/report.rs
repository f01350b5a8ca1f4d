//! How the chain stands, in words for people.

use super::follower::Follower;
use super::nodes::{Attached, Client};
use crate::clock;
use control_api::chain::{ChainCandidate, ChainMining, ChainNode, ChainStatus, ChainSteward};
use domain::tree::NodeKind;
use follow::{Since, Standing};
use primitives::address::Address;
use primitives::bitcoin::Script;

/// Candidates that are told of.
const CANDIDATES_MAX: usize = 100;

pub(super) fn status(follower: &Follower) -> ChainStatus {
    let follow = &follower.follow;
    let metrics = follow.metrics(clock::now().0);
    let (height, tip) = follow.tip();
    let nodes = follower.nodes.iter().map(|(name, attached)| node(follower, name, attached));
    ChainStatus {
        network: follower.network.name.to_owned(),
        height,
        tip: tip.to_string(),
        lag_ms: metrics.lag_ms,
        side_blocks: metrics.side_blocks as u64,
        told_headers: metrics.told_headers as u64,
        watches: (metrics.watches + follower.invoices.len()) as u64,
        payments: metrics.payments as u64,
        waiting: metrics.waiting as u64,
        trouble: follower.trouble.clone(),
        nodes: nodes.collect(),
        steward: steward(follower),
        mining: mining(follower),
    }
}

fn node(follower: &Follower, name: &str, attached: &Attached) -> ChainNode {
    let kind = match attached.config.kind {
        NodeKind::Pktd => "pktd",
        NodeKind::Pktwallet => "pktwallet",
        NodeKind::Lightning => "lightning",
    };
    let known = follower.follow.nodes().get(&attached.id);
    let (standing, why) = match (&attached.client, attached.trouble().get()) {
        (Client::Unusable, why) => ("unusable", why),
        (Client::Wallet(_) | Client::Lightning(_), Some(why)) => ("vanished", Some(why)),
        _ => known.map_or(("good", None), |node| words(&node.standing)),
    };
    ChainNode {
        name: name.to_owned(),
        kind: kind.to_owned(),
        standing: standing.to_owned(),
        why,
        tip: known.and_then(|node| node.tip).map(|tip| tip.to_string()),
    }
}

/// What a node is called, and for what.
pub(super) fn words(standing: &Standing) -> (&'static str, Option<String>) {
    match standing {
        Standing::Good => ("good", None),
        Standing::Lying(lie) => ("lying", Some(lie.to_string())),
        Standing::Forked { fork: Some(fork) } => {
            ("forked", Some(format!("it left the best chain at height {fork}")))
        }
        Standing::Forked { fork: None } => {
            ("forked", Some("it left the best chain below what can be taken back".into()))
        }
        Standing::Stalled => ("stalled", Some("it has had no new block for too long".into())),
        Standing::Vanished => ("vanished", Some("it does not answer".into())),
    }
}

fn steward(follower: &Follower) -> ChainSteward {
    let steward = follower.follow.steward();
    let address = |script: &Script| Address::of_script(script).text(&follower.network);
    let names = follower.nodes.iter();
    let contradicts = |id| steward.contradicted_by.contains(id);
    let names = names.filter(|(_, node)| contradicts(&node.id)).map(|(name, _)| name.clone());
    let mut candidates: Vec<_> = steward.candidates.iter().collect();
    candidates.sort_by_key(|(_, votes)| std::cmp::Reverse(votes.approval));
    let candidates = candidates.into_iter().take(CANDIDATES_MAX);
    ChainSteward {
        address: address(&steward.state.steward),
        against: steward.state.disapproval.to_string(),
        since: match steward.since {
            Since::Genesis => 0,
            Since::Height(height) => height,
        },
        contradicted_by: names.collect(),
        candidates: candidates
            .map(|(script, votes)| ChainCandidate {
                address: address(script),
                approval: votes.approval.to_string(),
                disapproval: votes.disapproval.to_string(),
            })
            .collect(),
    }
}

fn mining(follower: &Follower) -> ChainMining {
    let mining = follower.follow.mining();
    ChainMining {
        bits: mining.bits.0,
        retarget_in: mining.retarget_in,
        tries: mining.tries.to_string(),
        work: mining.header_work.to_string(),
        seconds: mining.seconds,
        mature: mining.mature_units.to_string(),
        immature: mining.immature_units.to_string(),
    }
}
