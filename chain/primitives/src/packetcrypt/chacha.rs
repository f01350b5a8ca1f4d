//! ChaCha20 key stream, sixteen blocks at a time.

use super::kernel::Code;

/// Bytes of sixteen blocks.
pub(super) const GROUP_LEN: usize = 1024;

/// One key, and what stands in the last four words of a block's input: block counter and nonce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) key: [u32; 8],
    /// Counter and nonce of the first block.
    pub(super) tail: [u32; 4],
    /// What grows from one block to the next.
    pub(super) step: Step,
}

/// What distinguishes one block of a stream from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The block counter, as usual.
    Counter,
    /// The first word of the nonce: PacketCrypt's random numbers take one block of each nonce.
    Nonce,
}

impl Stream {
    /// PacketCrypt's expansion of a seed: `counter` and `PC_EXPND` are the nonce.
    pub(super) fn expand(seed: &[u8; 32], counter: u32) -> Self {
        let name = [u32::from_le_bytes(*b"PC_E"), u32::from_le_bytes(*b"XPND")];
        Self { key: words(seed), tail: [0, counter, name[0], name[1]], step: Step::Counter }
    }

    /// The first block of the expansion with each counter in turn.
    pub(super) fn numbers(seed: &[u8; 32]) -> Self {
        Self { step: Step::Nonce, ..Self::expand(seed, 0) }
    }

    /// A state's own.
    pub(super) fn of_state(key: &[u8; 32], nonce: &[u8; 12]) -> Self {
        let nonce: [u32; 3] = words(nonce);
        Self { key: words(key), tail: [0, nonce[0], nonce[1], nonce[2]], step: Step::Counter }
    }

    /// Sixteen blocks, from number `first` on.
    pub(super) fn blocks(mut self, code: Code, first: u32, out: &mut [u8; GROUP_LEN]) {
        match self.step {
            Step::Counter => self.tail[0] = self.tail[0].wrapping_add(first),
            Step::Nonce => self.tail[1] = self.tail[1].wrapping_add(first),
        }
        code.blocks(&self, out);
    }
}

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|place| words.get(place).map_or(0, |word| u32::from_le_bytes(*word)))
}
