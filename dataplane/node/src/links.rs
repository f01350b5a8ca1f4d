//! Links: who may log in, who is dialled, who is still there.
//!
//! ```text
//!  configure ─┐                                       ┌─► Install, Drop      to the link's owner
//!  handshakes ─┼─► Links ─► commands, in order ───────┼─► Handshake, Packet  out of a vif
//!  pongs, news ┘     ▲                                └─► Came, Gone         to the management thread
//!        tick(now) ──┘
//! ```
//!
//! A link's handshakes are here; its data keys, once made, are the owner's, who says what it opened with them. Sources:
//! CJDNS-WIRE.md §2.2, §2.4 (supervision), §1.4 (beacons); CJDNS-INTEROP.md §2.8 (restarts).

mod admission;
mod beacons;
mod link;
mod session;
mod supervision;

pub use admission::Admission;
pub use beacons::{BEACON_LOGIN, BeaconPort};
pub use link::{LinkState, Traffic};
pub use session::Kind;

use crypt::credential::{Credential, Credentials, User};
use crypt::cryptoauth;
use crypt::data::DataSession;
use crypt::identity::Identity;
use crypt::noise::{self, Gate, Tai64n};
use dataplane_api::limiter::{Limit, Limiter};
use dataplane_api::{DropReason, Handshake, LinkAddress, Nanos, Role, Secret, VifId, VswitchId};
use link::Link;
use rand_core::CryptoRng;
use session::{CALLING, Received, Session, refused};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wire::key::PublicKey;

/// When something happens, and what chance brings.
pub struct Moment<'a> {
    /// CLOCK_MONOTONIC.
    pub now: Nanos,
    /// By the wall, but never earlier than what was given before, restarts included: for Noise.
    pub wall: Tai64n,
    /// Unpredictable.
    pub rng: &'a mut dyn CryptoRng,
}

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment")
            .field("now", &self.now)
            .field("wall", &self.wall)
            .finish_non_exhaustive()
    }
}

/// When a link that is greeted is greeted again if nothing came back: a frame that stands in the neighbour's socket has its
/// place taken by the first hello, which the second one brings through.
const AGAIN: [Nanos; 2] = [100_000_000, 400_000_000];

/// Inits of strangers that are opened unseen, a second and at once; beyond that each must show a cookie.
const UNSEEN_INITS: (u32, u32) = (20, 20);

/// Callers whose first handshake was opened, and who wait for a vif.
const CALLERS_MAX: usize = 4096;
/// How long one waits.
const CALLER_PATIENCE: Nanos = 10_000_000_000;

/// What a vswitch brings: its key, and who may use it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its permanent key; without it none of its links comes up.
    pub identity: Option<Arc<Identity>>,
    /// Who may log in.
    pub users: Arc<Credentials>,
    /// Role of what a user becomes.
    pub roles: BTreeMap<String, Role>,
    /// What its beacons offer to log in with; `None`: it sends none.
    pub beacon_password: Option<[u8; 20]>,
}

/// A link as the rules have it.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Its vif.
    pub vif: VifId,
    /// Of the vif: another epoch is another link.
    pub epoch: u8,
    /// Vswitch of the vif.
    pub vswitch: VswitchId,
    /// One-hop label of the vif.
    pub label: u64,
    /// Where the neighbour is.
    pub address: LinkAddress,
    /// Who it is.
    pub key: PublicKey,
    /// What we log in with there.
    pub password: Option<Secret>,
    /// Login name that goes with it.
    pub login: Option<String>,
    /// Which handshake to begin with.
    pub handshake: Handshake,
    /// It came by itself, and is forgotten after a long silence.
    pub learned: bool,
    /// Login by which it came.
    pub user: Option<String>,
}

/// Somebody who logged in, or was met by a beacon, and shall become a vif.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Whom it called.
    pub vswitch: VswitchId,
    /// Who it is.
    pub key: PublicKey,
    /// Where it is.
    pub address: LinkAddress,
    /// Login by which it came; `None`: by a beacon.
    pub user: Option<String>,
    /// Which handshake it uses.
    pub handshake: Handshake,
    /// For the class matrix.
    pub role: Role,
}

