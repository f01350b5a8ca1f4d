//! Sessions between routers, in the switch packets of one link.
//!
//! What a node did between two frames is not known, crossing hellos least of all. So a machine is made anew for each
//! handshake packet, and for data for each session that a key packet began.

use crate::lab::{Capture, text};
use crate::link::NODES;
use dataplane_crypt::cryptoauth::{EndToEnd, Payload};
use dataplane_crypt::test_rng::TestRng;
use serde_json::Value;
use wire::vectors::hex;

/// Bytes before an end-to-end packet.
const SWITCH_LEN: usize = 12;

/// What was seen on a link.
pub(crate) struct Sessions<'a> {
    capture: &'a Capture,
    /// From, to, packet.
    hellos: Vec<(&'static str, &'static str, Vec<u8>)>,
    /// Initiator, responder, and their machines.
    sessions: Vec<(&'static str, &'static str, EndToEnd, EndToEnd)>,
}

impl<'a> Sessions<'a> {
    pub(crate) fn new(capture: &'a Capture) -> Self {
        Self { capture, hellos: Vec::new(), sessions: Vec::new() }
    }

    /// Opens the end-to-end packet in a switch packet, if there is one.
    pub(crate) fn compare(&mut self, sw: &Value, neighbour: &str, plaintext: &[u8]) {
        let packet = &plaintext[SWITCH_LEN..];
        let word = u32::from_be_bytes(packet[..4].try_into().unwrap());
        if word == u32::MAX {
            assert!(sw["e2e"].is_null());
            return;
        }
        let (kind, handle, opened) = match word {
            0 | 1 => {
                let opened = self.hello(packet);
                (if word == 0 { "hello" } else { "repeat-hello" }, None, opened)
            }
            2 | 3 => {
                let opened = self.key(packet);
                (if word == 2 { "key" } else { "repeat-key" }, None, opened)
            }
            _ => ("data", Some(word), self.data(neighbour, &packet[4..])),
        };
        assert_eq!(text(sw, "e2e"), kind);
        // The handle is in front of a data packet, and inside a handshake packet.
        let (handle, rest) = match handle {
            Some(handle) => (handle, &opened.bytes[..]),
            None => {
                let (handle, rest) = opened.bytes.split_first_chunk::<4>().unwrap();
                (u32::from_be_bytes(*handle), rest)
            }
        };
        assert_eq!(sw["handle"], handle);
        assert_eq!(hex(text(sw, "dataHeader")), rest[..4]);
        // Contents of more than 256 bytes are cut in the file.
        let (content, is_cut) = match text(sw, "content").strip_suffix("...") {
            Some(begin) => (hex(begin), true),
            None => (hex(text(sw, "content")), false),
        };
        assert!(rest[4..].starts_with(&content), "{sw}");
        assert_eq!(rest.len() - 4 > content.len(), is_cut, "{sw}");
    }

    fn pair(&self, packet: &[u8]) -> (&'static str, impl Iterator<Item = &'static str> + use<>) {
        let is_sender = |node: &&str| self.capture.nodes[node].public().0[..] == packet[40..72];
        let from = NODES.into_iter().find(is_sender).unwrap();
        (from, NODES.into_iter().filter(move |node| *node != from))
    }

    fn hello(&mut self, packet: &[u8]) -> Payload {
        let nodes = &self.capture.nodes;
        let (from, mut others) = self.pair(packet);
        let opened = others.find_map(|to| {
            let mut machine = EndToEnd::new(&nodes[to], nodes[from].public()).unwrap();
            machine.receive(&nodes[to], 0, packet).ok().map(|opened| (to, opened))
        });
        let (to, opened) = opened.unwrap();
        self.hellos.push((from, to, packet.to_vec()));
        opened
    }

    fn key(&mut self, packet: &[u8]) -> Payload {
        let nodes = &self.capture.nodes;
        let (from, others) = self.pair(packet);
        for to in others {
            for temporary in &self.capture.temporary[to] {
                let mut initiator = EndToEnd::new(&nodes[to], nodes[from].public()).unwrap();
                let mut rng = TestRng::new(0);
                rng.lay_down(temporary);
                let _hello = initiator.send(0, &mut rng, &[]);
                let Ok(opened) = initiator.receive(&nodes[to], 0, packet) else { continue };
                let responder = self.responder(from, to, packet, &opened.bytes);
                self.sessions.push((to, from, initiator, responder));
                return opened;
            }
        }
        panic!("no temporary key opens the key packet of {from}")
    }

    /// The machine that makes this key packet.
    fn responder(&self, from: &str, to: &str, packet: &[u8], payload: &[u8]) -> EndToEnd {
        let nodes = &self.capture.nodes;
        let hellos = self
            .hellos
            .iter()
            .filter(|(hello_from, hello_to, _)| *hello_from == to && *hello_to == from);
        for (_, _, hello) in hellos {
            for temporary in &self.capture.temporary[from] {
                let mut responder = EndToEnd::new(&nodes[from], nodes[to].public()).unwrap();
                responder.receive(&nodes[from], 0, hello).unwrap();
                let mut rng = TestRng::new(0);
                rng.lay_down(temporary);
                rng.lay_down(&packet[5..14]);
                rng.lay_down(&packet[16..40]);
                let made = responder.send(0, &mut rng, payload);
                if made[4..] == packet[4..] {
                    return responder;
                }
            }
        }
        panic!("no hello and temporary key make the key packet of {from} to {to}")
    }

    fn data(&mut self, neighbour: &str, packet: &[u8]) -> Payload {
        let nodes = &self.capture.nodes;
        for (initiator, responder, as_initiator, as_responder) in self.sessions.iter_mut().rev() {
            for (to, machine) in [(*initiator, as_initiator), (*responder, as_responder)] {
                if to == neighbour {
                    continue;
                }
                if let Ok(opened) = machine.receive(&nodes[to], 0, packet) {
                    return opened;
                }
            }
        }
        panic!("no session opens a data packet from {neighbour}")
    }
}
