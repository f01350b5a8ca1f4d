//! One link: its session, and whether anybody is there.

use super::session::{Due, Out, Received, Session};
use super::supervision::{FORGOTTEN, LAZY, SLOW_CYCLE, Supervision, UNRESPONSIVE};
use super::{Command, Kind, LinkConfig, Moment, Node};
use crypt::credential::Credential;
use crypt::data::DataSession;
use crypt::identity::Identity;
use dataplane_api::limiter::{Limit, Limiter};
use dataplane_api::{DropReason, Nanos, VifId};
use std::sync::Arc;
use wire::control::PROTOCOL_VERSION_MIN;
use wire::key::PublicKey;
use wire::switch;

/// Handshake packets of one link that are opened each second: a stock node sends two when it pings at its fastest.
const HANDSHAKES_PER_SECOND: u32 = 10;
/// The same at once.
const HANDSHAKE_BURST: u32 = 20;

/// A link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) config: LinkConfig,
    /// `None`: nothing was sent or received yet, or the vswitch's key is not here. It costs a Diffie-Hellman, which those
    /// of a whole box would pay at once.
    pub(super) session: Option<Session>,
    identity: Option<Arc<Identity>>,
    limiter: Limiter,
    /// Protocol version of the peer; 0: not known yet.
    version: u32,
    rtt: Option<Nanos>,
    /// When an authentic packet came last; at first, when the link began.
    heard: Nanos,
    /// Whether one came at all.
    met: bool,
    /// What the owner had counted when it was last asked; `None`: it was not.
    traffic: Option<Traffic>,
    /// When the last ping was sent, whatever became of it.
    pinged: Option<Nanos>,
    /// Of the keys that a packet of the peer was opened with.
    current: Option<u32>,
    sessions: u64,
    /// As it was in the last cycle.
    pub(super) is_up: bool,
}

/// What the owner of a link has counted, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Authentic packets received.
    pub opened: u64,
    /// Packets sent.
    pub sent: u64,
}

/// What is observed of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Its vif.
    pub vif: VifId,
    /// Key of the node behind it.
    pub key: PublicKey,
    /// Login by which it came.
    pub user: Option<String>,
    /// It came by itself.
    pub learned: bool,
    /// Which handshake it has; `None`: none, the vswitch's key is not here.
    pub kind: Option<Kind>,
    /// As cjdroute names it. Source: CJDNS-INTEROP.md §4.2.
    pub state: &'static str,
    /// A packet of the peer was opened, and it is not silent.
    pub up: bool,
    /// Protocol version of the peer; 0: not known yet.
    pub version: u32,
    /// Round trip of the last ping that was answered.
    pub rtt: Option<Nanos>,
    /// Since an authentic packet came.
    pub silent: Option<Nanos>,
    /// Sessions that came up.
    pub sessions: u64,
}

impl Link {
    pub(super) fn new(config: LinkConfig, identity: Option<Arc<Identity>>, now: Nanos) -> Self {
        Self {
            config,
            session: None,
            identity,
            limiter: Limiter::default(),
            version: 0,
            rtt: None,
            heard: now,
            met: false,
            traffic: None,
            pinged: None,
            current: None,
            sessions: 0,
            is_up: false,
        }
    }

    /// Its session, made when it is wanted first.
    fn session(&mut self) -> Option<(&mut Session, &Identity)> {
        let identity = self.identity.as_deref()?;
        if self.session.is_none() {
            self.session = self.new_session(identity, self.config.handshake.into());
        }
        Some((self.session.as_mut()?, identity))
    }

    fn kind(&self) -> Kind {
        self.session.as_ref().map_or_else(|| self.config.handshake.into(), Session::kind)
    }

    fn new_session(&self, identity: &Identity, kind: Kind) -> Option<Session> {
        // Noise's numbers of sessions start at 1: 0 looks like a handshake of CryptoAuth.
        let number = self.config.vif.0 + 1;
        Session::new(kind, identity, self.config.key, self.config.credential(), number)
    }

    /// The peer's protocol version; 0: not known yet.
    pub(super) fn version(&self) -> u32 {
        let told = self.session.as_ref().and_then(Session::version);
        if self.version != 0 { self.version } else { told.unwrap_or(0) }
    }

