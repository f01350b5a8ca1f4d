//! Memory from mmap(2), unmapped when dropped.

use crate::IoError;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// One mapping, readable and writable.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory; whoever hands out references into it upholds the aliasing rules.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out only its address and length.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private zeroed memory, with `flags` added (e.g. `MAP_HUGETLB`).
    pub(crate) fn anonymous(len: usize, flags: i32) -> Result<Self, IoError> {
        Self::map(
            len,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
            libc::PROT_READ | libc::PROT_WRITE,
        )
    }

    /// `len` bytes of a file or socket from `offset` on, shared with whoever else maps them.
    pub(crate) fn shared(
        fd: BorrowedFd<'_>,
        len: usize,
        offset: i64,
        writable: bool,
    ) -> Result<Self, IoError> {
        let protection =
            if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        Self::map(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset, protection)
    }

    fn map(len: usize, flags: i32, fd: i32, offset: i64, protection: i32) -> Result<Self, IoError> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours; every argument is a
        // plain value, and the kernel checks them.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        let mapped = NonNull::new(base.cast()).filter(|_| base != libc::MAP_FAILED);
        mapped
            .map(|base| Self { base, len })
            .ok_or_else(|| IoError::last(format!("map {len} bytes")))
    }

    /// Asks for transparent huge pages; whether the kernel agrees to try.
    pub(crate) fn advise_huge(&self) -> bool {
        // SAFETY: the range is exactly this mapping; the advice changes no contents.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) == 0 }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Address of `offset`, which must leave `size` bytes before the end.
    pub(crate) fn at<T>(&self, offset: usize, size: usize) -> Option<NonNull<T>> {
        let fits = offset.checked_add(size).is_some_and(|end| end <= self.len);
        let address = self.base.as_ptr().wrapping_add(offset).cast::<T>();
        NonNull::new(address).filter(|address| fits && address.is_aligned())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mmap call, and this is the only owner.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
