//! The engine allocates nothing once it runs, with keys or without: a counting allocator around its calls.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]
#![expect(unsafe_code, reason = "an allocator")]

#[expect(dead_code, reason = "nothing is opened here")]
#[path = "links/peer.rs"]
mod peer;
mod rig;

use dataplane_api::spec::{LinkSpec, SchemeSpec, Session as Protection};
use dataplane_api::{NodeSpec, PortId, VifId};
use dataplane_engine::{Burst, NoTap, Outcome, SessionChange, SessionChangeKind, SessionNews};
use peer::{Kind, Session};
use rig::{Rig, key, plain_spec, ports};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use wire::buf::HeapPacket;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

fn count() {
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// SplitMix64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// A secret.
    pub fn key(&mut self) -> [u8; 32] {
        let words: [[u8; 8]; 4] = std::array::from_fn(|_| self.draw().to_le_bytes());
        *words.as_flattened().first_chunk().unwrap()
    }
}

fn rig() -> Rig {
    let mut spec = plain_spec(SchemeSpec::V358, &[0, 2, 3]);
    for (node, vif) in spec.vswitches[0].vifs.iter_mut().take(2).enumerate() {
        let Some(LinkSpec::Ethernet { session, .. }) = &mut vif.link else { panic!("Ethernet") };
        *session = Protection::Node(NodeSpec {
            public_key: key(node + 1).to_string(),
            password: None,
            login: None,
            handshake: Default::default(),
            reads_all: false,
        });
    }
    let mut ports = ports(1);
    ports[0].plain_forced = true;
    Rig::with_limits(&spec, &ports, (100, 10), 10)
}

/// From link 0 to the link of number 2 (v358: 0101), and to that of number 3 (0111).
const LABELS: [u64; 2] = [0b1_0101, 0b1_0111];

#[test]
fn a_burst_of_anything_and_new_keys_allocate_nothing() {
    for kind in [Kind::CryptoAuth, Kind::Noise] {
        let mut rig = rig();
        let mut random = Random(3);
        let links: [VifId; 2] = [rig.vif(0, 0), rig.vif(0, 2)];
        let mut sessions: Vec<Session> = Vec::new();
        let (mut out, mut tx) = (Outcome::new(), Burst::new());
        let mut retired = Vec::with_capacity(1024);
        let mut seen = 0;
        for round in 0..200_u64 {
            let fresh = Session::draw(&mut random, kind, 7, round % 3 != 0);
            let mut changes: Vec<SessionChange> = Vec::new();
            for vif in links {
                let epoch = rig.rules.vif(vif).unwrap().epoch;
                let kind = SessionChangeKind::Install(fresh.data());
                changes.push(SessionChange { vif, epoch, kind });
            }
            sessions.push(fresh);
            let mut burst = Burst::new();
            for place in 0..64 {
                let label = LABELS[random.below(2)];
                let packet = [&label.to_be_bytes()[..], &[1, 0x40, 0, 7], &[place; 60]].concat();
                let of = sessions.len() - 1 - random.below(sessions.len().min(4));
                let session = &mut sessions[of];
                let packet = match place % 8 {
                    0 => packet,
                    1 => vec![0; 130],
                    2 => session.seal(b""),
                    3 => session.seal_as(4, &packet),
                    _ => session.seal(&packet),
                };
                let (_, frame) = rig.frame(links[0], &packet);
                burst.push(HeapPacket::new(&frame, 128, 64));
            }
            let now = round * 1_000_000;
            let before = CALLS.get();
            changes
                .drain(..)
                .for_each(|change| rig.engine.change_session(&rig.rules, change, &mut out));
            rig.engine.receive(&rig.rules, now, PortId(0), &mut burst, &mut out, &mut NoTap);
            for _ in 0..2 {
                let Rig { rules, next_hops, engine, .. } = &mut rig;
                engine.transmit(
                    rules,
                    next_hops,
                    now,
                    PortId(0),
                    64,
                    &mut tx,
                    &mut out,
                    &mut NoTap,
                );
            }
            for news in out.news.drain(..) {
                match news {
                    SessionNews::Retired(session) => retired.push(session),
                    SessionNews::Confirmed { .. }
                    | SessionNews::Old { .. }
                    | SessionNews::Crowded { .. } => seen += 1,
                }
            }
            // Vectors of the engine may not have grown meanwhile; the list of changes is the test's, and is kept.
            assert_eq!(CALLS.get() - before, 0, "round {round}");
            seen += tx.len();
            tx.clear();
            out.free.clear();
            out.punts.clear();
            retired.clear();
        }
        assert!(seen > 1_000, "{seen}");
    }
}
