//! A network device by name, as this thread's network namespace knows it.

use crate::{IoError, link_kind};
use nix::net::if_::if_nametoindex;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

// Source: linux/ethtool.h.
const ETHTOOL_GET_FLAGS: u32 = 0x25;
const FLAG_RX_VLAN: u32 = 1 << 8;

/// A device that may become a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netdev {
    /// Name, at most 15 bytes.
    pub name: String,
    /// Index in its namespace.
    pub index: u32,
    /// Own address.
    pub mac: [u8; 6],
    /// Longest payload of an Ethernet frame, bytes.
    pub mtu: u32,
    /// Administratively and physically up.
    pub up: bool,
}

impl Netdev {
    /// Looks the device up.
    ///
    /// # Errors
    /// [`IoError::NoDevice`], [`IoError::System`].
    pub fn find(name: &str) -> Result<Self, IoError> {
        let index =
            if_nametoindex(name).ok().ok_or_else(|| IoError::NoDevice { name: name.to_owned() })?;
        let socket = control_socket()?;
        let flags = query(&socket, name, libc::SIOCGIFFLAGS)?;
        let mtu = query(&socket, name, libc::SIOCGIFMTU)?;
        let address = query(&socket, name, libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFFLAGS succeeded, so the kernel filled in this member; any bits are a valid i16.
        let flags = i32::from(unsafe { flags.ifr_ifru.ifru_flags });
        // SAFETY: SIOCGIFMTU succeeded, so the kernel filled in this member; any bits are a valid i32.
        let mtu = u32::try_from(unsafe { mtu.ifr_ifru.ifru_mtu }).unwrap_or(0);
        // SAFETY: SIOCGIFHWADDR succeeded, so the kernel filled in this member; any bits are a valid address.
        let address = unsafe { address.ifr_ifru.ifru_hwaddr }.sa_data;
        let mut mac = [0; 6];
        mac.iter_mut().zip(address).for_each(|(to, from)| *to = from.to_ne_bytes()[0]);
        let up = flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0;
        Ok(Self { name: name.to_owned(), index, mac, mtu, up })
    }

    /// Why the device cannot be a port, in a sentence that says what to use instead; `None` if it can.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        // A kernel that does not answer is not a reason to refuse.
        let kind = link_kind::kind_of(self.index).ok()??;
        let instead = link_kind::refusal(&kind)?;
        Some(format!("port {}: a {kind} device cannot be a port; {instead}", self.name))
    }

    /// Whether the hardware takes the 802.1Q tag out of received frames (`ethtool -k`: rx-vlan-offload). A virtual device
    /// takes out nothing, whatever it says: what it hides, the sender hid.
    #[must_use]
    pub fn strips_tags(&self) -> bool {
        let is_virtual = matches!(link_kind::kind_of(self.index), Ok(Some(_)));
        !is_virtual && says_rx_vlan(&self.name)
    }
}

fn says_rx_vlan(name: &str) -> bool {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value { command: ETHTOOL_GET_FLAGS, data: 0 };
    let Ok(socket) = control_socket() else { return false };
    let Ok(mut request) = request_for(name) else { return false };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: this ethtool command reads and writes one `struct ethtool_value`, which the request's pointer leads to and
    // which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    result == 0 && value.data & FLAG_RX_VLAN != 0
}

/// Whether the device is up; `false` if it is gone.
#[must_use]
pub fn is_up(name: &str) -> bool {
    Netdev::find(name).is_ok_and(|device| device.up)
}

/// Id of the XDP program on a device, however it was attached; `None` if there is none.
///
/// Source: linux/rtnetlink.h, linux/if_link.h.
#[must_use]
pub fn xdp_program(ifindex: u32) -> Option<u32> {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
    };
    const RTM_NEWLINK: u16 = 16;
    const RTM_GETLINK: u16 = 18;
    const NLM_F_REQUEST: u16 = 1;
    const IFLA_XDP: u16 = 43;
    /// Of the one program there is, or of those of single modes.
    const PROGRAM_IDS: std::ops::RangeInclusive<u16> = 4..=7;
    /// Message header and `struct ifinfomsg`, 16 bytes each.
    const HEADERS_LEN: usize = 32;
    let mut request = [0; HEADERS_LEN];
    request[..4].copy_from_slice(&32_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[20..24].copy_from_slice(&ifindex.to_ne_bytes());
    let (family, flags) = (AddressFamily::Netlink, SockFlag::SOCK_CLOEXEC);
    let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute).ok()?;
    send(socket.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
    let mut answer = vec![0; 32 << 10];
    let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
    let answer = answer.get(..len)?;
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let link = (kind == RTM_NEWLINK).then(|| answer.get(HEADERS_LEN..)).flatten()?;
    let (_, xdp) = attributes(link).find(|(kind, _)| *kind == IFLA_XDP)?;
    let id = |(kind, value): (u16, &[u8])| {
        let id = u32::from_ne_bytes(*value.first_chunk()?);
        (PROGRAM_IDS.contains(&kind) && id != 0).then_some(id)
    };
    attributes(xdp).find_map(id)
}

/// Netlink attributes, kind and value; ends at the first that is cut short.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// Says that a value is attributes again.
    const NLA_F_NESTED: u16 = 0x8000;
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *bytes.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & !NLA_F_NESTED, value))
    })
}

fn control_socket() -> Result<OwnedFd, IoError> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| IoError::from_os("open a socket to ask for devices", errno.into()))
}

fn query(socket: &OwnedFd, name: &str, request: libc::Ioctl) -> Result<libc::ifreq, IoError> {
    let mut answer = request_for(name)?;
    // SAFETY: the requests asked for read the name and write the union of the ifreq that the pointer leads to.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut answer) };
    if result == 0 { Ok(answer) } else { Err(IoError::last(format!("ask for device {name}"))) }
}

fn request_for(name: &str) -> Result<libc::ifreq, IoError> {
    // SAFETY: ifreq is plain old data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    if name.len() >= request.ifr_name.len() {
        return Err(IoError::NoDevice { name: name.to_owned() });
    }
    request
        .ifr_name
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(to, from)| *to = libc::c_char::from_ne_bytes([from]));
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lab::{End, Namespace};

    #[test]
    fn what_a_virtual_device_says_of_tags_is_not_believed() {
        if !lab::may("what_a_virtual_device_says_of_tags_is_not_believed") {
            return;
        }
        let namespace = Namespace::new().unwrap();
        let end = |name, last| End { namespace: &namespace, name, mac: [2, 0, 0, 0, 0, last] };
        lab::veth(end("west0", 1), end("east0", 2), 1500, 1).unwrap();
        namespace
            .run(|| {
                assert!(says_rx_vlan("west0"), "veth says that it does");
                assert!(!Netdev::find("west0").unwrap().strips_tags());
                assert!(!says_rx_vlan("lo"));
            })
            .unwrap();
    }
}
