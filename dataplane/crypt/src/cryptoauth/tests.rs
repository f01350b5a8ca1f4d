//! Rule by rule: CJDNS-WIRE.md §2.2.4 to §2.2.7, and where a session here is better than that.

use super::packet::Sealing;
use super::*;
use crate::credential::{Credential, Credentials};
use crate::identity::{Identity, SecretKey};
use crate::secretbox::box_key;
use crate::test_rng::TestRng;
use wire::key::PublicKey;

const SECOND: u64 = 1_000_000_000;

/// Two nodes, the one with the lower key first, and their sessions with each other.
struct Pair {
    rng: TestRng,
    now: u64,
    low: Side,
    high: Side,
}

struct Side {
    identity: Identity,
    session: EndToEnd,
}

impl Side {
    fn new(identity: &Identity, peer: &Identity) -> Self {
        let session = EndToEnd::new(identity, peer.public()).unwrap();
        Self { identity: identity.clone(), session }
    }

    fn receive(&mut self, now: u64, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.session.receive(&self.identity, now, packet).map(|payload| payload.bytes)
    }
}

impl Pair {
    fn new() -> Self {
        let mut rng = TestRng::new(7);
        let mut nodes = [Identity::generate(&mut rng), Identity::generate(&mut rng)];
        nodes.sort_by_key(Identity::public);
        let [low, high] = &nodes;
        let (low, high) = (Side::new(low, high), Side::new(high, low));
        Self { rng, now: 1000 * SECOND, low, high }
    }

    fn low_sends(&mut self, payload: &[u8]) -> Vec<u8> {
        self.low.session.send(self.now, &mut self.rng, payload)
    }

    fn high_sends(&mut self, payload: &[u8]) -> Vec<u8> {
        self.high.session.send(self.now, &mut self.rng, payload)
    }

    fn low_receives(&mut self, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.low.receive(self.now, packet)
    }

    fn high_receives(&mut self, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.high.receive(self.now, packet)
    }

    /// One packet each way as long as they shake hands; gives all packets, the low one's at even places.
    fn establish(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for _ in 0..2 {
            packets.push(self.low_sends(b"up"));
            assert_eq!(self.high_receives(&packets[packets.len() - 1]).unwrap(), b"up");
            packets.push(self.high_sends(b"down"));
            assert_eq!(self.low_receives(&packets[packets.len() - 1]).unwrap(), b"down");
        }
        assert_eq!(self.low.session.state(), State::Established);
        assert_eq!(self.high.session.state(), State::Established);
        packets
    }

    fn works(&mut self) {
        let packet = self.low_sends(b"x");
        assert_eq!(self.high_receives(&packet).unwrap(), b"x");
        let packet = self.high_sends(b"y");
        assert_eq!(self.low_receives(&packet).unwrap(), b"y");
    }

    fn restart_low(&mut self) {
        self.low = Side::new(&self.low.identity, &self.high.identity);
    }

    fn restart_high(&mut self) {
        self.high = Side::new(&self.high.identity, &self.low.identity);
    }
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(*packet.first_chunk().unwrap())
}

#[test]
fn a_session_goes_through_its_states() {
    let mut pair = Pair::new();
    assert_eq!(pair.low.session.state(), State::Init);
    let hello = pair.low_sends(b"a");
    assert_eq!((number(&hello), pair.low.session.state()), (0, State::SentHello));
    pair.high_receives(&hello).unwrap();
    assert_eq!(pair.high.session.state(), State::ReceivedHello);
    let key = pair.high_sends(b"b");
    assert_eq!((number(&key), pair.high.session.state()), (2, State::SentKey));
    pair.low_receives(&key).unwrap();
    assert_eq!(pair.low.session.state(), State::ReceivedKey);
    let data = pair.low_sends(b"c");
    assert_eq!((number(&data), pair.low.session.state()), (4, State::ReceivedKey));
    pair.high_receives(&data).unwrap();
    assert_eq!(pair.high.session.state(), State::Established);
    let data = pair.high_sends(b"d");
    assert_eq!(number(&data), 6, "a responder's first number");
    pair.low_receives(&data).unwrap();
    assert_eq!(pair.low.session.state(), State::Established);
    assert_eq!(number(&pair.low_sends(b"e")), 8, "the jump behind the first packet opened");
    assert_eq!(pair.low_receives(&data).unwrap_err(), Refusal::Replay);
}

