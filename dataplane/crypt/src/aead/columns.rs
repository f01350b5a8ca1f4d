//! A burst laid out for vectors: one column a packet, in order of length, and one row a word.

use super::{Cipher, JOBS_MAX, Job, TAG_LEN};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Words of a row: a vector of 16 can be loaded from any column on.
pub(super) const ROW: usize = JOBS_MAX + 16;
/// Text bytes that the rest of XSalsa20's first block is for.
pub(super) const HEAD_LEN: usize = 32;
/// The column of a job that has none.
const NO_COLUMN: u8 = u8::MAX;

/// The text of a column.
pub(super) type Text<'a> = &'a mut [u8];

/// Eight words of each column.
pub(super) type KeyRows = [[u32; ROW]; 8];

/// Tags as two little-endian halves.
pub(super) type Tags = [[u64; JOBS_MAX]; 2];

/// Everything that is known of a burst beside its texts. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Columns {
    len: usize,
    column_of: [u8; JOBS_MAX],
    text_len: [u16; JOBS_MAX],
    /// As the jobs have them.
    pub(super) session_key: [[u8; 32]; ROW],
    /// Keys of the streams.
    pub(super) key: KeyRows,
    pub(super) nonce: [[u32; ROW]; 2],
    /// Keys of the authenticators.
    pub(super) poly_key: KeyRows,
    /// The second half of XSalsa20's first block.
    pub(super) head: [[u8; HEAD_LEN]; JOBS_MAX],
    /// As computed.
    pub(super) tags: Tags,
    /// As received.
    expected: Tags,
}

impl Columns {
    pub(super) const EMPTY: Self = Self {
        len: 0,
        column_of: [0; JOBS_MAX],
        text_len: [0; JOBS_MAX],
        session_key: [[0; 32]; ROW],
        key: [[0; ROW]; 8],
        nonce: [[0; ROW]; 2],
        poly_key: [[0; ROW]; 8],
        head: [[0; HEAD_LEN]; JOBS_MAX],
        tags: [[0; JOBS_MAX]; 2],
        expected: [[0; JOBS_MAX]; 2],
    };

    /// Columns in use.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of a column's text.
    pub(super) fn text_len(&self, column: usize) -> usize {
        self.text_len[column].into()
    }

