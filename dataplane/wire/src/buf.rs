//! A packet in a buffer that one side owns, with room before and after it.

/// Bytes of a packet, and the room around them. Growing and shrinking moves no bytes.
///
/// The buffer contract of the pipeline: one contiguous buffer, at least 128 bytes of head room when received and
/// 64 of tail room.
pub trait Packet {
    /// The packet.
    fn bytes(&self) -> &[u8];
    /// The packet, to be rewritten in place.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Bytes that [`Self::prepend`] can still take.
    fn headroom(&self) -> usize;
    /// Bytes that [`Self::append`] can still take.
    fn tailroom(&self) -> usize;
    /// Grows the packet by `n` bytes at the front, contents unspecified. `false` (and no change) without room.
    #[must_use]
    fn prepend(&mut self, n: usize) -> bool;
    /// Grows the packet by `n` bytes at the end, contents unspecified. `false` (and no change) without room.
    #[must_use]
    fn append(&mut self, n: usize) -> bool;
    /// Takes `n` bytes off the front (all, if there are fewer).
    fn trim_front(&mut self, n: usize);
    /// Cuts the packet to `n` bytes (leaves a shorter one alone).
    fn truncate(&mut self, n: usize);
    /// Length of the packet, bytes.
    #[inline]
    fn len(&self) -> usize {
        self.bytes().len()
    }
    /// Whether no byte is left.
    #[inline]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A packet on the heap: for tests, tools and the slow path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapPacket {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl HeapPacket {
    /// `bytes` with `headroom` and `tailroom` around them.
    #[must_use]
    pub fn new(bytes: &[u8], headroom: usize, tailroom: usize) -> Self {
        let mut buffer = vec![0; headroom + bytes.len() + tailroom];
        buffer[headroom..headroom + bytes.len()].copy_from_slice(bytes);
        Self { buffer, start: headroom, end: headroom + bytes.len() }
    }
}

impl Packet for HeapPacket {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }
    fn headroom(&self) -> usize {
        self.start
    }
    fn tailroom(&self) -> usize {
        self.buffer.len() - self.end
    }
    fn prepend(&mut self, n: usize) -> bool {
        let room = n <= self.headroom();
        if room {
            self.start -= n;
        }
        room
    }
    fn append(&mut self, n: usize) -> bool {
        let room = n <= self.tailroom();
        if room {
            self.end += n;
        }
        room
    }
    fn trim_front(&mut self, n: usize) {
        self.start += n.min(self.len());
    }
    fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start.saturating_add(n));
    }
}
