//! What is known of neighbours and of callers, for what is not on the packet path.

use dataplane_api::{BeaconMode, Handshake, MacAddress, PortId, Secret};
use std::net::SocketAddr;
use wire::key::PublicKey;

/// The node behind an encrypted link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its permanent key.
    pub key: PublicKey,
    /// What to log in with.
    pub password: Option<Secret>,
    /// Login name that goes with it.
    pub login: Option<String>,
    /// Which handshake to begin with.
    pub handshake: Handshake,
    /// On Ethernet it reads all frames that wait.
    pub reads_all: bool,
    /// It came by itself, and may be forgotten.
    pub learned: bool,
    /// How it is shown: the login that it came with.
    pub user: Option<String>,
}

/// An own address at which neighbours may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Port.
    pub port: PortId,
    /// 802.1Q tag.
    pub vlan: Option<u16>,
    /// The address.
    pub own: OwnAddress,
    /// What is done with beacons there; always off for UDP.
    pub beacon: BeaconMode,
}

/// An address of a vswitch on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnAddress {
    /// Of ETHInterface frames.
    Mac(MacAddress),
    /// Of datagrams.
    Socket(SocketAddr),
}

impl std::fmt::Display for OwnAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Socket(socket) => socket.fmt(f),
        }
    }
}
