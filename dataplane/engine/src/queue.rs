//! Queue: where packets wait for room on their port.

use crate::admit::Class;
use dataplane_api::{DropReason, VifId, VswitchId};
use std::collections::VecDeque;

/// A packet that waits.
#[derive(Debug)]
pub(crate) struct Entry<F> {
    pub(crate) frame: F,
    /// Where the link's record was; checked against `vif` and `epoch` when it leaves.
    pub(crate) slot: u32,
    pub(crate) vif: u16,
    pub(crate) vswitch: VswitchId,
    /// For the tap.
    pub(crate) packet: u32,
    pub(crate) epoch: u8,
}

impl<F> Entry<F> {
    pub(crate) fn vif(&self) -> VifId {
        VifId(u32::from(self.vif))
    }
}

/// The packets of one port on one worker.
#[derive(Debug)]
struct Queue<F> {
    /// One FIFO: without leases everything is [`Class::Free`].
    free: VecDeque<Entry<F>>,
    /// Frames that each vswitch has in it. By port, or a neighbour that takes nothing would hold up its vswitch's
    /// packets to all others.
    by_vswitch: Vec<u32>,
}

/// All queues of a worker.
#[derive(Debug)]
pub(crate) struct Queues<F> {
    ports: Vec<Queue<F>>,
    queue_frames: usize,
    vswitch_frames: u32,
}

impl<F> Queues<F> {
    /// `queue_frames`: most that wait for one port. `vswitch_frames`: most of those that one vswitch has.
    pub(crate) fn new(
        ports: usize,
        vswitches: usize,
        queue_frames: usize,
        vswitch_frames: u32,
    ) -> Self {
        let queue = || Queue {
            free: VecDeque::with_capacity(queue_frames),
            by_vswitch: vec![0; vswitches],
        };
        let ports = std::iter::repeat_with(queue).take(ports).collect();
        Self { ports, queue_frames, vswitch_frames }
    }

    /// Puts a packet at the end.
    ///
    /// # Errors
    /// [`DropReason::QueueFull`] or [`DropReason::QueueShare`], and the frame.
    #[inline]
    pub(crate) fn push(
        &mut self,
        port: usize,
        class: Class,
        entry: Entry<F>,
    ) -> Result<(), (F, DropReason)> {
        let Class::Free = class;
        let Some(queue) = self.ports.get_mut(port) else {
            return Err((entry.frame, DropReason::QueueFull));
        };
        let Some(share) = queue.by_vswitch.get_mut(entry.vswitch.index()) else {
            return Err((entry.frame, DropReason::QueueFull));
        };
        if queue.free.len() >= self.queue_frames {
            return Err((entry.frame, DropReason::QueueFull));
        }
        if *share >= self.vswitch_frames {
            return Err((entry.frame, DropReason::QueueShare));
        }
        *share += 1;
        queue.free.push_back(entry);
        Ok(())
    }

    /// Takes the packet whose turn it is.
    #[inline]
    pub(crate) fn pop(&mut self, port: usize) -> Option<Entry<F>> {
        let queue = self.ports.get_mut(port)?;
        let entry = queue.free.pop_front()?;
        if let Some(share) = queue.by_vswitch.get_mut(entry.vswitch.index()) {
            *share -= 1;
        }
        Some(entry)
    }

    /// Packets that wait for a port.
    #[inline]
    pub(crate) fn len(&self, port: usize) -> usize {
        self.ports.get(port).map_or(0, |queue| queue.free.len())
    }

    /// Packets that wait, in all.
    pub(crate) fn total(&self) -> usize {
        self.ports.iter().map(|queue| queue.free.len()).sum()
    }

    pub(crate) fn ports(&self) -> usize {
        self.ports.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vswitch_that_filled_its_share_of_one_port_has_its_share_of_others() {
        let mut queues = Queues::new(2, 2, 4, 3);
        let entry = |vswitch| Entry {
            frame: (),
            slot: 0,
            vif: 0,
            vswitch: VswitchId(vswitch),
            packet: 0,
            epoch: 0,
        };
        let push = |queues: &mut Queues<()>, port, vswitch| {
            queues.push(port, Class::Free, entry(vswitch)).map_err(|((), reason)| reason)
        };
        assert!((0..3).all(|_| push(&mut queues, 0, 0).is_ok()));
        assert_eq!(push(&mut queues, 0, 0), Err(DropReason::QueueShare));
        assert_eq!((push(&mut queues, 1, 0), push(&mut queues, 0, 1)), (Ok(()), Ok(())));
        assert_eq!(push(&mut queues, 0, 1), Err(DropReason::QueueFull));
        queues.pop(0);
        assert_eq!(push(&mut queues, 0, 0), Ok(()));
    }
}
