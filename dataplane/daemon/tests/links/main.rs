//! Links with keys between real processes, each a box of its own in a network namespace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::tests_outside_test_module,
    clippy::wildcard_enum_match_arm,
    reason = "a test"
)]

mod boxes;
mod keys;

use boxes::{Side, eventually, line};
use dataplane_api::protocol::{TapEvent, TapFilter};
use dataplane_api::{Handshake, VifPolicy};
use dataplane_daemon::clock;
use std::collections::BTreeSet;
use std::time::Duration;

/// Whether this machine lets a test make networks; says so if not.
fn may() -> bool {
    lab::may("links between network namespaces")
}

/// West – middle – east: both ends dial the middle, which lets them in by login.
fn comes_up(side: Side, handshake: Handshake) {
    if !may() {
        return;
    }
    let mut line = line(side, handshake);
    line.start_all();
    for end in [&line.west, &line.east] {
        eventually("the link is up", || end.links().iter().any(|link| link.state == "ESTABLISHED"));
    }
    eventually("both became vifs of the middle", || {
        let links = line.middle.links();
        links.len() == 2
            && links.iter().all(|link| link.state == "ESTABLISHED" && link.version == 22)
    });
    let kind = match handshake {
        Handshake::CryptoAuth => "crypto_auth",
        Handshake::Noise => "noise",
    };
    assert!(line.middle.links().iter().all(|link| link.kind == kind));
    // Through the middle and back: labels as its vifs have them.
    let east = line.label_at_middle(&line.east);
    let path = line.west.path_over(east);
    let answered = (0..20).filter(|_| line.west.ping(path, Duration::from_secs(1)).is_some());
    assert_eq!(answered.count(), 20);
}

#[test]
fn a_line_over_ethernet_comes_up_by_cryptoauth() {
    comes_up(Side::Ethernet, Handshake::CryptoAuth);
}

#[test]
fn a_line_over_udp_comes_up_by_cryptoauth() {
    comes_up(Side::Udp, Handshake::CryptoAuth);
}

#[test]
fn a_line_over_ethernet_comes_up_by_noise() {
    comes_up(Side::Ethernet, Handshake::Noise);
}

#[test]
fn a_line_over_udp_comes_up_by_noise() {
    comes_up(Side::Udp, Handshake::Noise);
}

#[test]
fn a_middle_that_is_killed_is_back_with_the_same_labels() {
    if !may() {
        return;
    }
    let mut line = line(Side::Ethernet, Handshake::CryptoAuth);
    line.start_all();
    eventually("both are up", || line.middle.up() == 2);
    let (west, east) = (line.label_at_middle(&line.west), line.label_at_middle(&line.east));
    let path = line.west.path_over(east);
    assert!(line.west.ping(path, Duration::from_secs(1)).is_some());
    line.middle.kill();
    line.middle.start();
    let start = clock::now();
    eventually("pings cross again", || line.west.ping(path, Duration::from_millis(200)).is_some());
    let passed = clock::now() - start;
    assert!(passed < 5_000_000_000, "it greets its neighbours itself");
    assert_eq!((line.label_at_middle(&line.west), line.label_at_middle(&line.east)), (west, east));
}

#[test]
fn an_end_that_is_killed_is_taken_back_at_once() {
    if !may() {
        return;
    }
    let mut line = line(Side::Ethernet, Handshake::CryptoAuth);
    line.start_all();
    eventually("both are up", || line.middle.up() == 2);
    let before = line.label_at_middle(&line.west);
    let path = line.west.path_over(line.label_at_middle(&line.east));
    line.west.kill();
    line.west.start();
    let start = clock::now();
    eventually("pings cross again", || line.west.ping(path, Duration::from_millis(200)).is_some());
    assert!(clock::now() - start < 5_000_000_000, "its hello replaces what the middle had");
    assert_eq!(line.label_at_middle(&line.west), before);
}

