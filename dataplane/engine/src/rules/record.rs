//! What the packet path knows of one vif: 32 bytes, two to a cache line.

use dataplane_api::{MacAddress, PortId, Role, VifId, VswitchId, WorkerId};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// No 802.1Q tag, in a [`Record`]'s key. Real tags are 1..=4094.
pub(crate) const UNTAGGED: u16 = 0;
/// No such record. In a number map: the vswitch has no vif of this number.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// What lies behind a vif.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkKind {
    /// ETHInterface frames.
    Ethernet = 0,
    /// UDP datagrams.
    Udp = 1,
    /// Another vif of this box.
    Cable = 2,
}

/// The key of an Ethernet link, as it lies in a record: `own MAC ‖ peer MAC ‖ VLAN ‖ port`.
///
/// A frame's first twelve bytes are `own ‖ peer` when it arrives, so the key takes two loads to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkKey {
    /// Bytes 0..8 of a received frame, little-endian.
    pub(crate) low: u64,
    /// Bytes 8..12 in the low half, then the VLAN (16 bits) and the port (8 bits); the top byte is 0.
    pub(crate) high: u64,
}

impl LinkKey {
    pub(crate) const HIGH_MASK: u64 = 0x00ff_ffff_ffff_ffff;

    pub(crate) fn new(port: PortId, vlan: u16, own: MacAddress, peer: MacAddress) -> Self {
        let (o, p) = (own.0, peer.0);
        let low = u64::from_le_bytes([o[0], o[1], o[2], o[3], o[4], o[5], p[0], p[1]]);
        let tail = u32::from_le_bytes([p[2], p[3], p[4], p[5]]);
        Self::from_words(low, tail, vlan, port)
    }

    #[inline]
    pub(crate) fn from_words(low: u64, tail: u32, vlan: u16, port: PortId) -> Self {
        let high = u64::from(tail) | u64::from(vlan) << 32 | u64::from(port.0 & 0xff) << 48;
        Self { low, high }
    }

    /// The first twelve bytes of a frame to the neighbour, `peer ‖ own`, as two little-endian words.
    #[inline]
    pub(crate) fn reply(self) -> (u64, u32) {
        let (low, high) = (self.low, self.high);
        // Both cuts are meant: the key's words hold `own ‖ peer`, two bytes of the peer's address in the first.
        let [_, _, a, b, c, d, _, _] = low.to_le_bytes();
        (low >> 48 | (high & 0xffff_ffff) << 16 | low << 48, u32::from_le_bytes([a, b, c, d]))
    }

    /// The destination of a received frame: our own address.
    pub(crate) fn own(self) -> MacAddress {
        let [a, b, c, d, e, f, ..] = self.low.to_le_bytes();
        MacAddress([a, b, c, d, e, f])
    }

    pub(crate) fn vlan(self) -> u16 {
        let [.., a, b, _, _] = self.high.to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    pub(crate) fn peer(self) -> MacAddress {
        let [.., a, b] = self.low.to_le_bytes();
        let [c, d, e, f, ..] = self.high.to_le_bytes();
        MacAddress([a, b, c, d, e, f])
    }
}

/// One vif.
///
/// `class` holds, from bit 0: [`LinkKind`] (2 bits), the vif's role (2 bits), the roles that packets from it may leave
/// to (3 bits, bit = role), whether its packets are encrypted (1 bit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Record {
    /// Ethernet: the [`LinkKey`]. UDP: its index in the endpoint table. Cable: the slot of the other end.
    low: u64,
    /// High word of the key, with `class` in the top byte.
    high: u64,
    /// Start of the vswitch's number map (24 bits), and its scheme above it (8 bits).
    map_and_scheme: u32,
    vif: u16,
    vswitch: u16,
    number: u16,
    map_len: u16,
    mtu: u16,
    owner: u8,
    epoch: u8,
}

const _: () = assert!(size_of::<Record>() == 32, "two records make a cache line");

/// What a [`Record`] is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordParts {
    pub(crate) kind: LinkKind,
    pub(crate) key: LinkKey,
    pub(crate) role: Role,
    pub(crate) allow: u8,
    pub(crate) encrypted: bool,
    pub(crate) map_start: u32,
    pub(crate) map_len: u16,
    pub(crate) scheme: u8,
    pub(crate) vif: u16,
    pub(crate) vswitch: u16,
    pub(crate) number: u16,
    pub(crate) mtu: u16,
    pub(crate) owner: u8,
    pub(crate) epoch: u8,
}

/// Most entries of all number maps together: what the offset in a record can name.
pub(crate) const MAP_ENTRIES_MAX: usize = 1 << 24;

impl Record {
    /// Matches no frame: its key has a port that no process has.
    pub(crate) const EMPTY: Self = Self {
        low: 0,
        high: LinkKey::HIGH_MASK,
        map_and_scheme: 0,
        vif: 0,
        vswitch: 0,
        number: 0,
        map_len: 0,
        mtu: 0,
        owner: 0,
        epoch: 0,
    };

    pub(crate) fn new(parts: &RecordParts) -> Self {
        let class = parts.kind as u8
            | (parts.role as u8) << 2
            | (parts.allow & 7) << 4
            | u8::from(parts.encrypted) << 7;
        Self {
            low: parts.key.low,
            high: parts.key.high & LinkKey::HIGH_MASK | u64::from(class) << 56,
            map_and_scheme: parts.map_start & 0x00ff_ffff | u32::from(parts.scheme) << 24,
            vif: parts.vif,
            vswitch: parts.vswitch,
            number: parts.number,
            map_len: parts.map_len,
            mtu: parts.mtu,
            owner: parts.owner,
            epoch: parts.epoch,
        }
    }

