use super::item::{LinkState, Peer, SLOTS, Sample, Subject};
use super::log::{KEPT_MS, Log};
use super::*;
use crypt::test_rng::TestRng;
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha512};
use wire::vectors::{self, hex};

fn file() -> (std::path::PathBuf, Value) {
    let (path, text) = vectors::read("session.json");
    (path, serde_json::from_str(&text).unwrap())
}

fn rows<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    file[list].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn varint_vectors() {
    let (path, file) = file();
    for row in rows(&file, "varint") {
        let value: u64 = row["value"].as_str().unwrap().parse().unwrap();
        let bytes = hex(row["hex"].as_str().unwrap());
        let mut written = Vec::new();
        varint::put(&mut written, value);
        assert_eq!((row["rc"].as_i64(), written), (Some(0), bytes.clone()), "{row}");
        assert_eq!(varint::split(&bytes), Some((value, &[][..])), "{row}");
        assert_eq!(varint::split(&bytes[..bytes.len() - 1]), None, "{row}");
    }
    vectors::report(&path, rows(&file, "varint").len());
}

#[test]
fn djb2a_vectors() {
    let (path, file) = file();
    for row in rows(&file, "djb2a") {
        let out = u32::from_str_radix(row["out"].as_str().unwrap(), 16).unwrap();
        assert_eq!(djb2a(&hex(row["in"].as_str().unwrap())), out, "{row}");
    }
    vectors::report(&path, rows(&file, "djb2a").len());
}

#[test]
fn announcements_vectors() {
    let (path, file) = file();
    let mut log = Log::default();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for row in rows(&file, "announcements") {
        let bytes = hex(row["announce_hex"].as_str().unwrap());
        let announcement = Announcement::parse(&bytes).unwrap();
        let signer = announcement.signer().unwrap();
        assert_eq!(signer.0[..], hex(row["signer_x25519"].as_str().unwrap()));
        let Header { time_ms, reset, server } = announcement.header;
        assert_eq!(row["timestamp_ms"], time_ms);
        assert_eq!(row["reset"], u8::from(reset));
        assert_eq!(server.octets()[0], 0xfc);
        items_are_as_recorded(&announcement, rows(row, "items"));
        written_again_it_is_the_same(&announcement, &bytes);
        log.push(&announcement);
        if reset {
            kept.clear();
        }
        // The newest stays; before it, the ones that reset: they alone speak of something that lasts.
        kept.retain(|kept| kept[119] & 8 != 0);
        kept.push(bytes);
        let hash = kept.iter().fold([0; 64], |hash: [u8; 64], message| {
            Sha512::digest([&hash[..], message].concat()).into()
        });
        assert_eq!(log.hash(), hash);
        assert_eq!(log.len(), kept.len());
    }
    assert_eq!(log.len(), 2, "the second reset, and the last");
    vectors::report(&path, rows(&file, "announcements").len());
}

fn items_are_as_recorded(announcement: &Announcement<'_>, recorded: &[Value]) {
    let items: Vec<_> = announcement.items().collect();
    assert_eq!(items.len(), recorded.len());
    for (item, recorded) in items.iter().zip(recorded) {
        let mut bytes = Vec::new();
        item.put(&mut bytes);
        if recorded == "pad" {
            assert_eq!((item, bytes), (&Item::Pad, vec![1]));
            continue;
        }
        let body = hex(recorded[1].as_str().unwrap());
        assert_eq!(recorded[0], bytes[1]);
        assert_eq!(bytes[2..], body);
        assert_eq!(usize::from(bytes[0]), bytes.len());
        match item {
            Item::Scheme(scheme) => {
                assert_eq!(wire::scheme::Scheme::parse(scheme), Ok(wire::scheme::Scheme::v358()));
            }
            Item::Peer(peer) => assert_eq!((peer.number.get(), peer.label.get()), (0x13, 0x13)),
            Item::Version(version) => assert_eq!(*version, 22),
            Item::LinkState(state) => {
                assert_eq!(state.number, 0x13);
                assert!(state.samples().count() <= SLOTS);
            }
            Item::Pad | Item::Other { .. } => unreachable!("{item:?}"),
        }
    }
}

fn written_again_it_is_the_same(announcement: &Announcement<'_>, bytes: &[u8]) {
    let mut items = Vec::new();
    announcement.items().for_each(|item| item.put(&mut items));
    let signed = signed_part(announcement.signing_key(), &announcement.header, &items);
    assert_eq!(signed, bytes[SIGNATURE_LEN..]);
}

fn header(time_ms: u64, reset: bool) -> Header {
    Header { server: "fc00::1".parse().unwrap(), time_ms, reset }
}

fn peer(number: u16, label: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Item::Peer(Peer::new("fc00::2".parse().unwrap(), number, 0, label, 1500)).put(&mut out);
    out
}

