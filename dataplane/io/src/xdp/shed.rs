//! Shedding in the program: what a worker could not take in time never comes to its ring, and takes no copy.
//!
//! ```text
//! worker ── room ──► free_until, priority_until ─┐
//! program: passed < free_until? ─ yes ─────────► │ redirect, passed + 1
//!          no: meter of the frame's link? in it ─┤
//!          no: priority and passed < priority_until ┘   else drop, shed + 1
//! ```
//! The worker gives room, not time: as many frames may pass as make its ring so long. What has no claim stops at one
//! length, what is above a guarantee at another, and all that is left of the ring is for what is guaranteed, however long
//! the worker is away. While rings are short nobody is metered, and a frame costs a dozen instructions more.
//!
//! Sources that are not known share meter 0. Meters and rooms are mapped: plain stores, one writer each (the management
//! thread, the queue's worker); the program writes what lies in other words.

use super::{endpoint_octets, loaded, need_else};
use crate::IoError;
use crate::bpf::assembler::{Alu, Assembler, If, Reg, Width};
use crate::bpf::{Map, MapKind, SharedArray};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN};

/// Queues that have a room.
pub(super) const QUEUES: i32 = 256;
// A room: the program's words in one cache line, the worker's in another.
const ROOM_LEN: usize = 128;
const PASSED_AT: usize = 0;
const SHED_AT: usize = 8;
const FREE_UNTIL_AT: usize = 64;
const PRIORITY_UNTIL_AT: usize = 72;
// A meter: what it let through is paid until (ns), ns a byte · 2^SHIFT, how far ahead of now that may lie (ns), whether
// there is priority above it.
const METER_LEN: usize = 32;
const PAID_AT: usize = 0;
const BYTE_AT: usize = 8;
const TOLERANCE_AT: usize = 16;
const PRIORITY_AT: usize = 24;
const SHIFT: i32 = 20;
/// Addresses of the source and of us, ports, VLAN. Ethernet: own and peer address, VLAN.
const KEY_LEN: usize = 40;

/// Frames that wait when free ones stop, when those above a guarantee do: parts of the ring, and most.
const FREE: (u32, u32) = (3, 1024);
const PRIORITY: (u32, u32) = (5, 2048);
/// Both, where no link has a guarantee: the rest is the links' reserve.
const UNSOLD: (u32, u32) = (7, u32::MAX);

/// Preamble, gap and check sequence; shortest frame with them.
const FRAMING: i32 = 24;
const WIRE_MIN: i32 = 84;

const HELPER_MAP_LOOKUP: i32 = 1;
const HELPER_KTIME_GET_NS: i32 = 5;
const XDP_DROP: i32 = 1;

/// Where frames of a link come from, and where to; VLAN 0: without a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "own is the destination, peer the source")]
pub enum Source {
    /// ETHInterface frames.
    Ethernet { own: [u8; 6], peer: [u8; 6], vlan: u16 },
    /// UDP datagrams; both of one family.
    Udp { own: SocketAddr, peer: SocketAddr, vlan: u16 },
}

/// What passes whatever the worker's backlog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes of wire a second, at least 64.
    pub rate: u64,
    /// At once, bytes.
    pub burst: u64,
    /// What is above it goes before what has no claim.
    pub priority: bool,
}

/// What is allowed on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Known sources and their meters; several may have one.
    pub sources: BTreeMap<Source, u32>,
    /// Meters; 0 is that of all other sources.
    pub meters: BTreeMap<u32, Allowance>,
    /// Some are guarantees that were sold: so much of the rings is kept for them.
    pub sold: bool,
}

