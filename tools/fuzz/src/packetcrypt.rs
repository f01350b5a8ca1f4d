//! Verification: every level says the same of any announcement and any block.

use primitives::announcement::{Announcement, LEN};
use primitives::bitcoin::BlockHash;
use primitives::bitcoin::hashes::Hash as _;
use primitives::block::Block;
use primitives::compact::EASIEST;
use primitives::network::Gates;
use primitives::packetcrypt::{Level, Verifier};

/// `input`: a block; or a parent's id, and an announcement that may be cut short.
pub fn packetcrypt(input: &[u8]) {
    let mut verifiers = Level::ALL.into_iter().filter_map(Verifier::with);
    if let Ok(block) = Block::parse(input) {
        let height = block.parent_heights().into_iter().max().unwrap_or(0).saturating_add(3);
        let parents = [BlockHash::all_zeros(); 4];
        // The easiest share lets bent blocks come as far as their announcements.
        agree(verifiers.map(|mut verifier| {
            verifier.block(&block, height, &parents, Some(EASIEST), &Gates::OPEN).map(|_| ())
        }));
    } else if let Some((parent, rest)) = input.split_first_chunk::<32>() {
        let mut bytes = [0; LEN];
        bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let announcement = Announcement(bytes);
        let version = u64::from(announcement.version().min(1)) * 2;
        // The others take long where no vectors are compiled for: the best, and what it is held against.
        agree([verifiers.next(), verifiers.next_back()].into_iter().flatten().map(
            |mut verifier| verifier.announcement(&announcement, parent, version, &Gates::OPEN),
        ));
    }
}

fn agree<T: PartialEq + std::fmt::Debug>(verdicts: impl Iterator<Item = T>) {
    let verdicts: Vec<T> = verdicts.collect();
    for other in &verdicts {
        assert_eq!(Some(other), verdicts.first());
    }
}
