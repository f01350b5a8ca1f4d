//! Sleeping when there is nothing to do, and waking in time.

use super::{Peers, Queue};
use crate::tables::Tables;
use arrayvec::ArrayVec;
use io::Port;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd;
use std::sync::Arc;
use sync::publish::Reader;
use sync::waker::{self, Sleeper, Waker};

/// Descriptors one poll(2) waits on; ports beyond it are looked at when it times out.
const POLLED_MAX: usize = 128;
/// Longest sleep, milliseconds: news of the rules is found by then even if nobody rings.
const SLEEP_MS: u16 = 50;
/// The same while frames wait for a port with no room, or where there is nothing to wait on.
const NAP_MS: u16 = 1;

/// What ends a worker's sleep.
#[derive(Debug)]
pub(crate) struct Bell {
    event: Arc<EventFd>,
    sleeper: Sleeper,
}

impl Bell {
    /// A bell, and who may ring it.
    ///
    /// # Errors
    /// The system's, without an eventfd.
    pub(crate) fn new() -> nix::Result<(Self, Waker)> {
        let event = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let rung = Arc::clone(&event);
        // It fails only when it has been rung 2⁶⁴ times without being heard.
        let (waker, sleeper) = waker::pair(move || {
            let _rung_enough = rung.write(1);
        });
        Ok((Self { event, sleeper }, waker))
    }
}

/// Decides when to sleep.
#[derive(Debug)]
pub(crate) struct Idle {
    bell: Bell,
    /// 0: never sleep.
    rounds_max: u32,
    rounds: u32,
}

impl Idle {
    pub(crate) fn new(bell: Bell, rounds_max: u32) -> Self {
        Self { bell, rounds_max, rounds: 0 }
    }

    /// Whether enough rounds in a row moved nothing.
    #[inline]
    pub(crate) fn is_due(&mut self, moved: usize) -> bool {
        self.rounds = if moved == 0 { self.rounds + 1 } else { 0 };
        if self.rounds_max == 0 || self.rounds < self.rounds_max {
            return false;
        }
        self.rounds = 0;
        true
    }

    /// Sleeps until a frame comes, somebody rings, or a while has passed.
    pub(crate) fn sleep(
        &self,
        tables: &mut Reader<Tables>,
        queues: &[Queue],
        peers: &Peers,
        held: usize,
    ) {
        self.bell.sleeper.prepare();
        let version = tables.version();
        tables.refresh();
        if peers.is_empty() && tables.version() == version {
            let all_polled =
                queues.len() < POLLED_MAX && queues.iter().all(|queue| queue.io.fd().is_some());
            let timeout = if held == 0 && all_polled { SLEEP_MS } else { NAP_MS };
            let mut polled: ArrayVec<PollFd<'_>, POLLED_MAX> = ArrayVec::new();
            polled.push(PollFd::new(self.bell.event.as_fd(), PollFlags::POLLIN));
            let sockets = queues.iter().filter_map(|queue| queue.io.fd());
            polled
                .extend(sockets.take(POLLED_MAX - 1).map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            // Interrupted or refused: the next round looks at everything anyway.
            let _woken = poll(&mut polled, PollTimeout::from(timeout));
        }
        self.bell.sleeper.awake();
        // Nothing to read: it was not rung.
        let _rings = self.bell.event.read();
    }
}
