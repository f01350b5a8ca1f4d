//! Accounts of what arrives: per stream, exact.

use crate::link::Link;
use crate::payload::{self, Reading, Stamp};
use crate::scenario::Scenario;
use crate::tracker::{self, Tracker};
use dataplane_api::Nanos;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use wire::switch::Header;

/// Longest delay that is told apart, nanoseconds: a minute. What takes longer counts as this.
const DELAY_MAX_NS: u64 = 60_000_000_000;
/// Significant decimal digits of a delay: 28 KiB a stream.
const DELAY_DIGITS: u8 = 2;

/// What became of one stream's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamAccount {
    /// Sequence numbers seen.
    pub received: u64,
    /// Bytes of the frames counted in `received`, without FCS.
    pub bytes: u64,
    /// Arrivals beyond the first of a number.
    pub duplicated: u64,
    /// First arrivals after a higher number's (RFC 4737).
    pub reordered: u64,
    /// The farthest that one of them came late, in numbers.
    pub reorder_extent: u64,
    /// Numbers below the highest seen and not seen themselves: lost, or on their way.
    pub missing: u64,
    /// Arrivals with another label or shift than expected.
    pub wrong_label: u64,
    /// Arrivals at another port or with other addresses than expected, or of a stream that must not arrive: if ever
    /// not 0, the box leaks between links.
    pub misdelivered: u64,
    /// Delays of the first arrivals.
    pub delay: Delays,
}

/// Percentiles of delays, nanoseconds. All 0 if nothing arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delays {
    /// Shortest.
    pub min: Nanos,
    /// Median.
    pub p50: Nanos,
    /// 90 %.
    pub p90: Nanos,
    /// 99 %.
    pub p99: Nanos,
    /// 99.9 %.
    pub p999: Nanos,
    /// Longest.
    pub max: Nanos,
}

/// What arrived, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When, CLOCK_MONOTONIC.
    pub at_ns: Nanos,
    /// All frames taken from the port: the sum of what follows, with received and duplicated of all streams.
    pub frames: u64,
    /// Frames with our magic whose payload changed on the way.
    pub corrupted: u64,
    /// cjdns control messages, switch errors among them.
    pub control: u64,
    /// Anything else.
    pub unknown: u64,
    /// In the scenario's order.
    pub streams: Vec<StreamAccount>,
}

/// The accounts of one port's sink.
#[derive(Clone, Debug)]
pub struct Accounts {
    port: String,
    frames: u64,
    corrupted: u64,
    control: u64,
    unknown: u64,
    streams: Vec<Ledger>,
}

#[derive(Clone, Debug)]
struct Ledger {
    expected: Option<crate::Arrival>,
    tracker: Tracker,
    bytes: u64,
    wrong_label: u64,
    misdelivered: u64,
    delays: Option<Histogram<u64>>,
}

impl Accounts {
    /// Accounts of what comes out of `port`, the box's name of it.
    #[must_use]
    pub fn new(scenario: &Scenario, port: &str) -> Self {
        let ledger = |stream: &crate::Stream| Ledger {
            expected: stream.arrival.clone().filter(|arrival| arrival.port == port),
            tracker: Tracker::default(),
            bytes: 0,
            wrong_label: 0,
            misdelivered: 0,
            delays: None,
        };
        Self {
            port: port.to_owned(),
            frames: 0,
            corrupted: 0,
            control: 0,
            unknown: 0,
            streams: scenario.streams.iter().map(ledger).collect(),
        }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Frames so far.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Notes one frame.
    pub fn note(&mut self, frame: &[u8], now: Nanos) {
        self.frames += 1;
        let parsed =
            Link::parse(frame).and_then(|(link, packet)| Some((link, Header::split(packet)?)));
        let Some((link, (header, payload))) = parsed else {
            self.unknown += 1;
            return;
        };
        let stamp = match payload::read(payload) {
            Reading::Whole(stamp) => stamp,
            Reading::Corrupted => return self.corrupted += 1,
            Reading::Control => return self.control += 1,
            Reading::Foreign => return self.unknown += 1,
        };
        let stream = usize::try_from(stamp.stream).ok().and_then(|at| self.streams.get_mut(at));
        match stream {
            Some(ledger) => ledger.note(&link, header, stamp, frame.len(), now),
            None => self.corrupted += 1,
        }
    }

    /// The accounts as they stand.
    #[must_use]
    pub fn snapshot(&self, at_ns: Nanos) -> Snapshot {
        Snapshot {
            at_ns,
            frames: self.frames,
            corrupted: self.corrupted,
            control: self.control,
            unknown: self.unknown,
            streams: self.streams.iter().map(Ledger::account).collect(),
        }
    }
}

impl Ledger {
    fn note(&mut self, link: &Link, header: &Header, stamp: Stamp, len: usize, now: Nanos) {
        match &self.expected {
            Some(expected) if expected.link.is_same_as(link) => {
                if (header.label(), header.shift()) != (expected.label, expected.shift) {
                    self.wrong_label += 1;
                }
            }
            _ => self.misdelivered += 1,
        }
        if self.tracker.arrive(stamp.sequence) == tracker::Arrival::Again {
            return;
        }
        self.bytes += len as u64;
        if self.delays.is_none() {
            self.delays = Histogram::new_with_bounds(1, DELAY_MAX_NS, DELAY_DIGITS).ok();
        }
        if let Some(delays) = &mut self.delays {
            delays.saturating_record(now.saturating_sub(stamp.sent_ns));
        }
    }

