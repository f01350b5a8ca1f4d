//! The pipeline with keys on all links: opened, switched, sealed; and the ciphers alone over the same packets.

use super::FRAMES;
use super::flood::{self, Flood, Flow};
use super::pipeline::Pipeline;
use crate::frames::STRIDE_COLOURED;
use crate::report::Measurement;
use crate::rounds::{Random, median_slice};
use crate::switch::{header, twin};
use crate::tenants::{Place, TenantBox, VIFS};
use crypt::aead::{Aead, JOBS_MAX, Job};
use crypt::data::{Cipher, DataKeys, DataSession, Framing};
use dataplane_api::VswitchId;
use engine::{SessionChange, SessionChangeKind};
use io::{Frame, IoError};
use wire::buf::Packet;
use wire::ethernet;

/// What cjdroute takes for a packet of 64 bytes on such a machine: opened, switched and sealed, ns.
const CJDROUTE_NS: f64 = 6500.0;
/// How many times less it must be here.
const COST_RATIO_MIN: f64 = 30.0;
/// Slices of a round.
const SLICES: usize = 250;
/// Where a packet begins in its frame when the ciphers get it alone; as in the crypto bench.
const OFFSET: usize = 256 + 24;
/// Headers of an Ethernet link.
const HEADERS_LEN: usize = 20;

/// One cipher, one length of packets, one box.
pub(super) struct Sealed<'a> {
    name: String,
    at: &'a TenantBox,
    path: Pipeline,
    /// The neighbours' ends, by vswitch and place.
    neighbours: Vec<DataSession>,
    cipher: Cipher,
    /// Of a switch packet.
    len: usize,
    aead: Aead,
    random: Random,
    /// By frame: the packet that is to leave, and by which link.
    due: Vec<(Place, [u8; 12])>,
    alone: Alone,
    /// Frames looked at, and those that were wrong.
    pub(super) seen: (usize, usize),
    rounds: Vec<f64>,
    alone_rounds: Vec<f64>,
    pub(super) flood: Flood,
}

/// The same packets, sealed with the same keys, for the ciphers alone.
struct Alone {
    jobs: Vec<Job<'static>>,
    /// What each of them is sealed with again.
    egress: Vec<(&'static [u8; 32], u64)>,
    keys: &'static [[[u8; 32]; 2]],
    aead: Aead,
    opened: u32,
}

impl<'a> Sealed<'a> {
    /// Both ciphers, short and long, and short on all the links of a full box.
    pub(super) fn all(one: &'a TenantBox, all: &'a TenantBox) -> Result<Vec<Self>, IoError> {
        Ok(vec![
            Self::new("cryptoauth_64", one, Cipher::XSalsa, 64)?,
            Self::new("cryptoauth_1420", one, Cipher::XSalsa, 1420)?,
            Self::new("noise_64", one, Cipher::ChaCha, 64)?,
            Self::new("noise_1420", one, Cipher::ChaCha, 1420)?,
            Self::new("cryptoauth_64_64k_links", all, Cipher::XSalsa, 64)?,
        ])
    }

