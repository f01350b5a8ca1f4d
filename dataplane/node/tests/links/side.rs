//! One box: its links, and an owner of their data keys that opens and seals one packet at a time.

use crypt::aead::Aead;
use crypt::credential::Credentials;
use crypt::data::{Cipher, DataSession};
use crypt::identity::Identity;
use crypt::noise::Tai64n;
use crypt::test_rng::TestRng;
use dataplane_api::{
    DropReason, Handshake, LinkAddress, MacAddress, Nanos, PortId, Role, Secret, VifId, VswitchId,
};
use dataplane_node::links::{
    Command, LinkConfig, LinkState, Links, Moment, Newcomer, Node, Traffic,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wire::buf::{HeapPacket, Packet as _};
use wire::control::{self, Ping, kind};
use wire::switch::Header;
use zerocopy::FromBytes as _;
use zerocopy::network_endian::U32;

pub(crate) const LOGIN: &str = "lab-login";
pub(crate) const PASSWORD: &str = "lab-password-0123456789";

const VSWITCH: VswitchId = VswitchId(0);
const STEP: Nanos = 10_000_000;

pub(crate) struct Side {
    number: u32,
    identity: Arc<Identity>,
    links: Links,
    rng: TestRng,
    now: Nanos,
    /// Seconds that its wall clock is ahead: it goes on over restarts.
    wall: u64,
    users: Credentials,
    configs: Vec<LinkConfig>,
    keys: VecDeque<Box<DataSession>>,
    aead: Aead,
    /// Session of which [`Links::confirmed`] was said last.
    told: Option<u32>,
    opened: u64,
    sent_count: u64,
    out: Vec<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    got: Vec<Vec<u8>>,
    lose: usize,
    replies: usize,
}

/// Of a neighbour with this number, as seen from the other side.
pub(crate) fn address(number: u8) -> LinkAddress {
    LinkAddress::Ethernet {
        port: PortId(0),
        vlan: None,
        own: MacAddress([2, 0, 0, 0, 0, 0]),
        peer: MacAddress([2, 0, 0, 0, 1, number]),
    }
}

impl Side {
    pub(crate) fn new(number: u32) -> Self {
        let identity = Arc::new(Identity::generate(&mut TestRng::new(number.into())));
        let mut side = Self {
            number,
            identity,
            links: Links::new(number.into()),
            rng: TestRng::new(1_000_000 + u64::from(number)),
            now: 1_000_000_000,
            wall: 1_700_000_000,
            users: Credentials::new(),
            configs: Vec::new(),
            keys: VecDeque::new(),
            aead: Aead::detect(),
            told: None,
            opened: 0,
            sent_count: 0,
            out: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            lose: 0,
            replies: 0,
        };
        side.configure();
        side
    }

    /// The same node, which has forgotten everything but its key.
    pub(crate) fn started_anew(self) -> Self {
        let mut anew = Self::new(self.number);
        anew.rng = TestRng::new(77);
        (anew.now, anew.wall) = (self.now, self.wall + 3600);
        anew
    }

    pub(crate) fn let_in(&mut self, login: &str, password: &str) {
        self.users.insert(Some(login), password.as_bytes(), None).unwrap();
        self.configure();
    }

    pub(crate) fn dial(&mut self, other: &Self, handshake: Handshake, password: &str) {
        let node = (Some(Secret(password.into())), Some(LOGIN.to_owned()));
        self.add(other.identity.public(), handshake, node, None);
    }

    fn add(
        &mut self,
        key: wire::key::PublicKey,
        handshake: Handshake,
        (password, login): (Option<Secret>, Option<String>),
        user: Option<String>,
    ) {
        self.configs = vec![LinkConfig {
            vif: VifId(0),
            epoch: 1,
            vswitch: VSWITCH,
            label: 0x13,
            address: address(1),
            key,
            password,
            login,
            handshake,
            learned: user.is_some(),
            user,
        }];
        self.configure();
    }

    fn configure(&mut self) {
        let node = Node {
            identity: Some(Arc::clone(&self.identity)),
            users: Arc::new(self.users.clone()),
            roles: BTreeMap::from([(LOGIN.to_owned(), Role::Customer)]),
            beacon_password: None,
        };
        let (nodes, configs) = (BTreeMap::from([(VSWITCH, node)]), self.configs.clone());
        self.with(|links, moment| links.configure(moment, nodes, configs, &[]));
    }

    fn with<R>(&mut self, call: impl FnOnce(&mut Links, &mut Moment<'_>) -> R) -> R {
        let passed = self.now / 1_000_000_000;
        let nanos = u32::try_from(self.now % 1_000_000_000).unwrap();
        let wall = Tai64n::from_unix(self.wall + passed, nanos);
        let mut moment = Moment { now: self.now, wall, rng: &mut self.rng };
        call(&mut self.links, &mut moment)
    }

    /// Lets the first packets of both sides be lost.
    pub(crate) fn lose(&mut self, packets: usize) {
        self.lose = packets;
    }

    pub(crate) fn links(&self) -> usize {
        self.links.states(self.now).count()
    }

    pub(crate) fn state(&self) -> LinkState {
        self.links.states(self.now).next().unwrap()
    }

    /// All that was sent, ever.
    pub(crate) fn sent(&self) -> &[Vec<u8>] {
        &self.sent
    }

    /// Packets that came through the link and are no pings or pongs.
    pub(crate) fn got(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.got)
    }

    pub(crate) fn replies(&self) -> usize {
        self.replies
    }

    pub(crate) fn take_handshakes(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn stranger(&mut self, from: LinkAddress, packet: &[u8]) -> Result<(), DropReason> {
        let taken = self.with(|links, moment| links.stranger(moment, VSWITCH, from, packet));
        self.carry_out();
        taken
    }

    pub(crate) fn handshake(&mut self, packet: &[u8]) -> Result<(), DropReason> {
        self.with(|links, moment| links.handshake(moment, VifId(0), packet))
    }

    /// Time goes on.
    pub(crate) fn step(&mut self, by: Nanos) {
        self.now += by;
        let traffic = Traffic { opened: self.opened, sent: self.sent_count };
        self.with(|links, moment| {
            links.greet(moment, 1);
            links.tick(moment, |_| traffic);
        });
        self.carry_out();
    }

    /// Seals a packet with what the owner has. `false`: nothing to send with.
    pub(crate) fn send(&mut self, text: &[u8]) -> bool {
        // An unconfirmed session is not sent with as long as there is one before it.
        let Some(session) = self.keys.front_mut() else { return false };
        let mut packet = HeapPacket::new(text, 64, 64);
        if !session.frame(&mut packet) {
            return false;
        }
        let cipher = session.cipher();
        let job = session.seal_job(packet.bytes_mut()).unwrap();
        match cipher {
            Cipher::XSalsa => self.aead.seal_xsalsa(&mut [job]),
            Cipher::ChaCha => self.aead.seal_chacha(&mut [job]),
        }
        self.transmit(packet.bytes().to_vec());
        true
    }

    fn transmit(&mut self, packet: Vec<u8>) {
        self.sent_count += 1;
        self.sent.push(packet.clone());
        if self.lose > 0 {
            self.lose -= 1;
        } else {
            self.out.push(packet);
        }
    }

    fn carry_out(&mut self) {
        loop {
            let commands: Vec<Command> = self.links.commands().collect();
            if commands.is_empty() {
                return;
            }
            commands.into_iter().for_each(|command| self.carry_out_one(command));
        }
    }

    fn carry_out_one(&mut self, command: Command) {
        match command {
            Command::Install { session, .. } if session.is_confirmed() => {
                self.keys.push_front(session);
            }
            Command::Install { session, .. } => self.keys.push_back(session),
            Command::Drop { id, .. } => self.keys.retain(|of| id.is_some_and(|id| of.id() != id)),
            Command::Handshake { packet, .. } => self.transmit(packet),
            Command::Packet { packet, .. } => {
                self.send(&packet);
            }
            Command::Deliver { packet, .. } => self.deliver(&packet),
            Command::Came(Newcomer { key, handshake, user, .. }) => {
                self.add(key, handshake, (None, None), user);
            }
            Command::Gone { .. } => {
                self.configs.clear();
                self.configure();
            }
            Command::Reply { .. } => self.replies += 1,
            Command::Read { .. } | Command::Beacon { .. } => {}
        }
    }

    /// A session packet from the other side.
    pub(crate) fn receive(&mut self, packet: &[u8]) {
        let word = u32::from_be_bytes(*packet.first_chunk().unwrap());
        if matches!(word, 0..=3 | u32::MAX) {
            if self.handshake(packet).is_err() {
                let _refused = self.stranger(address(1), packet);
            }
            return self.carry_out();
        }
        for at in 0..self.keys.len() {
            let mut frame = HeapPacket::new(packet, 0, 0);
            let session = &mut self.keys[at];
            let Some(number) = session.number_of(frame.bytes()) else { continue };
            let cipher = session.cipher();
            let Some(job) = session.open_job(frame.bytes_mut()) else { continue };
            let authentic = match cipher {
                Cipher::XSalsa => self.aead.open_xsalsa(&mut [job]),
                Cipher::ChaCha => self.aead.open_chacha(&mut [job]),
            };
            if authentic == 0 || session.accept(number).is_none() {
                continue;
            }
            session.strip(&mut frame);
            self.opened += 1;
            let id = session.id();
            // The peer has it: it is sent with from now on.
            if let Some(session) = self.keys.remove(at) {
                self.keys.push_front(session);
            }
            // Said once of each session.
            if self.told.replace(id) != Some(id) {
                self.links.confirmed(self.now, VifId(0), 1, id);
            }
            if !frame.is_empty() {
                self.deliver(frame.bytes());
            }
            return;
        }
    }

    /// A packet for the vswitch itself: pings are answered, pongs are the links'.
    fn deliver(&mut self, packet: &[u8]) {
        let message = Header::split(packet).and_then(|(_, payload)| control::parse(payload).ok());
        let ping = message.and_then(|message| {
            let (ping, opaque) = Ping::ref_from_prefix(message.body).ok()?;
            Some((message.kind, ping.version.get(), opaque.to_vec()))
        });
        match ping {
            Some((kind::PING, _, opaque)) => {
                let head = Ping {
                    magic: U32::new(control::magic::PONG),
                    version: U32::new(control::PROTOCOL_VERSION),
                };
                let pong = control::packet(Header::new(1, 0), kind::PONG, &head, &opaque);
                self.send(&pong);
            }
            Some((kind::PONG, version, opaque)) => {
                self.links.pong(self.now, VifId(0), version, &opaque);
            }
            Some(_) | None => self.got.push(packet.to_vec()),
        }
    }
}

/// Lets time pass for both, and carries what each sends to the other.
pub(crate) fn exchange(west: &mut Side, east: &mut Side, time: Nanos) {
    for _ in 0..time / STEP {
        west.step(STEP);
        east.step(STEP);
        for _ in 0..8 {
            let (to_east, to_west) = (west.take_handshakes(), east.take_handshakes());
            if to_east.is_empty() && to_west.is_empty() {
                break;
            }
            to_east.iter().for_each(|packet| east.receive(packet));
            to_west.iter().for_each(|packet| west.receive(packet));
        }
    }
}