impl Source {
    fn key(&self) -> [u8; KEY_LEN] {
        let mut key = [0; KEY_LEN];
        let vlan = match self {
            Self::Ethernet { own, peer, vlan } => {
                key[..6].copy_from_slice(own);
                key[6..12].copy_from_slice(peer);
                vlan
            }
            Self::Udp { own, peer, vlan } => {
                key[..16].copy_from_slice(&endpoint_octets(*peer));
                key[16..32].copy_from_slice(&endpoint_octets(*own));
                key[32..34].copy_from_slice(&peer.port().to_be_bytes());
                key[34..36].copy_from_slice(&own.port().to_be_bytes());
                vlan
            }
        };
        key[36..38].copy_from_slice(&vlan.to_ne_bytes());
        key
    }
}

/// The maps of a port.
#[derive(Debug)]
pub(super) struct Shedding {
    sources: Map,
    meters: SharedArray,
    rooms: Arc<Rooms>,
    allowed: Allowances,
}

#[derive(Debug)]
struct Rooms {
    array: SharedArray,
    sold: AtomicBool,
}

impl Rooms {
    fn word(&self, queue: usize, at: usize) -> Option<&AtomicU64> {
        self.array.word(0, ROOM_LEN * queue + at)
    }
}

impl Shedding {
    /// For `sources` known sources, and as many meters.
    pub(super) fn create(sources: usize) -> Result<Self, IoError> {
        // One value of all: the program reaches those of a map of one without a call.
        let array = SharedArray::create(ROOM_LEN * QUEUES.unsigned_abs() as usize, 1)?;
        let rooms = Rooms { array, sold: AtomicBool::new(false) };
        for queue in 0..QUEUES.unsigned_abs() as usize {
            // A queue without a worker sheds nothing.
            for at in [FREE_UNTIL_AT, PRIORITY_UNTIL_AT] {
                store(rooms.word(queue, at), u64::MAX);
            }
        }
        Ok(Self {
            sources: Map::create(MapKind::Hash, KEY_LEN, 4, sources.max(1))?,
            meters: SharedArray::create(METER_LEN, sources + 1)?,
            rooms: Arc::new(rooms),
            allowed: Allowances::default(),
        })
    }

    /// From now on this is allowed. A meter whose allowance stays forgets nothing.
    pub(super) fn allow(&mut self, wanted: Allowances) -> io::Result<()> {
        // Relaxed: a worker that sees it a round later has lost nothing.
        self.rooms.sold.store(wanted.sold, Ordering::Relaxed);
        for (meter, allowance) in &wanted.meters {
            if self.allowed.meters.get(meter) != Some(allowance) {
                self.set_meter(*meter as usize, *allowance);
            }
        }
        for (source, meter) in &wanted.sources {
            if self.allowed.sources.get(source) != Some(meter) {
                self.sources.set(&source.key(), &meter.to_ne_bytes())?;
                self.allowed.sources.insert(*source, *meter);
            }
        }
        let gone =
            self.allowed.sources.keys().filter(|source| !wanted.sources.contains_key(source));
        for source in gone {
            self.sources.remove(&source.key())?;
        }
        self.allowed = wanted;
        Ok(())
    }

    /// What is allowed now.
    #[cfg(test)]
    pub(super) fn allowed(&self) -> &Allowances {
        &self.allowed
    }

    /// Other terms, from a full burst on: what the old ones let through may be paid far later than these would allow.
    fn set_meter(&self, meter: usize, allowance: Allowance) {
        let nanos = |bytes: u64, shift: i32| -> u64 {
            let time = (u128::from(bytes) * 1_000_000_000) << shift;
            u64::try_from(time / u128::from(allowance.rate.max(64))).unwrap_or(u64::MAX)
        };
        store(self.meters.word(meter, BYTE_AT), nanos(1, SHIFT));
        store(self.meters.word(meter, TOLERANCE_AT), nanos(allowance.burst, 0));
        store(self.meters.word(meter, PRIORITY_AT), allowance.priority.into());
        store(self.meters.word(meter, PAID_AT), 0);
    }

    /// The room of a queue whose ring has `entries`, all of it free.
    pub(super) fn room(&self, queue: u32, entries: u32) -> Option<Room> {
        let mut room =
            Room { rooms: Arc::clone(&self.rooms), queue: queue as usize, entries, taken: 0 };
        self.rooms.word(room.queue, PASSED_AT)?;
        room.give(0);
        Some(room)
    }
}

