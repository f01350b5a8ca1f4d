//! Packet memory of the benches: frames a chosen stride apart.

use wire::buf::Packet;

/// Head room of a frame.
const HEADROOM: usize = 128;
/// A power of two puts every header on the same few cache sets: up to five times slower.
pub const STRIDE_COLOURED: usize = 2048 + 64;
/// As AF_XDP's aligned chunks lie.
pub const STRIDE_AF_XDP: usize = 2048;

/// A frame of the bench's own memory.
#[derive(Debug)]
pub struct BenchFrame {
    buffer: &'static mut [u8],
    start: u16,
    end: u16,
}

/// `count` frames of 64 bytes, `stride` bytes apart. The memory is never given back.
#[must_use]
pub fn frames(count: usize, stride: usize) -> Vec<BenchFrame> {
    let memory = vec![0_u8; count * stride].leak();
    memory
        .chunks_exact_mut(stride)
        .map(|buffer| BenchFrame { buffer, start: 128, end: 192 })
        .collect()
}

impl BenchFrame {
    /// Makes it `bytes` again, with all of its head room.
    pub fn reset(&mut self, bytes: &[u8]) {
        let end = HEADROOM + bytes.len();
        if let Some(room) = self.buffer.get_mut(HEADROOM..end) {
            room.copy_from_slice(bytes);
            self.start = 128;
            self.end = u16::try_from(end).unwrap_or(self.start);
        }
    }
}

impl Packet for BenchFrame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.buffer.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
    #[inline]
    fn headroom(&self) -> usize {
        self.start.into()
    }
    #[inline]
    fn tailroom(&self) -> usize {
        self.buffer.len() - usize::from(self.end)
    }
    #[inline]
    fn prepend(&mut self, n: usize) -> bool {
        let start = u16::try_from(n).ok().and_then(|n| self.start.checked_sub(n));
        self.start = start.unwrap_or(self.start);
        start.is_some()
    }
    #[inline]
    fn append(&mut self, n: usize) -> bool {
        let end = usize::from(self.end) + n;
        let fits = end <= self.buffer.len();
        if fits {
            self.end = u16::try_from(end).unwrap_or(self.end);
        }
        fits
    }
    #[inline]
    fn trim_front(&mut self, n: usize) {
        self.start = u16::try_from(usize::from(self.start) + n)
            .map_or(self.end, |start| start.min(self.end));
    }
    #[inline]
    fn truncate(&mut self, n: usize) {
        self.end =
            u16::try_from(usize::from(self.start) + n).map_or(self.end, |end| end.min(self.end));
    }
    #[inline]
    fn len(&self) -> usize {
        usize::from(self.end.saturating_sub(self.start))
    }
}
