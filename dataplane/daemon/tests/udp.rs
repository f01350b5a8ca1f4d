//! The process itself between veth pairs, over AF_XDP: UDP links to neighbours that are plain kernels with addresses.
//! Their own UDP sockets judge what arrives: a frame to another MAC address, or with a wrong checksum, does not get there.
//! Needs the right to make namespaces.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is tests"
)]

use dataplane_api::status::{Status, VifStatus};
use dataplane_api::{
    DropReason, Generation, LinkSpec, MacAddress, Role, SchemeSpec, Session, Spec, VifSpec,
    VswitchSpec,
};
use dataplane_client::Client;
use dataplane_client::CounterFile;
use dataplane_daemon::clock;
use io::netlink::{NeighbourState, Netlink};
use lab::{End, Namespace, may, veth};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use traffic::af_packet::AfPacket;
use traffic::{Link, WireEnd};
use wire::switch;
use zerocopy::IntoBytes;

const BOX_WEST: MacAddress = MacAddress([2, 0, 0, 0, 1, 1]);
const BOX_EAST: MacAddress = MacAddress([2, 0, 0, 0, 2, 1]);
const FAR: MacAddress = MacAddress([2, 0, 0, 0, 2, 2]);
const PEER: MacAddress = MacAddress([2, 0, 0, 0, 1, 2]);
const PEER_LATER: MacAddress = MacAddress([2, 0, 0, 0, 1, 0x22]);
const GATE: MacAddress = MacAddress([2, 0, 0, 0, 1, 3]);

/// Vif numbers: the far end, over Ethernet; the peer on the wire; addresses behind a gateway; one that does not answer;
/// one without a route.
const EAST: u16 = 2;
const DIRECT: [u16; 2] = [3, 4];
const ROUTED: [u16; 2] = [5, 6];
const SILENT: u16 = 7;
const UNROUTED: u16 = 8;

/// Own and peer address of a UDP link; its ports are 4000 and 5000 and the vif's number.
fn addresses(vif: u16) -> (SocketAddr, SocketAddr) {
    let (own, peer) = match vif {
        3 => ("10.9.0.1", "10.9.0.2"),
        4 => ("fd09::1", "fd09::2"),
        5 => ("10.9.0.1", "10.66.0.2"),
        6 => ("fd09::1", "fd66::2"),
        7 => ("10.9.0.1", "10.9.0.99"),
        _ => ("10.9.0.1", "10.77.0.2"),
    };
    let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
    (at(own, 4000 + vif), at(peer, 5000 + vif))
}

fn spec(generation: u64, udp: &[u16]) -> Spec {
    let vif = |number, link| VifSpec {
        number,
        role: Role::Customer,
        mtu: None,
        link: Some(link),
        policy: Default::default(),
    };
    let far = LinkSpec::Ethernet {
        port: "e0".into(),
        vlan: None,
        local: Some(BOX_EAST),
        peer: FAR,
        session: Session::Plain,
    };
    let mut vifs = vec![vif(EAST, far)];
    for number in udp {
        let (local, peer) = addresses(*number);
        let (port, session) = ("w0".into(), Session::Plain);
        vifs.push(vif(*number, LinkSpec::Udp { port, vlan: None, local, peer, session }));
    }
    let vswitch = VswitchSpec {
        name: "red".into(),
        tenant: 1,
        public_key: "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k".into(),
        scheme: SchemeSpec::V358,
        vifs,
        ..VswitchSpec::default()
    };
    Spec { generation: Generation(generation), vswitches: vec![vswitch], ..Spec::default() }
}

