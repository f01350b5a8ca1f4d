//! The kernel of a namespace of its own, asked and watched.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the whole file is tests"
)]

use dataplane_io::netlink::{Change, NeighbourState, Netlink, RouteKind, Watch};
use lab::{End, Namespace, may, veth};
use std::net::IpAddr;
use std::time::Duration;

const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Looks, a millisecond apart, before an answer counts as missing.
const LOOKS_MAX: usize = 20_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A namespace with a device `near` to one with a device `far`, and addresses of both families.
fn pair() -> (Namespace, Namespace) {
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let end = |namespace, name, mac| End { namespace, name, mac };
    veth(end(&near, "near", [2, 0, 0, 0, 0, 1]), end(&far, "far", PEER_MAC), 1500, 1).unwrap();
    for (namespace, device, last) in [(&near, "near", 1), (&far, "far", 2)] {
        namespace.sysctl(&format!("ipv6/conf/{device}/disable_ipv6"), "0").unwrap();
        namespace.ip(&["addr", "add", &format!("10.7.0.{last}/24"), "dev", device]).unwrap();
        let six = format!("fd07::{last}/64");
        namespace.ip(&["addr", "add", &six, "dev", device, "nodad"]).unwrap();
    }
    (near, far)
}

#[test]
fn devices_addresses_and_routes_are_what_was_set_up() {
    if !may("devices_addresses_and_routes_are_what_was_set_up") {
        return;
    }
    let (near, _far) = pair();
    let vlan =
        near.ip(&["link", "add", "link", "near", "name", "near.7", "type", "vlan", "id", "7"]);
    if let Err(error) = &vlan {
        eprintln!("SKIPPED VLAN devices: {error}");
    }
    near.ip(&["route", "add", "10.8.0.0/16", "via", "10.7.0.2"]).unwrap();
    near.ip(&["route", "add", "10.9.0.0/16", "via", "inet6", "fd07::2", "dev", "near"]).unwrap();
    near.ip(&["route", "add", "unreachable", "10.10.0.0/16"]).unwrap();
    near.run(|| {
        let mut netlink = Netlink::open().unwrap();
        let devices = netlink.devices().unwrap();
        let named = |name: &str| devices.iter().find(|device| device.name == name).unwrap();
        let port = named("near");
        assert_eq!((port.mac, port.loopback, port.vlan), (Some([2, 0, 0, 0, 0, 1]), false, None));
        assert!(named("lo").loopback);
        if vlan.is_ok() {
            assert_eq!(named("near.7").vlan, Some((port.index, 7)));
        }

        let addresses = netlink.addresses().unwrap();
        for own in ["10.7.0.1", "fd07::1"] {
            assert!(
                addresses.iter().any(|at| at.address == ip(own) && at.device == port.index),
                "{addresses:?}"
            );
        }

        let mut route = |from: &str, to: &str| netlink.route(ip(from), ip(to), None).unwrap();
        assert_eq!(route("10.7.0.1", "10.7.0.2").map(|route| route.gateway), Some(None));
        assert_eq!(route("fd07::1", "fd07::2").map(|route| route.device), Some(port.index));
        let routed = route("10.7.0.1", "10.8.1.1").unwrap();
        assert_eq!((routed.kind, routed.device), (RouteKind::Unicast, port.index));
        assert_eq!(routed.gateway, Some(ip("10.7.0.2")));
        assert_eq!(route("10.7.0.1", "10.9.1.1").unwrap().gateway, Some(ip("fd07::2")));
        assert_eq!(route("10.7.0.1", "10.7.0.1").unwrap().kind, RouteKind::Local);
        assert_eq!(route("10.7.0.1", "10.10.1.1"), None);
        assert_eq!(route("10.7.0.1", "192.0.2.1"), None, "no route");
        assert_eq!(route("10.99.0.1", "10.7.0.2"), None, "somebody else's source");
        let unrouted = route("fd07::1", "2001:db8::1");
        assert!(unrouted.is_none_or(|route| route.kind == RouteKind::Other), "{unrouted:?}");
    })
    .unwrap();
}

#[test]
fn a_probe_finds_the_neighbour_and_the_watch_tells() {
    if !may("a_probe_finds_the_neighbour_and_the_watch_tells") {
        return;
    }
    let (near, _far) = pair();
    near.run(|| {
        let (mut netlink, mut watch) = (Netlink::open().unwrap(), Watch::open().unwrap());
        let devices = netlink.devices().unwrap();
        let port = devices.iter().find(|device| device.name == "near").unwrap().index;
        for peer in ["10.7.0.2", "fd07::2"].map(ip) {
            assert_eq!(netlink.neighbour(port, peer).unwrap().state, NeighbourState::Absent);
            netlink.probe(port, peer).unwrap();
            let (mut told, mut looks) = (false, 0);
            while !told {
                looks += 1;
                assert!(looks < LOOKS_MAX, "{:?}", netlink.neighbour(port, peer));
                watch
                    .take(64, |change| {
                        told |= matches!(change, Change::Neighbour(found)
                            if found.address == peer && found.mac == Some(PEER_MAC));
                    })
                    .unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            let found = netlink.neighbour(port, peer).unwrap();
            assert_eq!((found.mac, found.state), (Some(PEER_MAC), NeighbourState::Reachable));
        }
        // A device that is not there is no reason to panic.
        assert!(netlink.probe(9999, ip("10.7.0.2")).is_err());
        assert_eq!(netlink.neighbour(9999, ip("10.7.0.2")).unwrap().state, NeighbourState::Absent);
    })
    .unwrap();
}
