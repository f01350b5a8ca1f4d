//! Why a spec is refused. A refused spec changes nothing.

use dataplane_api::limits::{
    DIRECTOR_BITS_MAX, LOGIN_LEN_MAX, NAME_LEN_MAX, PASSWORD_LEN_MAX, VIFS_MAX, VSWITCHES_MAX,
};
use dataplane_api::{Generation, MacAddress};
use std::net::SocketAddr;
use wire::traffic_class::{WEIGHT_MAX, WEIGHT_MIN};

/// What was attempted, what was found, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not newer than the spec in force.
    #[error(
        "spec of generation {found}: generation {in_force} is in force, a different spec needs a higher one"
    )]
    Generation {
        /// Of the refused spec.
        found: Generation,
        /// Of the spec in force.
        in_force: Generation,
    },
    /// More than the box holds.
    #[error("spec with {0} vswitches: at most {max} are allowed", max = VSWITCHES_MAX)]
    Vswitches(usize),
    /// More than the box holds.
    #[error("spec with {0} vifs: at most {max} are allowed", max = VIFS_MAX)]
    Vifs(usize),
    /// More than this process made room for, or the ids of removed ones are still in use by a worker.
    #[error(
        "id for another {what}: all {room} are in use, {retiring} of them until no worker uses what was removed"
    )]
    Ids {
        /// `vswitch` or `vif`.
        what: &'static str,
        /// Ids of removed things that a worker may still use.
        retiring: usize,
        /// Ids in all.
        room: usize,
    },
    /// Empty, too long, or with a control character.
    #[error("vswitch name {0:?}: 1 to {max} bytes without control characters are allowed", max = NAME_LEN_MAX)]
    Name(String),
    /// Two vswitches of one name.
    #[error("vswitch {0:?}: the name is used twice")]
    NameTwice(String),
    /// Something about one vswitch.
    #[error("vswitch {vswitch:?}: {error}")]
    Vswitch {
        /// Name.
        vswitch: String,
        /// What.
        error: VswitchError,
    },
    /// Something about an address at which neighbours may call.
    #[error("vswitch {vswitch:?} listening: {error}")]
    Listen {
        /// Name.
        vswitch: String,
        /// What.
        error: VifError,
    },
    /// Something about one vif.
    #[error("vswitch {vswitch:?} vif {number}: {error}")]
    Vif {
        /// Name of the vswitch.
        vswitch: String,
        /// Number of the vif.
        number: u16,
        /// What.
        error: VifError,
    },
    /// Something about one cable.
    #[error("cable {a} -- {b}: {error}")]
    Cable {
        /// One end, `vswitch/vif`.
        a: String,
        /// The other.
        b: String,
        /// What.
        error: CableError,
    },
    /// The number maps of all vswitches together.
    #[error("number maps of all vswitches need {0} entries: at most {max} are allowed; number vifs from 2 on", max = crate::rules::MAP_ENTRIES_MAX)]
    NumberMaps(usize),
    /// Something about what a port is sold as.
    #[error("capacity of port {port:?}: {error}")]
    Capacity {
        /// Name of the port.
        port: String,
        /// What.
        error: CapacityError,
    },
    /// Something about one lease.
    #[error("lease {id}: {error}")]
    Lease {
        /// Its id.
        id: u32,
        /// What.
        error: LeaseError,
    },
    /// No seed of the link table works.
    #[error("link table with {0} links: no arrangement was found; compile again with another seed")]
    LinkTable(usize),
}

