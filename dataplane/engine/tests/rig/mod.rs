//! One engine on heap packets, driven one packet at a time.
#![allow(dead_code, reason = "each test uses a part")]

use dataplane_api::counters::Layout;
use dataplane_api::spec::{LinkSpec, SchemeSpec, Session, VifSpec};
use dataplane_api::{DropReason, MacAddress, PortId, Role, Spec, VifId, VswitchSpec, WorkerId};
use dataplane_engine::{
    Burst, Compiler, Engine, EngineConfig, Inject, LinkInfo, NextHop, NextHops, NoTap, Outcome,
    PortFacts, PuntKind, Rules, Via,
};
use std::sync::{Mutex, OnceLock};
use wire::buf::{HeapPacket, Packet};
use wire::key::PublicKey;
use wire::{eth_interface, ethernet, ip, udp};

/// The `n`th key whose address lies in fc00::/8.
pub fn key(n: usize) -> PublicKey {
    static KEYS: OnceLock<Mutex<Vec<PublicKey>>> = OnceLock::new();
    let mut keys = KEYS.get_or_init(|| Mutex::new(Vec::new())).lock().unwrap();
    let mut candidate =
        keys.last().map_or(0, |key| u64::from_le_bytes(key.0[..8].try_into().unwrap()) + 1);
    while keys.len() <= n {
        let mut bytes = [0x5a; 32];
        bytes[..8].copy_from_slice(&candidate.to_le_bytes());
        if PublicKey(bytes).is_usable() {
            keys.push(PublicKey(bytes));
        }
        candidate += 1;
    }
    keys[n]
}

/// One vswitch on port p0 with plain Ethernet links at these numbers.
pub fn plain_spec(scheme: SchemeSpec, numbers: &[u16]) -> Spec {
    let vifs = numbers.iter().map(|number| ethernet_vif(*number, "p0", None)).collect();
    let public_key = key(0).to_string();
    let vswitch = VswitchSpec {
        name: "red".into(),
        tenant: 1,
        public_key,
        scheme,
        vifs,
        ..VswitchSpec::default()
    };
    Spec { vswitches: vec![vswitch], ..Spec::default() }
}

pub fn ethernet_vif(number: u16, port: &str, vlan: Option<u16>) -> VifSpec {
    let [high, low] = number.to_be_bytes();
    let link = LinkSpec::Ethernet {
        port: port.into(),
        vlan,
        local: None,
        peer: MacAddress([0x02, 0xbb, 0, 0, high, low]),
        session: Session::Plain,
    };
    VifSpec {
        number,
        role: Role::Customer,
        mtu: None,
        link: Some(link),
        policy: Default::default(),
    }
}

/// Ports p0, p1 … with one worker.
pub fn ports(n: usize) -> Vec<PortFacts> {
    (0..n)
        .map(|index| PortFacts {
            name: format!("p{index}"),
            mtu: 1500,
            workers: vec![WorkerId(0)],
            tags_visible: index == 0,
            ..PortFacts::default()
        })
        .collect()
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Sent { vif: VifId, number: u16, frame: Vec<u8>, packet: Vec<u8> },
    Control { vif: VifId, bytes: Vec<u8> },
    Error { vif: VifId, code: u32, bytes: Vec<u8> },
    Dropped(DropReason, Vec<u8>),
}

pub struct Rig {
    pub rules: Rules,
    pub engine: Engine<HeapPacket, Vec<u64>>,
    pub layout: Layout,
    pub next_hops: NextHops,
    pub ports: usize,
    now: u64,
}

impl Rig {
    pub fn new(spec: Spec) -> Self {
        Self::with_ports(&spec, &ports(2))
    }

    pub fn with_ports(spec: &Spec, ports: &[PortFacts]) -> Self {
        Self::with_limits(spec, ports, (1, 1), 0)
    }

