//! The dataplane over AF_XDP: tags that stand beside a frame, and the addresses that a device is told.
//!
//! A bridge stands for a VLAN device, which this kernel may not have: both send a tag beside the frame.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use dataplane_api::counters::VifCounter;
use dataplane_api::{
    Generation, LinkSpec, MacAddress, Role, SchemeSpec, Session, Spec, VifSpec, VswitchSpec,
};
use dataplane_client::CounterFile;
use dataplane_client::{Client, ClientError};
use dataplane_daemon::config::Port as PortConfig;
use dataplane_daemon::{
    Config, Dataplane, Hosting, Level, Memory, MemoryPorts, StopHandle, check, clock, machine, plan,
};
use io::af_packet::{AfPacket, AfPacketConfig};
use io::netdev::Netdev;
use io::{Burst, Port, Umem, UmemConfig};
use lab::{End, Namespace};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use wire::{eth_interface, ethernet};

const PEER: MacAddress = MacAddress([2, 0, 0, 0, 1, 1]);
const OWN: MacAddress = MacAddress([2, 0xab, 0, 0, 0, 2]);
const OTHER_OWN: MacAddress = MacAddress([2, 0xab, 0, 0, 0, 3]);

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + 10_000_000_000;
    while !done() {
        assert!(clock::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// s0 ── s1 bridge w0 ── p0 box; all but p0 in west.
struct Net {
    west: Namespace,
    middle: Namespace,
}

fn net(test: &str, mtu: u32) -> Option<Net> {
    if !lab::may(test) {
        return None;
    }
    let [west, middle] = [(); 2].map(|()| Namespace::new().unwrap());
    let end = |namespace, name, last| End { namespace, name, mac: [2, 0, 0, 0, 1, last] };
    lab::veth(end(&west, "s0", 1), end(&west, "s1", 4), mtu, 1).unwrap();
    lab::veth(end(&middle, "p0", 2), end(&west, "w0", 3), mtu, 1).unwrap();
    west.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]).unwrap();
    for port in ["s1", "w0"] {
        west.ip(&["link", "set", port, "master", "br0"]).unwrap();
    }
    west.ip(&["link", "set", "br0", "up"]).unwrap();
    Some(Net { west, middle })
}

impl Net {
    /// Sends a frame to the box from a device in west, its tag in the bytes.
    fn send(&self, device: &str, own: MacAddress, vlan: Option<u16>) {
        let header = ethernet::Header {
            destination: own.0,
            source: PEER.0,
            vlan,
            ethertype: ethernet::ETHERTYPE_CJDNS,
        };
        let mut bytes = vec![0; header.len()];
        assert!(header.write(&mut bytes));
        bytes.extend(eth_interface::header(64).unwrap());
        bytes.extend([0; 64]);
        let send = || {
            let memory = Umem::new(UmemConfig { chunk_size: 4096, chunks: 64 }).unwrap();
            let mut pool = memory.frames().unwrap();
            let device = Netdev::find(device).unwrap();
            let (mut ports, _filter) =
                AfPacket::open(&memory, &device, 1, AfPacketConfig::default()).unwrap();
            let mut frame = pool.take().unwrap();
            assert!(frame.fill(&bytes));
            let mut burst = Burst::from_iter([frame]);
            ports[0].transmit(&mut burst);
            ports[0].flush();
            assert_eq!(ports[0].reclaim(&mut pool), 1);
        };
        self.west.run(send).unwrap();
    }

    /// The box's unicast list, as iproute2 shows it.
    fn listed(&self) -> Vec<String> {
        let run = || Command::new("bridge").args(["fdb", "show", "dev", "p0"]).output().unwrap();
        let output = String::from_utf8(self.middle.run(run).unwrap().stdout).unwrap();
        let ours = output.lines().filter(|line| line.starts_with("02:ab:"));
        ours.map(|line| line[..17].to_owned()).collect()
    }
}

struct Switch {
    dir: TempDir,
    stop: StopHandle,
    server: JoinHandle<anyhow::Result<()>>,
}

