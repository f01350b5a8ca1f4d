//! Open: from frames to the switch packets inside.

use crate::Burst;
use crate::outcome::Arrival;
use crate::sessions::{SessionNews, Sessions, Which, is_handshake};
use arrayvec::ArrayVec;
use crypt::aead::{Aead, Job};
use crypt::data::{Arrived, Cipher};
use dataplane_api::limits::BURST_MAX;
use dataplane_api::{DropReason, VifId};
use wire::buf::Packet;

/// Takes the headers of a link and the padding off, in place.
#[inline]
pub(crate) fn strip<F: Packet>(frame: &mut F, arrival: Arrival) {
    frame.trim_front(usize::from(arrival.start));
    frame.truncate(usize::from(arrival.len));
}

/// What became of a session packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It is a switch packet now.
    Packet(Arrived),
    /// For the slow path, as it is.
    Handshake,
    /// An empty packet that keeps the link alive.
    KeepAlive(Arrived),
    /// Nothing.
    Dropped(DropReason),
}

/// A session packet of a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    /// Place in the burst.
    pub(crate) index: u8,
    pub(crate) vif: VifId,
    pub(crate) epoch: u8,
    pub(crate) opened: Opened,
}

/// Session packets of a burst, in order of arrival.
pub(crate) type SealedBurst = ArrayVec<Sealed, BURST_MAX>;

/// Opens session packets in place: authenticates all, then looks at their numbers in order of arrival.
///
/// CryptoAuth packets do not say which session they are of, so what the current one does not open is tried with the
/// next and the previous: at most three times the work, and only for links that have them.
pub(crate) fn open<F: Packet>(
    aead: &mut Aead,
    sessions: &mut Sessions,
    burst: &mut Burst<F>,
    sealed: &mut SealedBurst,
    news: &mut Vec<SessionNews>,
) {
    let mut by = [Which::Current; BURST_MAX];
    let mut pending = 0_u64;
    for (at, packet) in sealed.iter_mut().enumerate() {
        let bytes = burst.get(usize::from(packet.index)).map_or(&[][..], Packet::bytes);
        match bytes.first_chunk::<4>() {
            None => packet.opened = Opened::Dropped(DropReason::SessionRunt),
            Some(_) if is_handshake(bytes) => packet.opened = Opened::Handshake,
            Some(_) => {
                packet.opened = Opened::Dropped(DropReason::NoSession);
                pending |= 1 << at;
            }
        }
    }
    for which in Which::ALL {
        let authentic = attempt(aead, sessions, burst, sealed, pending, which);
        for at in bits(authentic) {
            by[at] = which;
        }
        pending &= !authentic;
        if pending == 0 {
            break;
        }
    }
    let mut confirmed = 0_u64;
    for (at, packet) in sealed.iter_mut().enumerate() {
        if packet.opened != Opened::Dropped(DropReason::NoSession) {
            continue;
        }
        if pending & 1 << at != 0 {
            let link = sessions.of(packet.vif, packet.epoch);
            if link.is_some_and(|link| !link.is_empty()) {
                packet.opened = Opened::Dropped(DropReason::Unauthentic);
            }
            continue;
        }
        let link = sessions.of_mut(packet.vif, packet.epoch);
        let (Some(link), Some(frame)) = (link, burst.get_mut(usize::from(packet.index))) else {
            continue;
        };
        let is_first = link.is_confirmed_by(by[at]);
        let Some(session) = link.get_mut(by[at]) else { continue };
        let number = session.number_of(frame.bytes());
        packet.opened = match number.and_then(|number| session.accept(number)) {
            Some(arrived) => {
                session.strip(frame);
                confirmed |= u64::from(is_first) << at;
                if frame.is_empty() { Opened::KeepAlive(arrived) } else { Opened::Packet(arrived) }
            }
            None => Opened::Dropped(DropReason::Replayed),
        };
    }
    for at in bits(confirmed) {
        sessions.confirm((sealed[at].vif, sealed[at].epoch), by[at], news);
    }
}

/// Tries one session of each pending packet's link; gives a bit for each that is authentic, which is opened then.
fn attempt<F: Packet>(
    aead: &mut Aead,
    sessions: &Sessions,
    burst: &mut Burst<F>,
    sealed: &SealedBurst,
    pending: u64,
    which: Which,
) -> u64 {
    let mut work = Work::default();
    let mut frames = burst.iter_mut().enumerate();
    for (at, packet) in sealed.iter().enumerate() {
        // Both are in order of arrival, so one walk over the burst meets every packet.
        let Some((_, frame)) = frames.find(|(index, _)| *index == usize::from(packet.index)) else {
            break;
        };
        if pending & 1 << at == 0 {
            continue;
        }
        let session = sessions.of(packet.vif, packet.epoch).and_then(|link| link.get(which));
        if let Some(session) = session
            && let Some(job) = session.open_job(frame.bytes_mut())
        {
            work.add(session.cipher(), at, job);
        }
    }
    work.open(aead)
}

/// Packets to open or seal, by cipher.
#[derive(Debug, Default)]
pub(crate) struct Work<'a> {
    xsalsa: Jobs<'a>,
    chacha: Jobs<'a>,
}

#[derive(Debug, Default)]
struct Jobs<'a> {
    jobs: ArrayVec<Job<'a>, BURST_MAX>,
    /// By job: the packet's place.
    places: ArrayVec<u8, BURST_MAX>,
}

impl<'a> Work<'a> {
    /// `at`: the packet's place, below 64.
    #[inline]
    pub(crate) fn add(&mut self, cipher: Cipher, at: usize, job: Job<'a>) {
        let jobs = match cipher {
            Cipher::XSalsa => &mut self.xsalsa,
            Cipher::ChaCha => &mut self.chacha,
        };
        jobs.jobs.push(job);
        jobs.places.push(u8::try_from(at).unwrap_or(u8::MAX));
    }

    /// Opens all; gives a bit for the place of each that is authentic.
    pub(crate) fn open(mut self, aead: &mut Aead) -> u64 {
        let xsalsa = aead.open_xsalsa(&mut self.xsalsa.jobs);
        let chacha = aead.open_chacha(&mut self.chacha.jobs);
        self.xsalsa.bits(xsalsa) | self.chacha.bits(chacha)
    }

    /// Seals all.
    pub(crate) fn seal(mut self, aead: &mut Aead) {
        aead.seal_xsalsa(&mut self.xsalsa.jobs);
        aead.seal_chacha(&mut self.chacha.jobs);
    }
}

impl Jobs<'_> {
    /// From a bit for each job to a bit for each place.
    fn bits(&self, verdicts: u64) -> u64 {
        let mut bits = 0;
        for (job, place) in self.places.iter().enumerate() {
            bits |= (verdicts >> job & 1) << place;
        }
        bits
    }
}

/// Places of the bits that are set.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (at < BURST_MAX).then_some(at)
    })
}
