//! The program that takes our frames off a device, and leaves all others to the kernel, so that the box stays reachable.
//!
//! Ours are: ethertype 0xfc00 to one of our MAC addresses (also behind one 802.1Q tag that stands in the frame), and UDP
//! to one of our addresses and ports, IPv4 without options or IPv6 without extension headers, not fragments. A queue
//! without a socket passes them to the kernel. Which addresses are ours is in maps, so a change never re-attaches.
//!
//! A tag that stands beside the frame is put back into it, so that the pipeline sees what was on the wire, where the
//! driver tells it ([`Tags`]); natively only. Elsewhere such a frame looks untagged.

mod shed;
mod tags;

pub(crate) use shed::Room;
pub use shed::{Allowance, Allowances, Source};
pub use tags::{Tags, expected};

use crate::IoError;
use crate::bpf::assembler::{Alu, Assembler, If, Reg, Width};
use crate::bpf::{self, Link, Map, MapKind, Program, XdpMode};
use crate::netdev::Netdev;
use shed::Shedding;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use wire::ethernet::{ETHERTYPE_CJDNS, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN};

/// Name of the program, as tools list it.
const NAME: &str = "switchyard";
/// Own addresses on one port; more than a device's own filter holds ([`crate::unicast`]).
const MACS_MAX: usize = 65_536;
/// Own UDP endpoints on one port.
const ENDPOINTS_MAX: usize = 4096;
/// Receive queues of one port.
const QUEUES_MAX: usize = 256;

const MAC_KEY_LEN: usize = 8;
const ENDPOINT_KEY_LEN: usize = 20;

const HELPER_MAP_LOOKUP: i32 = 1;
const HELPER_ADJUST_HEAD: i32 = 44;
const HELPER_REDIRECT_MAP: i32 = 51;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

/// What is ours on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortFilter {
    /// Destination addresses of 0xfc00 frames.
    pub macs: BTreeSet<[u8; 6]>,
    /// Destinations of UDP datagrams.
    pub endpoints: BTreeSet<SocketAddr>,
}

/// The program on one device. Dropping it takes the program off.
#[derive(Debug)]
pub struct Attachment {
    device: Netdev,
    mode: XdpMode,
    tags: Tags,
    maps: Maps,
    filter: PortFilter,
    // It keeps the program.
    _link: Link,
}

#[derive(Debug)]
struct Maps {
    macs: Map,
    endpoints: Map,
    sockets: Map,
    /// Not zero once a frame with a tag in it came.
    tag_seen: Map,
    shedding: Option<Shedding>,
}

impl Maps {
    fn create(shedding: Option<Shedding>) -> Result<Self, IoError> {
        Ok(Self {
            macs: Map::create(MapKind::Hash, MAC_KEY_LEN, 4, MACS_MAX)?,
            endpoints: Map::create(MapKind::Hash, ENDPOINT_KEY_LEN, 4, ENDPOINTS_MAX)?,
            sockets: Map::create(MapKind::Sockets, 4, 4, QUEUES_MAX)?,
            tag_seen: Map::create(MapKind::Array, 4, 4, 1)?,
            shedding,
        })
    }
}

impl Attachment {
    /// Attaches to a device, with nothing ours yet: natively where the driver can, else generically.
    ///
    /// # Errors
    /// [`IoError::Occupied`] where another program is, [`IoError::Rights`], [`IoError::System`] with the kernel's reason
    /// for refusing both modes.
    pub fn attach(device: &Netdev) -> Result<Self, IoError> {
        Self::attach_with(device, Maps::create(None)?)
    }

