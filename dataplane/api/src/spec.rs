//! The wanted state of the switches, as one value. Sending it twice is harmless.
//!
//! What belongs to the process (cores, ports, memory) is not here but in the daemon's configuration: it does not
//! change while the process runs.

use crate::{Generation, VifPolicy};
use serde::{Deserialize, Serialize};
use std::net::{Ipv6Addr, SocketAddr};
use wire::scheme::{Form, Scheme, SchemeError};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Everything the switches shall be. Whole, versioned, all or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Must grow with each spec that differs.
    #[serde(default)]
    pub generation: Generation,
    /// The virtual switches; names are unique.
    #[serde(default, rename = "vswitch")]
    pub vswitches: Vec<VswitchSpec>,
    /// Cables between vswitches of this box. Listing both ends is the consent of both.
    #[serde(default, rename = "cable")]
    pub cables: Vec<CableSpec>,
    /// What ports are sold as; without it a port has no leases, and sends as fast as it can.
    #[serde(default, rename = "capacity")]
    pub capacities: Vec<CapacitySpec>,
    /// Leases that run, and those to come.
    #[serde(default, rename = "lease")]
    pub leases: Vec<LeaseSpec>,
}

impl Spec {
    /// The same for other people's eyes: every password is [`Secret::HIDDEN`].
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        let hide = |secret: &mut Secret| *secret = Secret(Secret::HIDDEN.into());
        for vswitch in &mut self.vswitches {
            vswitch.logins.iter_mut().for_each(|login| hide(&mut login.password));
            for link in vswitch.vifs.iter_mut().filter_map(|vif| vif.link.as_mut()) {
                if let Session::Node(node) = link.session_mut() {
                    node.password.as_mut().map(hide);
                }
            }
        }
        self
    }
}

/// One virtual switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VswitchSpec {
    /// Unique, at most [`crate::limits::NAME_LEN_MAX`] bytes.
    pub name: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: u32,
    /// Permanent public key: 52 base-32 characters and `.k`. Its address must lie in fc00::/8.
    pub public_key: String,
    /// How its labels name vifs.
    #[serde(default)]
    pub scheme: SchemeSpec,
    /// Its interfaces.
    #[serde(default, rename = "vif")]
    pub vifs: Vec<VifSpec>,
    /// Allowed (ingress role, egress role) pairs; `None` is valley-free: what came from or goes to a customer.
    #[serde(default)]
    pub allow: Option<Vec<(Role, Role)>>,
    /// Who may log in from an address that no vif names: each becomes a vif by itself.
    #[serde(default, rename = "login")]
    pub logins: Vec<LoginSpec>,
    /// Where such neighbours may call.
    #[serde(default, rename = "listen")]
    pub listens: Vec<ListenSpec>,
    /// Which route server (supernode) its router announces itself to.
    #[serde(default)]
    pub route_server: RouteServerSpec,
}

impl VswitchSpec {
    /// Whether packets from a vif of one role may leave by a vif of another.
    #[must_use]
    pub fn allows(&self, from: Role, to: Role) -> bool {
        match &self.allow {
            Some(pairs) => pairs.contains(&(from, to)),
            None => from == Role::Customer || to == Role::Customer,
        }
    }
}

/// The route server of a vswitch. Source: CJDNS-WIRE.md §6.4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteServerSpec {
    /// Whichever its neighbours use.
    #[default]
    Any,
    /// The vswitch is one itself.
    Itself,
    /// One of those with these public keys, and no other.
    Keys(Vec<String>),
}

/// What a neighbour may log in with. Source: CJDNS-WIRE.md §7.3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginSpec {
    /// Login name, and how the neighbour is shown; unique in its vswitch.
    pub user: String,
    /// Shared with the neighbour.
    pub password: Secret,
    /// Only the node with this address may use it.
    #[serde(default)]
    pub only: Option<Ipv6Addr>,
    /// Role of the vif that a neighbour becomes.
    #[serde(default)]
    pub role: Role,
    /// Policy of that vif.
    #[serde(default)]
    pub policy: VifPolicy,
}

/// An own address that takes calls of neighbours that no vif names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ListenSpec {
    /// ETHInterface frames, ethertype 0xfc00.
    Ethernet {
        /// Name of the port.
        port: String,
        /// 802.1Q tag; `None` for untagged.
        #[serde(default)]
        vlan: Option<u16>,
        /// Own address; `None`: derived from the vswitch key and the port.
        #[serde(default)]
        local: Option<MacAddress>,
        /// Whether to meet neighbours by broadcast.
        #[serde(default)]
        beacon: BeaconMode,
    },
    /// UDP datagrams.
    Udp {
        /// Name of the port.
        port: String,
        /// 802.1Q tag; `None` for untagged.
        #[serde(default)]
        vlan: Option<u16>,
        /// Own address.
        local: SocketAddr,
    },
}

