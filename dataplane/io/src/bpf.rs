//! bpf(2): maps, programs and links, each a file descriptor that takes its object along when it is closed.
//!
//! There is no compiler on a user's machine, so programs are assembled here, instruction by instruction.

pub mod assembler;
pub mod btf;

use crate::IoError;
use crate::mapping::Mapping;
use crate::netlink::Netlink;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;

// Commands, types and flags. Source: linux/bpf.h.
const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const PROG_LOAD: u32 = 5;
const PROG_TEST_RUN: u32 = 10;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const LINK_CREATE: u32 = 28;
const LINK_GET_FD_BY_ID: u32 = 30;
const LINK_GET_NEXT_ID: u32 = 31;

const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const LINK_TYPE_XDP: u32 = 6;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
const MAP_NO_PREALLOC: u32 = 1;
const MAP_MAPPABLE: u32 = 1 << 10;
const PROGRAM_XDP_DEVICE_BOUND: u32 = 1 << 6;

/// Kinds of map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// Keys of any bytes.
    Hash = 1,
    /// Keys 0 to n − 1.
    Array = 2,
    /// AF_XDP sockets by receive queue.
    Sockets = 17,
}

/// How a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before the kernel makes a packet of the frame.
    Native,
    /// After that: slower, on any device.
    Generic,
}

impl std::fmt::Display for XdpMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// One bpf(2) call. `attributes` is the part of `union bpf_attr` that the command uses.
fn call<T>(command: u32, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the kernel reads, and for some commands writes, at most the size given, of a struct that is borrowed
    // mutably; pointers in it are set by the callers below to buffers that outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn call_fd<T>(command: u32, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    let fd = RawFd::try_from(fd).ok().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the command has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // An open descriptor is not negative.
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(data: &[T]) -> u64 {
    data.as_ptr().addr() as u64
}

/// A map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_len: usize,
    value_len: usize,
}

impl Map {
    /// Makes a map.
    ///
    /// # Errors
    /// [`IoError::Rights`], or [`IoError::System`].
    pub fn create(
        kind: MapKind,
        key_len: usize,
        value_len: usize,
        entries: usize,
    ) -> Result<Self, IoError> {
        // Entries that are not there cost nothing; the kernel takes care that lookups stay as they are.
        let flags = if kind == MapKind::Hash { MAP_NO_PREALLOC } else { 0 };
        Self::create_with(kind, key_len, value_len, entries, flags)
    }

    fn create_with(
        kind: MapKind,
        key_len: usize,
        value_len: usize,
        entries: usize,
        flags: u32,
    ) -> Result<Self, IoError> {
        #[repr(C)]
        struct Attributes {
            kind: u32,
            key_len: u32,
            value_len: u32,
            entries: u32,
            flags: u32,
        }
        let size = |size| u32::try_from(size).unwrap_or(u32::MAX);
        let (key_size, value_size) = (size(key_len), size(value_len));
        let mut attributes = Attributes {
            kind: kind as u32,
            key_len: key_size,
            value_len: value_size,
            entries: size(entries),
            flags,
        };
        let fd = call_fd(MAP_CREATE, &mut attributes).map_err(|error| {
            IoError::from_os(format!("create a BPF map of {entries} entries"), error)
        })?;
        Ok(Self { fd, key_len, value_len })
    }

    /// Sets one entry.
    ///
    /// # Errors
    /// The kernel's refusal: a full map, or (sockets) a socket that is not bound.
    pub fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, Some(value))?;
        call(MAP_UPDATE_ELEM, &mut self.element(key, address(value))).map(drop)
    }

    /// Removes one entry; one that is not there is not an error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.check(key, None)?;
        match call(MAP_DELETE_ELEM, &mut self.element(key, 0)) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Reads one entry of a map whose values are not per CPU.
    ///
    /// # Errors
    /// The kernel's refusal, ENOENT for an entry that is not there.
    pub fn read(&self, key: &[u8]) -> io::Result<Vec<u8>> {
        self.check(key, None)?;
        let mut value = vec![0; self.value_len];
        let address = value.as_mut_ptr().addr() as u64;
        call(MAP_LOOKUP_ELEM, &mut self.element(key, address))?;
        Ok(value)
    }

    /// For a program's instructions.
    #[must_use]
    pub fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    fn element(&self, key: &[u8], value: u64) -> Element {
        Element {
            map: self.fd.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: address(key),
            value,
            flags: 0,
        }
    }

    /// The kernel reads as many bytes as the map says, so slices must have them.
    fn check(&self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        let fits =
            key.len() == self.key_len && value.is_none_or(|value| value.len() == self.value_len);
        if fits { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
    }
}

