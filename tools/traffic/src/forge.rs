//! Hostile frames: valid ones broken in one place that is known by name.

use crate::link::Link;
use crate::payload;
use crate::rng::Rng;
use crate::scenario::Stream;
use dataplane_api::{DropReason, MacAddress};
use wire::control::{self, Ping, kind, magic};
use wire::switch::{self, Header};
use wire::{ethernet, ip, udp};
use zerocopy::IntoBytes;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal => $reason:expr,)*) => {
        /// What is wrong with a forged frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is shown.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a box names its drop, if it sees the frame; `None` where that depends on chance. A port whose XDP
            /// program takes only the box's own addresses leaves unknown ones to the kernel.
            #[must_use]
            pub const fn reason(self) -> Option<DropReason> {
                match self { $(Self::$variant => $reason,)* }
            }
        }
    };
}

kinds! {
    /// Ends within the ETHInterface header.
    Runt = "runt" => Some(DropReason::Runt),
    /// ETHInterface version 1 to 255.
    EthVersion = "eth_version" => Some(DropReason::EthVersion),
    /// ETHInterface length beyond the frame.
    EthLengthLong = "eth_length_long" => Some(DropReason::EthLength),
    /// ETHInterface length below its header's.
    EthLengthShort = "eth_length_short" => Some(DropReason::EthLength),
    /// ETHInterface magic that is not fc00.
    EthMagic = "eth_magic" => Some(DropReason::EthMagic),
    /// A destination that nobody has.
    UnknownDestination = "unknown_destination" => Some(DropReason::UnknownVswitch),
    /// A source that is nobody's neighbour.
    UnknownSource = "unknown_source" => Some(DropReason::UnknownLink),
    /// A frame to everybody.
    Beacon = "beacon" => Some(DropReason::BeaconOff),
    /// IPv4 or IPv6 header with a wrong version.
    IpMalformed = "ip_malformed" => Some(DropReason::IpMalformed),
    /// An IPv4 fragment.
    IpFragment = "ip_fragment" => Some(DropReason::IpFragment),
    /// UDP length below its header's.
    UdpMalformed = "udp_malformed" => Some(DropReason::UdpMalformed),
    /// UDP checksum off by some bits.
    UdpChecksum = "udp_checksum" => Some(DropReason::UdpChecksum),
    /// Fewer bytes than a switch header has.
    SwitchRunt = "switch_runt" => Some(DropReason::SwitchRunt),
    /// A label shifted so far that no director fits any more.
    LabelShift = "label_shift" => Some(DropReason::LabelShift),
    /// Any label.
    RandomLabel = "random_label" => None,
    /// Any label, and no error wanted.
    RandomLabelSuppressed = "random_label_suppressed" => None,
    /// For the vswitch itself, and no control message.
    NotControl = "not_control" => Some(DropReason::NotControl),
    /// A ping with a wrong checksum.
    ControlChecksum = "control_checksum" => Some(DropReason::ControlChecksum),
    /// A control message cut before its type.
    ControlLength = "control_length" => Some(DropReason::ControlLength),
    /// A control message of no known type.
    ControlType = "control_type" => Some(DropReason::ControlType),
    /// A ping with another magic.
    ControlMagic = "control_magic" => Some(DropReason::ControlMagic),
    /// A ping of a protocol version before 20.
    ControlVersion = "control_version" => Some(DropReason::ControlVersion),
    /// Any bytes behind the Ethernet header.
    RandomBytes = "random_bytes" => None,
    /// A valid frame with one bit flipped.
    BitFlip = "bit_flip" => None,
    /// A valid frame cut somewhere.
    Cut = "cut" => None,
}

impl Kind {
    /// Whether frames of this link can be broken so.
    #[must_use]
    pub const fn applies_to(self, link: &Link) -> bool {
        let ethernet = matches!(
            self,
            Self::Runt
                | Self::EthVersion
                | Self::EthLengthLong
                | Self::EthLengthShort
                | Self::EthMagic
                | Self::UnknownDestination
                | Self::Beacon
        );
        let udp = matches!(self, Self::IpMalformed | Self::UdpMalformed | Self::UdpChecksum);
        match link {
            Link::Ethernet { .. } => !udp && !matches!(self, Self::IpFragment),
            Link::Udp { source, .. } => {
                !ethernet && (source.is_ipv4() || !matches!(self, Self::IpFragment))
            }
        }
    }
}

/// Forges frames on known links.
#[derive(Clone, Debug, Default)]
pub struct Forger {
    models: Vec<(Link, Header)>,
}

impl Forger {
    /// Frames may be forged on this stream's link.
    pub fn learn(&mut self, stream: &Stream) {
        self.models.push((stream.link, stream.header()));
    }

    /// A frame of any kind on any link. `None`: it knows no link.
    pub fn forge(&self, rng: &mut Rng) -> Option<(Kind, Vec<u8>)> {
        let (link, header) = *self.models.get(rng.index(self.models.len()))?;
        let kinds = Kind::ALL.iter().filter(|kind| kind.applies_to(&link));
        let kind = *kinds.clone().nth(rng.index(kinds.count()))?;
        Some((kind, forge(kind, &link, header, rng)?))
    }
}

