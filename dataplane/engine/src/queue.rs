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
    pub(crate) what: What,
}

/// What a packet that waits is, and so what is done before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A switch packet: to be sealed, and put into headers.
    Switch,
    /// A session packet: to be put into headers.
    Session,
    /// A whole frame, of no link.
    Frame,
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

/// Room for one packet.
#[derive(Debug)]
#[must_use = "a place is counted and must be filled"]
pub(crate) struct Place<'a, F> {
    queue: &'a mut VecDeque<Entry<F>>,
}

impl<F> Place<'_, F> {
    #[inline]
    pub(crate) fn fill(self, entry: Entry<F>) {
        self.queue.push_back(entry);
    }
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

    /// Gives a packet of a vswitch its place at the end, which [`Place::fill`] then takes: asked first, because a
    /// packet that is moved into a queue and back out of it costs more than the question.
    ///
    /// # Errors
    /// [`DropReason::QueueFull`] or [`DropReason::QueueShare`].
    #[inline]
    pub(crate) fn place(
        &mut self,
        port: usize,
        class: Class,
        vswitch: VswitchId,
    ) -> Result<Place<'_, F>, DropReason> {
        let Class::Free = class;
        let queue = self.ports.get_mut(port).ok_or(DropReason::QueueFull)?;
        if queue.free.len() >= self.queue_frames {
            return Err(DropReason::QueueFull);
        }
        match queue.by_vswitch.get_mut(vswitch.index()) {
            Some(share) if *share < self.vswitch_frames => {
                *share += 1;
                Ok(Place { queue: &mut queue.free })
            }
            Some(_) => Err(DropReason::QueueShare),
            None => Err(DropReason::QueueFull),
        }
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
            what: What::Switch,
        };
        let push = |queues: &mut Queues<()>, port, vswitch| -> Result<(), DropReason> {
            let place = queues.place(port, Class::Free, VswitchId(vswitch))?;
            place.fill(entry(vswitch));
            Ok(())
        };
        assert!((0..3).all(|_| push(&mut queues, 0, 0).is_ok()));
        assert_eq!(push(&mut queues, 0, 0), Err(DropReason::QueueShare));
        assert_eq!((push(&mut queues, 1, 0), push(&mut queues, 0, 1)), (Ok(()), Ok(())));
        assert_eq!(push(&mut queues, 0, 1), Err(DropReason::QueueFull));
        queues.pop(0);
        assert_eq!(push(&mut queues, 0, 0), Ok(()));
    }
}
