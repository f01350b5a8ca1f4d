//! What happens between two nodes.

use proptest::prelude::*;

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// As many cases as `PROPTEST_CASES` says, else few: a case has hundreds of Diffie-Hellmans.
pub(crate) fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(64),
    }
}

/// One thing that happens. `side` is who sends; places are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A payload is to be sent.
    Send { side: bool },
    /// A packet on its way arrives, or does not.
    Arrive { side: bool, place: usize, lost: bool, repeated: bool },
    /// A packet that ever was on its way arrives.
    Replay { side: bool, place: usize },
    /// The same, with one byte changed.
    Forge { side: bool, place: usize, byte: usize, value: u8 },
    /// All that a node held in memory is gone.
    Restart { side: bool },
    /// Time passes.
    Wait { milliseconds: u64 },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = any::<bool>();
    let place = any::<usize>();
    let step = prop_oneof![
        6 => side.prop_map(|side| Step::Send { side }),
        8 => (side, place, prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
            |(side, place, lost, repeated)| Step::Arrive { side, place, lost, repeated }
        ),
        2 => (side, place).prop_map(|(side, place)| Step::Replay { side, place }),
        2 => (side, place, place, 1_u8..).prop_map(|(side, place, byte, value)| {
            Step::Forge { side, place, byte, value }
        }),
        1 => side.prop_map(|side| Step::Restart { side }),
        3 => prop_oneof![1_u64..2000, 1_u64..70_000, Just(185_000)]
            .prop_map(|milliseconds| Step::Wait { milliseconds }),
    ];
    prop::collection::vec(step, 0..60)
}

/// Packets from one node.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub(crate) flying: Vec<Vec<u8>>,
    pub(crate) recorded: Vec<Vec<u8>>,
}

impl Way {
    pub(crate) fn put(&mut self, packet: Vec<u8>) {
        self.recorded.push(packet.clone());
        self.flying.push(packet);
    }

    /// The packet that a step lets arrive, if there is one.
    pub(crate) fn take(&mut self, step: &Step) -> Option<Vec<u8>> {
        let pick = |packets: &[Vec<u8>], place: usize| {
            packets.get(place.checked_rem(packets.len()).unwrap_or(0)).cloned()
        };
        match *step {
            Step::Arrive { place, lost, repeated, .. } => {
                let packet = pick(&self.flying, place)?;
                if !repeated {
                    let place = place % self.flying.len();
                    self.flying.remove(place);
                }
                (!lost).then_some(packet)
            }
            Step::Replay { place, .. } => pick(&self.recorded, place),
            Step::Forge { place, byte, value, .. } => {
                let mut packet = pick(&self.recorded, place)?;
                let byte = byte % packet.len();
                packet[byte] ^= value;
                Some(packet)
            }
            Step::Send { .. } | Step::Restart { .. } | Step::Wait { .. } => None,
        }
    }
}