/// What the caller is to do, in order.
#[derive(Debug)]
pub enum Command {
    /// Give the link's owner these keys.
    Install {
        /// The link.
        vif: VifId,
        /// Of the link.
        epoch: u8,
        /// To open and send with.
        session: Box<DataSession>,
    },
    /// Let the link's owner drop keys.
    Drop {
        /// The link.
        vif: VifId,
        /// Of the link.
        epoch: u8,
        /// Which; `None`: all.
        id: Option<u32>,
    },
    /// Send a session packet as it is.
    Handshake {
        /// Vswitch of the vif.
        vswitch: VswitchId,
        /// The link.
        vif: VifId,
        /// The session packet.
        packet: Vec<u8>,
    },
    /// Send a switch packet out of a vif, sealed with what the owner has.
    Packet {
        /// Vswitch of the vif.
        vswitch: VswitchId,
        /// The link.
        vif: VifId,
        /// From the switch header on.
        packet: Vec<u8>,
    },
    /// Tell the link's owner that the peer has read all that was sent up to the last ping.
    Read {
        /// The link.
        vif: VifId,
        /// Of the link.
        epoch: u8,
    },
    /// A switch packet for the vswitch itself, which came inside a handshake.
    Deliver {
        /// Vswitch of the vif.
        vswitch: VswitchId,
        /// The link.
        vif: VifId,
        /// From the switch header on, as it arrived.
        packet: Vec<u8>,
    },
    /// Send a session packet to where a stranger's came from.
    Reply {
        /// Whose address that was.
        vswitch: VswitchId,
        /// The stranger's, and ours.
        to: LinkAddress,
        /// The session packet.
        packet: Vec<u8>,
    },
    /// Broadcast the body of a beacon.
    Beacon {
        /// Whose it is.
        vswitch: VswitchId,
        /// Where, and from which address.
        from: BeaconPort,
        /// The body.
        body: [u8; wire::beacon::BODY_LEN],
    },
    /// Somebody shall become a vif.
    Came(Newcomer),
    /// A learned vif has been silent for too long.
    Gone {
        /// The vif.
        vif: VifId,
        /// Of the link.
        epoch: u8,
    },
}

/// Somebody whose handshake was opened.
#[derive(Debug)]
struct Caller {
    address: LinkAddress,
    session: Session,
    /// What its handshake brought, for when there is a vif.
    received: Option<Received>,
    since: Nanos,
}

/// All links of a box that have keys.
#[derive(Debug)]
pub struct Links {
    nodes: BTreeMap<VswitchId, Node>,
    /// By vif.
    links: Vec<Option<Box<Link>>>,
    by_key: BTreeMap<(VswitchId, PublicKey), VifId>,
    callers: BTreeMap<(VswitchId, PublicKey), Caller>,
    admission: Admission,
    /// By vswitch: what stands before the Diffie-Hellman of Noise.
    gates: BTreeMap<VswitchId, Gate>,
    unseen_inits: Limiter,
    beacons: beacons::Beacons,
    supervision: supervision::Supervision,
    commands: Vec<Command>,
    /// New links, in the order in which they are greeted.
    new: VecDeque<(VifId, u8)>,
    /// Links that were greeted, by when they are greeted again.
    again: BTreeSet<(Nanos, VifId)>,
    /// Vswitches of which a link came up, went, or told its version.
    changed: BTreeSet<VswitchId>,
}

impl Newcomer {
    fn logged_in(
        node: &Node,
        vswitch: VswitchId,
        key: PublicKey,
        address: LinkAddress,
        user: &User,
        kind: Kind,
    ) -> Self {
        let role = node.roles.get(user.name()).copied().unwrap_or_default();
        let user = Some(user.name().to_owned());
        Self { vswitch, key, address, user, handshake: kind.into(), role }
    }
}

impl LinkConfig {
    /// What we log in with there.
    fn credential(&self) -> Option<Credential> {
        let password = self.password.as_ref()?;
        Some(Credential::new(self.login.as_ref().map(String::as_bytes), password.0.as_bytes()))
    }
}