    /// Whether a link of the new rules is this one still.
    pub(super) fn is_same(&mut self, config: &LinkConfig, node: Option<&Node>) -> bool {
        let identity = node.and_then(|node| node.identity.as_ref());
        let same = self.config.epoch == config.epoch
            && self.config.key == config.key
            && self.config.address == config.address
            && identity.map(|of| of.public()) == self.identity.as_ref().map(|of| of.public());
        let login = (&config.password, &config.login);
        // One that was met by a beacon has its password from there.
        if same
            && !config.learned
            && login != (&self.config.password, &self.config.login)
            && let Some(session) = &mut self.session
        {
            session.log_in_with(config.credential());
        }
        same
    }

    pub(super) fn log_in_with(&mut self, credential: Credential) {
        if let Some((session, _)) = self.session() {
            session.log_in_with(Some(credential));
        }
    }

    /// Whether nothing was sent or received yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.pinged.is_none() && self.session.as_ref().is_none_or(Session::is_untouched)
    }

    /// Whether the peer is there: it said something not long ago.
    pub(super) fn is_alive(&self, now: Nanos) -> bool {
        self.met && now.saturating_sub(self.heard) < UNRESPONSIVE
    }

    /// Whether the peer may have another handshake packet opened.
    pub(super) fn may_handshake(&mut self, now: Nanos) -> bool {
        let limit = Limit::new(HANDSHAKES_PER_SECOND, HANDSHAKE_BURST);
        limit.is_some_and(|limit| self.limiter.conforms(limit, now))
    }

    /// Opens a handshake packet.
    ///
    /// A link keeps its kind of session for as long as somebody is there; a peer that comes back as another kind is
    /// taken once its handshake proves that it is the peer. Source: CJDNS-INTEROP.md §2.5.
    pub(super) fn receive(
        &mut self,
        moment: &mut Moment<'_>,
        node: &Node,
        packet: &[u8],
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) -> Result<(), DropReason> {
        let identity = self.identity.clone().ok_or(DropReason::Handshake)?;
        let kind = Kind::of(packet);
        let (session, _) = self.session().ok_or(DropReason::Handshake)?;
        let received = if session.kind() == kind {
            session.receive(node, &identity, moment, packet)?
        } else if self.is_alive(moment.now) {
            return Err(DropReason::Handshake);
        } else {
            let mut other = self.new_session(&identity, kind).ok_or(DropReason::Handshake)?;
            let received = other.receive(node, &identity, moment, packet)?;
            self.session = Some(other);
            self.current = None;
            let (vif, epoch) = (self.config.vif, self.config.epoch);
            commands.push(Command::Drop { vif, epoch, id: None });
            received
        };
        self.take(moment, received, supervision, commands);
        Ok(())
    }

    /// Does what a handshake packet asks for.
    pub(super) fn take(
        &mut self,
        moment: &mut Moment<'_>,
        received: Received,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        let Received { payload, keys, packet, answer } = received;
        let may_send = keys.as_ref().is_some_and(|keys| keys.is_confirmed());
        self.install(keys, commands);
        if let Some(packet) = packet {
            let (vswitch, vif) = (self.config.vswitch, self.config.vif);
            commands.push(Command::Handshake { vswitch, vif, packet });
        }
        self.deliver(payload, commands);
        if answer {
            let ping = supervision.ping(moment.now, &self.config);
            let out = self.session.as_mut().and_then(|session| session.answer(moment, &ping));
            if let Some(out) = out {
                self.pinged = Some(moment.now);
                self.send(out, ping, commands);
            }
        } else if may_send {
            // The peer waits for data, by which it knows that we have its key.
            self.ping(moment, supervision, commands);
        }
    }

    /// Source: CJDNS-WIRE.md §2.2.8: of what comes in a handshake only what is for the node itself is looked at.
    fn deliver(&self, payload: Vec<u8>, commands: &mut Vec<Command>) {
        const LABEL_END: usize = 7;
        if payload.len() >= switch::HEADER_LEN && payload.get(LABEL_END) == Some(&1) {
            let (vswitch, vif) = (self.config.vswitch, self.config.vif);
            commands.push(Command::Deliver { vswitch, vif, packet: payload });
        }
    }

    fn install(&self, keys: Option<Box<DataSession>>, commands: &mut Vec<Command>) {
        let (vif, epoch) = (self.config.vif, self.config.epoch);
        commands.extend(keys.map(|session| Command::Install { vif, epoch, session }));
    }

    fn send(&self, out: Out, payload: Vec<u8>, commands: &mut Vec<Command>) {
        let (vswitch, vif) = (self.config.vswitch, self.config.vif);
        match out {
            Out::Handshake { packet, keys } => {
                self.install(keys, commands);
                commands.push(Command::Handshake { vswitch, vif, packet });
            }
            Out::Data => commands.push(Command::Packet { vswitch, vif, packet: payload }),
            Out::Wait => {}
        }
    }

    /// Sends a ping in whatever way it can go: that is what starts a handshake, and what shows that it is done.
    pub(super) fn ping(
        &mut self,
        moment: &mut Moment<'_>,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        let ping = supervision.ping(moment.now, &self.config);
        if let Some((session, identity)) = self.session() {
            let out = session.send(identity, moment, &ping);
            self.pinged = Some(moment.now);
            self.send(out, ping, commands);
        }
    }

    pub(super) fn confirmed(&mut self, now: Nanos, id: u32) {
        if let Some(session) = &mut self.session {
            session.opened(id, now);
        }
        self.current = Some(id);
        self.sessions += 1;
        self.met = true;
        self.heard = now;
    }

    pub(super) fn renew(
        &mut self,
        moment: &mut Moment<'_>,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        if let Some(session) = &mut self.session {
            session.renew();
            self.ping(moment, supervision, commands);
        }
    }

    pub(super) fn pong(
        &mut self,
        now: Nanos,
        supervision: &Supervision,
        version: u32,
        opaque: &[u8],
    ) -> bool {
        let Some(sent) = supervision.sent(&self.config, opaque) else { return false };
        self.version = version;
        self.rtt = Some(now.saturating_sub(sent));
        true
    }

    /// Once a cycle. `traffic`: what the owner has counted.
    pub(super) fn tick(
        &mut self,
        moment: &mut Moment<'_>,
        traffic: Traffic,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        let now = moment.now;
        let before = self.traffic.replace(traffic).unwrap_or(traffic);
        if traffic.opened != before.opened {
            self.heard = now;
            self.met = true;
        }
        let (vswitch, vif, epoch) = (self.config.vswitch, self.config.vif, self.config.epoch);
        if let (Some(session), Some(identity)) = (&mut self.session, &self.identity) {
            if traffic.sent != before.sent {
                session.sent(now);
            }
            if let Some(id) = self.current.filter(|_| traffic.opened != before.opened) {
                session.opened(id, now);
            }
            for due in session.poll(identity, moment) {
                match due {
                    Due::Drop(id) => {
                        self.current.take_if(|current| *current == id);
                        commands.push(Command::Drop { vif, epoch, id: Some(id) });
                    }
                    Due::Handshake(packet) => {
                        commands.push(Command::Handshake { vswitch, vif, packet });
                    }
                    Due::KeepAlive => {
                        commands.push(Command::Packet { vswitch, vif, packet: Vec::new() });
                    }
                }
            }
        }
        let silent = now.saturating_sub(self.heard);
        if self.config.learned && silent >= FORGOTTEN {
            commands.push(Command::Gone { vif, epoch });
            return;
        }
        // A peer that is gone is asked seldom.
        let interval = if silent >= UNRESPONSIVE && self.met { SLOW_CYCLE } else { LAZY };
        let pinged = self.pinged.map_or(Nanos::MAX, |pinged| now.saturating_sub(pinged));
        let asks = silent >= LAZY && pinged >= interval || self.version() == 0 && pinged >= LAZY;
        // Who was not greeted yet has a turn of its own.
        if asks && !self.is_untouched() {
            self.ping(moment, supervision, commands);
        }
    }

    pub(super) fn state(&self, now: Nanos) -> LinkState {
        let silent = self.met.then(|| now.saturating_sub(self.heard));
        let incompatible = (1..PROTOCOL_VERSION_MIN).contains(&self.version());
        let state = match &self.session {
            None if self.identity.is_some() => "INIT",
            None => "NO_KEY",
            Some(_) if incompatible => "INCOMPATIBLE",
            Some(_) if silent.is_some_and(|silent| silent >= UNRESPONSIVE) => "UNRESPONSIVE",
            Some(session) => session.state(),
        };
        LinkState {
            vif: self.config.vif,
            key: self.config.key,
            user: self.config.user.clone(),
            learned: self.config.learned,
            kind: self.identity.as_ref().map(|_| self.kind()),
            state,
            up: state == "ESTABLISHED",
            version: self.version(),
            rtt: self.rtt,
            silent,
            sessions: self.sessions,
        }
    }
}
