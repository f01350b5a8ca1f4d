//! A port over AF_XDP: four rings shared with the kernel, frames in the process's one memory.
//!
//! Order of calls and what the kernel does in each case: DATAPLANE.md §7.1 to §7.3. In short: the first socket registers
//! the memory, every other shares it; need-wakeup is looked at every round; a descriptor's options are always 0.

use crate::IoError;
use crate::frame::{Frame, Pool};
use crate::mapping::Mapping;
use crate::port::{Burst, Port, PortStatistics};
use crate::ring::{Counters, Cursor};
use crate::umem::Umem;
use crate::xdp::{Attachment, Room};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use wire::buf::Packet;

/// Frames that one sendto may send in copy mode. Source: linux/if_xdp.h, since 6.17.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
/// The old socket of a queue is released some 20 ms after its process ended; so long a bind is tried again.
const BIND_TRIES: u32 = 75;
const BIND_PAUSE: Duration = Duration::from_millis(20);
/// A longer ring is there for what is guaranteed: a backlog counts in parts of this, until the ring is nearly full.
const LONG: u32 = 4096;

/// How a queue is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfXdpConfig {
    /// Receive (and transmit) queue of the device.
    pub queue: u32,
    /// Entries of the RX and fill rings; a power of two. 10 ms of the rate that must not be lost.
    pub rx_entries: u32,
    /// Entries of the TX and completion rings; a power of two.
    pub tx_entries: u32,
    /// Most frames given to the kernel and not completed: what a neighbour that never reads can keep.
    pub tx_pending_max: usize,
}

impl Default for AfXdpConfig {
    fn default() -> Self {
        Self { queue: 0, rx_entries: 4096, tx_entries: 2048, tx_pending_max: 2048 }
    }
}

/// One (device, queue).
#[derive(Debug)]
pub struct AfXdp<'m> {
    umem: &'m Umem,
    rx: Ring<libc::xdp_desc>,
    fill: Ring<u64>,
    tx: Ring<libc::xdp_desc>,
    completion: Ring<u64>,
    tx_pending_max: usize,
    pending: usize,
    zero_copy: bool,
    invalid: u64,
    kicks: u64,
    kicks_refused: u64,
    /// What the program may pass, where it sheds.
    room: Option<Room>,
    // Last: the rings' mappings go first, or the kernel holds the queue a little longer.
    socket: OwnedFd,
}

impl<'m> AfXdp<'m> {
    /// Opens a queue of the attached device and takes frames from `pool` for its fill ring. `shared`: a port opened
    /// before, over the same memory; every port but the first needs one.
    ///
    /// # Errors
    /// [`IoError::Queue`] for a queue that is not there or that somebody holds for longer than a second and a half,
    /// [`IoError::Rights`], [`IoError::System`].
    pub fn open(
        umem: &'m Umem,
        pool: &mut Pool<'m>,
        attachment: &Attachment,
        shared: Option<BorrowedFd<'_>>,
        config: AfXdpConfig,
    ) -> Result<Self, IoError> {
        let port = &attachment.device().name;
        let refuse = |why: String| IoError::Queue { port: port.clone(), queue: config.queue, why };
        if !config.rx_entries.is_power_of_two() || !config.tx_entries.is_power_of_two() {
            return Err(refuse("a ring's size is a power of two".to_owned()));
        }
        let socket = open_socket()?;
        if shared.is_none() {
            register(&socket, umem)?;
        }
        let sizes = [
            (libc::XDP_UMEM_FILL_RING, config.rx_entries),
            (libc::XDP_UMEM_COMPLETION_RING, config.tx_entries),
            (libc::XDP_RX_RING, config.rx_entries),
            (libc::XDP_TX_RING, config.tx_entries),
        ];
        for (option, entries) in sizes {
            set_option(&socket, option, &entries)
                .map_err(|error| IoError::from_os("size an AF_XDP ring", error))?;
        }
        let offsets = ring_offsets(&socket)?;
        let fd = socket.as_fd();
        let mut fill = Ring::map(
            fd,
            &offsets.fr,
            libc::XDP_UMEM_PGOFF_FILL_RING.cast_signed(),
            config.rx_entries,
        )?;
        let completion = Ring::map(
            fd,
            &offsets.cr,
            libc::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed(),
            config.tx_entries,
        )?;
        let rx = Ring::map(fd, &offsets.rx, libc::XDP_PGOFF_RX_RING, config.rx_entries)?;
        let tx = Ring::map(fd, &offsets.tx, libc::XDP_PGOFF_TX_RING, config.tx_entries)?;
        let zero_copy = bind(&socket, attachment.device().index, config.queue, shared).map_err(|error| {
            refuse(match error.raw_os_error() {
                Some(libc::EBUSY) => "another socket holds it, or frames of an earlier one still wait in somebody's \
                                      queue (a slow bridge, a stopped receiver)"
                    .to_owned(),
                Some(libc::EINVAL) => "the device has no such queue".to_owned(),
                Some(libc::ENETDOWN) => "the device is down; set it up first".to_owned(),
                _ => format!("bind an AF_XDP socket: {error}"),
            })
        })?;
        // Kernels before 6.17 do not know it, and send 32 frames a call.
        let _older_kernel =
            set_option(&socket, XDP_MAX_TX_SKB_BUDGET, &config.tx_entries.clamp(32, 256));
        post(umem, &mut fill, pool);
        attachment.set_socket(config.queue, socket.as_fd()).map_err(|error| {
            refuse(format!("enter the socket into the XDP program's map: {error}"))
        })?;
        Ok(Self {
            umem,
            rx,
            fill,
            tx,
            completion,
            tx_pending_max: config.tx_pending_max,
            pending: 0,
            zero_copy,
            invalid: 0,
            kicks: 0,
            kicks_refused: 0,
            room: attachment.room(config.queue, config.rx_entries),
            socket,
        })
    }

