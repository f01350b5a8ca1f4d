//! Rule by rule: CJDNS-WIRE.md §2.3.3 to §2.3.6.

use super::*;
use crate::credential::{Credential, Credentials};
use crate::data::{DataKeys, Framing};
use crate::identity::Identity;
use crate::test_rng::TestRng;
use wire::key::PublicKey;

const SECOND: u64 = 1_000_000_000;

/// A node that dials with a login, and one that has the users.
struct Ends {
    rng: TestRng,
    users: Credentials,
    identities: [Identity; 2],
    dialler: Peer,
    answerer: Peer,
    gate: Gate,
    now: u64,
}

impl Ends {
    fn new() -> Self {
        let mut rng = TestRng::new(9);
        let identities = [Identity::generate(&mut rng), Identity::generate(&mut rng)];
        let mut users = Credentials::new();
        users.insert(Some("bob"), b"pw", None).unwrap();
        let bob = Credential::new(Some(b"bob"), b"pw");
        let [a, b] = &identities;
        let dialler = Peer::new(a, b.public(), Some(bob), 0x0a_0b0c, Tai64n::default()).unwrap();
        let answerer = Peer::new(b, a.public(), None, 0x01_0203, Tai64n::default()).unwrap();
        let gate = Gate::new(&b.public());
        Self { rng, users, identities, dialler, answerer, gate, now: SECOND }
    }

    fn dial(&mut self) -> Vec<u8> {
        let wall = Tai64n::from_unix(self.now / SECOND, 0);
        self.dialler.initiate(&self.identities[0], self.now, wall, &mut self.rng)
    }

    fn open(&self, packet: &[u8]) -> Result<Opened, Refusal> {
        init_of(packet).open(&self.identities[1])
    }

    fn answer(&mut self, packet: &[u8], known: bool) -> Result<(Vec<u8>, DataKeys), Refusal> {
        let opened = self.open(packet)?;
        let authorized = opened.authorize(&self.users, known)?;
        self.answerer.respond(self.now, &mut self.rng, &opened, &authorized)
    }

    fn take(&mut self, packet: &[u8]) -> Result<DataKeys, Refusal> {
        let Message::Response(response) = Message::parse(packet).unwrap() else {
            panic!("a response")
        };
        self.dialler.receive_response(&self.identities[0], self.now, &response)
    }

    /// A whole handshake; gives the own indices of both.
    fn establish(&mut self) -> (u32, u32) {
        let init = self.dial();
        let (response, theirs) = self.answer(&init, false).unwrap();
        let ours = self.take(&response).unwrap();
        assert_eq!((ours.send, ours.receive), (theirs.receive, theirs.send));
        assert!(ours.confirmed && !theirs.confirmed);
        let (ours, theirs) = (own_index(&ours), own_index(&theirs));
        assert!(self.answerer.opened(theirs, self.now, false));
        (ours, theirs)
    }
}

fn init_of(packet: &[u8]) -> Init<'_> {
    let Message::Init(init) = Message::parse(packet).unwrap() else { panic!("an init") };
    init
}

fn own_index(keys: &DataKeys) -> u32 {
    let Framing::Noise { own_index, .. } = keys.framing else { panic!("noise keys") };
    own_index
}

#[test]
fn a_session_goes_through_its_states() {
    let mut ends = Ends::new();
    assert_eq!((ends.dialler.state(), ends.dialler.needs_init()), (State::Init, true));
    let init = ends.dial();
    assert_eq!(init.len(), 184);
    assert_eq!((ends.dialler.state(), ends.dialler.needs_init()), (State::SentInit, false));
    let (response, theirs) = ends.answer(&init, false).unwrap();
    assert_eq!(response.len(), RESPONSE_LEN);
    assert_eq!(ends.answerer.state(), State::SentResponse);
    assert_eq!(ends.answerer.version(), Some(22));
    ends.take(&response).unwrap();
    assert_eq!(ends.dialler.state(), State::Established);
    assert_eq!(ends.take(&response).unwrap_err(), Refusal::UnknownIndex, "taken once");
    assert!(ends.answerer.opened(own_index(&theirs), ends.now, false));
    assert!(!ends.answerer.opened(own_index(&theirs), ends.now, false));
    assert_eq!(ends.answerer.state(), State::Established);
}

#[test]
fn an_index_of_ours_has_the_upper_bits_of_the_initiator_s() {
    let mut ends = Ends::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        ends.now += SECOND;
        let (ours, theirs) = ends.establish();
        assert_eq!((ours >> 8, theirs >> 8), (0x0a_0b0c, 0x0a_0b0c));
        seen.push(theirs);
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "by which generations are told apart");
}

#[test]
fn an_init_is_taken_once_and_not_after_a_later_one() {
    let mut ends = Ends::new();
    let first = ends.dial();
    let second = ends.dial();
    assert!(ends.dialler.sent_timestamp() > Tai64n::from_unix(1, 0), "the clock stood still");
    ends.answer(&second, false).unwrap();
    for init in [&first, &second] {
        assert_eq!(ends.answer(init, false).unwrap_err(), Refusal::OldTimestamp);
    }
}

