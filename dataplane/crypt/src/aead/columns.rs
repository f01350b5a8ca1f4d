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
        self.rank(cipher, jobs);
        self.text_len = [0; JOBS_MAX];
        let mut texts = std::array::from_fn(|_| Text::default());
        for (job, column) in jobs.iter_mut().zip(self.column_of) {
            let column = usize::from(column);
            let Some(place) = texts.get_mut(column) else { continue };
            for (row, word) in self.key.iter_mut().zip(words(job.key)) {
                row[column] = word;
            }
            for (row, word) in self.nonce.iter_mut().zip(words(&job.nonce.to_le_bytes())) {
                row[column] = word;
            }
            let Some((tag, text)) = cipher.split(job.packet) else { continue };
            for (row, half) in self.expected.iter_mut().zip(halves(tag)) {
                row[column] = half;
            }
            self.text_len[column] = u16::try_from(text.len()).unwrap_or(0);
            *place = text;
        }
        texts
    }

    /// Columns in order of length. Lengths are no secret.
    fn rank(&mut self, cipher: Cipher, jobs: &mut [Job<'_>]) {
        const NONE: u32 = u32::MAX;
        let mut keys = [NONE; JOBS_MAX];
        for ((key, job), place) in keys.iter_mut().zip(jobs).zip(0..) {
            if let Some((_, text)) = cipher.split(job.packet) {
                // Fits: a packet that can be split has fewer than 2^16 bytes, and a burst 64 places.
                *key = u32::try_from(text.len() * JOBS_MAX).unwrap_or(NONE) + place;
            }
        }
        self.len = keys.iter().filter(|key| **key != NONE).count();
        self.column_of = keys.map(|key| {
            let shorter: u8 = keys.iter().map(|other| u8::from(*other < key)).sum();
            if key == NONE { NO_COLUMN } else { shorter }
        });
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

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word))
}

fn halves(tag: &[u8; TAG_LEN]) -> impl Iterator<Item = u64> {
    tag.as_chunks().0.iter().map(|half| u64::from_le_bytes(*half))
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
    /// Column of each lane, from `base` on; below 16.
    pub(super) column: [u32; LANES],
    /// Block number of each lane.
    pub(super) block: [u32; LANES],
    /// Lanes in use.
    pub(super) lanes: usize,
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

    /// The next blocks. `None`: that was all.
    pub(super) fn next<const LANES: usize>(&mut self) -> Option<Batch<LANES>> {
        while *self.blocks.get(self.column)? < self.block {
            self.column += 1;
            self.block = 1;
        }
        let base = self.column;
        let mut batch = Batch { base, column: [0; LANES], block: [0; LANES], lanes: 0 };
        for (column, block) in batch.column.iter_mut().zip(&mut batch.block) {
            while self.blocks.get(self.column).is_some_and(|blocks| *blocks < self.block) {
                self.column += 1;
                self.block = 1;
            }
            if self.column == JOBS_MAX || self.column - base >= 16 {
                break;
            }
            *column = u32::try_from(self.column - base).unwrap_or(0);
            *block = self.block.into();
            self.block += 1;
            batch.lanes += 1;
        }
        Some(batch)
    }
}
