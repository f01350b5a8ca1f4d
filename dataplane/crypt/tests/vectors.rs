//! Every row of the reference's vectors about keys, logins and replay windows.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use dataplane_crypt as crypt;

use crypt::credential::Credential;
use crypt::identity::{Identity, verify, x25519_of};
use crypt::replay::{NotFresh, ReplayWindow};
use serde_json::Value;
use std::collections::BTreeSet;
use wire::key::PublicKey;
use wire::vectors::{self, hex};

fn file(name: &str) -> (std::path::PathBuf, Value) {
    let (path, text) = vectors::read(name);
    (path, serde_json::from_str(&text).unwrap())
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no {field} in {row}"))
}

fn number(row: &Value, field: &str) -> u32 {
    row[field].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn keys_vectors() {
    let (path, file) = file("crypto.json");
    let rows = file["keys"].as_array().unwrap();
    for row in rows {
        let identity: Identity = text(row, "private").parse().unwrap();
        assert_eq!(identity.public().0.to_vec(), hex(text(row, "public")));
        assert_eq!(identity.public().to_string(), text(row, "public_b32"));
        assert_eq!(identity.address(), text(row, "ipv6").parse::<std::net::Ipv6Addr>().unwrap());
    }
    vectors::report(&path, rows.len());
}

#[test]
fn logins_vectors() {
    let (path, file) = file("crypto.json");
    let cryptoauth = file["ca_challenge"].as_array().unwrap();
    for row in cryptoauth {
        let login = hex(text(row, "login_hex"));
        let login = (row["auth_type"] == 2).then_some(login.as_slice());
        let credential = Credential::new(login, &hex(text(row, "password_hex")));
        assert_eq!(credential.lookup()[..], hex(text(row, "challenge_12"))[..8], "{row}");
        assert_eq!(credential.password_hash()[..], hex(text(row, "secret_32")), "{row}");
    }
    let noise = file["noise_psk"].as_array().unwrap();
    for row in noise {
        let login = hex(text(row, "login_hex"));
        let credential = Credential::new(Some(&login), &hex(text(row, "password_hex")));
        assert_eq!(credential.noise_lookup()[..], hex(text(row, "lookup_8")), "{row}");
        assert_eq!(credential.psk()[..], hex(text(row, "psk")), "{row}");
    }
    vectors::report(&path, cryptoauth.len() + noise.len());
}

#[test]
fn announcement_signatures_vectors() {
    let (path, file) = file("session.json");
    let rows = file["announcements"].as_array().unwrap();
    for row in rows {
        let announcement = hex(text(row, "announce_hex"));
        let (signature, message) = announcement.split_first_chunk::<64>().unwrap();
        let signing_key = message.first_chunk::<32>().unwrap();
        assert!(verify(signing_key, message, signature), "{row}");
        let signer = PublicKey(hex(text(row, "signer_x25519")).try_into().unwrap());
        assert_eq!(x25519_of(signing_key), Some(signer), "{row}");
        let mut bent = *signature;
        bent[40] ^= 1;
        assert!(!verify(signing_key, message, &bent));
    }
    vectors::report(&path, rows.len());
}

/// The reference's window, step by step as CJDNS-WIRE.md §2.2.6 tells it.
struct Twin {
    base: u32,
    bits: u64,
    duplicates: u32,
    lost: u32,
    out_of_range: u32,
}

impl Twin {
    fn new(first: u32) -> Self {
        Self { base: first, bits: 0, duplicates: 0, lost: 0, out_of_range: 0 }
    }

    fn accept(&mut self, number: u32) -> bool {
        if number < self.base {
            self.out_of_range += 1;
            return false;
        }
        while number - self.base > 63 {
            let offset = number - self.base;
            let shift = if self.bits & 0xffff_ffff == 0xffff_ffff { 32 } else { offset - 47 };
            if shift > 63 {
                self.lost += 64 - self.bits.count_ones() + (shift - 64);
                self.bits = 0;
            } else {
                let gone = self.bits & ((1 << shift) - 1);
                self.lost += shift - gone.count_ones();
                self.bits >>= shift;
            }
            self.base += shift;
        }
        let bit = 1 << (number - self.base);
        let fresh = self.bits & bit == 0;
        self.duplicates += u32::from(!fresh);
        self.bits |= bit;
        fresh
    }
}

#[test]
fn replay_window_vectors() {
    let (path, file) = file("crypto.json");
    let rows = file["replay_window"].as_array().unwrap();
    for row in rows {
        let first = number(row, "first");
        let nonces: Vec<u32> = row["nonces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap().try_into().unwrap())
            .collect();
        let verdicts = text(row, "accept").as_bytes();
        assert_eq!(nonces.len(), verdicts.len());
        let (mut twin, mut window, mut taken) =
            (Twin::new(first), ReplayWindow::new(), BTreeSet::new());
        for (nonce, verdict) in nonces.into_iter().zip(verdicts) {
            let accepted = *verdict == b'1';
            assert_eq!(twin.accept(nonce), accepted, "the twin, nonce {nonce} of {row}");
            let ours = window.accept(nonce);
            assert!(ours.is_ok() || !accepted, "nonce {nonce} of {row}");
            assert_eq!(
                ours == Err(NotFresh::Seen),
                taken.contains(&nonce),
                "nonce {nonce} of {row}"
            );
            taken.insert(nonce);
        }
        for (name, counter) in [
            ("duplicates", twin.duplicates),
            ("lost", twin.lost),
            ("out_of_range", twin.out_of_range),
            ("final_base", twin.base),
        ] {
            assert_eq!(counter, number(row, name), "{name} of {row}");
        }
    }
    vectors::report(&path, rows.len());
}
