//! Two nodes of ours and what a network, or who sits in it, does to their sessions.

use crate::input::{Step, steps};
use crypt::cryptoauth::EndToEnd;
use crypt::identity::Identity;
use crypt::test_rng::TestRng;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const SECOND_NS: u64 = 1_000_000_000;
/// Steps of one input that are run.
const STEPS_MAX: usize = 64;
/// Seconds in which two nodes always come to a session: what was sent into an old one ends after 60, a half-open one
/// after 10.
const ROUNDS_MAX: usize = 80;

static NODES: LazyLock<[Identity; 2]> = LazyLock::new(|| {
    let mut rng = TestRng::new(1);
    [Identity::generate(&mut rng), Identity::generate(&mut rng)]
});

struct World {
    rng: TestRng,
    now: u64,
    sessions: [EndToEnd; 2],
    /// What each has sent.
    packets: [Vec<Vec<u8>>; 2],
    sent: u64,
    arrived: BTreeSet<u64>,
}

/// Runs the steps that `input` spells: bit 0 of the operation is who sends, the others what happens. Then the network
/// heals, and the nodes have a session.
pub fn session(input: &[u8]) {
    let Some(sessions) = both() else { return };
    let packets = [Vec::new(), Vec::new()];
    let (rng, now) = (TestRng::new(2), SECOND_NS);
    let mut world = World { rng, now, sessions, packets, sent: 0, arrived: BTreeSet::new() };
    for step in steps(input).take(STEPS_MAX) {
        world.step(step);
    }
    let healed = (0..ROUNDS_MAX).any(|_| {
        world.now += SECOND_NS;
        world.exchange() && world.exchange()
    });
    assert!(healed, "no session: {:?}", world.sessions);
}

fn both() -> Option<[EndToEnd; 2]> {
    let [a, b] = &*NODES;
    Some([EndToEnd::new(a, b.public()).ok()?, EndToEnd::new(b, a.public()).ok()?])
}

impl World {
    fn step(&mut self, Step { op, argument, bytes }: Step<'_>) {
        let side = usize::from(op & 1);
        let packets = &self.packets[side];
        let place = usize::from(argument).checked_rem(packets.len()).unwrap_or(0);
        let packet = packets.get(place).cloned().unwrap_or_default();
        match op >> 1 & 7 {
            0 | 1 => {
                self.send(side);
            }
            2 | 3 => {
                self.arrive(side, &packet);
            }
            // Some bytes of it changed, or others behind it.
            4 => {
                let mut packet = packet;
                packet.iter_mut().zip(bytes).for_each(|(byte, change)| *byte ^= change);
                packet.extend(bytes.iter().skip(packet.len()));
                self.arrive(side, &packet);
            }
            5 => {
                self.arrive(side, bytes);
            }
            6 => self.now += u64::from(argument) * SECOND_NS / 4,
            _ => {
                if let Some(fresh) = both() {
                    let [a, b] = fresh;
                    self.sessions[side] = if side == 0 { a } else { b };
                }
            }
        }
    }

    fn send(&mut self, side: usize) -> u64 {
        self.sent += 1;
        let payload = self.sent.to_be_bytes();
        let packet = self.sessions[side].send(self.now, &mut self.rng, &payload);
        assert!(packet.len() >= payload.len() + crypt::data::CRYPTOAUTH_HEAD_LEN);
        self.packets[side].push(packet);
        self.sent
    }

    /// A packet from `side`; gives what came as data.
    fn arrive(&mut self, side: usize, packet: &[u8]) -> Option<u64> {
        let to = 1 - side;
        let opened = self.sessions[to].receive(&NODES[to], self.now, packet).ok()?;
        let number = opened.bytes.as_slice().try_into().map(u64::from_be_bytes);
        assert!(number.is_ok_and(|number| number <= self.sent), "a payload that nobody sent");
        let number = number.ok().filter(|_| !opened.in_handshake)?;
        assert!(self.arrived.insert(number), "a payload arrived twice");
        Some(number)
    }

    /// A payload from each, and nothing bad. Whether both came as data.
    fn exchange(&mut self) -> bool {
        [0, 1].map(|side| {
            let number = self.send(side);
            let packet = self.packets[side].last().cloned().unwrap_or_default();
            self.arrive(side, &packet) == Some(number)
        }) == [true, true]
    }
}
