//! Classify: which link a frame came in on, by (port, VLAN, addresses) alone.

use crate::outcome::Arrival;
use crate::rules::{Endpoints, LinkKey, NO_SLOT, OwnAddress, Record, Rules, UNTAGGED};
use dataplane_api::{DropReason, LinkAddress, MacAddress, PortId, VswitchId};
use std::net::SocketAddr;
use wire::{beacon, eth_interface, ethernet, ip, udp};

/// Ethernet and ETHInterface headers of an untagged frame.
const HEADERS_LEN: usize = ethernet::HEADER_LEN + eth_interface::HEADER_LEN;
/// Bytes 12..20 of such a frame, little-endian: ethertype, version, a byte that is ignored, length, magic.
const FIXED: u64 = 0x00fc_0000_0000_00fc;
/// Which of their bits are fixed.
const FIXED_MASK: u64 = 0xffff_0000_00ff_ffff;

/// The ingress link of an untagged frame of an Ethernet link, and where its session packet lies; [`Arrival::NONE`] for
/// every other frame, which is [`classify`]'s.
///
/// Cost: some 90 instructions, one hash, one or two cache lines.
#[inline(always)]
pub(crate) fn classify_untagged(rules: &Rules, port: PortId, frame: &[u8]) -> Arrival {
    if let Some(headers) = frame.first_chunk::<HEADERS_LEN>() {
        let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, f @ ..] = *headers;
        let fixed = u64::from_le_bytes(f);
        let len = usize::from(u16::from_be_bytes([f[4], f[5]]));
        let fits = len >= eth_interface::HEADER_LEN && ethernet::HEADER_LEN + len <= frame.len();
        if fixed & FIXED_MASK == FIXED && fits {
            let low = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
            let tail = u32::from_le_bytes([b0, b1, b2, b3]);
            let slot = rules.links.find(LinkKey::from_words(low, tail, UNTAGGED, port));
            if slot != NO_SLOT {
                return arrival(slot, HEADERS_LEN, len - eth_interface::HEADER_LEN);
            }
        }
    }
    Arrival::NONE
}

/// The ingress link of any frame, and where its session packet lies.
///
/// # Errors
/// The reasons from [`DropReason::Runt`] to [`DropReason::BeaconOff`].
#[cold]
pub(crate) fn classify(rules: &Rules, port: PortId, frame: &[u8]) -> Result<Arrival, DropReason> {
    let header = ethernet::Header::parse(frame).ok_or(DropReason::Runt)?;
    let vlan = match header.vlan {
        Some(_) if !rules.port(port).tags_visible => return Err(DropReason::VlanUntrusted),
        // A tag of VLAN 0 carries a priority and no VLAN.
        Some(vlan) => vlan,
        None => UNTAGGED,
    };
    let payload = frame.get(header.len()..).unwrap_or_default();
    match header.ethertype {
        ethernet::ETHERTYPE_CJDNS => classify_ethernet(rules, port, vlan, &header, payload),
        ethernet::ETHERTYPE_IPV4 => {
            let ip = ip::parse_v4(payload).map_err(bad_ip)?;
            classify_udp(rules, (port, vlan), header.len(), ip, payload)
        }
        ethernet::ETHERTYPE_IPV6 => {
            let ip = ip::parse_v6(payload).map_err(bad_ip)?;
            classify_udp(rules, (port, vlan), header.len(), ip, payload)
        }
        _ => Err(DropReason::NotOurs),
    }
}

fn classify_ethernet(
    rules: &Rules,
    port: PortId,
    vlan: u16,
    header: &ethernet::Header,
    payload: &[u8],
) -> Result<Arrival, DropReason> {
    let len = eth_interface::parse(payload).map_err(|bad| match bad {
        eth_interface::Bad::Runt => DropReason::Runt,
        eth_interface::Bad::Version => DropReason::EthVersion,
        eth_interface::Bad::Magic => DropReason::EthMagic,
        eth_interface::Bad::Length => DropReason::EthLength,
    })?;
    //= WIRE §1.3: a frame is a beacon if, and only if, it is addressed to ff:ff:ff:ff:ff:ff
    if header.destination == ethernet::BROADCAST {
        return Err(DropReason::BeaconOff);
    }
    let (own, peer) = (MacAddress(header.destination), MacAddress(header.source));
    let slot = rules.links.find(LinkKey::new(port, vlan, own, peer));
    if slot != NO_SLOT {
        return Ok(arrival(slot, header.len() + eth_interface::HEADER_LEN, len));
    }
    Err(if rules.listeners.contains_key(&(port, vlan, OwnAddress::Mac(own))) {
        DropReason::Stranger
    } else if rules.own_macs.contains_key(&(port, vlan, own)) {
        DropReason::UnknownLink
    } else {
        DropReason::UnknownVswitch
    })
}

