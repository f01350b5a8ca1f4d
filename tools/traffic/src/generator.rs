//! Frames of one port's streams, in a repeatable order, at a rate.

use crate::forge::{Forger, Kind};
use crate::link::Template;
use crate::pace::Pacer;
use crate::rng::Rng;
use crate::scenario::{Draw, Scenario, ScenarioError};
use dataplane_api::Nanos;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Distance between two packets of a stream of weight 1, in the order's own units.
const STRIDE: u64 = 1 << 32;
/// A share is told in parts of this.
const THOUSAND: u64 = 1000;

/// How much is sent, how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Packets per second of the port; `None`: as fast as they are taken.
    pub rate: Option<u64>,
    /// Frames until it ends by itself.
    pub count: Option<u64>,
    /// Time until it ends by itself, from its first frame on.
    pub duration_ns: Option<Nanos>,
    /// Of a thousand frames, so many are forged.
    pub forged_per_mille: u32,
}

/// What a generator did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Valid frames handed to the kernel, by number of their stream.
    pub streams: BTreeMap<u32, StreamSent>,
    /// Forged frames handed to the kernel, by kind.
    pub forged: BTreeMap<String, u64>,
    /// Frames that were due and found no room for 50 ms: never sent, and without a sequence number.
    pub refused: u64,
}

/// One stream's part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSent {
    /// Frames: the sequence numbers below it.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
}

impl Sent {
    /// All frames handed to the kernel.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.streams.values().map(|stream| stream.frames).sum::<u64>()
            + self.forged.values().sum::<u64>()
    }
}

/// What becomes of a frame that is offered to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is on its way.
    Taken,
    /// There is no room now.
    Full,
}

/// Sends the streams of one port. Streams take turns by stride scheduling: in any stretch of the sequence each has its
/// share by weight, to within one packet.
#[derive(Debug)]
pub struct Generator {
    sources: Vec<Source>,
    /// Next turn and place of each source.
    order: BinaryHeap<Reverse<(u64, usize)>>,
    pacer: Pacer,
    load: Load,
    started: Option<Nanos>,
    frames: u64,
    rng: Rng,
    forger: Forger,
    forged: BTreeMap<Kind, u64>,
    /// Chosen, and not taken yet.
    chosen: Option<Choice>,
    finished: bool,
}

#[derive(Debug)]
enum Choice {
    Valid { source: usize, template: usize },
    Forged { kind: Kind, frame: Vec<u8> },
}

#[derive(Debug)]
struct Source {
    stream: u32,
    templates: Vec<Template>,
    sizes: Draw,
    rng: Rng,
    stride: u64,
    sent: StreamSent,
}

impl Generator {
    /// The streams of `scenario` that are injected at `port`.
    ///
    /// # Errors
    /// [`ScenarioError::Stream`].
    pub fn new(
        scenario: &Scenario,
        port: &str,
        seed: u64,
        load: Load,
    ) -> Result<Self, ScenarioError> {
        scenario.check()?;
        let mut rng = Rng::new(seed);
        let (mut sources, mut order, mut forger) =
            (Vec::new(), BinaryHeap::new(), Forger::default());
        for (number, stream) in scenario.from_port(port) {
            let weighted = stream.sizes.weighted();
            let template = |(len, _): &(u16, u32)| {
                Template::new(&stream.link, stream.header(), number, usize::from(*len))
            };
            let templates: Option<Vec<_>> = weighted.iter().map(template).collect();
            let why = "its frames do not fit their length fields";
            let templates = templates
                .ok_or_else(|| ScenarioError::Stream { stream: stream.name.clone(), why })?;
            let stride = STRIDE / u64::from(stream.weight.max(1));
            order.push(Reverse((rng.below(stride), sources.len())));
            forger.learn(stream);
            sources.push(Source {
                stream: number,
                templates,
                sizes: Draw::new(weighted.iter().map(|(_, weight)| *weight)),
                rng: Rng::new(rng.bits()),
                stride,
                sent: StreamSent::default(),
            });
        }
        let pacer = Pacer::new(load.rate);
        let (forged, finished) = (BTreeMap::new(), sources.is_empty());
        Ok(Self {
            sources,
            order,
            pacer,
            load,
            started: None,
            frames: 0,
            rng,
            forger,
            forged,
            chosen: None,
            finished,
        })
    }

    /// Offers what is due, at most `burst` frames, until one finds no room. Returns how many were taken.
    pub fn send(&mut self, now: Nanos, burst: u64, mut offer: impl FnMut(&[u8]) -> Offer) -> u64 {
        let started = *self.started.get_or_insert(now);
        let over = |load: &Load| {
            load.duration_ns.is_some_and(|duration| now.saturating_sub(started) >= duration)
        };
        if self.finished || over(&self.load) {
            self.finished = true;
            return 0;
        }
        let left = self.load.count.map_or(u64::MAX, |count| count.saturating_sub(self.frames));
        let due = self.pacer.due(now).min(burst).min(left);
        let mut taken = 0;
        while taken < due && self.send_one(now, &mut offer) {
            taken += 1;
        }
        self.pacer.sent(taken);
        self.frames += taken;
        self.finished = self.load.count.is_some_and(|count| self.frames >= count);
        taken
    }

    /// Sends no more.
    pub const fn finish(&mut self) {
        self.finished = true;
    }

    /// Time until it has something to send: 0 if it has, [`Nanos::MAX`] if it never will.
    #[must_use]
    pub fn until_due(&self, now: Nanos) -> Nanos {
        if self.finished { Nanos::MAX } else { self.pacer.until_due(now) }
    }

