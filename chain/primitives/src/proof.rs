//! The PacketCrypt proof of a block, between header and transactions: a list of records, `type ‖ length ‖ value`.
//!
//! Source: PKT-CHAIN.md §2.2. The header does not commit to these bytes: two proofs can be valid for one id.

use crate::announcement::{self, Announcement};
use crate::fault::Fault;

/// Announcements of a proof.
pub const ANNOUNCEMENTS: usize = 4;
/// Bytes of nonce and announcements.
const FIXED_LEN: usize = 4 + ANNOUNCEMENTS * announcement::LEN;
/// Bytes of the record with announcements and tree at most.
const PROOF_LEN_MAX: usize = 131_072;

/// Types of records.
mod record {
    pub(super) const END: u64 = 0;
    pub(super) const PROOF: u64 = 1;
    pub(super) const SIGNATURES: u64 = 2;
    pub(super) const CONTENT: u64 = 3;
    pub(super) const VERSION: u64 = 4;
}

/// A proof, parsed but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What its miner has tried numbers in.
    pub nonce: u32,
    /// In the order in which the work hash takes them.
    pub announcements: Box<[Announcement; ANNOUNCEMENTS]>,
    /// That the announcements are in the set.
    pub tree: Vec<u8>,
    /// Of the announcements that have a signing key.
    pub signatures: [Option<[u8; 64]>; ANNOUNCEMENTS],
    /// Proofs of content, one after the other.
    pub content: Vec<u8>,
    /// 0, 1, or 2 and more, which is all the same.
    pub version: u64,
    /// Whether it was read from the bytes that [`Proof::write`] writes, but for the order of records.
    pub is_standard: bool,
}

/// Reads a front part of bytes and goes on behind it.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(*front)
    }

    /// Bitcoin's number of 1, 3, 5 or 9 bytes, in the shortest form only.
    pub(crate) fn number(&mut self) -> Result<u64, Fault> {
        let [first] = self.array()?;
        let (number, least) = match first {
            0xfd => (u64::from(u16::from_le_bytes(self.array()?)), 0xfd),
            0xfe => (u64::from(u32::from_le_bytes(self.array()?)), 0x1_0000),
            0xff => (u64::from_le_bytes(self.array()?), 0x1_0000_0000),
            small => (u64::from(small), 0),
        };
        if number < least { Err(Fault::Malformed) } else { Ok(number) }
    }
}

pub(crate) fn number_len(number: u64) -> usize {
    match number {
        0..0xfd => 1,
        0xfd..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}

pub(crate) fn write_number(number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_le_bytes();
    match number_len(number) {
        1 => out.push(bytes[0]),
        3 => out.extend([&[0xfd], &bytes[..2]].concat()),
        5 => out.extend([&[0xfe], &bytes[..4]].concat()),
        _ => out.extend([&[0xff], &bytes[..]].concat()),
    }
}

impl Proof {
    /// Reads a proof; what is behind it is left in `reader`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut proof: Option<Self> = None;
        let mut version = 0;
        let mut len = 0;
        loop {
            let (kind, value_len) = (reader.number()?, reader.number()?);
            let value_len = usize::try_from(value_len).map_err(|_too_long| Fault::Malformed)?;
            let head_len = number_len(kind) + number_len(value_len as u64);
            len += head_len.saturating_add(value_len);
            if kind == record::END {
                break;
            }
            if kind == record::PROOF {
                // Before its bytes are taken, as the reference does.
                if value_len <= FIXED_LEN {
                    return Err(Fault::ProofRunt);
                }
                if value_len > PROOF_LEN_MAX {
                    return Err(Fault::ProofOversize);
                }
            }
            let mut value = Reader(reader.take(value_len)?);
            match (kind, &mut proof) {
                (record::PROOF, _) => proof = Some(Self::read_fixed(&mut value)?),
                (record::SIGNATURES, Some(proof)) => proof.read_signatures(&mut value)?,
                (record::CONTENT, Some(proof)) => proof.content = value.0.to_vec(),
                (record::SIGNATURES | record::CONTENT, None) => return Err(Fault::ProofOrder),
                (record::VERSION, _) => {
                    version = value.number()?;
                    if !value.0.is_empty() {
                        return Err(Fault::VersionLength);
                    }
                }
                _ => {}
            }
        }
        let mut proof = proof.ok_or(Fault::ProofMissing)?;
        proof.version = version;
        proof.is_standard = len == proof.len();
        Ok(proof)
    }

    fn read_fixed(value: &mut Reader<'_>) -> Result<Self, Fault> {
        let nonce = u32::from_le_bytes(value.array()?);
        let mut next = || value.array().map(Announcement);
        let announcements = Box::new([next()?, next()?, next()?, next()?]);
        let tree = value.0.to_vec();
        Ok(Self {
            nonce,
            announcements,
            tree,
            signatures: [None; ANNOUNCEMENTS],
            content: Vec::new(),
            version: 0,
            is_standard: false,
        })
    }

    fn read_signatures(&mut self, value: &mut Reader<'_>) -> Result<(), Fault> {
        for (signature, announcement) in self.signatures.iter_mut().zip(self.announcements.iter()) {
            if announcement.is_signed() {
                *signature = Some(value.array().map_err(|_short| Fault::SignaturesLength)?);
            }
        }
        if value.0.is_empty() { Ok(()) } else { Err(Fault::SignaturesLength) }
    }

    /// Bytes that [`Proof::write`] writes.
    #[must_use]
    pub fn len(&self) -> usize {
        let record = |len: usize| 1 + number_len(len as u64) + len;
        let signatures = 64 * self.signatures.iter().flatten().count();
        let optional = |len: usize| if len == 0 { 0 } else { record(len) };
        let version = if self.version == 0 { 0 } else { record(number_len(self.version)) };
        record(FIXED_LEN + self.tree.len())
            + optional(signatures)
            + optional(self.content.len())
            + version
            + 2
    }

    /// Never: there are four announcements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes of a block's proof, in standard form.
    pub fn write(&self, out: &mut Vec<u8>) {
        let head = |kind: u64, len: usize, out: &mut Vec<u8>| {
            write_number(kind, out);
            write_number(len as u64, out);
        };
        head(record::PROOF, FIXED_LEN + self.tree.len(), out);
        out.extend(self.nonce.to_le_bytes());
        self.announcements.iter().for_each(|announcement| out.extend(announcement.0));
        out.extend(&self.tree);
        let signatures = self.signatures.iter().flatten().count();
        if signatures > 0 {
            head(record::SIGNATURES, 64 * signatures, out);
            self.signatures.iter().flatten().for_each(|signature| out.extend(signature));
        }
        if !self.content.is_empty() {
            head(record::CONTENT, self.content.len(), out);
            out.extend(&self.content);
        }
        if self.version > 0 {
            head(record::VERSION, number_len(self.version), out);
            write_number(self.version, out);
        }
        head(record::END, 0, out);
    }
}
