//! Noise: the machine, and in the place of the owner of its keys a list.

use crate::network::{SECOND, Step, Way, config, steps};
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use dataplane_crypt::credential::{Credential, Credentials};
use dataplane_crypt::data::{DataKeys, Framing};
use dataplane_crypt::identity::Identity;
use dataplane_crypt::noise::{Action, Admission, Gate, Message, Peer, Tai64n};
use dataplane_crypt::replay::ReplayWindow;
use dataplane_crypt::test_rng::TestRng;
use proptest::prelude::*;
use std::collections::BTreeSet;

struct World {
    rng: TestRng,
    now: u64,
    nodes: [Identity; 2],
    users: Credentials,
    ends: [End; 2],
    ways: [Way; 2],
    loaded: bool,
    sent: u64,
    arrived: BTreeSet<u64>,
}

struct End {
    gate: Gate,
    peer: Peer,
    keys: Vec<Keys>,
    sending: Option<u32>,
}

struct Keys {
    keys: DataKeys,
    own_index: u32,
    peer_index: u32,
    next: u32,
    window: ReplayWindow,
}

impl End {
    /// Side 0 dials, side 1 has the users.
    fn new(nodes: &[Identity; 2], side: usize, after: Tai64n) -> Self {
        let credential = (side == 0).then(|| Credential::new(Some(b"bob"), b"pw"));
        let peer = nodes[1 - side].public();
        let session = u32::try_from(side).unwrap() + 1;
        Self {
            gate: Gate::new(&nodes[side].public()),
            peer: Peer::new(&nodes[side], peer, credential, session, after).unwrap(),
            keys: Vec::new(),
            sending: None,
        }
    }

    fn install(&mut self, keys: DataKeys) {
        let Framing::Noise { own_index, peer_index } = keys.framing else { panic!("noise keys") };
        assert!(self.keys.iter().all(|other| other.own_index != own_index), "an index twice");
        if keys.confirmed {
            self.sending = Some(own_index);
        }
        let (next, window) = (keys.first_nonce, ReplayWindow::new());
        self.keys.push(Keys { keys, own_index, peer_index, next, window });
    }

    fn seal(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.iter_mut().find(|keys| Some(keys.own_index) == self.sending)?;
        let mut packet = keys.peer_index.to_le_bytes().to_vec();
        packet.extend(keys.next.to_le_bytes());
        keys.next += 1;
        let cipher = ChaCha20Poly1305::new((&keys.keys.send).into());
        packet.extend(cipher.encrypt((&nonce(&packet)).into(), text).unwrap());
        Some(packet)
    }

    /// The text of a data packet, and whose keys opened it.
    fn open(&mut self, packet: &[u8]) -> Option<(Vec<u8>, u32)> {
        let index = u32::from_le_bytes(*packet.first_chunk()?);
        let keys = self.keys.iter_mut().find(|keys| keys.own_index == index)?;
        let counter = u32::from_le_bytes(packet.get(4..8)?.try_into().unwrap());
        let cipher = ChaCha20Poly1305::new((&keys.keys.receive).into());
        let text = cipher.decrypt((&nonce(packet)).into(), &packet[8..]).ok()?;
        keys.window.accept(counter).ok()?;
        Some((text, index))
    }
}