/// A queue's worker's part.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Arc<Rooms>,
    queue: usize,
    entries: u32,
    /// Frames taken since room was given last.
    taken: u32,
}

impl Room {
    /// Frames were taken from the ring: gives room for others now and then, and whenever the ring was found empty, which
    /// makes good for frames that passed and never came.
    #[inline]
    pub(crate) fn took(&mut self, count: u32, waiting: impl FnOnce() -> u32) {
        self.taken += count;
        if count == 0 || self.taken >= self.entries / 32 {
            self.give(waiting());
        }
    }

    /// Gives what is left of the ring when `waiting` frames wait. A batch that is on its way into the ring is not seen
    /// there yet, and gets its room twice.
    fn give(&mut self, waiting: u32) {
        self.taken = 0;
        let (free, priority) = if self.rooms.sold.load(Ordering::Relaxed) {
            (FREE, PRIORITY)
        } else {
            (UNSOLD, UNSOLD)
        };
        let passed = self.read(PASSED_AT);
        for (at, (eighths, most)) in [(FREE_UNTIL_AT, free), (PRIORITY_UNTIL_AT, priority)] {
            let room = (self.entries / 8 * eighths).min(most).saturating_sub(waiting);
            let until = passed.wrapping_add(room.into());
            if self.read(at) != until {
                store(self.rooms.word(self.queue, at), until);
            }
        }
    }

    /// Frames that the program dropped.
    pub(crate) fn shed(&self) -> u64 {
        self.read(SHED_AT)
    }

    fn read(&self, at: usize) -> u64 {
        // Relaxed: words of the program, each on its own.
        self.rooms.word(self.queue, at).map_or(0, |word| word.load(Ordering::Relaxed))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Without a worker the program leaves frames to the kernel.
        for at in [FREE_UNTIL_AT, PRIORITY_UNTIL_AT] {
            store(self.rooms.word(self.queue, at), u64::MAX);
        }
    }
}

fn store(word: Option<&AtomicU64>, value: u64) {
    if let Some(word) = word {
        word.store(value, Ordering::Relaxed);
    }
}

// Places on the program's stack.
const KEY: i16 = -80;
const METER: i16 = -84;
const NOW: i16 = -96;

