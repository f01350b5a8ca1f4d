//! Questions to the kernel over netlink: one request, its answers, their attributes.
//!
//! Only what devices are asked for at start and now and then; nothing here is on the packet path. Answers are bounded in
//! number, size and time, and nothing in them is trusted. Source: linux/netlink.h, rtnetlink.h, genetlink.h.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Answers to one question, datagrams; the kernel puts a hundred entries of a list in each.
const DATAGRAMS_MAX: usize = 16_384;
/// Bytes of one; a list comes in parts of 32 KiB at most.
const DATAGRAM_LEN: usize = 64 << 10;
/// Longest wait for one, seconds. The kernel answers at once.
const WAIT_S: i64 = 2;

const HEADER_LEN: usize = 16;
const MESSAGE_ERROR: u16 = 2;
const MESSAGE_DONE: u16 = 3;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
const FLAG_LIST: u16 = 0x300;
/// Low bits of an attribute's type; the others are flags.
const ATTRIBUTE_KIND: u16 = 0x3fff;

/// A socket for questions, in the network namespace that it was made in.
#[derive(Debug)]
pub(crate) struct Asker {
    socket: OwnedFd,
    sequence: u32,
}

impl Asker {
    /// For routes, devices and neighbours.
    pub(crate) fn route() -> io::Result<Self> {
        Self::new(SockProtocol::NetlinkRoute)
    }

    /// For families that are found by name.
    pub(crate) fn generic() -> io::Result<Self> {
        Self::new(SockProtocol::NetlinkGeneric)
    }

    fn new(protocol: SockProtocol) -> io::Result<Self> {
        let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Netlink, kind, flags, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(WAIT_S))?;
        // So that nobody but the kernel can answer.
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for one thing; the answer's body.
    pub(crate) fn one(&mut self, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = None;
        self.ask(kind, FLAG_ACK, body, |body| {
            answer.get_or_insert_with(|| body.to_vec());
        })?;
        answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Asks for a list, and shows each answer's body.
    pub(crate) fn list(
        &mut self,
        kind: u16,
        body: &[u8],
        each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.ask(kind, FLAG_LIST, body, each)
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let len = u32::try_from(HEADER_LEN + body.len()).unwrap_or(u32::MAX);
        let mut request = Vec::with_capacity(HEADER_LEN + body.len());
        request.extend(len.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((FLAG_REQUEST | flags).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut buffer = vec![0; DATAGRAM_LEN];
        for _ in 0..DATAGRAMS_MAX {
            let received = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Err(nix::Error::EINTR) => continue,
                received => received?,
            };
            let datagram = buffer
                .get(..received)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            match read(datagram, self.sequence, &mut each) {
                End::Open => {}
                End::Done => return Ok(()),
                End::Refused(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
        Err(io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// Whether more answers will come.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Open,
    Done,
    Refused(i32),
}

/// Shows the messages of a datagram that answer request number `sequence`.
fn read(mut datagram: &[u8], sequence: u32, each: &mut impl FnMut(&[u8])) -> End {
    loop {
        let fields = (word(datagram, 0), half(datagram, 4), word(datagram, 8));
        let (Some(len), Some(kind), Some(number)) = fields else { return End::Open };
        let len = len as usize;
        let Some(body) = datagram.get(HEADER_LEN..len) else { return End::Open };
        if number == sequence {
            match kind {
                MESSAGE_DONE => return End::Done,
                MESSAGE_ERROR => {
                    return match word(body, 0).map_or(libc::EBADMSG, |errno| {
                        errno.cast_signed().checked_neg().unwrap_or(libc::EBADMSG)
                    }) {
                        0 => End::Done,
                        errno => End::Refused(errno),
                    };
                }
                _ => each(body),
            }
        }
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// Attributes, as (kind, value); what does not parse ends them.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (len, kind) = (usize::from(half(bytes, 0)?), half(bytes, 2)?);
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & ATTRIBUTE_KIND, value))
    })
}

/// The value of the first attribute of a kind.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// An attribute to ask with; `value` is short.
pub(crate) fn to_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct ifinfomsg` that names a device, of a family.
pub(crate) fn device_message(family: u8, index: u32) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = family;
    message[4..8].copy_from_slice(&index.to_ne_bytes());
    message
}

pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(HEADER_LEN + body.len()).unwrap();
        let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 2]].concat();
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn only_answers_to_the_question_are_shown() {
        let datagram = [
            message(16, 7, b"one"),
            message(16, 6, b"late"),
            message(16, 7, b"two!"),
            message(MESSAGE_DONE, 7, &[0; 4]),
            message(16, 7, b"after"),
        ]
        .concat();
        let mut seen = Vec::new();
        assert_eq!(read(&datagram, 7, &mut |body: &[u8]| seen.push(body.to_vec())), End::Done);
        assert_eq!(seen, [&b"one"[..], b"two!"]);
        let refusal = message(MESSAGE_ERROR, 7, &(-libc::ENODEV).to_ne_bytes());
        assert_eq!(read(&refusal, 7, &mut |_: &[u8]| {}), End::Refused(libc::ENODEV));
        let extreme = message(MESSAGE_ERROR, 7, &i32::MIN.to_ne_bytes());
        assert_eq!(read(&extreme, 7, &mut |_: &[u8]| {}), End::Refused(libc::EBADMSG));
    }

    #[test]
    fn attributes_are_found_behind_padding() {
        let bytes = [to_attribute(3, b"veth\0"), to_attribute(0x8005, &[1, 2])].concat();
        assert_eq!(attribute(&bytes, 3), Some(&b"veth\0"[..]));
        assert_eq!(attribute(&bytes, 5), Some(&[1, 2][..]));
        assert_eq!(attribute(&bytes, 4), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics_or_goes_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut seen = 0;
            let _end = read(&bytes, 0, &mut |body: &[u8]| seen += 1 + attributes(body).count());
            prop_assert!(seen <= 200);
            prop_assert!(attributes(&bytes).count() <= 50);
        }
    }
}