    /// Whether it has sent all it should.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// What it did so far.
    #[must_use]
    pub fn sent(&self) -> Sent {
        Sent {
            streams: self.sources.iter().map(|source| (source.stream, source.sent)).collect(),
            forged: self
                .forged
                .iter()
                .map(|(kind, count)| (kind.name().to_owned(), *count))
                .collect(),
            refused: self.pacer.refused(),
        }
    }

    fn send_one(&mut self, now: Nanos, offer: &mut impl FnMut(&[u8]) -> Offer) -> bool {
        let Some(choice) = self.chosen.take().or_else(|| self.choose()) else { return false };
        let taken = match &choice {
            Choice::Valid { source, template } => self.offer_valid(*source, *template, now, offer),
            Choice::Forged { kind, frame } => {
                let taken = offer(frame) == Offer::Taken;
                if taken {
                    *self.forged.entry(*kind).or_default() += 1;
                }
                taken
            }
        };
        if !taken {
            self.chosen = Some(choice);
        }
        taken
    }

    fn choose(&mut self) -> Option<Choice> {
        let share = u64::from(self.load.forged_per_mille);
        if share > 0 && self.rng.below(THOUSAND) < share {
            let (kind, frame) = self.forger.forge(&mut self.rng)?;
            return Some(Choice::Forged { kind, frame });
        }
        let Reverse((turn, at)) = self.order.pop()?;
        let source = self.sources.get_mut(at)?;
        self.order.push(Reverse((turn + source.stride, at)));
        Some(Choice::Valid { source: at, template: source.sizes.draw(&mut source.rng) })
    }

    fn offer_valid(
        &mut self,
        source: usize,
        template: usize,
        now: Nanos,
        offer: &mut impl FnMut(&[u8]) -> Offer,
    ) -> bool {
        let Some(source) = self.sources.get_mut(source) else { return false };
        let Some(template) = source.templates.get_mut(template) else { return false };
        let frame = template.stamp(source.sent.frames, now);
        let taken = offer(frame) == Offer::Taken;
        if taken {
            source.sent.frames += 1;
            source.sent.bytes += frame.len() as u64;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Link;
    use crate::scenario::{Sizes, Stream};
    use dataplane_api::MacAddress;

    fn scenario() -> Scenario {
        let link = Link::Ethernet {
            source: MacAddress([2; 6]),
            destination: MacAddress([4; 6]),
            vlan: None,
        };
        let stream = |name: &str, from: &str, weight| Stream {
            name: name.into(),
            tenant: 1,
            from: from.into(),
            link,
            label: 0x8000_0000_0000_0015,
            shift: 4,
            sizes: Sizes::Imix,
            weight,
            arrival: None,
        };
        Scenario {
            streams: vec![stream("a", "west", 1), stream("b", "east", 9), stream("c", "west", 4)],
        }
    }

    fn frames(seed: u64, load: Load) -> (Vec<Vec<u8>>, Sent) {
        let mut generator = Generator::new(&scenario(), "west", seed, load).unwrap();
        let mut frames = Vec::new();
        while !generator.is_finished() {
            generator.send(7, 64, |frame| {
                frames.push(frame.to_vec());
                Offer::Taken
            });
        }
        (frames, generator.sent())
    }

    #[test]
    fn one_seed_is_one_sequence() {
        let load = Load { count: Some(500), forged_per_mille: 200, ..Load::default() };
        assert_eq!(frames(1, load), frames(1, load));
        assert_ne!(frames(1, load).0, frames(2, load).0);
    }

    #[test]
    fn each_stream_has_its_share_and_only_the_ports_streams_are_sent() {
        let (frames, sent) = frames(3, Load { count: Some(1000), ..Load::default() });
        assert_eq!(frames.len(), 1000);
        let counts: Vec<_> =
            sent.streams.iter().map(|(stream, sent)| (*stream, sent.frames)).collect();
        let [(0, a), (2, c)] = counts[..] else { panic!("{counts:?}") };
        assert!((199..=201).contains(&a) && a + c == 1000, "{counts:?}");
        assert_eq!(
            sent.streams.values().map(|sent| sent.bytes).sum::<u64>(),
            frames.iter().map(|f| f.len() as u64).sum()
        );
    }

    #[test]
    fn a_frame_without_room_is_offered_again() {
        let load = Load { count: Some(200), forged_per_mille: 300, ..Load::default() };
        let (all, _) = frames(5, load);
        let mut generator = Generator::new(&scenario(), "west", 5, load).unwrap();
        let (mut offers, mut taken) = (0, Vec::new());
        while !generator.is_finished() {
            generator.send(7, 3, |frame| {
                offers += 1;
                if offers % 3 == 0 {
                    return Offer::Full;
                }
                taken.push(frame.to_vec());
                Offer::Taken
            });
        }
        assert_eq!(taken, all);
    }

    #[test]
    fn it_ends_with_its_time() {
        let load = Load { rate: Some(1_000_000), duration_ns: Some(1_000_000), ..Load::default() };
        let mut generator = Generator::new(&scenario(), "west", 5, load).unwrap();
        let mut sent = 0;
        for now in (0..2_000_000).step_by(10_000) {
            sent += generator.send(now, 64, |_| Offer::Taken);
        }
        assert!(generator.is_finished());
        assert_eq!((sent, generator.sent().frames()), (990, 990));
        assert!(Generator::new(&scenario(), "nowhere", 5, load).unwrap().is_finished());
    }
}