    fn new(name: &str, at: &'a TenantBox, cipher: Cipher, len: usize) -> Result<Self, IoError> {
        let mut path = Pipeline::new(FRAMES)?;
        let mut random = Random::new(64);
        let mut key = || -> [u8; 32] {
            let words: [[u8; 8]; 4] = std::array::from_fn(|_| random.draw().to_le_bytes());
            *words.as_flattened().first_chunk().unwrap_or(&[0; 32])
        };
        let (mut neighbours, mut keys) = (Vec::new(), Vec::new());
        for place in places(at) {
            let (to_box, from_box) = (key(), key());
            let from_box = if cipher == Cipher::XSalsa { to_box } else { from_box };
            let (own_index, peer_index) = (0x2000_0000 | slot(place), 0x3000_0000 | slot(place));
            let (ours, theirs) = match cipher {
                Cipher::XSalsa => (
                    Framing::CryptoAuth { initiator: true },
                    Framing::CryptoAuth { initiator: false },
                ),
                Cipher::ChaCha => (
                    Framing::Noise { own_index, peer_index },
                    Framing::Noise { own_index: peer_index, peer_index: own_index },
                ),
            };
            let session = |framing, send, receive| {
                let (first_nonce, confirmed) = (4, true);
                DataSession::new(DataKeys { framing, send, receive, first_nonce, confirmed }, 1)
            };
            neighbours.push(session(theirs, to_box, from_box));
            let kind = SessionChangeKind::Install(Box::new(session(ours, from_box, to_box)));
            let vif = at.rules.vif_numbered(VswitchId(place.vswitch), place.number());
            if let Some(vif) = vif {
                let change = SessionChange { vif: vif.id, epoch: vif.epoch, kind };
                path.engine.change_session(&at.rules, change, &mut path.out);
            }
            keys.push([to_box, from_box]);
        }
        Ok(Self {
            name: name.to_owned(),
            at,
            path,
            neighbours,
            cipher,
            len,
            aead: Aead::detect(),
            random: Random::new(7),
            due: Vec::new(),
            alone: Alone::new(keys.leak(), len + crypt::aead::TAG_LEN),
            seen: (0, 0),
            rounds: Vec::new(),
            alone_rounds: Vec::new(),
            flood: Flood::default(),
        })
    }

    /// The first of [`Self::all`] with as many frames of a flood beside its packets.
    pub(super) fn flooded(at: &'a TenantBox) -> Result<Self, IoError> {
        let mut case = Self::new("cryptoauth_64_flooded", at, Cipher::XSalsa, 64)?;
        case.path.free.extend(Pipeline::new(FRAMES)?.free);
        Ok(case)
    }

    /// One round of it: hellos for somebody who listens, and for nobody.
    pub(super) fn flooded_round(&mut self) {
        for flow in [Flow::ForNobody, Flow::ForListeners] {
            self.flood.flow = Some(flow);
            let value = median_slice(self, SLICES, 512, Self::prepare, Self::forward);
            self.flood.rounds_of(flow).push(value);
        }
    }

    /// One round of both.
    pub(super) fn round(&mut self) {
        let value = median_slice(self, SLICES, 512, Self::prepare, Self::forward);
        self.rounds.push(value);
        let cipher = self.cipher;
        let value = median_slice(self, SLICES, 512, Self::prepare_alone, |case| {
            case.alone.run(cipher);
        });
        self.alone_rounds.push(value);
        let expected = u32::try_from(FRAMES).unwrap_or(0);
        self.seen.0 += FRAMES;
        self.seen.1 += usize::from(self.alone.opened != expected) * FRAMES;
    }

    fn forward(&mut self) {
        self.path.now += flood::SLICE_NS;
        self.path.forward(&self.at.rules);
    }

    /// Looks at what was sent and fills the ports anew, with other links and labels.
    fn prepare(&mut self) {
        self.look();
        let mut frames = self.fill();
        for (from, frame) in frames.drain(..) {
            let rx = &mut self.path.rx[usize::from(from.port())];
            rx.push(frame);
            if let Some(flow) = self.flood.flow
                && let Some(mut frame) = self.path.free.pop()
            {
                let _fits = frame.fill(&flood::hello(&mut self.random, from, flow));
                rx.push(frame);
            }
        }
    }

