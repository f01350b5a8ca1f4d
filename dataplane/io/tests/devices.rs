//! What devices do with tags and addresses, in network namespaces of its own.
//!
//! This kernel may have no VLAN devices. A bridge takes their place: what it receives with a tag in the bytes it sends
//! with the tag beside them, just as a VLAN device does.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "real packets take real time; waits are bounded by the clock"
)]

use dataplane_io as io;
use io::af_packet::{AfPacket, AfPacketConfig};
use io::af_xdp::{AfXdp, AfXdpConfig};
use io::bpf::XdpMode;
use io::netdev::Netdev;
use io::unicast::{ADDRESSES_MAX, Listed, Unicast};
use io::xdp::{Attachment, PortFilter, Tags};
use io::{Burst, Pool, Port, Umem, UmemConfig};
use lab::{End, Namespace};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};
use wire::buf::Packet;

const SENDER: [u8; 6] = [2, 0, 0, 0, 1, 1];
const BOX: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// Ends every test's frames.
const LAST: u8 = 0xee;

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
    let end = |namespace, name, mac| End { namespace, name, mac };
    let others = [2, 0, 0, 0, 1, 3];
    lab::veth(end(&west, "s0", SENDER), end(&west, "s1", [2, 0, 0, 0, 1, 4]), mtu, 1).unwrap();
    lab::veth(end(&middle, "p0", BOX), end(&west, "w0", others), mtu, 1).unwrap();
    west.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]).unwrap();
    for port in ["s1", "w0"] {
        west.ip(&["link", "set", port, "master", "br0"]).unwrap();
    }
    west.ip(&["link", "set", "br0", "up"]).unwrap();
    Some(Net { west, middle })
}

fn umem() -> Umem {
    Umem::new(UmemConfig::for_xdp(1500, 4096)).unwrap()
}

fn frame(tags: &[u8], mark: u8) -> Vec<u8> {
    [&BOX[..], &SENDER, tags, &[0xfc, 0x00], &[mark; 50]].concat()
}

const VLAN_5: [u8; 4] = [0x81, 0x00, 0x60, 5];
const SERVICE_5: [u8; 4] = [0x88, 0xa8, 0, 5];

/// Sends frames from a device of this thread's namespace, with their tags in the bytes.
fn send(device: &str, frames: &[Vec<u8>]) {
    let memory = Umem::new(UmemConfig { chunk_size: 4096, chunks: 256 }).unwrap();
    let mut pool = memory.frames().unwrap();
    let device = Netdev::find(device).unwrap();
    let (mut ports, _filter) =
        AfPacket::open(&memory, &device, 1, AfPacketConfig::default()).unwrap();
    let mut burst = Burst::new();
    for bytes in frames {
        let mut frame = pool.take().unwrap();
        assert!(frame.fill(bytes));
        burst.push(frame);
    }
    ports[0].transmit(&mut burst);
    ports[0].flush();
    assert_eq!(ports[0].reclaim(&mut pool), frames.len());
    assert_eq!(ports[0].statistics().kicks_refused, 0);
}

/// What arrives up to the last frame, at most ten seconds.
fn received<'m>(port: &mut AfXdp<'m>, pool: &mut Pool<'m>) -> Vec<Vec<u8>> {
    let (mut all, end) = (Vec::new(), Instant::now() + Duration::from_secs(10));
    loop {
        let mut burst = Burst::new();
        port.receive(pool, &mut burst);
        port.flush();
        for frame in burst {
            all.push(frame.bytes().to_vec());
            pool.put(frame);
        }
        if all.iter().any(|frame| frame.last() == Some(&LAST)) {
            return all;
        }
        assert!(Instant::now() < end, "the last frame did not come; before it: {all:02x?}");
        std::thread::yield_now();
    }
}

fn open<'m>(net: &Net, umem: &'m Umem, pool: &mut Pool<'m>) -> (Attachment, AfXdp<'m>) {
    let opened = net.middle.run(|| {
        let mut attachment = Attachment::attach_shedding(&Netdev::find("p0").unwrap(), 16).unwrap();
        attachment.add(&PortFilter { macs: [BOX].into(), ..PortFilter::default() }).unwrap();
        let config = AfXdpConfig { rx_entries: 512, tx_entries: 512, ..AfXdpConfig::default() };
        let port = AfXdp::open(umem, pool, &attachment, None, config).unwrap();
        (attachment, port)
    });
    opened.unwrap()
}

#[test]
fn a_tag_beside_the_frame_is_put_back() {
    let Some(net) = net("a_tag_beside_the_frame_is_put_back", 1500) else { return };
    let memory = umem();
    let mut pool = memory.frames().unwrap();
    let (attachment, mut port) = open(&net, &memory, &mut pool);
    assert_eq!((attachment.mode(), attachment.tags()), (XdpMode::Native, &Tags::Told));
    let frames = [
        frame(&[], 1),
        frame(&VLAN_5, 2),
        frame(&[VLAN_5, VLAN_5].concat(), 3),
        frame(&SERVICE_5, 4),
        frame(&[SERVICE_5, VLAN_5].concat(), 5),
        [frame(&VLAN_5, 6), vec![6; 1450]].concat(),
        frame(&[], LAST),
    ];
    net.west.run(|| send("s0", &frames)).unwrap();
    let ours = [&frames[0], &frames[1], &frames[5], &frames[6]];
    let received = received(&mut port, &mut pool);
    assert_eq!(received.iter().collect::<Vec<_>>(), ours);
    // The same with the tags in the bytes, past the bridge.
    net.west.run(|| send("w0", &frames)).unwrap();
    assert_eq!(self::received(&mut port, &mut pool).iter().collect::<Vec<_>>(), ours);
}

