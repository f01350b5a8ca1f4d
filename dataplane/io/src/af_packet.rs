//! A port over AF_PACKET: for a user namespace, where no BPF program may be loaded, and for devices without XDP.
//!
//! Frames are read by recvmmsg(2) straight into chunks of the frame memory, and written by sendmmsg(2) from them; a
//! mapped packet ring would be one more copy. The kernel keeps its own copy of every frame: it is a tap, not a
//! diversion. What it took out of the frame comes beside it and is put back: the 802.1Q tag, and the checksum that a
//! local stack left to hardware.

mod filter;

pub use filter::PacketFilter;

use crate::frame::{Frame, Pool};
use crate::netdev::Netdev;
use crate::port::{Burst, Port, PortStatistics};
use crate::umem::Umem;
use crate::{IoError, sockopt};
use arrayvec::ArrayVec;
use libc::{c_int, c_uint, iovec, mmsghdr, tpacket_auxdata};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use wire::buf::Packet;
use wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, Header, TAG_LEN};
use wire::{ip, udp};

/// Messages in one system call.
const BATCH: usize = 64;
/// Bytes behind a frame that stay free for the pipeline.
const TAILROOM: usize = 64;
/// Longest Ethernet header, with one tag.
const ETHERNET_MAX: usize = 18;
/// The first socket of a group asks for a group of its own. Source: linux/if_packet.h.
const PACKET_FANOUT_FLAG_UNIQUEID: c_uint = 0x2000;
/// A group does not see what the host sends. Source: linux/if_packet.h, since 5.16.
const PACKET_FANOUT_FLAG_IGNORE_OUTGOING: c_uint = 0x4000;

/// What a socket holds, and may: places in the answer of SO_MEMINFO. Source: linux/sock_diag.h.
const MEMINFO_RMEM: usize = 0;
const MEMINFO_RCVBUF: usize = 1;

/// How a port is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfPacketConfig {
    /// Bytes that may wait to be received, counted with the kernel's bookkeeping (some 800 bytes for a short frame).
    pub receive_buffer: c_int,
    /// Most frames taken by transmit and not reclaimed.
    pub tx_pending_max: usize,
    /// Hand frames to the driver past the device's queueing discipline: cheaper, and what the driver's ring has no
    /// room for is lost instead of waiting.
    pub qdisc_bypass: bool,
}

impl Default for AfPacketConfig {
    fn default() -> Self {
        Self { receive_buffer: 16 << 20, tx_pending_max: 512, qdisc_bypass: false }
    }
}

/// One packet socket of a device.
#[derive(Debug)]
pub struct AfPacket<'m> {
    /// Empty frames that the next call fills, each as long as its room.
    posted: ArrayVec<Frame<'m>, BATCH>,
    sending: VecDeque<Frame<'m>>,
    sent: Vec<Frame<'m>>,
    tx_pending_max: usize,
    too_long: u64,
    fill_empty: u64,
    kicks: u64,
    kicks_refused: u64,
    /// Frames that the kernel refused, and nothing else counts.
    invalid: u64,
    /// The last call filled all frames that it was given: more may wait.
    more: bool,
    /// The kernel forgets its count when it is read.
    ring_full: Cell<u64>,
    socket: OwnedFd,
}

