//! Control messages: what follows the switch header of a packet for a node itself. Source: CJDNS-WIRE.md §3.3, §5.
//!
//! ```text
//!  0            4          6      8
//! | ff ff ff ff | checksum | type | body …
//! ```
//!
//! The checksum covers itself, type and body. Every body but an error's begins with a magic and a protocol version,
//! and ends with an opaque tail that a reply returns unchanged.

use crate::checksum;
use crate::label::reverse;
use crate::switch::{self, QUOTABLE_MIN};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian as be};

/// What a control message begins with.
pub const MARK: [u8; 4] = [0xff; 4];
/// Bytes before the body: mark, checksum, type.
pub const ENVELOPE_LEN: usize = 8;
/// Shortest body that is looked at.
pub const BODY_LEN_MIN: usize = 4;
/// This protocol.
pub const PROTOCOL_VERSION: u32 = 22;
/// Oldest protocol that is answered.
pub const PROTOCOL_VERSION_MIN: u32 = 20;
/// Most opaque bytes of a key ping.
pub const KEY_PING_OPAQUE_MAX: usize = 64;
/// Most bytes of a packet that an error quotes.
pub const QUOTE_MAX: usize = 256;
/// Longest error packet, switch header included.
pub const ERROR_LEN_MAX: usize = switch::HEADER_LEN + ENVELOPE_LEN + 4 + QUOTE_MAX;

/// Types.
pub mod kind {
    /// A switch or router reports what it could not do; never answered.
    pub const ERROR: u16 = 2;
    /// Is anyone there?
    pub const PING: u16 = 3;
    /// Answer to [`PING`].
    pub const PONG: u16 = 4;
    /// Who is there?
    pub const KEY_PING: u16 = 5;
    /// Answer to [`KEY_PING`].
    pub const KEY_PONG: u16 = 6;
    /// Which supernode do you use?
    pub const GET_SNODE: u16 = 7;
    /// Answer to [`GET_SNODE`].
    pub const GET_SNODE_REPLY: u16 = 8;
    /// By which path do you reach me?
    pub const RPATH: u16 = 9;
    /// Answer to [`RPATH`].
    pub const RPATH_REPLY: u16 = 10;
    /// At which link-layer address do you see me?
    pub const LLADDR: u16 = 11;
    /// Answer to [`LLADDR`].
    pub const LLADDR_REPLY: u16 = 12;
    /// Shall we tell each other what packets claim, in the traffic class? Between boxes alone: from 0x8000 on types are free
    /// to use, and other nodes drop what they do not know (CJDNS-WIRE.md §5).
    pub const CLASS_OFFER: u16 = 0x8c1a;
    /// Answer to [`CLASS_OFFER`]: yes.
    pub const CLASS_ACCEPT: u16 = 0x8c1b;
}

/// Magics. RPATH has those of GETSNODE.
pub mod magic {
    /// Of a ping.
    pub const PING: u32 = 0x09f9_1102;
    /// Of a pong.
    pub const PONG: u32 = 0x9d74_e35b;
    /// Of a key ping.
    pub const KEY_PING: u32 = 0x0123_4567;
    /// Of a key pong.
    pub const KEY_PONG: u32 = 0x89ab_cdef;
    /// Of a GETSNODE or RPATH query.
    pub const SNODE_QUERY: u32 = 0x736e_6f71;
    /// Of a GETSNODE or RPATH reply.
    pub const SNODE_REPLY: u32 = 0x736e_6f72;
    /// Of an offer to tell claims.
    pub const CLASS_OFFER: u32 = 0x7379_6f66;
    /// Of its acceptance.
    pub const CLASS_ACCEPT: u32 = 0x7379_6163;
    /// Of an LLADDR query.
    pub const LLADDR_QUERY: u32 = 0x6c6c_6171;
    /// Of an LLADDR reply.
    pub const LLADDR_REPLY: u32 = 0x6c6c_6172;
}

/// Codes of errors that a switch sends.
pub mod code {
    /// The label cannot be followed here.
    pub const MALFORMED_ADDRESS: u32 = 1;
    /// The label leaves no room for the way back.
    pub const RETURN_PATH_INVALID: u32 = 10;
}

/// Why a payload is no control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Does not begin with [`MARK`].
    #[error("not a control message")]
    Mark,
    /// Shorter than checksum, type and four bytes.
    #[error("control message cut short")]
    Length,
    /// Does not sum up.
    #[error("control message with a wrong checksum")]
    Checksum,
}

/// A control message with a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// One of [`kind`], or unknown.
    pub kind: u16,
    /// What follows the type.
    pub body: &'a [u8],
}

/// Magic and version, which every body but an error's begins with; all of a ping's.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ping {
    /// See [`magic`].
    pub magic: be::U32,
    /// Protocol version of the sender.
    pub version: be::U32,
}

/// Body of a key ping or pong.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct KeyPing {
    /// Magic and version.
    pub head: Ping,
    /// Public key of the sender.
    pub key: [u8; 32],
}

