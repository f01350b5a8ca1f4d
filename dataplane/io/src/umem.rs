//! The frame memory of a process: one mapping, cut into chunks, shared by all ports.

use crate::IoError;
use crate::frame::{Frame, Pool};
use crate::mapping::Mapping;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that the kernel keeps before a received frame; where a free frame starts within its chunk.
pub(crate) const XDP_HEADROOM: usize = 256;
/// Bytes that the pipeline wants behind a frame.
const TAILROOM: usize = 64;
/// Size of a huge page.
const HUGE_PAGE: usize = 2 << 20;
/// A chunk must be addressable by [`Frame`]'s 16-bit lengths.
const CHUNK_MAX: usize = 32 << 10;

/// How much memory, cut how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UmemConfig {
    /// Bytes from chunk to chunk. AF_XDP takes 2048 or 4096; own pools do better off powers of two (a 2048-byte stride
    /// puts all headers on the same few cache sets).
    pub chunk_size: usize,
    /// Chunks.
    pub chunks: usize,
}

impl UmemConfig {
    /// Chunks for AF_XDP: 2048 bytes, or 4096 where `mtu` asks for it.
    #[must_use]
    pub const fn for_xdp(mtu: u32, chunks: usize) -> Self {
        let chunk_size =
            if mtu as usize + 18 > 2048 - XDP_HEADROOM - TAILROOM { 4096 } else { 2048 };
        Self { chunk_size, chunks }
    }

    /// Chunks for memory and pcap ports: 2048 bytes and a cache line, so that headers spread over the cache.
    #[must_use]
    pub const fn coloured(chunks: usize) -> Self {
        Self { chunk_size: 2048 + 64, chunks }
    }
}

/// What pages the memory got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Reserved huge pages.
    Huge,
    /// Small pages that the kernel may join.
    Transparent,
    /// Small pages: slower by TLB misses.
    Small,
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Huge => "reserved huge pages",
            Self::Transparent => "transparent huge pages",
            Self::Small => "small pages",
        })
    }
}

/// The frame memory.
#[derive(Debug)]
pub struct Umem {
    mapping: Mapping,
    config: UmemConfig,
    pages: PageKind,
    taken: AtomicBool,
}

impl Umem {
    /// Maps the memory: reserved huge pages if there are enough, else transparent ones, else small ones.
    ///
    /// # Errors
    /// [`IoError::Memory`] for sizes that cannot be, [`IoError::System`] if there is not enough.
    pub fn new(config: UmemConfig) -> Result<Self, IoError> {
        let UmemConfig { chunk_size, chunks } = config;
        let refuse = |why| Err(IoError::Memory { chunks, chunk_size, why });
        if !(2048..=CHUNK_MAX).contains(&chunk_size) || !chunk_size.is_multiple_of(64) {
            return refuse("a chunk has 2048 to 32768 bytes, a multiple of 64");
        }
        let Some(len) = chunks.checked_mul(chunk_size).filter(|len| (1..=1 << 40).contains(len))
        else {
            return refuse("that is nothing, or more than a terabyte");
        };
        let len = len.next_multiple_of(HUGE_PAGE);
        let (mapping, pages) = match Mapping::anonymous(len, libc::MAP_HUGETLB | libc::MAP_POPULATE)
        {
            Ok(mapping) => (mapping, PageKind::Huge),
            Err(_none_reserved) => {
                let mapping = Mapping::anonymous(len, 0)?;
                let pages =
                    if mapping.advise_huge() { PageKind::Transparent } else { PageKind::Small };
                (mapping, pages)
            }
        };
        Ok(Self { mapping, config, pages, taken: AtomicBool::new(false) })
    }

    /// Takes all frames, once.
    ///
    /// # Errors
    /// [`IoError::FramesTaken`] the second time: a frame has one owner.
    pub fn frames(&self) -> Result<Pool<'_>, IoError> {
        // Relaxed: only the first caller's success matters, nothing is published by it.
        if self.taken.swap(true, Ordering::Relaxed) {
            return Err(IoError::FramesTaken);
        }
        let mut pool = Pool::with_capacity(self, self.config.chunks);
        for index in 0..self.config.chunks {
            // SAFETY: `taken` was false, so no frame of this chunk exists yet.
            let frame = unsafe { self.frame_of_chunk(index) };
            pool.put(frame);
        }
        Ok(pool)
    }

    /// What pages it got.
    #[must_use]
    pub fn pages(&self) -> PageKind {
        self.pages
    }

    /// How it is cut.
    #[must_use]
    pub fn config(&self) -> UmemConfig {
        self.config
    }

    /// Bytes mapped.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.mapping.len()
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    /// Longest frame that the kernel can put into a chunk and the pipeline still has tail room behind.
    #[must_use]
    pub fn frame_len_max(&self) -> usize {
        self.config.chunk_size - XDP_HEADROOM - TAILROOM
    }

    /// The frame of `len` bytes at `address` (offset into the memory). `None`: not within one chunk.
    ///
    /// # Safety
    /// No other [`Frame`] of that chunk exists: the kernel has just given it back.
    pub(crate) unsafe fn claim(&self, address: u64, len: usize) -> Option<Frame<'_>> {
        let address = usize::try_from(address).ok()?;
        let chunk = address / self.config.chunk_size;
        let offset = address % self.config.chunk_size;
        if chunk >= self.config.chunks || offset + len > self.config.chunk_size {
            return None;
        }
        // SAFETY: the chunk index was checked above; that it has no other frame is the caller's promise.
        let mut frame = unsafe { self.frame_of_chunk(chunk) };
        frame.place(offset, len);
        Some(frame)
    }

    /// # Safety
    /// `index < chunks`, and no other [`Frame`] of that chunk exists.
    unsafe fn frame_of_chunk(&self, index: usize) -> Frame<'_> {
        // SAFETY: index < chunks, so the offset lies within the mapping of chunks · chunk_size bytes.
        let chunk = unsafe { self.mapping.base().add(index * self.config.chunk_size) };
        // SAFETY: the chunk is chunk_size bytes of the mapping, which outlives the frame by the borrow of self, and
        // the caller promises that it has no other frame.
        unsafe { Frame::new(chunk, self.config.chunk_size) }
    }

    /// Offset of a frame's first byte.
    pub(crate) fn address_of(&self, frame: &Frame<'_>) -> u64 {
        (frame.address() - self.mapping.base().as_ptr().addr()) as u64
    }

    /// Whether a frame is of this memory.
    pub(crate) fn owns(&self, frame: &Frame<'_>) -> bool {
        frame.address().wrapping_sub(self.mapping.base().as_ptr().addr()) < self.mapping.len()
    }
}