/// What is wrong with a vswitch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VswitchError {
    /// Not a key.
    #[error("public key {0:?}: expected 52 base-32 characters and `.k`")]
    Key(String),
    /// Its address is not a cjdns address.
    #[error("public key {key}: its address {address} is not in fc00::/8")]
    Address {
        /// The key.
        key: String,
        /// Its address.
        address: std::net::Ipv6Addr,
    },
    /// Two vswitches of one key: their neighbours could not tell them apart.
    #[error("public key {key}: vswitch {other:?} has it too")]
    KeyTwice {
        /// The key.
        key: String,
        /// Who has it.
        other: String,
    },
    /// Not a login name.
    #[error("login {0:?}: expected a user name of 1 to {max} bytes", max = LOGIN_LEN_MAX)]
    Login(String),
    /// Two logins of one name.
    #[error("login {0:?} is given twice")]
    LoginTwice(String),
    /// A login that anybody could guess, or that sessions would refuse.
    #[error("login {0:?}: expected a password of 1 to {max} bytes", max = PASSWORD_LEN_MAX)]
    Password(String),
    /// Not the key of a node.
    #[error("route server {0:?}: expected 52 base-32 characters and .k, of an address in fc00::/8")]
    RouteServer(String),
    /// A login of a spec that was shown without its secrets.
    #[error(
        "login {0:?} has no password, only the mark that `show spec` puts in its place: write the password, or start from `show spec --secrets`"
    )]
    PasswordHidden(String),
    /// Not on the scale of weights.
    #[error(
        "login {user:?}: {what} of {found} bytes/s: {min} to {max} can be told", min = WEIGHT_MIN, max = WEIGHT_MAX
    )]
    LoginWeight {
        /// Of whom.
        user: String,
        /// Which.
        what: &'static str,
        /// What it is.
        found: u64,
    },
    /// The forms are no scheme.
    #[error("scheme: {0}")]
    Scheme(#[from] wire::scheme::SchemeError),
    /// Wider than a decode table may be.
    #[error("scheme with directors of {0} bits: at most {max} are allowed", max = DIRECTOR_BITS_MAX)]
    Width(u8),
    /// Too many different schemes on the box.
    #[error("scheme: the box has {max} different ones already", max = crate::rules::SCHEMES_MAX)]
    Schemes,
}

/// What is wrong with a vif.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VifError {
    /// Number 1 is the vswitch itself.
    #[error("number 1 is the vswitch itself")]
    NumberSelf,
    /// Two vifs of one number.
    #[error("the number is used twice")]
    NumberTwice,
    /// The scheme cannot name it.
    #[error("scheme {scheme} has no director for this number, the highest it has is {highest}")]
    NumberBeyond {
        /// The scheme, in words.
        scheme: String,
        /// Highest number.
        highest: u16,
    },
    /// Neither a link nor the end of a cable.
    #[error("it has no link and no cable ends in it")]
    Nothing,
    /// No such port.
    #[error("port {0:?} is not a port of this process")]
    Port(String),
    /// Nobody can send on it.
    #[error("port {0:?}: no worker has a transmit queue on it")]
    Owner(String),
    /// Not an 802.1Q tag.
    #[error("VLAN {0}: 1 to 4094 are allowed")]
    Vlan(u16),
    /// Tags may be hidden on the port.
    #[error(
        "VLAN {vlan} on port {port:?}: tags may be hidden there, and a frame of another VLAN would look like ours; the status's notices and `check` say why, and what helps"
    )]
    VlanUntrusted {
        /// The tag.
        vlan: u16,
        /// Port.
        port: String,
    },
    /// Not the key of a node.
    #[error("node key {0:?}: expected 52 base-32 characters and .k, of an address in fc00::/8")]
    NodeKey(String),
    /// Not on the scale of weights.
    #[error(
        "{what} of {found} bytes/s: {min} to {max} can be told", min = WEIGHT_MIN, max = WEIGHT_MAX
    )]
    Weight {
        /// Which.
        what: &'static str,
        /// What it is.
        found: u64,
    },
    /// A password that sessions would refuse.
    #[error("the link: expected a password of 1 to {max} bytes", max = PASSWORD_LEN_MAX)]
    Password,
    /// The vswitch's own key.
    #[error("the node behind the link has the vswitch's own key")]
    NodeSelf,
    /// A link of a spec that was shown without its secrets.
    #[error(
        "the link has no password, only the mark that `show spec` puts in its place: write the password, or start from `show spec --secrets`"
    )]
    PasswordHidden,
    /// Plain link beside untrusted neighbours.
    #[error(
        "plain link on port {0:?}: untrusted neighbours are on that port and could forge its packets; force it in the port's configuration if they cannot"
    )]
    Plain(String),
    /// Not an address of one station.
    #[error("{which} MAC address {mac}: expected that of one station")]
    Mac {
        /// `own` or `peer`.
        which: &'static str,
        /// The address.
        mac: MacAddress,
    },
    /// Own and peer address are the same.
    #[error("own and peer address are both {0}")]
    SameAddress(String),
    /// Own address belongs to another vswitch.
    #[error("own address {address} on port {port:?}: vswitch {other:?} has it there")]
    OwnAddress {
        /// The address.
        address: String,
        /// Port.
        port: String,
        /// Whose it is.
        other: String,
    },
    /// Two links to one neighbour.
    #[error("link to {peer} on port {port:?}: vif {other} has it already")]
    LinkTwice {
        /// Peer address.
        peer: String,
        /// Port.
        port: String,
        /// Number of the other vif.
        other: u16,
    },
    /// An address that a UDP link cannot have.
    #[error("{which} address {address}: expected one host's address and a port other than 0")]
    Udp {
        /// `own` or `peer`.
        which: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// IPv4 and IPv6 mixed.
    #[error("own address {own} and peer address {peer} are of different families")]
    Family {
        /// Own address.
        own: SocketAddr,
        /// Peer address.
        peer: SocketAddr,
    },
    /// MTU beyond what the port carries, or too short for a switch error.
    #[error("MTU {found}: {min} to {max} are allowed here")]
    Mtu {
        /// As wanted (or what the port leaves).
        found: u32,
        /// Least.
        min: u16,
        /// Most.
        max: u32,
    },
}

