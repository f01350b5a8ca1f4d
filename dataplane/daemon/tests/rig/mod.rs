//! A dataplane in threads of the test, between the far ends of memory ports.
#![expect(clippy::unwrap_used, reason = "part of a test")]
#![allow(dead_code, reason = "each test uses a part")]

use dataplane_api::counters::{PortCounter, WorkerCounter};
use dataplane_api::{
    CableSpec, DropReason, Generation, LinkSpec, MacAddress, PortId, Role, SchemeSpec, Session,
    Spec, VifName, VifSpec, VswitchSpec, WorkerId,
};
use dataplane_client::Client;
use dataplane_client::CounterFile;
use dataplane_daemon::config::{Backend, Port as PortConfig};
use dataplane_daemon::{
    Config, Dataplane, Hosting, Memory, MemoryPorts, StopHandle, clock, machine, plan,
};
use io::memory::{MemoryPort, wire as memory_wire};
use io::{Burst, Frame, Pool, Port};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use wire::buf::Packet;
use wire::{eth_interface, ethernet};

/// Frames that belong to the test; those of packets that are dropped stay with the box.
const FRAMES: usize = 32_768;
/// From red over the cable to blue itself: red's vif 4 (v358: 1001), then blue's own director.
pub(crate) const CABLE_LABEL: u64 = 0b1_1001;
/// From red to the neighbour on port west.
pub(crate) const NEIGHBOUR_LABEL: u64 = 0b1_0101;
/// From the west neighbour through red and blue to the east neighbour: red 4, then blue 2 (v358: 0101).
const ACROSS_LABEL: u64 = 1 << 63 | 0b1_0101_1001;
const UNKNOWN_LABEL: u64 = 1 << 63 | 0b1_1111;

const WEST_OWN: MacAddress = MacAddress([2, 0, 0, 0, 1, 0]);
const WEST_PEER: MacAddress = MacAddress([2, 0, 0, 0, 1, 2]);
const EAST_OWN: MacAddress = MacAddress([2, 0, 0, 0, 2, 0]);
const EAST_PEER: MacAddress = MacAddress([2, 0, 0, 0, 2, 2]);

/// Red on port west, blue on port east, a cable between them.
pub(crate) fn spec(generation: u64) -> Spec {
    let vswitch = |name: &str, key: &str, port: &str, own, peer| VswitchSpec {
        name: name.into(),
        tenant: 1,
        public_key: key.into(),
        scheme: SchemeSpec::V358,
        vifs: vec![
            VifSpec {
                number: 2,
                role: Role::Customer,
                mtu: None,
                link: Some(LinkSpec::Ethernet {
                    port: port.into(),
                    vlan: None,
                    local: Some(own),
                    peer,
                    session: Session::Plain,
                }),
                policy: Default::default(),
            },
            VifSpec {
                number: 4,
                role: Role::Customer,
                mtu: None,
                link: None,
                policy: Default::default(),
            },
        ],
        ..VswitchSpec::default()
    };
    let end = |name: &str| VifName { vswitch: name.into(), vif: 4 };
    Spec {
        generation: Generation(generation),
        vswitches: vec![
            vswitch(
                "red",
                "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k",
                "west",
                WEST_OWN,
                WEST_PEER,
            ),
            vswitch(
                "blue",
                "jfkgsxfbfv4u8351l47j6dtxc42gp66n1zm65nmnlcf2qklvk8t0.k",
                "east",
                EAST_OWN,
                EAST_PEER,
            ),
        ],
        cables: vec![CableSpec { a: end("red"), b: end("blue") }],
        ..Spec::default()
    }
}

