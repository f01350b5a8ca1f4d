//! Links of two boxes, wired to each other without a network: what each sends is what the other gets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::tests_outside_test_module,
    reason = "a test"
)]

mod side;

use dataplane_api::{DropReason, Handshake, Nanos};
use side::{LOGIN, PASSWORD, Side, address, exchange};

const SECOND: Nanos = 1_000_000_000;

/// West dials east, which lets it in by login.
fn met(handshake: Handshake) -> (Side, Side) {
    let (mut west, mut east) = (Side::new(1), Side::new(2));
    west.dial(&east, handshake, PASSWORD);
    east.let_in(LOGIN, PASSWORD);
    exchange(&mut west, &mut east, 2 * SECOND);
    (west, east)
}

fn comes_up(handshake: Handshake) {
    let (mut west, mut east) = met(handshake);
    for side in [&west, &east] {
        let state = side.state();
        assert_eq!((state.state, state.version, state.sessions), ("ESTABLISHED", 22, 1));
    }
    assert_eq!(east.state().user.as_deref(), Some(LOGIN));
    assert_eq!((west.send(b"a packet of west"), east.send(b"a packet of east")), (true, true));
    exchange(&mut west, &mut east, SECOND);
    assert_eq!(
        (east.got(), west.got()),
        (vec![b"a packet of west".to_vec()], vec![b"a packet of east".to_vec()])
    );
}

#[test]
fn a_login_becomes_a_link_by_cryptoauth() {
    comes_up(Handshake::CryptoAuth);
}

#[test]
fn a_login_becomes_a_link_by_noise() {
    comes_up(Handshake::Noise);
}

#[test]
fn both_may_dial_at_once() {
    for handshake in [Handshake::CryptoAuth, Handshake::Noise] {
        let (mut west, mut east) = (Side::new(1), Side::new(2));
        west.let_in(LOGIN, PASSWORD);
        east.let_in(LOGIN, PASSWORD);
        west.dial(&east, handshake, PASSWORD);
        east.dial(&west, handshake, PASSWORD);
        exchange(&mut west, &mut east, 12 * SECOND);
        assert_eq!((west.state().state, east.state().state), ("ESTABLISHED", "ESTABLISHED"));
        west.send(b"after the crossing");
        exchange(&mut west, &mut east, SECOND);
        assert_eq!(east.got(), [b"after the crossing"], "{handshake:?}");
    }
}

#[test]
fn a_wrong_password_makes_nobody() {
    for handshake in [Handshake::CryptoAuth, Handshake::Noise] {
        let (mut west, mut east) = (Side::new(1), Side::new(2));
        west.dial(&east, handshake, "not the password");
        east.let_in(LOGIN, PASSWORD);
        exchange(&mut west, &mut east, 20 * SECOND);
        assert_ne!(west.state().state, "ESTABLISHED", "{handshake:?}");
        // Noise proves the password in the first data packet only: until then there is a link that never was up.
        assert!(east.links() == 0 || east.state().sessions == 0, "{handshake:?}");
    }
}

#[test]
fn a_side_that_starts_anew_is_taken_back_at_once() {
    for handshake in [Handshake::CryptoAuth, Handshake::Noise] {
        let (west, mut east) = met(handshake);
        let mut west = west.started_anew();
        west.dial(&east, handshake, PASSWORD);
        exchange(&mut west, &mut east, SECOND);
        assert_eq!(west.state().state, "ESTABLISHED", "{handshake:?}");
        assert_eq!(east.state().sessions, 2, "{handshake:?}");
        east.send(b"welcome back");
        exchange(&mut west, &mut east, SECOND);
        assert_eq!(west.got(), [b"welcome back"], "{handshake:?}");
    }
}

#[test]
fn a_recorded_hello_moves_nobody_and_ends_nothing() {
    let (mut west, mut east) = met(Handshake::CryptoAuth);
    let hellos: Vec<_> =
        west.sent().iter().filter(|packet| packet.starts_with(&[0; 4])).cloned().collect();
    assert!(!hellos.is_empty());
    for hello in &hellos {
        let elsewhere = address(77);
        assert_eq!(east.stranger(elsewhere, hello), Err(DropReason::Handshake));
        // From the right place it is a duplicate.
        assert!(east.handshake(hello).is_err());
    }
    west.send(b"undisturbed");
    exchange(&mut west, &mut east, SECOND);
    assert_eq!(east.got(), [b"undisturbed"]);
    assert_eq!(east.state().sessions, 1);
}

#[test]
fn who_came_by_itself_and_is_silent_is_forgotten() {
    let (_, mut east) = met(Handshake::CryptoAuth);
    let mut alone = Side::new(3);
    exchange(&mut alone, &mut east, 30 * SECOND);
    assert_eq!((east.links(), east.state().state), (1, "UNRESPONSIVE"));
    exchange(&mut alone, &mut east, 240 * SECOND);
    assert_eq!(east.links(), 0);
}

#[test]
fn idle_links_stay_up_and_noise_is_rekeyed() {
    for (handshake, sessions) in [(Handshake::CryptoAuth, 1), (Handshake::Noise, 5)] {
        let (mut west, mut east) = met(handshake);
        exchange(&mut west, &mut east, 600 * SECOND);
        let state = west.state();
        assert_eq!((state.state, state.sessions), ("ESTABLISHED", sessions), "{handshake:?}");
        assert!(state.silent.unwrap() < 5 * SECOND);
        east.send(b"ten minutes later");
        exchange(&mut west, &mut east, SECOND);
        assert_eq!(west.got(), [b"ten minutes later"]);
    }
}

#[test]
fn lost_handshakes_are_made_again() {
    for handshake in [Handshake::CryptoAuth, Handshake::Noise] {
        for lost in 1..8 {
            let (mut west, mut east) = (Side::new(1), Side::new(2));
            east.let_in(LOGIN, PASSWORD);
            west.dial(&east, handshake, PASSWORD);
            west.lose(lost);
            exchange(&mut west, &mut east, 40 * SECOND);
            let states = (west.state().state, east.state().state);
            assert_eq!(states, ("ESTABLISHED", "ESTABLISHED"), "{handshake:?}, {lost} lost");
        }
    }
}

#[test]
fn a_flood_of_noise_inits_is_asked_for_cookies() {
    let mut east = Side::new(2);
    east.let_in(LOGIN, PASSWORD);
    let mut opened = 0;
    for n in 0..200 {
        let mut west = Side::new(100 + n);
        west.dial(&east, Handshake::Noise, PASSWORD);
        west.step(0);
        for init in west.take_handshakes() {
            opened += u32::from(east.stranger(address(u8::try_from(n).unwrap()), &init).is_ok());
        }
    }
    assert!((1..=20).contains(&opened), "{opened}");
    assert!(east.replies() >= 180, "{}", east.replies());
}
