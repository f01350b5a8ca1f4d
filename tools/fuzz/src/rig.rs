//! The box that hostile bytes meet: three vswitches of different schemes, every kind of link, with keys
//! and without, a cable.

use dataplane_api::MacAddress;
use engine::{Compiler, LinkInfo, NextHop, NextHops, PortFacts, Rules};
use std::net::IpAddr;
use std::sync::LazyLock;
use wire::{eth_interface, ethernet, ip, udp};

/// Ports of the box.
pub(crate) const PORTS: usize = 2;
/// Most vifs and vswitches that a compiler of the targets takes.
pub(crate) const VIFS: usize = 1024;
/// See [`VIFS`].
pub(crate) const VSWITCHES: usize = 64;

/// What the box is told to be.
pub(crate) const SPEC: &str = include_str!("box.toml");

/// The tables of [`SPEC`].
pub(crate) static RULES: LazyLock<Rules> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the text is this crate's own and every replay compiles it"
    )]
    let rules = compiler()
        .compile(&toml::from_str(SPEC).expect("box.toml is a spec"), &[], &ports())
        .expect("box.toml compiles");
    rules
});

/// A compiler with room for small specs only: a large one shall be refused, not compiled for seconds.
pub(crate) fn compiler() -> Compiler {
    Compiler::new(VSWITCHES, VIFS, 0x5eed)
}

/// p0 takes tags, p1 does not.
pub(crate) fn ports() -> Vec<PortFacts> {
    (0..PORTS)
        .map(|index| PortFacts {
            name: format!("p{index}"),
            mtu: 1500,
            workers: vec![dataplane_api::WorkerId(0)],
            tags_visible: index == 0,
            // Links with keys stand beside plain ones here.
            plain_forced: true,
            ..PortFacts::default()
        })
        .collect()
}

/// Every UDP link is resolved.
pub(crate) fn next_hops(rules: &Rules) -> NextHops {
    let mut next_hops = NextHops::default();
    for vif in rules.vifs() {
        let next_hop = NextHop { dst: MacAddress([2; 6]), src: MacAddress([4; 6]) };
        next_hops.set(vif.id, Some(next_hop));
    }
    next_hops
}

/// `packet` as a frame of the neighbour behind `link`. `None`: a cable, or too long for one.
pub(crate) fn frame(link: &LinkInfo, packet: &[u8]) -> Option<Vec<u8>> {
    match link {
        LinkInfo::Ethernet { vlan, own, peer, .. } => {
            let ethertype = ethernet::ETHERTYPE_CJDNS;
            let (destination, source) = (own.0, peer.0);
            let header = ethernet::Header { destination, source, vlan: *vlan, ethertype };
            let body = [&eth_interface::header(packet.len())?, packet].concat();
            with_ethernet(&header, &body)
        }
        LinkInfo::Udp { vlan, own, peer, .. } => {
            let mut datagram = [&[0; udp::HEADER_LEN], packet].concat();
            let written =
                udp::write(&mut datagram, (peer.ip(), peer.port()), (own.ip(), own.port()));
            let (head, ethertype) = match (own.ip(), peer.ip()) {
                (IpAddr::V4(own), IpAddr::V4(peer)) => {
                    (ip::header_v4(peer, own, datagram.len())?.to_vec(), ethernet::ETHERTYPE_IPV4)
                }
                (IpAddr::V6(own), IpAddr::V6(peer)) => {
                    (ip::header_v6(peer, own, datagram.len())?.to_vec(), ethernet::ETHERTYPE_IPV6)
                }
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
            };
            let (destination, source) = ([4; 6], [2; 6]);
            let header = ethernet::Header { destination, source, vlan: *vlan, ethertype };
            with_ethernet(&header, &[head, datagram].concat()).filter(|_| written)
        }
        LinkInfo::Cable { .. } => None,
    }
}

fn with_ethernet(header: &ethernet::Header, body: &[u8]) -> Option<Vec<u8>> {
    let mut frame = vec![0; header.len()];
    header.write(&mut frame).then(|| {
        frame.extend(body);
        frame
    })
}