    /// `punts`: a second and at once, of each link. `strangers`: a second.
    pub fn with_limits(
        spec: &Spec,
        ports: &[PortFacts],
        punts: (u32, u32),
        strangers_per_second: u32,
    ) -> Self {
        let rules = Compiler::new(8, 512, 0x1234_5678_9abc_def0).compile(spec, &[], ports).unwrap();
        let layout = Layout { ports: ports.len(), vifs: 512, vswitches: 8 };
        let config = EngineConfig {
            layout,
            queue_frames: 256,
            guaranteed_frames: 8,
            vswitch_frames: 128,
            punts_per_second: punts.0,
            punt_burst: punts.1,
            strangers_per_second,
            seed: 0,
        };
        let engine = Engine::new(WorkerId(0), config, vec![0; layout.len()]);
        let mut next_hops = NextHops::default();
        for vif in rules.vifs() {
            next_hops
                .set(vif.id, Some(NextHop { dst: MacAddress([2; 6]), src: MacAddress([4; 6]) }));
        }
        Self { rules, engine, layout, next_hops, ports: ports.len(), now: 0 }
    }

    pub fn counters(&mut self) -> Vec<u64> {
        self.engine.bank().clone()
    }

    pub fn vif(&self, vswitch: u16, number: u16) -> VifId {
        self.rules.vif_numbered(dataplane_api::VswitchId(vswitch), number).unwrap().id
    }

    /// `packet` as a frame of the link behind a vif.
    pub fn frame(&self, vif: VifId, packet: &[u8]) -> (PortId, Vec<u8>) {
        match self.rules.vif(vif).unwrap().link {
            LinkInfo::Ethernet { port, vlan, own, peer } => {
                let header = ethernet::Header {
                    destination: own.0,
                    source: peer.0,
                    vlan,
                    ethertype: 0xfc00,
                };
                let mut frame = vec![0; header.len()];
                assert!(header.write(&mut frame));
                frame.extend(eth_interface::header(packet.len()).unwrap());
                frame.extend(packet);
                (port, frame)
            }
            LinkInfo::Udp { port, vlan, own, peer } => {
                let mut datagram = vec![0; udp::HEADER_LEN];
                datagram.extend(packet);
                assert!(udp::write(
                    &mut datagram,
                    (peer.ip(), peer.port()),
                    (own.ip(), own.port())
                ));
                let (ip, ethertype) = match (own.ip(), peer.ip()) {
                    (std::net::IpAddr::V4(own), std::net::IpAddr::V4(peer)) => {
                        (ip::header_v4(peer, own, datagram.len()).unwrap().to_vec(), 0x0800)
                    }
                    (std::net::IpAddr::V6(own), std::net::IpAddr::V6(peer)) => {
                        (ip::header_v6(peer, own, datagram.len()).unwrap().to_vec(), 0x86dd)
                    }
                    other => panic!("{other:?}"),
                };
                let header =
                    ethernet::Header { destination: [2; 6], source: [4; 6], vlan, ethertype };
                let mut frame = vec![0; header.len()];
                assert!(header.write(&mut frame));
                frame.extend(ip);
                frame.extend(datagram);
                (port, frame)
            }
            LinkInfo::Cable { .. } => panic!("no frame comes in on a cable"),
        }
    }

    pub fn receive_on(&mut self, vswitch: u16, number: u16, packet: &[u8]) -> Verdict {
        let (port, frame) = self.frame(self.vif(vswitch, number), packet);
        self.receive(port, &frame)
    }

    /// The verdict on one frame; limiters are full again each time.
    pub fn receive(&mut self, port: PortId, frame: &[u8]) -> Verdict {
        let before = self.counters();
        let (mut burst, mut out) = (Burst::new(), Outcome::new());
        burst.push(HeapPacket::new(frame, 128, 64));
        self.now += 1_000_000_000;
        self.engine.receive(&self.rules, self.now, port, &mut burst, &mut out, &mut NoTap);
        assert!(burst.is_empty());
        self.verdict(out, &before)
    }

    pub fn inject(&mut self, vswitch: u16, packet: &[u8]) -> Verdict {
        let via = Via::Router(dataplane_api::VswitchId(vswitch));
        self.inject_via(Inject { frame: HeapPacket::new(packet, 128, 64), via })
    }

