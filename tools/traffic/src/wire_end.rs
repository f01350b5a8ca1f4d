//! Where frames leave and come in.

use crate::generator::Offer;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most frames moved before something else is looked at.
pub const BURST: usize = 64;

/// One end of a wire: sends frames as they are and receives what comes, both without waiting.
pub trait WireEnd {
    /// Hands out received frames, at most [`BURST`]. Returns how many.
    ///
    /// # Errors
    /// What the system reports, but for "nothing there".
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<usize>;

    /// Takes a copy of a frame. It leaves at the latest with [`Self::flush`].
    fn offer(&mut self, frame: &[u8]) -> Offer;

    /// Frames offered before leave now, as far as there is room for them.
    fn flush(&mut self);

    /// Frames taken that have not left.
    fn pending(&self) -> usize;

    /// Waits until a frame comes, or for `timeout`.
    fn wait(&self, timeout: Duration);

    /// What the kernel did with frames.
    fn statistics(&self) -> WireStatistics;
}

/// Counts of the kernel, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireStatistics {
    /// Came in and found no room: lost before the sink.
    pub rx_dropped: u64,
    /// Sends that the kernel refused. AF_PACKET: the frame keeps its sequence number and is offered again, while the
    /// kernel counts a drop of the device. AF_XDP: system calls, each of which lost at most one frame that counts as
    /// sent.
    pub tx_refused: u64,
}

/// A wire in memory that loses, repeats and swaps frames as told.
#[derive(Debug)]
pub struct MemoryEnd {
    out: Arc<Mutex<VecDeque<Vec<u8>>>>,
    inward: Arc<Mutex<VecDeque<Vec<u8>>>>,
    capacity: usize,
    faults: Faults,
    offered: u64,
    held: Option<Vec<u8>>,
}

/// What a memory wire does to every n-th frame sent; 0: never. Of a frame that is due for several, the first of loss,
/// duplication and swap happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Lost.
    pub lose_every: u64,
    /// Delivered twice.
    pub repeat_every: u64,
    /// Delivered after the frame behind it; the last one waits for the end to be dropped.
    pub swap_every: u64,
}

/// Two ends, each with `capacity` frames on their way to the other at most.
#[must_use]
pub fn memory(capacity: usize, faults: Faults) -> (MemoryEnd, MemoryEnd) {
    let (left, right) = <(Arc<Mutex<VecDeque<_>>>, Arc<Mutex<VecDeque<_>>>)>::default();
    let end = |out: &Arc<_>, inward: &Arc<_>| MemoryEnd {
        out: Arc::clone(out),
        inward: Arc::clone(inward),
        capacity,
        faults,
        offered: 0,
        held: None,
    };
    (end(&left, &right), end(&right, &left))
}

/// A frame is whole in the queue or not there, whoever panicked.
fn lock<T>(queue: &Mutex<T>) -> MutexGuard<'_, T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WireEnd for MemoryEnd {
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let frames: Vec<_> = {
            let mut queue = lock(&self.inward);
            let count = queue.len().min(BURST);
            queue.drain(..count).collect()
        };
        frames.iter().for_each(|frame| each(frame));
        Ok(frames.len())
    }

    fn offer(&mut self, frame: &[u8]) -> Offer {
        let mut queue = lock(&self.out);
        // Room for this one, its twin and one that was held back.
        if queue.len() + 3 > self.capacity {
            return Offer::Full;
        }
        self.offered += 1;
        let due = |every: u64| every != 0 && self.offered.is_multiple_of(every);
        if due(self.faults.lose_every) {
            return Offer::Taken;
        }
        if !due(self.faults.repeat_every) && due(self.faults.swap_every) && self.held.is_none() {
            self.held = Some(frame.to_vec());
            return Offer::Taken;
        }
        queue.push_back(frame.to_vec());
        if due(self.faults.repeat_every) {
            queue.push_back(frame.to_vec());
        }
        queue.extend(self.held.take());
        Offer::Taken
    }

    fn flush(&mut self) {}

    // A frame that is held back has left its sender.
    fn pending(&self) -> usize {
        0
    }

    fn wait(&self, _timeout: Duration) {
        std::thread::yield_now();
    }

    fn statistics(&self) -> WireStatistics {
        WireStatistics::default()
    }
}

impl Drop for MemoryEnd {
    fn drop(&mut self) {
        lock(&self.out).extend(self.held.take());
    }
}