impl<'m> AfPacket<'m> {
    /// Opens `queues` sockets on the device, which share its frames by receive queue, and what says which frames are
    /// ours; until it is told, none.
    ///
    /// # Errors
    /// [`IoError::Queue`] if frames of the device's MTU do not fit the memory's chunks, [`IoError::Rights`],
    /// [`IoError::System`].
    pub fn open(
        umem: &'m Umem,
        device: &Netdev,
        queues: usize,
        config: AfPacketConfig,
    ) -> Result<(Vec<Self>, PacketFilter), IoError> {
        let room = umem.config().chunk_size.saturating_sub(crate::umem::XDP_HEADROOM + TAILROOM);
        let refuse = |why: String| IoError::Queue { port: device.name.clone(), queue: 0, why };
        if device.mtu as usize + ETHERNET_MAX > room {
            let mtu_max = room.saturating_sub(ETHERNET_MAX);
            return Err(refuse(format!(
                "its MTU is {}, and a chunk of frame memory holds frames of an MTU up to {mtu_max}",
                device.mtu
            )));
        }
        let mut ports: Vec<Self> = Vec::with_capacity(queues);
        let mut filter: Option<PacketFilter> = None;
        for _ in 0..queues {
            let socket = open_socket(device, config).map_err(|error| {
                IoError::from_os(format!("open a packet socket on {}", device.name), error)
            })?;
            if queues > 1 {
                fan_out(socket.as_fd(), ports.first().map(|first| first.socket.as_fd())).map_err(
                    |error| {
                        IoError::from_os(
                            format!("share {} between packet sockets", device.name),
                            error,
                        )
                    },
                )?;
            }
            let control = socket.try_clone().map_err(|error| {
                IoError::from_os(format!("keep a packet socket of {}", device.name), error)
            })?;
            let control = PacketFilter::new(&device.name, control);
            match &mut filter {
                Some(filter) => filter.join(control)?,
                None => filter = Some(control),
            }
            ports.push(Self {
                posted: ArrayVec::new(),
                sending: VecDeque::with_capacity(config.tx_pending_max),
                sent: Vec::with_capacity(config.tx_pending_max),
                tx_pending_max: config.tx_pending_max,
                too_long: 0,
                fill_empty: 0,
                kicks: 0,
                kicks_refused: 0,
                invalid: 0,
                more: false,
                ring_full: Cell::new(0),
                socket,
            });
        }
        let filter = filter.ok_or_else(|| refuse("a port has a queue at least".to_owned()))?;
        Ok((ports, filter))
    }

    /// Takes frames for the next call, as many as it may need.
    #[inline]
    fn post(&mut self, pool: &mut Pool<'m>, wanted: usize) {
        while self.posted.len() < wanted {
            let Some(mut frame) = pool.take() else {
                self.fill_empty += u64::from(self.posted.is_empty());
                return;
            };
            let room = frame.tailroom().saturating_sub(TAILROOM);
            let _fits = frame.append(room);
            self.posted.push(frame);
        }
    }

    /// Sends from the front. A device that went down leaves an error on the socket, which is about no frame: the next
    /// attempt tells whether it is down still.
    fn send(&self) -> io::Result<usize> {
        let socket = self.socket.as_fd();
        send_from(socket, &self.sending).or_else(|error| {
            if error.raw_os_error() != Some(libc::ENETDOWN) {
                return Err(error);
            }
            // Reading it clears it.
            let _left_behind: io::Result<c_int> =
                sockopt::get(socket, libc::SOL_SOCKET, libc::SO_ERROR);
            send_from(socket, &self.sending)
        })
    }

    fn refresh_ring_full(&self) {
        let counted: io::Result<libc::tpacket_stats> =
            sockopt::get(self.socket.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS);
        if let Ok(counted) = counted {
            self.ring_full.set(self.ring_full.get() + u64::from(counted.tp_drops));
        }
    }
}