/// What is done with beacons on a (port, VLAN). Source: CJDNS-WIRE.md §1.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeaconMode {
    /// Nothing.
    #[default]
    Off,
    /// Whoever sends one is dialled.
    Accept,
    /// The same, and our own are sent.
    Send,
}

/// A word that is not shown, and is wiped when dropped. It crosses the socket and lies on disk as it is: both are the
/// owner's alone.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Secret {
    /// What stands in a spec that is shown without its secrets. No spec with it is taken.
    pub const HIDDEN: &str = "(not shown)";

    /// Whether this is the mark of a secret that was left out.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0 == Self::HIDDEN
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// An encoding scheme, by name or by its forms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemeSpec {
    /// 4, 7 and 10 bit directors; the network's default.
    #[default]
    V358,
    /// 5 and 9 bit directors.
    V48,
    /// Fixed 4 bits.
    F4,
    /// Fixed 8 bits.
    F8,
    /// Forms in ascending order of `bit_count`; numbers are data as they stand.
    Forms(Vec<FormSpec>),
}

impl SchemeSpec {
    /// The scheme of this name, or of these forms.
    ///
    /// # Errors
    /// The forms are no scheme.
    pub fn scheme(&self) -> Result<Scheme, SchemeError> {
        match self {
            Self::V358 => Ok(Scheme::v358()),
            Self::V48 => Ok(Scheme::v48()),
            Self::F4 => Ok(Scheme::f4()),
            Self::F8 => Ok(Scheme::f8()),
            Self::Forms(forms) => {
                let form = |form: &FormSpec| Form {
                    bit_count: form.bit_count,
                    prefix_len: form.prefix_len,
                    prefix: form.prefix,
                };
                Scheme::from_forms(&forms.iter().map(form).collect::<Vec<_>>())
            }
        }
    }
}

/// One form of an encoding scheme: a director is `data << prefix_len | prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormSpec {
    /// Bits of data.
    pub bit_count: u8,
    /// Bits of prefix.
    pub prefix_len: u8,
    /// The prefix.
    pub prefix: u32,
}

/// One vif.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VifSpec {
    /// As labels number it; never 1, which is the vswitch itself.
    pub number: u16,
    /// For the class matrix.
    #[serde(default)]
    pub role: Role,
    /// Longest switch packet (header included) to send on it, bytes; `None`: what the port's MTU allows.
    #[serde(default)]
    pub mtu: Option<u16>,
    /// The link behind it; `None` for the end of a cable.
    #[serde(default)]
    pub link: Option<LinkSpec>,
    /// What its packets may claim, and who sees them.
    #[serde(default)]
    pub policy: VifPolicy,
}

/// What the neighbour behind a vif is to the tenant.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Role {
    /// Pays the tenant: traffic to and from it may go anywhere.
    #[default]
    Customer,
    /// Exchanges customers' traffic.
    Peer,
    /// Is paid by the tenant.
    Provider,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Peer, Self::Provider];
}

/// Six bytes, written `aa:bb:cc:dd:ee:ff`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// Where a neighbour is and how its link is protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LinkSpec {
    /// ETHInterface frames, ethertype 0xfc00.
    Ethernet {
        /// Name of the port.
        port: String,
        /// 802.1Q tag; `None` for untagged.
        #[serde(default)]
        vlan: Option<u16>,
        /// Own address; `None`: derived from the vswitch key and the port.
        #[serde(default)]
        local: Option<MacAddress>,
        /// The neighbour's address.
        peer: MacAddress,
        /// Protection.
        session: Session,
    },
    /// UDP datagrams; both addresses of one family.
    Udp {
        /// Name of the port.
        port: String,
        /// 802.1Q tag; `None` for untagged.
        #[serde(default)]
        vlan: Option<u16>,
        /// Own address.
        local: SocketAddr,
        /// The neighbour's address.
        peer: SocketAddr,
        /// Protection.
        session: Session,
    },
}

impl LinkSpec {
    /// Its protection.
    #[must_use]
    pub fn session(&self) -> &Session {
        let (Self::Ethernet { session, .. } | Self::Udp { session, .. }) = self;
        session
    }

    fn session_mut(&mut self) -> &mut Session {
        let (Self::Ethernet { session, .. } | Self::Udp { session, .. }) = self;
        session
    }

    /// The node behind it, unless it is plain.
    #[must_use]
    pub fn node(&self) -> Option<&NodeSpec> {
        match self.session() {
            Session::Node(node) => Some(node),
            Session::Plain => None,
        }
    }
}

/// How a link's packets are protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// Not at all: a trusted cable between boxes, bound to (port, VLAN, addresses).
    Plain,
    /// An encrypted session with a node.
    Node(NodeSpec),
}

