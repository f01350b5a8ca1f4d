use super::*;
use crypt::cryptoauth::EndToEnd;
use crypt::test_rng::TestRng;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Mutex;
use wire::vectors::{self, hex};
use zerocopy::IntoBytes;

const SECOND: Nanos = 1_000_000_000;

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// A router, its clock and its randomness.
struct Rig {
    router: Router,
    rng: TestRng,
    now: Nanos,
}

impl Rig {
    fn new(identity: Identity, servers: RouteServers) -> Self {
        let mut rng = TestRng::new(1);
        let now = 0;
        let mut moment = Moment { now, wall_ms: WALL_MS, rng: &mut rng };
        let router = Router::new(Arc::new(identity), Scheme::v358(), servers, &mut moment);
        Self { router, rng, now }
    }

    fn moment(&mut self) -> (&mut Router, Moment<'_>) {
        let moment = Moment { now: self.now, wall_ms: WALL_MS, rng: &mut self.rng };
        (&mut self.router, moment)
    }

    fn delivered(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let (router, mut moment) = self.moment();
        router.delivered(&mut moment, packet).packets
    }

    fn control(&mut self, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (router, mut moment) = self.moment();
        router.control(&mut moment, packet).map(|output| output.packets)
    }

    fn poll(&mut self, neighbours: &[Neighbour]) -> Vec<Vec<u8>> {
        let (router, mut moment) = self.moment();
        router.poll(&mut moment, neighbours).packets
    }
}

const WALL_MS: u64 = 1_800_000_000_000;

/// Another node, one hop away behind interface 0, with one session.
struct Client {
    identity: Identity,
    session: EndToEnd,
    rng: TestRng,
    handle: Option<[u8; 4]>,
}

impl Client {
    fn new(identity: Identity, with: PublicKey) -> Self {
        let session = EndToEnd::new(&identity, with).unwrap();
        Self { identity, session, rng: TestRng::new(2), handle: None }
    }

    /// The packet as it is delivered to the router.
    fn send(&mut self, now: Nanos, text: &[u8]) -> Vec<u8> {
        let mut packet = delivered_header().as_bytes().to_vec();
        if self.session.sends_handshake(now) {
            let payload = [&123_456_u32.to_be_bytes()[..], text].concat();
            packet.extend(self.session.send(now, &mut self.rng, &payload));
        } else {
            packet.extend(self.handle.unwrap());
            packet.extend(self.session.send(now, &mut self.rng, text));
        }
        packet
    }

    /// The text in a packet of the router.
    fn receive(&mut self, now: Nanos, packet: &[u8]) -> Vec<u8> {
        let (header, sealed) = Header::split(packet).unwrap();
        assert_eq!((header.label(), header.shift()), (0x13, 0));
        let handshake = sealed[..4] < [0, 0, 0, 4][..];
        let sealed = if handshake {
            sealed
        } else {
            assert_eq!(sealed[..4], 123_456_u32.to_be_bytes());
            &sealed[4..]
        };
        let mut text = self.session.receive(&self.identity, now, sealed).unwrap().bytes;
        if handshake {
            self.handle = text.first_chunk().copied();
            text.drain(..4);
        }
        text
    }

    fn talk(&mut self, rig: &mut Rig, text: &[u8]) -> Vec<u8> {
        let packet = self.send(rig.now, text);
        let answers = rig.delivered(&packet);
        assert_eq!(answers.len(), 1, "one question, one answer");
        self.receive(rig.now, &answers[0])
    }
}

/// As the switch delivers what comes in at interface 0.
fn delivered_header() -> Header {
    let mut header = Header::new(0xc800_0000_0000_0000, 0);
    header.set_shift(8);
    header
}

fn as_delivered(switch_packet: &[u8]) -> Vec<u8> {
    [delivered_header().as_bytes(), &switch_packet[12..]].concat()
}

/// Made once for each seed: it takes a while.
fn identity(seed: u64) -> Identity {
    static MADE: Mutex<BTreeMap<u64, Identity>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap();
    made.entry(seed).or_insert_with(|| Identity::generate(&mut TestRng::new(seed))).clone()
}

fn head(txid: &[u8]) -> Head<'_> {
    static V358: std::sync::LazyLock<Scheme> = std::sync::LazyLock::new(Scheme::v358);
    Head { scheme: &V358, path: 0x13, txid }
}

