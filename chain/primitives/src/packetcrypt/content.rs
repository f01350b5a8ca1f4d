//! Proofs that a miner has the content of the announcements it used (proof versions 0 and 1), and signatures.

use super::blake32;
use crate::fault::Fault;
use crate::proof::{ANNOUNCEMENTS, Proof};
use ed25519_dalek::{Signature, VerifyingKey};

/// Content that stands in the announcement itself, and the leaves of longer content.
const BLOCK_LEN: usize = 32;

/// The first block of each proof of content.
pub(super) type Blocks = [Option<[u8; BLOCK_LEN]>; ANNOUNCEMENTS];

/// Whether each announcement with a signing key has its signature.
pub(super) fn check_signatures(proof: &Proof) -> Result<(), Fault> {
    for (announcement, signature) in proof.announcements.iter().zip(&proof.signatures) {
        if !announcement.is_signed() {
            continue;
        }
        let signature = signature.as_ref().ok_or(Fault::SignatureMissing)?;
        let key = VerifyingKey::from_bytes(announcement.signing_key())
            .map_err(|_wrong| Fault::SignatureInvalid)?;
        // Not the strict variant: the reference takes keys of small order.
        ed25519_dalek::Verifier::verify(&key, &announcement.0, &Signature::from_bytes(signature))
            .map_err(|_wrong| Fault::SignatureInvalid)?;
    }
    Ok(())
}

/// Verifies proofs of content. `header_hash`: BLAKE2b of the header, which chooses the block that is proven.
pub(super) fn check_content(proof: &Proof, header_hash: &[u8; 32]) -> Result<Blocks, Fault> {
    let mut found = [None; ANNOUNCEMENTS];
    if proof.version >= 2 {
        return if proof.content.is_empty() {
            Ok(found)
        } else {
            Err(Fault::ContentProofInVersion2)
        };
    }
    let lens = || proof.announcements.iter().map(|announcement| announcement.content_len());
    if proof.content.is_empty() {
        let none = lens().all(|len| len as usize <= BLOCK_LEN);
        return if none { Ok(found) } else { Err(Fault::ContentProofMissing) };
    }
    let [h0, h1, h2, h3, ..] = *header_hash;
    let index = u32::from_le_bytes([h0, h1, h2, h3]) ^ proof.nonce;
    let ways: Vec<Way> = lens().map(|len| Way::new(len, index)).collect();
    let len: usize = ways.iter().map(|way| BLOCK_LEN * way.hashes()).sum();
    if len != proof.content.len() {
        return Err(Fault::ContentProofLength);
    }
    let mut rest = proof.content.as_chunks::<BLOCK_LEN>().0;
    for ((way, announcement), found) in ways.iter().zip(proof.announcements.iter()).zip(&mut found)
    {
        let (hashes, behind) =
            rest.split_at_checked(way.hashes()).ok_or(Fault::ContentProofLength)?;
        rest = behind;
        let Some((block, siblings)) = hashes.split_first() else { continue };
        if way.follow(block, siblings) != *announcement.content_hash() {
            return Err(Fault::ContentProofMismatch);
        }
        *found = Some(*block);
    }
    Ok(found)
}

/// From a block of content to the root.
struct Way {
    /// For each level whether the block is on the right; `None`: it has no sibling there.
    levels: Vec<Option<bool>>,
    is_inline: bool,
}

impl Way {
    fn new(len: u32, index: u32) -> Self {
        let blocks = len.div_ceil(32);
        let is_inline = len <= 32;
        let mut block = if is_inline { 0 } else { index % blocks };
        let depth = if is_inline { 0 } else { u32::BITS - (blocks - 1).leading_zeros() };
        let levels = (0..depth)
            .map(|level| {
                // In 32 bits, as in the reference: near the greatest length the product wraps.
                let sibling = 32u32.wrapping_shl(level).wrapping_mul(block ^ 1);
                let is_right = block & 1 == 1;
                block >>= 1;
                (sibling < len).then_some(is_right)
            })
            .collect();
        Self { levels, is_inline }
    }

    /// Hashes of the proof, the block included.
    fn hashes(&self) -> usize {
        if self.is_inline { 0 } else { 1 + self.levels.iter().flatten().count() }
    }

    fn follow(&self, block: &[u8; BLOCK_LEN], siblings: &[[u8; BLOCK_LEN]]) -> [u8; BLOCK_LEN] {
        let mut hash = *block;
        for (is_right, sibling) in self.levels.iter().flatten().zip(siblings) {
            hash = if *is_right { blake32(&[sibling, &hash]) } else { blake32(&[&hash, sibling]) };
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The accepting path is in no vector: every block of contents of every shape, against a tree built whole.
    #[test]
    fn every_block_of_content_leads_to_its_root() {
        for len in (33..=32 * 9).step_by(7) {
            let content: Vec<u8> = (0..len).map(|byte| (byte * 7 % 251) as u8).collect();
            let mut bytes = content.clone();
            bytes.resize(content.len().div_ceil(32) * 32, 0);
            let leaves = bytes.as_chunks::<32>().0.to_vec();
            for index in 0..leaves.len() {
                let (mut level, mut place, mut siblings) = (leaves.clone(), index, Vec::new());
                while level.len() > 1 {
                    siblings.extend(level.get(place ^ 1));
                    level = level
                        .chunks(2)
                        .map(|pair| {
                            if let [left, right] = pair { blake32(&[left, right]) } else { pair[0] }
                        })
                        .collect();
                    place /= 2;
                }
                let way = Way::new(len, u32::try_from(index).unwrap());
                assert_eq!(way.hashes(), 1 + siblings.len(), "{len} bytes, block {index}");
                assert_eq!(
                    way.follow(&leaves[index], &siblings),
                    level[0],
                    "{len} bytes, block {index}"
                );
            }
        }
    }
}