/// Waits until `done`, longer than any of this takes on a machine that is busy with others, and less than the 30 s after
/// which routes are asked for without a word of the kernel.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + 20_000_000_000;
    while !done() {
        assert!(clock::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A box with the process in it. West of it a wire with two neighbours, east of it the far end.
struct Network {
    dir: TempDir,
    process: Child,
    far: AfPacket,
    serial: u64,
    here: Namespace,
    peer: Namespace,
    gate: Namespace,
    _hub: Namespace,
    _east: Namespace,
}

impl Network {
    fn new() -> Self {
        let [here, hub, peer, gate, east] = [(); 5].map(|()| Namespace::new().unwrap());
        let end = |namespace, name, mac: MacAddress| End { namespace, name, mac: mac.0 };
        hub.ip(&["link", "add", "name", "wire", "type", "bridge"]).unwrap();
        hub.ip(&["link", "set", "wire", "up"]).unwrap();
        for (port, namespace, name, mac) in
            [("h0", &here, "w0", BOX_WEST), ("h1", &peer, "p0", PEER), ("h2", &gate, "g0", GATE)]
        {
            let hub_end = end(&hub, port, MacAddress([2, 0, 0, 0, 9, mac.0[5]]));
            veth(end(namespace, name, mac), hub_end, 1500, 1).unwrap();
            hub.ip(&["link", "set", port, "master", "wire"]).unwrap();
        }
        veth(end(&here, "e0", BOX_EAST), end(&east, "f0", FAR), 1500, 1).unwrap();
        for (namespace, device, last) in [(&here, "w0", 1), (&peer, "p0", 2), (&gate, "g0", 3)] {
            give(namespace, device, &format!("10.9.0.{last}/24"), &format!("fd09::{last}/64"));
        }
        for namespace in [&peer, &gate] {
            namespace.sysctl("ipv6/conf/lo/disable_ipv6", "0").unwrap();
            give(namespace, "lo", "10.66.0.2/32", "fd66::2/128");
        }
        // A change of its address is told to the neighbours, as operating systems of routers do.
        peer.sysctl("ipv4/conf/p0/arp_notify", "1").unwrap();
        peer.sysctl("ipv6/conf/p0/ndisc_notify", "1").unwrap();
        let far = east.run(|| AfPacket::open("f0")).unwrap().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let process = start(&here, &dir);
        Self { dir, process, far, serial: 0, here, peer, gate, _hub: hub, _east: east }
    }

    /// A client, as soon as the process listens.
    fn client(&self) -> Client {
        let mut client = None;
        eventually("the process listens", || {
            client = Client::connect(&self.dir.path().join("socket")).ok();
            client.is_some()
        });
        client.unwrap()
    }

    /// Unread datagrams of a link's peer arrive here.
    fn socket(namespace: &Namespace, vif: u16) -> UdpSocket {
        let (own, peer) = addresses(vif);
        let socket = namespace.run(|| UdpSocket::bind(peer)).unwrap().unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(own).unwrap();
        socket
    }

    fn packet(&mut self, label: u64) -> Vec<u8> {
        self.serial += 1;
        let header = switch::Header::new(label, 0);
        [header.as_bytes(), &[0; 4], &self.serial.to_be_bytes(), &[7; 100]].concat()
    }

    /// The far end sends a packet by this vif.
    fn send(&mut self, vif: &VifStatus) -> u64 {
        let packet = self.packet(u64::from_str_radix(&vif.label, 16).unwrap());
        let link = Link::Ethernet { source: FAR, destination: BOX_EAST, vlan: None };
        let _offer = self.far.offer(&link.frame(&packet).unwrap());
        self.far.flush();
        self.serial
    }

    /// Packets of the far end get to this socket.
    fn reaches(&mut self, vif: &VifStatus, socket: &UdpSocket, what: &str) {
        let first = self.serial + 1;
        let mut bytes = [0; 2048];
        eventually(what, || {
            self.send(vif);
            // Not what was on its way before.
            let serial = |bytes: &[u8]| Some(u64::from_be_bytes(*bytes.get(16..)?.first_chunk()?));
            let receive = || match socket.recv(&mut bytes) {
                Ok(len) => Some(serial(&bytes[..len])),
                // Anything else is an ICMP error that the box answered with.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{what}");
                    None
                }
            };
            std::iter::from_fn(receive).any(|serial| serial >= Some(first))
        });
    }

    /// Packets that this socket sends get to the far end.
    fn returns(&mut self, east: &VifStatus, socket: &UdpSocket) {
        let label = u64::from_str_radix(&east.label, 16).unwrap();
        let first = self.serial + 1;
        eventually("packets of the peer cross", || {
            socket.send(&self.packet(label)).unwrap();
            let mut came = false;
            self.far
                .receive(&mut |frame| {
                    let Some((Link::Ethernet { .. }, packet)) = Link::parse(frame) else { return };
                    let serial = packet.get(16..).and_then(|rest| rest.first_chunk());
                    came |= serial.is_some_and(|serial| u64::from_be_bytes(*serial) >= first);
                })
                .unwrap();
            came
        });
    }

    fn unresolved_drops(&self) -> u64 {
        let counters = CounterFile::open(&self.dir.path().join("counters")).unwrap();
        let unresolved = DropReason::ALL.iter().zip(counters.all_drops());
        unresolved.filter(|(reason, _)| **reason == DropReason::Unresolved).map(|(_, n)| n).sum()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Network {
    #[expect(clippy::print_stderr, reason = "what the process said belongs to a failure")]
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _ended = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        }
    }
}

fn give(namespace: &Namespace, device: &str, four: &str, six: &str) {
    namespace.sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "0").unwrap();
    namespace.ip(&["addr", "add", four, "dev", device]).unwrap();
    namespace.ip(&["addr", "add", six, "dev", device, "nodad"]).unwrap();
}