/// West and the middle are boxes that want to tell each other what packets claim; east does as a stock node, which drops
/// what it does not know.
#[test]
fn claims_are_told_to_who_answers_the_offer_and_to_nobody_else() {
    if !may() {
        return;
    }
    let mut line = line(Side::Ethernet, Handshake::CryptoAuth);
    let told = VifPolicy { traffic_class: true, ..VifPolicy::default() };
    line.middle.policy.clone_from(&told);
    line.west.policy = told;
    line.start_all();
    eventually("both are up", || line.middle.up() == 2);
    let (west, east) = (line.label_at_middle(&line.west), line.label_at_middle(&line.east));
    let to_middle = 0x15;
    eventually("west and the middle agree", || line.middle.told(west) && line.west.told(to_middle));
    eventually("east was asked, too", || line.east.drops("control_type") > 1);
    assert!(!line.middle.told(east) && !line.east.told(to_middle));

    // What waits at the middle is not sealed yet: each switch header as it goes on.
    let filter = TapFilter { snap_len: 64, rate_max: 1_000, ..TapFilter::default() };
    let mut records = line.middle.client().tap(filter).unwrap();
    let vif = |label| {
        let status = line.middle.client().status().unwrap();
        let text = format!("{label:016x}");
        status.vifs.iter().find(|vif| vif.label == text).unwrap().id
    };
    let (west_vif, east_vif) = (vif(west), vif(east));
    let path = line.west.path_over(east);
    let (mut to_west, mut to_east) = (Vec::new(), Vec::new());
    eventually("a ping and its answer pass", || {
        assert!(line.west.ping(path, Duration::from_secs(1)).is_some());
        let wait = Duration::from_millis(300);
        let mut moving = None;
        while let Some(record) = records.next_within(wait).unwrap() {
            match record.event {
                TapEvent::Switched { to, .. } => moving = Some(to),
                TapEvent::Queued { vif } if moving.take() == Some(vif) => {
                    let class = record.bytes[10..12].to_vec();
                    if vif == west_vif { &mut to_west } else { &mut to_east }.push(class);
                    assert!(vif == west_vif || vif == east_vif);
                }
                _ => {}
            }
        }
        !to_west.is_empty() && !to_east.is_empty()
    });
    // East is a customer that claims nothing, and is never told anything itself.
    assert!(to_west.iter().all(|class| *class == [0x80, 0]), "{to_west:02x?}");
    assert!(to_east.iter().all(|class| *class == [0xff; 2]), "{to_east:02x?}");

    // West comes back as somebody who does not want it any more.
    line.west.kill();
    line.west.policy = VifPolicy::default();
    line.west.start();
    eventually("the middle hears no answer", || !line.middle.told(west));
}

/// Frames of a classic pcap file: bytes kept, and bytes there were.
fn pcap(bytes: &[u8]) -> Vec<(Vec<u8>, u32)> {
    let (head, mut rest) = bytes.split_at(24);
    assert_eq!((&head[..4], head[20]), (&[0xd4, 0xc3, 0xb2, 0xa1][..], 1));
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (kept, len) = (usize::try_from(word(8)).unwrap(), word(12));
        frames.push((rest[16..16 + kept].to_vec(), len));
        rest = &rest[16 + kept..];
    }
    frames
}

#[test]
fn packets_of_mirrored_vifs_are_copied_and_those_of_traced_ones_told() {
    if !may() {
        return;
    }
    let mut line = line(Side::Ethernet, Handshake::CryptoAuth);
    line.west.policy = VifPolicy { mirror: true, trace: true, ..VifPolicy::default() };
    line.start_all();
    eventually("both are up", || line.middle.up() == 2);
    let path = line.west.path_over(line.label_at_middle(&line.east));
    assert!(line.west.ping(path, Duration::from_secs(1)).is_some());
    eventually("copies and steps of vif 2 are there", || {
        let recorded = line.west.recorded();
        let (Some(copies), Some(steps)) = (recorded.get("end-2.pcap"), recorded.get("steps.log"))
        else {
            return false;
        };
        let frames = pcap(copies);
        // Both ways, as they are on the wire: the middle's address is odd, west's even.
        let ways: BTreeSet<u8> = frames.iter().map(|(frame, _)| frame[5]).collect();
        assert!(frames.iter().all(|(frame, len)| frame.len() == *len as usize));
        let steps = String::from_utf8_lossy(steps).into_owned();
        ways.len() == 2 && ["Classified", "Queued", "Sent"].iter().all(|step| steps.contains(step))
    });
    assert!(line.middle.recorded().is_empty(), "no vif of the middle has the flags");
}

#[test]
fn boxes_that_know_nobody_meet_by_beacons() {
    if !may() {
        return;
    }
    let mut line = line(Side::Ethernet, Handshake::CryptoAuth);
    for box_ in [&mut line.west, &mut line.middle, &mut line.east] {
        box_.by_beacon = true;
    }
    line.start_all();
    eventually("both ends met the middle", || {
        line.middle.up() == 2 && line.west.up() == 1 && line.east.up() == 1
    });
    assert!(line.middle.links().iter().all(|link| link.learned && link.user.is_none()));
}

#[test]
fn a_wrong_password_leaves_nothing_behind() {
    if !may() {
        return;
    }
    let mut line = line(Side::Ethernet, Handshake::CryptoAuth);
    line.west.password = "not the password".into();
    line.start_all();
    eventually("east is up", || line.middle.up() == 1);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(line.middle.links().len(), 1);
    assert_eq!(line.west.links()[0].state, "SENT_HELLO");
    assert!(line.middle.drops("handshake") > 0);
}