fn classify_udp(
    rules: &Rules,
    (port, vlan): (PortId, u16),
    start: usize,
    header: ip::Header,
    packet: &[u8],
) -> Result<Arrival, DropReason> {
    if header.protocol != ip::PROTOCOL_UDP {
        return Err(DropReason::NotOurs);
    }
    let end = header.header_len + header.payload_len;
    let datagram = packet.get(header.header_len..end).ok_or(DropReason::IpMalformed)?;
    let fields = udp::parse(datagram).ok_or(DropReason::UdpMalformed)?;
    if fields.payload_len + udp::HEADER_LEN != datagram.len() {
        return Err(DropReason::UdpMalformed);
    }
    let local = SocketAddr::new(header.destination, fields.destination);
    let peer = SocketAddr::new(header.source, fields.source);
    let slot = rules.udp.find(&Endpoints { port, vlan, local, peer });
    if slot == NO_SLOT {
        return Err(if rules.listeners.contains_key(&(port, vlan, OwnAddress::Socket(local))) {
            DropReason::Stranger
        } else if rules.udp.is_ours(port, vlan, local) {
            DropReason::UnknownLink
        } else {
            DropReason::NotOurs
        });
    }
    let encrypted = rules.links.get(slot).is_some_and(Record::is_encrypted);
    // Plain links have nothing else that notices a flipped bit, so "no checksum" will not do either.
    let checked = encrypted
        || fields.checksum != 0 && udp::is_right(datagram, header.source, header.destination);
    if !checked && !rules.port(port).checksum_partial {
        return Err(DropReason::UdpChecksum);
    }
    Ok(arrival(slot, start + header.header_len + udp::HEADER_LEN, fields.payload_len))
}

/// A frame for somebody who listens, from an address that no link has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) from: LinkAddress,
    /// Own and peer address of the Ethernet header.
    pub(crate) stations: (MacAddress, MacAddress),
    /// `None`: a beacon.
    pub(crate) vswitch: Option<VswitchId>,
    /// Where the session packet, or the beacon's body, begins.
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Who sends a frame that [`classify`] called a stranger's or a beacon; `None` if nobody listens to such a one.
#[cold]
pub(crate) fn caller(rules: &Rules, port: PortId, frame: &[u8]) -> Option<Caller> {
    let header = ethernet::Header::parse(frame)?;
    let tag = header.vlan.filter(|vlan| *vlan != UNTAGGED);
    let vlan = tag.unwrap_or(UNTAGGED);
    let payload = frame.get(header.len()..)?;
    let stations = (MacAddress(header.destination), MacAddress(header.source));
    let caller = match header.ethertype {
        ethernet::ETHERTYPE_CJDNS => {
            let len = eth_interface::parse(payload).ok()?;
            let (own, peer) = (MacAddress(header.destination), MacAddress(header.source));
            let from = LinkAddress::Ethernet { port, vlan: tag, own, peer };
            let start = header.len() + eth_interface::HEADER_LEN;
            if peer.0[0] & 1 != 0 {
                return None;
            }
            if header.destination == ethernet::BROADCAST {
                let wanted = rules.beacons.contains(&(port, vlan)) && len >= beacon::BODY_LEN;
                return wanted.then_some(Caller { from, stations, vswitch: None, start, len });
            }
            let vswitch = *rules.listeners.get(&(port, vlan, OwnAddress::Mac(own)))?;
            Caller { from, stations, vswitch: Some(vswitch), start, len }
        }
        ethernet::ETHERTYPE_IPV4 => {
            let ip = ip::parse_v4(payload).ok()?;
            udp_caller(rules, (port, tag), stations, header.len(), ip, payload)?
        }
        ethernet::ETHERTYPE_IPV6 => {
            let ip = ip::parse_v6(payload).ok()?;
            udp_caller(rules, (port, tag), stations, header.len(), ip, payload)?
        }
        _ => return None,
    };
    //= WIRE §2.1: of an unknown address only a hello or a Noise control message is considered
    let word = frame.get(caller.start..)?.first_chunk()?;
    matches!(u32::from_be_bytes(*word), 0 | 1 | u32::MAX).then_some(caller)
}

fn udp_caller(
    rules: &Rules,
    (port, tag): (PortId, Option<u16>),
    stations: (MacAddress, MacAddress),
    start: usize,
    header: ip::Header,
    packet: &[u8],
) -> Option<Caller> {
    let end = header.header_len + header.payload_len;
    let fields = udp::parse(packet.get(header.header_len..end)?)?;
    let own = SocketAddr::new(header.destination, fields.destination);
    let peer = SocketAddr::new(header.source, fields.source);
    let at = (port, tag.unwrap_or(UNTAGGED), OwnAddress::Socket(own));
    let vswitch = *rules.listeners.get(&at)?;
    Some(Caller {
        from: LinkAddress::Udp { port, vlan: tag, own, peer },
        stations,
        vswitch: Some(vswitch),
        start: start + header.header_len + udp::HEADER_LEN,
        len: fields.payload_len,
    })
}

fn bad_ip(bad: ip::Bad) -> DropReason {
    match bad {
        ip::Bad::Runt => DropReason::Runt,
        ip::Bad::Malformed => DropReason::IpMalformed,
        ip::Bad::Fragment => DropReason::IpFragment,
    }
}

/// Both fit: they come from 16-bit length fields and headers shorter than 128 bytes.
#[inline]
fn arrival(slot: u32, start: usize, len: usize) -> Arrival {
    Arrival { slot, start: u16::try_from(start).unwrap_or(0), len: u16::try_from(len).unwrap_or(0) }
}
