//! Frames and where the free ones wait.

use crate::umem::{Umem, XDP_HEADROOM};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};
use wire::buf::Packet;

/// One chunk of a [`Umem`] and the packet in it. Neither `Clone` nor `Copy`: holding it is owning the chunk.
///
/// A frame that is dropped instead of put back is lost to the pool, which is safe, and a bug that conservation tests
/// find.
pub struct Frame<'m> {
    data: NonNull<u8>,
    shape: Shape,
    memory: PhantomData<&'m Umem>,
}

const _: () = assert!(size_of::<Frame<'_>>() == 16);

/// Length, head room and tail room, 16 bits each from bit 0 on. One word, so that a frame is two scalars, which move in
/// registers: four fields move through memory, where a load of 16 bytes waits for stores of 8.
#[derive(Clone, Copy)]
struct Shape(u64);

impl Shape {
    const HEADROOM: u32 = 16;
    const TAILROOM: u32 = 32;

    #[inline]
    fn new(len: usize, headroom: usize, tailroom: usize) -> Self {
        let field = |n: usize, at: u32| u64::from(narrow(n)) << at;
        Self(field(len, 0) | field(headroom, Self::HEADROOM) | field(tailroom, Self::TAILROOM))
    }

    #[inline]
    const fn field(self, at: u32) -> usize {
        (self.0 >> at & 0xffff) as usize
    }

    #[inline]
    const fn len(self) -> usize {
        self.field(0)
    }

    #[inline]
    const fn headroom(self) -> usize {
        self.field(Self::HEADROOM)
    }

    #[inline]
    const fn tailroom(self) -> usize {
        self.field(Self::TAILROOM)
    }

    /// Moves `n` bytes of the room at `from` to the packet; it has so many.
    #[inline]
    const fn grow(&mut self, n: usize, from: u32) {
        self.0 = self.0 - ((n as u64) << from) + n as u64;
    }

    /// Moves `n` bytes of the packet to the room at `to`; it has so many.
    #[inline]
    const fn shrink(&mut self, n: usize, to: u32) {
        self.0 = self.0 - n as u64 + ((n as u64) << to);
    }
}

// SAFETY: a frame is the only handle to its chunk, like a `&mut [u8]`.
unsafe impl Send for Frame<'_> {}

impl<'m> Frame<'m> {
    /// An empty frame over a whole chunk.
    ///
    /// # Safety
    /// `chunk` points to `size` bytes that live for `'m` and that nobody else refers to; `size` fits 16 bits.
    pub(crate) unsafe fn new(chunk: NonNull<u8>, size: usize) -> Self {
        let shape = Shape::new(0, 0, size.min(u16::MAX.into()));
        Self { data: chunk, shape, memory: PhantomData }
    }

    /// Puts the packet at `offset` of the chunk, `len` bytes long; the caller has checked that it fits.
    pub(crate) fn place(&mut self, offset: usize, len: usize) {
        let size = self.size();
        debug_assert!(offset + len <= size, "a frame stays within its chunk");
        let (offset, len) = (offset.min(size), len.min(size - offset.min(size)));
        // SAFETY: stepping back over the head room leads to the start of the chunk.
        let chunk = unsafe { self.data.sub(self.shape.headroom()) };
        // SAFETY: offset ≤ size, so this stays within the chunk or one past its end.
        self.data = unsafe { chunk.add(offset) };
        self.shape = Shape::new(len, offset, size - offset - len);
    }

    /// Empties the frame, with the head room of a received one.
    pub fn reset(&mut self) {
        self.place(XDP_HEADROOM, 0);
    }

    /// Makes the packet a copy of `bytes`. `false` (and an empty frame): longer than a chunk takes.
    #[must_use]
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        self.reset();
        let fits = self.append(bytes.len());
        if fits {
            self.bytes_mut().copy_from_slice(bytes);
        }
        fits
    }

    fn size(&self) -> usize {
        self.shape.headroom() + self.shape.len() + self.shape.tailroom()
    }

    pub(crate) fn address(&self) -> usize {
        self.data.as_ptr().addr()
    }
}