/// Body of a GETSNODE query or reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GetSnode {
    /// Magic and version.
    pub head: Ping,
    /// Protocol version of the supernode, 0 for none.
    pub snode_version: be::U32,
    /// Rate of the link, all ones for unknown.
    pub kbps: be::U32,
    /// Key of the supernode, zero for none.
    pub snode_key: [u8; 32],
    /// Path to it.
    pub path: be::U64,
}

/// Body of an RPATH query or reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Rpath {
    /// Magic and version.
    pub head: Ping,
    /// Path from the sender to the receiver.
    pub path: be::U64,
}

/// Body of an LLADDR query or reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Lladdr {
    /// Magic and version.
    pub head: Ping,
    /// Type, length and address; see [`link_address`].
    pub address: [u8; 32],
}

/// Reads what follows a switch header.
///
/// # Errors
/// [`Bad`].
pub fn parse(payload: &[u8]) -> Result<Message<'_>, Bad> {
    let message = payload.strip_prefix(&MARK).ok_or(Bad::Mark)?;
    let Some((head, body)) =
        message.split_first_chunk::<4>().filter(|(_, body)| body.len() >= BODY_LEN_MIN)
    else {
        return Err(Bad::Length);
    };
    if !checksum::is_right(message) {
        return Err(Bad::Checksum);
    }
    Ok(Message { kind: u16::from_be_bytes([head[2], head[3]]), body })
}

/// Writes mark, type and checksum before a body that stands at [`ENVELOPE_LEN`]. `false`: no room for them.
#[must_use]
pub fn seal(payload: &mut [u8], kind: u16) -> bool {
    let Some((mark, message)) = payload.split_first_chunk_mut::<4>() else { return false };
    let Some(head) = message.first_chunk_mut::<4>() else { return false };
    let [k0, k1] = kind.to_be_bytes();
    *mark = MARK;
    *head = [0, 0, k0, k1];
    let checksum = checksum::checksum(message).to_be_bytes();
    if let Some(field) = message.first_chunk_mut::<2>() {
        *field = checksum;
    }
    true
}

/// A whole control packet: header, envelope, body and opaque tail.
#[must_use]
pub fn packet<B: IntoBytes + Immutable>(
    header: switch::Header,
    kind: u16,
    body: &B,
    opaque: &[u8],
) -> Vec<u8> {
    let mut packet = header.as_bytes().to_vec();
    packet.extend([0; ENVELOPE_LEN]);
    packet.extend(body.as_bytes());
    packet.extend(opaque);
    // The envelope's room is right above.
    let _sealed = packet.get_mut(switch::HEADER_LEN..).is_some_and(|payload| seal(payload, kind));
    packet
}

/// The error packet that a switch sends back about `received`, straight out of the interface it came in on. `None`:
/// too short to quote, or it suppresses errors.
#[must_use]
pub fn error_about(received: &[u8], code: u32) -> Option<Vec<u8>> {
    let (header, _) = switch::Header::split(received).filter(|_| received.len() >= QUOTABLE_MIN)?;
    if header.suppresses_errors() {
        return None;
    }
    let mut answer = switch::Header::new(reverse(header.label()), 0b11);
    answer.set_shift(0);
    Some(packet(
        answer,
        kind::ERROR,
        &be::U32::new(code),
        &received[..received.len().min(QUOTE_MAX)],
    ))
}

/// The address area of an LLADDR reply: an IP address and port, or nothing known (Ethernet: type 3, zeros).
#[must_use]
pub fn link_address(address: Option<std::net::SocketAddr>) -> [u8; 32] {
    let mut area = [0; 32];
    match address {
        Some(std::net::SocketAddr::V4(address)) => {
            area[..2].copy_from_slice(&[1, 8]);
            area[2..4].copy_from_slice(&address.port().to_be_bytes());
            area[4..8].copy_from_slice(&address.ip().octets());
        }
        Some(std::net::SocketAddr::V6(address)) => {
            area[..2].copy_from_slice(&[2, 20]);
            area[2..4].copy_from_slice(&address.port().to_be_bytes());
            area[4..20].copy_from_slice(&address.ip().octets());
        }
        None => area[..2].copy_from_slice(&[3, 32]),
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_parses_until_a_bit_flips() {
        let body = Ping { magic: magic::PING.into(), version: PROTOCOL_VERSION.into() };
        let bytes = packet(switch::Header::new(1, 0), kind::PING, &body, b"odd");
        let payload = &bytes[switch::HEADER_LEN..];
        let message = parse(payload).unwrap();
        assert_eq!((message.kind, message.body.len()), (kind::PING, 11));
        for bit in 0..payload.len() * 8 {
            let mut flipped = payload.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let bad = if bit < 32 { Bad::Mark } else { Bad::Checksum };
            assert_eq!(parse(&flipped), Err(bad), "bit {bit}");
        }
        assert_eq!(parse(&payload[..11]), Err(Bad::Length));
    }
}