impl Links {
    /// None yet. `seed`: unpredictable to the network.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            links: Vec::new(),
            by_key: BTreeMap::new(),
            callers: BTreeMap::new(),
            admission: Admission::new(seed),
            gates: BTreeMap::new(),
            unseen_inits: Limiter::default(),
            beacons: beacons::Beacons::default(),
            supervision: supervision::Supervision::new(seed),
            commands: Vec::new(),
            new: VecDeque::new(),
            again: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// What is to be done since it was asked last.
    pub fn commands(&mut self) -> std::vec::Drain<'_, Command> {
        self.commands.drain(..)
    }

    /// The vswitches and links that there are now. A link that is the same keeps its session; a caller that has become one
    /// is answered, and other new ones are greeted in turn by [`Self::greet`], unless they call first.
    pub fn configure(
        &mut self,
        moment: &mut Moment<'_>,
        nodes: BTreeMap<VswitchId, Node>,
        links: Vec<LinkConfig>,
        beacons: &[(VswitchId, BeaconPort)],
    ) {
        self.beacons.configure(moment.now, beacons);
        let gate = |(vswitch, node): (&VswitchId, &Node)| {
            Some((*vswitch, Gate::new(&node.identity.as_ref()?.public())))
        };
        self.gates = nodes.iter().filter_map(gate).collect();
        self.nodes = nodes;
        let mut before = std::mem::take(&mut self.links);
        self.by_key.clear();
        let room = links.iter().map(|link| link.vif.index() + 1).max().unwrap_or(0);
        self.links.resize_with(room.max(before.len()), || None);
        for config in links {
            let (vif, at) = (config.vif, config.vif.index());
            let key = (config.vswitch, config.key);
            self.by_key.insert(key, vif);
            let same = before.get_mut(at).and_then(|known| {
                known.take_if(|known| known.is_same(&config, self.nodes.get(&config.vswitch)))
            });
            if let Some(mut link) = same {
                link.config = config;
                self.links[at] = Some(link);
                continue;
            }
            let caller = self.callers.remove(&key);
            let node = self.nodes.get(&config.vswitch);
            let identity = node.and_then(|node| node.identity.clone());
            let mut link = Link::new(config, identity, moment.now);
            if let Some(caller) = caller.filter(|caller| caller.address == link.config.address) {
                link.session = Some(caller.session);
                if let Some(received) = caller.received {
                    link.take(moment, received, &mut self.supervision, &mut self.commands);
                    self.again.extend(AGAIN.map(|after| (moment.now + after, vif)));
                }
            }
            self.new.push_back((vif, link.config.epoch));
            self.links[at] = Some(Box::new(link));
        }
        for link in before.into_iter().flatten() {
            self.changed.insert(link.config.vswitch);
            let (vif, epoch) = (link.config.vif, link.config.epoch);
            // Its place may have been given to another, which is another epoch.
            self.commands.push(Command::Drop { vif, epoch, id: None });
        }
    }

    /// A handshake packet that came in on a link.
    ///
    /// # Errors
    /// The name of its drop.
    pub fn handshake(
        &mut self,
        moment: &mut Moment<'_>,
        vif: VifId,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let link = self.links.get_mut(vif.index()).and_then(Option::as_mut);
        let link = link.ok_or(DropReason::LinkGone)?;
        let node = self.nodes.get(&link.config.vswitch).ok_or(DropReason::LinkGone)?;
        if !link.may_handshake(moment.now) {
            return Err(DropReason::HandshakeLimited);
        }
        link.receive(moment, node, packet, &mut self.supervision, &mut self.commands)
    }

    /// A handshake packet from an address that no link has.
    ///
    /// # Errors
    /// The name of its drop.
    pub fn stranger(
        &mut self,
        moment: &mut Moment<'_>,
        vswitch: VswitchId,
        address: LinkAddress,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        match Kind::of(packet) {
            Kind::CryptoAuth => self.strange_hello(moment.now, vswitch, address, packet),
            Kind::Noise => self.strange_init(moment, vswitch, address, packet),
        }
    }

    fn strange_hello(
        &mut self,
        now: Nanos,
        vswitch: VswitchId,
        address: LinkAddress,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let node = self.nodes.get(&vswitch).ok_or(DropReason::Stranger)?;
        let identity = node.identity.as_ref().ok_or(DropReason::Stranger)?;
        let hello = cryptoauth::Packet::parse(packet).map_err(refused)?;
        // Nothing but hashes and look-ups so far: who has no login costs no Diffie-Hellman.
        let authorized = hello.authorize(&node.users, false).map_err(refused)?;
        let user = authorized.user().ok_or(DropReason::Handshake)?;
        let key = (vswitch, hello.sender);
        self.check_place(now, key)?;
        if !self.admission.admits(now, vswitch, user.serial(), &address) {
            return Err(DropReason::HandshakeLimited);
        }
        if let Some(caller) = self.callers.get_mut(&key).filter(|of| of.address == address) {
            let Session::CryptoAuth(handshake) = &mut caller.session else {
                return Err(DropReason::Handshake);
            };
            let received = Session::receive_hello(handshake, identity, now, &hello, &authorized)?;
            caller.received = Some(received);
            return Ok(());
        }
        let handshake = cryptoauth::Handshake::new(identity, hello.sender, None);
        let mut handshake = Box::new(handshake.map_err(refused)?);
        let received = Session::receive_hello(&mut handshake, identity, now, &hello, &authorized)?;
        let newcomer =
            Newcomer::logged_in(node, vswitch, hello.sender, address, user, Kind::CryptoAuth);
        let session = Session::CryptoAuth(handshake);
        self.take(Caller { address, session, received: Some(received), since: now }, newcomer);
        Ok(())
    }

    fn strange_init(
        &mut self,
        moment: &mut Moment<'_>,
        vswitch: VswitchId,
        address: LinkAddress,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let node = self.nodes.get(&vswitch).ok_or(DropReason::Stranger)?;
        let identity = node.identity.as_ref().ok_or(DropReason::Stranger)?;
        let noise::Message::Init(init) = noise::Message::parse(packet).map_err(refused)? else {
            return Err(DropReason::Handshake);
        };
        let gate = self.gates.get_mut(&vswitch).ok_or(DropReason::Stranger)?;
        let limit = Limit::new(UNSEEN_INITS.0, UNSEEN_INITS.1);
        let loaded = !limit.is_some_and(|limit| self.unseen_inits.conforms(limit, moment.now));
        let source = format!("{address:?}");
        let admission = gate.admit(moment.now, moment.rng, source.as_bytes(), &init, loaded);
        match admission.map_err(refused)? {
            noise::Admission::Open => {}
            noise::Admission::Reply(packet) => {
                self.commands.push(Command::Reply { vswitch, to: address, packet });
                return Err(DropReason::HandshakeLimited);
            }
        }
        // The login is inside: all who speak Noise share one bucket.
        if !self.admission.admits(moment.now, vswitch, u32::MAX, &address) {
            return Err(DropReason::HandshakeLimited);
        }
        let opened = init.open(identity).map_err(refused)?;
        let authorized = opened.authorize(&node.users, false).map_err(refused)?;
        let user = authorized.user().ok_or(DropReason::Handshake)?;
        self.check_place(moment.now, (vswitch, opened.peer))?;
        let peer = noise::Peer::new(identity, opened.peer, None, CALLING, Tai64n::default());
        let mut peer = Box::new(peer.map_err(refused)?);
        let received = Session::respond(&mut peer, moment, &opened, &authorized)?;
        let newcomer = Newcomer::logged_in(node, vswitch, opened.peer, address, user, Kind::Noise);
        let (session, since) = (Session::Noise(peer), moment.now);
        self.take(Caller { address, session, received: Some(received), since }, newcomer);
        Ok(())
    }

    /// Whether somebody who is known may come from another place: a recorded handshake must not move a neighbour that
    /// is there, nor one of whom the spec says where it is.
    fn check_place(&self, now: Nanos, key: (VswitchId, PublicKey)) -> Result<(), DropReason> {
        let known = self.by_key.get(&key).and_then(|vif| self.links.get(vif.index()));
        match known.and_then(Option::as_ref) {
            Some(link) if !link.config.learned || link.is_alive(now) => Err(DropReason::Handshake),
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps a caller until it is a vif.
    fn take(&mut self, caller: Caller, newcomer: Newcomer) {
        let now = caller.since;
        if self.callers.len() >= CALLERS_MAX {
            self.callers.retain(|_, caller| now.saturating_sub(caller.since) < CALLER_PATIENCE);
        }
        if self.callers.len() < CALLERS_MAX {
            self.callers.insert((newcomer.vswitch, newcomer.key), caller);
            self.commands.push(Command::Came(newcomer));
        }
    }

    /// The owner of a link opened the first packet with keys `id`.
    pub fn confirmed(&mut self, now: Nanos, vif: VifId, epoch: u8, id: u32) {
        if let Some(link) = self.link_mut(vif, epoch) {
            link.confirmed(now, id);
            let vswitch = link.config.vswitch;
            self.changed.insert(vswitch);
        }
    }

    /// The numbers of a link's keys run out.
    pub fn old(&mut self, moment: &mut Moment<'_>, vif: VifId, epoch: u8) {
        let link = self.links.get_mut(vif.index()).and_then(Option::as_mut);
        if let Some(link) = link.filter(|link| link.config.epoch == epoch) {
            link.renew(moment, &mut self.supervision, &mut self.commands);
        }
    }

    /// Pings a link that is up: its owner wants to know how the neighbour reads.
    pub fn probe(&mut self, moment: &mut Moment<'_>, vif: VifId) {
        let link = self.links.get_mut(vif.index()).and_then(Option::as_mut);
        if let Some(link) = link.filter(|link| link.is_alive(moment.now)) {
            link.ping(moment, &mut self.supervision, &mut self.commands);
        }
    }

    /// A pong that came in on a link. Says whether it answers a ping of this supervision.
    pub fn pong(&mut self, now: Nanos, vif: VifId, version: u32, opaque: &[u8]) -> bool {
        let link = self.links.get_mut(vif.index()).and_then(Option::as_mut);
        let Some(link) = link else { return false };
        let before = link.version();
        let is_ours = link.pong(now, &self.supervision, version, opaque);
        if link.version() != before {
            self.changed.insert(link.config.vswitch);
        }
        if is_ours {
            let epoch = link.config.epoch;
            self.commands.push(Command::Read { vif, epoch });
        }
        is_ours
    }

    /// Calls new links, at most `limit` of them: a whole box of hellos at once would cross those of its neighbours, and each
    /// crossing costs a handshake more.
    pub fn greet(&mut self, moment: &mut Moment<'_>, limit: usize) {
        let mut greeted = 0;
        while greeted < limit
            && let Some((vif, epoch)) = self.new.pop_front()
        {
            let link = self.links.get_mut(vif.index()).and_then(Option::as_mut);
            let link = link.filter(|link| link.config.epoch == epoch && link.is_untouched());
            let Some(link) = link else { continue };
            link.ping(moment, &mut self.supervision, &mut self.commands);
            self.again.extend(AGAIN.map(|after| (moment.now + after, vif)));
            greeted += 1;
        }
    }

    /// What is due: pings, hellos, beacons, what has been silent for too long. To be called every few milliseconds; each
    /// link is looked at once in a cycle of 1.024 s.
    ///
    /// `traffic`: what a vif's owner has counted.
    pub fn tick(&mut self, moment: &mut Moment<'_>, mut traffic: impl FnMut(VifId) -> Traffic) {
        let now = moment.now;
        self.send_beacons(now);
        while let Some((_, vif)) = self.again.first().copied().filter(|(at, _)| *at <= now) {
            self.again.pop_first();
            let link = self.links.get_mut(vif.index()).and_then(Option::as_mut);
            if let Some(link) = link.filter(|link| !link.is_alive(now)) {
                link.ping(moment, &mut self.supervision, &mut self.commands);
            }
        }
        let due = self.supervision.due(now, self.links.len());
        for at in due {
            let Some(link) = self.links.get_mut(at).and_then(Option::as_mut) else { continue };
            let counted = traffic(link.config.vif);
            let was_up = link.is_up;
            link.tick(moment, counted, &mut self.supervision, &mut self.commands);
            link.is_up = link.state(now).up;
            if link.is_up != was_up {
                self.changed.insert(link.config.vswitch);
            }
        }
        self.callers.retain(|_, caller| now.saturating_sub(caller.since) < CALLER_PATIENCE);
    }

    /// Vswitches of which a link came up, went, or told its version, since it was asked last.
    pub fn changed(&mut self) -> BTreeSet<VswitchId> {
        std::mem::take(&mut self.changed)
    }

    /// The state of each link of a vswitch.
    pub fn states_of(&self, now: Nanos, vswitch: VswitchId) -> impl Iterator<Item = LinkState> {
        let own = (vswitch, PublicKey([0; 32]))..=(vswitch, PublicKey([0xff; 32]));
        let links = self.by_key.range(own).filter_map(|(_, vif)| self.links.get(vif.index()));
        links.flatten().map(move |link| link.state(now))
    }

    /// Whether a session is up; `None`: there is no link with keys.
    #[must_use]
    pub fn is_up(&self, now: Nanos, vif: VifId) -> Option<bool> {
        let link = self.links.get(vif.index())?.as_ref()?;
        Some(link.state(now).up)
    }

    /// The state of each link.
    pub fn states(&self, now: Nanos) -> impl Iterator<Item = LinkState> {
        self.links.iter().flatten().map(move |link| link.state(now))
    }

    fn link_mut(&mut self, vif: VifId, epoch: u8) -> Option<&mut Link> {
        let link = self.links.get_mut(vif.index())?.as_deref_mut()?;
        (link.config.epoch == epoch).then_some(link)
    }
}
