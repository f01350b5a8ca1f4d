//! Frames, packets of the slow path and turns to send, through one engine: each frame ends in one place, is counted
//! once, and nothing else is counted.

use crate::input::{Step, steps};
use crate::rig::{self, PORTS, RULES, VIFS, VSWITCHES};
use crypt::aead::{Aead, Level};
use crypt::data::{Cipher, DataKeys, DataSession, Framing};
use dataplane_api::counters::{Layout, PortCounter, VifCounter};
use dataplane_api::{DropReason, PortId, VifId, VswitchId, WorkerId};
use engine::{
    Burst, Engine, EngineConfig, Inject, NextHops, NoTap, Outcome, PuntKind, SessionChange,
    SessionChangeKind, Via, VifInfo,
};
use std::collections::BTreeMap;
use wire::buf::{HeapPacket, Packet};

/// Operation of a step: a frame as it stands, on port `argument`.
const FRAME: u8 = 0;
/// A switch packet, framed as the neighbour behind vif `argument` would.
const PACKET: u8 = 1;
/// A switch packet from the router of vswitch `argument`.
const INJECT: u8 = 2;
/// Port `argument` may send.
const TRANSMIT: u8 = 3;
/// A switch packet, sealed as the neighbour behind the link with keys `argument` would.
const SEALED: u8 = 4;
/// Other keys for the link with keys `argument`, as the first byte says.
const KEYS: u8 = 5;
/// Number of operations.
const OPS: u8 = 6;

/// Bits of that byte: drop all keys; Noise; to be used before the neighbour was heard.
const DROP: u8 = 1;
const NOISE: u8 = 2;
const CONFIRMED: u8 = 4;

const LAYOUT: Layout = Layout { ports: PORTS, vifs: VIFS, vswitches: VSWITCHES };

/// Where frames went so far.
#[derive(Debug, Default)]
struct Ledger {
    received: [u64; PORTS],
    injected: u64,
    sent: u64,
    dropped: u64,
    errors: u64,
    controls: u64,
    keep_alives: u64,
}

struct Bench {
    engine: Engine<HeapPacket, Vec<u64>>,
    next_hops: NextHops,
    /// The neighbours' ends of the newest keys.
    neighbours: BTreeMap<VifId, DataSession>,
    keys: u32,
    ledger: Ledger,
    now: u64,
}

/// Runs the steps that `input` spells and checks the books after each.
pub fn burst(input: &[u8]) {
    let config = EngineConfig {
        layout: LAYOUT,
        queue_frames: 16,
        guaranteed_frames: 8,
        vswitch_frames: 12,
        punts_per_second: 1000,
        punt_burst: 4,
        strangers_per_second: 0,
        seed: 0,
    };
    let mut bench = Bench {
        engine: Engine::new(WorkerId(0), config, vec![0; LAYOUT.len()]),
        next_hops: rig::next_hops(&RULES),
        neighbours: BTreeMap::new(),
        keys: 0,
        ledger: Ledger::default(),
        now: 0,
    };
    for step in steps(input) {
        bench.step(step);
        bench.check();
    }
    for port in 0..PORTS {
        bench.transmit(port);
    }
    bench.check();
}

fn port_id(port: usize) -> PortId {
    PortId(u16::try_from(port).unwrap_or(0))
}

impl Bench {
    fn step(&mut self, Step { op, argument, bytes }: Step<'_>) {
        self.now += 100_000;
        let argument = usize::from(argument);
        match op % OPS {
            FRAME => self.receive(argument % PORTS, bytes),
            PACKET => {
                let links = RULES.vifs().filter_map(|vif| Some((vif.port()?, vif)));
                let links: Vec<_> = links.collect();
                let Some((port, vif)) = links.get(argument % links.len().max(1)) else { return };
                if let Some(frame) = rig::frame(&vif.link, bytes) {
                    self.receive(port.index(), &frame);
                }
            }
            INJECT => {
                // One more than there are: a vswitch may be gone when the slow path answers for it.
                let vswitches = RULES.vswitches().count() + 1;
                let vswitch = VswitchId(u16::try_from(argument % vswitches).unwrap_or(0));
                let item =
                    Inject { frame: HeapPacket::new(bytes, 128, 64), via: Via::Router(vswitch) };
                let mut out = Outcome::new();
                self.engine.inject(&RULES, self.now, item, &mut out, &mut NoTap);
                self.ledger.injected += 1;
                self.settle(&out);
            }
            TRANSMIT => self.transmit(argument % PORTS),
            SEALED | KEYS => {
                let with_keys: Vec<_> = RULES.vifs().filter(|vif| vif.node.is_some()).collect();
                let Some(vif) = with_keys.get(argument % with_keys.len().max(1)) else { return };
                match op % OPS {
                    KEYS => self.change_keys(vif, bytes.first().copied().unwrap_or(0)),
                    _ => self.sealed(vif, bytes),
                }
            }
            _ => {}
        }
    }

