//! The router of a vswitch: end-to-end sessions and what nodes ask each other. Source: CJDNS-WIRE.md §6.
//!
//! ```text
//!  delivered to interface 1 ─┬─ control ──► Router::control ─── not its own: the responder's (PING, GETSNODE, …)
//!                            └─ other ────► Router::delivered ─► sessions ─► message ─┬─ query ─► answers
//!  links, timers ──────────────────────────► Router::poll                             ├─ sq ────► route server
//!                                                                                     └─ reply ─► what we asked
//! ```
//!
//! Packets go in as they are delivered to interface 1 and come out as they enter the own switch: from the switch header on,
//! the label a path that begins with the own director. Nothing here reads a clock, waits or draws randomness of its own.
//!
//! A router that is idle takes some 700 bytes and 100 for each neighbour, and wants to be polled every three seconds.

mod announcer;
mod answers;
mod budget;
pub mod message;
mod peers;
mod sessions;
mod supernode;
mod upkeep;

use crate::announce::log::StateHash;
use crate::route_server::{Refused, RouteServer};
use answers::Answerer;
use budget::Budget;
use crypt::identity::Identity;
use dataplane_api::Nanos;
use message::{Body, Head, Message, Node, Query, Reply, ServerQuery};
use peers::Peers;
use rand_core::CryptoRng;
use sessions::{Nothing, Received, Sessions};
use std::net::Ipv6Addr;
use std::sync::Arc;
use supernode::{Hunt, Stage};
use wire::control::{self, GetSnode, PROTOCOL_VERSION, Rpath, kind, magic};
use wire::key::PublicKey;
use wire::label;
use wire::scheme::Scheme;
use wire::switch::Header;
use zerocopy::FromBytes;

/// Sessions of a router; the quietest gives way to a new one.
const SESSIONS_MAX: usize = 512;
/// The same of one that is a route server.
const SESSIONS_MAX_HOST: usize = 8192;
/// Questions under way.
const PENDING_MAX: usize = 64;
/// Searches for a path that a route server makes for others.
const ROUTES_PER_SECOND: u32 = 500;
const ROUTES_BURST: u32 = 1000;
/// How often what is silent is forgotten.
const SWEEP: Nanos = 30_000_000_000;

/// Which route server a router uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteServers {
    /// The router is one itself.
    Host,
    /// Whichever its neighbours use.
    Any,
    /// One of these. Unlike a stock node it does not take another one when none of them is found: the list is a decision.
    Listed(Vec<PublicKey>),
}

/// A link of the vswitch, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Number of its vif.
    pub number: u16,
    /// Key of the neighbour.
    pub key: PublicKey,
    /// Protocol version, 0 if not known yet.
    pub version: u32,
    /// Packets pass.
    pub established: bool,
    /// Longest switch packet that the link carries, in bytes; 0: not known.
    pub mtu: u16,
    /// Round trip as the link measured it last. What the router measures itself is newer and counts first.
    pub lag_ms: Option<u16>,
    /// Packets received, ever; may begin anew with a session. So may the next two.
    pub received: u64,
    /// Packets lost on the way to us.
    pub lost: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// A route server and the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supernode {
    /// Its key.
    pub key: PublicKey,
    /// Its protocol version.
    pub version: u32,
    /// As seen from the vswitch's router; [`label::SELF`] where it is the router itself.
    pub path: u64,
}

/// When a call is made, and what it may draw from.
pub struct Moment<'a> {
    /// Monotonic.
    pub now: Nanos,
    /// Milliseconds since 1970. Only a route server looks at it.
    pub wall_ms: u64,
    /// Unpredictable to the network.
    pub rng: &'a mut dyn CryptoRng,
}

/// What a call leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Packets to send through the vswitch from its router.
    pub packets: Vec<Vec<u8>>,
    /// What became of questions of [`Router::ask`].
    pub answers: Vec<Answer>,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which.
    pub ask: AskId,
    /// Labels in it are those of whoever answered. `None`: nobody did in time.
    pub reply: Option<Reply>,
}

/// What one may want to know of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What any router answers.
    Router(Query),
    /// What a route server answers: how does one get from here to there?
    Route {
        /// Here.
        from: Ipv6Addr,
        /// There.
        to: Ipv6Addr,
    },
}

/// A question under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u32);

/// Why no question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No node has this key, or we do.
    #[error("question to {0}: there can be no session with this key")]
    Key(PublicKey),
    /// The path ends where it begins, or is none.
    #[error("question along {}: expected a path to another node", label::Dotted(*.0))]
    Path(u64),
    /// Too many at once.
    #[error("question: {PENDING_MAX} are under way already")]
    TooMany,
}

