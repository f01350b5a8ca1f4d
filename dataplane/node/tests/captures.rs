//! What three nodes of the reference said to each other: all of it is read, and the one in the middle could be ours.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use crypt::cryptoauth::EndToEnd;
use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use dataplane_node as node;
use flate2::read::GzDecoder;
use node::router::message::{Body, Message, Node, Query, Reply};
use node::router::{Moment, Neighbour, RouteServers, Router};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use wire::label;
use wire::scheme::Scheme;
use wire::switch::Header;
use wire::vectors::{self, hex};
use zerocopy::IntoBytes;

/// Of all nodes that talk here.
const VERSION: u32 = 22;

/// A message between routers: who said it to whom on a link, and the text of the session.
struct Said {
    from: String,
    to: String,
    text: Vec<u8>,
}

impl Said {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.text).unwrap()
    }
}

#[test]
fn captured_queries_get_the_captured_answers_vectors() {
    let folder = vectors::find("pcap");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".decoded.jsonl.gz").map(str::to_owned)
        })
        .collect();
    names.sort();
    let mut rows = 0;
    for name in names {
        let keys = fs::read_to_string(folder.join(format!("{name}.keys.json"))).unwrap();
        let keys: Value = serde_json::from_str(&keys).unwrap();
        let said = read(&folder.join(format!("{name}.decoded.jsonl.gz")));
        rows += said.iter().map(Said::message).count();
        as_the_middle(&keys, &said);
    }
    vectors::report(&folder, rows);
}

fn read(path: &Path) -> Vec<Said> {
    let lines = BufReader::new(GzDecoder::new(File::open(path).unwrap())).lines();
    let rows = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    rows.filter(|row| row["sw"]["contentType"] == 256)
        .map(|row| Said {
            from: text(&row["src"]).unwrap(),
            to: text(&row["dst"]).unwrap(),
            text: [&row["sw"]["dataHeader"], &row["sw"]["content"]]
                .map(|part| hex(part.as_str().unwrap()))
                .concat(),
        })
        .collect()
}

/// Our router in the place of M answers A and B at least as well as M did.
fn as_the_middle(keys: &Value, said: &[Said]) {
    let identity = |node: &str| -> Identity {
        keys["nodes"][node]["privateKey"].as_str().unwrap().parse().unwrap()
    };
    let middle = identity("M");
    let replies: Vec<(Message<'_>, Reply)> = said
        .iter()
        .filter(|said| said.from == "M")
        .filter_map(|said| match said.message() {
            message @ Message { body: Body::Reply(_), .. } => {
                let Body::Reply(reply) = message.body.clone() else { unreachable!() };
                Some((message, reply))
            }
            _query => None,
        })
        .collect();
    let named: Vec<Node> = replies.iter().flat_map(|(_, reply)| reply.nodes.clone()).collect();
    // A capture that was cut may name them nowhere.
    let neighbours = [("A", 0x15), ("B", 0x13)].map(|(name, otherwise)| {
        let key = identity(name).public();
        let label = named.iter().find(|node| node.key == key).map_or(otherwise, |node| node.label);
        neighbour(key, label)
    });
    let mut rng = TestRng::new(1);
    let mut router = Router::new(
        Arc::new(middle.clone()),
        Scheme::v358(),
        RouteServers::Any,
        &mut moment(&mut rng),
    );
    router.poll(&mut moment(&mut rng), &neighbours);
    for (name, neighbour) in ["A", "B"].iter().zip(&neighbours) {
        let asker = identity(name);
        let mut session = EndToEnd::new(&asker, middle.public()).unwrap();
        let mut handle = Vec::new();
        let path = Scheme::v358().peer_label(neighbour.number).unwrap();
        let queries = said.iter().filter(|said| said.from == *name && said.to == "M");
        for said in queries {
            let Message { body: Body::Query(query), txid, .. } = said.message() else { continue };
            let mut packet = Header::new(label::reverse(path), 0).as_bytes().to_vec();
            let is_handshake = session.sends_handshake(0);
            if is_handshake {
                let payload = [&[0, 0, 0, 9], &said.text[..]].concat();
                packet.extend(session.send(0, &mut TestRng::new(2), &payload));
            } else {
                packet.extend(&handle);
                packet.extend(session.send(0, &mut TestRng::new(2), &said.text));
            }
            let answers = router.delivered(&mut moment(&mut rng), &packet).packets;
            let [answer] = &answers[..] else { panic!("{} answers", answers.len()) };
            let start = if answer[12..16] < [0, 0, 0, 4][..] { 12 } else { 16 };
            let mut text = session.receive(&asker, 0, &answer[start..]).unwrap().bytes;
            if start == 12 {
                handle = text.drain(..4).collect();
            }
            let ours = Message::parse(&text).unwrap();
            assert_eq!((ours.txid, ours.version), (txid, VERSION));
            let Body::Reply(ours) = ours.body else { panic!("not an answer") };
            let theirs = replies.iter().find(|(message, _)| message.txid == txid);
            if let Some((_, theirs)) = theirs {
                is_as_good(query, &ours.nodes, &theirs.nodes);
            }
        }
    }
}

/// A captured M knows less at first, and names nobody then.
fn is_as_good(query: Query, ours: &[Node], theirs: &[Node]) {
    match query {
        Query::Ping => assert_eq!(ours, theirs),
        Query::Peers(_) => assert!(theirs.iter().all(|node| ours.contains(node)), "{theirs:?}"),
        Query::Find(_) if theirs.is_empty() => {}
        Query::Find(_) => assert_eq!(ours.last(), theirs.last()),
    }
}

fn moment(rng: &mut TestRng) -> Moment<'_> {
    Moment { now: 0, wall_ms: 0, rng }
}

fn neighbour(key: wire::key::PublicKey, label: u64) -> Neighbour {
    Neighbour {
        number: Scheme::v358().decode(label).unwrap().number,
        key,
        version: VERSION,
        established: true,
        mtu: 1400,
        lag_ms: None,
        received: 0,
        lost: 0,
        received_bytes: 0,
    }
}