/// An array map that is mapped into this process too: what either side stores the other sees, without a system call.
#[derive(Debug)]
pub(crate) struct SharedArray {
    map: Map,
    mapping: Mapping,
    value_len: usize,
    entries: usize,
}

impl SharedArray {
    /// Zeros. `value_len`: a multiple of 8.
    ///
    /// # Errors
    /// [`IoError::Rights`], or [`IoError::System`].
    pub(crate) fn create(value_len: usize, entries: usize) -> Result<Self, IoError> {
        let map = Map::create_with(MapKind::Array, 4, value_len, entries, MAP_MAPPABLE)?;
        let mapping = Mapping::shared(map.fd.as_fd(), value_len * entries, 0, true)?;
        Ok(Self { map, mapping, value_len, entries })
    }

    /// A word of a value, eight bytes at a multiple of eight; `None` where there is none.
    #[inline]
    pub(crate) fn word(&self, entry: usize, at: usize) -> Option<&AtomicU64> {
        if entry >= self.entries || at + 8 > self.value_len {
            return None;
        }
        let word = self.mapping.at::<AtomicU64>(entry * self.value_len + at, 8)?;
        // SAFETY: `at` checked that it lies in the mapping, aligned; the mapping lives as long as this, and both sides use
        // whole words.
        Some(unsafe { word.as_ref() })
    }

    /// For a program's instructions.
    pub(crate) fn fd(&self) -> i32 {
        self.map.fd()
    }
}

#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A program that the verifier has taken.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

/// What a program answers in [`Program::test_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// XDP_ABORTED 0, XDP_DROP 1, XDP_PASS 2, XDP_TX 3, XDP_REDIRECT 4.
    pub action: u32,
}

impl Program {
    /// Loads an XDP program.
    ///
    /// # Errors
    /// [`IoError::Rights`]; [`IoError::Verifier`] with the end of its log.
    pub fn load_xdp(name: &str, instructions: &[u64]) -> Result<Self, IoError> {
        Self::load(name, instructions, None)
    }

    /// Loads an XDP program that only this device can run, natively, and that may ask its driver for metadata.
    ///
    /// # Errors
    /// As [`Self::load_xdp`]; [`IoError::System`] also for a device whose driver has no metadata.
    pub fn load_xdp_for(name: &str, instructions: &[u64], ifindex: u32) -> Result<Self, IoError> {
        Self::load(name, instructions, Some(ifindex))
    }

    fn load(name: &str, instructions: &[u64], device: Option<u32>) -> Result<Self, IoError> {
        #[repr(C)]
        struct Attributes {
            kind: u32,
            count: u32,
            instructions: u64,
            license: u64,
            log_level: u32,
            log_len: u32,
            log: u64,
            kernel_version: u32,
            flags: u32,
            name: [u8; 16],
            ifindex: u32,
            attach_type: u32,
        }
        let license = b"Dual MIT/GPL\0";
        let mut log = vec![0_u8; 64 << 10];
        let mut attributes = Attributes {
            kind: PROG_TYPE_XDP,
            count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
            instructions: address(instructions),
            license: address(license),
            log_level: 1,
            log_len: u32::try_from(log.len()).unwrap_or(0),
            log: log.as_mut_ptr().addr() as u64,
            kernel_version: 0,
            flags: if device.is_some() { PROGRAM_XDP_DEVICE_BOUND } else { 0 },
            name: [0; 16],
            ifindex: device.unwrap_or(0),
            attach_type: ATTACH_XDP,
        };
        attributes.name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
        match call_fd(PROG_LOAD, &mut attributes) {
            Ok(fd) => Ok(Self { fd }),
            Err(error) => {
                let text: Vec<u8> = log.into_iter().take_while(|byte| *byte != 0).collect();
                if text.is_empty() {
                    return Err(IoError::from_os("load the XDP program", error));
                }
                let text = String::from_utf8_lossy(&text);
                let end: Vec<&str> = text.lines().rev().take(6).collect();
                let log = end.into_iter().rev().collect::<Vec<_>>().join(" | ");
                Err(IoError::Verifier { log })
            }
        }
    }

