//! What a router does of its own accord: it finds a route server, stays with it, and tells it of its links.

use super::announcer::Subjects;
use super::message::{Head, Reply, ServerQuery};
use super::supernode::{ANSWER, ANSWER_AGAIN, Active, CYCLE, Question, Stage};
use super::{
    Answer, Moment, Neighbour, Output, Pending, Router, SWEEP, Supernode, Why, peers, take_note,
};
use dataplane_api::Nanos;
use wire::label;

impl Router {
    /// A candidate for a route server: is it one?
    pub(super) fn attempt(
        &mut self,
        moment: &mut Moment<'_>,
        candidate: Supernode,
        output: &mut Output,
    ) {
        let to = (candidate.key, candidate.path);
        let query = |head: Head<'_>| ServerQuery::Ping.write(head);
        if let Some(packet) = self.question(moment, to, Why::Try, ANSWER, query) {
            self.hunt.stage = Stage::Trying(candidate);
            output.packets.push(packet);
        }
    }

    pub(super) fn adopt(&mut self, moment: &mut Moment<'_>, supernode: Supernode, time_ms: u64) {
        let active = Active::new(moment.now, supernode, time_ms, moment.rng);
        self.hunt.stage = Stage::Active(Box::new(active));
    }

    /// The route server may be gone: it is asked whether it is there, once.
    pub(super) fn doubt(&mut self, moment: &mut Moment<'_>, output: &mut Output) {
        let Some(active) = self.hunt.active_mut().filter(|active| !active.doubted) else { return };
        let Supernode { key, path, .. } = active.supernode;
        if self.server.is_some() {
            return;
        }
        active.doubted = true;
        // What was last heard of it came by a way that worked.
        let path = self.sessions.path(&key).unwrap_or(path);
        let query = |head: Head<'_>| ServerQuery::Ping.write(head);
        match self.question(moment, (key, path), Why::Check, ANSWER_AGAIN, query) {
            Some(packet) => output.packets.push(packet),
            None => self.lose(moment.now),
        }
    }

    pub(super) fn lose(&mut self, now: Nanos) {
        if self.server.is_some() {
            return;
        }
        self.pending.retain(|pending| matches!(pending.why, Why::Asked(_)));
        self.peers.iter_mut().for_each(peers::Peer::forget_measurements);
        self.hunt.lose(now);
    }

    /// Whether the neighbour behind which the route server is, or the candidate, is there.
    pub(super) fn way_is_there(&self) -> bool {
        match &self.hunt.stage {
            Stage::Searching => true,
            Stage::Trying(supernode) => self.leads_somewhere(supernode.path),
            Stage::Active(active) => self.leads_somewhere(active.supernode.path),
        }
    }

    fn leads_somewhere(&self, path: u64) -> bool {
        let first = self.scheme.decode(path);
        let by_peer = first.is_some_and(|first| self.peers.numbered(first.number).is_some());
        path == label::SELF || by_peer
    }

    pub(super) fn search(&mut self, moment: &mut Moment<'_>, output: &mut Output) {
        match self.hunt.ask(moment.now, &self.peers, &self.servers, moment.rng) {
            Some(Question::Packet(packet)) => output.packets.push(packet),
            Some(Question::Candidate(candidate)) => self.attempt(moment, candidate, output),
            None => {}
        }
    }

    /// Ends a slot of measurements, and asks neighbours by which label they reach us.
    pub(super) fn measure(
        &mut self,
        moment: &mut Moment<'_>,
        neighbours: &[Neighbour],
        output: &mut Output,
    ) {
        let now = moment.now;
        let Some(active) = self.hunt.active_mut() else { return };
        let is_over = active.takes_slot_turn(now);
        let wants_labels = now >= active.labels_due;
        if !is_over && !wants_labels {
            return;
        }
        for peer in self.peers.iter_mut() {
            let neighbour = neighbours.iter().find(|neighbour| neighbour.number == peer.number);
            if let Some(neighbour) = neighbour.filter(|_| is_over) {
                peer.sample(neighbour);
            }
            if is_over || peer.their_label.is_none() {
                output.packets.push(peer.ask(now, moment.rng));
            }
        }
        let all_known = self.peers.iter().all(|peer| peer.their_label.is_some());
        active.labels_due = if all_known { Nanos::MAX } else { now + CYCLE };
    }

    pub(super) fn ask_the_way(&mut self, moment: &mut Moment<'_>, output: &mut Output) {
        let is_host = self.server.is_some();
        let Some(active) = self.hunt.active_mut() else { return };
        if !active.takes_route_turn(moment.now) || is_host {
            return;
        }
        let (from, to) = (self.address, active.address);
        let supernode = (active.supernode.key, active.supernode.path);
        let query = |head: Head<'_>| ServerQuery::Route { from, to }.write(head);
        output.packets.extend(self.question(moment, supernode, Why::Route, ANSWER, query));
    }

    pub(super) fn way_found(&mut self, reply: &Reply) {
        let Some(node) = reply.nodes.last() else { return };
        let leads_somewhere = self.leads_somewhere(node.label) && node.label != label::SELF;
        if let Some(active) = self.hunt.active_mut()
            && active.supernode.key == node.key
            && leads_somewhere
        {
            active.supernode.path = node.label;
        }
    }

    pub(super) fn announce(&mut self, moment: &mut Moment<'_>, output: &mut Output) {
        let Stage::Active(active) = &mut self.hunt.stage else { return };
        if moment.now < active.announcer.due() || active.doubted {
            return;
        }
        if self.server.is_some() {
            active.set_clock(moment.now, moment.wall_ms);
        }
        let subjects =
            Subjects { identity: &self.identity, scheme: &self.scheme, peers: &mut self.peers };
        let time_ms = active.time_ms(moment.now);
        let announcement =
            active.announcer.compose(active.address, time_ms, subjects, moment.rng).to_vec();
        if let Some(server) = &mut self.server {
            let own = self.identity.public();
            let (hash, _refused) = take_note(server, moment.wall_ms, &own, &announcement);
            let reply = Reply { state_hash: Some(hash), ..Reply::default() };
            let _in_step = active.announcer.replied(moment.now, &reply, moment.rng);
            return;
        }
        let supernode = (active.supernode.key, active.supernode.path);
        let query = |head: Head<'_>| ServerQuery::Announce(&announcement).write(head);
        output.packets.extend(self.question(moment, supernode, Why::Announce, ANSWER, query));
    }

    /// What was not answered in time.
    pub(super) fn expire(&mut self, moment: &mut Moment<'_>, output: &mut Output) {
        let now = moment.now;
        let over: Vec<Pending> =
            self.pending.extract_if(.., |pending| pending.deadline <= now).collect();
        for Pending { peer, why, .. } in over {
            // Whether it was lost or the peer has forgotten us: a hello finds out.
            self.sessions.reset(&peer);
            match why {
                Why::Asked(ask) => output.answers.push(Answer { ask, reply: None }),
                Why::Try | Why::Check => self.lose(now),
                Why::Route => {}
                Why::Announce => {
                    if let Some(active) = self.hunt.active_mut() {
                        active.announcer.begin_anew(now);
                    }
                    self.doubt(moment, output);
                }
            }
        }
    }

    pub(super) fn sweep(&mut self, moment: &Moment<'_>) {
        if moment.now < self.sweep_due {
            return;
        }
        self.sweep_due = moment.now + SWEEP;
        self.sessions.expire(moment.now);
        if let Some(server) = &mut self.server {
            server.expire(moment.wall_ms);
        }
    }
}
