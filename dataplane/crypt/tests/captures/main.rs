//! Frames that were recorded between stock nodes: each one is opened with the nodes' secrets and compared with what
//! somebody else's program found in it.
//!
//! Handshake packets are not only opened: the machine of their sender, given the recorded randomness, makes them again.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod inner;
mod lab;
mod link;

use lab::{Capture, Frame, text};
use link::{Kind, Link, Opened};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use wire::switch::Header;
use wire::vectors;

#[test]
fn captures_vectors() {
    let folder = vectors::find("pcap");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".keys.json").map(str::to_owned))
        .collect();
    names.sort();
    let mut frames = 0;
    for name in names {
        let capture = Capture::read(&folder, &name);
        let mut links: BTreeMap<_, _> =
            ["am", "mb"].map(|link| (link, Link::new(&capture, link))).into();
        let mut inner: BTreeMap<_, _> =
            ["am", "mb"].map(|link| (link, inner::Sessions::new(&capture))).into();
        let rows = capture.rows.iter().zip(&capture.frames);
        assert_eq!(capture.rows.len(), capture.frames.len(), "{name}");
        for (row, frame) in rows {
            let opened = links.get_mut(frame.link).unwrap().open(frame);
            compare(row, frame, &opened);
            if let Some(plaintext) = opened.plaintext.filter(|plaintext| !plaintext.is_empty()) {
                compare_switch(&row["sw"], &plaintext);
                let inner = inner.get_mut(frame.link).unwrap();
                inner.compare(&row["sw"], opened.source, &plaintext);
            }
            frames += 1;
        }
    }
    vectors::report(&folder, frames);
}

/// What is around the switch packet.
fn compare(row: &Value, frame: &Frame, opened: &Opened) {
    let place = format!("{} {}", text(row, "pcap"), row["n"]);
    assert!(text(row, "pcap").ends_with(&format!("{}.pcap", frame.link)), "{place}");
    assert_eq!(row["n"], frame.number, "{place}");
    assert_eq!(text(row, "src"), opened.source, "{place}");
    assert_eq!(row["len"], frame.packet.len(), "{place}");
    let (kind, numbers): (_, &[(&str, Value)]) = match &opened.kind {
        Kind::Beacon { version } => ("beacon", &[("version", (*version).into())]),
        Kind::Hello => ("ca-hello", &[]),
        Kind::Key => ("ca-key", &[]),
        Kind::Data { nonce, from_initiator } => {
            ("ca-data", &[("nonce", (*nonce).into()), ("fromInitiator", (*from_initiator).into())])
        }
        Kind::NoiseInit { timestamp } => ("noise-init", &[("tai64n", timestamp.clone().into())]),
        Kind::NoiseResponse { send, receive } => (
            "noise-resp",
            &[
                ("initiatorSendKey", send.clone().into()),
                ("initiatorRecvKey", receive.clone().into()),
            ],
        ),
        Kind::NoiseData { counter, empty } => (
            if *empty { "noise-keepalive" } else { "noise-data" },
            &[("counter", (*counter).into())],
        ),
    };
    assert_eq!(text(row, "kind"), kind, "{place}");
    for (field, value) in numbers {
        assert_eq!(&row[field], value, "{field} of {place}");
    }
}

/// The header of the switch packet, and its control message's type.
fn compare_switch(sw: &Value, plaintext: &[u8]) {
    let (header, payload) = Header::split(plaintext).unwrap();
    assert_eq!(text(sw, "label").replace('.', ""), format!("{:016x}", header.label()));
    assert_eq!(sw["labelShift"], header.shift());
    assert_eq!(sw["ver"], header.version());
    assert_eq!(sw["suppressErr"], u8::from(header.suppresses_errors()));
    assert_eq!(sw["congest"], header.congestion_and_suppress() >> 1);
    assert_eq!(text(sw, "trafficClass"), format!("{:04x}", header.traffic_class()));
    assert_eq!(sw["swLen"], plaintext.len());
    let control = wire::control::parse(payload).ok().map(|message| match message.kind {
        2 => "ERROR",
        3 => "PING",
        4 => "PONG",
        5 => "KEYPING",
        6 => "KEYPONG",
        7 => "GETSNODE",
        8 => "GETSNODE_REPLY",
        9 => "RPATH",
        10 => "RPATH_REPLY",
        11 => "LLADDR_QUERY",
        12 => "LLADDR_REPLY",
        _ => "unknown",
    });
    let expected = sw["ctrl"].as_str().map(|name| match name {
        "GETSNODE_QUERY" => "GETSNODE",
        "RPATH_QUERY" => "RPATH",
        other => other,
    });
    assert_eq!(expected, control, "{sw}");
}