    pub fn inject_via(&mut self, item: Inject<HeapPacket>) -> Verdict {
        let before = self.counters();
        let mut out = Outcome::new();
        self.engine.inject(&self.rules, self.now, item, &mut out, &mut NoTap);
        self.verdict(out, &before)
    }

    /// Sends what is queued and says where the one packet went.
    fn verdict(&mut self, mut out: Outcome<HeapPacket>, before: &[u64]) -> Verdict {
        let mut sent = None;
        for port in 0..self.ports {
            let port = PortId(u16::try_from(port).unwrap());
            let mut tx = Burst::new();
            self.engine.transmit(
                &self.rules,
                &self.next_hops,
                0,
                port,
                64,
                &mut tx,
                &mut out,
                &mut NoTap,
            );
            if let Some(frame) = tx.pop() {
                assert!(tx.is_empty() && sent.is_none(), "one frame in, several out");
                sent = Some((port, frame));
            }
        }
        assert_eq!(self.engine.frames_held(), 0);
        assert_eq!(
            out.frames() + usize::from(sent.is_some()),
            1,
            "each frame ends in exactly one place"
        );
        if let Some((port, frame)) = sent {
            return self.sent(port, frame.bytes(), before);
        }
        if let Some(punt) = out.punts.pop() {
            let bytes = punt.frame.bytes().to_vec();
            return match punt.kind {
                PuntKind::Control => Verdict::Control { vif: punt.vif, bytes },
                PuntKind::Router | PuntKind::Handshake => panic!("no link of this rig has keys"),
                PuntKind::Error { code } => Verdict::Error { vif: punt.vif, code, bytes },
            };
        }
        let frame = out.free.pop().unwrap();
        Verdict::Dropped(self.drop_since(before), frame.bytes().to_vec())
    }

    /// The one drop counter that moved, by one.
    pub fn drop_since(&mut self, before: &[u64]) -> DropReason {
        let moved = self.drops_since(before);
        assert_eq!(moved.len(), 1, "a dropped packet moves one drop counter: {moved:?}");
        moved[0]
    }

    /// Each drop that was counted, in the order of reasons.
    pub fn drops_since(&mut self, before: &[u64]) -> Vec<DropReason> {
        let after = self.counters();
        let mut moved = Vec::new();
        for reason in DropReason::ALL.iter().copied() {
            let ports = (0..self.layout.ports)
                .map(|p| self.layout.port_drop(PortId(u16::try_from(p).unwrap()), reason));
            let vswitches = (0..self.layout.vswitches).map(|v| {
                self.layout
                    .vswitch_drop(dataplane_api::VswitchId(u16::try_from(v).unwrap()), reason)
            });
            for slot in ports.chain(vswitches) {
                moved.extend((before[slot]..after[slot]).map(|_| reason));
            }
        }
        moved
    }

    fn sent(&mut self, port: PortId, frame: &[u8], before: &[u64]) -> Verdict {
        let after = self.counters();
        let is_up = |slot: usize| after[slot] != before[slot];
        let vif = self
            .rules
            .vifs()
            .filter(|vif| vif.port() == Some(port))
            .find(|vif| {
                is_up(
                    self.layout.vif(vif.id)
                        + dataplane_api::counters::VifCounter::TxPackets as usize,
                )
            })
            .unwrap();
        // Read back by the wire's own parsers: these headers are checked against etherparse in its tests.
        let header = ethernet::Header::parse(frame).unwrap();
        let payload = &frame[header.len()..];
        let packet = match header.ethertype {
            0xfc00 => payload[6..6 + eth_interface::parse(payload).unwrap()].to_vec(),
            ethertype => {
                let ip =
                    if ethertype == 0x0800 { ip::parse_v4(payload) } else { ip::parse_v6(payload) }
                        .unwrap();
                let datagram = &payload[ip.header_len..ip.header_len + ip.payload_len];
                assert!(udp::is_right(datagram, ip.source, ip.destination), "UDP checksum");
                datagram[udp::HEADER_LEN..].to_vec()
            }
        };
        Verdict::Sent { vif: vif.id, number: vif.number, frame: frame.to_vec(), packet }
    }
}
