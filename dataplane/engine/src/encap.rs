//! Encap: the headers of the egress link, written into the head room.

use crate::next_hops::NextHops;
use crate::rules::{Endpoints, LinkKind, Record, Rules, UNTAGGED};
use dataplane_api::DropReason;
use std::net::SocketAddr;
use wire::buf::Packet;
use wire::{eth_interface, ethernet, ip, udp};

/// Ethernet and ETHInterface headers of an untagged frame.
const HEADERS_LEN: usize = ethernet::HEADER_LEN + eth_interface::HEADER_LEN;

/// Whether a packet for `link` has somewhere to go: asked before it is sealed, so that a drop costs no crypto.
///
/// # Errors
/// [`DropReason::Unresolved`]: no next hop for a UDP link.
#[inline]
pub(crate) fn can_leave(next_hops: &NextHops, link: &Record) -> Result<(), DropReason> {
    match link.kind() {
        LinkKind::Udp if next_hops.next_hop(link.vif()).is_none() => Err(DropReason::Unresolved),
        LinkKind::Udp | LinkKind::Ethernet | LinkKind::Cable => Ok(()),
    }
}

/// Puts `frame` into the headers of `link`.
///
/// # Errors
/// [`DropReason::Unresolved`]: no next hop for a UDP link. [`DropReason::EgressMtu`]: no head room, which a frame
/// within the buffer contract has.
#[inline]
pub(crate) fn encap<F: Packet>(
    rules: &Rules,
    next_hops: &NextHops,
    link: &Record,
    frame: &mut F,
) -> Result<(), DropReason> {
    if link.is_untagged_ethernet() {
        return untagged(link, frame).ok_or(DropReason::EgressMtu);
    }
    encap_other(rules, next_hops, link, frame)
}

#[inline(never)]
fn encap_other<F: Packet>(
    rules: &Rules,
    next_hops: &NextHops,
    link: &Record,
    frame: &mut F,
) -> Result<(), DropReason> {
    match link.kind() {
        LinkKind::Ethernet => tagged(link, frame).ok_or(DropReason::EgressMtu),
        LinkKind::Udp => {
            let next_hop = next_hops.next_hop(link.vif()).ok_or(DropReason::Unresolved)?;
            let at = rules.udp.endpoints(link.other()).ok_or(DropReason::LinkGone)?;
            let vlan = Some(link.vlan()).filter(|vlan| *vlan != UNTAGGED);
            let (destination, source) = (next_hop.dst.0, next_hop.src.0);
            datagram(at, ethernet::Header { destination, source, vlan, ethertype: 0 }, frame)
                .ok_or(DropReason::EgressMtu)
        }
        // Nothing waits for a cable; a vif that became one since is another link.
        LinkKind::Cable => Err(DropReason::LinkGone),
    }
}

#[inline]
fn untagged<F: Packet>(link: &Record, frame: &mut F) -> Option<()> {
    let interface = eth_interface::header(frame.len())?;
    if !frame.prepend(HEADERS_LEN) {
        return None;
    }
    let out = frame.bytes_mut().first_chunk_mut::<HEADERS_LEN>()?;
    let (first, second) = link.key().reply();
    let [t0, t1] = ethernet::ETHERTYPE_CJDNS.to_be_bytes();
    let [i0, i1, i2, i3, i4, i5] = interface;
    out[..8].copy_from_slice(&first.to_le_bytes());
    out[8..12].copy_from_slice(&second.to_le_bytes());
    out[12..].copy_from_slice(&[t0, t1, i0, i1, i2, i3, i4, i5]);
    Some(())
}

fn tagged<F: Packet>(link: &Record, frame: &mut F) -> Option<()> {
    let interface = eth_interface::header(frame.len())?;
    let header = ethernet::Header {
        destination: link.key().peer().0,
        source: link.key().own().0,
        vlan: Some(link.vlan()),
        ethertype: ethernet::ETHERTYPE_CJDNS,
    };
    let start = header.len();
    if !frame.prepend(start + interface.len()) {
        return None;
    }
    let (ethernet, rest) = frame.bytes_mut().split_at_mut_checked(start)?;
    rest.get_mut(..interface.len())?.copy_from_slice(&interface);
    header.write(ethernet).then_some(())
}

fn datagram<F: Packet>(at: &Endpoints, mut header: ethernet::Header, frame: &mut F) -> Option<()> {
    let (local, peer) = (at.local, at.peer);
    if !frame.prepend(udp::HEADER_LEN) {
        return None;
    }
    if !udp::write(frame.bytes_mut(), (local.ip(), local.port()), (peer.ip(), peer.port())) {
        return None;
    }
    let len = frame.len();
    match (local, peer) {
        (SocketAddr::V4(local), SocketAddr::V4(peer)) => {
            header.ethertype = ethernet::ETHERTYPE_IPV4;
            prepend(frame, &ip::header_v4(*local.ip(), *peer.ip(), len)?)?;
        }
        (SocketAddr::V6(local), SocketAddr::V6(peer)) => {
            header.ethertype = ethernet::ETHERTYPE_IPV6;
            prepend(frame, &ip::header_v6(*local.ip(), *peer.ip(), len)?)?;
        }
        // The compiler refuses a link of two families.
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {
            return None;
        }
    }
    if !frame.prepend(header.len()) {
        return None;
    }
    header.write(frame.bytes_mut()).then_some(())
}

fn prepend<F: Packet>(frame: &mut F, header: &[u8]) -> Option<()> {
    if !frame.prepend(header.len()) {
        return None;
    }
    frame.bytes_mut().get_mut(..header.len())?.copy_from_slice(header);
    Some(())
}