/// The text of a recorded packet, without the handle that a handshake packet begins with.
fn recorded_text(entry: &Value) -> Option<Vec<u8>> {
    let plaintext = hex(entry["plaintext"].as_str()?);
    let handle = if entry["ca_nonce"].as_u64()? < 4 { 4 } else { 0 };
    Some(plaintext[handle..].to_vec())
}

#[test]
fn recorded_queries_get_the_recorded_answers_vectors() {
    let (path, file) = vectors::read("session.json");
    let file: Value = serde_json::from_str(&file).unwrap();
    let mut rows = 0;
    for session in file["end_to_end_sessions"].as_array().unwrap() {
        let server: Identity = text(session, "A_private").parse().unwrap();
        let client: Identity = text(session, "client_private").parse().unwrap();
        let transcript = session["transcript"].as_array().unwrap();
        let mut rig = Rig::new(server.clone(), RouteServers::Any);
        let mut client = Client::new(client, server.public());
        for entry in transcript {
            let Some(recorded) = recorded_text(entry) else { continue };
            rows += 1;
            let message = Message::parse(&recorded).unwrap();
            assert_eq!(message.version, 22, "{entry}");
            if text(entry, "dir") != "client->A" {
                continue;
            }
            let answer = client.talk(&mut rig, &recorded);
            let answer = Message::parse(&answer).unwrap();
            assert_eq!(answer.txid, message.txid);
            let recorded = transcript
                .iter()
                .filter(|entry| text(entry, "dir") == "A->client")
                .filter_map(recorded_text)
                .find(|reply| {
                    let reply = Message::parse(reply).unwrap();
                    reply.txid == message.txid && matches!(reply.body, Body::Reply(_))
                })
                .unwrap();
            let recorded = Message::parse(&recorded).unwrap().body;
            let is_next_hop =
                String::from_utf8_lossy(&hex(text(entry, "plaintext"))).contains("2:nh");
            if is_next_hop {
                // Asked for by no node that needs it (CJDNS-WIRE.md §6.5 c): answered like a ping.
                assert_eq!(answer.body, Body::Reply(Reply::empty()));
            } else {
                assert_eq!(answer.body, recorded, "{entry}");
            }
        }
        rows += recorded_hellos_are_answered(session, transcript);
    }
    vectors::report(&path, rows);
}

/// Hellos of both sides, as they were on the wire, open and are answered by a key.
fn recorded_hellos_are_answered(session: &Value, transcript: &[Value]) -> usize {
    let mut hellos = 0;
    for entry in transcript.iter().filter(|entry| entry["plaintext"].is_string()) {
        let packet = hex(text(entry, "switch_packet"));
        if packet[12..16] > [0, 0, 0, 1][..] {
            continue;
        }
        let to = if text(entry, "dir") == "client->A" { "A_private" } else { "client_private" };
        let mut rig = Rig::new(text(session, to).parse().unwrap(), RouteServers::Any);
        let answers = rig.delivered(&as_delivered(&packet));
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0][12..16], [0, 0, 0, 2], "a key");
        assert_eq!(rig.router.status().sessions, 1);
        hellos += 1;
    }
    hellos
}

/// The node of the recording had sent a hello to whom the garbage says to be from.
#[test]
fn garbage_instead_of_a_hello_is_told_of_as_recorded_vectors() {
    let (path, file) = vectors::read("ctrl.json");
    let file: Value = serde_json::from_str(&file).unwrap();
    let rows: Vec<_> = file["responder"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| text(row, "name").starts_with("garbage hello"))
        .collect();
    for row in &rows {
        let packet = hex(text(row, "in"));
        let mut rig = Rig::new(identity(1), RouteServers::Any);
        let sender = PublicKey(*packet[52..].first_chunk().unwrap());
        let (router, mut moment) = rig.moment();
        let _asked = router.ask(&mut moment, sender, 0x13, Ask::Router(Query::Ping), SECOND);
        // One switch step lies between the link and the router, in both directions.
        let mut header = Header::new(0xc800_0000_0000_0000, packet[8]);
        header.set_shift(4);
        let told = rig.delivered(&[header.as_bytes(), &packet[12..]].concat());
        let told: Vec<_> = told
            .iter()
            .map(|told| {
                let (header, payload) = Header::split(told).unwrap();
                assert_eq!((header.label(), header.congestion_and_suppress()), (0x13, 1));
                payload.to_vec()
            })
            .collect();
        let recorded = row["reply"].as_str().map(|reply| hex(reply)[12..].to_vec());
        assert_eq!(told.first(), recorded.as_ref(), "{row}");
    }
    vectors::report(&path, rows.len());
}