impl<'m> Port<'m> for AfPacket<'m> {
    fn receive(&mut self, pool: &mut Pool<'m>, burst: &mut Burst<Frame<'m>>) -> usize {
        let wanted = burst.remaining_capacity().min(BATCH);
        self.post(pool, wanted);
        let mut beside = [Beside::EMPTY; BATCH];
        let count = receive_into(self.socket.as_fd(), &mut self.posted, wanted, &mut beside);
        self.more = count == wanted;
        let mut received = 0;
        for (mut frame, beside) in self.posted.drain(..count).zip(&beside) {
            if beside.cut_short || !beside.apply(&mut frame) {
                self.too_long += 1;
                pool.put(frame);
            } else {
                burst.push(frame);
                received += 1;
            }
        }
        received
    }

    /// Cost: a system call, while whole bursts come.
    #[inline]
    fn backlog(&self) -> u8 {
        if !self.more {
            return 0;
        }
        let memory: io::Result<[u32; 9]> =
            sockopt::get(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO);
        let memory = memory.unwrap_or([0; 9]);
        let (held, most) = (memory[MEMINFO_RMEM], memory[MEMINFO_RCVBUF]);
        u8::try_from(held / (most / 8).max(1)).unwrap_or(8).min(8)
    }

    #[inline]
    fn room(&self) -> usize {
        self.tx_pending_max - self.pending()
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Frame<'m>>) -> usize {
        let count = self.room().min(burst.len());
        self.sending.extend(burst.drain(..count));
        count
    }

    fn flush(&mut self) {
        while !self.sending.is_empty() {
            self.kicks += 1;
            let done = match self.send() {
                Ok(count) => count,
                // As much waits in the kernel as may; or a signal came.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {
                    return;
                }
                // The device is down. What was taken leaves when it is up again, as with AF_XDP.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    self.kicks_refused += 1;
                    return;
                }
                // About the first frame, which is lost.
                Err(error) => {
                    self.kicks_refused += 1;
                    // A queue behind us was full: the device counts those. All else nobody does.
                    self.invalid += u64::from(error.raw_os_error() != Some(libc::ENOBUFS));
                    1
                }
            };
            self.sent.extend(self.sending.drain(..done.min(self.sending.len())));
        }
    }

    #[inline]
    fn reclaim(&mut self, pool: &mut Pool<'m>) -> usize {
        let count = self.sent.len();
        self.sent.drain(..).for_each(|frame| pool.put(frame));
        count
    }

    #[inline]
    fn pending(&self) -> usize {
        self.sending.len() + self.sent.len()
    }

    fn unsent(&self) -> usize {
        self.sending.len()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn statistics(&self) -> PortStatistics {
        self.refresh_ring_full();
        PortStatistics {
            rx_dropped: self.too_long,
            rx_ring_full: self.ring_full.get(),
            tx_invalid: self.invalid,
            fill_empty: self.fill_empty,
            kicks: self.kicks,
            kicks_refused: self.kicks_refused,
            ..PortStatistics::default()
        }
    }
}

/// What the kernel says beside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beside {
    len: usize,
    cut_short: bool,
    /// Tag protocol and tag control, taken out of the frame.
    tag: Option<(u16, u16)>,
    /// The UDP checksum covers the pseudo-header only.
    checksum_unfinished: bool,
}

impl Beside {
    const EMPTY: Self = Self { len: 0, cut_short: false, tag: None, checksum_unfinished: false };

    /// Makes the frame what it was on the wire. `false`: there is no room for its tag.
    fn apply<P: Packet>(&self, frame: &mut P) -> bool {
        frame.truncate(self.len);
        if self.checksum_unfinished {
            finish_checksum(frame.bytes_mut());
        }
        self.tag.is_none_or(|(protocol, control)| put_tag_back(frame, protocol, control))
    }
}