/// Goes on for a frame that may pass, and drops the others. r6: context, r7: what follows the Ethernet header, r8: the
/// frame; r9 is used. `tag_into`: writes the number of a tag beside the frame, if one is there, to a place on the stack.
pub(super) fn shed_or_pass(
    code: &mut Assembler,
    maps: &Shedding,
    tag_into: impl FnOnce(&mut Assembler, i16),
) {
    use Reg::{Fp, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9};
    use Width::{Double, Half, Word};
    let at = |offset: usize| i16::try_from(offset).unwrap_or(0);
    code.load(Word, R1, R6, 16).jump_if(R1, If::Greater, QUEUES - 1, "no room");
    code.alu(Alu::Multiply, R1, i32::try_from(ROOM_LEN).unwrap_or(0));
    code.load_map_value(R9, maps.rooms.array.fd()).alu_reg(Alu::Add, R9, R1);
    code.load(Double, R3, R9, at(PASSED_AT)).load(Double, R4, R9, at(FREE_UNTIL_AT));
    code.jump_if_reg(R4, If::Greater, R3, "admit");

    // Who sends it?
    for word in 0..5 {
        code.store_value(Double, Fp, KEY + 8 * word, 0);
    }
    code.load(Word, R3, R6, 4);
    need_else(code, R8, 18, "unknown").load(Half, R4, R8, 12);
    code.jump_if(R4, If::NotEqual, loaded(ETHERTYPE_VLAN), "tag known");
    code.load(Half, R4, R8, 14).to_network(R4, 16).alu(Alu::And, R4, 0x0fff);
    code.store(Half, Fp, KEY + 36, R4);
    code.label("tag known");
    tag_into(code, KEY + 36);
    code.load(Word, R3, R6, 4).load(Half, R4, R7, -2);
    code.jump_if(R4, If::Equal, loaded(ETHERTYPE_IPV4), "from ipv4");
    code.jump_if(R4, If::Equal, loaded(ETHERTYPE_IPV6), "from ipv6");
    for word in 0..3 {
        code.load(Word, R4, R8, 4 * word).store(Word, Fp, KEY + 4 * word, R4);
    }
    code.jump("from");
    need_else(code.label("from ipv4"), R7, 28, "unknown");
    for (address, from) in [(KEY, 12), (KEY + 16, 16)] {
        code.store_value(Half, Fp, address + 10, -1);
        code.load(Word, R4, R7, from).store(Word, Fp, address + 12, R4);
    }
    code.load(Word, R4, R7, 20).store(Word, Fp, KEY + 32, R4).jump("from");
    need_else(code.label("from ipv6"), R7, 48, "unknown");
    for word in 0..8 {
        code.load(Word, R4, R7, 8 + 4 * word).store(Word, Fp, KEY + 4 * word, R4);
    }
    code.load(Word, R4, R7, 40).store(Word, Fp, KEY + 32, R4);
    code.label("from").load_map(R1, maps.sources.fd());
    code.copy(R2, Fp).alu(Alu::Add, R2, KEY.into()).call(HELPER_MAP_LOOKUP);
    code.jump_if(R0, If::Equal, 0, "unknown").load(Word, R4, R0, 0).jump("metered");
    code.label("unknown").set(R4, 0);

    // Is it in its meter? r1 = now, r2 = when it could start, r4 = when it would be paid.
    code.label("metered").store(Word, Fp, METER, R4);
    code.call(HELPER_KTIME_GET_NS).store(Double, Fp, NOW, R0).load_map(R1, maps.meters.fd());
    code.copy(R2, Fp).alu(Alu::Add, R2, METER.into()).call(HELPER_MAP_LOOKUP);
    code.jump_if(R0, If::Equal, 0, "shed");
    code.load(Double, R1, Fp, NOW).load(Double, R2, R0, at(PAID_AT));
    code.jump_if_reg(R2, If::Greater, R1, "start").copy(R2, R1).label("start");
    code.load(Word, R4, R6, 4).load(Word, R5, R6, 0).alu_reg(Alu::Subtract, R4, R5);
    code.alu(Alu::Add, R4, FRAMING).jump_if(R4, If::Greater, WIRE_MIN, "long").set(R4, WIRE_MIN);
    code.label("long").load(Double, R5, R0, at(BYTE_AT)).alu_reg(Alu::Multiply, R4, R5);
    code.alu(Alu::ShiftRight, R4, SHIFT).alu_reg(Alu::Add, R4, R2);
    code.copy(R5, R4).alu_reg(Alu::Subtract, R5, R1).load(Double, R3, R0, at(TOLERANCE_AT));
    code.jump_if_reg(R5, If::Greater, R3, "above");
    // Two cores that run it for one link at once may let a frame more through.
    code.store(Double, R0, at(PAID_AT), R4).jump("admit");
    code.label("above").load(Double, R4, R0, at(PRIORITY_AT)).jump_if(R4, If::Equal, 0, "shed");
    code.load(Double, R3, R9, at(PASSED_AT)).load(Double, R4, R9, at(PRIORITY_UNTIL_AT));
    code.jump_if_reg(R4, If::Greater, R3, "admit");
    code.label("shed").set(R1, 1).atomic_add(R9, at(SHED_AT), R1).set(R0, XDP_DROP).exit();

    // The worker reads it only to see how far it got, so it needs no atomic.
    code.label("admit").load(Double, R3, R9, at(PASSED_AT)).alu(Alu::Add, R3, 1);
    code.store(Double, R9, at(PASSED_AT), R3).label("no room");
}