fn config(dir: &TempDir, vlan_trusted: bool) -> Config {
    let mut config = Config::default();
    config.process.socket = dir.path().join("socket");
    config.process.counters = dir.path().join("counters");
    config.process.state_dir = dir.path().join("state");
    config.workers.count = 1;
    config.limits.vswitches = 8;
    config.limits.vifs = 64;
    config.ports = vec![PortConfig {
        rx_entries: 256,
        tx_entries: 256,
        tx_pending: 256,
        vlan_trusted,
        ..PortConfig::named("p0")
    }];
    config
}

impl Switch {
    fn start(net: &Net, vlan_trusted: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(&dir, vlan_trusted);
        let (stop, server) = net
            .middle
            .run(|| {
                let mut plan = plan::plan(&config, &machine::look(&config).unwrap()).unwrap();
                plan.workers = vec![None];
                let memory = Memory::allocate(&plan).unwrap();
                let (ports, hosting) = (MemoryPorts::new(), Hosting::Guest);
                let dataplane = Dataplane::start(plan, memory, ports, None, hosting).unwrap();
                // A thread started here stays in the namespace.
                (dataplane.stop_handle(), std::thread::spawn(move || dataplane.serve()))
            })
            .unwrap();
        Self { dir, stop, server }
    }

    fn client(&self) -> Client {
        Client::connect(&self.dir.path().join("socket")).unwrap()
    }

    fn notices(&self) -> Vec<String> {
        self.client().status().unwrap().notices
    }

    /// Packets received by the vif of this number.
    fn received(&self, number: u16) -> u64 {
        let status = self.client().status().unwrap();
        let vif = status.vifs.iter().find(|vif| vif.number == number).unwrap().id;
        let counters = CounterFile::open(&self.dir.path().join("counters")).unwrap();
        counters.vif(vif, VifCounter::RxPackets)
    }

    fn stop(self) {
        self.stop.stop();
        self.server.join().unwrap().unwrap();
    }
}

/// One vswitch with a link for each (vif, own address, VLAN).
fn spec(generation: u64, links: &[(u16, MacAddress, Option<u16>)]) -> Spec {
    let vifs = links.iter().map(|(number, own, vlan)| VifSpec {
        number: *number,
        role: Role::Customer,
        mtu: None,
        link: Some(LinkSpec::Ethernet {
            port: "p0".into(),
            vlan: *vlan,
            local: Some(*own),
            peer: PEER,
            session: Session::Plain,
        }),
        policy: Default::default(),
    });
    let red = VswitchSpec {
        name: "red".into(),
        tenant: 1,
        public_key: "u1dq204svw7ugrn6svg2w6jst2ulbn9w0n5381cj63382zwgxv90.k".into(),
        scheme: SchemeSpec::V358,
        vifs: vifs.collect(),
        ..VswitchSpec::default()
    };
    Spec { generation: Generation(generation), vswitches: vec![red], ..Spec::default() }
}

#[test]
fn a_hidden_tag_leads_to_its_own_link() {
    let Some(net) = net("a_hidden_tag_leads_to_its_own_link", 1500) else { return };
    let the_box = Switch::start(&net, false);
    // The same addresses, with and without a tag: only the tag tells the tenants' links apart.
    the_box.client().apply(spec(1, &[(2, OWN, None), (4, OWN, Some(5))])).unwrap();
    assert_eq!(the_box.notices(), [""; 0]);
    for device in ["s0", "w0"] {
        net.send(device, OWN, Some(5));
        net.send(device, OWN, Some(6));
        net.send(device, OWN, Some(5));
    }
    net.send("s0", OWN, None);
    eventually("the frames arrive", || the_box.received(2) > 0);
    assert_eq!((the_box.received(2), the_box.received(4)), (1, 4));
    the_box.stop();
}

/// Native XDP refuses so large an MTU, and in generic mode nobody tells tags.
const GENERIC: u32 = 3600;

#[test]
fn where_tags_may_hide_links_with_a_vlan_are_refused_and_it_is_said() {
    let Some(net) = net("where_tags_may_hide", GENERIC) else { return };
    let the_box = Switch::start(&net, false);
    let refused = the_box.client().apply(spec(1, &[(4, OWN, Some(5))])).unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused(why) if why.contains("may be hidden")),
        "{refused}"
    );
    let notices = the_box.notices();
    assert!(
        notices.iter().any(|notice| notice.contains("port p0: VLAN tags")
            && notice.contains("reaches untagged links")
            && notice.contains("vlan_trusted")),
        "{notices:?}"
    );
    // A tag in the bytes alone is no declaration.
    net.send("w0", OWN, Some(5));
    the_box.client().apply(spec(1, &[(4, OWN, Some(5))])).unwrap_err();
    the_box.stop();
}