    /// Runs the program once on `packet` (at least 14 bytes), as if received on queue 0 of the loopback device.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn test_run(&self, packet: &[u8]) -> io::Result<TestRun> {
        let mut attributes = TestRunAttributes {
            program: self.fd.as_raw_fd().cast_unsigned(),
            data_in_len: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            data_in: address(packet),
            repeat: 1,
            ..TestRunAttributes::default()
        };
        call(PROG_TEST_RUN, &mut attributes)?;
        Ok(TestRun { action: attributes.action })
    }

    /// Runs the program `count` times on frames that the kernel makes as copies of `packet` (at least 14 bytes) and
    /// recycles; what it redirects leaves by the device, for real. A signal to this thread ends it.
    ///
    /// # Errors
    /// EINTR after a signal; the kernel's refusal.
    pub(crate) fn run_live(&self, packet: &[u8], count: u32) -> io::Result<()> {
        let mut attributes = TestRunAttributes {
            program: self.fd.as_raw_fd().cast_unsigned(),
            data_in_len: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            data_in: address(packet),
            repeat: count,
            flags: TEST_XDP_LIVE_FRAMES,
            ..TestRunAttributes::default()
        };
        call(PROG_TEST_RUN, &mut attributes).map(drop)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttributes {
    program: u32,
    action: u32,
    data_in_len: u32,
    data_out_len: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_len: u32,
    context_out_len: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_len: u32,
    padding: u32,
}

/// A program attached to a device. It is not pinned: it goes when this goes, however the process ends.
#[derive(Debug)]
pub struct Link {
    _fd: OwnedFd,
}

impl Link {
    /// Attaches `program` to a device.
    ///
    /// # Errors
    /// The kernel's refusal: EBUSY or EEXIST where somebody else's program is, ERANGE or EOPNOTSUPP for a device that
    /// cannot do it in this mode, ENOSPC for too few queues.
    pub fn attach(program: &Program, ifindex: u32, mode: XdpMode) -> io::Result<Self> {
        #[repr(C)]
        struct Attributes {
            program: u32,
            target: u32,
            attach_type: u32,
            flags: u32,
        }
        let flags = match mode {
            XdpMode::Native => XDP_FLAGS_DRV_MODE,
            XdpMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let mut attributes = Attributes {
            program: raw(program.fd()),
            target: ifindex,
            attach_type: ATTACH_XDP,
            flags,
        };
        Ok(Self { _fd: call_fd(LINK_CREATE, &mut attributes)? })
    }
}

/// The XDP program on a device of this thread's network namespace, in words; `None` if there is none.
#[must_use]
pub fn holder_of(ifindex: u32) -> Option<String> {
    let program = Netlink::open().and_then(|mut kernel| kernel.xdp_program(ifindex)).ok()??;
    let name = program_name(program).unwrap_or_default();
    let how = link_of(program, ifindex)
        .map_or_else(|| "not by a link".to_owned(), |link| format!("link {link}"));
    Some(format!("program {program} {name:?}, {how}"))
}

/// Links are of all network namespaces, and so is the device's index: the program tells them apart.
fn link_of(program: u32, ifindex: u32) -> Option<u32> {
    let mut id = 0;
    // Links are few; the bound is against a kernel that never ends the list.
    for _ in 0..65_536 {
        id = next_link(id)?;
        if xdp_program_on(id, ifindex) == Some(program) {
            return Some(id);
        }
    }
    None
}

fn next_link(after: u32) -> Option<u32> {
    let mut attributes = [after, 0, 0];
    call(LINK_GET_NEXT_ID, &mut attributes).ok()?;
    Some(attributes[1])
}

fn xdp_program_on(link: u32, ifindex: u32) -> Option<u32> {
    /// The head of `struct bpf_link_info`, for XDP links.
    #[repr(C)]
    #[derive(Default)]
    struct LinkInfo {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        ifindex: u32,
        rest: [u32; 11],
    }
    let fd = call_fd(LINK_GET_FD_BY_ID, &mut [link, 0, 0]).ok()?;
    let mut info = LinkInfo::default();
    get_info(&fd, &mut info)?;
    (info.kind == LINK_TYPE_XDP && info.ifindex == ifindex).then_some(info.program)
}

fn program_name(program: u32) -> Option<String> {
    /// The head of `struct bpf_prog_info`.
    #[repr(C)]
    struct ProgramInfo {
        before_name: [u8; 64],
        name: [u8; 16],
    }
    let fd = call_fd(PROG_GET_FD_BY_ID, &mut [program, 0, 0]).ok()?;
    let mut info = ProgramInfo { before_name: [0; 64], name: [0; 16] };
    get_info(&fd, &mut info)?;
    let name = info.name.into_iter().take_while(|byte| *byte != 0).collect();
    String::from_utf8(name).ok()
}

fn get_info<T>(fd: &OwnedFd, info: &mut T) -> Option<()> {
    #[repr(C)]
    struct Attributes {
        fd: u32,
        info_len: u32,
        info: u64,
    }
    let info_len = u32::try_from(size_of::<T>()).ok()?;
    let info = std::ptr::from_mut(info).addr() as u64;
    call(OBJ_GET_INFO_BY_FD, &mut Attributes { fd: fd.as_raw_fd().cast_unsigned(), info_len, info })
        .ok()
        .map(drop)
}