fn nonce(packet: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..8].copy_from_slice(&packet[4..8]);
    nonce
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = TestRng::new(seed);
        let nodes = [Identity::generate(&mut rng), Identity::generate(&mut rng)];
        let mut users = Credentials::new();
        users.insert(Some("bob"), b"pw", None).unwrap();
        let ends = [0, 1].map(|side| End::new(&nodes, side, Tai64n::default()));
        let ways = Default::default();
        let arrived = BTreeSet::new();
        Self { rng, now: SECOND, nodes, users, ends, ways, loaded: seed % 2 == 1, sent: 0, arrived }
    }

    fn initiate(&mut self, side: usize) {
        // A clock that stands still most of the time: timestamps must grow all the same.
        let wall = Tai64n::from_unix(self.now / (100 * SECOND), 0);
        let end = &mut self.ends[side];
        let init = end.peer.initiate(&self.nodes[side], self.now, wall, &mut self.rng);
        self.ways[side].put(init);
    }

    /// Sends a payload, or starts what it needs. Gives the payload's number if it went out.
    fn send(&mut self, side: usize) -> Option<u64> {
        self.sent += 1;
        let end = &mut self.ends[side];
        if let Some(packet) = end.seal(&self.sent.to_be_bytes()) {
            end.peer.sent(self.now, true);
            self.ways[side].put(packet);
            return Some(self.sent);
        }
        if end.peer.needs_init() {
            self.initiate(side);
        }
        None
    }

    fn poll(&mut self) {
        for side in [0, 1] {
            for action in self.ends[side].peer.poll(self.now) {
                let end = &mut self.ends[side];
                match action {
                    Action::Initiate => self.initiate(side),
                    Action::Keepalive => {
                        let packet = end.seal(b"");
                        self.ways[side].flying.extend(packet);
                    }
                    Action::Drop(own_index) => {
                        end.keys.retain(|keys| keys.own_index != own_index);
                        end.sending.take_if(|sending| *sending == own_index);
                    }
                    Action::GaveUp => {}
                }
            }
            let end = &self.ends[side];
            assert!(end.keys.len() <= 3, "more keys than an owner has room for");
            assert!(end.keys.iter().all(|keys| end.peer.is_alive(keys.own_index)));
        }
    }

    /// Lets a packet from `side` arrive; gives the number of a payload.
    fn arrive(&mut self, side: usize, packet: &[u8]) -> Option<u64> {
        let (to, now) = (1 - side, self.now);
        let end = &mut self.ends[to];
        let rng = &mut self.rng;
        match Message::parse(packet) {
            Ok(Message::Init(init)) => {
                let source = [u8::try_from(side).unwrap()];
                match end.gate.admit(now, rng, &source, &init, self.loaded).ok()? {
                    Admission::Reply(reply) => self.ways[to].put(reply),
                    Admission::Open => {
                        let opened = init.open(&self.nodes[to]).ok()?;
                        let authorized = opened.authorize(&self.users, true).ok()?;
                        let answer = end.peer.respond(now, rng, &opened, &authorized);
                        let (response, keys) = answer.ok()?;
                        end.install(keys);
                        self.ways[to].put(response);
                    }
                }
                None
            }
            Ok(Message::Response(response)) => {
                let keys = end.peer.receive_response(&self.nodes[to], now, &response).ok()?;
                end.install(keys);
                let keepalive = end.seal(b"").unwrap();
                self.ways[to].put(keepalive);
                None
            }
            Ok(Message::Cookie(cookie)) => end.peer.receive_cookie(now, &cookie).err().and(None),
            Err(_) => {
                let (text, own_index) = end.open(packet)?;
                if end.peer.opened(own_index, now, !text.is_empty()) {
                    end.sending = Some(own_index);
                }
                let number = u64::from_be_bytes(text.try_into().ok()?);
                assert!(number <= self.sent, "a payload that nobody sent");
                assert!(self.arrived.insert(number), "payload {number} arrived twice");
                Some(number)
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { side } => {
                self.send(side.into());
            }
            Step::Arrive { side, .. } | Step::Replay { side, .. } | Step::Forge { side, .. } => {
                let side = usize::from(side);
                if let Some(packet) = self.ways[side].take(step) {
                    self.arrive(side, &packet);
                }
            }
            Step::Restart { side } => {
                let side = usize::from(side);
                let after = self.ends[side].peer.sent_timestamp();
                self.ends[side] = End::new(&self.nodes, side, after);
            }
            Step::Wait { milliseconds } => {
                let until = self.now + milliseconds * 1_000_000;
                while self.now < until {
                    self.now = until.min(self.now + SECOND);
                    self.poll();
                }
            }
        }
        self.poll();
    }

    fn settle(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..6 {
            for side in [0, 1] {
                for packet in std::mem::take(&mut self.ways[side].flying) {
                    numbers.extend(self.arrive(side, &packet));
                    self.poll();
                }
            }
        }
        numbers
    }

    /// A payload from each, over a network that does nothing bad. Whether both arrived.
    fn exchange(&mut self) -> bool {
        self.settle();
        let sent = [0, 1].map(|side| self.send(side));
        let arrived = self.settle();
        sent.iter().all(|number| number.is_some_and(|number| arrived.contains(&number)))
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn noise_sessions_are_made_whatever_happened(seed in any::<u64>(), steps in steps()) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        let rounds = (0..40).find(|_| {
            world.now += SECOND;
            world.poll();
            world.exchange() && world.exchange()
        });
        prop_assert!(rounds.is_some());

        let recorded = [0, 1].map(|side| world.ways[side].recorded.clone());
        for (side, packets) in recorded.iter().enumerate() {
            for packet in packets {
                for from in [side, 1 - side] {
                    // Of data, one that never arrived may do so.
                    world.arrive(from, packet);
                    prop_assert!(world.exchange(), "disturbed by {:?}", packet);
                }
            }
        }

        // Ten minutes of traffic: keys are made anew, and nothing is lost.
        for _ in 0..600 {
            world.now += SECOND;
            world.poll();
            prop_assert!(world.exchange());
        }
    }
}
