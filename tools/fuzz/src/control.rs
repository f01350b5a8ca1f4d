//! Control messages and switch errors against the slow path.

use crate::input::{Step, steps};
use crate::rig::RULES;
use engine::slow_path::{Answer, Punted, Responder};
use engine::{PuntKind, Via};
use wire::switch::{HEADER_LEN, Header};

/// Bit of a step's operation: the packet asks for a switch error, with code `argument`.
const ERROR: u8 = 1;
/// Bit: write a right mark and checksum first, type `argument`, so that what is behind them is reached.
const SEAL: u8 = 2;
/// Most that an answer may be longer than its question: the error's own headers, or a whole GETSNODE body.
const GROWTH_MAX: usize = 128;

/// Punts each packet that `input` spells, and checks that the answer is well formed and no amplifier.
pub fn control(input: &[u8]) {
    let mut responder = Responder::new(7);
    let vifs: Vec<_> = RULES.vifs().collect();
    for (turn, Step { op, argument, bytes }) in steps(input).enumerate() {
        let mut packet = bytes.to_vec();
        if let Some(payload) = packet.get_mut(HEADER_LEN..).filter(|_| op & SEAL != 0) {
            // Too short for an envelope stays as it is.
            let _sealed = wire::control::seal(payload, argument.into());
        }
        let Some(vif) = vifs.get(usize::from(op >> 2) % vifs.len().max(1)) else { return };
        let kind = match op & ERROR {
            0 => PuntKind::Control,
            _ => PuntKind::Error { code: argument.into() },
        };
        let punted = Punted { vswitch: vif.vswitch, vif: vif.id, kind, bytes: &packet };
        match responder.answer(&RULES, turn as u64 * 1_000_000, punted) {
            Answer::Send(out) => {
                let expected = match kind {
                    PuntKind::Control | PuntKind::Router | PuntKind::Handshake => {
                        Via::Router(vif.vswitch)
                    }
                    PuntKind::Error { .. } => Via::Vif { vswitch: vif.vswitch, vif: vif.id },
                };
                assert_eq!(out.via, expected, "an answer goes back the way its question came");
                check_answer(&packet, &out.bytes);
            }
            Answer::Pong { .. } | Answer::Done => {
                unreachable!("an answer was taken that nobody asked for")
            }
            Answer::Drop(_) => {}
        }
    }
}

fn check_answer(question: &[u8], answer: &[u8]) {
    let asked = Header::split(question).map(|(header, _)| header.label());
    let Some((header, payload)) = Header::split(answer) else {
        unreachable!("an answer has a switch header")
    };
    assert_eq!(asked.map(wire::label::reverse), Some(header.label()), "the path back");
    assert!(wire::control::parse(payload).is_ok(), "an answer is a control message");
    assert!(answer.len() <= question.len() + GROWTH_MAX, "an answer amplifies");
}