#[test]
fn repeats_carry_payloads_and_first_packets_count_once() {
    let mut pair = Pair::new();
    let hellos = [pair.low_sends(b"1"), pair.low_sends(b"2"), pair.low_sends(b"3")];
    assert_eq!(hellos.each_ref().map(|packet| number(packet)), [0, 1, 1]);
    assert_eq!(pair.high_receives(&hellos[0]).unwrap(), b"1");
    assert_eq!(pair.high_receives(&hellos[0]).unwrap_err(), Refusal::Duplicate);
    assert_eq!(pair.high_receives(&hellos[1]).unwrap(), b"2");
    let keys = [pair.high_sends(b"4"), pair.high_sends(b"5"), pair.high_sends(b"6")];
    assert_eq!(keys.each_ref().map(|packet| number(packet)), [2, 3, 3]);
    assert_eq!(pair.high_receives(&hellos[2]).unwrap(), b"3", "also once a key is out");
    assert_eq!(pair.low_receives(&keys[1]).unwrap(), b"5", "the first key may be lost");
    assert_eq!(pair.low_receives(&keys[2]).unwrap(), b"6");
    assert_eq!(pair.low_receives(&keys[0]).unwrap_err(), Refusal::Duplicate);
    pair.works();
    assert_eq!(pair.low_receives(&keys[2]).unwrap_err(), Refusal::KeyOnEstablished);
    assert_eq!(pair.high_receives(&hellos[2]).unwrap_err(), Refusal::Duplicate);
    pair.works();
}

#[test]
fn of_crossing_hellos_the_lower_key_s_counts() {
    for low_is_first in [true, false] {
        let mut pair = Pair::new();
        let (low, high) = (pair.low_sends(b"low"), pair.high_sends(b"high"));
        if low_is_first {
            assert_eq!(pair.high_receives(&low).unwrap(), b"low");
            assert_eq!(pair.low_receives(&high).unwrap(), b"high");
        } else {
            assert_eq!(pair.low_receives(&high).unwrap(), b"high");
            assert_eq!(pair.high_receives(&low).unwrap(), b"low");
        }
        assert_eq!(pair.low.session.state(), State::SentHello);
        assert_eq!(pair.high.session.state(), State::ReceivedHello);
        let key = pair.high_sends(b"key");
        assert_eq!(number(&key), 2);
        pair.low_receives(&key).unwrap();
        pair.works();
    }
}

#[test]
fn a_peer_that_takes_no_hello_of_ours_is_answered_in_the_end() {
    let mut pair = Pair::new();
    pair.low_sends(b"never arrives");
    let hello = pair.high_sends(b"1");
    pair.low_receives(&hello).unwrap();
    assert_eq!(number(&pair.low_sends(b"")), 1, "ours has precedence");
    pair.now += 5 * SECOND;
    let hello = pair.high_sends(b"2");
    pair.low_receives(&hello).unwrap();
    let key = pair.low_sends(b"");
    assert_eq!(number(&key), 2);
    pair.high_receives(&key).unwrap();
    let data = pair.high_sends(b"3");
    assert_eq!(pair.low_receives(&data).unwrap(), b"3");
}

