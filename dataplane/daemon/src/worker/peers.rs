//! Rings to and from the other workers and the slow path.

use dataplane_api::limits::BURST_MAX;
use engine::{HandOff, Inject, Punt, SessionChange, SessionNews, Stranger};
use io::{Burst, Frame};
use std::collections::VecDeque;
use sync::hand_off::{Receiver, Sender, ring};
use sync::waker::Waker;

type Handed = HandOff<Frame<'static>>;

/// What the slow path gives a worker.
#[derive(Debug)]
pub(crate) enum FromSlow {
    /// Send this.
    Inject(Inject<Frame<'static>>),
    /// Its frame back.
    Free(Frame<'static>),
    /// Other keys for a link.
    Session(SessionChange),
}

/// What a worker gives the slow path.
#[derive(Debug)]
pub(crate) enum FromWorker {
    /// A packet for a vswitch, or of a link's handshake.
    Punt(Punt<Frame<'static>>),
    /// A handshake from an address that no link has, or a beacon.
    Stranger(Stranger<Frame<'static>>),
    /// What became of a session.
    News(SessionNews),
}

/// The slow path's ends of one worker's rings.
#[derive(Debug)]
pub(crate) struct ToSlow {
    pub(crate) punts: Receiver<FromWorker>,
    pub(crate) injects: Sender<FromSlow>,
}

/// One worker's ends of all its rings.
#[derive(Debug)]
pub(crate) struct Peers {
    /// By worker and class: control and leased first.
    senders: Vec<[Option<Sender<Handed>>; 2]>,
    receivers: Vec<Receiver<Handed>>,
    /// By worker and class: hand-offs of one call.
    waiting: Vec<[VecDeque<Handed>; 2]>,
    refused: VecDeque<Handed>,
    punts: Sender<FromWorker>,
    /// Items that the ring of `punts` holds.
    punts_max: usize,
    injects: Receiver<FromSlow>,
    /// What was taken over last.
    pub(crate) burst: Burst<Handed>,
}

/// All rings of a process.
#[derive(Debug)]
pub(crate) struct Mesh {
    pub(crate) peers: Vec<Peers>,
    pub(crate) slow: Vec<ToSlow>,
}

/// Rings between `wakers.len()` workers, and between each and the slow path.
pub(crate) fn mesh(
    wakers: &[Waker],
    slow_waker: &Waker,
    hand_off_frames: usize,
    punt_frames: usize,
) -> Mesh {
    let workers = wakers.len();
    let unconnected = || (0..workers).map(|_| [None, None]).collect();
    let mut senders: Vec<Vec<[Option<Sender<Handed>>; 2]>> =
        (0..workers).map(|_| unconnected()).collect();
    let mut receivers: Vec<Vec<Receiver<Handed>>> = (0..workers).map(|_| Vec::new()).collect();
    // Control and leased frames first, in every worker's list.
    for class in [0, 1] {
        for (from, senders) in senders.iter_mut().enumerate() {
            for (to, waker) in wakers.iter().enumerate().filter(|(to, _)| *to != from) {
                let (sender, receiver) = ring(hand_off_frames, waker.clone());
                senders[to][class] = Some(sender);
                receivers[to].push(receiver);
            }
        }
    }
    let mut mesh = Mesh { peers: Vec::with_capacity(workers), slow: Vec::with_capacity(workers) };
    for ((senders, receivers), waker) in senders.into_iter().zip(receivers).zip(wakers) {
        let (punts, punted) = ring(punt_frames, slow_waker.clone());
        // Room for the answers to all punts, and for pings.
        let (injects, injected) =
            ring(2 * punt_frames + crate::plan::SLOW_PATH_FRAMES, waker.clone());
        let waiting = || VecDeque::with_capacity(2 * BURST_MAX);
        mesh.peers.push(Peers {
            waiting: senders.iter().map(|_| [waiting(), waiting()]).collect(),
            senders,
            receivers,
            refused: waiting(),
            punts,
            punts_max: punt_frames,
            injects: injected,
            burst: Burst::new(),
        });
        mesh.slow.push(ToSlow { punts: punted, injects });
    }
    mesh
}

impl Peers {
    /// Rings of other workers; those of control and leased frames come first.
    pub(crate) fn receivers(&self) -> usize {
        self.receivers.len()
    }

    /// Takes a burst from one ring into [`Self::burst`].
    #[inline]
    pub(crate) fn take_over(&mut self, ring: usize) -> usize {
        let (receiver, burst) = (&mut self.receivers[ring], &mut self.burst);
        receiver.pop(burst.remaining_capacity(), |item| burst.push(item))
    }

    /// How much of a ring waits, in eighths.
    pub(crate) fn backlog(&self, ring: usize) -> u8 {
        self.receivers[ring].backlog()
    }

    /// The next thing from the slow path.
    #[inline]
    pub(crate) fn next_from_slow(&mut self) -> Option<FromSlow> {
        let mut item = None;
        self.injects.pop(1, |next| item = Some(next));
        item
    }

    /// Gives something to the slow path. News may fill the ring, links leave a quarter of it to them, and strangers half
    /// of it to both: whoever floods the box keeps no link from coming up.
    ///
    /// # Errors
    /// The thing, if its part of the ring is full.
    pub(crate) fn tell_slow(&mut self, item: FromWorker) -> Result<(), FromWorker> {
        let kept = match item {
            FromWorker::News(_) => 0,
            FromWorker::Punt(_) => self.punts_max / 4,
            FromWorker::Stranger(_) => self.punts_max / 2,
        };
        if kept > 0 && self.punts.room() <= kept { Err(item) } else { self.punts.push_one(item) }
    }

    /// Sorts hand-offs by worker and class, so that each ring is touched once.
    pub(crate) fn sort(&mut self, hand_offs: &mut Vec<Handed>) {
        for item in hand_offs.drain(..) {
            let class = usize::from(!item.leased);
            match self.waiting.get_mut(item.to.index()) {
                Some(waiting) => waiting[class].push_back(item),
                None => self.refused.push_back(item),
            }
        }
        for (senders, waiting) in self.senders.iter_mut().zip(&mut self.waiting) {
            for (sender, waiting) in senders.iter_mut().zip(waiting) {
                if let (Some(sender), false) = (sender, waiting.is_empty()) {
                    sender.push(waiting);
                }
                self.refused.append(waiting);
            }
        }
    }

    /// The next hand-off that its ring did not take.
    pub(crate) fn hand_off(&mut self) -> Option<Handed> {
        self.refused.pop_front()
    }

    /// From now on nothing is handed to other workers.
    pub(crate) fn close(&mut self) {
        self.senders.iter_mut().for_each(|senders| *senders = [None, None]);
    }

    /// Whether nothing waits for this worker.
    pub(crate) fn is_empty(&self) -> bool {
        self.injects.is_empty() && self.receivers.iter().all(Receiver::is_empty)
    }
}
