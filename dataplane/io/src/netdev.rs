//! A network device by name, as this thread's network namespace knows it.

use crate::{IoError, link_kind};
use nix::net::if_::if_nametoindex;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

// Source: linux/ethtool.h.
const ETHTOOL_GET_FLAGS: u32 = 0x25;
const FLAG_RX_VLAN: u32 = 1 << 8;
const FLAG_LRO: u32 = 1 << 15;

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

    /// Whether the hardware makes one frame of several (`ethtool -k`: large-receive-offload).
    #[must_use]
    pub fn merges_frames(&self) -> bool {
        flags(&self.name) & FLAG_LRO != 0
    }
}

fn says_rx_vlan(name: &str) -> bool {
    flags(name) & FLAG_RX_VLAN != 0
}

/// Features that are on; 0 where the device does not say.
fn flags(name: &str) -> u32 {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value { command: ETHTOOL_GET_FLAGS, data: 0 };
    let Ok(socket) = control_socket() else { return 0 };
    let Ok(mut request) = request_for(name) else { return 0 };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: this ethtool command reads and writes one `struct ethtool_value`, which the request's pointer leads to and
    // which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { value.data } else { 0 }
}

/// Whether the device is up; `false` if it is gone.
#[must_use]
pub fn is_up(name: &str) -> bool {
    Netdev::find(name).is_ok_and(|device| device.up)
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
                assert!(!Netdev::find("west0").unwrap().merges_frames());
            })
            .unwrap();
    }
}