    /// Gives each job that can be sealed its column, and lays out all but the texts, which are given back in order. The
    /// columns behind the last have empty texts.
    pub(super) fn arrange<'a>(
        &mut self,
        cipher: Cipher,
        jobs: &'a mut [Job<'_>],
    ) -> [Text<'a>; JOBS_MAX] {
        self.rank(jobs);
        self.text_len = [0; JOBS_MAX];
        let mut texts = std::array::from_fn(|_| Text::default());
        for (job, column) in jobs.iter_mut().zip(self.column_of) {
            let column = usize::from(column);
            let Some((tag, text)) = cipher.split(job.packet) else { continue };
            let Some(place) = texts.get_mut(column) else { continue };
            self.session_key[column] = *job.key;
            let [low, high] = halves_of_nonce(job.nonce);
            self.nonce[0][column] = low;
            self.nonce[1][column] = high;
            let [low, high] = halves_of_tag(tag);
            self.expected[0][column] = low;
            self.expected[1][column] = high;
            // Fits: a packet that can be split has fewer than 2^16 bytes.
            self.text_len[column] = u16::try_from(text.len()).unwrap_or(0);
            *place = text;
        }
        texts
    }

    /// Columns in order of length, to the 64 bytes of a step. Lengths are no secret.
    fn rank(&mut self, jobs: &[Job<'_>]) {
        // Comparisons of many signed words are one instruction; the sign bit is the highest one of the length.
        let mut keys = [i16::MAX; JOBS_MAX];
        let mut can_be_sealed = 0_u64;
        for ((key, job), place) in keys.iter_mut().zip(jobs).zip(0_u16..) {
            if let Some(steps) = Cipher::steps(job.packet) {
                *key = (steps << 6 | place).wrapping_sub(1 << 15).cast_signed();
                can_be_sealed |= 1 << place;
            }
        }
        self.len = can_be_sealed.count_ones() as usize;
        for (place, column) in self.column_of.iter_mut().enumerate() {
            let key = keys[place];
            let shorter: i16 = keys.iter().map(|other| i16::from(*other < key)).sum();
            let column_of = u8::try_from(shorter).unwrap_or(NO_COLUMN);
            *column = if can_be_sealed >> place & 1 == 1 { column_of } else { NO_COLUMN };
        }
    }

    /// Columns whose tag is as computed. Compares whole tags, and tells no more of them than whether they are equal.
    pub(super) fn authentic(&self) -> u64 {
        let [computed, expected] = [&self.tags, &self.expected];
        (0..self.len)
            .map(|at| (computed[0][at] ^ expected[0][at]) | (computed[1][at] ^ expected[1][at]))
            .enumerate()
            .fold(0, |bits, (at, difference)| bits | u64::from(difference == 0) << at)
    }

    /// Bits of columns as bits of jobs.
    pub(super) fn by_job(&self, columns: u64) -> u64 {
        self.column_of
            .iter()
            .enumerate()
            .filter(|(_, column)| **column != NO_COLUMN)
            .fold(0, |bits, (place, column)| bits | (columns >> column & 1) << place)
    }

    /// Writes each computed tag to its packet.
    pub(super) fn write_tags(&self, cipher: Cipher, jobs: &mut [Job<'_>]) {
        for (job, column) in jobs.iter_mut().zip(self.column_of) {
            let column = usize::from(column);
            if let Some((tag, _)) = cipher.split(job.packet)
                && column < self.len
            {
                let (low, high) = tag.split_at_mut(TAG_LEN / 2);
                low.copy_from_slice(&self.tags[0][column].to_le_bytes());
                high.copy_from_slice(&self.tags[1][column].to_le_bytes());
            }
        }
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Columns").field("len", &self.len).finish_non_exhaustive()
    }
}

fn halves_of_nonce(nonce: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = nonce.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn halves_of_tag(tag: &[u8; TAG_LEN]) -> [u64; 2] {
    let (halves, _) = tag.as_chunks();
    let mut words = [0; 2];
    for (word, half) in words.iter_mut().zip(halves) {
        *word = u64::from_le_bytes(*half);
    }
    words
}

/// Blocks of the stream behind each column's first, in the order of columns: what fills the lanes.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many each column has.
    blocks: [u16; JOBS_MAX],
    column: usize,
    /// Number of the next block in its column; block 0 is the first one.
    block: u16,
}

/// Blocks that are computed at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<const LANES: usize> {
    /// Where the words of its keys begin.
    pub(super) base: usize,
    /// Column of each lane, from `base` on; below `LANES`.
    pub(super) column: [u32; LANES],
    /// Block number of each lane.
    pub(super) block: [u32; LANES],
    /// Lanes in use.
    pub(super) lanes: usize,
}

impl<const LANES: usize> Batch<LANES> {
    pub(super) const NONE: Self = Self { base: 0, column: [0; LANES], block: [0; LANES], lanes: 0 };
}

impl Queue {
    /// All blocks of the columns that `which` names.
    pub(super) fn new(cipher: Cipher, columns: &Columns, which: u64) -> Self {
        let head = match cipher {
            Cipher::XSalsa => HEAD_LEN,
            Cipher::ChaCha => 0,
        };
        let mut blocks = [0; JOBS_MAX];
        for (column, blocks) in blocks.iter_mut().enumerate() {
            let rest = columns.text_len(column).saturating_sub(head);
            let named = u16::from(which >> column & 1 == 1);
            // At most 1024.
            *blocks = u16::try_from(rest.div_ceil(64)).unwrap_or(0) * named;
        }
        Self { blocks, column: 0, block: 1 }
    }

    /// The next blocks. Whether there were any.
    pub(super) fn fill<const LANES: usize>(&mut self, batch: &mut Batch<LANES>) -> bool {
        batch.lanes = 0;
        while let Some(blocks) = self.blocks.get(self.column) {
            let Some(left) = (blocks + 1).checked_sub(self.block).filter(|left| *left > 0) else {
                self.column += 1;
                self.block = 1;
                continue;
            };
            if batch.lanes == 0 {
                batch.base = self.column;
            }
            let column = u32::try_from(self.column - batch.base).unwrap_or(u32::MAX);
            let run = usize::from(left).min(LANES - batch.lanes);
            if run == 0 || column as usize >= LANES {
                break;
            }
            for lane in batch.lanes..batch.lanes + run {
                batch.column[lane] = column;
                batch.block[lane] = self.block.into();
                self.block += 1;
            }
            batch.lanes += run;
        }
        batch.lanes > 0
    }
}
