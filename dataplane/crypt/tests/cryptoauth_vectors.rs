//! The recorded sessions of the reference: as the client, every packet again bit for bit; as the server, every one opened.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use dataplane_crypt as crypt;

use crypt::credential::{Credential, Credentials};
use crypt::cryptoauth::{EndToEnd, Handshake, Packet, Refusal, State};
use crypt::data::DataKeys;
use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use serde_json::Value;
use wire::key::PublicKey;
use wire::vectors::{self, hex};

fn file(name: &str) -> (std::path::PathBuf, Value) {
    let (path, text) = vectors::read(name);
    (path, serde_json::from_str(&text).unwrap())
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

fn public(row: &Value, field: &str) -> PublicKey {
    PublicKey(hex(text(row, field)).try_into().unwrap())
}

/// What a link's users would be for the recorded logins.
fn users() -> Credentials {
    let mut users = Credentials::new();
    users.insert(Some("bob"), b"pw-bob-1", None).unwrap();
    users.insert(None, b"pw-anon-2", None).unwrap();
    users
}

/// Lays down what a client drew for a handshake packet of the transcript: the temporary key for the first, the bytes of a
/// lookup that is none, and the nonce.
fn lay_down(rng: &mut TestRng, entry: &Value, packet: &[u8], first: bool) {
    if first {
        rng.lay_down(&hex(text(entry, "temp_private")));
    }
    if packet[4] == 0 {
        rng.lay_down(&packet[5..14]);
    }
    rng.lay_down(&hex(text(entry, "handshake_nonce_24")));
}

#[test]
fn link_sessions_vectors() {
    let (path, file) = file("crypto.json");
    let sessions = file["cryptoauth_sessions"].as_array().unwrap();
    let mut packets = 0;
    for session in sessions {
        let name = text(session, "name");
        let client: Identity = text(session, "client_private").parse().unwrap();
        let server: Identity = text(session, "server_private").parse().unwrap();
        let login = session["auth"]["login"].as_str();
        let password = text(&session["auth"], "password");
        let credential = Credential::new(login.map(str::as_bytes), password.as_bytes());
        let mut as_client =
            EndToEnd::with_credential(&client, server.public(), Some(credential)).unwrap();
        let mut as_server = Handshake::new(&server, client.public(), None).unwrap();
        let mut rng = TestRng::new(0);
        let users = users();
        let mut hellos = 0;
        for entry in session["transcript"].as_array().unwrap() {
            let (packet, plaintext) = (hex(text(entry, "packet")), hex(text(entry, "plaintext")));
            let nonce = entry["nonce"].as_u64().unwrap_or_else(|| u64::from(packet[3]));
            packets += 1;
            if text(entry, "dir") == "client->server" {
                if nonce < 4 {
                    lay_down(&mut rng, entry, &packet, hellos == 0);
                    hellos += 1;
                    let parsed = Packet::parse(&packet).unwrap();
                    let refused = parsed.authorize(&Credentials::new(), true).unwrap_err();
                    assert_eq!(refused, Refusal::UnknownAuth);
                    let authorized = parsed.authorize(&users, false).unwrap();
                    let received = as_server.receive(&server, 0, &parsed, &authorized).unwrap();
                    assert_eq!(received.payload, plaintext, "{name}");
                    assert_eq!(as_server.state(), State::ReceivedHello);
                }
                assert_eq!(as_client.send(0, &mut rng, &plaintext), packet, "{name} {nonce}");
            } else {
                let opened = as_client.receive(&client, 0, &packet).unwrap();
                assert_eq!(opened.bytes, plaintext, "{name} {nonce}");
                assert_eq!(opened.in_handshake, nonce < 4);
            }
        }
        let refused = EndToEnd::new(&server, client.public())
            .unwrap()
            .receive(&server, 0, &hex(text(&session["transcript"][0], "packet")))
            .unwrap_err();
        assert_eq!(refused, Refusal::HandshakeDecrypt, "a session without logins takes none");
    }
    vectors::report(&path, packets);
}

#[test]
fn end_to_end_sessions_vectors() {
    let (path, file) = file("session.json");
    let mut packets = 0;
    for session in file["end_to_end_sessions"].as_array().unwrap() {
        let variant = text(session, "variant");
        let client: Identity = text(session, "client_private").parse().unwrap();
        let server: Identity = text(session, "A_private").parse().unwrap();
        assert_eq!(client.public(), public(session, "client_public"));
        let mut as_client = EndToEnd::new(&client, server.public()).unwrap();
        let mut as_server = EndToEnd::new(&server, client.public()).unwrap();
        let mut rng = TestRng::new(0);
        let mut handshakes = 0;
        for entry in session["transcript"].as_array().unwrap() {
            packets += 1;
            let switch_packet = hex(text(entry, "switch_packet"));
            let handshake = entry["ca_nonce"].as_u64().unwrap() < 4;
            // The switch header, and before data the handle.
            let packet = &switch_packet[if handshake { 12 } else { 16 }..];
            if text(entry, "dir") == "client->A" {
                let plaintext = hex(text(entry, "plaintext"));
                if handshake {
                    lay_down(&mut rng, entry, packet, handshakes == 0);
                    handshakes += 1;
                }
                // The server's temporary key, which a key packet is for, is not recorded.
                if handshake && packet[3] < 2 {
                    let opened = as_server.receive(&server, 0, packet).unwrap();
                    assert_eq!(opened.bytes, plaintext, "{variant}");
                }
                assert_eq!(as_client.sends_handshake(0), handshake);
                assert_eq!(as_client.send(0, &mut rng, &plaintext), packet, "{variant}: {entry}");
            } else {
                let opened = as_client.receive(&client, 0, packet).unwrap();
                if let Some(plaintext) = entry["plaintext"].as_str() {
                    assert_eq!(opened.bytes, hex(plaintext), "{variant}: {entry}");
                }
            }
        }
        assert_eq!(as_client.state(), State::Established, "{variant}");
    }
    vectors::report(&path, packets);
}

/// Data keys of recorded sessions: what the client's half derives.
#[test]
fn session_secrets_vectors() {
    let (path, file) = file("crypto.json");
    let mut rows = 0;
    for session in file["cryptoauth_sessions"].as_array().unwrap() {
        let Some(secret) = session["client_session_secret"].as_str() else { continue };
        let client: Identity = text(session, "client_private").parse().unwrap();
        let login = session["auth"]["login"].as_str();
        let credential = Credential::new(
            login.map(str::as_bytes),
            text(&session["auth"], "password").as_bytes(),
        );
        let mut handshake =
            Handshake::new(&client, public(session, "server_public"), Some(credential)).unwrap();
        let mut rng = TestRng::new(0);
        let mut keys: Option<DataKeys> = None;
        for entry in session["transcript"].as_array().unwrap() {
            let packet = hex(text(entry, "packet"));
            if packet[3] == 0 {
                lay_down(&mut rng, entry, &packet, true);
                handshake.send(0, &mut rng, &hex(text(entry, "plaintext")));
            } else if packet[3] == 2 {
                let parsed = Packet::parse(&packet).unwrap();
                let none = Credentials::new();
                let authorized = parsed.authorize(&none, false).unwrap();
                let received = handshake.receive(&client, 0, &parsed, &authorized).unwrap();
                keys = received.keys.map(|new| new.keys);
            }
        }
        let keys = keys.unwrap();
        assert_eq!(keys.send[..], hex(secret));
        assert_eq!((keys.send, keys.first_nonce, keys.confirmed), (keys.receive, 4, true));
        rows += 1;
    }
    vectors::report(&path, rows);
}
