//! Handshake packets of strangers, to a box that has the identity and the users of the recorded sessions.

use crypt::credential::{Credential, Credentials};
use crypt::cryptoauth::{self, EndToEnd, Handshake, Packet};
use crypt::identity::Identity;
use crypt::noise::{self, Additional, Admission, Gate, Message, Peer, Tai64n};
use crypt::test_rng::TestRng;
use std::sync::LazyLock;

/// Bytes that an answer may have at most: its own headers, and no payload.
const ANSWER_MAX: usize = cryptoauth::HANDSHAKE_LEN;
/// The server of the recorded sessions; the key is public.
const PRIVATE_KEY: &str = "1d9fe7c9341da258c129eafbd268682279b3278d3db51f6e8e86898a9aafc427";

static OWN: LazyLock<Identity> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant that every replay parses")]
    PRIVATE_KEY.parse().expect("a private key")
});

static USERS: LazyLock<Credentials> = LazyLock::new(|| {
    let mut users = Credentials::new();
    for (login, password) in [(Some("bob"), "pw-bob-1"), (None, "pw-anon-2")] {
        // Neither is there already.
        let _serial = users.insert(login, password.as_bytes(), None);
    }
    users
});

/// Gives `input` to every parser, and to machines that have just been made, as one packet.
pub fn handshake(input: &[u8]) {
    let _list = Additional::parse(input);
    cryptoauth_link(input);
    end_to_end(input);
    noise_link(input);
}

fn cryptoauth_link(input: &[u8]) {
    let Ok(packet) = Packet::parse(input) else { return };
    for known in [false, true] {
        let Ok(authorized) = packet.authorize(&USERS, known) else { continue };
        let Ok(mut machine) = Handshake::new(&OWN, packet.sender, None) else { continue };
        let mut rng = TestRng::new(1);
        let mut is_taken = machine.receive(&OWN, 0, &packet, &authorized).is_ok();
        if let Some((answer, keys)) = machine.answer(&mut rng, &[]) {
            assert!(is_taken && keys.is_some(), "an answer to nothing");
            assert!(answer.len() <= ANSWER_MAX.min(input.len()), "an answer amplifies");
            is_taken = false;
        }
        assert!(!is_taken, "only a hello is taken by one who sent none");
        // Again, and in answer to a hello.
        let _refused = machine.receive(&OWN, 1, &packet, &authorized);
        machine.reset();
        machine.send(2, &mut rng, &[]);
        let _refused = machine.receive(&OWN, 3, &packet, &authorized);
        machine.poll(u64::MAX);
    }
}

fn end_to_end(input: &[u8]) {
    let sender = Packet::parse(input).map(|packet| packet.sender);
    let peer = sender.unwrap_or_else(|_refusal| TestPeer::get().public());
    let Ok(mut session) = EndToEnd::new(&OWN, peer) else { return };
    let opened = session.receive(&OWN, 0, input);
    assert!(opened.is_ok_and(|payload| payload.in_handshake) || session.state().code() == 0);
}

/// Some other node.
struct TestPeer;

impl TestPeer {
    fn get() -> &'static Identity {
        static PEER: LazyLock<Identity> =
            LazyLock::new(|| Identity::generate(&mut TestRng::new(2)));
        &PEER
    }
}

fn noise_link(input: &[u8]) {
    let Ok(message) = Message::parse(input) else { return };
    let peer = TestPeer::get().public();
    let login = Some(Credential::new(None, b"pw"));
    let Ok(mut machine) = Peer::new(&OWN, peer, login, 1, Tai64n::default()) else { return };
    let mut rng = TestRng::new(3);
    machine.initiate(&OWN, 0, Tai64n::default(), &mut rng);
    match message {
        Message::Init(init) => {
            // Opened from behind the gate and past it: codes hardly come about by chance.
            let mut gate = Gate::new(&OWN.public());
            let admission = gate.admit(0, &mut rng, b"source", &init, true);
            if let Ok(Admission::Reply(reply)) = admission {
                assert!(reply.len() < input.len(), "a reply amplifies");
            }
            respond(&init);
        }
        Message::Response(response) => {
            assert!(machine.receive_response(&OWN, 1, &response).is_err(), "a forged response");
        }
        Message::Cookie(cookie) => {
            assert!(machine.receive_cookie(1, &cookie).is_err(), "a forged cookie");
        }
    }
    machine.poll(u64::MAX);
}

fn respond(init: &noise::Init<'_>) {
    let Ok(opened) = init.open(&OWN) else { return };
    let mut rng = TestRng::new(4);
    for known in [false, true] {
        let Ok(authorized) = opened.authorize(&USERS, known) else { continue };
        let Ok(mut machine) = Peer::new(&OWN, opened.peer, None, 1, Tai64n::default()) else {
            continue;
        };
        let answer = machine.respond(0, &mut rng, &opened, &authorized);
        assert!(answer.is_ok_and(|(_, keys)| !keys.confirmed));
        let again = machine.respond(1, &mut rng, &opened, &authorized);
        assert_eq!(again.err(), Some(noise::Refusal::OldTimestamp));
    }
}
