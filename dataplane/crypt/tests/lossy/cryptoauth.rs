//! CryptoAuth, both halves.

use crate::network::{SECOND, Step, Way, config, steps};
use dataplane_crypt::cryptoauth::{EndToEnd, Refusal, State};
use dataplane_crypt::identity::Identity;
use dataplane_crypt::test_rng::TestRng;
use proptest::prelude::*;
use std::collections::BTreeSet;

struct World {
    rng: TestRng,
    now: u64,
    nodes: [Identity; 2],
    sessions: [EndToEnd; 2],
    ways: [Way; 2],
    sent: u64,
    /// Payloads that came in data packets.
    arrived: BTreeSet<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = TestRng::new(seed);
        let nodes = [Identity::generate(&mut rng), Identity::generate(&mut rng)];
        let sessions = [0, 1].map(|side| session(&nodes, side));
        Self {
            rng,
            now: SECOND,
            nodes,
            sessions,
            ways: Default::default(),
            sent: 0,
            arrived: BTreeSet::new(),
        }
    }

    fn send(&mut self, side: usize) -> u64 {
        self.sent += 1;
        let payload = self.sent.to_be_bytes();
        let packet = self.sessions[side].send(self.now, &mut self.rng, &payload);
        self.ways[side].put(packet);
        self.sent
    }

    /// Lets a packet from `side` arrive. Gives the payload's number and whether it came as data.
    fn arrive(&mut self, side: usize, packet: &[u8]) -> Result<(u64, bool), Refusal> {
        let to = 1 - side;
        let opened = self.sessions[to].receive(&self.nodes[to], self.now, packet)?;
        let number = u64::from_be_bytes(opened.bytes.try_into().unwrap());
        assert!(number <= self.sent, "a payload that nobody sent");
        if !opened.in_handshake {
            assert!(self.arrived.insert(number), "payload {number} arrived twice");
        }
        Ok((number, !opened.in_handshake))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { side } => {
                self.send(side.into());
            }
            Step::Arrive { side, .. } | Step::Replay { side, .. } | Step::Forge { side, .. } => {
                let side = usize::from(side);
                if let Some(packet) = self.ways[side].take(step) {
                    let _refused = self.arrive(side, &packet);
                }
            }
            Step::Restart { side } => {
                self.sessions[usize::from(side)] = session(&self.nodes, side.into());
            }
            Step::Wait { milliseconds } => self.now += milliseconds * 1_000_000,
        }
    }

    /// A payload from each, over a network that does nothing bad. Whether both came as data.
    fn exchange(&mut self) -> bool {
        [0, 1].map(|side| {
            let number = self.send(side);
            let packets = std::mem::take(&mut self.ways[side].flying);
            let arrived: Vec<_> = packets.iter().map(|packet| self.arrive(side, packet)).collect();
            arrived.last() == Some(&Ok((number, true)))
        }) == [true, true]
    }
}

fn session(nodes: &[Identity; 2], side: usize) -> EndToEnd {
    EndToEnd::new(&nodes[side], nodes[1 - side].public()).unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn cryptoauth_sessions_are_made_whatever_happened(seed in any::<u64>(), steps in steps()) {
        let mut world = World::new(seed);
        for step in &steps {
            world.step(step);
        }
        // One that lost its session may be sent data of the old one for a minute, and then handshakes half done end.
        let rounds = (0..80).find(|_| {
            world.now += SECOND;
            world.exchange() && world.exchange()
        });
        prop_assert!(rounds.is_some(), "{:?}", world.sessions);
        prop_assert_eq!([0, 1].map(|side| world.sessions[side].state()), [State::Established; 2]);

        // Now recordings, each to both (of data, one that never arrived may do so); what follows arrives, but for one answer to what may have been a hello.
        let recorded = [0, 1].map(|side| world.ways[side].recorded.clone());
        for (side, packets) in recorded.iter().enumerate() {
            for packet in packets {
                for from in [side, 1 - side] {
                    let arrived = world.arrive(from, packet);
                    if arrived.is_ok() {
                        world.exchange();
                    }
                    prop_assert!(world.exchange(), "disturbed by {:?} {:?}", arrived, packet);
                }
            }
        }
    }
}
