//! What leaves the slow path: to the worker that it concerns, in order, and never more than the rings hold.

use super::{Outgoing, answer_in};
use crate::plan::SLOW_PATH_FRAMES;
use crate::worker::{FromSlow, FromWorker, ToSlow};
use dataplane_api::{LinkAddress, MacAddress, PortId, VifId, VswitchId};
use engine::{Inject, Rules, SessionChange, SessionChangeKind, Via};
use io::{Depot, Frame, Pool};
use node::links::BeaconPort;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use wire::{eth_interface, ethernet, ip, udp};

/// Things that may wait for room in the rings. Each is answered by a retry of whoever wanted it, so what does not fit is
/// dropped; changes of sessions always fit.
const WAITING_MAX: usize = 65_536;

/// The slow path's ends of the workers' rings, its frames, and what waits for either.
#[derive(Debug)]
pub(crate) struct Outbox {
    workers: Vec<ToSlow>,
    /// By port: a worker that sends on it.
    senders: Vec<usize>,
    frames: Pool<'static>,
    depot: Arc<Depot<'static>>,
    waiting: VecDeque<Outgoing>,
}

/// What the thread that has an [`Outbox`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is work.
    None,
    /// Room in a ring, or frames.
    UntilThereIsRoom,
    /// A worker, or time.
    UntilThereIsWork,
}

