//! Ethernet links by what a frame says: a keyed hash table of cache lines, never more than two of them looked at.

use super::numbers::index as index_of;
use super::record::{LinkKey, NO_SLOT, Record};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Two records in a line.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C, align(64))]
struct Line([Record; 2]);

/// All vif records. The first `1 << bits` lines are the hash table of Ethernet links; vifs that no frame names by its
/// MAC addresses (UDP links, cable ends) follow. A *slot* is a record's place: line × 2 + half.
///
/// A neighbour picks its own address, so the hash is keyed by a seed that nobody outside knows, and a link lies in one
/// of two lines: most in the first. Filling is the compiler's work (cuckoo moves); reading is one load, rarely two.
#[derive(Debug)]
pub(crate) struct Links {
    lines: Box<[Line]>,
    seed: [u64; 2],
    /// `line = hash & mask`.
    mask: u64,
}

/// Rebuilt with another seed this often before giving up. One attempt fails with a probability below 2⁻²⁰.
const SEEDS_MAX: u64 = 64;
/// Moves to make room for one link before another seed is tried.
const MOVES_MAX: u64 = 512;

impl Links {
    /// Places `ethernet` in the table and `others` behind it; returns the slots of both, in order.
    ///
    /// `None` if [`SEEDS_MAX`] seeds failed, which needs more than two equal keys.
    pub(crate) fn build(
        ethernet: &[Record],
        others: &[Record],
        seed: u64,
    ) -> Option<(Self, Vec<u32>)> {
        (0..SEEDS_MAX)
            .find_map(|attempt| Self::try_build(ethernet, others, seed.wrapping_add(attempt)))
    }

    fn try_build(ethernet: &[Record], others: &[Record], seed: u64) -> Option<(Self, Vec<u32>)> {
        let hashed = ethernet.len().max(1).next_power_of_two();
        let mask = u64::try_from(hashed).ok()? - 1;
        let lines =
            vec![Line([Record::EMPTY; 2]); hashed + others.len().div_ceil(2)].into_boxed_slice();
        let mut links = Self { lines, seed: [mix(seed), mix(!seed)], mask };
        let mut placed = vec![NO_SLOT; 2 * hashed]; // by slot: which of `ethernet` is there
        for index in 0..ethernet.len() {
            links.place(ethernet, &mut placed, u32::try_from(index).ok()?)?;
        }
        let mut slots = vec![NO_SLOT; ethernet.len()];
        for (slot, &index) in placed.iter().enumerate().filter(|(_, index)| **index != NO_SLOT) {
            slots[index as usize] = u32::try_from(slot).ok()?;
            links.set(slot, ethernet[index as usize]);
        }
        for (index, record) in others.iter().enumerate() {
            links.set(2 * hashed + index, *record);
            slots.push(u32::try_from(2 * hashed + index).ok()?);
        }
        Some((links, slots))
    }

    /// Puts one link into the first line with room; moves others on if there is none.
    fn place(&self, ethernet: &[Record], placed: &mut [u32], index: u32) -> Option<()> {
        let mut index = index;
        let mut left = None;
        for moves in 0..MOVES_MAX {
            let homes = self.homes(ethernet[index as usize].key());
            let free = homes
                .iter()
                .flat_map(|line| [2 * line, 2 * line + 1])
                .find(|slot| placed[*slot] == NO_SLOT);
            if let Some(slot) = free {
                placed[slot] = index;
                return Some(());
            }
            // A walk: never back to the line it was just pushed out of, and by chance between the two in the next.
            let line = *homes.iter().find(|line| Some(**line) != left).unwrap_or(&homes[0]);
            let half = index_of(mix(self.seed[1] ^ moves) & 1);
            std::mem::swap(&mut placed[2 * line + half], &mut index);
            left = Some(line);
        }
        None
    }

    fn set(&mut self, slot: usize, record: Record) {
        self.lines[slot / 2].0[slot % 2] = record;
    }

    /// Makes the cable end in `slot` lead to the one in `other`.
    pub(crate) fn join(&mut self, slot: u32, other: u32) {
        let record = &mut self.lines[(slot / 2) as usize].0[(slot % 2) as usize];
        record.lead_to(other);
    }