    fn change_keys(&mut self, vif: &VifInfo, what: u8) {
        let kind = if what & DROP != 0 {
            SessionChangeKind::Drop(None)
        } else {
            self.keys += 1;
            let [low, high, ..] = self.keys.to_le_bytes();
            let (to_box, from_box) = ([low ^ 0x55; 32], [high ^ 0xaa; 32]);
            let noise = what & NOISE != 0;
            let from_box = if noise { from_box } else { to_box };
            let framing = |initiator, own_index, peer_index| match noise {
                true => Framing::Noise { own_index, peer_index },
                false => Framing::CryptoAuth { initiator },
            };
            let confirmed = what & CONFIRMED != 0;
            let keys = |framing, send, receive| {
                let keys = DataKeys { framing, send, receive, first_nonce: 4, confirmed };
                DataSession::new(keys, self.keys)
            };
            let (ours, theirs) = (0x4141_4141, 0x4242_4242);
            let neighbour = keys(framing(false, theirs, ours), to_box, from_box);
            self.neighbours.insert(vif.id, neighbour);
            SessionChangeKind::Install(Box::new(keys(
                framing(true, ours, theirs),
                from_box,
                to_box,
            )))
        };
        let mut out = Outcome::new();
        let change = SessionChange { vif: vif.id, epoch: vif.epoch, kind };
        self.engine.change_session(&RULES, change, &mut out);
        assert_eq!(out.frames(), 0, "keys hold no frames");
    }

    fn sealed(&mut self, vif: &VifInfo, text: &[u8]) {
        let Some(session) = self.neighbours.get_mut(&vif.id) else { return };
        let mut packet = HeapPacket::new(text, 32, 32);
        if !session.frame(&mut packet) {
            return;
        }
        // The same on every machine, whatever its vectors.
        let mut aead = Aead::with(Level::Portable).unwrap_or_else(Aead::detect);
        if let Some(job) = session.seal_job(packet.bytes_mut()) {
            match session.cipher() {
                Cipher::XSalsa => aead.seal_xsalsa(&mut [job]),
                Cipher::ChaCha => aead.seal_chacha(&mut [job]),
            }
        }
        let opened = LAYOUT.vif(vif.id) + VifCounter::Opened as usize;
        let opened = |engine: &mut Engine<HeapPacket, Vec<u64>>| engine.bank().get(opened).copied();
        let before = opened(&mut self.engine);
        if let (Some(port), Some(frame)) = (vif.port(), rig::frame(&vif.link, packet.bytes())) {
            self.receive(port.index(), &frame);
        }
        // An empty packet that was opened has done its work: its frame is free, and nothing was dropped.
        if text.is_empty() && opened(&mut self.engine) != before {
            self.ledger.dropped -= 1;
            self.ledger.keep_alives += 1;
        }
    }

    fn receive(&mut self, port: usize, frame: &[u8]) {
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        burst.push(HeapPacket::new(frame, 128, 64));
        self.engine.receive(&RULES, self.now, port_id(port), &mut burst, &mut out, &mut NoTap);
        assert!(burst.is_empty(), "a received burst is consumed");
        self.ledger.received[port] += 1;
        self.settle(&out);
    }

    fn transmit(&mut self, port: usize) {
        let (mut tx, mut out) = (Burst::new(), Outcome::new());
        let (id, room) = (port_id(port), Burst::<HeapPacket>::new().remaining_capacity());
        self.engine.transmit(
            &RULES,
            &self.next_hops,
            self.now,
            id,
            room,
            &mut tx,
            &mut out,
            &mut NoTap,
        );
        for frame in &tx {
            let header = wire::ethernet::Header::parse(frame.bytes());
            assert!(header.is_some(), "what is sent has an Ethernet header");
        }
        self.ledger.sent += tx.len() as u64;
        self.settle(&out);
    }

    fn settle(&mut self, out: &Outcome<HeapPacket>) {
        assert!(out.hand_offs.is_empty(), "one worker owns all links");
        self.ledger.dropped += out.free.len() as u64;
        for punt in &out.punts {
            match punt.kind {
                PuntKind::Control | PuntKind::Router | PuntKind::Handshake => {
                    self.ledger.controls += 1
                }
                PuntKind::Error { .. } => self.ledger.errors += 1,
            }
        }
    }

    /// Every frame is in one place; every drop has one name; the counters say the same.
    fn check(&mut self) {
        let held = self.engine.frames_held() as u64;
        let ledger = &self.ledger;
        let came = ledger.received.iter().sum::<u64>() + ledger.injected;
        let gone =
            ledger.sent + ledger.dropped + ledger.errors + ledger.controls + ledger.keep_alives;
        assert_eq!(came, gone + held, "frames are conserved: {ledger:?}");
        let bank = self.engine.bank();
        let counted = |slot: usize| bank.get(slot).copied().unwrap_or(0);
        let (mut drops, mut sent) = (0, 0);
        for port in 0..PORTS {
            let id = port_id(port);
            assert_eq!(counted(LAYOUT.port(id, PortCounter::RxFrames)), ledger.received[port]);
            sent += counted(LAYOUT.port(id, PortCounter::TxFrames));
            for reason in DropReason::ALL {
                drops += counted(LAYOUT.port_drop(id, *reason));
            }
        }
        for vswitch in RULES.vswitches() {
            for reason in DropReason::ALL {
                drops += counted(LAYOUT.vswitch_drop(vswitch.id, *reason));
            }
        }
        // A packet for a vswitch that is gone is charged to that id.
        let gone = VswitchId(u16::try_from(RULES.vswitches().count()).unwrap_or(0));
        drops += counted(LAYOUT.vswitch_drop(gone, DropReason::LinkGone));
        assert_eq!(sent, ledger.sent, "frames sent are counted");
        assert_eq!(drops, ledger.dropped + ledger.errors, "each drop is counted once: {ledger:?}");
    }
}
