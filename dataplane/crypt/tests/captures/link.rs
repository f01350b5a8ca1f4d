//! The sessions of one link, followed with our machines in the place of both nodes.

use crate::lab::{Capture, Frame};
use dataplane_crypt::aead::{Aead, Job};
use dataplane_crypt::credential::{Credential, Credentials};
use dataplane_crypt::cryptoauth::{Handshake, Outbound, Packet};
use dataplane_crypt::data::{DataKeys, Framing, NOISE_HEAD_LEN, TAG_LEN};
use dataplane_crypt::identity::Identity;
use dataplane_crypt::noise::{self, Message, Peer, Tai64n};
use dataplane_crypt::test_rng::TestRng;
use std::collections::BTreeMap;
use wire::beacon::Beacon;

/// The nodes of the captures.
pub(crate) const NODES: [&str; 3] = ["A", "M", "B"];

/// What a frame was.
pub(crate) enum Kind {
    Beacon { version: u32 },
    Hello,
    Key,
    Data { nonce: u32, from_initiator: bool },
    NoiseInit { timestamp: String },
    NoiseResponse { send: String, receive: String },
    NoiseData { counter: u32, empty: bool },
}

/// A frame that was opened.
pub(crate) struct Opened {
    pub(crate) kind: Kind,
    pub(crate) source: &'static str,
    pub(crate) plaintext: Option<Vec<u8>>,
}

