//! A wire end over AF_PACKET: needs no XDP, works in a user namespace, some 0.5 million packets a second.
//!
//! The kernel takes VLAN tags off before a packet socket sees the frame, so tagged streams do not arrive here as such.

use crate::generator::Offer;
use crate::wire_end::{BURST, WireEnd, WireStatistics};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// Packets that the host itself sends, which a packet socket also sees. Source: linux/if_packet.h.
const PACKET_OUTGOING: u8 = 4;
/// Received bytes that may wait for the sink; the kernel counts their bookkeeping too.
const RECEIVE_BUFFER: usize = 64 << 20;
/// Longest frame taken whole.
const FRAME_MAX: usize = 9216;

/// A packet socket bound to one device.
#[derive(Debug)]
pub struct AfPacket {
    socket: OwnedFd,
    buffer: Vec<u8>,
    refused: u64,
}

impl AfPacket {
    /// Opens a device of this thread's network namespace.
    ///
    /// # Errors
    /// Not found if there is no such device, else what the system reports.
    pub fn open(device: &str) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, format!("device {device}: no such device"));
        let address = getifaddrs()?
            .filter(|entry| entry.interface_name == device)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or_else(missing)?;
        bind(socket.as_raw_fd(), &address)?;
        // Beyond the system's limit only with the right to; less is only less patient.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        Ok(Self { socket, buffer: vec![0; FRAME_MAX], refused: 0 })
    }
}

impl WireEnd for AfPacket {
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let mut count = 0;
        for _ in 0..BURST {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                Ok((_, Some(from))) if from.pkttype() == PACKET_OUTGOING => {}
                Ok((len, _)) => {
                    each(self.buffer.get(..len).unwrap_or_default());
                    count += 1;
                }
                // A device that went down delivers nothing until it is up again.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count)
    }

    fn offer(&mut self, frame: &[u8]) -> Offer {
        match send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => Offer::Taken,
            Err(Errno::EAGAIN | Errno::EINTR) => Offer::Full,
            Err(_refusal) => {
                self.refused += 1;
                Offer::Full
            }
        }
    }

    fn flush(&mut self) {}

    fn pending(&self) -> usize {
        0
    }

    fn wait(&self, timeout: Duration) {
        let _came = readable(&self.socket, timeout);
    }

    fn statistics(&self) -> WireStatistics {
        WireStatistics { rx_dropped: 0, tx_refused: self.refused }
    }
}

/// Waits until there is something to receive, or for `timeout`.
pub(crate) fn readable(socket: impl AsFd, timeout: Duration) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    ppoll(&mut fds, Some(timeout.into()), None).is_ok_and(|ready| ready > 0)
}