#[test]
fn of_crossing_answers_the_one_to_the_lower_key_counts() {
    let mut pair = Pair::new();
    // Nobody heard it for longer than the lower key has precedence.
    pair.low_sends(b"lost");
    pair.now += 6 * SECOND;
    let (hello_of_low, hello_of_high) = (pair.low_sends(b"a"), pair.high_sends(b"b"));
    pair.low_receives(&hello_of_high).unwrap();
    pair.high_receives(&hello_of_low).unwrap();
    let (key_of_low, key_of_high) = (pair.low_sends(b"c"), pair.high_sends(b"d"));
    assert_eq!((number(&key_of_low), number(&key_of_high)), (2, 2));
    assert_eq!(pair.high_receives(&key_of_low), Err(Refusal::StrayKey));
    assert_eq!(pair.low_receives(&key_of_high).unwrap(), b"d");
    pair.works();
}

#[test]
fn recordings_disturb_nothing() {
    let mut pair = Pair::new();
    let mut recorded = pair.establish();
    for round in 0..8 {
        // Each restarts now and then; what it then takes for new must not disturb either.
        match round % 4 {
            0 => pair.restart_low(),
            2 => pair.restart_high(),
            _ => {}
        }
        pair.now += 10 * SECOND;
        for _ in 0..6 {
            let packet = pair.low_sends(b"x");
            let _refused = pair.high_receives(&packet);
            let answer = pair.high_sends(b"y");
            let _refused = pair.low_receives(&answer);
            recorded.extend([packet, answer]);
            pair.now += SECOND;
        }
        pair.works();
        for packet in &recorded {
            // Data is told by its number. A hello may make a candidate, which nothing confirms, once.
            if number(packet) >= 4 {
                assert!(pair.high_receives(packet).is_err() && pair.low_receives(packet).is_err());
                continue;
            }
            let _taken = (pair.high_receives(packet), pair.low_receives(packet));
            let _keys = (pair.low_sends(b""), pair.high_sends(b""));
            pair.works();
            pair.now += 4 * SECOND;
            pair.works();
            assert!(pair.high_receives(packet).is_err() && pair.low_receives(packet).is_err());
            pair.works();
        }
    }
}

#[test]
fn a_hello_whose_session_was_used_is_not_taken_again() {
    let mut pair = Pair::new();
    let recorded = pair.establish();
    pair.restart_low();
    pair.now += 2 * SECOND;
    pair.establish();
    assert_eq!(pair.high_receives(&recorded[0]).unwrap_err(), Refusal::Duplicate);
}

#[test]
fn a_session_goes_on_beside_a_hello_until_data_comes() {
    let mut pair = Pair::new();
    pair.establish();
    let late = pair.low_sends(b"late");
    pair.restart_low();
    let hello = pair.low_sends(b"hello");
    assert_eq!(pair.high_receives(&hello).unwrap(), b"hello");
    assert_eq!(pair.high.session.state(), State::Established);
    let key = pair.high_sends(b"key");
    assert_eq!(number(&key), 2, "a hello is answered");
    assert!(number(&pair.high_sends(b"data")) > 6, "and what follows goes by the old keys");
    assert_eq!(pair.high_receives(&late).unwrap(), b"late");
    pair.low_receives(&key).unwrap();
    let data = pair.low_sends(b"new");
    let opened = pair.high.session.receive(&pair.high.identity, pair.now, &data).unwrap();
    assert!(opened.confirms && !opened.established);
    assert_eq!(pair.high_receives(&late).unwrap_err(), Refusal::Decrypt, "the old keys are gone");
    pair.works();
}

#[test]
fn a_fresh_handshake_is_not_displaced() {
    let mut pair = Pair::new();
    let recorded = pair.low_sends(b"old");
    pair.restart_low();
    let hello = pair.low_sends(b"new");
    pair.high_receives(&hello).unwrap();
    assert_eq!(pair.high_receives(&recorded).unwrap_err(), Refusal::Busy);
    let key = pair.high_sends(b"key");
    pair.low_receives(&key).unwrap();
    pair.works();
}