    fn account(&self) -> StreamAccount {
        StreamAccount {
            received: self.tracker.received(),
            bytes: self.bytes,
            duplicated: self.tracker.duplicated(),
            reordered: self.tracker.reordered(),
            reorder_extent: self.tracker.extent(),
            missing: self.tracker.missing(),
            wrong_label: self.wrong_label,
            misdelivered: self.misdelivered,
            delay: self.delays.as_ref().map(Delays::of).unwrap_or_default(),
        }
    }
}

impl Delays {
    fn of(delays: &Histogram<u64>) -> Self {
        if delays.is_empty() {
            return Self::default();
        }
        Self {
            min: delays.min(),
            p50: delays.value_at_quantile(0.5),
            p90: delays.value_at_quantile(0.9),
            p99: delays.value_at_quantile(0.99),
            p999: delays.value_at_quantile(0.999),
            max: delays.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Arrival, Sizes, Stream};
    use crate::{Scenario, Template};
    use dataplane_api::MacAddress;

    fn link(n: u8) -> Link {
        Link::Ethernet {
            source: MacAddress([2, n, 0, 0, 0, 1]),
            destination: MacAddress([2, n, 0, 0, 0, 2]),
            vlan: None,
        }
    }

    fn scenario() -> Scenario {
        let stream = |name: &str, arrival| Stream {
            name: name.into(),
            tenant: 1,
            from: "west".into(),
            link: link(1),
            label: 5,
            shift: 4,
            sizes: Sizes::default(),
            weight: 1,
            arrival,
        };
        let arrival = Arrival { port: "east".into(), link: link(2), label: 9, shift: 8 };
        Scenario { streams: vec![stream("a", Some(arrival)), stream("never", None)] }
    }

    fn header(label: u64, shift: u8) -> Header {
        let mut header = Header::new(label, 0);
        header.set_shift(shift);
        header
    }

    #[test]
    fn each_frame_has_one_name() {
        let mut accounts = Accounts::new(&scenario(), "east");
        let mut good = Template::new(&link(2), header(9, 8), 0, 100).unwrap();
        for (sequence, now) in [(0, 1500), (2, 2500), (1, 3500), (2, 9000)] {
            accounts.note(good.stamp(sequence, 500), now);
        }
        accounts.note(Template::new(&link(2), header(9, 9), 0, 0).unwrap().stamp(3, 0), 1);
        accounts.note(Template::new(&link(1), header(9, 8), 0, 0).unwrap().stamp(4, 0), 1);
        accounts.note(Template::new(&link(2), header(9, 8), 1, 0).unwrap().stamp(0, 0), 1);
        accounts.note(Template::new(&link(2), header(9, 8), 2, 0).unwrap().stamp(0, 0), 1);
        let mut bad = good.stamp(7, 7).to_vec();
        *bad.last_mut().unwrap() ^= 1;
        accounts.note(&bad, 1);
        accounts.note(&link(2).frame(&[0xff; 40]).unwrap(), 1);
        accounts.note(&link(2).frame(&[0; 40]).unwrap(), 1);
        accounts.note(b"short", 1);

        let found = accounts.snapshot(77);
        let [stream, never] = found.streams[..] else { panic!("{found:?}") };
        assert_eq!((found.frames, found.corrupted, found.control, found.unknown), (12, 2, 1, 2));
        assert_eq!(
            (stream.received, stream.duplicated, stream.reordered, stream.missing),
            (5, 1, 1, 0)
        );
        assert_eq!((stream.wrong_label, stream.misdelivered, stream.bytes), (1, 1, 420));
        assert_eq!((never.received, never.misdelivered), (1, 1));
        assert_eq!(stream.delay.min, 1);
        assert!((2990..=3020).contains(&stream.delay.max), "{:?}", stream.delay);
    }

    #[test]
    fn what_must_leave_by_another_port_is_misdelivered() {
        let mut accounts = Accounts::new(&scenario(), "west");
        accounts.note(Template::new(&link(2), header(9, 8), 0, 0).unwrap().stamp(0, 0), 1);
        assert_eq!(accounts.snapshot(0).streams[0].misdelivered, 1);
    }
}
