//! A router: what it is sent, in and outside of sessions, and what its neighbours answer.

use crate::input::{Step, steps};
use crypt::cryptoauth::EndToEnd;
use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use node::router::{Moment, Neighbour, Output, RouteServers, Router};
use std::sync::{Arc, LazyLock};
use wire::control::{self, ENVELOPE_LEN};
use wire::label;
use wire::scheme::Scheme;
use wire::switch::{HEADER_LEN, Header};
use zerocopy::IntoBytes;

const SECOND: u64 = 1_000_000_000;
const WALL_MS: u64 = 1_800_000_000_000;
/// Nodes that have their time: the router, a client, two neighbours.
static NODES: LazyLock<[Identity; 4]> =
    LazyLock::new(|| [1, 2, 3, 4].map(|seed| Identity::generate(&mut TestRng::new(seed))));
/// Most packets that one packet may lead to.
const ANSWERS_MAX: usize = 2;
/// Longest that a packet in answer to another may be: eight nodes and a handshake.
const ANSWER_LEN_MAX: usize = 640;

/// Sends a router what `input` spells: packets as they are, control messages with a right checksum, texts in a session,
/// answers to its last question, and time that passes.
pub fn router(input: &[u8]) {
    let [own, client, neighbours @ ..] = &*NODES;
    let (servers, input) = match input.split_first() {
        Some((0, rest)) => (RouteServers::Host, rest),
        Some((1, rest)) => (RouteServers::Listed(vec![client.public()]), rest),
        Some((_, rest)) => (RouteServers::Any, rest),
        None => return,
    };
    let mut rng = TestRng::new(7);
    let Ok(mut session) = EndToEnd::new(client, own.public()) else { return };
    let mut now = 0;
    let mut moment = Moment { now, wall_ms: WALL_MS, rng: &mut rng };
    let mut router = Router::new(Arc::new(own.clone()), Scheme::v358(), servers, &mut moment);
    let mut handle = [0; 4];
    let mut asked = Vec::new();
    let links = [neighbour(0, &neighbours[0]), neighbour(33, &neighbours[1])];
    for Step { op, argument, bytes } in steps(input) {
        let mut rng = TestRng::new(now);
        let mut moment = Moment { now, wall_ms: WALL_MS + now / 1_000_000, rng: &mut rng };
        let output = match op % 5 {
            0 => router.delivered(&mut moment, bytes),
            1 => {
                let mut packet = bytes.to_vec();
                let _sealed = packet
                    .get_mut(HEADER_LEN..)
                    .is_some_and(|payload| control::seal(payload, argument.into()));
                router.control(&mut moment, &packet).unwrap_or_default()
            }
            2 => {
                let packet = in_session(&mut session, handle, now, bytes);
                let output = router.delivered(&mut moment, &packet);
                for answer in &output.packets {
                    handle = opened(&mut session, client, now, answer).unwrap_or(handle);
                }
                output
            }
            3 => {
                let packet = answered(&asked, argument, bytes);
                router.control(&mut moment, &packet).unwrap_or_default()
            }
            _ => {
                now += u64::from(argument) * SECOND / 4;
                moment.now = now;
                let links = links.get(..usize::from(argument % 3)).unwrap_or_default();
                let output = router.poll(&mut moment, links);
                assert!(router.next_due() > now, "it is not due again at once");
                check(&output, usize::MAX, usize::MAX);
                output
            }
        };
        if op % 5 != 4 {
            check(&output, ANSWERS_MAX, ANSWER_LEN_MAX);
        }
        if let Some(question) = output.packets.into_iter().next_back() {
            asked = question;
        }
    }
}

fn check(output: &Output, packets_max: usize, len_max: usize) {
    assert!(output.packets.len() <= packets_max, "one packet leads to many");
    for packet in &output.packets {
        let header = Header::split(packet).map(|(header, _)| header);
        assert_eq!(header.map(Header::shift), Some(0), "it has not passed a switch yet");
        assert!(packet.len() <= len_max, "an answer of {} bytes", packet.len());
    }
}

/// A text of the client, from interface 0, as delivered.
fn in_session(session: &mut EndToEnd, handle: [u8; 4], now: u64, text: &[u8]) -> Vec<u8> {
    let mut rng = TestRng::new(now ^ 1);
    let mut packet = Header::new(label::reverse(0x13), 0).as_bytes().to_vec();
    if session.sends_handshake(now) {
        packet.extend(session.send(now, &mut rng, &[&[0, 0, 0, 9], text].concat()));
    } else {
        packet.extend(handle);
        packet.extend(session.send(now, &mut rng, text));
    }
    packet
}

/// The router's handle, if the packet says it.
fn opened(session: &mut EndToEnd, own: &Identity, now: u64, packet: &[u8]) -> Option<[u8; 4]> {
    let sealed = packet.get(HEADER_LEN..)?;
    let is_handshake = sealed.starts_with(&[0, 0, 0]) && *sealed.get(3)? < 4;
    let sealed = if is_handshake { sealed } else { sealed.get(4..)? };
    let payload = session.receive(own, now, sealed).ok()?;
    payload.bytes.first_chunk().copied().filter(|_| is_handshake)
}

/// The router's last question, answered: `body` over its body, the mark kept.
fn answered(question: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = question.to_vec();
    if let Some((header, payload)) = Header::split_mut(&mut packet) {
        header.set_label(label::reverse(header.label()));
        if let Some(at) = payload.get_mut(ENVELOPE_LEN..) {
            at.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
        }
        let _sealed = control::seal(payload, kind.into());
    }
    packet
}

fn neighbour(number: u16, node: &Identity) -> Neighbour {
    Neighbour {
        number,
        key: node.public(),
        version: 22,
        established: true,
        mtu: 1400,
        lag_ms: None,
        received: 0,
        lost: 0,
        received_bytes: 0,
    }
}
