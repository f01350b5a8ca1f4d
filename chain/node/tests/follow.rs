//! A chain followed through several nodes on real sockets: payments, reorganisations, lies and outages.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use chain_node::attach::{Link, invoice_said};
use chain_node::lightning::{Channels, Lightning, Offer, Order};
use chain_node::{Backoff, Credentials, Endpoint, Filter, Limits, Preimage, Secret, Trust, Watch};
use common::{LONG, client, endpoint, long};
use follow::event::{Event, FOR_GOOD};
use follow::{Anchor, Follow, Input, NodeId, Params, Said, Standing};
use primitives::address::Written;
use primitives::amount::Amount;
use primitives::bitcoin::ScriptBuf;
use primitives::network::PKT_SIM;
use simnode::{Lie, Manner, Options, Program, SimLightning, SimNetwork, SimNode};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// Time of the chain's first blocks, and how fast it goes here: the follower's waits are minutes.
const START_MS: u64 = 1_795_300_000_000;
const TICK: Duration = Duration::from_millis(5);
const TICK_MS: u64 = 250;

/// A follower with its nodes.
struct Follower {
    follow: Follow,
    links: Vec<Link>,
    said: mpsc::Receiver<(NodeId, Said)>,
    now: u64,
    events: Vec<Event>,
}

impl Follower {
    fn attach(nodes: &[SimNode], addresses: &[String]) -> Self {
        let (sender, said) = mpsc::channel(16);
        let attach = |(id, node): (u32, &SimNode)| {
            // Patient enough for a loaded machine, and not for those who never answer.
            let limits = Limits { call: Duration::from_secs(3), ..long() };
            let backoff = Backoff::new(TICK, TICK * 4, id.into());
            let filter = Filter { addresses: addresses.to_vec() };
            let watch = Watch::start(endpoint(&node.url(), None), limits, filter, backoff);
            Link::attach(NodeId(id), client(node, limits), Some(watch), sender.clone())
        };
        let links: Vec<_> = (0..).zip(nodes).map(attach).collect();
        let mut follow = Follow::new(&Params::new(PKT_SIM), Anchor::genesis(&PKT_SIM));
        for id in 0..u32::try_from(links.len()).unwrap() {
            let _nothing = follow.step(START_MS, Input::Attach(NodeId(id))).unwrap();
        }
        Self { follow, links, said, now: START_MS, events: Vec::new() }
    }

    fn step(&mut self, input: Input) {
        let output = self.follow.step(self.now, input).unwrap();
        for (id, ask) in output.asks {
            // It may be answering one that took too long: then this one has no answer either.
            let _asked = self.links[id.0 as usize].ask(ask);
        }
        self.events.extend(output.events);
    }

    /// Goes on until something is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(since.elapsed() < LONG, "{what}: {:?} {:?}", self.follow, self.follow.nodes());
            match timeout(TICK, self.said.recv()).await {
                Ok(said) => {
                    let (id, said) = said.unwrap();
                    self.step(Input::Said(id, said));
                }
                Err(_) => {
                    self.now += TICK_MS;
                    self.step(Input::Tick);
                }
            }
        }
    }

    async fn until_at(&mut self, node: &SimNode) {
        let tip = node.tip();
        self.until("reach the tip", |follower| follower.follow.tip().1 == tip).await;
    }

    fn standing(&self, id: u32) -> Standing {
        self.follow.nodes()[&NodeId(id)].standing
    }

    fn watch(&mut self, address: &str, depth: u32) {
        let script = script(address);
        self.step(Input::Watch(script, follow::Watch { reference: b"lease 17".to_vec(), depth }));
    }
}

fn script(address: &str) -> ScriptBuf {
    Written::parse(address).unwrap().address.script()
}

async fn nodes(count: usize) -> Vec<SimNode> {
    let network = SimNetwork::new(&PKT_SIM);
    let mut nodes = Vec::new();
    for place in 0..count {
        let options = Options { name: format!("node {place}"), ..Options::default() };
        nodes.push(SimNode::start(&network, options).await.unwrap());
    }
    nodes
}

