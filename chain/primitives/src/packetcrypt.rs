//! PacketCrypt: the work in announcements and blocks.
//!
//! A [`Verifier`] has what one thread needs, and uses the vectors that its processor has. Announcements do not depend
//! on each other: who has many gives some to each core.
//!
//! The slow, obvious version of everything here is in the tests (`twin`).

mod chacha;
mod check;
mod content;
mod generate;
mod item;
mod kernel;
#[cfg(feature = "builder")]
mod mine;
mod op;
mod poly1305;
mod program;
mod run;
mod state;
#[cfg(test)]
mod tests;
mod tree;
#[cfg(test)]
mod twin;

pub use check::Verdict;
#[cfg(feature = "builder")]
pub use mine::{Miner, Set};

use crate::announcement::{Announcement, HEADER_LEN, SIBLINGS};
use crate::difficulty;
use crate::fault::Fault;
use crate::network::Gates;
use item::{Maker, item_v0};
use kernel::Code;
pub(crate) use state::blake32;
use state::{ITEM_LEN, State, blake64};

/// Which instructions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the build is for.
    Portable,
    /// Vectors of 256 bits.
    Avx2,
    /// Vectors of 512 bits.
    Avx512,
}

impl Level {
    /// All that there are, the fastest last.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];
}

/// Verifies announcements and blocks, in memory of its own. Nothing that one verification computes is kept for the
/// next.
pub struct Verifier {
    maker: Maker,
    state: State,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("level", &self.level()).finish_non_exhaustive()
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::detect()
    }
}

impl Verifier {
    /// With the best that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        let code = Level::ALL.into_iter().rev().find_map(Code::with);
        Self::of(code.unwrap_or(Code::Portable))
    }

    /// With `level`. `None`: this processor does not have it.
    #[must_use]
    pub fn with(level: Level) -> Option<Self> {
        Code::with(level).map(Self::of)
    }

    fn of(code: Code) -> Self {
        Self { maker: Maker::new(code), state: State::zero() }
    }

    /// What it uses.
    #[must_use]
    pub fn level(&self) -> Level {
        self.maker.code.level()
    }

    /// Verifies an announcement; its work hash.
    ///
    /// `parent`: id of the block that it was made after, as it is hashed (not as it is shown). `proof_version`: of the
    /// proof that has it.
    ///
    /// # Errors
    /// The first rule broken, as the reference looks: a weaker target than it should have is found last.
    pub fn announcement(
        &mut self,
        announcement: &Announcement,
        parent: &[u8; 32],
        proof_version: u64,
        gates: &Gates,
    ) -> Result<[u8; 32], Fault> {
        if announcement.version() > 0 && announcement.parent_height() < gates.ann_v1_from {
            return Err(Fault::AnnVersionNotAllowed);
        }
        if announcement.version() == 0 && proof_version > 1 {
            return Err(Fault::AnnVersionMismatch);
        }
        let header = announcement.header_without_nonce();
        let h0 = blake64(&[&header, parent, &[0; 32]]);
        let h1 = blake64(&[&header, announcement.root()]);
        let (work_hash, table) = if announcement.version() == 0 {
            self.version_0(announcement, &h0, &h1)?
        } else {
            self.version_1(announcement, &h0, &h1)?
        };
        if !table.has(announcement.root()) {
            return Err(Fault::AnnMerkle);
        }
        if !announcement.target().is_met_by(&work_hash) {
            return Err(Fault::AnnInsufficientWork);
        }
        Ok(work_hash)
    }

    fn version_0(
        &mut self,
        announcement: &Announcement,
        h0: &[u8; 64],
        h1: &[u8; 64],
    ) -> Result<Found, Fault> {
        let code = self.maker.code;
        self.state.init(code, half(h1, 0), announcement.soft_nonce().into());
        let (mut number, mut item) = (0, [0; ITEM_LEN]);
        for _ in 0..4 {
            number = self.state.number() % ITEMS;
            item = item_v0(code, number, half(h0, 0));
            self.maker
                .hash_item(&item, &mut self.state, 4)
                .map_err(|_too_long| Fault::AnnInvalid)?;
        }
        let work_hash = self.state.finish();
        if item[..40] != announcement.tail()[..] {
            return Err(Fault::AnnItem4);
        }
        let table = Table { number, item: blake64(&[&item]), siblings: *announcement.siblings() };
        Ok((work_hash, table))
    }

    fn version_1(
        &mut self,
        announcement: &Announcement,
        h0: &[u8; 64],
        h1: &[u8; 64],
    ) -> Result<Found, Fault> {
        let code = self.maker.code;
        let nonce = announcement.soft_nonce();
        let nonce_max =
            difficulty::soft_nonce_max(announcement.target()).ok_or(Fault::AnnTargetZero)?;
        if nonce > nonce_max {
            return Err(Fault::SoftNonceHigh);
        }
        let seeds = blake64(&[announcement.root(), h0]);
        self.maker.load(half(&seeds, 0)).map_err(|_too_long| Fault::BadProgram)?;
        self.state.init(code, half(h1, 0), nonce.into());
        let mut number = 0;
        for _ in 0..4 {
            number = self.state.number() % ITEMS;
            let item = self
                .maker
                .item(number, half(&seeds, 32))
                .map_err(|_too_long| Fault::BadProgramExec)?;
            self.state.update(code, item, None);
        }
        let work_hash = self.state.finish();
        // What is left of the state is the key of siblings and tail.
        let mut siblings = *announcement.siblings();
        let (of_siblings, of_tail) = self.state.0.split_at(siblings.len());
        siblings.iter_mut().zip(of_siblings).for_each(|(byte, key)| *byte ^= key);
        if announcement.tail()[..] != of_tail[..40] {
            return Err(Fault::AnnItem4);
        }
        self.maker.load(half(h0, 0)).map_err(|_too_long| Fault::BadProgram0)?;
        let item =
            self.maker.item(number, half(h0, 32)).map_err(|_too_long| Fault::BadProgram0Exec)?;
        Ok((work_hash, Table { number, item: blake64(&[item]), siblings }))
    }
}

/// Items of an announcement's table.
const ITEMS: u64 = 1 << SIBLINGS;

/// The work hash, and what is known of the table.
type Found = ([u8; 32], Table);

/// One item of the table, and the way from it to the root.
struct Table {
    number: u64,
    item: [u8; 64],
    siblings: [u8; 64 * SIBLINGS],
}

impl Table {
    fn has(self, root: &[u8; 64]) -> bool {
        let mut hash = self.item;
        for (level, sibling) in self.siblings.as_chunks::<64>().0.iter().enumerate() {
            let is_right = self.number >> level & 1 == 1;
            hash = if is_right { blake64(&[sibling, &hash]) } else { blake64(&[&hash, sibling]) };
        }
        hash == *root
    }
}

fn half(hash: &[u8; 64], from: usize) -> &[u8; 32] {
    hash[from..].first_chunk().unwrap_or(&[0; 32])
}

const _: () = assert!(HEADER_LEN + 64 * SIBLINGS + 64 + 40 == crate::announcement::LEN);