fn neighbour(number: u16, key: PublicKey) -> Neighbour {
    Neighbour {
        number,
        key,
        version: 22,
        established: true,
        mtu: 1400,
        lag_ms: None,
        received: 0,
        lost: 0,
        received_bytes: 0,
    }
}

#[test]
fn an_answer_names_at_most_eight_nearest_last() {
    let mut rig = Rig::new(identity(1), RouteServers::Any);
    let neighbours: Vec<_> = (0..12_u16)
        .filter(|n| *n != 1)
        .map(|n| neighbour(n, identity(100 + u64::from(n)).public()))
        .collect();
    rig.poll(&neighbours);
    let mut client = Client::new(identity(2), rig.router.identity.public());
    let mut ask = |query: Query| {
        let answer = client.talk(&mut rig, &query.write(head(b"x")));
        let Body::Reply(reply) = Message::parse(&answer).unwrap().body else { panic!("no reply") };
        reply.nodes
    };
    for near in [0, 1, 0xa2, u64::MAX] {
        let peers = ask(Query::Peers(near));
        assert_eq!(peers.len(), 8);
        assert!(peers.iter().any(|node| node.label == 1), "itself is among them");
        assert!(peers.iter().any(|node| node.label == 0x13), "who asks is among them");
        assert!(peers.is_sorted_by_key(|node| std::cmp::Reverse(node.label ^ near)));
    }
    for neighbour in &neighbours {
        let found = ask(Query::Find(neighbour.key.address()));
        assert_eq!(found.last().unwrap().key, neighbour.key);
        assert!(found.len() <= 8);
    }
    let own = rig.router.identity.public();
    let mut client = Client::new(identity(3), own);
    let found = client.talk(&mut rig, &Query::Find(own.address()).write(head(b"x")));
    let Body::Reply(reply) = Message::parse(&found).unwrap().body else { panic!("no reply") };
    assert_eq!(reply.nodes, [Node { key: own, label: 1, version: 22 }]);
}

#[test]
fn one_neighbour_after_another_is_asked_for_a_route_server_every_three_seconds() {
    let mut rig = Rig::new(identity(1), RouteServers::Any);
    assert_eq!(rig.router.next_due(), Nanos::MAX, "nobody to ask");
    let neighbours = [neighbour(0, identity(2).public()), neighbour(9, identity(3).public())];
    let mut asked = Vec::new();
    for second in 0..12 {
        rig.now = second * SECOND;
        for packet in rig.poll(&neighbours) {
            let (header, payload) = Header::split(&packet).unwrap();
            assert_eq!(control::parse(payload).unwrap().kind, kind::GET_SNODE);
            asked.push((second, header.label()));
        }
        assert_eq!(rig.router.next_due(), (second / 3 + 1) * 3 * SECOND);
    }
    assert_eq!(asked, [(0, 0x13), (3, 0xa2), (6, 0x13), (9, 0xa2)]);
}

#[test]
fn only_an_answer_to_the_question_makes_a_candidate() {
    let mut rig = Rig::new(identity(1), RouteServers::Any);
    let peer = identity(2).public();
    let asked = rig.poll(&[neighbour(0, peer)]);
    let mark = asked[0][asked[0].len() - 8..].to_vec();
    let reply = |label: u64, key: [u8; 32], path: u64, version: u32, opaque: &[u8]| {
        let head = control::Ping { magic: magic::SNODE_REPLY.into(), version: 22.into() };
        let body = GetSnode {
            head,
            snode_version: version.into(),
            kbps: u32::MAX.into(),
            snode_key: key,
            path: path.into(),
        };
        control::packet(Header::new(label, 0), kind::GET_SNODE_REPLY, &body, opaque)
    };
    let from = label::reverse(0x13);
    let (snode, own) = (identity(3).public().0, rig.router.identity.public().0);
    for (what, packet) in [
        ("another mark", reply(from, snode, 1, 22, b"eightbyt")),
        ("from elsewhere", reply(label::reverse(0x15), snode, 1, 22, &mark)),
        ("nobody", reply(from, [0; 32], 1, 22, &mark)),
        ("itself", reply(from, own, 1, 22, &mark)),
        ("too old", reply(from, snode, 1, 19, &mark)),
        ("no path", reply(from, snode, 0, 22, &mark)),
        ("too long a path", reply(from, snode, 1 << 58, 22, &mark)),
    ] {
        // Each is the last word of the neighbour, so that each needs a question of its own.
        let mut rig = Rig::new(identity(1), RouteServers::Any);
        rig.poll(&[neighbour(0, peer)]);
        assert_eq!(rig.control(&packet), Some(vec![]), "{what}");
    }
    let packets = rig.control(&reply(from, snode, 0x15, 22, &mark)).unwrap();
    let (header, sealed) = Header::split(&packets[0]).unwrap();
    assert_eq!((header.label(), &sealed[..4]), (0x153, &[0; 4][..]), "a hello by both hops");
}

