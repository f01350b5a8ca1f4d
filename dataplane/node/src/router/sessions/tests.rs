use super::*;
use crypt::test_rng::TestRng;
use zerocopy::IntoBytes;

const SECOND: Nanos = 1_000_000_000;

struct Side {
    identity: Identity,
    sessions: Sessions,
    rng: TestRng,
}

impl Side {
    fn new(seed: u64, max: usize) -> Self {
        let mut rng = TestRng::new(seed);
        let identity = Identity::generate(&mut rng);
        let sessions = Sessions::new(max, &mut rng);
        Self { identity, sessions, rng }
    }

    fn send(&mut self, now: Nanos, to: &Self, text: &[u8]) -> Vec<u8> {
        let to = (to.identity.public(), 0x13);
        self.sessions.send(&self.identity, now, &mut self.rng, to, text).unwrap()
    }

    /// `packet` as sent by the other side: it is delivered as if it came in at interface 0.
    fn receive(&mut self, now: Nanos, packet: &[u8]) -> Result<Received, Nothing> {
        self.sessions.receive(&self.identity, now, &delivered(packet))
    }

    fn text(&mut self, now: Nanos, packet: &[u8]) -> Vec<u8> {
        self.receive(now, packet).unwrap().text
    }
}

fn delivered(packet: &[u8]) -> Vec<u8> {
    [Header::new(0xc800_0000_0000_0000, 0).as_bytes(), &packet[HEADER_LEN..]].concat()
}

/// Hello, key, data in both directions.
fn established(a: &mut Side, b: &mut Side) {
    let hello = a.send(0, b, b"hello");
    assert_eq!(b.text(0, &hello), b"hello");
    let key = b.send(0, a, b"key");
    assert_eq!(a.text(0, &key), b"key");
    for _ in 0..2 {
        let data = a.send(0, b, b"a to b");
        assert_eq!(b.text(0, &data), b"a to b");
        let data = b.send(0, a, b"b to a");
        assert_eq!(a.text(0, &data), b"b to a");
    }
}

#[test]
fn data_goes_by_the_receivers_handle() {
    let (mut a, mut b) = (Side::new(1, 8), Side::new(2, 8));
    established(&mut a, &mut b);
    let data = a.send(0, &b, b"text");
    let handle = b.sessions.by_key[&a.identity.public()].our_handle;
    assert_eq!(data[HEADER_LEN..HEADER_LEN + 4], handle.to_be_bytes());
    assert_eq!(b.sessions.path(&a.identity.public()), Some(0x13));
}

#[test]
fn a_recorded_hello_does_not_change_where_data_goes() {
    let (mut a, mut b) = (Side::new(3, 8), Side::new(4, 8));
    let old_hello = a.send(0, &b, b"old");
    // The session of the old hello is never finished, and A begins anew, with another handle.
    a.sessions = Sessions::new(8, &mut a.rng);
    established(&mut a, &mut b);
    // Whatever becomes of the recording, what B sends next still arrives.
    let _text = b.receive(0, &old_hello);
    let packet = b.send(0, &a, b"still there?");
    match a.receive(0, &packet) {
        Ok(received) => assert_eq!(received.text, b"still there?"),
        // A key, in answer to the recording: A has no hello out and drops it; B goes on when A speaks.
        Err(_) => {
            let data = a.send(0, &b, b"here");
            assert_eq!(b.text(0, &data), b"here");
            let data = b.send(0, &a, b"still there?");
            assert_eq!(a.text(0, &data), b"still there?");
        }
    }
}

#[test]
fn a_node_that_restarted_gets_through() {
    let (mut a, mut b) = (Side::new(5, 8), Side::new(6, 8));
    established(&mut a, &mut b);
    a.sessions = Sessions::new(8, &mut a.rng);
    established(&mut a, &mut b);
}