#[tokio::test]
async fn a_payment_is_seen_confirmed_taken_back_and_confirmed_again() {
    let nodes = nodes(2).await;
    nodes[0].mine(101);
    let address = nodes[0].address(false);
    let mut follower = Follower::attach(&nodes, std::slice::from_ref(&address));
    follower.watch(&address, 3);
    follower.until_at(&nodes[0]).await;

    let paid = nodes[0].pay(&script(&address), 7 << 30).unwrap();
    follower.until("seen", |follower| matches!(follower.events.last(), Some(Event::Seen(_)))).await;
    let confirmed = |follower: &Follower, depth: u32| {
        follower.events.iter().any(|event| {
            matches!(event, Event::Confirmed { confirmations, payment }
                if *confirmations == depth && payment.amount == 7 << 30)
        })
    };
    nodes[0].mine(2);
    follower.until("confirmed", |follower| confirmed(follower, 2)).await;
    // The other node has a longer chain without it.
    let fork = nodes[0].network().headers(&nodes[0].tip())[101].block_hash();
    nodes[1].switch_to(&fork);
    nodes[1].mine(3);
    follower.events.clear();
    follower.until_at(&nodes[1]).await;
    let reverted =
        |event: &Event| matches!(event, Event::Reverted(payment) if payment.watch == b"lease 17");
    assert!(follower.events.iter().any(reverted), "{:?}", follower.events);
    assert!(!confirmed(&follower, 1));
    // Both follow it, and it is mined again.
    nodes[0].switch_to(&nodes[1].tip());
    nodes[0].take(paid).unwrap_err();
    nodes[0].mine(3);
    follower.until("confirmed again", |follower| confirmed(follower, 3)).await;
    assert_eq!(follower.follow.tip().1, nodes[0].tip());
}

#[tokio::test]
async fn liars_and_the_silent_are_named_and_the_next_node_counts() {
    let nodes = nodes(4).await;
    nodes[3].mine(20);
    nodes.iter().for_each(|node| node.switch_to(&nodes[3].tip()));
    nodes[0].lie(Lie::BadProof);
    nodes[1].lie(Lie::WrongTypes);
    nodes[2].behave(Manner::Silent);
    let mut follower = Follower::attach(&nodes, &[]);
    follower.until_at(&nodes[3]).await;
    follower
        .until("names", |follower| {
            matches!(
                follower.standing(0),
                Standing::Lying(follow::Lie::Block { .. }) | Standing::Good
            ) && matches!(follower.standing(1), Standing::Lying(follow::Lie::Garbage))
                && follower.standing(2) == Standing::Vanished
        })
        .await;
    assert_eq!(follower.standing(3), Standing::Good);
    // Floods, endless heads and the like change nothing of it.
    for manner in [Manner::TenGigabytes, Manner::EndlessHead, Manner::Deep, Manner::Closing] {
        nodes[2].behave(manner);
        nodes[3].mine(1);
        follower.until_at(&nodes[3]).await;
    }
    // Alone with a node whose proofs are bad, nothing is believed.
    let mut alone = Follower::attach(&nodes[..1], &[]);
    alone
        .until("lying", |alone| {
            matches!(alone.standing(0), Standing::Lying(follow::Lie::Block { .. }))
        })
        .await;
    assert_eq!(alone.follow.tip().0, 0);
}

#[tokio::test]
async fn a_hold_invoice_is_followed_until_it_is_settled() {
    const MACAROON: &str = "0201";
    let node = SimLightning::start(&PKT_SIM, Program::Gateway, MACAROON).await.unwrap();
    let trust = Trust::from_pem(node.certificate().unwrap().as_bytes()).unwrap();
    let credentials = Credentials::Macaroon(Secret::new(MACAROON.to_owned()));
    let endpoint = Endpoint::new(&node.url(), Some(trust), &credentials).unwrap();
    let lightning = Lightning::detect(endpoint, long(), PKT_SIM, Channels::Small).await.unwrap();
    let preimage = Preimage::new([7; 32]);
    let (price, memo) = (Amount::from_units(1_000_000).unwrap(), "lease 17".to_owned());
    let order = Order { price, memo, expiry_s: 600, is_hold: true, preimage: preimage.clone() };
    let Offer::Invoice(invoice) = lightning.offer(&order).await.unwrap() else { panic!() };

    let full = nodes(1).await;
    let (mut follower, id) = (Follower::attach(&full, &[]), NodeId(0));
    let reference = b"lease 17".to_vec();
    follower.step(Input::Expect { hash: invoice.hash.0, reference, node: id });
    assert!(node.pay(&invoice.request));
    let held = lightning.change(invoice.hash, &invoice.state, LONG).await.unwrap();
    follower.step(Input::Said(id, invoice_said(&held)));
    let confirmed = |event: &Event| matches!(event, Event::Confirmed { .. });
    assert!(!follower.events.iter().any(confirmed), "held is not ours");
    lightning.settle(&preimage).await.unwrap();
    let settled = lightning.change(invoice.hash, &held.state, LONG).await.unwrap();
    follower.step(Input::Said(id, invoice_said(&settled)));
    let last = follower.events.iter().rfind(|event| confirmed(event)).unwrap();
    let Event::Confirmed { payment, confirmations } = last else { panic!() };
    assert_eq!((*confirmations, payment.amount), (FOR_GOOD, 1_000_000));
}
