//! Randomness of tests: from a seed, or bytes laid down beforehand.

use rand_core::{TryCryptoRng, TryRng};
use std::collections::VecDeque;
use std::convert::Infallible;

/// First the bytes that were laid down, then SplitMix64 of a seed.
#[derive(Clone, Debug)]
pub struct TestRng {
    laid_down: VecDeque<u8>,
    state: u64,
}

impl TestRng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { laid_down: VecDeque::new(), state: seed }
    }

    /// Lays down `bytes` to be drawn next, behind those that still lie there.
    pub fn lay_down(&mut self, bytes: &[u8]) {
        self.laid_down.extend(bytes);
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        for chunk in destination.chunks_mut(8) {
            let drawn = self.draw().to_le_bytes();
            for (byte, drawn) in chunk.iter_mut().zip(drawn) {
                *byte = self.laid_down.pop_front().unwrap_or(drawn);
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}