/// What a router is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterStatus {
    /// Its route server.
    pub supernode: Option<Supernode>,
    /// Links that its route server knows of.
    pub links_announced: usize,
    /// End-to-end sessions.
    pub sessions: usize,
    /// Nodes that announce themselves to it, if it is a route server.
    pub nodes_served: usize,
    /// Packets that were dropped: none of a session, or no message in them.
    pub dropped: u64,
}

/// The router of one vswitch.
#[derive(Debug)]
pub struct Router {
    identity: Arc<Identity>,
    address: Ipv6Addr,
    scheme: Scheme,
    servers: RouteServers,
    server: Option<Box<RouteServer>>,
    peers: Peers,
    sessions: Sessions,
    pending: Vec<Pending>,
    hunt: Hunt,
    routes: Budget,
    sweep_due: Nanos,
    asked: u32,
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    txid: [u8; 8],
    peer: PublicKey,
    why: Why,
    sent: Nanos,
    deadline: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Is the candidate a route server?
    Try,
    /// Is the route server still there?
    Check,
    /// Which way to the route server is best?
    Route,
    /// An announcement.
    Announce,
    /// Somebody wants to know.
    Asked(AskId),
}

impl RouteServers {
    fn allow(&self, key: &PublicKey) -> bool {
        match self {
            Self::Host => false,
            Self::Any => true,
            Self::Listed(keys) => keys.contains(key),
        }
    }

    fn names(&self, key: &PublicKey) -> bool {
        matches!(self, Self::Listed(keys) if keys.contains(key))
    }
}

