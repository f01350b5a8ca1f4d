//! Hostile handshake packets, made with the structure in mind, by strangers and by one who may log in: no panic, no memory
//! that grows, and sessions that work go on.
//!
//! `SWITCHYARD_HOSTILE_PACKETS` sets the count; without it a fixed-seed million, a tenth of what is run by hand. At least
//! one in a hundred gets as far as a Diffie-Hellman.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and says what it did"
)]
#![expect(unsafe_code, reason = "an allocator")]

use dataplane_crypt as crypt;

use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};
use crypt::aead::{Aead, Job};
use crypt::credential::{Credential, Credentials};
use crypt::cryptoauth::{EndToEnd, HANDSHAKE_LEN, Handshake, Packet, Refusal, State};
use crypt::identity::Identity;
use crypt::noise::{self, Admission, Gate, Message, Peer, Tai64n};
use crypt::test_rng::TestRng;
use rand_core::Rng;
use sha2::Sha256;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes that are allocated now.
static ALLOCATED: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

fn count(size: usize, sign: i64) {
    ALLOCATED.fetch_add(sign * i64::try_from(size).unwrap_or(i64::MAX), Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Sessions with strangers that the box keeps.
const STRANGERS_MAX: usize = 32;
/// What may lie about at the end and did not at the start: those sessions, with what they remember, and packets.
const GROWTH_MAX: i64 = 512 * 1024;
const NANOSECONDS_BETWEEN: u64 = 10_000;

/// The box, a peer with a session of either kind, and who attacks.
struct World {
    rng: TestRng,
    now: u64,
    users: Credentials,
    own: Identity,
    peer: Identity,
    at_own: EndToEnd,
    at_peer: EndToEnd,
    noise_at_own: Peer,
    noise_at_peer: Peer,
    gate: Gate,
    strangers: VecDeque<Handshake>,
    noise_strangers: VecDeque<Peer>,
    insider: Insider,
    recorded: Vec<Vec<u8>>,
    /// Public keys that a node may have.
    usable: Vec<Identity>,
    outcomes: BTreeMap<&'static str, u64>,
    diffie_hellmans: u64,
}

/// One with a login.
struct Insider {
    identity: Identity,
    credential: Credential,
    /// The key of its hellos to the box.
    hello_key: [u8; 32],
    peer: Peer,
    aead: Aead,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = TestRng::new(seed);
        let mut usable: Vec<_> = (0..32).map(|_| Identity::generate(&mut rng)).collect();
        let [own, peer, insider] = std::array::from_fn(|_| usable.pop().unwrap());
        let mut users = Credentials::new();
        users.insert(Some("insider"), b"pw", None).unwrap();
        users.insert(None, b"other", None).unwrap();
        let credential = Credential::new(Some(b"insider"), b"pw");
        let shared = insider.secret().agree(&own.public()).unwrap();
        let hello_key =
            Sha256::new().chain_update(*shared).chain_update(credential.password_hash()).finalize();
        let new_peer = |from: &Identity, to: &Identity, credential| {
            Peer::new(from, to.public(), credential, 77, Tai64n::default()).unwrap()
        };
        let mut world = Self {
            now: 1_000_000_000,
            at_own: EndToEnd::new(&own, peer.public()).unwrap(),
            at_peer: EndToEnd::new(&peer, own.public()).unwrap(),
            noise_at_own: new_peer(&own, &peer, None),
            noise_at_peer: new_peer(&peer, &own, Some(credential.clone())),
            gate: Gate::new(&own.public()),
            strangers: VecDeque::new(),
            noise_strangers: VecDeque::new(),
            insider: Insider {
                hello_key: hello_key.into(),
                peer: new_peer(&insider, &own, Some(credential.clone())),
                identity: insider,
                credential,
                aead: Aead::detect(),
            },
            recorded: Vec::new(),
            usable,
            outcomes: BTreeMap::new(),
            diffie_hellmans: 0,
            rng,
            users,
            own,
            peer,
        };
        world.establish();
        world
    }

    /// Both sessions with the peer, some earlier ones, and recordings of all their handshakes.
    fn establish(&mut self) {
        for _ in 0..4 {
            self.at_peer = EndToEnd::new(&self.peer, self.own.public()).unwrap();
            self.now += 2_000_000_000;
            for _ in 0..3 {
                let up = self.at_peer.send(self.now, &mut self.rng, b"up");
                self.at_own.receive(&self.own, self.now, &up).unwrap();
                let down = self.at_own.send(self.now, &mut self.rng, b"down");
                self.at_peer.receive(&self.peer, self.now, &down).unwrap();
                self.recorded.extend([up, down]);
            }
            let wall = Tai64n::from_unix(self.now / 1_000_000_000, 0);
            let init = self.noise_at_peer.initiate(&self.peer, self.now, wall, &mut self.rng);
            let Message::Init(parsed) = Message::parse(&init).unwrap() else { panic!("an init") };
            let opened = parsed.open(&self.own).unwrap();
            let authorized = opened.authorize(&self.users, false).unwrap();
            let (response, keys) =
                self.noise_at_own.respond(self.now, &mut self.rng, &opened, &authorized).unwrap();
            let Message::Response(parsed) = Message::parse(&response).unwrap() else {
                panic!("a response")
            };
            self.noise_at_peer.receive_response(&self.peer, self.now, &parsed).unwrap();
            let crypt::data::Framing::Noise { own_index, .. } = keys.framing else { panic!() };
            assert!(self.noise_at_own.opened(own_index, self.now, false));
            self.recorded.extend([init, response]);
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// One hostile packet.
    fn packet(&mut self) -> Vec<u8> {
        let mut packet = match self.below(256) {
            // Of those who know the password, with whatever they like inside.
            0..=3 => self.sealed_hello(),
            4..=5 => self.insider_init(),
            // The right login, and nothing else right.
            6..=7 => self.hello(2),
            8..=90 => self.hello(0),
            91..=120 => self.hello(1),
            121..=160 => self.noise_message(),
            161..=230 => {
                let place = self.below(self.recorded.len());
                self.recorded[place].clone()
            }
            _ => {
                let len = self.below(300);
                self.bytes(len)
            }
        };
        match self.below(16) {
            0 => packet.truncate(self.below(packet.len() + 1)),
            1 if !packet.is_empty() => {
                let place = self.below(packet.len());
                packet[place] ^= 1 << self.below(8);
            }
            2 => {
                let tail = self.below(40);
                packet.extend(self.bytes(tail));
            }
            _ => {}
        }
        packet
    }

    /// A handshake packet of CryptoAuth with a random inside. `auth`: none, any, the right one.
    fn hello(&mut self, auth: usize) -> Vec<u8> {
        let payload = self.below(64);
        let mut packet = self.bytes(HANDSHAKE_LEN + payload);
        packet[..4].copy_from_slice(&[0, 0, 0, 0]);
        packet[3] = u8::try_from(self.below(4)).unwrap();
        packet[4] = [0, 0, 1, 2, 2, 3, 0x80][self.below(7)];
        if auth == 2 {
            packet[3] &= 1;
            packet[4..12].copy_from_slice(&self.insider.credential.lookup());
        }
        let place = self.below(self.usable.len() + 2);
        let sender = match self.usable.get(place) {
            Some(identity) => identity.public(),
            None => self.peer.public(),
        };
        if auth != 1 {
            packet[40..72].copy_from_slice(&sender.0);
        }
        packet
    }

    /// A hello that opens, with a temporary key that may be none.
    fn sealed_hello(&mut self) -> Vec<u8> {
        let len = [0, 31, 32, 33, 60][self.below(5)];
        let mut text = self.bytes(len);
        match self.below(4) {
            0 => text.iter_mut().take(32).for_each(|byte| *byte = 0),
            // A point of small order, and few keys, so that they come again.
            1 => text.iter_mut().take(32).skip(1).for_each(|byte| *byte = 0),
            _ => {}
        }
        let nonce = self.rng.next_u64();
        let mut packet = vec![0, 0, 0, u8::try_from(self.below(2)).unwrap()];
        packet.extend(self.insider.credential.lookup());
        packet.extend([0; 4]);
        packet.extend(nonce.to_le_bytes());
        packet.extend([0; 16]);
        packet.extend(self.insider.identity.public().0);
        let sealed_at = packet.len();
        packet.extend([0; 16]);
        packet.extend(text);
        let packet_part = &mut packet[sealed_at..];
        let mut jobs = [Job { key: &self.insider.hello_key, nonce, packet: packet_part }];
        self.insider.aead.seal_xsalsa(&mut jobs);
        packet
    }

    fn insider_init(&mut self) -> Vec<u8> {
        let wall = Tai64n::from_unix(self.rng.next_u64() % 1000, 0);
        let Insider { identity, peer, .. } = &mut self.insider;
        peer.initiate(identity, self.now, wall, &mut self.rng)
    }

    fn noise_message(&mut self) -> Vec<u8> {
        let kind = self.below(5);
        let len = [0, 152, 96, 68, 180][kind];
        let any = if kind == 0 { 16 + self.below(200) } else { 0 };
        let mut packet = self.bytes(len.max(any));
        packet[..4].fill(0xff);
        packet[4..8].copy_from_slice(&u32::try_from(kind % 4).unwrap().to_le_bytes());
        // Our indices are easily guessed.
        let index = 77 << 8 | u32::try_from(self.below(8)).unwrap();
        packet[8..12].copy_from_slice(&index.to_le_bytes());
        packet[12..16].copy_from_slice(&index.to_le_bytes());
        if kind == 1 && self.below(8) == 0 {
            // Public keys are known, so anyone passes the gate of an idle box.
            let key = Blake2s256::new().chain_update(b"mac1----").chain_update(self.own.public().0);
            let mut mac = Blake2sMac::<U16>::new_from_slice(&key.finalize()).unwrap();
            Mac::update(&mut mac, &packet[4..len - 32]);
            packet[len - 32..len - 16].copy_from_slice(&mac.finalize_fixed());
        }
        packet
    }

    fn note(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// From the address of the peer with which there are sessions.
    fn arrives_from_peer(&mut self, packet: &[u8]) {
        let outcome = match self.at_own.receive(&self.own, self.now, packet) {
            Ok(payload) => {
                assert!(payload.in_handshake, "only the peer makes data");
                self.diffie_hellmans += 1;
                "taken on a link"
            }
            Err(refusal) => refusal.name(),
        };
        self.note(outcome);
        match Message::parse(packet) {
            Ok(Message::Response(response)) => {
                self.noise_at_own.receive_response(&self.own, self.now, &response).unwrap_err();
            }
            Ok(Message::Cookie(cookie)) => {
                self.noise_at_own.receive_cookie(self.now, &cookie).unwrap_err();
            }
            Ok(Message::Init(_)) | Err(_) => {}
        }
        self.init(packet, true);
    }

    /// From an address that nobody knows.
    fn arrives_from_stranger(&mut self, packet: &[u8]) {
        let outcome = self.hello_of_stranger(packet).map_or_else(Refusal::name, |()| "answered");
        self.note(outcome);
        self.init(packet, false);
    }

    fn hello_of_stranger(&mut self, packet: &[u8]) -> Result<(), Refusal> {
        let packet = Packet::parse(packet)?;
        let authorized = packet.authorize(&self.users, false)?;
        if !packet.stage.is_hello() {
            return Err(Refusal::NoSession);
        }
        self.diffie_hellmans += 1;
        // Now and then the box has forgotten who that was.
        let forgets = self.rng.next_u64().is_multiple_of(4);
        let same = |known: &Handshake| known.peer() == packet.sender && !forgets;
        let known = self.strangers.iter().position(same);
        let mut handshake = match known {
            Some(place) => self.strangers.remove(place).unwrap(),
            None => Handshake::new(&self.own, packet.sender, None)?,
        };
        handshake.poll(self.now);
        let received = handshake.receive(&self.own, self.now, &packet, &authorized);
        if received.as_ref().is_ok_and(|received| received.answer) {
            let (answer, _keys) = handshake.answer(&mut self.rng, b"").unwrap();
            assert_eq!(answer.len(), HANDSHAKE_LEN);
        }
        self.strangers.push_back(handshake);
        if self.strangers.len() > STRANGERS_MAX {
            self.strangers.pop_front();
        }
        received.map(drop)
    }

    fn init(&mut self, packet: &[u8], known: bool) {
        let outcome = self.answer_init(packet, known);
        self.note(outcome.map_or_else(noise::Refusal::name, |()| "init answered"));
    }

    fn answer_init(&mut self, packet: &[u8], known: bool) -> Result<(), noise::Refusal> {
        let Message::Init(init) = Message::parse(packet)? else {
            return Err(noise::Refusal::UnknownType);
        };
        let loaded = self.rng.next_u64().is_multiple_of(4);
        match self.gate.admit(self.now, &mut self.rng, b"source", &init, loaded)? {
            Admission::Reply(reply) => {
                assert!(reply.len() < packet.len(), "an amplifier");
                return Ok(());
            }
            Admission::Open => {}
        }
        self.diffie_hellmans += 1;
        let opened = init.open(&self.own)?;
        let authorized = opened.authorize(&self.users, known)?;
        if opened.peer == self.peer.public() {
            let answer = self.noise_at_own.respond(self.now, &mut self.rng, &opened, &authorized);
            return answer.map(drop);
        }
        let place = self.noise_strangers.iter().position(|known| known.peer() == opened.peer);
        let mut peer = match place {
            Some(place) => self.noise_strangers.remove(place).unwrap(),
            None => Peer::new(&self.own, opened.peer, None, 5, Tai64n::default())?,
        };
        peer.poll(self.now);
        let answer = peer.respond(self.now, &mut self.rng, &opened, &authorized);
        self.noise_strangers.push_back(peer);
        if self.noise_strangers.len() > STRANGERS_MAX {
            self.noise_strangers.pop_front();
        }
        answer.map(drop)
    }

    /// The peer's sessions work, in both directions, with the keys that they had.
    fn check(&mut self) {
        let packet = self.at_peer.send(self.now, &mut self.rng, b"still");
        let opened = self.at_own.receive(&self.own, self.now, &packet).unwrap();
        assert!(opened.bytes == b"still" && !opened.in_handshake);
        let packet = self.at_own.send(self.now, &mut self.rng, b"here");
        assert_eq!(self.at_peer.receive(&self.peer, self.now, &packet).unwrap().bytes, b"here");
        assert_eq!(self.at_own.state(), State::Established);
        assert_eq!(self.noise_at_own.state(), noise::State::Established);
    }
}

#[test]
fn hostile_handshakes_cost_little_and_disturb_nothing() {
    let packets: u64 = std::env::var("SWITCHYARD_HOSTILE_PACKETS")
        .map_or(1_000_000, |count| count.parse().unwrap());
    let mut world = World::new(20_261_128);
    let before = ALLOCATED.load(Ordering::Relaxed);
    for number in 0..packets {
        let packet = world.packet();
        if number % 2 == 0 {
            world.arrives_from_peer(&packet);
        } else {
            world.arrives_from_stranger(&packet);
        }
        world.now += NANOSECONDS_BETWEEN;
        if number % 1000 == 999 {
            world.check();
            let grown = ALLOCATED.load(Ordering::Relaxed) - before;
            assert!(grown < GROWTH_MAX, "{grown} bytes more after {number} packets");
        }
    }
    let grown = ALLOCATED.load(Ordering::Relaxed) - before;
    println!(
        "hostile: {packets} packets, {} Diffie-Hellmans, {grown} bytes more",
        world.diffie_hellmans
    );
    println!("hostile: {:?}", world.outcomes);
    assert!(world.diffie_hellmans >= packets / 100, "{} of {packets}", world.diffie_hellmans);
}