/// The node behind a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its permanent key: 52 base-32 characters and `.k`.
    pub public_key: String,
    /// What to log in with; `None`: the node logs in, or needs nothing of us.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Login name that goes with the password; without it the password alone must do.
    #[serde(default)]
    pub login: Option<String>,
    /// Which handshake to begin with. What the node begins with is taken either way.
    #[serde(default)]
    pub handshake: Handshake,
    /// On Ethernet it reads all frames that wait, so that none of ours need keep a distance. A stock cjdroute does not.
    #[serde(default)]
    pub reads_all: bool,
}

/// A vif that a neighbour became by logging in, or by a beacon. It yields to the spec where the two collide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedVif {
    /// Name of its vswitch.
    pub vswitch: String,
    /// Login name by which it came; `None`: by a beacon.
    #[serde(default)]
    pub user: Option<String>,
    /// The vif; its link has a [`Session::Node`].
    pub vif: VifSpec,
}

/// The two session kinds of cjdns. Source: CJDNS-WIRE.md §2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handshake {
    /// Understood by every node.
    #[default]
    CryptoAuth,
    /// Noise IKpsk2: for nodes that are known to speak it.
    Noise,
}

/// A vif, by the names that a spec gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VifName {
    /// Name of the vswitch.
    pub vswitch: String,
    /// Number of its vif, one without a link.
    pub vif: u16,
}

/// A vif pair that joins two vswitches of this box without crypto.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CableSpec {
    /// One end.
    pub a: VifName,
    /// The other.
    pub b: VifName,
}

/// What a port is sold as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacitySpec {
    /// Name of the port.
    pub port: String,
    /// Most that is sent, bytes of wire a second (preamble, gap and check sequence included). What is behind the port
    /// may be slower than the port.
    pub rate: u64,
}

/// Which way packets go.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Out of the box: decides in which order packets leave.
    #[default]
    Out,
    /// Into it: decides whose packets are shed first when the box is short of time.
    In,
}

/// The right to a rate on one port. Source: ARCHITECTURE.md, "Leases, priority, free".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseSpec {
    /// Unique; its receipts and counters go by it.
    pub id: u32,
    /// Whose packets it is for: vifs of one port. A vif has at most one lease in each direction at a time.
    pub vifs: Vec<VifName>,
    /// Which way.
    #[serde(default)]
    pub direction: Direction,
    /// Guaranteed, bytes of wire a second.
    pub rate: u64,
    /// How much of that at once, bytes; `None`: the larger of 6 of the longest frames and 5 ms at the rate.
    #[serde(default)]
    pub burst: Option<u64>,
    /// Weight in what guarantees leave over, bytes a second; `None`: the rate. 0: what is above the guarantee is free.
    #[serde(default)]
    pub weight: Option<u64>,
    /// Most that leaves at all, bytes of wire a second.
    #[serde(default)]
    pub ceiling: Option<u64>,
    /// Packets leave in the order they came, whatever they are to the lease.
    #[serde(default)]
    pub preserve_order: bool,
    /// Unix milliseconds from which on it holds; `None`: always has.
    #[serde(default)]
    pub start: Option<u64>,
    /// Unix milliseconds from which on it does not; `None`: never.
    #[serde(default)]
    pub end: Option<u64>,
}

/// Text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MAC address {0:?}: expected six hexadecimal bytes joined by colons")]
pub struct BadMac(String);

impl TryFrom<String> for MacAddress {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        text.parse()
    }
}

impl std::str::FromStr for MacAddress {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).ok().ok_or_else(bad)?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl std::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_for_other_eyes_has_no_password() {
        let secret = || Secret("hunter2".into());
        let node = NodeSpec {
            public_key: "x.k".into(),
            password: Some(secret()),
            login: Some("us".into()),
            handshake: Handshake::CryptoAuth,
            reads_all: false,
        };
        let link = LinkSpec::Ethernet {
            port: "west".into(),
            vlan: None,
            local: None,
            peer: MacAddress([2; 6]),
            session: Session::Node(node),
        };
        let vif = VifSpec {
            number: 2,
            role: Role::Peer,
            mtu: None,
            link: Some(link),
            policy: Default::default(),
        };
        let login = LoginSpec {
            user: "them".into(),
            password: secret(),
            only: None,
            role: Role::Peer,
            policy: Default::default(),
        };
        let red = VswitchSpec { vifs: vec![vif], logins: vec![login], ..Default::default() };
        let shown = Spec { vswitches: vec![red], ..Default::default() }.without_secrets();
        let vswitch = &shown.vswitches[0];
        assert!(vswitch.logins[0].password.is_hidden());
        let node = vswitch.vifs[0].link.as_ref().and_then(LinkSpec::node).unwrap();
        assert_eq!(
            (node.password.as_ref().unwrap().is_hidden(), node.login.is_some()),
            (true, true)
        );
    }

    #[test]
    fn mac_addresses_read_back() {
        let mac: MacAddress = "02:00:5e:10:ff:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:ff:01");
        for bad in
            ["", "02:00:5e:10:ff", "02:00:5e:10:ff:01:02", "2:00:5e:10:ff:01", "02:00:5e:10:ff:+1x"]
        {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
