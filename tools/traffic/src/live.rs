//! A sender of XDP live frames: the kernel itself sends a port's streams, millions a second.
//!
//! It has no rate: it sends as fast as its core can. A stream of several sizes would have one sequence for each, so it
//! is split first ([`Scenario::one_size_each`]), on the sink's side too.

use crate::generator::{Sent, StreamSent};
use crate::link::{Link, Template};
use crate::payload::VARIABLE_AT;
use crate::scenario::{Scenario, Sizes, Stream};
use io::IoError;
pub use io::live::Stop;
use io::live::{LiveFrames, ORDER_MAX, Stamp, TEMPLATES_MAX};
use io::netdev::Netdev;

/// Why streams cannot be sent so.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The device, or the right to.
    #[error(transparent)]
    Io(#[from] IoError),
    /// More than the program holds.
    #[error(
        "port {port}: {found} pairs of stream and size, and live frames take 1 to {TEMPLATES_MAX}"
    )]
    Count {
        /// The box's name of it.
        port: String,
        /// Streams and sizes.
        found: usize,
    },
    /// A stream whose checksum would have to be made anew for each frame.
    #[error("stream {stream:?}: live frames take Ethernet links only")]
    Link {
        /// Its name.
        stream: String,
    },
}

/// The sender of one port.
#[derive(Debug)]
pub struct LiveSender {
    frames: LiveFrames,
    /// By template: number of its stream, bytes of its frame.
    streams: Vec<(u32, u64)>,
}

impl LiveSender {
    /// Prepares the streams that a split scenario injects at `port`, for `device` of this thread's network namespace.
    ///
    /// # Errors
    /// [`LiveError`].
    pub fn new(scenario: &Scenario, port: &str, device: &str) -> Result<Self, LiveError> {
        let found = scenario.from_port(port).count();
        if !(1..=TEMPLATES_MAX).contains(&found) {
            return Err(LiveError::Count { port: port.to_owned(), found });
        }
        let (mut templates, mut streams, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (number, stream) in scenario.from_port(port) {
            let refuse = || LiveError::Link { stream: stream.name.clone() };
            if !matches!(stream.link, Link::Ethernet { .. }) {
                return Err(refuse());
            }
            let (len, _) = stream.sizes.weighted().first().copied().unwrap_or_default();
            let template = Template::new(&stream.link, stream.header(), number, usize::from(len))
                .ok_or_else(refuse)?;
            let stamp = Stamp { at: template.stamp_at() + VARIABLE_AT, constant: template.check() };
            streams.push((number, template.len() as u64));
            weights.push(stream.weight);
            templates.push(io::live::Template { frame: template.into_frame(), stamp: Some(stamp) });
        }
        let order = order(&weights);
        Ok(Self { frames: LiveFrames::new(&Netdev::find(device)?, &templates, &order)?, streams })
    }

    /// Sends `count` frames (`None`: until stopped). The thread must be in the device's network namespace.
    ///
    /// # Errors
    /// [`LiveError::Io`].
    pub fn run(&self, count: Option<u64>, stop: &Stop) -> Result<(), LiveError> {
        self.frames.run(count, stop)?;
        Ok(())
    }

    /// What was given to the device so far.
    ///
    /// # Errors
    /// [`LiveError::Io`].
    pub fn sent(&self) -> Result<Sent, LiveError> {
        let mut sent = Sent::default();
        for ((stream, len), frames) in self.streams.iter().zip(self.frames.sent()?) {
            sent.streams.insert(*stream, StreamSent { frames, bytes: frames * len });
        }
        Ok(sent)
    }
}

/// Places of `weights`, each as often as its weight says: in any stretch to within one.
fn order(weights: &[u32]) -> Vec<usize> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let len = total.clamp(1, ORDER_MAX as u64);
    let mut given = vec![0_u64; weights.len()];
    (1..=len)
        .map(|turn| {
            // Whoever is farthest behind its share after this turn, the first of equals.
            let behind = |at: &usize| {
                i128::from(turn) * i128::from(weights[*at])
                    - i128::from(given[*at]) * i128::from(total)
            };
            let next = (0..weights.len()).rev().max_by_key(behind).unwrap_or(0);
            given[next] += 1;
            next
        })
        .collect()
}

impl Scenario {
    /// The same packets, with a stream for each size.
    #[must_use]
    pub fn one_size_each(&self) -> Self {
        let split = |stream: &Stream| {
            let sizes = stream.sizes.weighted();
            let several = sizes.len() > 1;
            let stream = stream.clone();
            sizes.into_iter().filter(|(_, weight)| *weight > 0).map(move |(len, weight)| {
                let name = if several {
                    format!("{}, {len} bytes", stream.name)
                } else {
                    stream.name.clone()
                };
                let weight = stream.weight.saturating_mul(weight);
                Stream { name, sizes: Sizes::Fixed(len), weight, ..stream.clone() }
            })
        };
        Self { streams: self.streams.iter().flat_map(split).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_of_the_order_has_its_shares() {
        let order = order(&[7, 4, 1]);
        assert_eq!(order.len(), 12);
        let count = |at: usize, slice: &[usize]| slice.iter().filter(|n| **n == at).count();
        assert_eq!([0, 1, 2].map(|at| count(at, &order)), [7, 4, 1]);
        assert!((3..=4).contains(&count(0, &order[..6])), "{order:?}");
        assert_eq!(super::order(&[u32::MAX, u32::MAX]).len(), ORDER_MAX);
    }

    #[test]
    fn a_stream_of_several_sizes_is_split_by_their_weights() {
        let link = Link::Ethernet {
            source: dataplane_api::MacAddress([2; 6]),
            destination: dataplane_api::MacAddress([4; 6]),
            vlan: None,
        };
        let stream = Stream {
            name: "mix".into(),
            tenant: 1,
            from: "west".into(),
            link,
            label: 0x15,
            shift: 4,
            sizes: Sizes::Imix,
            weight: 2,
            arrival: None,
        };
        let split = Scenario { streams: vec![stream] }.one_size_each();
        let found: Vec<_> =
            split.streams.iter().map(|stream| (stream.sizes.clone(), stream.weight)).collect();
        let expected = [(60, 14), (590, 8), (1514, 2)];
        assert_eq!(found, expected.map(|(len, weight)| (Sizes::Fixed(len), weight)));
        assert_eq!(split.streams[1].name, "mix, 590 bytes");
    }
}