/// Moves the addresses to the front and writes the tag behind them.
fn put_tag_back<P: Packet>(frame: &mut P, protocol: u16, control: u16) -> bool {
    const ADDRESSES_LEN: usize = 12;
    if frame.len() < ADDRESSES_LEN || !frame.prepend(TAG_LEN) {
        return false;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(TAG_LEN..TAG_LEN + ADDRESSES_LEN, 0);
    let tag = bytes.get_mut(ADDRESSES_LEN..).and_then(<[u8]>::first_chunk_mut);
    if let Some([p0, p1, c0, c1]) = tag {
        ([*p0, *p1], [*c0, *c1]) = (protocol.to_be_bytes(), control.to_be_bytes());
    }
    true
}

/// Writes the checksum of a UDP datagram; leaves every other frame as it is.
fn finish_checksum(frame: &mut [u8]) {
    let Some(ethernet) = Header::parse(frame) else { return };
    let Some(packet) = frame.get_mut(ethernet.len()..) else { return };
    let header = match ethernet.ethertype {
        ETHERTYPE_IPV4 => ip::parse_v4(packet),
        ETHERTYPE_IPV6 => ip::parse_v6(packet),
        _ => return,
    };
    let Ok(header) = header else { return };
    let payload = header.header_len..header.header_len + header.payload_len;
    let Some(datagram) = packet.get_mut(payload) else { return };
    let Some(fields) = udp::parse(datagram) else { return };
    if header.protocol != ip::PROTOCOL_UDP {
        return;
    }
    if let Some(datagram) = datagram.get_mut(..udp::HEADER_LEN + fields.payload_len) {
        let (source, destination) =
            ((header.source, fields.source), (header.destination, fields.destination));
        // Refuses port 0, to which nobody sends.
        let _written = udp::write(datagram, source, destination);
    }
}

/// Room for the one control message that a packet socket sends along.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

const CMSG_HEADER_LEN: usize = size_of::<libc::cmsghdr>();
const CONTROL_LEN: usize = (CMSG_HEADER_LEN + size_of::<tpacket_auxdata>()).next_multiple_of(8);

impl Control {
    /// Reads the message; `len` bytes of it are there.
    fn read(&self, len: usize) -> Option<(u32, u16, u16)> {
        let message = self.0.get(..len)?;
        let int = |at: usize| message.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
        let level = int(offset_of!(libc::cmsghdr, cmsg_level))?.cast_signed();
        let kind = int(offset_of!(libc::cmsghdr, cmsg_type))?.cast_signed();
        if (level, kind) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            return None;
        }
        let data = message.get(CMSG_HEADER_LEN..)?;
        let short = |at: usize| data.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes);
        let status = int(CMSG_HEADER_LEN + offset_of!(tpacket_auxdata, tp_status))?;
        let control = short(offset_of!(tpacket_auxdata, tp_vlan_tci))?;
        let protocol = short(offset_of!(tpacket_auxdata, tp_vlan_tpid))?;
        Some((status, control, protocol))
    }
}