#[test]
fn a_link_wants_a_login_unless_it_is_known() {
    let mut ends = Ends::new();
    let init = ends.dial();
    assert!(ends.users.remove("bob"));
    assert_eq!(ends.answer(&init, true).unwrap_err(), Refusal::UnknownAuth);
    let elsewhere = Some(ends.identities[1].address());
    ends.users.insert(Some("bob"), b"pw", elsewhere).unwrap();
    assert_eq!(ends.answer(&init, true).unwrap_err(), Refusal::IpRestricted);
    ends.dialler.log_in_with(None);
    let init = ends.dial();
    assert_eq!(init.len(), 176);
    assert_eq!(ends.answer(&init, false).unwrap_err(), Refusal::AuthRequired);
    let (response, _) = ends.answer(&init, true).unwrap();
    ends.take(&response).unwrap();
}

#[test]
fn another_password_makes_no_session() {
    let mut ends = Ends::new();
    let init = ends.dial();
    ends.dialler.log_in_with(Some(Credential::new(Some(b"bob"), b"other")));
    let (response, _) = ends.answer(&init, false).unwrap();
    assert_eq!(ends.take(&response).unwrap_err(), Refusal::Decrypt);
    assert_eq!(ends.dialler.state(), State::SentInit);
}

/// CJDNS-WIRE.md §2.3.6 b: the server's init has no login, and wants the client's password all the same.
#[test]
fn an_init_without_login_is_answered_with_the_password_that_is_known() {
    let mut ends = Ends::new();
    ends.establish();
    let wall = Tai64n::from_unix(2, 0);
    let init = ends.answerer.initiate(&ends.identities[1], ends.now, wall, &mut ends.rng);
    let opened = init_of(&init).open(&ends.identities[0]).unwrap();
    let nobody = Credentials::new();
    let authorized = opened.authorize(&nobody, true).unwrap();
    let (response, ours) =
        ends.dialler.respond(ends.now, &mut ends.rng, &opened, &authorized).unwrap();
    let Message::Response(response) = Message::parse(&response).unwrap() else { panic!() };
    let theirs = ends.answerer.receive_response(&ends.identities[1], ends.now, &response).unwrap();
    assert_eq!(ours.send, theirs.receive);
    assert!(ends.dialler.opened(own_index(&ours), ends.now, false));
}

/// The other half of it: a stock client forgets its password over our init without login.
#[test]
fn a_client_that_forgot_its_password_is_taken_for_who_it_is() {
    let mut ends = Ends::new();
    ends.establish();
    ends.dialler.log_in_with(None);
    let wall = Tai64n::from_unix(2, 0);
    let init = ends.answerer.initiate(&ends.identities[1], ends.now, wall, &mut ends.rng);
    let opened = init_of(&init).open(&ends.identities[0]).unwrap();
    let nobody = Credentials::new();
    let authorized = opened.authorize(&nobody, true).unwrap();
    let (response, _) =
        ends.dialler.respond(ends.now, &mut ends.rng, &opened, &authorized).unwrap();
    let Message::Response(response) = Message::parse(&response).unwrap() else { panic!() };
    ends.answerer.receive_response(&ends.identities[1], ends.now, &response).unwrap();
}

#[test]
fn a_client_that_lost_its_password_is_answered_without() {
    let mut ends = Ends::new();
    ends.establish();
    ends.dialler.log_in_with(None);
    let init = ends.dial();
    let (response, theirs) = ends.answer(&init, true).unwrap();
    assert_eq!(ends.take(&response).unwrap().send, theirs.receive);
}

#[test]
fn a_loaded_responder_wants_its_cookie_first() {
    let mut ends = Ends::new();
    let init = ends.dial();
    let admit = |ends: &mut Ends, source: &[u8], init: &[u8]| {
        ends.gate.admit(ends.now, &mut ends.rng, source, &init_of(init), true)
    };
    let Ok(Admission::Reply(reply)) = admit(&mut ends, b"here", &init) else { panic!("a reply") };
    assert!(reply.len() < INIT_LEN, "no amplifier");
    let Message::Cookie(cookie) = Message::parse(&reply).unwrap() else { panic!("a cookie") };
    ends.dialler.receive_cookie(ends.now, &cookie).unwrap();
    assert!(ends.dialler.poll(ends.now).is_empty(), "not at once");
    ends.now += SECOND;
    assert_eq!(ends.dialler.poll(ends.now)[..], [Action::Initiate]);
    let retry = ends.dial();
    assert!(matches!(admit(&mut ends, b"elsewhere", &retry), Ok(Admission::Reply(_))));
    assert_eq!(admit(&mut ends, b"here", &retry), Ok(Admission::Open));
    let mut bent = retry.clone();
    bent[60] ^= 1;
    assert_eq!(admit(&mut ends, b"here", &bent), Err(Refusal::Mac1));

    let mut forged = reply.clone();
    forged[40] ^= 1;
    ends.now += SECOND;
    let Message::Cookie(cookie) = Message::parse(&forged).unwrap() else { panic!("a cookie") };
    assert_eq!(ends.dialler.receive_cookie(ends.now, &cookie), Err(Refusal::UnknownIndex));
    ends.now += 120 * SECOND;
    assert!(matches!(admit(&mut ends, b"here", &retry), Ok(Admission::Reply(_))), "a new secret");
}