impl Outbox {
    pub(super) fn new(
        workers: Vec<ToSlow>,
        senders: Vec<usize>,
        frames: Pool<'static>,
        depot: Arc<Depot<'static>>,
    ) -> Self {
        Self { workers, senders, frames, depot, waiting: VecDeque::new() }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// At most `limit` things from a worker: no more than there is room for their answers.
    pub(super) fn take(&mut self, worker: usize, limit: usize) -> Vec<FromWorker> {
        let mut items = Vec::new();
        if let Some(ToSlow { punts, injects }) = self.workers.get_mut(worker) {
            punts.pop(limit.min(injects.room()), |item| items.push(item));
        }
        items
    }

    /// Whether a worker has something for this thread.
    pub(super) fn has_punts(&self) -> bool {
        self.workers.iter().any(|worker| !worker.punts.is_empty())
    }

    /// How long the thread may rest when it could do nothing.
    pub(super) fn rest(&self) -> Rest {
        let punts = || self.workers.iter().filter(|worker| !worker.punts.is_empty());
        if punts().any(|worker| worker.injects.room() > 0) {
            Rest::None
        } else if self.waiting.is_empty() && punts().next().is_none() {
            Rest::UntilThereIsWork
        } else {
            Rest::UntilThereIsRoom
        }
    }

    /// Whether what is sent now may be dropped.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Sends the answer to what came from a worker, in the frame of the question.
    pub(super) fn answer(
        &mut self,
        worker: usize,
        frame: Frame<'static>,
        outgoing: &engine::slow_path::Outgoing,
    ) {
        self.push(worker, answer_in(frame, outgoing.via, &outgoing.bytes));
    }

    /// Gives a frame back to the worker it came from, unless some are wanted here.
    pub(super) fn free(&mut self, worker: usize, frame: Frame<'static>) {
        if self.frames.len() < SLOW_PATH_FRAMES {
            self.frames.put(frame);
        } else {
            self.push(worker, FromSlow::Free(frame));
        }
    }

    /// Sends bytes in a frame of this thread's.
    pub(super) fn send(&mut self, via: Via, bytes: Vec<u8>) {
        if !self.is_full() {
            self.waiting.push_back(Outgoing::Packet(via, bytes));
        }
    }

    /// Changes a link's sessions at its owner.
    pub(super) fn change(&mut self, vif: VifId, epoch: u8, kind: SessionChangeKind) {
        self.waiting.push_back(Outgoing::Change(SessionChange { vif, epoch, kind }));
    }

    /// Broadcasts a beacon.
    pub(super) fn beacon(&mut self, vswitch: VswitchId, from: BeaconPort, body: &[u8]) {
        let header = ethernet::Header {
            destination: ethernet::BROADCAST,
            source: from.own.0,
            vlan: from.vlan,
            ethertype: ethernet::ETHERTYPE_CJDNS,
        };
        let mut frame = vec![0; header.len()];
        let Some(interface) = eth_interface::header(body.len()) else { return };
        if header.write(&mut frame) {
            frame.extend(interface);
            frame.extend(body);
            self.send(Via::Port { vswitch, port: from.port }, frame);
        }
    }

    /// Sends a session packet to where a stranger's frame came from, `stations` being its own and peer MAC address.
    pub(super) fn reply(
        &mut self,
        vswitch: VswitchId,
        to: LinkAddress,
        stations: (MacAddress, MacAddress),
        packet: &[u8],
    ) {
        if let Some(frame) = frame_to(to, stations, packet) {
            self.send(Via::Port { vswitch, port: to.port() }, frame);
        }
    }

    /// Moves what waits into the rings, as far as there are room and frames.
    pub(super) fn flush(&mut self, rules: &Rules) -> usize {
        let mut moved = 0;
        while let Some(next) = self.waiting.pop_front() {
            let worker = self.worker_of(rules, &next);
            let Some(ToSlow { injects, .. }) = self.workers.get_mut(worker) else { continue };
            if injects.room() == 0 {
                self.waiting.push_front(next);
                break;
            }
            let item = match next {
                Outgoing::Change(change) => FromSlow::Session(change),
                Outgoing::Packet(via, bytes) => {
                    if self.frames.is_empty() {
                        self.depot.balance(&mut self.frames, SLOW_PATH_FRAMES, usize::MAX);
                    }
                    let Some(frame) = self.frames.take() else {
                        self.waiting.push_front(Outgoing::Packet(via, bytes));
                        break;
                    };
                    answer_in(frame, via, &bytes)
                }
            };
            self.push(worker, item);
            moved += 1;
        }
        moved
    }

    /// Who is to get it: the owner of the link, so that keys are there before what is sent with them.
    fn worker_of(&self, rules: &Rules, outgoing: &Outgoing) -> usize {
        let owner = |vif: VifId| rules.vif(vif).and_then(|vif| vif.owner);
        let sender = |port: PortId| self.senders.get(port.index()).copied().unwrap_or(0);
        match outgoing {
            Outgoing::Change(change) => owner(change.vif).map_or(0, |owner| owner.index()),
            Outgoing::Packet(
                Via::Vif { vif, .. } | Via::Probe { vif, .. } | Via::Handshake { vif, .. },
                _,
            ) => owner(*vif).map_or(0, |owner| owner.index()),
            Outgoing::Packet(Via::Port { port, .. }, _) => sender(*port),
            // Any worker can switch it, and hands on what leaves by another's link.
            Outgoing::Packet(Via::Router(_), _) => 0,
        }
    }

    fn push(&mut self, worker: usize, item: FromSlow) {
        let Some(ToSlow { injects, .. }) = self.workers.get_mut(worker) else { return };
        // There is room: only this thread fills the ring, and it looked.
        if let Err(FromSlow::Free(frame) | FromSlow::Inject(Inject { frame, .. })) =
            injects.push_one(item)
        {
            self.frames.put(frame);
        }
    }
}

/// A whole frame with a session packet.
fn frame_to(
    to: LinkAddress,
    (own, peer): (MacAddress, MacAddress),
    packet: &[u8],
) -> Option<Vec<u8>> {
    let mut header = ethernet::Header {
        destination: peer.0,
        source: own.0,
        vlan: to.vlan(),
        ethertype: ethernet::ETHERTYPE_CJDNS,
    };
    let inner = match to {
        LinkAddress::Ethernet { .. } => {
            [&eth_interface::header(packet.len())?[..], packet].concat()
        }
        LinkAddress::Udp { own, peer, .. } => {
            let mut datagram = [&[0; udp::HEADER_LEN][..], packet].concat();
            let (own, peer) = ((own.ip(), own.port()), (peer.ip(), peer.port()));
            if !udp::write(&mut datagram, own, peer) {
                return None;
            }
            match (own.0, peer.0) {
                (IpAddr::V4(own), IpAddr::V4(peer)) => {
                    header.ethertype = ethernet::ETHERTYPE_IPV4;
                    [&ip::header_v4(own, peer, datagram.len())?[..], &datagram].concat()
                }
                (IpAddr::V6(own), IpAddr::V6(peer)) => {
                    header.ethertype = ethernet::ETHERTYPE_IPV6;
                    [&ip::header_v6(own, peer, datagram.len())?[..], &datagram].concat()
                }
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
            }
        }
    };
    let mut frame = vec![0; header.len()];
    header.write(&mut frame).then(|| [frame, inner].concat())
}
