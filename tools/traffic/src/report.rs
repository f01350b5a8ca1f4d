//! What became of each stream, over all ports.

use crate::scenario::Scenario;
use crate::sink::Delays;
use crate::station::PortReport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The whole account of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In the scenario's order.
    pub streams: Vec<StreamReport>,
    /// Forged frames sent, by kind.
    pub forged: BTreeMap<String, u64>,
    /// Sums over all streams and ports.
    pub total: Totals,
    /// Each port as it reported.
    pub ports: Vec<PortReport>,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: u32,
    /// Whether it must arrive.
    pub arrives: bool,
    /// Frames handed to the kernel.
    pub sent: u64,
    /// Sequence numbers that arrived.
    pub received: u64,
    /// `sent − received`: dropped by the box or by the kernel. Negative only if a report of a sender is missing.
    pub lost: i64,
    /// Arrivals beyond the first of a number.
    pub duplicated: u64,
    /// First arrivals after a higher number's.
    pub reordered: u64,
    /// The farthest that one came late, in numbers.
    pub reorder_extent: u64,
    /// Arrivals with a wrong label or shift.
    pub wrong_label: u64,
    /// Arrivals where they must not.
    pub misdelivered: u64,
    /// Bytes that arrived, frames without FCS.
    pub bytes: u64,
    /// Delays.
    pub delay: Delays,
}

/// Sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Valid frames handed to the kernel.
    pub sent: u64,
    /// Forged frames handed to the kernel.
    pub forged: u64,
    /// Frames due and never sent.
    pub refused: u64,
    /// Sequence numbers that arrived.
    pub received: u64,
    /// `sent − received`.
    pub lost: i64,
    /// Arrivals beyond the first of a number.
    pub duplicated: u64,
    /// First arrivals after a higher number's.
    pub reordered: u64,
    /// Arrivals with a wrong label or shift.
    pub wrong_label: u64,
    /// Arrivals where they must not.
    pub misdelivered: u64,
    /// Frames with our magic and a changed payload.
    pub corrupted: u64,
    /// Control messages that arrived.
    pub control: u64,
    /// Other frames that arrived.
    pub unknown: u64,
    /// Frames the kernel dropped before a sink.
    pub kernel_rx_dropped: u64,
    /// Sends the kernel refused.
    pub kernel_tx_refused: u64,
}

impl Report {
    /// Joins the ports' reports. What a stream that arrived at several ports did is summed; its delays are those of
    /// the port where most of it came.
    #[must_use]
    pub fn join(scenario: &Scenario, ports: Vec<PortReport>) -> Self {
        let mut report = Self::default();
        for (number, stream) in (0_u32..).zip(&scenario.streams) {
            let mut joined = StreamReport {
                name: stream.name.clone(),
                tenant: stream.tenant,
                arrives: stream.arrival.is_some(),
                ..StreamReport::default()
            };
            let mut most = 0;
            for port in &ports {
                joined.sent += port.sent.streams.get(&number).map_or(0, |sent| sent.frames);
                let account =
                    usize::try_from(number).ok().and_then(|at| port.arrived.streams.get(at));
                let Some(account) = account else { continue };
                joined.received += account.received;
                joined.duplicated += account.duplicated;
                joined.reordered += account.reordered;
                joined.reorder_extent = joined.reorder_extent.max(account.reorder_extent);
                joined.wrong_label += account.wrong_label;
                joined.misdelivered += account.misdelivered;
                joined.bytes += account.bytes;
                if account.received > most {
                    (most, joined.delay) = (account.received, account.delay);
                }
            }
            joined.lost = joined.sent.cast_signed() - joined.received.cast_signed();
            report.total.add(&joined);
            report.streams.push(joined);
        }
        for port in &ports {
            for (kind, count) in &port.sent.forged {
                *report.forged.entry(kind.clone()).or_default() += count;
                report.total.forged += count;
            }
            report.total.refused += port.sent.refused;
            report.total.corrupted += port.arrived.corrupted;
            report.total.control += port.arrived.control;
            report.total.unknown += port.arrived.unknown;
            report.total.kernel_rx_dropped += port.wire.rx_dropped;
            report.total.kernel_tx_refused += port.wire.tx_refused;
        }
        report.ports = ports;
        report
    }
}

impl Totals {
    const fn add(&mut self, stream: &StreamReport) {
        self.sent += stream.sent;
        self.received += stream.received;
        self.lost += stream.lost;
        self.duplicated += stream.duplicated;
        self.reordered += stream.reordered;
        self.wrong_label += stream.wrong_label;
        self.misdelivered += stream.misdelivered;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.streams.iter().map(|stream| stream.name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(
            f,
            "{:width$} {:>6} {:>12} {:>12} {:>10} {:>6} {:>8} {:>6} {:>6} {:>9} {:>9} {:>9}",
            "stream",
            "tenant",
            "sent",
            "received",
            "lost",
            "again",
            "reorder",
            "label",
            "leak",
            "p50 µs",
            "p99 µs",
            "max µs"
        )?;
        for stream in &self.streams {
            let delay = stream.delay;
            let [p50, p99, max] = [delay.p50, delay.p99, delay.max].map(|nanos| nanos / 1000);
            writeln!(
                f,
                "{:width$} {:>6} {:>12} {:>12} {:>10} {:>6} {:>8} {:>6} {:>6} {p50:>9} {p99:>9} {max:>9}",
                stream.name,
                stream.tenant,
                stream.sent,
                stream.received,
                stream.lost,
                stream.duplicated,
                stream.reordered,
                stream.wrong_label,
                stream.misdelivered
            )?;
        }
        for (kind, count) in &self.forged {
            writeln!(f, "forged {kind}: {count}")?;
        }
        let total = self.total;
        writeln!(
            f,
            "sent {} + forged {}, received {}, lost {}, refused {}; corrupted {}, control {}, unknown {}; kernel: dropped {} \
             before a sink, refused {} sends",
            total.sent,
            total.forged,
            total.received,
            total.lost,
            total.refused,
            total.corrupted,
            total.control,
            total.unknown,
            total.kernel_rx_dropped,
            total.kernel_tx_refused
        )?;
        for port in self.ports.iter().filter(|port| port.sending_ns > 0) {
            let rate = u128::from(port.sent.frames()) * 1_000_000_000 / u128::from(port.sending_ns);
            writeln!(f, "{}: {rate} packets a second sent", port.port)?;
        }
        Ok(())
    }
}
