//! The own addresses of UDP links, bound and never read: a datagram that passes by the XDP program, a fragment say, would
//! otherwise have the kernel tell its sender that nobody is there; and nobody else gets a port whose datagrams the
//! program takes.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Addresses that are bound; a socket each, of the 1024 that a process may usually have open.
const RESERVATIONS_MAX: usize = 256;

/// The sockets. Dropping them gives the addresses back.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    held: BTreeMap<SocketAddr, OwnedFd>,
    /// Addresses that could not be had, and why not.
    missing: BTreeMap<SocketAddr, Errno>,
    /// Addresses beyond the bound.
    beyond: usize,
}

impl Reservations {
    /// Holds these addresses, and gives all others back.
    pub(crate) fn keep(&mut self, wanted: &BTreeSet<SocketAddr>) {
        self.held.retain(|address, _| wanted.contains(address));
        self.missing.clear();
        self.beyond = wanted.len().saturating_sub(RESERVATIONS_MAX);
        for address in wanted.iter().take(RESERVATIONS_MAX) {
            if !self.held.contains_key(address) {
                self.reserve(*address);
            }
        }
    }

    /// Tries again what could not be had.
    pub(crate) fn retry(&mut self) {
        for address in std::mem::take(&mut self.missing).into_keys() {
            self.reserve(address);
        }
    }

    /// What could not be had, in sentences.
    pub(crate) fn notices(&self) -> Vec<String> {
        let mut notices: Vec<String> = self
            .missing
            .iter()
            .take(8)
            .map(|(address, errno)| {
                let taken = *errno == Errno::EADDRINUSE;
                let why = if taken { "another process has this port" } else { errno.desc() };
                format!(
                    "UDP address {address} cannot be reserved: {why}; its links work, but what passes by them reaches \
                     that process or is answered by the kernel"
                )
            })
            .collect();
        if self.beyond > 0 {
            notices.push(format!(
                "{} UDP addresses of links are not reserved: {RESERVATIONS_MAX} are at most",
                self.beyond
            ));
        }
        notices
    }

    fn reserve(&mut self, address: SocketAddr) {
        match bound(address) {
            Ok(socket) => drop(self.held.insert(address, socket)),
            Err(errno) => drop(self.missing.insert(address, errno)),
        }
    }
}

fn bound(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, None)?;
    // The kernel raises it to the least that it allows.
    setsockopt(&socket, sockopt::RcvBuf, &0)?;
    // The address may come later, or go and come back.
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    match address {
        SocketAddr::V4(address) => bind(socket.as_raw_fd(), &SockaddrIn::from(address))?,
        SocketAddr::V6(address) => bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// A port of the loopback that nobody has just now.
    fn free(host: &str) -> Option<SocketAddr> {
        UdpSocket::bind((host, 0)).and_then(|socket| socket.local_addr()).ok()
    }

    #[test]
    fn an_address_is_held_while_it_is_wanted() {
        for address in ["127.0.0.1", "::1"].into_iter().filter_map(free) {
            let mut reservations = Reservations::default();
            reservations.keep(&[address].into());
            assert_eq!(reservations.notices(), Vec::<String>::new());
            assert!(UdpSocket::bind(address).is_err());
            reservations.keep(&BTreeSet::new());
            assert!(UdpSocket::bind(address).is_ok());
        }
    }

    #[test]
    fn addresses_that_are_not_there_yet_can_be_held() {
        let addresses = ["192.0.2.1:4000", "[2001:db8::1]:4000"];
        let wanted = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let mut reservations = Reservations::default();
        reservations.keep(&wanted);
        assert_eq!(reservations.notices(), Vec::<String>::new());
    }

    #[test]
    fn a_port_of_somebody_else_is_said_and_tried_again() {
        let Some(address) = free("127.0.0.1") else { return };
        let Ok(other) = UdpSocket::bind(address) else { return };
        let mut reservations = Reservations::default();
        reservations.keep(&[address].into());
        assert!(reservations.notices()[0].contains("another process has this port"));
        drop(other);
        reservations.retry();
        assert_eq!(reservations.notices(), Vec::<String>::new());
    }

    #[test]
    fn there_is_a_bound() {
        let many = 4 + RESERVATIONS_MAX;
        let wanted = (5000..).take(many).map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let mut reservations = Reservations::default();
        reservations.keep(&wanted.collect());
        assert_eq!(reservations.held.len(), RESERVATIONS_MAX);
        assert!(reservations.notices()[0].starts_with("4 UDP addresses"));
    }
}