/// Waits until `done`, at most ten seconds.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + 10_000_000_000;
    while !done() {
        assert!(clock::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) struct Rig {
    dir: TempDir,
    stop: StopHandle,
    server: JoinHandle<anyhow::Result<()>>,
    west: MemoryPort<'static>,
    east: MemoryPort<'static>,
    pool: Pool<'static>,
    workers: usize,
    sent: u64,
    received: u64,
}

impl Rig {
    pub(crate) fn start(workers: usize, spec: Option<Spec>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), workers, spec)
    }

    pub(crate) fn start_in(dir: TempDir, workers: usize, spec: Option<Spec>) -> Self {
        let mut config = Config::default();
        config.process.socket = dir.path().join("socket");
        config.process.counters = dir.path().join("counters");
        config.process.state_dir = dir.path().join("state");
        config.workers.count = workers;
        config.workers.idle_rounds = 100;
        config.limits.vswitches = 8;
        config.limits.vifs = 64;
        let port = |name: &str| PortConfig {
            backend: Backend::Memory,
            rx_entries: 1024,
            ..PortConfig::named(name)
        };
        config.ports = vec![port("west"), port("east")];
        let mut plan = plan::plan(&config, &machine::look(&config).unwrap()).unwrap();
        plan.frames += FRAMES;
        // Two cores are enough to share; pinning would make tests of one machine wait for each other.
        plan.workers = vec![None; workers];
        let mut memory = Memory::allocate(&plan).unwrap();
        let all = plan.frames;
        let pool = memory.frames.split(FRAMES, all);
        let (west, box_west) = memory_wire(1024);
        let (east, box_east) = memory_wire(1024);
        let ports = MemoryPorts::from([
            ("west".to_owned(), vec![box_west]),
            ("east".to_owned(), vec![box_east]),
        ]);
        let dataplane = Dataplane::start(plan, memory, ports, spec, Hosting::Guest).unwrap();
        let stop = dataplane.stop_handle();
        let server = std::thread::spawn(move || dataplane.serve());
        Self { dir, stop, server, west, east, pool, workers, sent: 0, received: 0 }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket()).unwrap()
    }

    pub(crate) fn counters(&self) -> CounterFile {
        CounterFile::open(&self.dir.path().join("counters")).unwrap()
    }

    pub(crate) fn handed_off(&self) -> u64 {
        let counters = self.counters();
        (0..self.workers)
            .map(|worker| {
                counters.worker(WorkerId(u8::try_from(worker).unwrap()), WorkerCounter::HandedOff)
            })
            .sum()
    }

    fn frame(pool: &mut Pool<'static>, label: u64, serial: u64) -> Frame<'static> {
        let mut packet = vec![0; 64];
        packet[..8].copy_from_slice(&label.to_be_bytes());
        packet[16..24].copy_from_slice(&serial.to_be_bytes());
        let header = ethernet::Header {
            destination: WEST_OWN.0,
            source: WEST_PEER.0,
            vlan: None,
            ethertype: ethernet::ETHERTYPE_CJDNS,
        };
        let mut bytes = vec![0; header.len()];
        assert!(header.write(&mut bytes));
        bytes.extend(eth_interface::header(packet.len()).unwrap());
        bytes.extend(packet);
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(&bytes));
        frame
    }

    fn put(&mut self, label: u64) -> bool {
        if self.west.room() == 0 {
            return false;
        }
        let mut burst = Burst::new();
        burst.push(Self::frame(&mut self.pool, label, self.sent));
        self.sent += self.west.transmit(&mut burst) as u64;
        true
    }

    /// Sends `n` packets across, as fast as the wire takes them, and takes whatever arrives.
    pub(crate) fn send(&mut self, n: u64) {
        let end = self.sent + n;
        eventually("the wire takes packets", || {
            while self.sent < end && self.put(ACROSS_LABEL) {}
            self.take();
            self.sent == end
        });
    }

    /// The same, not faster than they arrive, so that none is lost; checks that they arrive in order.
    pub(crate) fn send_and_check(&mut self, n: u64) {
        let end = self.sent + n;
        eventually("packets arrive", || {
            while self.sent < end && self.sent - self.received < 256 && self.put(ACROSS_LABEL) {}
            self.take();
            self.received == end
        });
    }

    /// The same, after packets that never arrive were sent.
    pub(crate) fn send_and_check_more(&mut self, n: u64) {
        self.sent = self.received;
        self.send_and_check(n);
    }

    /// A packet whose label names no vif.
    pub(crate) fn send_unknown_vif(&mut self) {
        assert!(self.put(UNKNOWN_LABEL));
    }

    fn take(&mut self) {
        let mut burst = Burst::new();
        while self.east.receive(&mut self.pool, &mut burst) > 0 {
            for frame in burst.drain(..) {
                let bytes = frame.bytes();
                assert_eq!((&bytes[..6], &bytes[6..12]), (&EAST_PEER.0[..], &EAST_OWN.0[..]));
                self.received += 1;
                self.pool.put(frame);
            }
        }
    }

    /// Stops it and hands back the directory, for another start there.
    pub(crate) fn stop(self) -> TempDir {
        self.stop.stop();
        self.server.join().unwrap().unwrap();
        self.dir
    }

    /// Sends `n` packets to a far end that reads none.
    pub(crate) fn send_unread(&mut self, n: u64) {
        let end = self.sent + n;
        eventually("the wire takes packets", || {
            while self.sent < end && self.put(ACROSS_LABEL) {}
            self.sent == end
        });
    }

    /// Stops it while the far end reads on, as a wire does; every packet is accounted for. Returns all named drops.
    pub(crate) fn stop_and_account(mut self) -> Vec<(&'static str, u64)> {
        self.stop.stop();
        eventually("the dataplane ends", || {
            self.take();
            self.server.is_finished()
        });
        self.account()
    }

    /// The same, while the far end reads nothing until it is over.
    pub(crate) fn stop_unread_and_account(self) -> Vec<(&'static str, u64)> {
        self.stop.stop();
        eventually("the dataplane ends", || self.server.is_finished());
        self.account()
    }

    /// Every packet that was sent was received or has a named drop.
    fn account(mut self) -> Vec<(&'static str, u64)> {
        let counters = self.counters();
        self.take();
        let drops = counters.all_drops();
        let named: Vec<_> = DropReason::ALL
            .iter()
            .zip(drops)
            .filter(|(_, n)| *n > 0)
            .map(|(reason, n)| (reason.name(), n))
            .collect();
        assert_eq!(
            self.sent,
            self.received + drops.iter().sum::<u64>(),
            "{named:?}, received {}",
            self.received
        );
        assert_eq!(counters.port(PortId(0), PortCounter::RxFrames), self.sent);
        assert_eq!(counters.port(PortId(1), PortCounter::TxFrames), self.received);
        self.server.join().unwrap().unwrap();
        named
    }
}