#[test]
fn half_open_sessions_end_after_10_s_and_silent_ones_after_60() {
    let mut pair = Pair::new();
    let hello = pair.low_sends(b"a");
    pair.high_receives(&hello).unwrap();
    pair.high_sends(b"b");
    pair.now += 10 * SECOND - 1;
    assert_eq!(number(&pair.high_sends(b"")), 3);
    pair.now += 1;
    assert_eq!(number(&pair.high_sends(b"")), 0);
    assert_eq!(number(&pair.low_sends(b"")), 1, "a hello is repeated for ever");

    let mut pair = Pair::new();
    pair.establish();
    pair.now += 60 * SECOND - 1;
    assert!(number(&pair.high_sends(b"")) >= 4);
    pair.now += 1;
    assert_eq!(number(&pair.high_sends(b"")), 0);
    assert_eq!(pair.high.session.state(), State::SentHello);
}

#[test]
fn what_is_no_packet_of_the_session_is_refused_by_name() {
    let mut pair = Pair::new();
    let hello = pair.low_sends(b"a");
    for len in 0..HANDSHAKE_LEN {
        assert_eq!(pair.high_receives(&hello[..len]).unwrap_err(), Refusal::TooShort, "{len}");
    }
    let mut bent = hello.clone();
    bent[4] = 3;
    assert_eq!(pair.high_receives(&bent).unwrap_err(), Refusal::UnknownAuthType);
    bent[4] = 0;
    bent[HANDSHAKE_LEN] ^= 1;
    assert_eq!(pair.high_receives(&bent).unwrap_err(), Refusal::HandshakeDecrypt);
    assert_eq!(pair.low_receives(&hello).unwrap_err(), Refusal::WrongKey, "our own");
    bent[40] ^= 1;
    assert_eq!(pair.high_receives(&bent).unwrap_err(), Refusal::WrongKey, "not in fc00::/8");
    let mut key = hello.clone();
    key[3] = 2;
    assert_eq!(pair.high_receives(&key).unwrap_err(), Refusal::StrayKey);
    assert_eq!(pair.high_receives(&[0, 0, 0, 9, 0]).unwrap_err(), Refusal::TooShort);
    assert_eq!(pair.high_receives(&[0, 0, 0, 9, 0].repeat(9)).unwrap_err(), Refusal::NoSession);
    pair.high_receives(&hello).unwrap();
    pair.high_sends(b"");
    assert_eq!(pair.high_receives(&[0, 0, 0, 9, 0].repeat(9)).unwrap_err(), Refusal::Decrypt);
}

#[test]
fn temporary_keys_that_agree_on_nothing_are_refused() {
    let mut pair = Pair::new();
    let peer = pair.high.identity.public();
    let shared = pair.low.identity.secret().agree(&peer).unwrap();
    let key = box_key(&shared, None);
    // Zero, one, and a point of order eight.
    let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    for temporary in ["00".repeat(32), format!("01{}", "00".repeat(31)), order_8.to_owned()] {
        let temporary = PublicKey(wire::vectors::hex(&temporary).try_into().unwrap());
        let sender = pair.low.identity.public();
        let hello = Sealing {
            stage: Stage::Hello,
            credential: None,
            sender: &sender,
            temporary: &temporary,
            key: &key,
        };
        let hello = hello.seal(&mut pair.rng, b"");
        assert_eq!(pair.high_receives(&hello).unwrap_err(), Refusal::ZeroKey);
        assert_eq!(pair.high.session.state(), State::Init);
    }
}

/// The same temporary keys would number packets anew under the same data key.
#[test]
fn a_key_is_taken_once_for_a_hello() {
    let mut pair = Pair::new();
    let hello = pair.low_sends(b"");
    let mut keys = Vec::new();
    for _ in 0..5 {
        pair.restart_high();
        pair.high_receives(&hello).unwrap();
        keys.push(pair.high_sends(b""));
    }
    for key in &keys[..4] {
        pair.low_receives(key).unwrap();
        assert!(number(&pair.low_sends(b"")) >= 4);
    }
    assert_eq!(pair.low_receives(&keys[4]).unwrap_err(), Refusal::Duplicate, "five are too many");
    for key in &keys[..4] {
        assert_eq!(pair.low_receives(key).unwrap_err(), Refusal::Duplicate);
    }
    assert_eq!(number(&pair.low_sends(b"")), 5, "counted on");
}

