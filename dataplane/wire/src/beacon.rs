//! Beacons: how a node offers itself to neighbours on one wire. Source: CJDNS-WIRE.md §1.2, §1.4.

use crate::key::PublicKey;

/// Bytes of a beacon's body.
pub const BODY_LEN: usize = 56;
/// Bytes of a beacon over UDP: a header, then the body.
pub const UDP_LEN: usize = UDP_HEADER_LEN + BODY_LEN;

const UDP_HEADER_LEN: usize = 8;
const UDP_MAGIC: [u8; 4] = [0xff, 0xff, 0xff, 0xfc];

/// What a beacon says; over Ethernet it is the payload of a broadcast ETHInterface frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Beacon {
    /// Protocol version of the sender. A default 22.3 build says 21 on purpose.
    pub version: u32,
    /// What to log in with; all 20 bytes, a closing NUL included.
    pub password: [u8; 20],
    /// Permanent key of the sender.
    pub key: PublicKey,
}

impl Beacon {
    /// Reads a body. `None`: shorter than one; bytes after it are padding.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (version, rest) = body.split_first_chunk::<4>()?;
        let (password, rest) = rest.split_first_chunk::<20>()?;
        let key = PublicKey(*rest.first_chunk::<32>()?);
        Some(Self { version: u32::from_be_bytes(*version), password: *password, key })
    }

    /// The body.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BODY_LEN] {
        let mut body = [0; BODY_LEN];
        body[..4].copy_from_slice(&self.version.to_be_bytes());
        body[4..24].copy_from_slice(&self.password);
        body[24..].copy_from_slice(&self.key.0);
        body
    }

    /// Reads a UDP beacon: the beacon and the sender's data port. `None`: not one of version 0.
    #[must_use]
    pub fn parse_udp(payload: &[u8]) -> Option<(Self, u16)> {
        let (header, body) = payload.split_first_chunk::<UDP_HEADER_LEN>()?;
        let [m0, m1, m2, m3, version, zero, p0, p1] = *header;
        if [m0, m1, m2, m3] != UDP_MAGIC || version != 0 || zero != 0 {
            return None;
        }
        Some((Self::parse(body)?, u16::from_be_bytes([p0, p1])))
    }

    /// The UDP beacon of a node whose data port is `port`.
    #[must_use]
    pub fn to_udp_bytes(&self, port: u16) -> [u8; UDP_LEN] {
        let mut bytes = [0; UDP_LEN];
        bytes[..4].copy_from_slice(&UDP_MAGIC);
        bytes[6..8].copy_from_slice(&port.to_be_bytes());
        bytes[UDP_HEADER_LEN..].copy_from_slice(&self.to_bytes());
        bytes
    }
}

impl std::fmt::Debug for Beacon {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beacon")
            .field("version", &self.version)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