/// A length within a chunk, which fits 16 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "no chunk is larger than 32 KiB")]
const fn narrow(len: usize) -> u16 {
    len as u16
}

impl Packet for Frame<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: `data` and the `len` bytes after it lie within the chunk (every method keeps head room + len + tail
        // room equal to its size), the chunk lives for 'm, and this frame is its only handle.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.shape.len()) }
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the reference the only one.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.shape.len()) }
    }

    #[inline]
    fn headroom(&self) -> usize {
        self.shape.headroom()
    }

    #[inline]
    fn tailroom(&self) -> usize {
        self.shape.tailroom()
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> bool {
        if n > self.shape.headroom() {
            return false;
        }
        // SAFETY: n ≤ head room, so this stays within the chunk.
        self.data = unsafe { self.data.sub(n) };
        self.shape.grow(n, Shape::HEADROOM);
        true
    }

    #[inline]
    fn append(&mut self, n: usize) -> bool {
        if n > self.shape.tailroom() {
            return false;
        }
        self.shape.grow(n, Shape::TAILROOM);
        true
    }

    #[inline]
    fn trim_front(&mut self, n: usize) {
        let n = n.min(self.shape.len());
        // SAFETY: n ≤ len, so this stays within the chunk or one past its end.
        self.data = unsafe { self.data.add(n) };
        self.shape.shrink(n, Shape::HEADROOM);
    }

    #[inline]
    fn truncate(&mut self, n: usize) {
        let cut = self.shape.len().saturating_sub(n);
        self.shape.shrink(cut, Shape::TAILROOM);
    }

    #[inline]
    fn len(&self) -> usize {
        self.shape.len()
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("len", &self.shape.len())
            .field("headroom", &self.shape.headroom())
            .finish_non_exhaustive()
    }
}

/// Free frames of one worker. Never grows after it was made.
#[derive(Debug)]
pub struct Pool<'m> {
    umem: &'m Umem,
    free: Vec<Frame<'m>>,
}

impl<'m> Pool<'m> {
    /// An empty pool with room for `capacity` frames: those that may ever be here at once.
    #[must_use]
    pub fn with_capacity(umem: &'m Umem, capacity: usize) -> Self {
        Self { umem, free: Vec::with_capacity(capacity) }
    }

    /// The memory that its frames are of.
    #[must_use]
    pub fn umem(&self) -> &'m Umem {
        self.umem
    }

    /// Free frames.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// An empty frame.
    #[inline]
    #[must_use]
    pub fn take(&mut self) -> Option<Frame<'m>> {
        let mut frame = self.free.pop()?;
        frame.reset();
        Some(frame)
    }

    /// Takes a frame back.
    #[inline]
    pub fn put(&mut self, frame: Frame<'m>) {
        debug_assert!(self.umem.owns(&frame), "a frame goes back to the memory it is of");
        self.free.push(frame);
    }

    /// Moves `count` frames (or all there are) into a pool of their own with room for `capacity`.
    #[must_use]
    pub fn split(&mut self, count: usize, capacity: usize) -> Self {
        let mut other = Self::with_capacity(self.umem, capacity);
        let rest = self.free.len() - count.min(self.free.len());
        other.free.extend(self.free.drain(rest..));
        other
    }
}

/// Where workers even out their free frames: one lock, touched in bursts and only by a pool that is low or high.
#[derive(Debug)]
pub struct Depot<'m> {
    free: Mutex<Vec<Frame<'m>>>,
}

impl<'m> Depot<'m> {
    /// Frames moved at once.
    pub const BURST: usize = 128;

    /// An empty depot with room for all frames.
    #[must_use]
    pub fn new(umem: &'m Umem) -> Self {
        Self { free: Mutex::new(Vec::with_capacity(umem.config().chunks)) }
    }

