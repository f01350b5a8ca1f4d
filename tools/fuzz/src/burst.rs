//! Frames, packets of the slow path and turns to send, through one engine: each frame ends in one place, is counted
//! once, and nothing else is counted.

use crate::input::{Step, steps};
use crate::rig::{self, PORTS, RULES, VIFS, VSWITCHES};
use dataplane_api::counters::{Layout, PortCounter};
use dataplane_api::{DropReason, PortId, VswitchId, WorkerId};
use engine::{Burst, Engine, EngineConfig, Inject, NextHops, NoTap, Outcome, PuntKind, Via};
use wire::buf::{HeapPacket, Packet};

/// Operation of a step: a frame as it stands, on port `argument`.
const FRAME: u8 = 0;
/// A switch packet, framed as the neighbour behind vif `argument` would.
const PACKET: u8 = 1;
/// A switch packet from the router of vswitch `argument`.
const INJECT: u8 = 2;
/// Port `argument` may send.
const TRANSMIT: u8 = 3;
/// Number of operations.
const OPS: u8 = 4;

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
}

struct Bench {
    engine: Engine<HeapPacket, Vec<u64>>,
    next_hops: NextHops,
    ledger: Ledger,
    now: u64,
}

/// Runs the steps that `input` spells and checks the books after each.
pub fn burst(input: &[u8]) {
    let config = EngineConfig {
        layout: LAYOUT,
        queue_frames: 16,
        vswitch_frames: 12,
        punts_per_second: 1000,
        punt_burst: 4,
        strangers_per_second: 0,
    };
    let mut bench = Bench {
        engine: Engine::new(WorkerId(0), config, vec![0; LAYOUT.len()]),
        next_hops: rig::next_hops(&RULES),
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
            _ => {}
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
        self.engine.transmit(&RULES, &self.next_hops, id, room, &mut tx, &mut out, &mut NoTap);
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
        let gone = ledger.sent + ledger.dropped + ledger.errors + ledger.controls;
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