/// One link: two nodes, and what they hold.
pub(crate) struct Link<'a> {
    capture: &'a Capture,
    ends: [&'static str; 2],
    sources: BTreeMap<Vec<u8>, &'static str>,
    /// Passwords of beacons, by who sent them.
    beacons: BTreeMap<&'static str, [u8; 20]>,
    /// Hellos since the last key, by receiver.
    hellos: BTreeMap<&'static str, Vec<Vec<u8>>>,
    initiators: BTreeMap<&'static str, Handshake>,
    peers: BTreeMap<&'static str, Peer>,
    inits: BTreeMap<&'static str, Vec<u8>>,
    /// Data keys, by who receives with them.
    keys: Vec<(&'static str, DataKeys)>,
    aead: Aead,
}

impl<'a> Link<'a> {
    pub(crate) fn new(capture: &'a Capture, link: &str) -> Self {
        Self {
            capture,
            ends: if link == "am" { ["A", "M"] } else { ["M", "B"] },
            sources: BTreeMap::new(),
            beacons: BTreeMap::new(),
            hellos: BTreeMap::new(),
            initiators: BTreeMap::new(),
            peers: BTreeMap::new(),
            inits: BTreeMap::new(),
            keys: Vec::new(),
            aead: Aead::detect(),
        }
    }

    pub(crate) fn open(&mut self, frame: &Frame) -> Opened {
        let packet = &frame.packet;
        if frame.broadcast {
            let beacon = Beacon::parse(packet).unwrap();
            let source = self.node(|identity| identity.public() == beacon.key);
            self.sources.insert(frame.source.clone(), source);
            self.beacons.insert(source, beacon.password);
            let kind = Kind::Beacon { version: beacon.version };
            return Opened { kind, source, plaintext: None };
        }
        let word = u32::from_be_bytes(packet[..4].try_into().unwrap());
        if word < 4 {
            let sender = Packet::parse(packet).unwrap().sender;
            let source = self.node(|identity| identity.public() == sender);
            self.sources.insert(frame.source.clone(), source);
            return if word < 2 { self.hello(source, packet) } else { self.key(source, packet) };
        }
        if word == u32::MAX {
            return self.noise(frame);
        }
        self.data(self.sources[&frame.source], packet)
    }

    fn node(&self, is_it: impl Fn(&Identity) -> bool) -> &'static str {
        let found = self.ends.into_iter().find(|node| is_it(&self.capture.nodes[node]));
        found.unwrap()
    }

    fn other(&self, node: &str) -> &'static str {
        if self.ends[0] == node { self.ends[1] } else { self.ends[0] }
    }

    /// Those who may log in at `node`.
    fn users(&self, node: &str) -> Credentials {
        let mut users = Credentials::new();
        let Capture { login, password, .. } = self.capture;
        users.insert(Some(login), password.as_bytes(), None).unwrap();
        if let Some(password) = self.beacons.get(node) {
            users.insert(Some("Local Peers"), password, None).unwrap();
        }
        users
    }

    /// What one logs in with at `node`.
    fn credential(&self, node: &str) -> Credential {
        match self.beacons.get(node) {
            Some(password) => Credential::new(Some(b"Local Peers"), password),
            None => Credential::new(
                Some(self.capture.login.as_bytes()),
                self.capture.password.as_bytes(),
            ),
        }
    }

    fn hello(&mut self, source: &'static str, packet: &[u8]) -> Opened {
        let receiver = self.other(source);
        let nodes = &self.capture.nodes;
        let parsed = Packet::parse(packet).unwrap();
        let users = self.users(receiver);
        let authorized = parsed.authorize(&users, false).unwrap();
        let mut handshake = Handshake::new(&nodes[receiver], nodes[source].public(), None).unwrap();
        let received = handshake.receive(&nodes[receiver], 0, &parsed, &authorized).unwrap();

        let made = self.capture.temporary[source].iter().find_map(|temporary| {
            let credential = Some(self.credential(receiver));
            let peer = nodes[receiver].public();
            let mut handshake = Handshake::new(&nodes[source], peer, credential).unwrap();
            let mut rng = TestRng::new(0);
            rng.lay_down(temporary);
            rng.lay_down(&packet[16..40]);
            let sent = handshake.send(0, &mut rng, &received.payload);
            (sent == Outbound::Handshake { packet: packet.to_vec(), keys: None })
                .then_some(handshake)
        });
        self.initiators.insert(source, made.unwrap());
        self.hellos.entry(receiver).or_default().push(packet.to_vec());
        Opened { kind: Kind::Hello, source, plaintext: Some(received.payload) }
    }

    fn key(&mut self, source: &'static str, packet: &[u8]) -> Opened {
        let receiver = self.other(source);
        let nodes = &self.capture.nodes;
        let parsed = Packet::parse(packet).unwrap();
        let none = Credentials::new();
        let authorized = parsed.authorize(&none, false).unwrap();
        let initiator = self.initiators.get_mut(receiver).unwrap();
        let received = initiator.receive(&nodes[receiver], 0, &parsed, &authorized).unwrap();

        let hello = &self.hellos[source][self.hellos[source].len() - 1];
        let made = self.capture.temporary[source].iter().find_map(|temporary| {
            let peer = nodes[receiver].public();
            let mut handshake = Handshake::new(&nodes[source], peer, None).unwrap();
            let hello = Packet::parse(hello).unwrap();
            let users = self.users(source);
            let authorized = hello.authorize(&users, false).unwrap();
            handshake.receive(&nodes[source], 0, &hello, &authorized).unwrap();
            let mut rng = TestRng::new(0);
            rng.lay_down(temporary);
            rng.lay_down(&packet[5..14]);
            rng.lay_down(&packet[16..40]);
            let (made, keys) = handshake.answer(&mut rng, &received.payload).unwrap();
            keys.filter(|_| made == packet)
        });
        let (ours, theirs) = (received.keys.unwrap().keys, made.unwrap().keys);
        assert_eq!((ours.send, ours.receive), (theirs.receive, theirs.send));
        self.keys.extend([(receiver, ours), (source, theirs)]);
        Opened { kind: Kind::Key, source, plaintext: Some(received.payload) }
    }

    fn noise(&mut self, frame: &Frame) -> Opened {
        match Message::parse(&frame.packet).unwrap() {
            Message::Init(init) => {
                let nodes = &self.capture.nodes;
                let opened = self.ends.iter().find_map(|node| init.open(&nodes[node]).ok());
                let opened = opened.unwrap();
                let source = self.node(|identity| identity.public() == opened.peer);
                self.sources.insert(frame.source.clone(), source);
                assert_eq!(opened.additional.version, Some(noise::PROTOCOL_VERSION));
                let made = self.initiate(source, init.sender_index, opened.timestamp);
                // A rekey tells a previous index, which ours never does.
                if opened.additional.previous.is_none() {
                    assert_eq!(made, frame.packet);
                }
                self.inits.insert(source, frame.packet.clone());
                let timestamp = hex(&opened.timestamp.0);
                Opened { kind: Kind::NoiseInit { timestamp }, source, plaintext: None }
            }
            Message::Response(response) => self.response(frame, &response),
            Message::Cookie(_) => panic!("there is none in the captures"),
        }
    }

    /// Our machine in the place of `source` makes the init again.
    fn initiate(&mut self, source: &'static str, index: u32, timestamp: Tai64n) -> Vec<u8> {
        let receiver = self.other(source);
        let nodes = &self.capture.nodes;
        let mut rng = TestRng::new(0);
        let credential = Some(self.credential(receiver));
        let peer = nodes[receiver].public();
        let mut machine =
            Peer::new(&nodes[source], peer, credential, index >> 8, Tai64n::default());
        let machine = machine.as_mut().unwrap();
        for before in 0..index & 0xff {
            machine.initiate(&nodes[source], 0, Tai64n::from_unix(0, before), &mut rng);
        }
        rng.lay_down(&self.capture.ephemeral[&(source, index)]);
        let made = machine.initiate(&nodes[source], 0, timestamp, &mut rng);
        let peer = Peer::new(&nodes[source], peer, None, 0, Tai64n::default()).unwrap();
        self.peers.insert(source, std::mem::replace(machine, peer));
        made
    }

    fn response(&mut self, frame: &Frame, response: &noise::Response<'_>) -> Opened {
        let nodes = &self.capture.nodes;
        let receiver = self.other(self.ends[0]);
        let receiver = if self.inits.contains_key(receiver) { receiver } else { self.ends[0] };
        let source = self.other(receiver);
        self.sources.insert(frame.source.clone(), source);
        let initiator = self.peers.get_mut(receiver).unwrap();
        let ours = initiator.receive_response(&nodes[receiver], 0, response).unwrap();

        let Message::Init(init) = Message::parse(&self.inits[receiver]).unwrap() else {
            panic!("an init")
        };
        let opened = init.open(&nodes[source]).unwrap();
        let users = self.users(source);
        let authorized = opened.authorize(&users, false).unwrap();
        let peer = nodes[receiver].public();
        let mut machine = Peer::new(&nodes[source], peer, None, 0, Tai64n::default()).unwrap();
        let mut rng = TestRng::new(0);
        rng.lay_down(&self.capture.ephemeral[&(source, response.sender_index)]);
        let (made, theirs) = machine.respond(0, &mut rng, &opened, &authorized).unwrap();
        // The sender's index is its own choice, and the authentication codes are over it.
        assert_eq!((&made[..8], &made[12..64]), (&frame.packet[..8], &frame.packet[12..64]));
        assert_eq!((ours.send, ours.receive), (theirs.receive, theirs.send));
        let kind = Kind::NoiseResponse { send: hex(&ours.send), receive: hex(&ours.receive) };
        let own_index = response.sender_index;
        let theirs = DataKeys {
            framing: Framing::Noise { own_index, peer_index: response.receiver_index },
            ..theirs.clone()
        };
        self.keys.extend([(receiver, ours), (source, theirs)]);
        Opened { kind, source, plaintext: None }
    }

    /// Opens a data packet with the code of the packet path.
    fn data(&mut self, source: &'static str, packet: &[u8]) -> Opened {
        let receiver = self.other(source);
        let word: [u8; 4] = packet[..4].try_into().unwrap();
        for (owner, keys) in self.keys.iter().rev().filter(|(owner, _)| *owner == receiver) {
            let mut packet = packet.to_vec();
            let (opened, kind, text_at) = match keys.framing {
                Framing::CryptoAuth { initiator } => {
                    let nonce = u32::from_be_bytes(word);
                    let side = if initiator { 0 } else { 32 };
                    let mut jobs = [Job {
                        key: &keys.receive,
                        nonce: u64::from(nonce) << side,
                        packet: &mut packet[4..],
                    }];
                    let opened = self.aead.open_xsalsa(&mut jobs);
                    (opened, Kind::Data { nonce, from_initiator: !initiator }, 20..packet.len())
                }
                Framing::Noise { own_index, .. } if own_index == u32::from_le_bytes(word) => {
                    let counter = u32::from_le_bytes(packet[4..8].try_into().unwrap());
                    let nonce = counter.into();
                    let mut jobs = [Job { key: &keys.receive, nonce, packet: &mut packet[8..] }];
                    let opened = self.aead.open_chacha(&mut jobs);
                    let empty = packet.len() == NOISE_HEAD_LEN + TAG_LEN;
                    (opened, Kind::NoiseData { counter, empty }, 8..packet.len() - 16)
                }
                Framing::Noise { .. } => continue,
            };
            if opened == 1 {
                assert_eq!(*owner, receiver);
                return Opened { kind, source, plaintext: Some(packet[text_at].to_vec()) };
            }
        }
        panic!("no key of {receiver} opens a packet from {source}")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
