//! Two nodes of ours that shake hands by Noise, and what a network, or who sits in it, does to them.

use crate::input::{Step, steps};
use crypt::aead::{Aead, Job};
use crypt::credential::{Credential, Credentials};
use crypt::data::{DataKeys, Framing, NOISE_HEAD_LEN, TAG_LEN};
use crypt::identity::Identity;
use crypt::noise::{Action, Admission, Gate, Message, Peer, Tai64n};
use crypt::replay::ReplayWindow;
use crypt::test_rng::TestRng;
use std::sync::LazyLock;

const SECOND_NS: u64 = 1_000_000_000;
/// Steps of one input that are run.
const STEPS_MAX: usize = 64;
/// Seconds in which two nodes always come to a session.
const ROUNDS_MAX: usize = 40;
/// Sets of keys that an owner has room for.
const KEYS_MAX: usize = 3;

static NODES: LazyLock<[Identity; 2]> = LazyLock::new(|| {
    let mut rng = TestRng::new(1);
    [Identity::generate(&mut rng), Identity::generate(&mut rng)]
});

static USERS: LazyLock<Credentials> = LazyLock::new(|| {
    let mut users = Credentials::new();
    // The table is empty.
    let _serial = users.insert(Some("bob"), b"pw", None);
    users
});

struct World {
    rng: TestRng,
    now: u64,
    aead: Aead,
    ends: [End; 2],
    /// What each has sent.
    packets: [Vec<Vec<u8>>; 2],
    loaded: bool,
}

struct End {
    gate: Gate,
    peer: Peer,
    keys: Vec<Keys>,
    sending: Option<u32>,
}

struct Keys {
    keys: DataKeys,
    next: u32,
    window: ReplayWindow,
}

/// Runs the steps that `input` spells: bit 0 of the operation is who sends, the others what happens. Then the network
/// heals, and the nodes have a session.
pub fn noise_session(input: &[u8]) {
    let ends = [0, 1].map(|side| End::new(side, Tai64n::default()));
    let [Some(a), Some(b)] = ends else { return };
    let mut world = World {
        rng: TestRng::new(2),
        now: SECOND_NS,
        aead: Aead::detect(),
        ends: [a, b],
        packets: [Vec::new(), Vec::new()],
        loaded: false,
    };
    for step in steps(input).take(STEPS_MAX) {
        world.step(step);
        world.poll();
    }
    let mut seen = [0, 1].map(|side: usize| world.packets[side].len());
    let healed = (0..ROUNDS_MAX).any(|_| {
        world.now += SECOND_NS;
        world.poll();
        world.exchange(&mut seen) && world.exchange(&mut seen)
    });
    assert!(healed, "no session");
}

impl End {
    /// Side 0 dials, side 1 has the users.
    fn new(side: u8, after: Tai64n) -> Option<Self> {
        let [a, b] = &*NODES;
        let (own, other) = if side == 0 { (a, b) } else { (b, a) };
        let credential = (side == 0).then(|| Credential::new(Some(b"bob"), b"pw"));
        let session = u32::from(side) + 1;
        let peer = Peer::new(own, other.public(), credential, session, after).ok()?;
        Some(Self { gate: Gate::new(&own.public()), peer, keys: Vec::new(), sending: None })
    }

    fn install(&mut self, keys: DataKeys) {
        let index = own_index(&keys);
        assert!(self.keys.iter().all(|old| own_index(&old.keys) != index), "an index twice");
        if keys.confirmed {
            self.sending = Some(index);
        }
        self.keys.push(Keys { keys, next: 0, window: ReplayWindow::new() });
    }

    fn seal(&mut self, aead: &mut Aead, text: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.iter_mut().find(|keys| Some(own_index(&keys.keys)) == self.sending)?;
        let Framing::Noise { peer_index, .. } = keys.keys.framing else { return None };
        let mut packet = peer_index.to_le_bytes().to_vec();
        packet.extend(keys.next.to_le_bytes());
        packet.extend(text);
        packet.extend([0; TAG_LEN]);
        let nonce = keys.next.into();
        keys.next += 1;
        let body = &mut packet[NOISE_HEAD_LEN..];
        aead.seal_chacha(&mut [Job { key: &keys.keys.send, nonce, packet: body }]);
        Some(packet)
    }

    /// Whose keys opened a data packet.
    fn open(&mut self, aead: &mut Aead, packet: &[u8]) -> Option<u32> {
        let ([i0, i1, i2, i3, c0, c1, c2, c3], body) =
            packet.split_first_chunk::<NOISE_HEAD_LEN>()?;
        let index = u32::from_le_bytes([*i0, *i1, *i2, *i3]);
        let counter = u32::from_le_bytes([*c0, *c1, *c2, *c3]);
        let keys = self.keys.iter_mut().find(|keys| own_index(&keys.keys) == index)?;
        let mut body = body.to_vec();
        let key = &keys.keys.receive;
        let opened = aead.open_chacha(&mut [Job { key, nonce: counter.into(), packet: &mut body }]);
        (opened == 1 && keys.window.accept(counter).is_ok()).then_some(index)
    }
}

