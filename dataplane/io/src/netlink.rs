//! What the kernel knows of devices, addresses, routes and neighbours, and how it is made to find a neighbour.
//!
//! Nothing here waits. The kernel answers a request before the call that sends it returns, so the answer is there to be
//! received or it never comes.

mod message;

use crate::IoError;
use message::{Message, attribute, attributes, messages, request, u16_at, u32_at};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The kernel makes no datagram longer than 32 KiB for a buffer of any size.
const BUFFER_LEN: usize = 64 << 10;
/// Room for changes that are not read yet; what does not fit is reported as lost.
const WATCH_BYTES: usize = 1 << 20;
/// Datagrams of one answer: a dump of a million entries has fewer.
const DATAGRAMS_MAX: usize = 1 << 16;

// Source: linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h, linux/if_link.h, linux/if_addr.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;
const NEW_RULE: u16 = 32;
const DEL_RULE: u16 = 33;

const REQUEST: u16 = 0x1;
const MULTI: u16 = 0x2;
const ACKNOWLEDGE: u16 = 0x4;
const CREATE: u16 = 0x400;
const DUMP: u16 = 0x300;

/// Multicast groups: links, neighbours, and addresses, routes and rules of both families.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x4_0000;

const IPV4: u8 = 2;
const IPV6: u8 = 10;

const ROUTE_LEN: usize = 12;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_SOURCE: u16 = 2;
const ROUTE_DEVICE: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_PREFERRED_SOURCE: u16 = 7;
const ROUTE_VIA: u16 = 18;
const ROUTE_KIND_UNICAST: u8 = 1;
const ROUTE_KIND_LOCAL: u8 = 2;

const NEIGHBOUR_LEN: usize = 12;
const NEIGHBOUR_DESTINATION: u16 = 1;
const NEIGHBOUR_MAC: u16 = 2;
const NEIGHBOUR_USE: u8 = 1;

const LINK_LEN: usize = 16;
const LINK_MAC: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_BELOW: u16 = 5;
const LINK_INFO: u16 = 18;
const LINK_XDP: u16 = 43;
/// Of the one program that there is, or of those of the single modes.
const XDP_PROGRAM_IDS: std::ops::RangeInclusive<u16> = 4..=7;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VLAN_ID: u16 = 1;
const VLAN_PROTOCOL: u16 = 5;
const LOOPBACK: u32 = 0x8;

const ADDRESS_LEN: usize = 8;
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Index in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Own address, of devices that have an Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// It is this machine's way to itself.
    pub loopback: bool,
    /// Of an 802.1Q device: the device below it, and its tag.
    pub vlan: Option<(u32, u16)>,
}

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnAddress {
    /// The address.
    pub address: IpAddr,
    /// Index of the device that has it.
    pub device: u32,
}

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the route does.
    pub kind: RouteKind,
    /// Index of the device that packets leave by.
    pub device: u32,
    /// The next router; `None`: the destination is on the wire. Either family.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel would choose.
    pub source: Option<IpAddr>,
}

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// It sends to a neighbour.
    Unicast,
    /// The destination is this machine.
    Local,
    /// It discards, or sends to many.
    Other,
}

/// A neighbour, as far as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the device that it is behind.
    pub device: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address; old news in some states.
    pub mac: Option<[u8; 6]>,
    /// How well it is known.
    pub state: NeighbourState,
}

/// States of a neighbour's entry, as the kernel has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// There is no entry, or an empty one.
    Absent,
    /// It is asked for the first time.
    Incomplete,
    /// It has answered lately.
    Reachable,
    /// It answered once, and nobody needed it since.
    Stale,
    /// It is needed, and will be asked in a moment.
    Delay,
    /// It is asked again.
    Probe,
    /// It did not answer.
    Failed,
    /// Its address follows from the device.
    NoArp,
    /// Somebody has written it down.
    Permanent,
}

impl NeighbourState {
    fn of_bits(bits: u16) -> Self {
        match bits {
            0x01 => Self::Incomplete,
            0x02 => Self::Reachable,
            0x04 => Self::Stale,
            0x08 => Self::Delay,
            0x10 => Self::Probe,
            0x20 => Self::Failed,
            0x40 => Self::NoArp,
            0x80 => Self::Permanent,
            _ => Self::Absent,
        }
    }
}