/// What is wrong with a cable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CableError {
    /// No such vswitch or vif.
    #[error("there is no vif {0}")]
    NoEnd(String),
    /// The vif has a link.
    #[error("vif {0} has a link, an end of a cable has none")]
    Link(String),
    /// The vif is an end of another cable, or of both ends of this one.
    #[error("vif {0} is an end of a cable already")]
    Twice(String),
    /// Both ends in one vswitch.
    #[error("both ends are in vswitch {0:?}, a cable joins two")]
    OneVswitch(String),
}

/// What is wrong with what a port is sold as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    /// No such port.
    #[error("there is no such port")]
    NoPort,
    /// Two of one port.
    #[error("it is given twice")]
    Twice,
    /// Too slow to be sold.
    #[error("{0} bytes a second: at least {min} are allowed", min = crate::leases::RATE_MIN)]
    Rate(u64),
    /// More is guaranteed than the port can keep.
    #[error(
        "at {at} ms its leases guarantee {sum} bytes a second: at most {most} are allowed, nine tenths of the capacity"
    )]
    Rates {
        /// Unix milliseconds.
        at: u64,
        /// Guaranteed, bytes a second.
        sum: u64,
        /// Allowed.
        most: u64,
    },
    /// More may come at once than the port can keep.
    #[error(
        "at {at} ms the bursts of its leases are {sum} bytes: at most {most} are allowed, 25 ms of the capacity"
    )]
    Bursts {
        /// Unix milliseconds.
        at: u64,
        /// Bytes.
        sum: u64,
        /// Allowed.
        most: u64,
    },
}

/// What is wrong with a lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Two of one id.
    #[error("the id is used twice")]
    Twice,
    /// For nobody.
    #[error("it names no vif")]
    NoVif,
    /// No such vif, and no neighbour may become one.
    #[error("vswitch {vswitch:?} has no vif {vif}")]
    Vif {
        /// Name of the vswitch.
        vswitch: String,
        /// Number of the vif.
        vif: u16,
    },
    /// Nothing to guarantee inside the box.
    #[error("a vif of it is the end of a cable: leases are for links")]
    Cable,
    /// Vifs of several ports.
    #[error("its vifs are on different ports: a lease is for one")]
    Ports,
    /// Vifs of several workers.
    #[error(
        "its vifs are owned by different workers: lease each one by itself, or run the port with one queue"
    )]
    Owners,
    /// A port that is not sold.
    #[error("port {0:?} has no capacity: say what it is sold as")]
    NoCapacity(String),
    /// Too much, or too little.
    #[error("{found} bytes a second: {min} to {most} are allowed, or 0", min = crate::leases::RATE_MIN)]
    Rate {
        /// As wanted.
        found: u64,
        /// The port's capacity.
        most: u64,
    },
    /// Too small a burst.
    #[error(
        "a burst of {found} bytes: at least {least} are needed, two of the port's longest frames"
    )]
    Burst {
        /// As wanted.
        found: u64,
        /// Least.
        least: u64,
    },
    /// It never holds.
    #[error("it starts at {start} ms and ends at {end} ms")]
    Times {
        /// Unix milliseconds.
        start: u64,
        /// Unix milliseconds.
        end: u64,
    },
    /// Two at a time.
    #[error("a vif of it has lease {other} at the same time, in the same direction")]
    Overlap {
        /// The other lease.
        other: u32,
    },
}