    /// All frames, as the neighbours send them.
    fn fill(&mut self) -> Vec<(Place, Frame<'static>)> {
        let mut filled = Vec::with_capacity(FRAMES);
        for index in 0..FRAMES {
            let Some(mut frame) = self.path.free.pop() else { break };
            let vswitch = u16::try_from(self.random.below(self.at.vswitches)).unwrap_or(0);
            let mut vif = || u8::try_from(self.random.below(VIFS)).unwrap_or(0);
            let (from, to) = (Place { vswitch, vif: vif() }, Place { vswitch, vif: vif() });
            let label = self.at.label(from, to, self.random.draw());
            let mut packet = header(label).to_vec();
            packet.extend(u32::try_from(index).unwrap_or(0).to_be_bytes());
            packet.resize(self.len, 0x5a);
            // A packet of this length, and its frame, fit any chunk.
            let _fits = frame.fill(&packet);
            if let Some(session) = self.neighbours.get_mut(index_of(from)) {
                let _framed = session.frame(&mut frame);
            }
            let (_, after) = twin(&self.at.scheme, from.number(), label);
            self.due.push((to, after));
            filled.push((from, frame));
        }
        for burst in filled.chunks_mut(JOBS_MAX) {
            let jobs = burst.iter_mut().filter_map(|(from, frame)| {
                self.neighbours.get(index_of(*from))?.seal_job(frame.bytes_mut())
            });
            let mut jobs: Vec<Job<'_>> = jobs.collect();
            match self.cipher {
                Cipher::XSalsa => self.aead.seal_xsalsa(&mut jobs),
                Cipher::ChaCha => self.aead.seal_chacha(&mut jobs),
            }
        }
        for (from, frame) in &mut filled {
            let interface = wire::eth_interface::header(frame.len()).unwrap_or_default();
            let _room = frame.prepend(HEADERS_LEN);
            let header = ethernet::Header {
                destination: from.own(),
                source: from.peer(),
                vlan: None,
                ethertype: ethernet::ETHERTYPE_CJDNS,
            };
            let (ethernet, rest) = frame.bytes_mut().split_at_mut(header.len());
            let _written = header.write(ethernet);
            rest[..interface.len()].copy_from_slice(&interface);
        }
        filled
    }

    /// Whether each packet came out of its link, and opens there.
    fn look(&mut self) {
        let mut sent: Vec<(Place, Frame<'static>)> = Vec::with_capacity(FRAMES);
        for mut frame in self.path.tx.iter_mut().flat_map(|tx| tx.drain(..)) {
            let destination: [u8; 6] = frame.bytes().first_chunk().copied().unwrap_or_default();
            let [_, _, high, low, _, vif] = destination;
            frame.trim_front(HEADERS_LEN);
            sent.push((Place { vswitch: u16::from_be_bytes([high, low]), vif }, frame));
        }
        let mut right = 0;
        for burst in sent.chunks_mut(JOBS_MAX) {
            let jobs = burst.iter_mut().filter_map(|(to, frame)| {
                self.neighbours.get(index_of(*to))?.open_job(frame.bytes_mut())
            });
            let mut jobs: Vec<Job<'_>> = jobs.collect();
            let opened = match self.cipher {
                Cipher::XSalsa => self.aead.open_xsalsa(&mut jobs),
                Cipher::ChaCha => self.aead.open_chacha(&mut jobs),
            };
            // One that is not authentic spoils its burst.
            if opened.count_ones() as usize == burst.len() {
                right += burst.iter_mut().filter_map(|(to, frame)| self.is_due(*to, frame)).count();
            }
        }
        self.path.free.extend(sent.into_iter().map(|(_, frame)| frame));
        self.seen.0 += self.due.len();
        self.seen.1 += self.due.len() - right;
        self.due.clear();
    }

    /// Whether an opened packet is one that is to leave there.
    fn is_due(&self, to: Place, frame: &mut Frame<'static>) -> Option<()> {
        self.neighbours.get(index_of(to))?.strip(frame);
        let index = u32::from_be_bytes(*frame.bytes().get(12..16)?.first_chunk()?);
        let (place, header) = self.due.get(index as usize)?;
        let right = *place == to && frame.len() == self.len && frame.bytes().starts_with(header);
        right.then_some(())
    }

    fn prepare_alone(&mut self) {
        self.look();
        let filled = self.fill();
        for (at, ((from, frame), (to, _))) in filled.into_iter().zip(&self.due).enumerate() {
            let packet = frame.bytes().get(HEADERS_LEN..).unwrap_or_default();
            self.alone.put(at, self.cipher, (index_of(from), index_of(*to)), packet);
            self.path.free.push(frame);
        }
        self.due.clear();
        self.alone.opened = 0;
    }
}

impl Alone {
    fn new(keys: &'static [[[u8; 32]; 2]], sealed_len: usize) -> Self {
        let memory = vec![0; (FRAMES + 1) * STRIDE_COLOURED].leak();
        let start = memory.as_ptr().align_offset(64);
        let frames = memory.get_mut(start..).unwrap_or_default().chunks_exact_mut(STRIDE_COLOURED);
        let packets =
            frames.filter_map(|frame| frame.get_mut(OFFSET..OFFSET + sealed_len)).take(FRAMES);
        let jobs = packets.map(|packet| Job { key: &keys[0][0], nonce: 0, packet }).collect();
        let egress = vec![(&keys[0][1], 0); FRAMES];
        Self { jobs, egress, keys, aead: Aead::detect(), opened: 0 }
    }