/// Something that became different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Devices.
    Devices,
    /// Addresses of this machine.
    Addresses,
    /// Routes, or rules that choose between tables of them.
    Routes,
    /// An entry of a neighbour.
    Neighbour(Neighbour),
    /// More than there was room for: anything may be different.
    Lost,
}

/// A socket for questions and orders.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

/// A socket that tells what became different.
pub struct Watch {
    socket: OwnedFd,
    buffer: Box<[u8]>,
}

impl fmt::Debug for Netlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netlink").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Netlink {
    /// Opens a socket to the kernel of this thread's network namespace.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn open() -> Result<Self, IoError> {
        Ok(Self { socket: open(0)?, sequence: 0, buffer: buffer() })
    }

    /// All devices.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn devices(&mut self) -> Result<Vec<Device>, IoError> {
        let mut devices = Vec::new();
        let asked = self.ask(GET_LINK, DUMP, &[0; LINK_LEN], &[], |message| {
            devices.extend((message.kind == NEW_LINK).then(|| device(message.payload)).flatten());
        });
        asked.map_err(|error| failed("ask for the network devices", error))?;
        Ok(devices)
    }

    /// Id of the XDP program on a device, however it was attached; `None` if there is none.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn xdp_program(&mut self, device: u32) -> Result<Option<u32>, IoError> {
        let mut fixed = [0; LINK_LEN];
        fixed[4..8].copy_from_slice(&device.to_ne_bytes());
        let mut found = None;
        let asked = self.ask(GET_LINK, 0, &fixed, &[], |message| {
            if message.kind == NEW_LINK {
                found = message.payload.get(LINK_LEN..).and_then(xdp_program);
            }
        });
        asked.map_err(|error| failed("ask for the XDP program of a device", error))?;
        Ok(found)
    }

    /// All addresses of this machine.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn addresses(&mut self) -> Result<Vec<OwnAddress>, IoError> {
        let mut addresses = Vec::new();
        let asked = self.ask(GET_ADDRESS, DUMP, &[0; ADDRESS_LEN], &[], |message| {
            let is_new = message.kind == NEW_ADDRESS;
            addresses.extend(is_new.then(|| own_address(message.payload)).flatten());
        });
        asked.map_err(|error| failed("ask for the addresses of this machine", error))?;
        Ok(addresses)
    }

    /// Where a packet from `from` to `to` would leave; `None`: nowhere.
    ///
    /// `device`: the one that it must leave by, for addresses that mean something on one wire only.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn route(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        device: Option<u32>,
    ) -> Result<Option<Route>, IoError> {
        let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let mut fixed = [0; ROUTE_LEN];
        fixed[..3].copy_from_slice(&[family(to), bits(to), bits(from)]);
        let (destination, source) = (octets(to), octets(from));
        let device = device.map(u32::to_ne_bytes);
        let mut attributes: Vec<(u16, &[u8])> =
            vec![(ROUTE_DESTINATION, &destination), (ROUTE_SOURCE, &source)];
        attributes.extend(device.as_ref().map(|device| (ROUTE_DEVICE, &device[..])));
        let mut found = None;
        let asked = self.ask(GET_ROUTE, 0, &fixed, &attributes, |message| {
            if message.kind == NEW_ROUTE {
                found = route(message.payload);
            }
        });
        match asked.map_err(|error| error.raw_os_error().ok_or(error)) {
            Ok(()) => Ok(found),
            // No route, and the ways in which one says no: unreachable, prohibit, blackhole (or the source is not an
            // address of this machine), throw.
            Err(Ok(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EACCES
                | libc::EINVAL
                | libc::ENODEV
                | libc::EAGAIN,
            )) => Ok(None),
            Err(Ok(code)) => Err(failed(
                &format!("ask for the route to {to}"),
                io::Error::from_raw_os_error(code),
            )),
            Err(Err(error)) => Err(failed(&format!("ask for the route to {to}"), error)),
        }
    }

    /// What is known of a neighbour.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn neighbour(&mut self, device: u32, address: IpAddr) -> Result<Neighbour, IoError> {
        let absent = Neighbour { device, address, mac: None, state: NeighbourState::Absent };
        let mut found = None;
        let fixed = neighbour_header(device, address, 0);
        let destination = octets(address);
        let attributes = [(NEIGHBOUR_DESTINATION, &destination[..])];
        let asked = self.ask(GET_NEIGHBOUR, 0, &fixed, &attributes, |message| {
            if message.kind == NEW_NEIGHBOUR {
                found = neighbour(message.payload);
            }
        });
        match asked {
            Ok(()) => Ok(found.unwrap_or(absent)),
            // No entry, or no device.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
                Ok(absent)
            }
            Err(error) => Err(failed(&format!("ask for the neighbour {address}"), error)),
        }
    }

    /// Has the kernel find the neighbour, or keep what it found, as if it had a packet to send there. Not for permanent
    /// entries, which would lose their state.
    ///
    /// # Errors
    /// [`IoError::Rights`] without CAP_NET_ADMIN; [`IoError::System`], where the table of neighbours is full or the
    /// device is down or gone.
    pub fn probe(&mut self, device: u32, address: IpAddr) -> Result<(), IoError> {
        let fixed = neighbour_header(device, address, NEIGHBOUR_USE);
        let destination = octets(address);
        let attributes = [(NEIGHBOUR_DESTINATION, &destination[..])];
        self.ask(NEW_NEIGHBOUR, CREATE | ACKNOWLEDGE, &fixed, &attributes, |_| {}).map_err(
            |error| {
                IoError::from_os(format!("have the kernel find the neighbour {address}"), error)
            },
        )
    }

    /// Sends a request and gives each message of the answer to `each`.
    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: &[(u16, &[u8])],
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request(kind, REQUEST | flags, self.sequence, fixed, attributes);
        let to = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &bytes, &to, MsgFlags::MSG_DONTWAIT)?;
        for _ in 0..DATAGRAMS_MAX {
            let Some(len) = receive(&self.socket, &mut self.buffer)? else { continue };
            let datagram = self.buffer.get(..len).unwrap_or_default();
            for message in messages(datagram).filter(|found| found.sequence == self.sequence) {
                match message.kind {
                    ERROR | DONE => return outcome(&message),
                    _ => each(&message),
                }
                if message.flags & MULTI == 0 && flags & ACKNOWLEDGE == 0 {
                    return Ok(());
                }
            }
        }
        Err(io::Error::other("the answer does not end"))
    }
}