    /// Whether the device moves the frames itself, without a copy.
    #[must_use]
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// For the `shared` of further ports.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Fills the fill ring from the pool, as far as both reach.
#[inline]
fn post<'m>(umem: &'m Umem, fill: &mut Ring<u64>, pool: &mut Pool<'m>) {
    let wanted = fill.cursor.free(64).min(u32::try_from(pool.len()).unwrap_or(u32::MAX));
    let mut posted = 0;
    while posted < wanted
        && let Some(frame) = pool.take()
    {
        // A frame of another memory would let the kernel write where somebody else's frame is.
        assert!(umem.owns(&frame), "a pool holds frames of one memory");
        // The kernel rounds down to the chunk.
        fill.write(posted, umem.address_of(&frame));
        posted += 1;
    }
    if posted > 0 {
        fill.cursor.publish(posted);
    }
}

impl<'m> Port<'m> for AfXdp<'m> {
    #[inline]
    fn receive(&mut self, pool: &mut Pool<'m>, burst: &mut Burst<Frame<'m>>) -> usize {
        let wanted = u32::try_from(burst.remaining_capacity()).unwrap_or(0);
        let count = self.rx.cursor.filled(wanted);
        let mut received = 0;
        for n in 0..count {
            let descriptor = self.rx.read(n);
            // SAFETY: the kernel puts a chunk that was posted into the RX ring once, and gave up its own use of it.
            match unsafe { self.umem.claim(descriptor.addr, descriptor.len as usize) } {
                Some(frame) => {
                    burst.push(frame);
                    received += 1;
                }
                None => self.invalid += 1,
            }
        }
        if count > 0 {
            self.rx.cursor.release(count);
        }
        if let Some(room) = &mut self.room {
            room.took(count, || self.rx.cursor.waiting());
        }
        // Also when nothing came: an earlier round may have found the pool empty.
        if count > 0 || self.fill.cursor.free_seen() >= self.fill.cursor.size() / 2 {
            post(self.umem, &mut self.fill, pool);
        }
        received
    }

    #[inline]
    fn backlog(&self) -> u8 {
        let (size, waiting) = (self.rx.cursor.size(), self.rx.cursor.waiting());
        let nearly_full = size / 8 * 7;
        if waiting >= nearly_full {
            return 7;
        }
        let eighth = (size.min(LONG) / 8).max(1);
        u8::try_from(waiting / eighth).unwrap_or(6).min(6)
    }

    #[inline]
    fn room(&self) -> usize {
        let ring = self.tx.cursor.free_seen() as usize;
        ring.min(self.tx_pending_max.saturating_sub(self.pending))
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Frame<'m>>) -> usize {
        let room = self.tx_pending_max.saturating_sub(self.pending).min(burst.len());
        let wanted = u32::try_from(room).unwrap_or(u32::MAX);
        let count = self.tx.cursor.free(wanted).min(wanted);
        for (n, frame) in (0..count).zip(burst.drain(..count as usize)) {
            assert!(self.umem.owns(&frame), "all ports of a process share one memory");
            let len = u32::try_from(frame.len()).unwrap_or(0);
            self.tx
                .write(n, libc::xdp_desc { addr: self.umem.address_of(&frame), len, options: 0 });
        }
        if count > 0 {
            self.tx.cursor.publish(count);
            self.pending += count as usize;
        }
        count as usize
    }

    #[inline]
    fn flush(&mut self) {
        if !self.tx.cursor.is_drained() && self.tx.needs_wakeup() {
            self.kick();
        }
        if self.fill.needs_wakeup() {
            self.wake_receiver();
        }
    }

    #[inline]
    fn reclaim(&mut self, pool: &mut Pool<'m>) -> usize {
        let count = self.completion.cursor.filled(256);
        for n in 0..count {
            let address = self.completion.read(n);
            // SAFETY: the kernel completes a frame once, after it gave up its own use of it.
            match unsafe { self.umem.claim(address, 0) } {
                Some(frame) => pool.put(frame),
                None => self.invalid += 1,
            }
        }
        if count > 0 {
            self.completion.cursor.release(count);
            self.pending = self.pending.saturating_sub(count as usize);
        }
        count as usize
    }

    #[inline]
    fn pending(&self) -> usize {
        self.pending
    }

    fn unsent(&self) -> usize {
        (self.tx.cursor.size() - self.tx.cursor.free_seen()) as usize
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn statistics(&self) -> PortStatistics {
        let kernel = kernel_statistics(&self.socket);
        PortStatistics {
            rx_dropped: kernel.rx_dropped,
            rx_ring_full: kernel.rx_ring_full,
            rx_invalid: kernel.rx_invalid_descs + self.invalid,
            tx_invalid: kernel.tx_invalid_descs,
            fill_empty: kernel.rx_fill_ring_empty_descs,
            kicks: self.kicks,
            kicks_refused: self.kicks_refused,
            shed: self.room.as_ref().map_or(0, Room::shed),
        }
    }
}

