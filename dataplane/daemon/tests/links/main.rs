//! Links with keys between real processes, each a box of its own in a network namespace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::tests_outside_test_module,
    reason = "a test"
)]

mod boxes;
mod keys;

use boxes::{Side, eventually, line};
use dataplane_api::Handshake;
use dataplane_daemon::clock;
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