impl Watch {
    /// Opens a socket that is told of changes in this thread's network namespace.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn open() -> Result<Self, IoError> {
        let socket = open(GROUPS)?;
        // Beyond the system's limit with CAP_NET_ADMIN; with less room changes are lost sooner, and reported so.
        if setsockopt(&socket, sockopt::RcvBufForce, &WATCH_BYTES).is_err() {
            let _less_room = setsockopt(&socket, sockopt::RcvBuf, &WATCH_BYTES);
        }
        Ok(Self { socket, buffer: buffer() })
    }

    /// Tells the changes that have come, of at most `datagrams_max` datagrams. `false`: there may be more.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn take(
        &mut self,
        datagrams_max: usize,
        mut each: impl FnMut(Change),
    ) -> Result<bool, IoError> {
        for _ in 0..datagrams_max {
            match receive(&self.socket, &mut self.buffer) {
                Ok(Some(len)) => {
                    let datagram = self.buffer.get(..len).unwrap_or_default();
                    messages(datagram).filter_map(|message| change(&message)).for_each(&mut each);
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => each(Change::Lost),
                Err(error) => return Err(failed("look for changes of routes", error)),
            }
        }
        Ok(false)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(groups: u32) -> Result<OwnedFd, IoError> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )
    .map_err(|errno| failed("open a netlink socket", errno.into()))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))
        .map_err(|errno| failed("bind a netlink socket", errno.into()))?;
    Ok(socket)
}