impl AfXdp<'_> {
    /// Has the kernel send what is in the TX ring. Errors do not stop it: EAGAIN and ENOBUFS come again, EBUSY means one
    /// frame went (to a peer that is down: completed, and counted by the device), ENETDOWN that the device is down.
    #[inline(never)]
    fn kick(&mut self) {
        self.kicks += 1;
        // SAFETY: no buffer and no address are given; the socket is open.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if sent < 0
            && matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EBUSY | libc::ENETDOWN)
            )
        {
            self.kicks_refused += 1;
        }
    }

    #[inline(never)]
    fn wake_receiver(&self) {
        // SAFETY: no buffer and no address are given; the socket is open.
        unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
        }
    }
}

/// A ring of the kernel: its counters, flags and entries in one mapping.
#[derive(Debug)]
struct Ring<T> {
    cursor: Cursor<Shared>,
    entries: NonNull<T>,
    // The pointers above lead into it.
    _mapping: Mapping,
}

// SAFETY: the pointers lead into the mapping that the ring owns; the kernel is the only other side, and it follows the
// counters.
unsafe impl<T: Send> Send for Ring<T> {}

#[derive(Debug)]
struct Shared {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
}

impl Counters for Shared {
    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: `Ring::map` checked that it lies, aligned, in the mapping, which lives as long as this.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: `Ring::map` checked that it lies, aligned, in the mapping, which lives as long as this.
        unsafe { self.consumer.as_ref() }
    }
}

impl<T: Copy> Ring<T> {
    fn map(
        socket: BorrowedFd<'_>,
        offsets: &libc::xdp_ring_offset,
        page: i64,
        entries: u32,
    ) -> Result<Self, IoError> {
        let outside =
            || IoError::from_os("map an AF_XDP ring", io::Error::from_raw_os_error(libc::EINVAL));
        let offset = |offset: u64| usize::try_from(offset).ok().ok_or_else(outside);
        let (start, size) = (offset(offsets.desc)?, entries as usize * size_of::<T>());
        let mapping = Mapping::shared(socket, start + size, page, true)?;
        let counter = |at: u64| mapping.at::<AtomicU32>(offset(at)?, 4).ok_or_else(outside);
        let shared = Shared {
            producer: counter(offsets.producer)?,
            consumer: counter(offsets.consumer)?,
            flags: counter(offsets.flags)?,
        };
        let places = mapping.at::<T>(start, size).ok_or_else(outside)?;
        Ok(Self { cursor: Cursor::new(shared, entries), entries: places, _mapping: mapping })
    }

    /// The `n`th entry from our side.
    #[inline]
    fn read(&self, n: u32) -> T {
        // SAFETY: `place` is below the number of entries, which `map` checked to lie in the mapping.
        let entry = unsafe { self.entries.add(self.cursor.place(n)) };
        // SAFETY: the entry is in the mapping and aligned; any bits are a value of the two types used, u64 and
        // xdp_desc; the kernel does not write it until it is released.
        unsafe { entry.read() }
    }

