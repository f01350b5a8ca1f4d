//! The tracker beside a kernel that is a few maps.

use super::*;
use std::net::Ipv4Addr;

const PORT: u32 = 3;
const OTHER: u32 = 4;
const TAGGED: u32 = 5;
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// A kernel as far as it is asked, and a tracker that asks it.
struct Bench {
    tracker: Tracker,
    now: Nanos,
    devices: Vec<Device>,
    addresses: Vec<OwnAddress>,
    routes: BTreeMap<IpAddr, Route>,
    neighbours: BTreeMap<Place, ([u8; 6], NeighbourState)>,
    asked: Vec<Command>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn place(address: &str) -> Place {
    Place { device: PORT, address: ip(address) }
}

fn device(index: u32, name: &str, vlan: Option<(u32, u16)>) -> Device {
    Device { index, name: name.into(), mac: Some(OWN_MAC), loopback: name == "lo", vlan }
}

fn route(device: u32, gateway: Option<&str>) -> Route {
    Route { kind: RouteKind::Unicast, device, gateway: gateway.map(ip), source: None }
}

fn link(vif: u32, own: &str, peer: &str) -> UdpLink {
    UdpLink {
        vif: VifId(vif),
        name: format!("red/{vif}"),
        port: "eth1".into(),
        has_device: true,
        vlan: None,
        own: ip(own),
        peer: ip(peer),
    }
}

impl Bench {
    fn new(links: Vec<UdpLink>) -> Self {
        let at = |address: &str, device| OwnAddress { address: ip(address), device };
        let mut tracker = Tracker::default();
        tracker.set_links(links);
        Self {
            tracker,
            now: SECOND,
            devices: vec![
                device(1, "lo", None),
                device(PORT, "eth1", None),
                device(OTHER, "eth2", None),
            ],
            addresses: vec![at("10.0.0.1", PORT), at("fd00::1", PORT), at("10.2.0.1", OTHER)],
            routes: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// One with a resolved link to 10.0.0.2.
    fn resolved() -> Self {
        let mut bench = Self::new(vec![link(1, "10.0.0.1", "10.0.0.2")]);
        bench.routes.insert(ip("10.0.0.2"), route(PORT, None));
        bench.know("10.0.0.2", PEER_MAC, NeighbourState::Reachable);
        bench.run();
        assert_eq!(bench.mac(1), Some(PEER_MAC));
        bench
    }

    fn know(&mut self, address: &str, mac: [u8; 6], state: NeighbourState) {
        self.neighbours.insert(place(address), (mac, state));
    }

    /// Answers all commands of this moment. Whether the table became another.
    fn run(&mut self) -> bool {
        let mut differs = false;
        loop {
            differs |= self.tracker.settle(self.now);
            let commands = self.tracker.commands(self.now);
            if commands.is_empty() {
                return differs;
            }
            commands.into_iter().for_each(|command| self.answer(command));
        }
    }

    fn answer(&mut self, command: Command) {
        self.asked.push(command);
        match command {
            Command::Devices => self.tracker.devices(self.devices.clone()),
            Command::Addresses => self.tracker.addresses(self.addresses.clone()),
            Command::Route(flow) => {
                self.tracker.route(flow, self.routes.get(&flow.peer).copied());
            }
            Command::Neighbour(place) => {
                let absent = ([0; 6], NeighbourState::Absent);
                let (mac, state) = self.neighbours.get(&place).copied().unwrap_or(absent);
                let Place { device, address } = place;
                let mac = (mac != [0; 6]).then_some(mac);
                let found = Neighbour { device, address, mac, state };
                self.tracker.neighbour(&found, self.now);
            }
            Command::Probe(place) => self.tracker.probe(place, None),
        }
    }

    /// Lets time pass, in steps of the management thread.
    fn wait(&mut self, time: Nanos) {
        let end = self.now + time;
        while self.now < end {
            self.now += SECOND / 10;
            self.run();
        }
    }

    fn mac(&self, vif: u32) -> Option<[u8; 6]> {
        self.tracker.table().next_hop(VifId(vif)).map(|hop| {
            assert_eq!(hop.src.0, OWN_MAC);
            hop.dst.0
        })
    }

    fn probes(&mut self) -> usize {
        let asked = std::mem::take(&mut self.asked);
        asked.iter().filter(|command| matches!(command, Command::Probe(_))).count()
    }

    fn notice(&self) -> String {
        self.tracker.notices().join("|")
    }
}

#[test]
fn a_peer_on_the_wire_and_one_behind_a_gateway_are_resolved() {
    let mut bench = Bench::new(vec![
        link(1, "10.0.0.1", "10.0.0.2"),
        link(2, "10.0.0.1", "192.0.2.7"),
        link(3, "fd00::1", "2001:db8::7"),
    ]);
    bench.routes.insert(ip("10.0.0.2"), route(PORT, None));
    bench.routes.insert(ip("192.0.2.7"), route(PORT, Some("10.0.0.254")));
    bench.routes.insert(ip("2001:db8::7"), route(PORT, Some("fe80::1")));
    bench.know("10.0.0.2", PEER_MAC, NeighbourState::Reachable);
    bench.know("10.0.0.254", GATEWAY_MAC, NeighbourState::Stale);
    bench.know("fe80::1", GATEWAY_MAC, NeighbourState::Permanent);
    assert!(bench.run());
    let macs = [1, 2, 3].map(|vif| bench.mac(vif));
    assert_eq!(macs, [Some(PEER_MAC), Some(GATEWAY_MAC), Some(GATEWAY_MAC)]);
    assert_eq!(bench.notice(), "");
    // The stale one is used at once, so that the kernel asks it again; the permanent one is left alone.
    assert!(bench.asked.contains(&Command::Probe(place("10.0.0.254"))));
    assert!(!bench.asked.contains(&Command::Probe(place("fe80::1"))));
}

#[test]
fn nothing_new_publishes_nothing() {
    let mut bench = Bench::resolved();
    for forget in [Tracker::forget_devices, Tracker::forget_addresses, Tracker::forget_routes] {
        forget(&mut bench.tracker);
        bench.now += SECOND;
        assert!(!bench.run());
    }
    bench.tracker.forget_all(bench.now);
    assert!(!bench.run());
    assert_eq!(bench.mac(1), Some(PEER_MAC));
}

#[test]
fn each_reason_is_said_in_a_sentence() {
    let said = |change: &dyn Fn(&mut Bench, &mut UdpLink), part: &str| {
        let mut link = link(1, "10.0.0.1", "10.0.0.2");
        let mut bench = Bench::new(Vec::new());
        bench.routes.insert(ip("10.0.0.2"), route(PORT, None));
        bench.know("10.0.0.2", PEER_MAC, NeighbourState::Reachable);
        change(&mut bench, &mut link);
        bench.tracker.set_links(vec![link]);
        bench.run();
        assert_eq!(bench.mac(1), None, "{part}");
        assert!(bench.notice().starts_with("red/1: "), "{}", bench.notice());
        assert!(bench.notice().contains(part), "{}", bench.notice());
    };
    said(&|_, link| link.port = "eth9".into(), "port eth9 has no network device");
    said(&|_, link| link.has_device = false, "port eth1 has no network device");
    said(&|_, link| link.vlan = Some(7), "no device for vlan 7");
    said(&|bench, _| bench.devices[1].mac = None, "no Ethernet address");
    said(&|_, link| link.own = ip("10.0.0.9"), "this machine has no address 10.0.0.9");
    said(&|_, link| link.own = ip("10.2.0.1"), "10.2.0.1 is on device eth2, not on eth1");
    said(&|bench, _| bench.routes.clear(), "there is no route to 10.0.0.2");
    let by_other = |bench: &mut Bench, _: &mut UdpLink| {
        bench.routes.insert(ip("10.0.0.2"), route(OTHER, None));
    };
    said(&by_other, "the route to 10.0.0.2 leaves by device eth2, not by eth1");
    for (kind, part) in [
        (RouteKind::Local, "10.0.0.2 is an address of this machine"),
        (RouteKind::Other, "there is no route to 10.0.0.2"),
    ] {
        let of_kind = |bench: &mut Bench, _: &mut UdpLink| {
            bench.routes.insert(ip("10.0.0.2"), Route { kind, ..route(PORT, None) });
        };
        said(&of_kind, part);
    }
    let failed = |bench: &mut Bench, _: &mut UdpLink| {
        bench.know("10.0.0.2", [0; 6], NeighbourState::Failed);
    };
    said(&failed, "10.0.0.2 does not answer on device eth1");
}

#[test]
fn an_order_that_the_kernel_refuses_is_said_until_the_neighbour_is_there() {
    let mut bench = Bench::new(vec![link(1, "10.0.0.1", "10.0.0.2")]);
    bench.routes.insert(ip("10.0.0.2"), route(PORT, None));
    bench.run();
    assert_eq!(bench.notice(), "", "it is being asked");
    bench.tracker.probe(place("10.0.0.2"), Some("not permitted".into()));
    bench.run();
    assert!(bench.notice().contains("not permitted"));
    bench.know("10.0.0.2", PEER_MAC, NeighbourState::Permanent);
    bench.wait(2 * SECOND);
    assert_eq!((bench.mac(1), bench.notice()), (Some(PEER_MAC), String::new()));
}

#[test]
fn an_own_address_on_the_loopback_will_do() {
    let mut bench = Bench::resolved();
    bench.addresses[0].device = 1;
    bench.tracker.forget_addresses();
    bench.now += WINDOW;
    bench.run();
    assert!(bench.tracker.addresses.contains(&bench.addresses[0]));
    assert_eq!(bench.mac(1), Some(PEER_MAC));
}

#[test]
fn an_address_outlives_its_entry_while_the_neighbour_is_asked_again() {
    let mut bench = Bench::resolved();
    bench.wait(2 * SECOND);
    bench.probes();
    bench.neighbours.clear();
    bench.tracker.forget_neighbour(place("10.0.0.2"), bench.now);
    assert!(!bench.run());
    assert_eq!((bench.mac(1), bench.probes()), (Some(PEER_MAC), 1));
    // Another one answers: that is the neighbour now.
    bench.know("10.0.0.2", GATEWAY_MAC, NeighbourState::Reachable);
    bench.tracker.forget_neighbour(place("10.0.0.2"), bench.now);
    assert!(bench.run());
    assert_eq!(bench.mac(1), Some(GATEWAY_MAC));
    // Nobody answers, and the kernel forgets to say so.
    bench.neighbours.clear();
    bench.wait(HOLD + REFRESH + 2 * ATTENTION);
    assert_eq!(bench.mac(1), None);
    assert!(bench.notice().contains("does not answer"));
}

#[test]
fn a_neighbour_that_the_kernel_gave_up_is_forgotten_at_once_and_asked_ever_more_slowly() {
    let mut bench = Bench::resolved();
    bench.know("10.0.0.2", [0; 6], NeighbourState::Failed);
    bench.tracker.forget_neighbour(place("10.0.0.2"), bench.now);
    assert!(bench.run());
    assert_eq!(bench.mac(1), None);
    bench.probes();
    bench.wait(60 * SECOND);
    let probes = bench.probes();
    assert!((7..=12).contains(&probes), "{probes}");
    bench.know("10.0.0.2", PEER_MAC, NeighbourState::Reachable);
    bench.wait(2 * SECOND);
    assert_eq!((bench.mac(1), bench.notice()), (Some(PEER_MAC), String::new()));
}

#[test]
fn a_neighbour_that_answers_is_kept_in_use_and_a_permanent_one_left_alone() {
    let mut bench = Bench::resolved();
    bench.probes();
    bench.wait(40 * SECOND);
    let probes = bench.probes();
    assert!((9..=11).contains(&probes), "{probes}");
    bench.know("10.0.0.2", PEER_MAC, NeighbourState::Permanent);
    bench.wait(2 * REFRESH);
    bench.probes();
    bench.wait(40 * SECOND);
    assert_eq!(bench.probes(), 0);
}

#[test]
fn a_route_that_moves_to_a_gateway_takes_the_link_along() {
    let mut bench = Bench::resolved();
    bench.know("10.0.0.254", GATEWAY_MAC, NeighbourState::Reachable);
    bench.routes.insert(ip("10.0.0.2"), route(PORT, Some("10.0.0.254")));
    bench.tracker.forget_routes();
    bench.now += WINDOW;
    assert!(bench.run());
    assert_eq!(bench.mac(1), Some(GATEWAY_MAC));
    // A change that nobody told of is found some time later.
    bench.routes.insert(ip("10.0.0.2"), route(PORT, None));
    bench.wait(ROUTE_INTERVAL + SECOND);
    assert_eq!(bench.mac(1), Some(PEER_MAC));
}

#[test]
fn a_tagged_link_follows_the_vlan_device() {
    let mut bench = Bench::new(vec![UdpLink { vlan: Some(7), ..link(1, "10.7.0.1", "10.7.0.2") }]);
    bench.devices.push(device(TAGGED, "whatever", Some((PORT, 7))));
    bench.addresses.push(OwnAddress { address: ip("10.7.0.1"), device: TAGGED });
    bench.routes.insert(ip("10.7.0.2"), route(TAGGED, None));
    let there = Place { device: TAGGED, address: ip("10.7.0.2") };
    bench.neighbours.insert(there, (PEER_MAC, NeighbourState::Reachable));
    bench.run();
    assert_eq!((bench.mac(1), bench.notice()), (Some(PEER_MAC), String::new()));
}

#[test]
fn link_local_addresses_are_asked_for_on_their_wire() {
    let mut bench = Bench::new(vec![link(1, "fe80::1", "fe80::2")]);
    bench.addresses.push(OwnAddress { address: ip("fe80::1"), device: PORT });
    bench.run();
    let (own, peer) = (ip("fe80::1"), ip("fe80::2"));
    assert!(bench.asked.contains(&Command::Route(Flow { own, peer, device: Some(PORT) })));
}

#[test]
fn many_links_are_asked_for_piece_by_piece_and_forgotten_whole() {
    let peer = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n));
    let links: Vec<UdpLink> =
        (0..5000).map(|n| UdpLink { peer: peer(n), ..link(n, "10.0.0.1", "10.0.0.2") }).collect();
    let mut bench = Bench::new(links);
    for n in 0..5000 {
        bench.routes.insert(peer(n), route(PORT, None));
        let at = Place { device: PORT, address: peer(n) };
        bench.neighbours.insert(at, (PEER_MAC, NeighbourState::Permanent));
    }
    let mut windows = 0;
    while (0..5000).any(|n| bench.mac(n).is_none()) {
        bench.run();
        assert!(bench.asked.len() <= COMMANDS_MAX, "{}", bench.asked.len());
        bench.asked.clear();
        bench.now += WINDOW;
        windows += 1;
        assert!(windows < 50, "some link is never looked at");
    }
    bench.routes.clear();
    bench.tracker.forget_routes();
    for _ in 0..20 {
        bench.now += WINDOW;
        bench.run();
    }
    assert_eq!(bench.tracker.notices().len(), NOTICES_MAX + 1);
    assert!(bench.notice().ends_with("4984 more UDP links are unresolved"));
    bench.tracker.set_links(Vec::new());
    bench.run();
    assert!(bench.tracker.schedule.is_empty() && bench.tracker.notices().is_empty());
    bench.asked.clear();
    bench.wait(SECOND);
    assert!(bench.asked.is_empty());
}

#[test]
fn an_address_that_no_station_has_is_no_next_hop() {
    let mut bench = Bench::resolved();
    bench.know("10.0.0.2", [3, 0, 0, 0, 0, 1], NeighbourState::Permanent);
    bench.tracker.forget_neighbour(place("10.0.0.2"), bench.now);
    bench.run();
    assert_eq!(bench.mac(1), None);
}