    /// A session packet, as job `at`.
    fn put(&mut self, at: usize, cipher: Cipher, (from, to): (usize, usize), packet: &[u8]) {
        let (Some(job), Some(egress)) = (self.jobs.get_mut(at), self.egress.get_mut(at)) else {
            return;
        };
        let word = |at: usize| -> [u8; 4] {
            packet.get(at..at + 4).and_then(|word| word.first_chunk()).copied().unwrap_or_default()
        };
        let (nonce, start) = match cipher {
            // The neighbours are responders.
            Cipher::XSalsa => (u32::from_be_bytes(word(0)), 4),
            Cipher::ChaCha => (u32::from_le_bytes(word(4)), 8),
        };
        (job.key, job.nonce) = (&self.keys[from][0], nonce.into());
        job.packet.copy_from_slice(packet.get(start..).unwrap_or_default());
        *egress = (&self.keys[to][1], u64::from(nonce) + 1);
    }

    fn run(&mut self, cipher: Cipher) {
        let mut egress = self.egress.iter();
        for burst in self.jobs.chunks_mut(JOBS_MAX) {
            let opened = match cipher {
                Cipher::XSalsa => self.aead.open_xsalsa(burst),
                Cipher::ChaCha => self.aead.open_chacha(burst),
            };
            self.opened += opened.count_ones();
            for (job, (key, nonce)) in burst.iter_mut().zip(&mut egress) {
                (job.key, job.nonce) = (key, *nonce);
            }
            match cipher {
                Cipher::XSalsa => self.aead.seal_xsalsa(burst),
                Cipher::ChaCha => self.aead.seal_chacha(burst),
            }
        }
    }
}

fn places(at: &TenantBox) -> impl Iterator<Item = Place> + use<> {
    let vswitches = u16::try_from(at.vswitches).unwrap_or(u16::MAX);
    (0..vswitches).flat_map(|vswitch| (0..16).map(move |vif| Place { vswitch, vif }))
}

fn slot(place: Place) -> u32 {
    u32::from(place.vswitch) << 4 | u32::from(place.vif)
}

fn index_of(place: Place) -> usize {
    usize::from(place.vswitch) * 16 + usize::from(place.vif)
}

/// The figures, and whether the bar holds.
pub(super) fn results(
    sealed: &[Sealed<'_>],
    results: &mut Vec<Measurement>,
    notes: &mut Vec<String>,
) {
    for case in sealed {
        let pairs = || case.rounds.iter().zip(&case.alone_rounds);
        if case.name == "cryptoauth_64" {
            let ratios: Vec<f64> = case.rounds.iter().map(|ns| CJDROUTE_NS / ns).collect();
            let ratio = Measurement::of_rounds("cjdroute_cost_ratio", "ratio", &ratios);
            let holds = if ratio.value >= COST_RATIO_MIN { "holds" } else { "MISSED" };
            let found = ratio.value;
            notes.push(format!(
                "cjdroute_cost_ratio {found:.1}, at least {COST_RATIO_MIN}: {holds}"
            ));
            results.push(ratio);
        }
        let over: Vec<f64> = pairs().map(|(all, alone)| all - alone).collect();
        let ratio: Vec<f64> = pairs().map(|(all, alone)| all / alone).collect();
        let name = |what: &str| format!("{}_{what}", case.name);
        results.push(Measurement::of_rounds(&name("ns"), "ns", &case.rounds));
        results.push(Measurement::of_rounds(&name("aead_alone_ns"), "ns", &case.alone_rounds));
        results.push(Measurement::of_rounds(&name("over_aead_ns"), "ns", &over));
        results.push(Measurement::of_rounds(&name("vs_aead"), "ratio", &ratio));
    }
}