/// The hole that the hint closes, and the proof that the tags of the test above were hidden indeed.
#[test]
fn without_the_hint_a_hidden_tag_is_not_seen() {
    // Native XDP refuses so large an MTU.
    let Some(net) = net("without_the_hint_a_hidden_tag_is_not_seen", 3600) else { return };
    let memory = umem();
    let mut pool = memory.frames().unwrap();
    let (attachment, mut port) = open(&net, &memory, &mut pool);
    assert_eq!(attachment.mode(), XdpMode::Generic);
    assert!(matches!(attachment.tags(), Tags::Untold(why) if why.contains("generic")));
    net.west.run(|| send("s0", &[frame(&VLAN_5, 2), frame(&[], LAST)])).unwrap();
    assert_eq!(received(&mut port, &mut pool), [frame(&[], 2), frame(&[], LAST)]);
    assert!(!attachment.saw_tag());
    net.west.run(|| send("w0", &[frame(&VLAN_5, 2), frame(&[], LAST)])).unwrap();
    assert_eq!(received(&mut port, &mut pool), [frame(&VLAN_5, 2), frame(&[], LAST)]);
    assert!(attachment.saw_tag());
}

#[test]
fn a_bridge_is_refused_in_every_namespace() {
    let Some(net) = net("a_bridge_is_refused_in_every_namespace", 1500) else { return };
    net.west
        .run(|| {
            let refusal = Netdev::find("br0").unwrap().refusal().unwrap();
            assert!(refusal.contains("port br0: a bridge device"), "{refusal}");
            assert_eq!(Netdev::find("w0").unwrap().refusal(), None);
            assert_eq!(Netdev::find("lo").unwrap().refusal(), None);
        })
        .unwrap();
}

fn address(n: usize) -> [u8; 6] {
    let [.., a, b] = n.to_be_bytes();
    [2, 0xab, 0, 0, a, b]
}

fn addresses(count: usize) -> BTreeSet<[u8; 6]> {
    (0..count).map(address).collect()
}

/// What iproute2 says: the device's unicast list, and whether it is promiscuous by anybody's wish.
fn shown(net: &Net) -> (Vec<String>, u32) {
    let run = |program: &str, arguments: &[&str]| {
        let output = net.middle.run(|| Command::new(program).args(arguments).output().unwrap());
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let list = run("bridge", &["fdb", "show", "dev", "p0"]);
    let list =
        list.lines().filter(|line| line.starts_with("02:ab:")).map(|line| line[..17].to_owned());
    let details = run("ip", &["-d", "link", "show", "p0"]);
    let promiscuity = details.split("promiscuity ").nth(1).and_then(|rest| rest.split(' ').next());
    (list.collect(), promiscuity.unwrap().parse().unwrap())
}

#[test]
fn a_device_is_told_each_address_once_and_forgets_them_with_the_port() {
    let Some(net) = net("a_device_is_told_each_address_once", 1500) else { return };
    let mut unicast =
        net.middle.run(|| Unicast::open(&Netdev::find("p0").unwrap()).unwrap()).unwrap();
    unicast.add(&addresses(3)).unwrap();
    unicast.add(&addresses(4)).unwrap();
    assert_eq!(shown(&net).0.len(), 4);
    assert_eq!(unicast.check().unwrap(), Listed::All);
    // Somebody else takes one away.
    net.middle
        .run(|| {
            let delete = ["fdb", "del", "02:ab:00:00:00:02", "dev", "p0", "self"];
            assert!(Command::new("bridge").args(delete).status().unwrap().success());
        })
        .unwrap();
    assert_eq!(shown(&net).0.len(), 3);
    assert_eq!(unicast.check().unwrap(), Listed::Again(1));
    assert_eq!((shown(&net).0.len(), unicast.check().unwrap()), (4, Listed::All));
    unicast.remove_others(&addresses(2)).unwrap();
    assert_eq!(shown(&net).0, ["02:ab:00:00:00:00", "02:ab:00:00:00:01"]);
    drop(unicast);
    assert_eq!(shown(&net), (vec![], 0));
}

#[test]
fn more_addresses_than_a_device_takes_make_it_promiscuous() {
    let Some(net) = net("more_addresses_than_a_device_takes_make_it_promiscuous", 1500) else {
        return;
    };
    let mut unicast =
        net.middle.run(|| Unicast::open(&Netdev::find("p0").unwrap()).unwrap()).unwrap();
    unicast.add(&addresses(ADDRESSES_MAX)).unwrap();
    assert_eq!(unicast.check().unwrap(), Listed::All);
    // veth cannot filter, so the kernel counts one for the list; ours comes on top.
    let (list, before) = shown(&net);
    assert_eq!((list.len(), unicast.is_promiscuous()), (ADDRESSES_MAX, false));
    unicast.add(&addresses(ADDRESSES_MAX + 1)).unwrap();
    assert_eq!(shown(&net).1, before + 1);
    assert!(unicast.is_promiscuous());
    unicast.remove_others(&(1..=ADDRESSES_MAX).map(address).collect()).unwrap();
    let (list, after) = shown(&net);
    assert_eq!((list.len(), after, unicast.is_promiscuous()), (ADDRESSES_MAX, before, false));
    drop(unicast);
    assert_eq!(shown(&net), (vec![], 0));
}
