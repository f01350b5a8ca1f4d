//! Socket options, as plain values.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an option to a value that the kernel reads as it lies in memory.
pub(crate) fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the kernel reads at most `len` bytes of `value`, which is that long.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Plain old data that the kernel fills in.
///
/// # Safety
/// Every bit pattern is a value of the type, all zeros included.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: any bits are an integer.
unsafe impl Plain for libc::c_int {}
// SAFETY: integers.
unsafe impl Plain for [u32; 9] {}
// SAFETY: two integers.
unsafe impl Plain for libc::tpacket_stats {}

/// Reads an option.
pub(crate) fn get<T: Plain>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
) -> io::Result<T> {
    // SAFETY: all zeros is a value of a plain type.
    let mut value: T = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes of `value`, which is that long, and any bits are a value of it.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut len)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