    /// Sets the `n`th entry from our side.
    #[inline]
    fn write(&mut self, n: u32, value: T) {
        // SAFETY: `place` is below the number of entries, which `map` checked to lie in the mapping.
        let entry = unsafe { self.entries.add(self.cursor.place(n)) };
        // SAFETY: the entry is in the mapping and aligned; the kernel does not read it until it is published.
        unsafe { entry.write(value) };
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        // SAFETY: `map` checked that it lies, aligned, in the mapping, which lives as long as this.
        let flags = unsafe { self.cursor.shared().flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

fn open_socket() -> Result<OwnedFd, IoError> {
    // SAFETY: plain values.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(IoError::last("open an AF_XDP socket"));
    }
    // SAFETY: the call has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn register(socket: &OwnedFd, umem: &Umem) -> Result<(), IoError> {
    // SAFETY: plain old data, for which all zeros is a value.
    let mut registration: libc::xdp_umem_reg = unsafe { MaybeUninit::zeroed().assume_init() };
    let config = umem.config();
    registration.addr = umem.base().as_ptr().addr() as u64;
    registration.len = (config.chunks * config.chunk_size) as u64;
    registration.chunk_size = u32::try_from(config.chunk_size).unwrap_or(0);
    set_option(socket, libc::XDP_UMEM_REG, &registration).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::EINVAL) => IoError::Memory {
                chunks: config.chunks,
                chunk_size: config.chunk_size,
                why: "AF_XDP takes chunks of 2048 or 4096 bytes",
            },
            Some(libc::ENOBUFS) => IoError::Memory {
                chunks: config.chunks,
                chunk_size: config.chunk_size,
                why: "more than may be locked; raise the memlock limit, or ask for fewer chunks",
            },
            _ => IoError::from_os("register the frame memory", error),
        }
    })
}

fn set_option<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the kernel reads at most `len` bytes of `value`, which is that long.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            len,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get_option<T>(socket: &OwnedFd, option: libc::c_int) -> io::Result<T> {
    // SAFETY: used with plain old data only (offsets, statistics), for which all zeros is a value.
    let mut value: T = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes of `value`, which is that long.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

fn ring_offsets(socket: &OwnedFd) -> Result<libc::xdp_mmap_offsets, IoError> {
    get_option(socket, libc::XDP_MMAP_OFFSETS)
        .map_err(|error| IoError::from_os("ask for the ring offsets", error))
}

fn kernel_statistics(socket: &OwnedFd) -> libc::xdp_statistics {
    get_option(socket, libc::XDP_STATISTICS).unwrap_or(libc::xdp_statistics {
        rx_dropped: 0,
        rx_invalid_descs: 0,
        tx_invalid_descs: 0,
        rx_ring_full: 0,
        rx_fill_ring_empty_descs: 0,
        tx_ring_empty_descs: 0,
    })
}

/// Binds, with zero copy where the driver has it; whether it has.
fn bind(
    socket: &OwnedFd,
    ifindex: u32,
    queue: u32,
    shared: Option<BorrowedFd<'_>>,
) -> io::Result<bool> {
    let attempts: &[u16] = match shared {
        // Exactly this flag; the mode is chosen by the kernel, need-wakeup is inherited.
        Some(_) => &[libc::XDP_SHARED_UMEM],
        None => &[
            libc::XDP_ZEROCOPY | libc::XDP_USE_NEED_WAKEUP,
            libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
        ],
    };
    let mut last = io::Error::from_raw_os_error(libc::EINVAL);
    for flags in attempts {
        for _ in 0..BIND_TRIES {
            match bind_once(socket, ifindex, queue, *flags, shared) {
                Ok(()) => return Ok(is_zero_copy(socket)),
                Err(error) => last = error,
            }
            if last.raw_os_error() != Some(libc::EBUSY) {
                break;
            }
            thread::sleep(BIND_PAUSE);
        }
        if last.raw_os_error() == Some(libc::EBUSY) {
            break;
        }
    }
    Err(last)
}

fn bind_once(
    socket: &OwnedFd,
    ifindex: u32,
    queue: u32,
    flags: u16,
    shared: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).unwrap_or(0),
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.map_or(0, |fd| fd.as_raw_fd().cast_unsigned()),
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_xdp>()).unwrap_or(0);
    // SAFETY: the kernel reads `len` bytes of the address, which is that long.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_zero_copy(socket: &OwnedFd) -> bool {
    let options = get_option::<libc::xdp_options>(socket, libc::XDP_OPTIONS);
    options.is_ok_and(|options| options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}