/// An announcement with a signature of zeros.
fn unsigned(time_ms: u64, reset: bool, items: &[u8]) -> Vec<u8> {
    [&[0; 64][..], &signed_part(&[0; 32], &header(time_ms, reset), items)].concat()
}

#[test]
fn what_is_signed_verifies_until_a_bit_flips() {
    let mut rng = TestRng::new(1);
    let identity = Identity::generate(&mut rng);
    let bytes = sign(&identity, &header(1 << 40, true), &peer(0x13, 0x15), &mut rng);
    assert_eq!(Announcement::parse(&bytes).unwrap().signer(), Ok(identity.public()));
    for at in [0, 63, 64, 95, 96, 111, 112, 119, 122, bytes.len() - 1] {
        let mut bent = bytes.clone();
        bent[at] ^= 0x10;
        let signer = Announcement::parse(&bent).and_then(|bent| bent.signer());
        assert!(signer.is_err(), "byte {at}");
    }
}

#[test]
fn a_message_is_kept_as_long_as_it_says_something() {
    let mut log = Log::default();
    let mut push = |time_ms, reset, items: &[u8]| {
        log.push(&Announcement::parse(&unsigned(time_ms, reset, items)).unwrap());
        log.len()
    };
    let (a, b) = (peer(0x13, 1), peer(0x15, 1));
    assert_eq!(push(1000, false, &[a.clone(), b.clone()].concat()), 1);
    assert_eq!(push(2000, false, &a), 2, "the first still speaks of b");
    assert_eq!(push(3000, false, &[]), 3, "the newest stays whatever it says");
    assert_eq!(
        push(4000, false, &b),
        2,
        "all of the first is said again, and the third said nothing"
    );
    assert_eq!(push(2000 + KEPT_MS, false, &[]), 3);
    assert_eq!(
        push(2001 + KEPT_MS, false, &[]),
        2,
        "the second is too old, the third said nothing"
    );
    assert_eq!(push(2002 + KEPT_MS, true, &[]), 1);
}

#[test]
fn malformed_items_are_refused() {
    let zero_length = [0];
    let beyond_the_end = [9, 2, 0, 22];
    let mut short_peer = [0; 31];
    short_peer[..2].copy_from_slice(&[31, 1]);
    let slot_18 = [8, 3, 0, 0x13, 18, 1, 1, 1];
    let half_a_sample = [7, 3, 0, 0x13, 1, 1, 1];
    let pad_beyond = [4, 3, 9, 0];
    let malformed =
        [&zero_length[..], &beyond_the_end, &short_peer, &slot_18, &half_a_sample, &pad_beyond];
    for items in malformed {
        let bytes = unsigned(1, false, items);
        assert_eq!(Announcement::parse(&bytes), Err(Bad::Item), "{items:?}");
    }
    let of_another_type = unsigned(1, false, &[4, 77, 0, 0]);
    assert!(Announcement::parse(&of_another_type).is_ok());
    assert_eq!(Announcement::parse(&[0; HEADER_LEN - 1]), Err(Bad::Length(HEADER_LEN - 1)));
    assert_eq!(Announcement::parse(&[0; HEADER_LEN]), Err(Bad::Version(0)));
}

#[test]
fn items_speak_of_what_they_replace() {
    let samples = [1, 2, 3];
    let link_state = Item::LinkState(LinkState::new(0x13, 4, &samples));
    assert_eq!(link_state.subject(), None);
    assert_eq!(Item::Version(22).subject(), Some(Subject::Version));
    let bytes = unsigned(1, false, &peer(0x13, 0));
    let peer = Announcement::parse(&bytes).unwrap().items().next().unwrap();
    assert_eq!(peer.subject(), Some(Subject::Peer(0x13)));
}

proptest! {
    #[test]
    fn any_bytes_are_an_announcement_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(announcement) = Announcement::parse(&bytes) {
            prop_assert!(announcement.items().count() <= bytes.len());
            let _signer = announcement.signer();
        }
    }

    #[test]
    fn items_are_read_as_they_were_written(
        number: u16, start in 0..18u8,
        samples in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u32>()), 0..18),
    ) {
        let mut written = Vec::new();
        let samples: Vec<_> = samples
            .into_iter()
            .map(|(lag_ms, drops, kilobytes)| Sample { lag_ms, drops, kilobytes })
            .collect();
        samples.iter().for_each(|sample| sample.put(&mut written));
        let state = LinkState::new(number, start, &written);
        let mut items = Vec::new();
        Item::LinkState(state).put(&mut items);
        prop_assert_eq!(items.len() % 4, 0);
        let bytes = unsigned(7, false, &items);
        let announcement = Announcement::parse(&bytes).unwrap();
        let Some(Item::LinkState(read)) = announcement.items().next() else {
            panic!("no link state")
        };
        prop_assert_eq!(read, state);
        let read: Vec<_> = read.samples().map(|(_, sample)| sample).collect();
        prop_assert_eq!(read, samples);
    }
}