fn start(namespace: &Namespace, dir: &TempDir) -> Child {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let config = format!(
        "[process]\nsocket = {:?}\ncounters = {:?}\nstate_dir = {:?}\n\
         [workers]\nidle_rounds = 100\n[limits]\nvswitches = 8\nvifs = 64\n\
         [[port]]\nname = \"w0\"\nchecksum_partial = true\n[[port]]\nname = \"e0\"\n",
        path("socket"),
        path("counters"),
        path("state")
    );
    std::fs::write(path("config"), config).unwrap();
    let log = File::create(path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard-dataplane"));
    command.args(["--config", &path("config")]).stdin(Stdio::null()).stderr(log);
    namespace.run(move || command.spawn()).unwrap().unwrap()
}

fn vif(status: &Status, number: u16) -> VifStatus {
    status.vifs.iter().find(|vif| vif.number == number).unwrap().clone()
}

fn says(status: &Status, vif: u16, part: &str) -> bool {
    let start = format!("red/{vif} ");
    status.notices.iter().any(|notice| notice.starts_with(&start) && notice.contains(part))
}

#[test]
fn udp_links_follow_the_kernels_routes_and_neighbours() {
    if !may("udp_links_follow_the_kernels_routes_and_neighbours") {
        return;
    }
    let mut network = Network::new();
    let mut client = network.client();
    let all = [DIRECT[0], DIRECT[1], ROUTED[0], ROUTED[1], SILENT, UNROUTED];
    client.apply(spec(1, &all)).unwrap();

    // Nobody told the process or the kernel of the neighbours: it finds those on the wire by itself.
    let mut status = client.status().unwrap();
    assert!(status.ports.iter().all(|port| port.backend.starts_with("af_xdp ")), "{status:?}");
    eventually("the peer is resolved", || {
        status = client.status().unwrap();
        DIRECT.iter().all(|number| vif(&status, *number).resolved)
    });
    let east = vif(&status, EAST);
    let sockets = DIRECT.map(|number| Network::socket(&network.peer, number));
    for (number, socket) in DIRECT.iter().zip(&sockets) {
        network.reaches(&vif(&status, *number), socket, "packets reach the peer");
        network.returns(&east, socket);
    }

    // What cannot be resolved is dropped by name, and said.
    eventually("what cannot be resolved is said", || {
        status = client.status().unwrap();
        says(&status, SILENT, "10.9.0.99 does not answer on device w0")
            && says(&status, UNROUTED, "there is no route to 10.77.0.2")
            && ROUTED.iter().all(|number| says(&status, *number, "there is no route to"))
    });
    for number in [SILENT, UNROUTED] {
        assert!(!vif(&status, number).resolved);
        let before = network.unresolved_drops();
        eventually("packets are dropped as unresolved", || {
            network.send(&vif(&status, number));
            network.unresolved_drops() > before
        });
    }

    // Entries that somebody throws away come back, and stay in use.
    network.here.ip(&["neigh", "flush", "dev", "w0"]).unwrap();
    for (number, socket) in DIRECT.iter().zip(&sockets) {
        network.reaches(&vif(&status, *number), socket, "packets reach the peer after a flush");
    }
    network
        .here
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            let devices = netlink.devices().unwrap();
            let port = devices.iter().find(|device| device.name == "w0").unwrap().index;
            eventually("the kernel knows the peer again", || {
                DIRECT.iter().all(|number| {
                    let found = netlink.neighbour(port, addresses(*number).1.ip()).unwrap();
                    found.state == NeighbourState::Reachable && found.mac == Some(PEER.0)
                })
            });
        })
        .unwrap();

    // The peer gets another network card.
    network.peer.ip(&["link", "set", "p0", "address", &PEER_LATER.to_string()]).unwrap();
    for (number, socket) in DIRECT.iter().zip(&sockets) {
        network.reaches(&vif(&status, *number), socket, "packets reach the peer's new address");
    }

    // A route appears, and then moves to another gateway.
    for (last, namespace) in [(2, "peer"), (3, "gate")] {
        for (to, via) in
            [("10.66.0.0/24", format!("10.9.0.{last}")), ("fd66::/64", format!("fd09::{last}"))]
        {
            network.here.ip(&["route", "replace", to, "via", &via]).unwrap();
        }
        let inside = if last == 2 { &network.peer } else { &network.gate };
        let sockets = ROUTED.map(|number| Network::socket(inside, number));
        for (number, socket) in ROUTED.iter().zip(&sockets) {
            let what = format!("packets reach the {namespace} as a gateway");
            network.reaches(&vif(&status, *number), socket, &what);
        }
        eventually("nobody complains of those any more", || {
            let status = client.status().unwrap();
            ROUTED
                .iter()
                .all(|number| !says(&status, *number, "") && vif(&status, *number).resolved)
        });
    }

    // A route that leaves by another port is no way for this link.
    network.here.ip(&["route", "replace", "10.66.0.0/24", "dev", "e0"]).unwrap();
    network.here.ip(&["addr", "del", "fd09::1/64", "dev", "w0"]).unwrap();
    eventually("a wrong route and a missing address are said", || {
        status = client.status().unwrap();
        says(&status, ROUTED[0], "leaves by device e0, not by w0")
            && says(&status, ROUTED[1], "this machine has no address fd09::1")
            && !vif(&status, ROUTED[0]).resolved
    });
    assert!(vif(&status, DIRECT[0]).resolved);

    kill(Pid::from_raw(network.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(network.process.wait().unwrap().success());
}

#[test]
fn addresses_of_udp_links_are_held_and_given_back() {
    if !may("addresses_of_udp_links_are_held_and_given_back") {
        return;
    }
    let mut network = Network::new();
    let (own, _) = addresses(SILENT);
    let taken = network.here.run(|| UdpSocket::bind(own)).unwrap().unwrap();
    let mut client = network.client();
    client.apply(spec(1, &[DIRECT[0], DIRECT[1], SILENT])).unwrap();
    let mut status = client.status().unwrap();
    let notice = format!("UDP address {own} cannot be reserved: another process has this port");
    assert!(status.notices.iter().any(|said| said.starts_with(&notice)), "{:?}", status.notices);
    let is_free = |network: &Network, number: u16| {
        network.here.run(|| UdpSocket::bind(addresses(number).0).is_ok()).unwrap()
    };
    assert!(DIRECT.iter().all(|number| !is_free(&network, *number)));
    drop(taken);
    eventually("an address that became free is held", || {
        !client.status().unwrap().notices.iter().any(|said| said.starts_with(&notice))
    });

    // Fragments are not for the XDP program. The kernel puts them together, and must not say that nobody is there.
    eventually("the peer is resolved", || {
        status = client.status().unwrap();
        DIRECT.iter().all(|number| vif(&status, *number).resolved)
    });
    for number in DIRECT {
        let socket = Network::socket(&network.peer, number);
        socket.send(&[0; 4000]).unwrap();
        // Comes after the fragments, and after what they could have led to: the first look at the socket would show it.
        network.reaches(&vif(&status, number), &socket, "packets reach the peer");
    }

    client.apply(spec(2, &[DIRECT[1]])).unwrap();
    assert!(is_free(&network, DIRECT[0]) && is_free(&network, SILENT));
    assert!(!is_free(&network, DIRECT[1]));
}
