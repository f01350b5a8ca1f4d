//! Links with keys: what neighbours seal is opened, switched and sealed for other neighbours, each frame ends in one
//! place, and a twin that works on one packet at a time with somebody else's ciphers says the same.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says what it hit"
)]

mod bursts;
mod keyed;
mod peer;
#[path = "../rig/mod.rs"]
mod rig;
mod sessions;
mod strangers;
#[path = "../twin/mod.rs"]
mod twin;

/// SplitMix64.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// A secret.
    pub fn key(&mut self) -> [u8; 32] {
        let words: [[u8; 8]; 4] = std::array::from_fn(|_| self.draw().to_le_bytes());
        *words.as_flattened().first_chunk().unwrap()
    }
}