/// A link's two halves, driven by hand.
struct Ends {
    rng: TestRng,
    users: Credentials,
    identities: [Identity; 2],
    dialler: Handshake,
    answerer: Handshake,
}

impl Ends {
    fn new() -> Self {
        let mut rng = TestRng::new(8);
        let identities = [Identity::generate(&mut rng), Identity::generate(&mut rng)];
        let mut users = Credentials::new();
        users.insert(Some("bob"), b"pw", None).unwrap();
        let [a, b] = &identities;
        let credential = Some(Credential::new(Some(b"bob"), b"pw"));
        let dialler = Handshake::new(a, b.public(), credential).unwrap();
        let answerer = Handshake::new(b, a.public(), None).unwrap();
        Self { rng, users, identities, dialler, answerer }
    }

    fn answerer_receives(
        &mut self,
        now: u64,
        packet: &[u8],
        known: bool,
    ) -> Result<(Received, Option<String>), Refusal> {
        let packet = Packet::parse(packet)?;
        let authorized = packet.authorize(&self.users, known)?;
        let user = authorized.user().map(|user| user.name().to_owned());
        let received = self.answerer.receive(&self.identities[1], now, &packet, &authorized)?;
        Ok((received, user))
    }

    fn dialler_receives(&mut self, now: u64, packet: &[u8]) -> Result<Received, Refusal> {
        let packet = Packet::parse(packet)?;
        let nobody = Credentials::new();
        let authorized = packet.authorize(&nobody, true)?;
        self.dialler.receive(&self.identities[0], now, &packet, &authorized)
    }

    fn dial(&mut self, now: u64) -> Vec<u8> {
        match self.dialler.send(now, &mut self.rng, b"ping") {
            Outbound::Handshake { packet, keys: None } => packet,
            other @ (Outbound::Handshake { .. } | Outbound::Data) => panic!("{other:?}"),
        }
    }

    /// A whole handshake; gives both generations.
    fn establish(&mut self, now: u64) -> (u32, u32) {
        let hello = self.dial(now);
        let (received, user) = self.answerer_receives(now, &hello, false).unwrap();
        assert!(received.answer && user.as_deref() == Some("bob"));
        let (key, theirs) = self.answerer.answer(&mut self.rng, b"pong").unwrap();
        let theirs = theirs.unwrap();
        let ours = self.dialler_receives(now, &key).unwrap().keys.unwrap();
        assert_eq!(ours.keys.send, theirs.keys.receive);
        assert!(ours.keys.confirmed && !theirs.keys.confirmed);
        assert!(self.answerer.opened(theirs.generation, now));
        assert!(self.dialler.opened(ours.generation, now));
        (ours.generation, theirs.generation)
    }
}

#[test]
fn a_link_wants_a_login_unless_it_is_known() {
    let mut ends = Ends::new();
    let hello = ends.dial(0);
    assert!(ends.users.remove("bob"));
    assert_eq!(ends.answerer_receives(0, &hello, true).unwrap_err(), Refusal::UnknownAuth);
    ends.users.insert(Some("bob"), b"other password", None).unwrap();
    assert_eq!(ends.answerer_receives(0, &hello, false).unwrap_err(), Refusal::HandshakeDecrypt);
    assert!(ends.users.remove("bob"));
    let elsewhere = Some(ends.identities[1].address());
    ends.users.insert(Some("bob"), b"pw", elsewhere).unwrap();
    assert_eq!(ends.answerer_receives(0, &hello, false).unwrap_err(), Refusal::IpRestricted);

    ends.dialler = Handshake::new(&ends.identities[0], ends.identities[1].public(), None).unwrap();
    let hello = ends.dial(0);
    assert_eq!(ends.answerer_receives(0, &hello, false).unwrap_err(), Refusal::AuthRequired);
    assert!(ends.answerer_receives(0, &hello, true).unwrap().0.answer, "as after its restart");
}