fn own_index(keys: &DataKeys) -> u32 {
    match keys.framing {
        Framing::Noise { own_index, .. } => own_index,
        Framing::CryptoAuth { .. } => unreachable!("a Noise handshake ends in Noise keys"),
    }
}

impl World {
    fn step(&mut self, Step { op, argument, bytes }: Step<'_>) {
        let side = usize::from(op & 1);
        let packets = &self.packets[side];
        let place = usize::from(argument).checked_rem(packets.len()).unwrap_or(0);
        let packet = packets.get(place).cloned().unwrap_or_default();
        match op >> 1 & 7 {
            0 => {
                self.send(side);
            }
            1 => self.initiate(side),
            2 | 3 => {
                self.arrive(side, &packet);
            }
            // Some bytes of it changed, or others behind it.
            4 => {
                let mut packet = packet;
                packet.iter_mut().zip(bytes).for_each(|(byte, change)| *byte ^= change);
                packet.extend(bytes.iter().skip(packet.len()));
                self.arrive(side, &packet);
            }
            5 => {
                self.loaded = argument & 1 == 1;
                self.arrive(side, bytes);
            }
            6 => self.now += u64::from(argument) * SECOND_NS,
            _ => {
                let after = self.ends[side].peer.sent_timestamp();
                let fresh = End::new(op & 1, after);
                self.ends[side] = fresh.unwrap_or_else(|| unreachable!("made once before"));
            }
        }
    }

    fn initiate(&mut self, side: usize) {
        let peer = &mut self.ends[side].peer;
        let init = peer.initiate(&NODES[side], self.now, Tai64n::default(), &mut self.rng);
        self.packets[side].push(init);
    }

    /// Sends a payload, or the init that it needs.
    fn send(&mut self, side: usize) {
        let end = &mut self.ends[side];
        if let Some(packet) = end.seal(&mut self.aead, b"payload") {
            end.peer.sent(self.now, true);
            self.packets[side].push(packet);
        } else if end.peer.needs_init() {
            self.initiate(side);
        }
    }

    fn poll(&mut self) {
        for side in [0, 1] {
            for action in self.ends[side].peer.poll(self.now) {
                let end = &mut self.ends[side];
                match action {
                    Action::Initiate => self.initiate(side),
                    Action::Keepalive => {
                        let packet = end.seal(&mut self.aead, &[]);
                        self.packets[side].extend(packet);
                    }
                    Action::Drop(index) => {
                        end.keys.retain(|keys| own_index(&keys.keys) != index);
                        end.sending.take_if(|sending| *sending == index);
                    }
                    Action::GaveUp => {}
                }
            }
            let end = &self.ends[side];
            assert!(end.keys.len() <= KEYS_MAX, "more keys than an owner has room for");
            assert!(end.keys.iter().all(|keys| end.peer.is_alive(own_index(&keys.keys))));
        }
    }

    /// A packet from `side`. Whether it was a data packet that opened.
    fn arrive(&mut self, side: usize, packet: &[u8]) -> bool {
        let (to, now, rng) = (1 - side, self.now, &mut self.rng);
        let end = &mut self.ends[to];
        match Message::parse(packet) {
            Ok(Message::Init(init)) => match end.gate.admit(now, rng, &[0], &init, self.loaded) {
                Ok(Admission::Reply(reply)) => self.packets[to].push(reply),
                Ok(Admission::Open) => {
                    let Ok(opened) = init.open(&NODES[to]) else { return false };
                    let Ok(authorized) = opened.authorize(&USERS, true) else { return false };
                    let answer = end.peer.respond(now, rng, &opened, &authorized);
                    if let Ok((response, keys)) = answer {
                        end.install(keys);
                        self.packets[to].push(response);
                    }
                }
                Err(_refused) => {}
            },
            Ok(Message::Response(response)) => {
                if let Ok(keys) = end.peer.receive_response(&NODES[to], now, &response) {
                    end.install(keys);
                    let keepalive = end.seal(&mut self.aead, &[]);
                    self.packets[to].extend(keepalive);
                }
            }
            Ok(Message::Cookie(cookie)) => {
                let _refused = end.peer.receive_cookie(now, &cookie);
            }
            Err(_no_handshake) => {
                let Some(index) = end.open(&mut self.aead, packet) else { return false };
                if end.peer.opened(index, now, true) {
                    end.sending = Some(index);
                }
                return true;
            }
        }
        false
    }

    /// Nothing bad: what each sends arrives, and what it leads to. Whether data came from both.
    ///
    /// `seen`: packets that have arrived.
    fn exchange(&mut self, seen: &mut [usize; 2]) -> bool {
        let mut came = [false; 2];
        self.send(0);
        self.send(1);
        for _ in 0..6 {
            for side in [0, 1] {
                while let Some(packet) = self.packets[side].get(seen[side]).cloned() {
                    seen[side] += 1;
                    came[side] |= self.arrive(side, &packet);
                    self.poll();
                }
            }
        }
        came == [true, true]
    }
}
