//! Which unicast addresses a device listens to beside its own: one membership of a packet socket for each MAC address of
//! a vswitch. The memberships go with the socket, however the process ends.
//!
//! A device that is not told hardware-filters what is ours away. veth is not such a device: it passes all, so that what was
//! told is looked up in the kernel's list instead of in what arrives.

use crate::IoError;
use crate::ask::{Asker, attribute, device_message, word};
use crate::netdev::Netdev;
use crate::sockopt;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Addresses told to one device; beyond that it is asked for everything.
pub const ADDRESSES_MAX: usize = 4096;

// Source: linux/rtnetlink.h, linux/neighbour.h.
const RTM_GETNEIGH: u16 = 30;
const NEIGHBOUR_HEADER_LEN: usize = 12;
const NDA_LLADDR: u16 = 2;
const NTF_SELF: u8 = 2;

/// The memberships of one port.
#[derive(Debug)]
pub struct Unicast {
    device: Netdev,
    addresses: BTreeSet<[u8; 6]>,
    promiscuous: bool,
    socket: OwnedFd,
    asker: Asker,
}

/// What [`Unicast::check`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Every address is in the kernel's list, or the device gets everything.
    All,
    /// So many were missing and were told again.
    Again(usize),
    /// They do not stay: the device is asked for everything from now on.
    Promiscuous,
}

impl Unicast {
    /// For a device, which is told nothing yet.
    ///
    /// # Errors
    /// [`IoError::Rights`], [`IoError::System`].
    pub fn open(device: &Netdev) -> Result<Self, IoError> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
        let attempt = || format!("port {}: open a socket for its addresses", device.name);
        // Of no protocol, so that it receives nothing.
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Packet, kind, flags, None)
            .map_err(|errno| IoError::from_os(attempt(), errno.into()))?;
        let asker = Asker::route().map_err(|error| IoError::from_os(attempt(), error))?;
        let (device, addresses) = (device.clone(), BTreeSet::new());
        Ok(Self { device, addresses, promiscuous: false, socket, asker })
    }

    /// What the device was told.
    #[must_use]
    pub fn addresses(&self) -> &BTreeSet<[u8; 6]> {
        &self.addresses
    }

    /// Whether the device is asked for everything, since the addresses are too many for it.
    #[must_use]
    pub fn is_promiscuous(&self) -> bool {
        self.promiscuous
    }

    /// Tells the device what is new in `wanted`; nothing is taken away yet. What it has no room for makes it promiscuous.
    ///
    /// # Errors
    /// [`IoError::System`] if even that is refused; what was told before stays, and is known.
    pub fn add(&mut self, wanted: &BTreeSet<[u8; 6]>) -> Result<(), IoError> {
        let new: Vec<_> = wanted.difference(&self.addresses).copied().collect();
        for address in new {
            let told = self.addresses.len() < ADDRESSES_MAX && self.join(address).is_ok();
            if !told {
                return self.ask_for_everything();
            }
            self.addresses.insert(address);
        }
        Ok(())
    }

    /// Takes away what is not in `wanted`, and promiscuity once all of it fits.
    ///
    /// # Errors
    /// [`IoError::System`] with the kernel's reason.
    pub fn remove_others(&mut self, wanted: &BTreeSet<[u8; 6]>) -> Result<(), IoError> {
        let old: Vec<_> = self.addresses.difference(wanted).copied().collect();
        for address in old {
            self.leave(address)?;
            self.addresses.remove(&address);
        }
        if !self.promiscuous || wanted.len() > ADDRESSES_MAX {
            return Ok(());
        }
        for address in wanted {
            if !self.addresses.contains(address) {
                if self.join(*address).is_err() {
                    return Ok(());
                }
                self.addresses.insert(*address);
            }
        }
        self.change(libc::PACKET_DROP_MEMBERSHIP, libc::PACKET_MR_PROMISC, [0; 6])
            .map_err(|error| self.refused("end promiscuity", error))?;
        self.promiscuous = false;
        Ok(())
    }

    /// Looks whether the kernel lists every address, and tells again what somebody else took away.
    ///
    /// # Errors
    /// [`IoError::System`] if the list is not to be had, or the device not to be changed.
    pub fn check(&mut self) -> Result<Listed, IoError> {
        if self.promiscuous || self.addresses.is_empty() {
            return Ok(Listed::All);
        }
        let missing = self.missing()?;
        if missing.is_empty() {
            return Ok(Listed::All);
        }
        for address in &missing {
            self.leave(*address)?;
            self.join(*address).map_err(|error| self.refused("add an address", error))?;
        }
        if self.missing()?.is_empty() {
            return Ok(Listed::Again(missing.len()));
        }
        self.ask_for_everything()?;
        Ok(Listed::Promiscuous)
    }

    fn missing(&mut self) -> Result<Vec<[u8; 6]>, IoError> {
        let listed = listed(&mut self.asker, self.device.index)
            .map_err(|error| self.refused("read its unicast list", error))?;
        Ok(self.addresses.difference(&listed).copied().collect())
    }

    fn ask_for_everything(&mut self) -> Result<(), IoError> {
        if !self.promiscuous {
            self.change(libc::PACKET_ADD_MEMBERSHIP, libc::PACKET_MR_PROMISC, [0; 6])
                .map_err(|error| self.refused("make it promiscuous", error))?;
            self.promiscuous = true;
        }
        Ok(())
    }

    fn join(&self, address: [u8; 6]) -> io::Result<()> {
        self.change(libc::PACKET_ADD_MEMBERSHIP, libc::PACKET_MR_UNICAST, address)
    }

    fn leave(&self, address: [u8; 6]) -> Result<(), IoError> {
        let left = self.change(libc::PACKET_DROP_MEMBERSHIP, libc::PACKET_MR_UNICAST, address);
        left.map_err(|error| self.refused("take an address away", error))
    }

    fn change(&self, option: libc::c_int, kind: libc::c_int, address: [u8; 6]) -> io::Result<()> {
        let mut mr_address = [0; 8];
        mr_address[..6].copy_from_slice(&address);
        let request = libc::packet_mreq {
            mr_ifindex: self.device.index.cast_signed(),
            mr_type: u16::try_from(kind).unwrap_or(0),
            mr_alen: 6,
            mr_address,
        };
        sockopt::set(self.socket.as_fd(), libc::SOL_PACKET, option, &request)
    }

    fn refused(&self, what: &str, error: io::Error) -> IoError {
        IoError::from_os(format!("port {}: {what}", self.device.name), error)
    }
}

/// The unicast (and multicast) addresses that the kernel has for a device beside its own: what `bridge fdb` shows as
/// `self`. No file in /proc shows the unicast ones.
fn listed(asker: &mut Asker, index: u32) -> io::Result<BTreeSet<[u8; 6]>> {
    let family = u8::try_from(libc::AF_BRIDGE).unwrap_or(0);
    let mut listed = BTreeSet::new();
    asker.list(RTM_GETNEIGH, &device_message(family, index), |entry| {
        let Some((header, attributes)) = entry.split_at_checked(NEIGHBOUR_HEADER_LEN) else {
            return;
        };
        let own = header[10] & NTF_SELF != 0 && word(header, 4) == Some(index);
        let address = attribute(attributes, NDA_LLADDR).and_then(|address| address.try_into().ok());
        // Ours, and a margin for those of everybody else.
        if let (true, Some(address), true) = (own, address, listed.len() < 16 * ADDRESSES_MAX) {
            listed.insert(address);
        }
    })?;
    Ok(listed)
}