#[test]
fn what_is_bent_anywhere_is_refused() {
    let mut ends = Ends::new();
    let init = ends.dial();
    let (response, _) = ends.answer(&init, false).unwrap();
    // All but the sender's index, which only the first code is over, and the codes.
    for place in (12..init.len() - 32).chain([4]) {
        let mut bent = init.clone();
        bent[place] ^= 4;
        let parsed = Message::parse(&bent);
        let opened = parsed.map(|_| ends.open(&bent));
        assert!(!matches!(opened, Ok(Ok(_))), "init {place}");
    }
    for place in 4..response.len() - 16 {
        let mut bent = response.clone();
        bent[place] ^= 4;
        if let Ok(Message::Response(bent)) = Message::parse(&bent) {
            let taken = ends.dialler.receive_response(&ends.identities[0], ends.now, &bent);
            assert!(taken.is_err(), "response {place}");
        }
    }
    ends.take(&response).unwrap();
}

#[test]
fn another_s_init_and_keys_that_agree_on_nothing_are_refused() {
    let mut ends = Ends::new();
    let init = ends.dial();
    let third = Identity::generate(&mut ends.rng);
    let mut peer =
        Peer::new(&ends.identities[1], third.public(), None, 1, Tai64n::default()).unwrap();
    let opened = ends.open(&init).unwrap();
    let authorized = opened.authorize(&ends.users, false).unwrap();
    let refused = peer.respond(ends.now, &mut ends.rng, &opened, &authorized).unwrap_err();
    assert_eq!(refused, Refusal::WrongKey);
    let mut zero = init.clone();
    zero[12..44].fill(0);
    assert_eq!(ends.open(&zero).unwrap_err(), Refusal::ZeroKey);
    let (own, low_order) = (ends.identities[0].public(), PublicKey([0; 32]));
    for key in [own, low_order] {
        let made = Peer::new(&ends.identities[0], key, None, 1, Tai64n::default());
        assert_eq!(made.unwrap_err(), Refusal::WrongKey);
    }
}

#[test]
fn time_asks_for_retries_new_keys_and_keepalives() {
    let mut ends = Ends::new();
    ends.dial();
    for _ in 0..17 {
        ends.now += 5 * SECOND;
        assert_eq!(ends.dialler.poll(ends.now)[..], [Action::Initiate]);
        assert!(ends.dialler.poll(ends.now - 1).is_empty());
        ends.dial();
    }
    ends.now += 5 * SECOND;
    assert_eq!(ends.dialler.poll(ends.now)[..], [Action::GaveUp]);
    assert!(ends.dialler.needs_init());

    let (ours, theirs) = ends.establish();
    let born = ends.now;
    ends.dialler.sent(born + 1, true);
    assert!(ends.dialler.poll(born + 15 * SECOND).is_empty());
    assert_eq!(ends.dialler.poll(born + 15 * SECOND + 1)[..], [Action::Initiate]);
    ends.dialler.opened(ours, born + 16 * SECOND, true);
    assert!(ends.dialler.poll(born + 25 * SECOND).is_empty());
    assert_eq!(ends.dialler.poll(born + 26 * SECOND)[..], [Action::Keepalive]);
    assert!(ends.dialler.poll(born + 27 * SECOND).is_empty());

    assert_eq!(ends.dialler.poll(born + 120 * SECOND)[..], [Action::Initiate]);
    assert!(ends.answerer.poll(born + 164 * SECOND).is_empty());
    assert_eq!(ends.answerer.poll(born + 165 * SECOND)[..], [Action::Initiate]);
    assert_eq!(ends.answerer.poll(born + 180 * SECOND)[..], [Action::Drop(theirs)]);
    assert!(ends.answerer.needs_init() && !ends.answerer.is_alive(theirs));
}

#[test]
fn older_keys_live_on_behind_newer_ones() {
    let mut ends = Ends::new();
    let indices: Vec<_> = (0..3)
        .map(|_| {
            ends.now += SECOND;
            ends.establish().1
        })
        .collect();
    assert_eq!(ends.answerer.poll(ends.now)[..], [Action::Drop(indices[0])]);
    assert!(ends.answerer.is_alive(indices[1]) && ends.answerer.is_alive(indices[2]));
    ends.answerer.renew();
    assert_eq!(ends.answerer.poll(ends.now)[..], [Action::Initiate]);
    ends.answerer.reset();
    assert_eq!(ends.answerer.poll(ends.now).len(), 2);
    assert_eq!(ends.answerer.state(), State::Init);
}