fn buffer() -> Box<[u8]> {
    vec![0; BUFFER_LEN].into_boxed_slice()
}

fn failed(attempt: &str, error: io::Error) -> IoError {
    IoError::from_os(attempt, error)
}

/// One datagram; `None` if it is not the kernel's.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match recvfrom::<NetlinkAddr>(socket.as_raw_fd(), buffer) {
        Ok((len, Some(from))) if from.pid() == 0 => Ok(Some(len)),
        Ok(_) | Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What the end of an answer says: both kinds begin with a negative error, or 0.
fn outcome(message: &Message<'_>) -> io::Result<()> {
    match u32_at(message.payload, 0).map_or(0, u32::cast_signed) {
        error if error < 0 => Err(io::Error::from_raw_os_error(error.saturating_neg())),
        _ => Ok(()),
    }
}

fn change(message: &Message<'_>) -> Option<Change> {
    match message.kind {
        NEW_LINK | DEL_LINK => Some(Change::Devices),
        NEW_ADDRESS | DEL_ADDRESS => Some(Change::Addresses),
        NEW_ROUTE | DEL_ROUTE | NEW_RULE | DEL_RULE => Some(Change::Routes),
        NEW_NEIGHBOUR => neighbour(message.payload).map(Change::Neighbour),
        DEL_NEIGHBOUR => {
            let gone = neighbour(message.payload)?;
            Some(Change::Neighbour(Neighbour { mac: None, state: NeighbourState::Absent, ..gone }))
        }
        _ => None,
    }
}

/// From the attributes of a link.
fn xdp_program(link: &[u8]) -> Option<u32> {
    let ids = attributes(attribute(link, LINK_XDP)?);
    let mut ids = ids.filter(|(kind, _)| XDP_PROGRAM_IDS.contains(kind));
    ids.find_map(|(_, id)| u32_at(id, 0).filter(|id| *id != 0))
}

fn device(payload: &[u8]) -> Option<Device> {
    let rest = payload.get(LINK_LEN..)?;
    let name = attribute(rest, LINK_NAME)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let vlan = || {
        let info = attribute(rest, LINK_INFO)?;
        let kind = attribute(info, INFO_KIND)?;
        let data = attribute(info, INFO_DATA)?;
        // 802.1Q, in network order; 802.1ad is another tag.
        let is_dot1q = attribute(data, VLAN_PROTOCOL).is_none_or(|protocol| protocol == [0x81, 0]);
        let is_vlan = kind.strip_suffix(&[0]).unwrap_or(kind) == b"vlan" && is_dot1q;
        let id = u16_at(attribute(data, VLAN_ID)?, 0)?;
        is_vlan.then_some((u32_at(attribute(rest, LINK_BELOW)?, 0)?, id))
    };
    Some(Device {
        index: u32_at(payload, 4)?,
        name: String::from_utf8_lossy(name).into_owned(),
        mac: attribute(rest, LINK_MAC).and_then(|mac| mac.try_into().ok()),
        loopback: u32_at(payload, 8)? & LOOPBACK != 0,
        vlan: vlan(),
    })
}

fn own_address(payload: &[u8]) -> Option<OwnAddress> {
    let rest = payload.get(ADDRESS_LEN..)?;
    // The first is the far end's on point-to-point devices.
    let address = attribute(rest, ADDRESS_LOCAL).or_else(|| attribute(rest, ADDRESS_ADDRESS))?;
    Some(OwnAddress { address: ip(address)?, device: u32_at(payload, 4)? })
}

fn route(payload: &[u8]) -> Option<Route> {
    let kind = match *payload.get(7)? {
        ROUTE_KIND_UNICAST => RouteKind::Unicast,
        ROUTE_KIND_LOCAL => RouteKind::Local,
        _ => RouteKind::Other,
    };
    let mut route = Route { kind, device: 0, gateway: None, source: None };
    for (kind, value) in attributes(payload.get(ROUTE_LEN..)?) {
        match kind {
            ROUTE_DEVICE => route.device = u32_at(value, 0)?,
            ROUTE_GATEWAY => route.gateway = ip(value),
            // Its family and its address.
            ROUTE_VIA => route.gateway = ip(value.get(2..)?),
            ROUTE_PREFERRED_SOURCE => route.source = ip(value),
            _ => {}
        }
    }
    Some(route)
}