    /// Brings `pool` closer to between `low` and `high` frames, by at most one burst. Does not wait for the lock.
    pub fn balance(&self, pool: &mut Pool<'m>, low: usize, high: usize) {
        let len = pool.len();
        if (low..=high).contains(&len) {
            return;
        }
        let Ok(mut free) = self.free.try_lock() else { return };
        let (from, to) =
            if len < low { (&mut *free, &mut pool.free) } else { (&mut pool.free, &mut *free) };
        let rest = from.len() - Self::BURST.min(from.len());
        to.extend(from.drain(rest..));
    }

    /// Frames waiting here.
    #[must_use]
    pub fn len(&self) -> usize {
        // A poisoned lock still guards whole frames: nothing between lock and unlock can leave a half-moved one.
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::UmemConfig;
    use proptest::prelude::*;
    use wire::buf::HeapPacket;

    #[test]
    fn frames_are_taken_once() {
        let umem = Umem::new(UmemConfig::coloured(8)).unwrap();
        assert_eq!(umem.frames().unwrap().len(), 8);
        assert!(umem.frames().is_err());
    }

    #[test]
    fn frames_do_not_overlap() {
        let umem = Umem::new(UmemConfig::for_xdp(1500, 16)).unwrap();
        let mut pool = umem.frames().unwrap();
        let mut frames: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        for (index, frame) in frames.iter_mut().enumerate() {
            let (front, back) = (frame.headroom(), frame.tailroom());
            assert!(frame.prepend(front) && frame.append(back));
            frame.bytes_mut().fill(u8::try_from(index).unwrap());
        }
        for (index, frame) in frames.iter().enumerate() {
            assert!(frame.bytes().iter().all(|byte| usize::from(*byte) == index));
        }
    }

    #[test]
    fn a_depot_evens_out_and_loses_none() {
        let umem = Umem::new(UmemConfig::coloured(600)).unwrap();
        let mut rich = umem.frames().unwrap();
        let mut poor = rich.split(0, 600);
        let depot = Depot::new(&umem);
        for _ in 0..8 {
            depot.balance(&mut rich, 100, 300);
            depot.balance(&mut poor, 100, 300);
            assert_eq!(rich.len() + poor.len() + depot.len(), 600);
        }
        assert!(rich.len() <= 300 && poor.len() >= 100, "{} {}", rich.len(), poor.len());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Prepend(usize),
        Append(usize),
        TrimFront(usize),
        Truncate(usize),
        Write(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..400).prop_map(Step::Prepend),
            (0usize..2200).prop_map(Step::Append),
            (0usize..400).prop_map(Step::TrimFront),
            (0usize..2200).prop_map(Step::Truncate),
            any::<u8>().prop_map(Step::Write),
        ]
    }

    proptest! {
        /// A frame is a heap packet with the same room.
        #[test]
        fn equals_the_heap_packet(steps in proptest::collection::vec(step(), 0..60)) {
            let umem = Umem::new(UmemConfig::for_xdp(1500, 1)).unwrap();
            let mut frame = umem.frames().unwrap().take().unwrap();
            let mut twin = HeapPacket::new(&[], frame.headroom(), frame.tailroom());
            for step in steps {
                match step {
                    Step::Prepend(n) => prop_assert_eq!(frame.prepend(n), twin.prepend(n)),
                    Step::Append(n) => prop_assert_eq!(frame.append(n), twin.append(n)),
                    Step::TrimFront(n) => { frame.trim_front(n); twin.trim_front(n); }
                    Step::Truncate(n) => { frame.truncate(n); twin.truncate(n); }
                    Step::Write(byte) => { frame.bytes_mut().fill(byte); twin.bytes_mut().fill(byte); }
                }
                let room = (frame.headroom(), frame.len(), frame.tailroom());
                prop_assert_eq!(room, (twin.headroom(), twin.len(), twin.tailroom()));
            }
        }
    }
}