#[test]
fn control_messages_of_others_are_left_alone() {
    let mut rig = Rig::new(identity(1), RouteServers::Any);
    let ping = control::Ping { magic: magic::PING.into(), version: 22.into() };
    for of in [kind::PING, kind::PONG, kind::GET_SNODE, kind::RPATH, kind::LLADDR, 99] {
        assert_eq!(rig.control(&control::packet(delivered_header(), of, &ping, b"")), None);
    }
    assert_eq!(rig.control(&[0xff; 40]), None, "wrong checksum");
    assert_eq!(rig.control(&[]), None);
}

#[test]
fn what_is_no_route_server_says_so() {
    let mut rig = Rig::new(identity(1), RouteServers::Any);
    let mut client = Client::new(identity(2), rig.router.identity.public());
    let answer = client.talk(&mut rig, &ServerQuery::Ping.write(head(b"x")));
    let Body::Reply(reply) = Message::parse(&answer).unwrap().body else { panic!("no reply") };
    assert_eq!((reply.receive_time_ms, reply.error.is_some()), (None, true));

    let mut rig = Rig::new(identity(1), RouteServers::Host);
    let mut client = Client::new(identity(2), rig.router.identity.public());
    let announcement = [0; 200];
    for (query, is_error) in [
        (ServerQuery::Ping, false),
        (ServerQuery::Announce(&announcement), true),
        (
            ServerQuery::Route { from: client.identity.address(), to: "fc00::1".parse().unwrap() },
            false,
        ),
    ] {
        let answer = client.talk(&mut rig, &query.write(head(b"x")));
        let Body::Reply(reply) = Message::parse(&answer).unwrap().body else { panic!("no reply") };
        assert_eq!((reply.receive_time_ms, reply.error.is_some()), (Some(WALL_MS), is_error));
    }
}

#[test]
fn an_idle_router_is_small() {
    assert!(size_of::<Router>() <= 704, "{}", size_of::<Router>());
    assert!(size_of::<peers::Peer>() <= 112, "{}", size_of::<peers::Peer>());
}

proptest! {
    #[test]
    fn any_packet_is_answered_or_dropped(
        packet in prop::collection::vec(any::<u8>(), 0..200),
        word in prop::sample::select(vec![0_u32, 1, 2, 3, 4, 99, 123_456, u32::MAX]),
    ) {
        let mut rig = Rig::new(identity(1), RouteServers::Host);
        rig.delivered(&packet);
        rig.control(&packet);
        if let Some(place) = packet.get(12..16).map(|_| 12..16) {
            let mut packet = packet;
            packet[place].copy_from_slice(&word.to_be_bytes());
            prop_assert_eq!(rig.delivered(&packet), Vec::<Vec<u8>>::new());
        }
    }

    #[test]
    fn any_text_of_a_session_is_answered_at_most_once(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..6),
        query in prop::sample::select(vec!["1:q2:gp", "1:q2:fn", "2:sq3:ann", "2:sq2:gr", "2:sq2:pn", ""]),
    ) {
        let mut rig = Rig::new(identity(1), RouteServers::Host);
        let mut client = Client::new(identity(2), rig.router.identity.public());
        client.talk(&mut rig, &Query::Ping.write(head(b"x")));
        for text in &texts {
            let dictionary = [
                format!("d1:pi22e4:txid1:x{query}3:ann{}:", text.len()).as_bytes(),
                text,
                format!("3:tar{}:", text.len()).as_bytes(),
                text,
                b"e",
            ].concat();
            let packet = client.send(rig.now, &[&[0x10, 0, 1, 0][..], &dictionary].concat());
            prop_assert!(rig.delivered(&packet).len() <= 1);
            let packet = client.send(rig.now, text);
            prop_assert!(rig.delivered(&packet).len() <= 1);
        }
    }
}