#[test]
fn an_answer_to_a_link_that_we_dialled_has_the_login() {
    let mut ends = Ends::new();
    let Outbound::Handshake { packet, .. } = ends.answerer.send(0, &mut ends.rng, b"") else {
        panic!("a hello")
    };
    assert!(ends.dialler_receives(0, &packet).unwrap().answer);
    let (key, _keys) = ends.dialler.answer(&mut ends.rng, b"").unwrap();
    assert_eq!(
        Packet::parse(&key)
            .unwrap()
            .authorize(&ends.users, false)
            .unwrap()
            .user()
            .map(|user| user.name().to_owned()),
        Some("bob".to_owned())
    );
    assert!(ends.answerer_receives(0, &key, false).unwrap().0.keys.is_some());
}

#[test]
fn a_session_is_renewed_beside_the_one_that_works() {
    let mut ends = Ends::new();
    let (ours, _) = ends.establish(SECOND);
    assert_eq!(ends.dialler.send(SECOND, &mut ends.rng, b""), Outbound::Data);
    ends.dialler.renew();
    let (newer, _) = ends.establish(3 * SECOND);
    assert!(newer > ours && !ends.dialler.is_alive(ours));
    assert_eq!(ends.dialler.send(9 * SECOND, &mut ends.rng, b""), Outbound::Data);
}

#[test]
fn what_is_given_up_is_named_once() {
    let mut ends = Ends::new();
    let (ours, theirs) = ends.establish(SECOND);
    assert!(ends.dialler.poll(60 * SECOND).is_empty());
    assert!(!ends.dialler.opened(ours, 30 * SECOND));
    assert!(ends.dialler.poll(61 * SECOND).is_empty());
    assert_eq!(ends.dialler.poll(90 * SECOND)[..], [ours]);
    assert!(ends.dialler.poll(90 * SECOND).is_empty());
    assert_eq!(ends.answerer.poll(61 * SECOND)[..], [theirs]);
    assert!(!ends.dialler.opened(ours, 91 * SECOND), "its owner was late");
    assert_eq!(ends.dialler.state(), State::Init);
}

#[test]
fn keys_of_a_displaced_candidate_confirm_nothing() {
    let mut ends = Ends::new();
    let hello = ends.dial(0);
    ends.answerer_receives(0, &hello, false).unwrap();
    let (_, displaced) = ends.answerer.answer(&mut ends.rng, b"").unwrap();
    ends.dialler.reset();
    let hello = ends.dial(2 * SECOND);
    ends.answerer_receives(2 * SECOND, &hello, false).unwrap();
    let (_, newer) = ends.answerer.answer(&mut ends.rng, b"").unwrap();
    let (displaced, newer) = (displaced.unwrap().generation, newer.unwrap().generation);
    assert_eq!(ends.answerer.poll(2 * SECOND)[..], [displaced]);
    assert!(!ends.answerer.opened(displaced, 2 * SECOND));
    assert_eq!(ends.answerer.state(), State::SentKey);
    assert!(ends.answerer.opened(newer, 2 * SECOND));
}

#[test]
fn secrets_are_not_shown() {
    let mut ends = Ends::new();
    let hello = ends.dial(0);
    ends.answerer_receives(0, &hello, false).unwrap();
    let (_, keys) = ends.answerer.answer(&mut ends.rng, b"").unwrap();
    let shown = format!("{:?} {keys:?} {:?}", ends.dialler, ends.answerer);
    let secret = format!("{:?}", keys.unwrap().keys.send);
    assert!(!shown.contains(&secret[1..20]), "{shown}");
    let mut session = Pair::new();
    session.establish();
    assert!(!format!("{:?}", session.low.session).contains("key:"));
    let _unused = SecretKey::random(&mut ends.rng);
}
