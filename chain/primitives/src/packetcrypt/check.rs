//! Whole blocks: is the proof one, for this block, at this height?

use super::content::{check_content, check_signatures};
use super::state::State;
use super::{Verifier, blake32, tree};
use crate::block::Block;
use crate::commitment::Commitment;
use crate::compact::Compact;
use crate::difficulty::{aged, effective, is_sane_least};
use crate::fault::Fault;
use crate::network::Gates;
use crate::proof::ANNOUNCEMENTS;
use bitcoin::BlockHash;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;

/// What a valid proof has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The hash that meets the target, as it is compared: a little-endian number.
    pub work_hash: [u8; 32],
    /// The target that a block must meet.
    pub effective: Compact,
    /// Whether it does; always, unless a share was asked for.
    pub is_block: bool,
    /// What the coinbase says of the set.
    pub commitment: Commitment,
}

impl Verifier {
    /// Verifies the proof of a block. Its transactions are another matter ([`Block::check_transactions`]), but for the
    /// commitment in the first.
    ///
    /// `height`: from the chain that the block is in. `share`: a pool's target that will do in the header's stead.
    /// `parents`: the ids of that chain's blocks at the parent heights of the four announcements, as
    /// [`Block::parent_heights`] has them.
    ///
    /// # Errors
    /// The first rule broken, in the reference's order.
    pub fn block(
        &mut self,
        block: &Block,
        height: u32,
        parents: &[BlockHash; ANNOUNCEMENTS],
        share: Option<Compact>,
        gates: &Gates,
    ) -> Result<Verdict, Fault> {
        let proof = &block.proof;
        let version = proof.version;
        let allowed = if version >= 2 {
            height >= gates.proof_v2_from
        } else {
            height <= gates.proof_v01_until
        };
        if !allowed {
            return Err(Fault::ProofVersion);
        }
        if block.parent_heights().into_iter().any(|parent| parent > height) {
            return Err(Fault::ParentAboveBlock);
        }
        if !proof.is_standard {
            return Err(Fault::NonStandard);
        }
        check_signatures(proof)?;
        let header_hash = blake32(&[&serialize(&block.header)]);
        let content = check_content(proof, &header_hash)?;
        let commitment = block
            .transactions
            .first()
            .and_then(Commitment::find)
            .ok_or(Fault::CommitmentMissing)?;
        if !is_sane_least(commitment.least, version) {
            return Err(Fault::CommitmentInsane);
        }

        let (work_hash, indices) = self.work_hash(block, &header_hash, &content);
        let of = |bits: Compact| effective(bits, commitment.least, commitment.count, version);
        let effective = of(Compact(block.header.bits.to_consensus()));
        let is_block = effective.is_met_by(&work_hash);
        if !is_block && !share.is_some_and(|share| of(share).is_met_by(&work_hash)) {
            return Err(Fault::InsufficientWork);
        }

        for (announcement, parent) in proof.announcements.iter().zip(parents) {
            self.announcement(announcement, parent.as_byte_array(), version, gates)?;
            let target = if height < 3 {
                Some(announcement.target())
            } else {
                aged(announcement.target(), height - announcement.parent_height(), version)
            };
            if target.is_none_or(|target| target > commitment.least) {
                return Err(Fault::AnnouncementWeak);
            }
        }

        let hashes = std::array::from_fn(|place| blake32(&[&proof.announcements[place].0]));
        let root =
            tree::root(&proof.tree, commitment.count, indices, hashes).map_err(Fault::Tree)?;
        if root != commitment.root {
            return Err(Fault::TreeMismatch);
        }
        Ok(Verdict { work_hash, effective, is_block, commitment })
    }

    /// The hash that is work, and the numbers that say which announcements of the set it had to take.
    fn work_hash(
        &self,
        block: &Block,
        header_hash: &[u8; 32],
        content: &[Option<[u8; 32]>; ANNOUNCEMENTS],
    ) -> ([u8; 32], [u64; ANNOUNCEMENTS]) {
        let code = self.maker.code;
        let mut state = State::zero();
        state.init(code, header_hash, block.proof.nonce.into());
        let mut indices = [0; ANNOUNCEMENTS];
        let taken = block.proof.announcements.iter().zip(content);
        for (index, (announcement, content)) in indices.iter_mut().zip(taken) {
            *index = state.number();
            state.update(code, &announcement.0, content.as_ref());
        }
        state.smul();
        (state.finish(), indices)
    }
}

impl Block {
    /// Heights of the blocks that the proof's announcements were made after.
    #[must_use]
    pub fn parent_heights(&self) -> [u32; ANNOUNCEMENTS] {
        std::array::from_fn(|place| self.proof.announcements[place].parent_height())
    }
}