    /// The same, with a program that sheds for queues whose workers are behind, by what [`Self::allow`] is told of at most
    /// `sources` sources.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_shedding(device: &Netdev, sources: usize) -> Result<Self, IoError> {
        Self::attach_with(device, Maps::create(Some(Shedding::create(sources)?))?)
    }

    fn attach_with(device: &Netdev, maps: Maps) -> Result<Self, IoError> {
        let (told, untold) = match load_told(device, &maps) {
            Ok(program) => (Some(program), "its driver refused the program that asks".to_owned()),
            Err(why) => (None, why),
        };
        let plain = Program::load_xdp(NAME, &redirect_program(&maps, None))?;
        let generic = "a program that runs generically is not told them".to_owned();
        let attempts = [
            told.as_ref().map(|program| (program, XdpMode::Native, Tags::Told)),
            Some((&plain, XdpMode::Native, Tags::Untold(untold))),
            Some((&plain, XdpMode::Generic, Tags::Untold(generic))),
        ];
        let mut refused = None;
        for (program, mode, tags) in attempts.into_iter().flatten() {
            match Link::attach(program, device.index, mode) {
                Ok(link) => {
                    let (device, filter) = (device.clone(), PortFilter::default());
                    return Ok(Self { device, mode, tags, maps, filter, _link: link });
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
                    let holder = bpf::holder_of(device.index)
                        .unwrap_or_else(|| "it is gone by now".to_owned());
                    return Err(IoError::Occupied { port: device.name.clone(), holder });
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let error = refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        let hint = match error.raw_os_error() {
            Some(libc::ERANGE) => " (its MTU, or its peer's, is too large for XDP)",
            Some(libc::ENOSPC) => {
                " (it has fewer receive queues than its peer has transmit queues)"
            }
            _ => "",
        };
        Err(IoError::from_os(format!("attach the XDP program to {}{hint}", device.name), error))
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Netdev {
        &self.device
    }

    /// How the program runs.
    #[must_use]
    pub fn mode(&self) -> XdpMode {
        self.mode
    }

    /// What it learns of tags that stand beside a frame.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Whether a frame with a tag in its bytes has come since it was attached: the device does not take tags out.
    #[must_use]
    pub fn saw_tag(&self) -> bool {
        let seen = self.maps.tag_seen.read(&0_u32.to_ne_bytes());
        seen.is_ok_and(|seen| seen.iter().any(|byte| *byte != 0))
    }

    /// What is ours now.
    #[must_use]
    pub fn filter(&self) -> &PortFilter {
        &self.filter
    }

    /// Adds what is new in `wanted`; nothing is taken away yet.
    ///
    /// # Errors
    /// [`IoError::System`] if a map is full; what was added before stays, and is known.
    pub fn add(&mut self, wanted: &PortFilter) -> Result<(), IoError> {
        let present = 1_u32.to_ne_bytes();
        let attempt = |what: &str| {
            format!("port {}: add {what} to the XDP program's filter", self.device.name)
        };
        for mac in &wanted.macs {
            if !self.filter.macs.contains(mac) {
                let set = self.maps.macs.set(&mac_key(*mac), &present);
                set.map_err(|error| IoError::from_os(attempt("a MAC address"), error))?;
                self.filter.macs.insert(*mac);
            }
        }
        for endpoint in &wanted.endpoints {
            if !self.filter.endpoints.contains(endpoint) {
                let set = self.maps.endpoints.set(&endpoint_key(*endpoint), &present);
                set.map_err(|error| IoError::from_os(attempt("a UDP endpoint"), error))?;
                self.filter.endpoints.insert(*endpoint);
            }
        }
        Ok(())
    }

    /// Takes away what is not in `wanted`.
    ///
    /// # Errors
    /// [`IoError::System`] with the kernel's reason.
    pub fn remove_others(&mut self, wanted: &PortFilter) -> Result<(), IoError> {
        let attempt =
            || format!("port {}: take an address from the XDP program's filter", self.device.name);
        for mac in self.filter.macs.difference(&wanted.macs) {
            self.maps
                .macs
                .remove(&mac_key(*mac))
                .map_err(|error| IoError::from_os(attempt(), error))?;
        }
        self.filter.macs.retain(|mac| wanted.macs.contains(mac));
        for endpoint in self.filter.endpoints.difference(&wanted.endpoints) {
            let removed = self.maps.endpoints.remove(&endpoint_key(*endpoint));
            removed.map_err(|error| IoError::from_os(attempt(), error))?;
        }
        self.filter.endpoints.retain(|endpoint| wanted.endpoints.contains(endpoint));
        Ok(())
    }

    /// What passes while a worker is behind. Nothing is attached anew.
    ///
    /// # Errors
    /// [`IoError::System`] if a map is full; what was added before stays, and is known.
    pub fn allow(&mut self, wanted: Allowances) -> Result<(), IoError> {
        let Some(shedding) = &mut self.maps.shedding else { return Ok(()) };
        shedding.allow(wanted).map_err(|error| {
            let attempt = format!("port {}: tell the XDP program of a link", self.device.name);
            IoError::from_os(attempt, error)
        })
    }

    /// The room of a queue with a ring of `entries`, where the program sheds.
    pub(crate) fn room(&self, queue: u32, entries: u32) -> Option<Room> {
        self.maps.shedding.as_ref()?.room(queue, entries)
    }

    /// From now on a queue's frames go to this socket.
    pub(crate) fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.maps.sockets.set(&queue.to_ne_bytes(), &socket.as_raw_fd().to_ne_bytes())
    }
}

fn mac_key(mac: [u8; 6]) -> [u8; MAC_KEY_LEN] {
    let [a, b, c, d, e, f] = mac;
    [a, b, c, d, e, f, 0, 0]
}

/// Address, IPv4 as `::ffff:a.b.c.d`, port, two zeros.
fn endpoint_key(endpoint: SocketAddr) -> [u8; ENDPOINT_KEY_LEN] {
    let mut key = [0; ENDPOINT_KEY_LEN];
    key[..16].copy_from_slice(&endpoint_octets(endpoint));
    key[16..18].copy_from_slice(&endpoint.port().to_be_bytes());
    key
}

/// The address, IPv4 as `::ffff:a.b.c.d`.
fn endpoint_octets(endpoint: SocketAddr) -> [u8; 16] {
    let address = match endpoint.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.octets()
}

/// A 16-bit value as a little-endian machine loads it from network order.
const fn loaded(value: u16) -> i32 {
    value.swap_bytes() as i32
}

/// The program that is told of tags, for this device.
fn load_told(device: &Netdev, maps: &Maps) -> Result<Program, String> {
    let function = tags::function_for(device)?;
    let code = redirect_program(maps, Some(function));
    Program::load_xdp_for(NAME, &code, device.index).map_err(|error| error.to_string())
}

/// `tags`: the kernel function that tells them.
fn redirect_program(maps: &Maps, tags: Option<u32>) -> Vec<u64> {
    use Reg::{Fp, R0, R1, R2, R3, R4, R5, R6, R7, R8};
    use Width::{Byte, Half, Word};
    let mut code = Assembler::new();
    // r2 and r8 = frame, r3 = its end, r7 = what follows the Ethernet header, r5 = ethertype.
    code.copy(R6, R1).load(Word, R2, R6, 0).load(Word, R3, R6, 4).copy(R8, R2);
    need(&mut code, R2, 14).load(Half, R5, R2, 12).copy(R7, R2).alu(Alu::Add, R7, 14);
    code.jump_if(R5, If::NotEqual, loaded(ETHERTYPE_VLAN), "untagged");
    code.load_map_value(R1, maps.tag_seen.fd()).store_value(Word, R1, 0, 1);
    need(&mut code, R2, 18).load(Half, R5, R2, 16).copy(R7, R2).alu(Alu::Add, R7, 18);
    code.label("untagged")
        .jump_if(R5, If::Equal, loaded(ETHERTYPE_IPV4), "ipv4")
        .jump_if(R5, If::Equal, loaded(ETHERTYPE_IPV6), "ipv6")
        .jump_if(R5, If::NotEqual, loaded(ETHERTYPE_CJDNS), "pass");
    // The destination MAC as a key on the stack.
    code.load(Word, R4, R2, 0)
        .store(Word, Fp, -8, R4)
        .load(Half, R4, R2, 4)
        .store(Half, Fp, -4, R4);
    code.store_value(Half, Fp, -2, 0).load_map(R1, maps.macs.fd()).copy(R2, Fp).alu(
        Alu::Add,
        R2,
        -8,
    );
    code.jump("look_up");

    // IPv4: 20 bytes of header, no fragment, UDP. The key is ::ffff:destination and the port.
    need(code.label("ipv4"), R7, 28).load(Byte, R4, R7, 0).jump_if(R4, If::NotEqual, 0x45, "pass");
    code.load(Byte, R4, R7, 9).jump_if(R4, If::NotEqual, 17, "pass");
    code.load(Half, R4, R7, 6).alu(Alu::And, R4, loaded(0xbfff)).jump_if(
        R4,
        If::NotEqual,
        0,
        "pass",
    );
    code.store_value(Word, Fp, -24, 0).store_value(Word, Fp, -20, 0).store_value(Half, Fp, -16, 0);
    code.store_value(Half, Fp, -14, -1).load(Word, R4, R7, 16).store(Word, Fp, -12, R4);
    code.load(Half, R4, R7, 22).jump("endpoint");

    // IPv6: UDP right after the header.
    need(code.label("ipv6"), R7, 48).load(Byte, R4, R7, 6).jump_if(R4, If::NotEqual, 17, "pass");
    for word in 0..4 {
        code.load(Word, R4, R7, 24 + 4 * word).store(Word, Fp, -24 + 4 * word, R4);
    }
    code.load(Half, R4, R7, 42);

    code.label("endpoint").store(Half, Fp, -8, R4).store_value(Half, Fp, -6, 0);
    code.load_map(R1, maps.endpoints.fd()).copy(R2, Fp).alu(Alu::Add, R2, -24);

    code.label("look_up").call(HELPER_MAP_LOOKUP).jump_if(R0, If::Equal, 0, "pass");
    if let Some(shedding) = &maps.shedding {
        shed::shed_or_pass(&mut code, shedding, |code, place| {
            if let Some(function) = tags {
                tag_number_into(code, function, place);
            }
        });
    }
    if let Some(function) = tags {
        put_tag_back(&mut code, function, maps.sockets.fd());
    }
    // Redirect by receive queue (offset 16 of the context); without a socket there, XDP_PASS.
    code.load_map(R1, maps.sockets.fd())
        .load(Word, R2, R6, 16)
        .set(R3, XDP_PASS)
        .call(HELPER_REDIRECT_MAP)
        .exit();
    code.label("pass").set(R0, XDP_PASS).exit();
    // Every label used is right above; a missing one shows as a program that the verifier refuses.
    code.finish().unwrap_or_default()
}

/// Puts the tag of a frame that is ours back into it and redirects it; a frame without one goes on at "redirect".
///
/// The kernel gets the frame as it was: its tag stands beside it still, and two would be there. So nothing is changed
/// before a socket is known to take it. A second tag, or one that is not 802.1Q, makes a frame not ours, as it does where
/// all tags are in the frame.
///
/// Cost: one call and seven instructions where there is no tag.
fn put_tag_back(code: &mut Assembler, function: u32, sockets: i32) {
    use Reg::{Fp, R0, R1, R2, R3, R4, R6};
    use Width::{Half, Word};
    ask_for_tag(code, function)
        .jump_if_word(R0, If::Equal, -libc::ENODATA, "redirect")
        .jump_if_word(R0, If::NotEqual, 0, "pass");
    code.load(Half, R4, Fp, -32).jump_if(R4, If::NotEqual, loaded(ETHERTYPE_VLAN), "pass");
    code.load(Word, R2, R6, 0).load(Word, R3, R6, 4);
    need(code, R2, 14).load(Half, R4, R2, 12);
    code.jump_if(R4, If::Equal, loaded(ETHERTYPE_VLAN), "pass");
    code.load(Word, R4, R6, 16).store(Word, Fp, -36, R4);
    code.load_map(R1, sockets).copy(R2, Fp).alu(Alu::Add, R2, -36).call(HELPER_MAP_LOOKUP);
    code.jump_if(R0, If::Equal, 0, "pass");
    code.copy(R1, R6).set(R2, -4).call(HELPER_ADJUST_HEAD);
    code.jump_if_word(R0, If::NotEqual, 0, "pass");
    // The addresses move to the front, the tag follows them.
    code.load(Word, R2, R6, 0).load(Word, R3, R6, 4);
    need(code, R2, 18);
    for word in 0..3 {
        code.load(Word, R4, R2, 4 * word + 4).store(Word, R2, 4 * word, R4);
    }
    code.load(Half, R4, Fp, -32).store(Half, R2, 12, R4);
    code.load(Half, R4, Fp, -30).to_network(R4, 16).store(Half, R2, 14, R4);
    code.load_map(R1, sockets).load(Word, R2, R6, 16).set(R3, XDP_DROP);
    code.call(HELPER_REDIRECT_MAP).exit();
    code.label("redirect");
}

/// Tag protocol (network order) and tag control (host order) of a tag beside the frame go to the stack, at −32 and −30; r0
/// says whether there is one.
fn ask_for_tag(code: &mut Assembler, function: u32) -> &mut Assembler {
    use Reg::{Fp, R1, R2, R3, R6};
    code.store_value(Width::Word, Fp, -32, 0)
        .copy(R1, R6)
        .copy(R2, Fp)
        .alu(Alu::Add, R2, -32)
        .copy(R3, Fp)
        .alu(Alu::Add, R3, -30)
        .call_kernel(function)
}

/// The number of a tag beside the frame goes to a place on the stack; without one nothing does.
fn tag_number_into(code: &mut Assembler, function: u32, place: i16) {
    use Reg::{Fp, R0, R4};
    ask_for_tag(code, function).jump_if_word(R0, If::NotEqual, 0, "no tag beside");
    code.load(Width::Half, R4, Fp, -30).alu(Alu::And, R4, 0x0fff);
    code.store(Width::Half, Fp, place, R4).label("no tag beside");
}

/// Passes the frame on unless `bytes` follow `from`.
fn need(code: &mut Assembler, from: Reg, bytes: i32) -> &mut Assembler {
    need_else(code, from, bytes, "pass")
}

/// Goes to a label unless `bytes` follow `from`.
fn need_else<'a>(
    code: &'a mut Assembler,
    from: Reg,
    bytes: i32,
    label: &'static str,
) -> &'a mut Assembler {
    let end = code.copy(Reg::R4, from).alu(Alu::Add, Reg::R4, bytes);
    end.jump_if_reg(Reg::R4, If::Greater, Reg::R3, label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const PASS: u32 = 2;

    /// What the program does with a frame when no socket is there is always to pass it, so redirecting shows by a
    /// lookup that would abort: bpf_redirect_map answers the flag's action for an empty slot. The sockets map is
    /// therefore tried with the action XDP_TX.
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn program(filter: &PortFilter, shedding: Option<Shedding>) -> Option<(Program, Maps)> {
        let maps = match Maps::create(shedding) {
            Err(IoError::Rights { attempt }) => {
                eprintln!("SKIPPED: {attempt}: not permitted");
                return None;
            }
            maps => maps.unwrap(),
        };
        let present = 1_u32.to_ne_bytes();
        filter.macs.iter().for_each(|mac| maps.macs.set(&mac_key(*mac), &present).unwrap());
        filter
            .endpoints
            .iter()
            .for_each(|at| maps.endpoints.set(&endpoint_key(*at), &present).unwrap());
        let mut code = redirect_program(&maps, None);
        // `r3 = XDP_PASS` right before the call of bpf_redirect_map becomes `r3 = XDP_TX`.
        let flag = code.iter().position(|word| *word == 0x0000_0002_0000_03b7).unwrap();
        code[flag] = 0x0000_0003_0000_03b7;
        Some((Program::load_xdp("test", &code).unwrap(), maps))
    }

    fn taken(program: &Program, frame: &[u8]) -> bool {
        program.test_run(frame).unwrap().action != PASS
    }

    fn frame(destination: [u8; 6], tag: &[u8], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&destination[..], &[2, 0, 0, 0, 0, 1], tag, &ethertype.to_be_bytes(), payload].concat()
    }

    fn udp(destination: SocketAddr) -> Vec<u8> {
        let mut datagram = vec![0; 8];
        datagram[2..4].copy_from_slice(&destination.port().to_be_bytes());
        match destination.ip() {
            IpAddr::V4(to) => {
                [&wire::ip::header_v4(Ipv4Addr::LOCALHOST, to, 8).unwrap()[..], &datagram].concat()
            }
            IpAddr::V6(to) => [&wire::ip::header_v6(to, to, 8).unwrap()[..], &datagram].concat(),
        }
    }

    #[test]
    fn only_our_frames_are_taken() {
        let four: SocketAddr = "10.1.2.3:4567".parse().unwrap();
        let six: SocketAddr = "[fd00::7]:4567".parse().unwrap();
        let filter = PortFilter { macs: [OURS].into(), endpoints: [four, six].into() };
        let Some((program, _)) = program(&filter, None) else { return };
        let payload = [0; 46];
        assert!(taken(&program, &frame(OURS, &[], ETHERTYPE_CJDNS, &payload)));
        assert!(taken(&program, &frame(OURS, &[0x81, 0, 0, 5], ETHERTYPE_CJDNS, &payload)));
        assert!(!taken(&program, &frame([2, 0, 0, 0, 0, 8], &[], ETHERTYPE_CJDNS, &payload)));
        assert!(!taken(&program, &frame(OURS, &[], 0x0806, &payload)));
        assert!(
            !taken(&program, &frame(OURS, &[0x81, 0, 0, 5], ETHERTYPE_VLAN, &payload)),
            "two tags"
        );
        assert!(!taken(&program, &frame(OURS, &[], ETHERTYPE_IPV4, &[0x45; 10])), "cut short");

        assert!(taken(&program, &frame(OURS, &[], ETHERTYPE_IPV4, &udp(four))));
        assert!(taken(&program, &frame(OURS, &[0x81, 0, 0, 5], ETHERTYPE_IPV4, &udp(four))));
        assert!(taken(&program, &frame(OURS, &[], ETHERTYPE_IPV6, &udp(six))));
        let elsewhere: [SocketAddr; 4] = [
            "10.1.2.3:4568".parse().unwrap(),
            "10.1.2.4:4567".parse().unwrap(),
            "[fd00::8]:4567".parse().unwrap(),
            "[fd00::7]:1".parse().unwrap(),
        ];
        for other in elsewhere {
            let ethertype = if other.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
            assert!(!taken(&program, &frame(OURS, &[], ethertype, &udp(other))), "{other}");
        }
        for (at, value, why) in [
            (6, 0x20, "first fragment"),
            (7, 1, "later fragment"),
            (9, 6, "TCP"),
            (0, 0x46, "options"),
        ] {
            let mut packet = udp(four);
            packet[at] = value;
            assert!(!taken(&program, &frame(OURS, &[], ETHERTYPE_IPV4, &packet)), "{why}");
        }
        let mut fragment = udp(six);
        fragment[6] = 44;
        assert!(!taken(&program, &frame(OURS, &[], ETHERTYPE_IPV6, &fragment)));
    }

    const DROP: u32 = 1;
    const TX: u32 = 3;

    /// What becomes of `count` frames, and that it is the same of all.
    fn all(program: &Program, frame: &[u8], count: usize) -> u32 {
        let actions: BTreeSet<u32> =
            (0..count).map(|_| program.test_run(frame).unwrap().action).collect();
        assert_eq!(actions.len(), 1, "{actions:?}");
        actions.into_iter().next().unwrap()
    }

    /// A shedding program with a ring of 64, of which 24 may wait free, 40 with priority.
    fn shedding(filter: &PortFilter, sources: &[Source]) -> Option<(Program, Maps, Room)> {
        let shedding = match Shedding::create(8) {
            Err(IoError::Rights { .. }) => None,
            shedding => Some(shedding.unwrap()),
        };
        let (program, mut maps) = program(filter, shedding)?;
        let mut room = maps.shedding.as_ref().unwrap().room(0, 64).unwrap();
        // Ten frames of 100 bytes, and then hardly any.
        let allowance = Allowance { rate: 64, burst: 1_000, priority: false };
        let meters: std::collections::BTreeMap<_, _> = (0_u32..)
            .map(|meter| (meter, Allowance { priority: meter == 1, ..allowance }))
            .take(1 + sources.len())
            .collect();
        let allowances =
            Allowances { sources: sources.iter().copied().zip(1..).collect(), meters, sold: true };
        maps.shedding.as_mut().unwrap().allow(allowances).unwrap();
        room.took(0, || 0);
        Some((program, maps, room))
    }

    #[test]
    fn what_finds_no_room_passes_by_its_links_meter_alone() {
        let four: SocketAddr = "10.1.2.3:4567".parse().unwrap();
        let six: SocketAddr = "[fd00::7]:4567".parse().unwrap();
        let peers: [SocketAddr; 2] =
            ["127.0.0.1:0", "[fd00::7]:0"].map(|text| text.parse().unwrap());
        let peer = [2, 0, 0, 0, 0, 1];
        let filter = PortFilter { macs: [OURS].into(), endpoints: [four, six].into() };
        let sources = [
            Source::Ethernet { own: OURS, peer, vlan: 0 },
            Source::Ethernet { own: OURS, peer, vlan: 5 },
            Source::Udp { own: four, peer: peers[0], vlan: 0 },
            Source::Udp { own: four, peer: peers[0], vlan: 5 },
            Source::Udp { own: six, peer: peers[1], vlan: 0 },
        ];
        let Some((program, mut maps, mut room)) = shedding(&filter, &sources) else { return };
        // 76 bytes, with preamble and all that 100.
        let pad = |mut frame: Vec<u8>| {
            frame.resize(76, 0);
            frame
        };
        let tag = [0x81, 0, 0x60, 5];
        let frames = [
            pad(frame(OURS, &[], ETHERTYPE_CJDNS, &[])),
            pad(frame(OURS, &tag, ETHERTYPE_CJDNS, &[])),
            pad(frame(OURS, &[], ETHERTYPE_IPV4, &udp(four))),
            pad(frame(OURS, &tag, ETHERTYPE_IPV4, &udp(four))),
            pad(frame(OURS, &[], ETHERTYPE_IPV6, &udp(six))),
        ];
        let mut stranger = frames[0].clone();
        stranger[11] = 77;
        assert_eq!(all(&program, &stranger, 24), TX);
        assert_eq!(all(&program, &stranger, 10), TX, "the meter of those that are not known");
        assert_eq!((all(&program, &stranger, 5), room.shed()), (DROP, 5));
        for frame in &frames[1..] {
            assert_eq!(all(&program, frame, 10), TX);
            assert_eq!(all(&program, frame, 3), DROP);
        }
        assert_eq!(room.shed(), 17);
        // 74 passed: the worker took all but 30. So ten have room whose source has priority.
        room.took(44, || 30);
        assert_eq!(all(&program, &frames[0], 10), TX, "in its meter");
        assert_eq!(all(&program, &frames[0], 1), DROP, "and there the room ends");
        room.took(40, || 20);
        assert_eq!(all(&program, &frames[0], 4), TX, "free");
        assert_eq!(all(&program, &frames[0], 16), TX, "priority");
        assert_eq!(all(&program, &frames[0], 1), DROP);
        assert_eq!(all(&program, &frames[1], 1), DROP);
        // A ring that is empty has room for all again, also when frames that passed never came.
        room.took(0, || 0);
        assert_eq!(all(&program, &stranger, 24), TX);
        assert_eq!(all(&program, &stranger, 1), DROP);
        // Another allowance for one link: nothing is attached anew, the others' meters forget nothing.
        let mut wanted = maps.shedding.as_ref().unwrap().allowed().clone();
        wanted.meters.insert(2, Allowance { rate: 1 << 40, burst: 1 << 30, priority: false });
        wanted.sources.remove(&sources[2]);
        maps.shedding.as_mut().unwrap().allow(wanted).unwrap();
        assert_eq!(all(&program, &frames[1], 1_000), TX);
        assert_eq!(all(&program, &frames[2], 1), DROP, "unknown from now on");
        assert_eq!(all(&program, &frames[4], 1), DROP);
        // Without its worker the queue sheds nothing.
        drop(room);
        assert_eq!(all(&program, &stranger, 100), TX);
    }

    #[test]
    fn where_nothing_is_sold_all_may_wait_but_a_reserve() {
        let filter = PortFilter { macs: [OURS].into(), ..PortFilter::default() };
        let Some((program, mut maps, mut room)) = shedding(&filter, &[]) else { return };
        let frame = frame(OURS, &[], ETHERTYPE_CJDNS, &[0; 46]);
        let wanted =
            Allowances { sold: false, ..maps.shedding.as_ref().unwrap().allowed().clone() };
        maps.shedding.as_mut().unwrap().allow(wanted).unwrap();
        room.took(0, || 0);
        assert_eq!(all(&program, &frame, 56), TX);
        assert_eq!(all(&program, &frame, 11), TX, "the reserve: 1 000 bytes");
        assert_eq!(all(&program, &frame, 1), DROP);
    }
}