#[test]
fn a_packet_that_does_not_open_is_told_of() {
    let (mut a, mut b) = (Side::new(7, 8), Side::new(8, 8));
    established(&mut a, &mut b);
    let mut bent = a.send(0, &b, b"text");
    *bent.last_mut().unwrap() ^= 1;
    let Err(Nothing::Tell(error)) = b.receive(0, &bent) else { panic!("silence") };
    let (header, payload) = Header::split(&error).unwrap();
    assert_eq!((header.label(), header.congestion_and_suppress()), (0x13, 1));
    assert_eq!((header.version(), header.shift(), header.traffic_class()), (1, 0, 0));
    let message = control::parse(payload).unwrap();
    assert_eq!(message.kind, kind::ERROR);
    let sealed = &bent[HEADER_LEN + 4..HEADER_LEN + 20];
    let expected =
        [&[0, 0, 0, 6], &delivered(&bent)[..12], sealed, &[0, 0, 0, 15], &[0, 0, 0, 100]].concat();
    assert_eq!(message.body, expected);

    // Not of a repeat, not of one that wants no errors, and not more than a few.
    let data = a.send(0, &b, b"text");
    assert_eq!(b.text(0, &data), b"text");
    assert!(matches!(b.receive(0, &data), Err(Nothing::Dropped)));
    let mut quiet = delivered(&bent);
    quiet[8] |= 1;
    assert!(matches!(b.sessions.receive(&b.identity, 0, &quiet), Err(Nothing::Dropped)));
    let told = (0..100).filter(|_| matches!(b.receive(0, &bent), Err(Nothing::Tell(_)))).count();
    assert_eq!(told, 7, "one was told of before");
    assert!(matches!(b.receive(SECOND, &bent), Err(Nothing::Tell(_))));
}

#[test]
fn what_belongs_to_no_session_is_dropped() {
    let (mut a, mut b) = (Side::new(9, 8), Side::new(10, 8));
    established(&mut a, &mut b);
    let data = a.send(0, &b, b"text");
    for handle in [0_u32, 1, 2, 3, 4, 5, u32::MAX] {
        let mut other = data.clone();
        other[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&handle.to_be_bytes());
        assert!(matches!(b.receive(0, &other), Err(Nothing::Dropped)), "{handle}");
    }
    let mut setup = data.clone();
    setup[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&2_u32.to_be_bytes());
    assert!(matches!(b.receive(0, &setup), Err(Nothing::Dropped)), "a stage after a handle");
    assert!(matches!(b.receive(0, &data[..HEADER_LEN + 23]), Err(Nothing::Dropped)));
    // A key without a hello, and a hello for another node.
    let (mut c, mut d) = (Side::new(11, 8), Side::new(12, 8));
    let hello = c.send(0, &d, b"hello");
    assert!(matches!(b.receive(0, &hello), Err(Nothing::Dropped)));
    d.text(0, &hello);
    let key = d.send(0, &c, b"key");
    assert!(matches!(b.receive(0, &key), Err(Nothing::Dropped)));
    assert_eq!(b.sessions.len(), 1);
}

#[test]
fn strangers_give_way_first_and_silence_is_forgotten() {
    let (mut a, mut b) = (Side::new(13, 8), Side::new(14, 3));
    established(&mut a, &mut b);
    for seed in 20..26 {
        let mut stranger = Side::new(seed, 8);
        let hello = stranger.send(0, &b, b"hello");
        b.text(SECOND, &hello);
        assert!(b.sessions.len() <= 3);
        assert_eq!(b.sessions.by_handle.len(), b.sessions.len());
    }
    assert!(b.sessions.path(&a.identity.public()).is_some(), "who was heard stays");
    b.sessions.expire(SILENCE - 1);
    assert_eq!(b.sessions.len(), 3);
    b.sessions.expire(SILENCE);
    assert_eq!(b.sessions.len(), 2, "only the hellos are younger");
    b.sessions.expire(SILENCE + SECOND);
    assert_eq!((b.sessions.len(), b.sessions.by_handle.len()), (0, 0));
}

#[test]
fn hellos_of_strangers_have_a_budget() {
    let mut b = Side::new(15, 8);
    let mut stranger = Side::new(16, 8);
    let mut hello = stranger.send(0, &b, b"hello");
    *hello.last_mut().unwrap() ^= 1;
    for _ in 0..STRANGERS_BURST {
        assert!(b.receive(0, &hello).is_err());
    }
    *hello.last_mut().unwrap() ^= 1;
    assert!(b.receive(0, &hello).is_err(), "nothing is left for a good one");
    assert!(b.receive(SECOND, &hello).is_ok());
}
