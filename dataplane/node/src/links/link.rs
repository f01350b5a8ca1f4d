//! One link: its session, and whether anybody is there.

use super::session::{Out, Received, Session};
use super::supervision::{FORGOTTEN, LAZY, SLOW_CYCLE, Supervision, UNRESPONSIVE};
use super::{Command, Kind, LinkConfig, Node};
use crypt::credential::Credential;
use crypt::cryptoauth::{Packet, State};
use crypt::data::DataSession;
use crypt::identity::Identity;
use dataplane_api::limiter::{Limit, Limiter};
use dataplane_api::{DropReason, Nanos, VifId};
use rand_core::CryptoRng;
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
    /// `None`: the vswitch's key is not here.
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
    /// Packets that the owner had opened when it was last asked; `None`: it was not.
    opened: Option<u64>,
    /// When the last ping was sent, whatever became of it.
    pinged: Option<Nanos>,
    /// Of the keys that a packet of the peer was opened with.
    current: Option<u32>,
    sessions: u64,
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
        let session = identity
            .as_ref()
            .and_then(|identity| Session::calling(identity, config.key, config.credential()).ok());
        Self {
            config,
            session,
            identity,
            limiter: Limiter::default(),
            version: 0,
            rtt: None,
            heard: now,
            met: false,
            opened: None,
            pinged: None,
            current: None,
            sessions: 0,
        }
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
        if let Some(session) = &mut self.session {
            session.log_in_with(Some(credential));
        }
    }

    /// Whether the peer is there: it said something not long ago.
    pub(super) fn is_alive(&self, now: Nanos) -> bool {
        self.met && now.saturating_sub(self.heard) < UNRESPONSIVE
    }

    /// Calls the peer, or answers it where it called first.
    pub(super) fn greet(
        &mut self,
        now: Nanos,
        rng: &mut dyn CryptoRng,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        self.ping(now, rng, supervision, commands);
    }

    /// Whether the peer may have another handshake packet opened.
    pub(super) fn may_handshake(&mut self, now: Nanos) -> bool {
        let limit = Limit::new(HANDSHAKES_PER_SECOND, HANDSHAKE_BURST);
        limit.is_some_and(|limit| self.limiter.conforms(limit, now))
    }

    pub(super) fn receive(
        &mut self,
        now: Nanos,
        rng: &mut dyn CryptoRng,
        node: &Node,
        packet: &[u8],
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) -> Result<(), DropReason> {
        let identity = self.identity.clone().ok_or(DropReason::Handshake)?;
        let session = self.session.as_mut().ok_or(DropReason::Handshake)?;
        let packet = Packet::parse(packet).map_err(|_refusal| DropReason::Handshake)?;
        let authorized = packet.authorize(&node.users, true);
        let authorized = authorized.map_err(|_refusal| DropReason::Handshake)?;
        let received = session
            .receive(&identity, now, &packet, &authorized)
            .map_err(|_refusal| DropReason::Handshake)?;
        let Received { payload, keys, answer } = received;
        let has_keys = keys.is_some();
        self.install(keys, commands);
        self.deliver(payload, commands);
        if answer {
            let ping = supervision.ping(now, &self.config);
            let out = self.session.as_mut().and_then(|session| session.answer(rng, &ping));
            if let Some(out) = out {
                self.pinged = Some(now);
                self.send(out, ping, commands);
            }
        } else if has_keys {
            // The peer waits for data, by which it knows that we have its key.
            self.ping(now, rng, supervision, commands);
        }
        Ok(())
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
        }
    }

    /// Sends a ping in whatever way it can go: that is what starts a handshake, and what shows that it is done.
    fn ping(
        &mut self,
        now: Nanos,
        rng: &mut dyn CryptoRng,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        let ping = supervision.ping(now, &self.config);
        if let Some(session) = &mut self.session {
            let out = session.send(now, rng, &ping);
            self.pinged = Some(now);
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
        now: Nanos,
        rng: &mut dyn CryptoRng,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        if let Some(session) = &mut self.session {
            session.renew();
            self.ping(now, rng, supervision, commands);
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

    /// Once a cycle. `opened`: packets that the owner has opened, ever.
    pub(super) fn tick(
        &mut self,
        now: Nanos,
        rng: &mut dyn CryptoRng,
        opened: u64,
        supervision: &mut Supervision,
        commands: &mut Vec<Command>,
    ) {
        if self.opened.replace(opened).is_some_and(|before| before != opened) {
            self.heard = now;
            self.met = true;
            if let (Some(session), Some(id)) = (&mut self.session, self.current) {
                session.opened(id, now);
            }
        }
        let (vif, epoch) = (self.config.vif, self.config.epoch);
        let dropped = self.session.as_mut().map(|session| session.poll(now));
        for id in dropped.into_iter().flatten() {
            self.current.take_if(|current| *current == id);
            commands.push(Command::Drop { vif, epoch, id: Some(id) });
        }
        let silent = now.saturating_sub(self.heard);
        if self.config.learned && silent >= FORGOTTEN {
            commands.push(Command::Gone { vif, epoch });
            return;
        }
        // A peer that is gone is asked seldom.
        let interval = if silent >= UNRESPONSIVE && self.met { SLOW_CYCLE } else { LAZY };
        let pinged = self.pinged.map_or(Nanos::MAX, |pinged| now.saturating_sub(pinged));
        if silent >= LAZY && pinged >= interval || self.version == 0 && pinged >= LAZY {
            self.ping(now, rng, supervision, commands);
        }
    }

    pub(super) fn state(&self, now: Nanos) -> LinkState {
        let silent = self.met.then(|| now.saturating_sub(self.heard));
        let incompatible = self.version != 0 && self.version < PROTOCOL_VERSION_MIN;
        let state = match &self.session {
            None => "NO_KEY",
            Some(_) if incompatible => "INCOMPATIBLE",
            Some(_) if silent.is_some_and(|silent| silent >= UNRESPONSIVE) => "UNRESPONSIVE",
            Some(session) => match session.state() {
                State::Init => "INIT",
                State::SentHello => "SENT_HELLO",
                State::ReceivedHello => "RECEIVED_HELLO",
                State::SentKey => "SENT_KEY",
                State::ReceivedKey => "RECEIVED_KEY",
                State::Established => "ESTABLISHED",
            },
        };
        LinkState {
            vif: self.config.vif,
            key: self.config.key,
            user: self.config.user.clone(),
            learned: self.config.learned,
            kind: self.session.as_ref().map(Session::kind),
            state,
            up: state == "ESTABLISHED",
            version: self.version,
            rtt: self.rtt,
            silent,
            sessions: self.sessions,
        }
    }
}