fn neighbour(payload: &[u8]) -> Option<Neighbour> {
    // Bridges keep their own tables, of another family, in the same messages.
    if ![IPV4, IPV6].contains(payload.first()?) {
        return None;
    }
    let rest = payload.get(NEIGHBOUR_LEN..)?;
    Some(Neighbour {
        device: u32_at(payload, 4)?,
        address: ip(attribute(rest, NEIGHBOUR_DESTINATION)?)?,
        mac: attribute(rest, NEIGHBOUR_MAC).and_then(|mac| mac.try_into().ok()),
        state: NeighbourState::of_bits(u16_at(payload, 8)?),
    })
}

fn neighbour_header(device: u32, address: IpAddr, flags: u8) -> [u8; NEIGHBOUR_LEN] {
    let mut fixed = [0; NEIGHBOUR_LEN];
    fixed[0] = family(address);
    fixed[4..8].copy_from_slice(&device.to_ne_bytes());
    fixed[10] = flags;
    fixed
}

const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => IPV4,
        IpAddr::V6(_) => IPV6,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = || Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)));
    let six = || Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)));
    four().or_else(six)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_payload_is_read_or_not(payload in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_u16..40) {
            let _seen = (device(&payload), own_address(&payload), route(&payload));
            let _change = change(&Message { kind, flags: 0, sequence: 0, payload: &payload });
        }
    }

    #[test]
    fn a_gateway_of_the_other_family_is_one() {
        let mut payload = vec![IPV4, 32, 0, 0, 254, 0, 0, ROUTE_KIND_UNICAST, 0, 0, 0, 0];
        let via = [&10_u16.to_ne_bytes()[..], &Ipv6Addr::LOCALHOST.octets()].concat();
        let bytes = request(0, 0, 0, &[], &[(ROUTE_DEVICE, &[7, 0, 0, 0]), (ROUTE_VIA, &via)]);
        payload.extend(&bytes[16..]);
        let route = route(&payload).unwrap();
        assert_eq!(route.gateway, Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(
            (route.kind, route.device),
            (RouteKind::Unicast, u32::from_ne_bytes([7, 0, 0, 0]))
        );
    }

    #[test]
    fn a_vlan_device_says_its_tag_and_what_is_below() {
        let nested = |attributes: &[(u16, &[u8])]| request(0, 0, 0, &[], attributes).split_off(16);
        let of = |kind: &[u8], protocol: &[u8]| {
            let tag = 7_u16.to_ne_bytes();
            let data = nested(&[(VLAN_ID, &tag), (VLAN_PROTOCOL, protocol)]);
            let info = nested(&[(INFO_KIND, kind), (INFO_DATA, &data)]);
            let below = 3_u32.to_ne_bytes();
            let rest: &[(u16, &[u8])] =
                &[(LINK_NAME, b"eth1.7\0"), (LINK_BELOW, &below), (LINK_INFO, &info)];
            device(&[vec![0; LINK_LEN], nested(rest)].concat()).unwrap()
        };
        assert_eq!(of(b"vlan\0", &[0x81, 0]).vlan, Some((3, 7)));
        assert_eq!(of(b"vlan\0", &[0x88, 0xa8]).vlan, None, "a service tag");
        assert_eq!(of(b"veth\0", &[0x81, 0]).vlan, None);
        assert_eq!(of(b"vlan\0", &[0x81, 0]).name, "eth1.7");
    }

    #[test]
    fn the_table_of_a_bridge_is_not_read() {
        let mut payload = vec![7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
        payload.extend(&request(0, 0, 0, &[], &[(NEIGHBOUR_DESTINATION, &[10, 0, 0, 1])])[16..]);
        assert_eq!(neighbour(&payload), None);
        payload[0] = IPV4;
        assert_eq!(neighbour(&payload).unwrap().state, NeighbourState::Reachable);
    }
}