/// Receives up to `wanted` frames into the first of `posted`, without waiting. Returns how many came.
fn receive_into(
    socket: BorrowedFd<'_>,
    posted: &mut [Frame<'_>],
    wanted: usize,
    beside: &mut [Beside; BATCH],
) -> usize {
    let mut control = [Control([0; CONTROL_LEN]); BATCH];
    let mut slices = [NO_SLICE; BATCH];
    let mut messages: ArrayVec<mmsghdr, BATCH> = ArrayVec::new();
    let rooms = posted.iter_mut().take(wanted).zip(&mut slices).zip(&mut control);
    for ((frame, slice), control) in rooms {
        let bytes = frame.bytes_mut();
        *slice = iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut message = message(slice);
        message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = CONTROL_LEN;
        messages.push(message);
    }
    if messages.is_empty() {
        return 0;
    }
    // SAFETY: each message has one slice, over a frame that `posted` owns and that nobody else refers to during the
    // call, and its own control buffer of the given length; the kernel writes no more than those lengths.
    let result = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            c_uint::try_from(messages.len()).unwrap_or(0),
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    // Below zero: nothing has come, or the device went down, which the management thread notices.
    let count = usize::try_from(result).unwrap_or(0).min(messages.len());
    for ((message, control), beside) in messages.iter().take(count).zip(&control).zip(beside) {
        let (status, tag_control, protocol) =
            control.read(message.msg_hdr.msg_controllen).unwrap_or_default();
        let protocol =
            if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 { protocol } else { ETHERTYPE_VLAN };
        *beside = Beside {
            len: message.msg_len as usize,
            cut_short: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            tag: (status & libc::TP_STATUS_VLAN_VALID != 0).then_some((protocol, tag_control)),
            checksum_unfinished: status & libc::TP_STATUS_CSUMNOTREADY != 0,
        };
    }
    count
}

/// Sends from the front of `frames`, without waiting. Returns how many the kernel took; an error is about the first.
fn send_from(socket: BorrowedFd<'_>, frames: &VecDeque<Frame<'_>>) -> io::Result<usize> {
    let mut slices = [NO_SLICE; BATCH];
    let mut messages: ArrayVec<mmsghdr, BATCH> = ArrayVec::new();
    for (frame, slice) in frames.iter().zip(&mut slices) {
        let bytes = frame.bytes();
        *slice = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        messages.push(message(slice));
    }
    // SAFETY: each message has one slice, over a frame that `frames` owns, and nothing else; the kernel reads the
    // frames, copies them before it returns, and writes to the messages only.
    let result = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            c_uint::try_from(messages.len()).unwrap_or(0),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(result).map_err(|_negative| io::Error::last_os_error())
}

const NO_SLICE: iovec = iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// A message of one slice, without address and control.
fn message(slice: &mut iovec) -> mmsghdr {
    // SAFETY: mmsghdr is plain old data, for which all zeros is a value: no address, no slices, no control.
    let mut message: mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_hdr.msg_iov = slice;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// A socket bound to the device, that takes nothing until its filter says so.
fn open_socket(device: &Netdev, config: AfPacketConfig) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain values; the result is checked. Protocol 0: nothing arrives before the bind.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let fd = socket.as_fd();
    filter::install(fd, &crate::xdp::PortFilter::default())?;
    sockopt::set(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
    sockopt::set(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
    sockopt::set(fd, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &i32::from(config.qdisc_bypass))?;
    // Beyond the system's limit only with the right to; less is only less patient.
    let forced = sockopt::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &config.receive_buffer);
    if forced.is_err() {
        sockopt::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &config.receive_buffer)?;
    }
    bind(fd, device.index)?;
    Ok(socket)
}

/// Binds to all protocols: frames with a tag taken out, 0xfc00 and UDP have no other in common.
fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain old data, for which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be();
    address.sll_ifindex = index.cast_signed();
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
    // SAFETY: the kernel reads `len` bytes of the address, which is that long.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts a socket into the group of `first`, or, if it is the first, into a new one.
fn fan_out(socket: BorrowedFd<'_>, first: Option<BorrowedFd<'_>>) -> io::Result<()> {
    const GROUP_MASK: c_int = 0xffff;
    let (group, unique) = match first {
        Some(first) => {
            let value: c_int = sockopt::get(first, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
            (value & GROUP_MASK, 0)
        }
        None => (0, PACKET_FANOUT_FLAG_UNIQUEID),
    };
    let kind = libc::PACKET_FANOUT_QM | PACKET_FANOUT_FLAG_IGNORE_OUTGOING | unique;
    let value = group | (kind << 16).cast_signed();
    sockopt::set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::buf::HeapPacket;

    proptest! {
        /// Taking a tag out as the kernel does and putting it back changes nothing.
        #[test]
        fn a_tag_goes_back_where_it_was(
            untagged in proptest::collection::vec(any::<u8>(), 14..200),
            protocol: u16,
            control: u16,
        ) {
            let mut frame = HeapPacket::new(&untagged, 4, 0);
            prop_assert!(put_tag_back(&mut frame, protocol, control));
            let bytes = frame.bytes();
            prop_assert_eq!(&bytes[..12], &untagged[..12]);
            prop_assert_eq!(&bytes[12..14], &protocol.to_be_bytes());
            prop_assert_eq!(&bytes[14..16], &control.to_be_bytes());
            prop_assert_eq!(&bytes[16..], &untagged[12..]);
        }

        /// Whatever is received, finishing a checksum neither panics nor touches more than a checksum field.
        #[test]
        fn an_unfinished_checksum_is_all_that_changes(
            mut frame in proptest::collection::vec(any::<u8>(), 0..120),
            ethertype in prop_oneof![Just(ETHERTYPE_IPV4), Just(ETHERTYPE_IPV6), any::<u16>()],
        ) {
            if let Some(at) = frame.get_mut(12..14) {
                at.copy_from_slice(&ethertype.to_be_bytes());
            }
            let before = frame.clone();
            finish_checksum(&mut frame);
            let changed = before.iter().zip(&frame).filter(|(old, new)| old != new).count();
            prop_assert!(changed <= 2, "{} bytes", changed);
        }
    }

    #[test]
    fn a_frame_without_room_for_its_tag_is_refused() {
        assert!(!put_tag_back(&mut HeapPacket::new(&[0; 60], 3, 0), ETHERTYPE_VLAN, 1));
        assert!(!put_tag_back(&mut HeapPacket::new(&[0; 11], 8, 0), ETHERTYPE_VLAN, 1));
    }
}
