//! The recorded Noise sessions of the reference: as the client, every packet again bit for bit; as the server, every init
//! opened.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use dataplane_crypt as crypt;

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use crypt::credential::{Credential, Credentials};
use crypt::data::{DataKeys, Framing};
use crypt::identity::Identity;
use crypt::noise::{Admission, Gate, Message, Opened, Peer, Refusal, Tai64n};
use crypt::test_rng::TestRng;
use serde_json::Value;
use wire::vectors::{self, hex};

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

fn nonce(packet: &[u8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..8].copy_from_slice(&packet[4..8]);
    nonce
}

fn open(key: &[u8; 32], packet: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.decrypt((&nonce(packet)).into(), &packet[8..]).unwrap()
}

fn seal(keys: &DataKeys, counter: u32, text: &[u8]) -> Vec<u8> {
    let Framing::Noise { peer_index, .. } = keys.framing else { panic!("noise keys") };
    let mut packet = peer_index.to_le_bytes().to_vec();
    packet.extend(counter.to_le_bytes());
    let cipher = ChaCha20Poly1305::new((&keys.send).into());
    packet.extend(cipher.encrypt((&nonce(&packet)).into(), text).unwrap());
    packet
}

/// Opens an init as the server, from behind the gate.
fn open_init(server: &Identity, packet: &[u8]) -> Opened {
    let Message::Init(init) = Message::parse(packet).unwrap() else { panic!("an init") };
    let mut gate = Gate::new(&server.public());
    let mut rng = TestRng::new(0);
    assert_eq!(gate.admit(0, &mut rng, b"source", &init, false), Ok(Admission::Open));
    let mut other = Gate::new(&Identity::generate(&mut rng).public());
    let refused = other.admit(0, &mut rng, b"source", &init, false).unwrap_err();
    assert_eq!(refused, Refusal::Mac1);
    init.open(server).unwrap()
}

#[test]
fn sessions_vectors() {
    let (path, file) = vectors::read("crypto.json");
    let file: Value = serde_json::from_str(&file).unwrap();
    let mut users = Credentials::new();
    users.insert(Some("bob"), b"pw-bob-1", None).unwrap();
    users.insert(None, b"pw-anon-2", None).unwrap();
    let mut packets = 0;
    for session in file["noise_sessions"].as_array().unwrap() {
        let client: Identity = text(session, "client_private").parse().unwrap();
        let server: Identity = text(session, "server_private").parse().unwrap();
        let credential = Credential::new(
            Some(text(session, "login").as_bytes()),
            text(session, "password").as_bytes(),
        );
        let init = &session["transcript"][0];
        let index = u32::try_from(init["index"].as_u64().unwrap()).unwrap();
        let mut peer =
            Peer::new(&client, server.public(), Some(credential), index >> 8, Tai64n::default())
                .unwrap();
        let mut rng = TestRng::new(0);
        let mut keys: Option<DataKeys> = None;
        for entry in session["transcript"].as_array().unwrap() {
            let packet = hex(text(entry, "packet"));
            let plaintext = hex(entry["plaintext"].as_str().unwrap_or_default());
            packets += 1;
            match text(entry, "msg") {
                "init" => {
                    rng.lay_down(&hex(text(entry, "ephemeral_private")));
                    let timestamp = Tai64n(hex(text(entry, "timestamp_12")).try_into().unwrap());
                    assert_eq!(peer.initiate(&client, 0, timestamp, &mut rng), packet);
                    let opened = open_init(&server, &packet);
                    assert_eq!((opened.peer, opened.timestamp), (client.public(), timestamp));
                    assert_eq!(opened.additional.version, Some(22));
                    let authorized = opened.authorize(&users, false).unwrap();
                    assert_eq!(authorized.user().unwrap().psk()[..], hex(text(session, "psk")));
                }
                "response" => {
                    let Message::Response(response) = Message::parse(&packet).unwrap() else {
                        panic!("a response")
                    };
                    let made = peer.receive_response(&client, 0, &response).unwrap();
                    assert_eq!(made.send[..], hex(text(entry, "initiator_send_key")));
                    assert_eq!(made.receive[..], hex(text(entry, "initiator_recv_key")));
                    assert!(made.confirmed);
                    keys = Some(made);
                }
                data => {
                    let keys = keys.as_ref().unwrap();
                    if data.ends_with("c->s") {
                        let counter = entry["counter"].as_u64().unwrap().try_into().unwrap();
                        assert_eq!(seal(keys, counter, &plaintext), packet);
                    } else {
                        assert_eq!(packet[..4], index.to_le_bytes());
                        assert_eq!(open(&keys.receive, &packet), plaintext);
                    }
                }
            }
        }
    }
    vectors::report(&path, packets);
}

#[test]
fn retry_with_cookie_vectors() {
    let (path, file) = vectors::read("crypto.json");
    let file: Value = serde_json::from_str(&file).unwrap();
    let row = &file["noise_cookie"];
    let server: Identity = text(&file["noise_sessions"][0], "server_private").parse().unwrap();
    let client: Identity = text(row, "client_private").parse().unwrap();
    for packet in ["init_packet", "retry_init_packet"] {
        assert_eq!(open_init(&server, &hex(text(row, packet))).peer, client.public());
    }
    vectors::report(&path, 2);
}
