//! What devices are and do, in network namespaces of its own.
#![allow(clippy::tests_outside_test_module, reason = "an integration test is one")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use dataplane_io as io;
use io::netdev::Netdev;
use io::unicast::{ADDRESSES_MAX, Listed, Unicast};
use lab::{End, Namespace};
use std::collections::BTreeSet;
use std::process::Command;

const SENDER: [u8; 6] = [2, 0, 0, 0, 1, 1];
const BOX: [u8; 6] = [2, 0, 0, 0, 1, 2];

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
