//! What a measurement needs of the processor: its cycle counter, and to be left alone on it.
#![expect(unsafe_code, reason = "an intrinsic and a system call that are declared unsafe")]

/// TSC cycles: constant, the same on all cores, read without a system call.
#[cfg(target_arch = "x86_64")]
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and Linux does not forbid it to processes.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Puts this thread into the real-time class at its lowest priority, so that neighbours on the machine take next to
/// nothing of its core. Whether it was allowed.
///
/// A process that such a thread starts is in the class too, unless it is put back (as `testpmd` does): what the
/// thread would wait for may wait for this very core, behind it, for ever.
pub fn real_time() -> bool {
    real_time_at(1)
}

/// The same at another priority: those above go first.
pub fn real_time_at(priority: i32) -> bool {
    let priority = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 means the calling thread; the parameter is read only, and lives through the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) == 0 }
}