impl Router {
    /// A router without links. It is to be polled at once.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        scheme: Scheme,
        servers: RouteServers,
        moment: &mut Moment<'_>,
    ) -> Self {
        let address = identity.address();
        let is_host = servers == RouteServers::Host;
        let sessions = if is_host { SESSIONS_MAX_HOST } else { SESSIONS_MAX };
        let mut router = Self {
            address,
            scheme,
            servers,
            server: is_host.then(|| Box::new(RouteServer::new(address))),
            peers: Peers::default(),
            sessions: Sessions::new(sessions, moment.rng),
            pending: Vec::new(),
            hunt: Hunt::new(),
            routes: Budget::new(ROUTES_PER_SECOND, ROUTES_BURST),
            sweep_due: moment.now + SWEEP,
            asked: 0,
            dropped: 0,
            identity,
        };
        if is_host {
            let itself = Supernode {
                key: router.identity.public(),
                version: PROTOCOL_VERSION,
                path: label::SELF,
            };
            router.adopt(moment, itself, moment.wall_ms);
        }
        router
    }

    /// A packet that was delivered to interface 1 and is no control message.
    ///
    /// `packet`: from the switch header on, the label as delivered.
    pub fn delivered(&mut self, moment: &mut Moment<'_>, packet: &[u8]) -> Output {
        let mut output = Output::default();
        match self.sessions.receive(&self.identity, moment.now, packet) {
            Ok(received) => self.read(moment, &received, &mut output),
            Err(Nothing::Dropped) => self.dropped += 1,
            Err(Nothing::Tell(packet)) => {
                self.dropped += 1;
                output.packets.push(packet);
            }
        }
        output
    }

    /// A control message that was delivered to interface 1. `None`: it is not the router's; somebody else answers it.
    ///
    /// `packet`: as in [`Self::delivered`].
    pub fn control(&mut self, moment: &mut Moment<'_>, packet: &[u8]) -> Option<Output> {
        let (header, payload) = Header::split(packet)?;
        let message = control::parse(payload).ok()?;
        let from = label::reverse(header.label());
        let mut output = Output::default();
        match message.kind {
            kind::ERROR => {
                let way = self.hunt.active().map(|active| active.supernode.path);
                if way.is_some_and(|way| label::routes_through(way, from)) {
                    self.doubt(moment, &mut output);
                }
            }
            kind::GET_SNODE_REPLY => {
                let (reply, mark) =
                    reply_of::<GetSnode>(message.body, |body| body.head.magic.get())?;
                let own = self.identity.public();
                let candidate =
                    self.hunt.answer(&self.peers, &self.servers, &own, from, mark, reply);
                if let Some(candidate) = candidate {
                    self.attempt(moment, candidate, &mut output);
                }
            }
            kind::RPATH_REPLY => {
                let (reply, mark) = reply_of::<Rpath>(message.body, |body| body.head.magic.get())?;
                let is_news = self.peers.reply(moment.now, from, mark, reply.path.get());
                if let Some(active) = self.hunt.active_mut().filter(|_| is_news) {
                    active.announcer.links_changed(moment.now, true, false);
                }
            }
            _ => return None,
        }
        Some(output)
    }

    /// Adopts the links as they are now and does what is due. To be called when [`Self::next_due`] has come, and when a link
    /// comes or goes.
    pub fn poll(&mut self, moment: &mut Moment<'_>, neighbours: &[Neighbour]) -> Output {
        let mut output = Output::default();
        let changes = self.peers.adopt(&self.identity.public(), &self.scheme, neighbours);
        self.expire(moment, &mut output);
        if changes.lost && !self.way_is_there() {
            self.lose(moment.now);
        }
        if let Some(active) = self.hunt.active_mut() {
            active.announcer.links_changed(moment.now, false, changes.lost);
            if changes.gained {
                active.labels_due = moment.now;
            }
        }
        self.search(moment, &mut output);
        self.measure(moment, neighbours, &mut output);
        self.ask_the_way(moment, &mut output);
        self.announce(moment, &mut output);
        self.sweep(moment);
        output
    }

    /// When to call [`Self::poll`] even if nothing happens. Every other call may bring it forward.
    #[must_use]
    pub fn next_due(&self) -> Nanos {
        let pending = self.pending.iter().map(|pending| pending.deadline).min();
        let hunt = if self.peers.is_empty() && self.server.is_none() {
            Nanos::MAX
        } else {
            self.hunt.due()
        };
        let sweep = if self.sessions.len() > 0 || self.server.is_some() {
            self.sweep_due
        } else {
            Nanos::MAX
        };
        pending.unwrap_or(Nanos::MAX).min(hunt).min(sweep)
    }

    /// What to say in GETSNODE replies, before the path is widened for the asker.
    #[must_use]
    pub fn supernode(&self) -> Option<Supernode> {
        self.hunt.active().map(|active| active.supernode)
    }

    /// Asks a node something; what becomes of it comes in a later [`Output`].
    ///
    /// `path`: to it, from the vswitch's router.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn ask(
        &mut self,
        moment: &mut Moment<'_>,
        to: PublicKey,
        path: u64,
        what: Ask,
        timeout: Nanos,
    ) -> Result<(AskId, Vec<u8>), AskError> {
        if path == 0 || self.scheme.is_self_route(path) {
            return Err(AskError::Path(path));
        }
        if self.pending.len() >= PENDING_MAX {
            return Err(AskError::TooMany);
        }
        let ask = AskId(self.asked);
        let write = |head: Head<'_>| match what {
            Ask::Router(query) => query.write(head),
            Ask::Route { from, to } => ServerQuery::Route { from, to }.write(head),
        };
        let packet = self
            .question(moment, (to, path), Why::Asked(ask), timeout, write)
            .ok_or(AskError::Key(to))?;
        self.asked = self.asked.wrapping_add(1);
        Ok((ask, packet))
    }

    /// What it is up to.
    #[must_use]
    pub fn status(&self) -> RouterStatus {
        RouterStatus {
            supernode: self.supernode(),
            links_announced: self.hunt.active().map_or(0, |active| active.announcer.links()),
            sessions: self.sessions.len(),
            nodes_served: self.server.as_ref().map_or(0, |server| server.len()),
            dropped: self.dropped,
        }
    }

    fn read(&mut self, moment: &mut Moment<'_>, received: &Received, output: &mut Output) {
        let Ok(message) = Message::parse(&received.text) else {
            self.dropped += 1;
            return;
        };
        let reply = match message.body {
            Body::Query(query) => self.answer(moment, received.path, query),
            Body::ServerQuery(query) => match self.serve(moment, &received.peer, query) {
                Some(reply) => reply,
                None => return,
            },
            Body::Reply(reply) => {
                return self.replied(moment, received, message.txid, reply, output);
            }
        };
        let head = Head { scheme: &self.scheme, path: received.path, txid: message.txid };
        let text = reply.write(head);
        let to = (received.peer, received.path);
        output.packets.extend(self.sessions.send(
            &self.identity,
            moment.now,
            moment.rng,
            to,
            &text,
        ));
    }

    fn answer(&self, moment: &Moment<'_>, asker: u64, query: Query) -> Reply {
        let key = self.identity.public();
        let answerer = Answerer { key: &key, scheme: &self.scheme, peers: &self.peers, asker };
        match query {
            Query::Ping => Reply::empty(),
            Query::Peers(near) => Reply::naming(answerer.peers(near)),
            Query::Find(target) => {
                let server = self.server.as_ref();
                let known =
                    server.and_then(|server| server.route(moment.wall_ms, self.address, target));
                Reply::naming(answerer.find(target, known))
            }
        }
    }

    /// `None`: not answered, because too much is asked.
    fn serve(
        &mut self,
        moment: &Moment<'_>,
        from: &PublicKey,
        query: ServerQuery<'_>,
    ) -> Option<Reply> {
        let Some(server) = &mut self.server else {
            let error = Some("not a route server".to_owned());
            return Some(Reply { error, ..Reply::default() });
        };
        let receive_time_ms = Some(moment.wall_ms);
        let reply = Reply { receive_time_ms, ..Reply::default() };
        match query {
            ServerQuery::Ping => Some(reply),
            ServerQuery::Route { from, to } => {
                if !self.routes.take(moment.now) {
                    return None;
                }
                let nodes: Vec<Node> = server.route(moment.wall_ms, from, to).into_iter().collect();
                Some(Reply { nodes, ..reply })
            }
            ServerQuery::Announce(bytes) => {
                let (state_hash, error) = take_note(server, moment.wall_ms, from, bytes);
                Some(Reply {
                    state_hash: Some(state_hash),
                    error: error.map(|error| error.to_string()),
                    ..reply
                })
            }
            ServerQuery::Unknown => {
                Some(Reply { error: Some("unknown query".to_owned()), ..reply })
            }
        }
    }

    fn replied(
        &mut self,
        moment: &mut Moment<'_>,
        received: &Received,
        txid: &[u8],
        reply: Reply,
        output: &mut Output,
    ) {
        let asked = self.pending.iter().position(|pending| pending.txid == txid);
        let is_theirs =
            |at: &usize| self.pending.get(*at).is_some_and(|pending| pending.peer == received.peer);
        let Some(Pending { why, sent, .. }) =
            asked.filter(is_theirs).map(|at| self.pending.swap_remove(at))
        else {
            self.dropped += 1;
            return;
        };
        // The route server looked at its clock half-way.
        let half_way = sent + (moment.now - sent.min(moment.now)) / 2;
        match why {
            Why::Asked(ask) => output.answers.push(Answer { ask, reply: Some(reply) }),
            Why::Try => match (&self.hunt.stage, reply.receive_time_ms) {
                (Stage::Trying(candidate), Some(time)) => self.adopt(moment, *candidate, time),
                (Stage::Searching | Stage::Trying(_) | Stage::Active(_), _) => {
                    self.lose(moment.now);
                }
            },
            Why::Check => match (self.hunt.active_mut(), reply.receive_time_ms) {
                (Some(active), Some(time)) => {
                    active.doubted = false;
                    active.supernode.path = received.path;
                    active.set_clock(half_way, time);
                }
                (Some(_), None) => self.lose(moment.now),
                (None, _) => {}
            },
            Why::Route => self.way_found(&reply),
            Why::Announce => {
                let Some(active) = self.hunt.active_mut() else { return };
                if let Some(time) = reply.receive_time_ms {
                    active.set_clock(half_way, time);
                }
                // Out of step: it says everything anew, by itself.
                let _in_step = active.announcer.replied(moment.now, &reply, moment.rng);
            }
        }
    }

    /// Asks something, and remembers that it did. `None`: there can be no session, or too much is under way.
    fn question(
        &mut self,
        moment: &mut Moment<'_>,
        to: (PublicKey, u64),
        why: Why,
        timeout: Nanos,
        write: impl FnOnce(Head<'_>) -> Vec<u8>,
    ) -> Option<Vec<u8>> {
        // The router's own questions are few; those of others leave room for them.
        let max = if matches!(why, Why::Asked(_)) { PENDING_MAX } else { 2 * PENDING_MAX };
        if self.pending.len() >= max {
            return None;
        }
        let (peer, path) = to;
        let txid = moment.rng.next_u64().to_be_bytes();
        let text = write(Head { scheme: &self.scheme, path, txid: &txid });
        let packet = self.sessions.send(&self.identity, moment.now, moment.rng, to, &text)?;
        let (sent, deadline) = (moment.now, moment.now.saturating_add(timeout));
        self.pending.push(Pending { txid, peer, why, sent, deadline });
        Some(packet)
    }
}

/// What a route server has of the announcer then, and what was wrong with the announcement.
fn take_note(
    server: &mut RouteServer,
    now_ms: u64,
    from: &PublicKey,
    announcement: &[u8],
) -> (StateHash, Option<Refused>) {
    match server.announce(now_ms, from, announcement) {
        Ok(hash) => (hash, None),
        Err(refused) => (server.state_hash(from), Some(refused)),
    }
}

/// The body of a GETSNODE or RPATH reply, and the mark that our question bore.
fn reply_of<B>(body: &[u8], magic_of: impl FnOnce(&B) -> u32) -> Option<(&B, u64)>
where
    B: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    let (body, opaque) = B::ref_from_prefix(body).ok()?;
    let mark = u64::from_be_bytes(opaque.try_into().ok()?);
    (magic_of(body) == magic::SNODE_REPLY).then_some((body, mark))
}

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment")
            .field("now", &self.now)
            .field("wall_ms", &self.wall_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
