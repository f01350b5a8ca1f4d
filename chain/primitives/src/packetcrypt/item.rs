//! Items: what announcements are made of, from a seed and a number.

use super::chacha::{GROUP_LEN, Stream};
use super::generate::generate;
use super::kernel::Code;
use super::program::Program;
use super::run::{Machine, WINDOW};
use super::state::{ITEM_LEN, LEN, State, blake64};

/// Words of a program's memory, and where its windows may begin.
const MEMORY_WORDS: usize = 2048;
const WINDOW_FIRST_END: u64 = 1792;

/// Why there is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Everything that making items needs, used again and again; nothing is kept from one program to the next.
pub(super) struct Maker {
    pub(super) code: Code,
    machine: Machine,
    words: Vec<u32>,
    program: Program,
    seed: [u8; 32],
    memory: Box<[u32; MEMORY_WORDS]>,
    /// Which eighths of the memory have been made, by bit.
    made: u8,
    state: State,
}

impl Maker {
    pub(super) fn new(code: Code) -> Self {
        Self {
            code,
            machine: Machine::new(),
            words: Vec::new(),
            program: Program::default(),
            seed: [0; 32],
            memory: Box::new([0; MEMORY_WORDS]),
            made: 0,
            state: State::zero(),
        }
    }

    /// The program of `seed` is the one that items are made by from now on.
    pub(super) fn load(&mut self, seed: &[u8; 32]) -> Result<(), TooLong> {
        self.made = 0;
        self.seed = *seed;
        if !generate(self.code, seed, &mut self.words) {
            return Err(TooLong);
        }
        self.program.translate(&self.words).ok_or(TooLong)?;
        self.machine.load(&self.program);
        Ok(())
    }

    /// An item of version 1.
    pub(super) fn item(
        &mut self,
        number: u64,
        seed: &[u8; 32],
    ) -> Result<&[u8; ITEM_LEN], TooLong> {
        self.state.init(self.code, seed, number);
        let window = (number % WINDOW_FIRST_END) as usize;
        self.make_memory(window);
        self.machine.memory.copy_from_slice(&self.memory[window..window + WINDOW]);
        run(self.code, &mut self.machine, &self.program, &mut self.state, 2)?;
        self.state.fuzz();
        self.state.cycle(self.code);
        Ok(self.state.0.first_chunk().unwrap_or(&[0; ITEM_LEN]))
    }

    /// RandHash with a program of its own, whose memory is the item: how version 0 puts an item into a state.
    pub(super) fn hash_item(
        &mut self,
        item: &[u8; ITEM_LEN],
        state: &mut State,
        cycles: u32,
    ) -> Result<(), TooLong> {
        let seed = item.last_chunk().unwrap_or(&[0; 32]);
        self.load(seed)?;
        words_of(item, &mut self.machine.memory);
        run(self.code, &mut self.machine, &self.program, state, cycles)?;
        state.update(self.code, item, None);
        Ok(())
    }

    /// The memory is the expansion of the seed with the program laid over its beginning; only what a window needs is
    /// made.
    fn make_memory(&mut self, window: usize) {
        for group in window / WINDOW..=window.div_ceil(WINDOW) {
            if self.made >> group & 1 == 1 {
                continue;
            }
            self.made |= 1 << group;
            let mut bytes = [0; GROUP_LEN];
            #[expect(clippy::cast_possible_truncation, reason = "below 8")]
            Stream::expand(&self.seed, 0).blocks(self.code, 16 * group as u32, &mut bytes);
            let Some(memory) = self.memory[group * WINDOW..].first_chunk_mut() else { continue };
            words_of(&bytes, memory);
            for (word, of_program) in memory.iter_mut().zip(self.words.iter().skip(group * WINDOW))
            {
                *word = *of_program;
            }
        }
    }
}

/// RandHash: the first half of the state is read and the second added to, then the other way round, and so on.
pub(super) fn run(
    code: Code,
    machine: &mut Machine,
    program: &Program,
    state: &mut State,
    cycles: u32,
) -> Result<(), TooLong> {
    let (halves, _) = state.0.as_chunks_mut::<{ LEN / 2 }>();
    let [first, second] = halves else { return Err(TooLong) };
    let (mut input, mut output) = (first, second);
    for _ in 0..cycles {
        words_of(input, &mut machine.input);
        let mut words = [0; WINDOW];
        words_of(output, &mut words);
        if !machine.run(code, program, &mut words) {
            return Err(TooLong);
        }
        for (bytes, word) in output.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        (input, output) = (output, input);
    }
    Ok(())
}

fn words_of(bytes: &[u8; ITEM_LEN], words: &mut [u32; WINDOW]) {
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
}

/// An item of version 0: sixteen hashes, mixed twice.
pub(super) fn item_v0(code: Code, number: u64, seed: &[u8; 32]) -> [u8; ITEM_LEN] {
    let mut item = [0; ITEM_LEN];
    let mut bytes = [0; GROUP_LEN];
    #[expect(clippy::cast_possible_truncation, reason = "below 8192")]
    Stream::expand(seed, number as u32).blocks(code, 0, &mut bytes);
    let (blocks, _) = item.as_chunks_mut::<64>();
    blocks[0].copy_from_slice(&bytes[..64]);
    for place in 1..16 {
        blocks[place] = blake64(&[&blocks[place - 1]]);
    }
    for place in (0..16).cycle().take(32) {
        let before = blocks[(place + 15) % 16];
        let other = u32::from_le_bytes([before[0], before[1], before[2], before[3]]) as usize % 15;
        blocks[place] = blake64(&[&before, &blocks[(place + other) % 16]]);
    }
    item
}