#[test]
fn a_declaration_counts_once_a_tagged_frame_proves_it() {
    let Some(net) = net("a_declaration_counts_once_a_tagged_frame_proves_it", GENERIC) else {
        return;
    };
    let the_box = Switch::start(&net, true);
    the_box.client().apply(spec(1, &[(4, OWN, Some(5))])).unwrap_err();
    let about = |notice: &String| notice.contains("not proved yet");
    assert!(the_box.notices().iter().any(about));
    // With its tag beside it a frame proves nothing.
    net.send("s0", OWN, Some(5));
    net.send("s0", OWN, None);
    the_box.client().apply(spec(1, &[(4, OWN, Some(5))])).unwrap_err();
    net.send("w0", OWN, Some(5));
    eventually("the proof is seen", || {
        the_box.client().apply(spec(1, &[(4, OWN, Some(5))])).is_ok()
    });
    assert!(!the_box.notices().iter().any(about));
    net.send("w0", OWN, Some(5));
    eventually("the frame arrives", || the_box.received(4) == 1);
    the_box.stop();
}

#[test]
fn a_device_is_told_the_addresses_of_the_spec_in_force() {
    let Some(net) = net("a_device_is_told_the_addresses_of_the_spec_in_force", 1500) else {
        return;
    };
    let the_box = Switch::start(&net, false);
    assert_eq!(net.listed(), [""; 0]);
    let text = |mac: MacAddress| mac.to_string();
    the_box.client().apply(spec(1, &[(2, OWN, None), (4, OWN, Some(5))])).unwrap();
    assert_eq!(net.listed(), [text(OWN)]);
    the_box.client().apply(spec(2, &[(2, OTHER_OWN, None), (4, OWN, Some(5))])).unwrap();
    assert_eq!(net.listed(), [text(OWN), text(OTHER_OWN)]);
    the_box.client().apply(spec(3, &[(2, OTHER_OWN, None)])).unwrap();
    eventually("the old address is taken away", || net.listed() == [text(OTHER_OWN)]);
    the_box.client().apply(spec(4, &[(2, OTHER_OWN, None), (4, OTHER_OWN, Some(7))])).unwrap();
    assert_eq!(net.listed(), [text(OTHER_OWN)]);
    // Somebody takes it off; it comes back within the interval between two looks.
    let address = text(OTHER_OWN);
    let delete = ["fdb", "del", &address, "dev", "p0", "self"];
    let deleted = net.middle.run(|| Command::new("bridge").args(delete).status().unwrap());
    assert!(deleted.unwrap().success());
    assert_eq!(net.listed(), [""; 0]);
    eventually("the address comes back", || net.listed() == [address.as_str()]);
    eventually("it is said", || {
        the_box.notices().iter().any(|notice| notice.contains("took 1 of our MAC addresses"))
    });
    the_box.stop();
    assert_eq!(net.listed(), [""; 0]);
}

#[test]
fn check_says_what_a_port_sees_and_refuses_a_bridge() {
    let Some(net) = net("check_says_what_a_port_sees_and_refuses_a_bridge", 1500) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, false);
    let findings = net.middle.run(|| check(&config)).unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding.level == Level::Works
                && finding.sentence.contains("tells VLAN tags")),
        "{findings:?}"
    );
    config.ports[0].name = "br0".into();
    let findings = net.west.run(|| check(&config)).unwrap();
    assert!(
        findings.iter().any(|finding| finding.level == Level::Refused
            && finding.sentence.contains("a bridge device cannot be a port")),
        "{findings:?}"
    );
    // A device whose driver tells nothing.
    net.middle.ip(&["link", "set", "lo", "mtu", "1500"]).unwrap();
    config.ports[0].name = "lo".into();
    let findings = net.middle.run(|| check(&config)).unwrap();
    assert!(
        findings.iter().any(|finding| finding.level == Level::Hurts
            && finding.sentence.contains("reaches untagged links")),
        "{findings:?}"
    );
}