    #[inline]
    fn hash(&self, key: LinkKey) -> u64 {
        // Multiply and fold, twice, over a secret: each output bit depends on each key bit and on the seed.
        let product = u128::from(key.low ^ self.seed[0]) * u128::from(key.high ^ self.seed[1]);
        let folded = fold(product);
        fold(u128::from(folded) * u128::from(self.seed[0] | 1))
    }

    fn homes(&self, key: LinkKey) -> [usize; 2] {
        let hash = self.hash(key);
        [index_of(hash & self.mask), index_of(hash >> 32 & self.mask)]
    }

    /// Slot of the link that a frame came in on.
    ///
    /// Cost: one cache line, for one link in ten at full load two.
    #[inline]
    pub(crate) fn find(&self, key: LinkKey) -> u32 {
        let hash = self.hash(key);
        let first = self.find_in(hash & self.mask, key);
        if first != NO_SLOT { first } else { self.find_in(hash >> 32 & self.mask, key) }
    }

    /// Loads the line where a link is likely to be, and decides nothing.
    #[inline]
    pub(crate) fn touch(&self, key: LinkKey) -> u64 {
        self.lines.get(index_of(self.hash(key) & self.mask)).map_or(0, |line| line.0[0].key().low)
    }

    #[inline]
    fn find_in(&self, line: u64, key: LinkKey) -> u32 {
        let Some(Line([a, b])) = self.lines.get(index_of(line)) else { return NO_SLOT };
        let (in_a, in_b) = (a.matches(key), b.matches(key));
        // Which half it is cannot be guessed, and a compiler may make two jumps of an `or` in a condition.
        let missing = u32::from(in_a | in_b).wrapping_sub(1);
        first_slot(line) | u32::from(in_b) | missing
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&Record> {
        let line = self.lines.get((slot / 2) as usize)?;
        Some(&line.0[(slot % 2) as usize])
    }

    /// All records by slot. Once a burst; an index is cheaper than [`Self::get`].
    #[inline]
    pub(crate) fn records(&self) -> &[Record] {
        // Lines are records laid end to end, so this always succeeds.
        <[Record]>::ref_from_bytes(self.lines.as_bytes()).unwrap_or_default()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

/// Slot of the first record in a line.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the table has lines for 2³¹ slots at most: slots are u32"
)]
const fn first_slot(line: u64) -> u32 {
    (2 * line) as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn fold(product: u128) -> u64 {
    (product as u64) ^ ((product >> 64) as u64)
}

/// SplitMix64's finaliser: spreads a seed over 64 bits.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LinkKind, RecordParts, UNTAGGED};
    use dataplane_api::{MacAddress, PortId, Role};

    fn record(n: u32) -> Record {
        let [a, b, c, d] = n.to_be_bytes();
        let (own, peer) = (MacAddress([2, 0, 0, 0, a, b]), MacAddress([2, 0, 0, 0, c, d]));
        Record::new(&RecordParts {
            kind: LinkKind::Ethernet,
            key: LinkKey::new(PortId(3), UNTAGGED, own, peer),
            role: Role::Customer,
            allow: 0,
            encrypted: false,
            map_start: 0,
            map_len: 0,
            scheme: 0,
            vif: 0,
            vswitch: 0,
            number: 0,
            mtu: 0,
            owner: 0,
            epoch: 0,
        })
    }

    #[test]
    fn a_full_box_of_links_with_neighbouring_addresses_is_found_again_in_two_lines() {
        let ethernet: Vec<Record> = (0..65_536).map(record).collect();
        let (links, slots) = Links::build(&ethernet, &[record(70_000)], 1).unwrap();
        let mut in_first = 0;
        for (record, slot) in ethernet.iter().zip(&slots) {
            assert_eq!(links.find(record.key()), *slot);
            assert_eq!(links.get(*slot), Some(record));
            in_first += usize::from(links.homes(record.key())[0] == (*slot / 2) as usize);
        }
        assert!(in_first > 54_000, "{in_first} of 65536 in their first line");
        assert_eq!(links.find(record(70_000).key()), NO_SLOT, "only found by its slot");
        assert_eq!(links.get(slots[65_536]), Some(&record(70_000)));
    }
}