    #[inline]
    pub(crate) fn key(&self) -> LinkKey {
        LinkKey { low: self.low, high: self.high & LinkKey::HIGH_MASK }
    }

    #[inline]
    pub(crate) fn matches(&self, key: LinkKey) -> bool {
        (self.low ^ key.low) | ((self.high ^ key.high) & LinkKey::HIGH_MASK) == 0
    }

    #[inline]
    fn class(&self) -> u8 {
        self.high.to_le_bytes()[7]
    }

    #[inline]
    pub(crate) fn kind(&self) -> LinkKind {
        match self.class() & 3 {
            0 => LinkKind::Ethernet,
            1 => LinkKind::Udp,
            _ => LinkKind::Cable,
        }
    }

    #[inline]
    pub(crate) fn is_untagged_ethernet(&self) -> bool {
        const KIND: u64 = 3 << 56;
        const VLAN: u64 = 0xffff << 32;
        self.high & (KIND | VLAN) == 0
    }

    /// Whether the class matrix lets a packet from `self` leave through `egress`.
    #[inline]
    pub(crate) fn allows(&self, egress: &Self) -> bool {
        (self.class() >> 4 & 7) >> (egress.class() >> 2 & 3) & 1 != 0
    }

    /// Whether packets may leave through `self` that may leave to these roles, as bits.
    #[inline]
    pub(crate) fn is_allowed_by(&self, roles: u8) -> bool {
        roles >> (self.class() >> 2 & 3) & 1 != 0
    }

    /// Whether packets of the link are encrypted.
    #[inline]
    pub(crate) fn is_encrypted(&self) -> bool {
        self.high >> 63 != 0
    }

    /// Whether a stock node may be behind the link which takes one frame a wake-up: it has keys and is on Ethernet.
    #[inline]
    pub(crate) fn is_paced(&self) -> bool {
        const KIND: u64 = 3 << 56;
        const ENCRYPTED: u64 = 1 << 63;
        self.high & (ENCRYPTED | KIND) == ENCRYPTED
    }

    #[inline]
    pub(crate) fn vif(&self) -> VifId {
        VifId(u32::from(self.vif))
    }

    #[inline]
    pub(crate) fn vif_index(&self) -> u16 {
        self.vif
    }

    #[inline]
    pub(crate) fn vswitch(&self) -> VswitchId {
        VswitchId(self.vswitch)
    }

    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    #[inline]
    pub(crate) fn scheme(&self) -> usize {
        (self.map_and_scheme >> 24) as usize
    }

    #[inline]
    pub(crate) fn map_start(&self) -> usize {
        (self.map_and_scheme & 0x00ff_ffff) as usize
    }

    #[inline]
    pub(crate) fn map_len(&self) -> u16 {
        self.map_len
    }

    /// Longest switch packet to send on it.
    #[inline]
    pub(crate) fn mtu(&self) -> usize {
        usize::from(self.mtu)
    }

    #[inline]
    pub(crate) fn owner(&self) -> WorkerId {
        WorkerId(self.owner)
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u8 {
        self.epoch
    }

    /// Port of an Ethernet or UDP link.
    #[inline]
    pub(crate) fn port(&self) -> PortId {
        PortId(u16::from(self.high.to_le_bytes()[6]))
    }

    /// 802.1Q tag of an Ethernet or UDP link, or [`UNTAGGED`].
    #[inline]
    pub(crate) fn vlan(&self) -> u16 {
        let [.., a, b, _, _] = self.high.to_le_bytes();
        u16::from_le_bytes([a, b])
    }

    /// Slot of the other end of a cable, or index of a UDP link's endpoints.
    #[inline]
    pub(crate) fn other(&self) -> u32 {
        let [a, b, c, d, ..] = self.low.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Makes a cable end lead to the record in `slot`.
    pub(crate) fn lead_to(&mut self, slot: u32) {
        self.low = u64::from(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_what_it_was_made_of() {
        let own = MacAddress([2, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let peer = MacAddress([6, 0xaa, 0xbb, 0xcc, 0xdd, 0xee]);
        let key = LinkKey::new(PortId(63), 4094, own, peer);
        let parts = RecordParts {
            kind: LinkKind::Cable,
            key,
            role: Role::Provider,
            allow: 0b101,
            encrypted: true,
            map_start: 0x00ab_cdef,
            map_len: 32_768,
            scheme: 255,
            vif: 65_535,
            vswitch: 4095,
            number: 32_767,
            mtu: 9000,
            owner: 31,
            epoch: 200,
        };
        let record = Record::new(&parts);
        assert_eq!((record.key().own(), record.key().peer()), (own, peer));
        assert_eq!(
            (record.port(), record.vlan(), record.kind()),
            (PortId(63), 4094, LinkKind::Cable)
        );
        assert_eq!(
            (record.map_start(), record.map_len(), record.scheme()),
            (0x00ab_cdef, 32_768, 255)
        );
        assert_eq!(
            (record.vif(), record.vswitch(), record.number()),
            (VifId(65_535), VswitchId(4095), 32_767)
        );
        assert_eq!((record.mtu(), record.owner(), record.epoch()), (9000, WorkerId(31), 200));
        assert!(record.is_encrypted() && !Record::EMPTY.is_encrypted());
        let (first, second) = key.reply();
        assert_eq!(first.to_le_bytes(), [6, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 2, 0x11]);
        assert_eq!(second.to_le_bytes(), [0x22, 0x33, 0x44, 0x55]);
        assert!(record.matches(key) && !record.allows(&Record::EMPTY.with_role(Role::Peer)));
        assert!(record.allows(&Record::EMPTY.with_role(Role::Customer)) && record.allows(&record));
    }

    impl Record {
        fn with_role(mut self, role: Role) -> Self {
            self.high |= u64::from((role as u8) << 2) << 56;
            self
        }
    }
}