/// A frame on `link` that is as valid as one with `header`, but for `kind`. `None`: it does not apply to the link.
///
/// At least 14 bytes long, or no port would send it.
pub fn forge(kind: Kind, link: &Link, header: Header, rng: &mut Rng) -> Option<Vec<u8>> {
    if !kind.applies_to(link) {
        return None;
    }
    let mut valid = || link.frame(&packet(header, rng));
    // Where the ETHInterface, IP and UDP headers begin.
    let inner = if link.vlan().is_some() {
        ethernet::HEADER_LEN + ethernet::TAG_LEN
    } else {
        ethernet::HEADER_LEN
    };
    let udp_at = link.overhead() - udp::HEADER_LEN;
    match kind {
        Kind::Runt => cut(valid()?, inner + rng.index(6)),
        Kind::EthVersion => set(valid()?, inner, &[1 + rng.byte() % 255]),
        Kind::EthLengthLong => set(valid()?, inner + 2, &[0xf0 | rng.byte(), rng.byte()]),
        Kind::EthLengthShort => set(valid()?, inner + 2, &[0, rng.byte() % 6]),
        Kind::EthMagic => set(valid()?, inner + 4, &[0xfc ^ (1 + rng.byte() % 255)]),
        Kind::UnknownDestination => set(valid()?, 0, &stranger(rng).0),
        Kind::UnknownSource => match link {
            Link::Ethernet { .. } => set(valid()?, 6, &stranger(rng).0),
            // A port that the neighbour does not use; the checksum is right.
            Link::Udp { source, .. } => {
                let mut other = *link;
                let port = source.port() ^ (1 + u16::from(rng.byte() % 127));
                if let Link::Udp { source, .. } = &mut other {
                    source.set_port(port.max(1));
                }
                other.frame(&packet(header, rng))
            }
        },
        Kind::Beacon => set(valid()?, 0, &ethernet::BROADCAST),
        Kind::IpMalformed => set(valid()?, inner, &[0x15 | rng.byte() & 0x20]),
        Kind::IpFragment => {
            let mut frame = valid()?;
            let header = frame.get_mut(inner..inner + ip::V4_HEADER_LEN)?;
            header.get_mut(6..8)?.copy_from_slice(&[0x20, rng.byte()]);
            header.get_mut(10..12)?.fill(0);
            let sum = wire::checksum::checksum(header).to_be_bytes();
            header.get_mut(10..12)?.copy_from_slice(&sum);
            Some(frame)
        }
        Kind::UdpMalformed => set(valid()?, udp_at + 4, &[0, rng.byte() % 8]),
        Kind::UdpChecksum => flip(valid()?, (udp_at + 6) * 8 + rng.index(16)),
        Kind::SwitchRunt => link.frame(header.as_bytes().get(..rng.index(switch::HEADER_LEN))?),
        Kind::LabelShift => {
            let mut shifted = header;
            shifted.set_shift(switch::SHIFT_MAX);
            link.frame(&packet(shifted, rng))
        }
        Kind::RandomLabel => link.frame(&packet(Header::new(rng.bits(), 0), rng)),
        Kind::RandomLabelSuppressed => link.frame(&packet(Header::new(rng.bits(), 1), rng)),
        Kind::RandomBytes => {
            let mut frame = valid()?;
            frame.iter_mut().skip(inner).for_each(|byte| *byte = rng.byte());
            Some(frame)
        }
        Kind::BitFlip => {
            let frame = valid()?;
            let bit = rng.index(frame.len() * 8);
            flip(frame, bit)
        }
        Kind::Cut => {
            let frame = valid()?;
            let len = ethernet::HEADER_LEN + rng.index(frame.len() - ethernet::HEADER_LEN);
            cut(frame, len)
        }
        Kind::NotControl
        | Kind::ControlChecksum
        | Kind::ControlLength
        | Kind::ControlType
        | Kind::ControlMagic
        | Kind::ControlVersion => link.frame(&to_itself(kind, rng)),
    }
}

/// A packet to the vswitch itself that is not a control message it takes.
fn to_itself(what: Kind, rng: &mut Rng) -> Vec<u8> {
    // Self in all schemes, and the neighbour's return bit.
    let header = Header::new(1 << 63 | wire::label::SELF, 0);
    let mut body = Ping { magic: magic::PING.into(), version: control::PROTOCOL_VERSION.into() };
    let mut number = kind::PING;
    if what == Kind::ControlMagic {
        body.magic = (magic::PING ^ 0x0101).into();
    } else if what == Kind::ControlVersion {
        body.version = u32::from(rng.byte() % 20).into();
    } else if what == Kind::ControlType {
        number = 100 + u16::from(rng.byte());
    }
    let mut packet = control::packet(header, number, &body, &rng.bits().to_be_bytes());
    if what == Kind::NotControl {
        packet.iter_mut().skip(switch::HEADER_LEN).take(4).for_each(|byte| *byte = 0x11);
    } else if what == Kind::ControlChecksum {
        packet.iter_mut().rev().take(1).for_each(|byte| *byte ^= 0x40);
    } else if what == Kind::ControlLength {
        packet.truncate(switch::HEADER_LEN + 4 + rng.index(4));
    }
    packet
}

/// Payload that looks like end-to-end traffic, and not like ours: it must not count as received.
fn packet(header: Header, rng: &mut Rng) -> Vec<u8> {
    let mut packet = header.as_bytes().to_vec();
    packet.extend((!payload::MAGIC).to_be_bytes());
    packet.extend((0..24 + rng.index(64)).map(|_| rng.byte()));
    packet
}

/// A unicast address that no vendor gave out: drawn from a corner of the local ones.
fn stranger(rng: &mut Rng) -> MacAddress {
    let [a, b, c, d, ..] = rng.bits().to_be_bytes();
    MacAddress([0xee, 0xbd, a, b, c, d])
}

fn set(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    frame.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
    Some(frame)
}

fn flip(mut frame: Vec<u8>, bit: usize) -> Option<Vec<u8>> {
    *frame.get_mut(bit / 8)? ^= 1 << (bit % 8);
    Some(frame)
}

#[expect(clippy::unnecessary_wraps, reason = "the same shape as its neighbours in the match")]
fn cut(mut frame: Vec<u8>, len: usize) -> Option<Vec<u8>> {
    frame.truncate(len);
    Some(frame)
}
