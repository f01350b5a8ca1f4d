//! From what the box, the generators and the sinks counted to one report.

use super::plan::FORGER;
use super::report::{Accounting, Delay, Faults, LeaseReport, PortReport, Report, TenantReport};
use dataplane_api::DropReason;
use dataplane_api::counters::PortCounter;
use dataplane_api::status::{LeaseStatus, PortStatus, VswitchStatus};
use dataplane_client::snapshot::{Drops, PortTotals, Snapshot};
use std::collections::BTreeSet;
use traffic::report::StreamReport;

/// The report after `seconds` of traffic: what the box counted, and what its neighbours sent and got.
pub(super) fn report(
    seconds: f64,
    seen: &Snapshot,
    leases: &[LeaseStatus],
    driven: &traffic::Report,
) -> Report {
    let total = driven.total;
    let box_kernel_drops: u64 = seen.ports.iter().map(PortTotals::kernel_drops).sum();
    let drops = seen.all_drops();
    // Frames that arrived again or changed are in it too: one too many must show as one missing does.
    let received = total.received + total.duplicated + total.corrupted;
    let kernel_drops = box_kernel_drops + total.kernel_rx_dropped;
    Report {
        seconds,
        backend: backends(seen),
        tenants: tenants(seen, driven),
        ports: ports(seen),
        leases: leases.iter().map(|lease| sold(seen, lease)).collect(),
        forged_sent: driven
            .streams
            .iter()
            .filter(|stream| stream.tenant == FORGER)
            .map(|stream| stream.sent)
            .sum(),
        delay: slowest(driven.streams.iter()),
        faults: Faults {
            misdelivered: total.misdelivered,
            wrong_label: total.wrong_label,
            duplicated: total.duplicated,
            corrupted: total.corrupted,
        },
        accounting: Accounting::new(
            total.sent + total.forged,
            received,
            drops.total(),
            kernel_drops,
        ),
        drops,
    }
}

fn backends(seen: &Snapshot) -> String {
    let backends: BTreeSet<&str> =
        seen.status.ports.iter().map(|port| port.backend.as_str()).collect();
    crate::names::listed(backends.into_iter())
}

fn tenants(seen: &Snapshot, driven: &traffic::Report) -> Vec<TenantReport> {
    let tenant = |vswitch: &VswitchStatus| {
        let own = || driven.streams.iter().filter(|stream| stream.tenant == vswitch.tenant);
        let nothing = Drops::default();
        let drops = seen.vswitch_drops(vswitch.id).unwrap_or(&nothing);
        TenantReport {
            tenant: vswitch.name.clone(),
            scheme: vswitch.scheme.clone(),
            sent: own().map(|stream| stream.sent).sum(),
            received: own().map(|stream| stream.received).sum(),
            dropped: drops.total(),
            policy_dropped: drops.of(DropReason::Policy),
            delay: slowest(own()),
        }
    };
    seen.status.vswitches.iter().map(tenant).collect()
}

fn sold(seen: &Snapshot, lease: &LeaseStatus) -> LeaseReport {
    LeaseReport {
        lease: lease.id,
        vifs: lease.vifs.iter().map(|vif| crate::names::vif(&seen.status, *vif)).collect(),
        rate: lease.rate,
        guaranteed: lease.totals.guaranteed.packets,
        priority: lease.totals.priority.packets,
        no_room: lease.totals.no_room.packets,
        within_ns: lease.totals.delay_within(0.999),
    }
}

/// Percentiles of the slowest stream: no less than those over all packets, and exact for it.
fn slowest<'a>(streams: impl Iterator<Item = &'a StreamReport>) -> Delay {
    streams.fold(Delay::default(), |slowest, stream| Delay {
        samples: slowest.samples + stream.received,
        p50_ns: slowest.p50_ns.max(stream.delay.p50),
        p99_ns: slowest.p99_ns.max(stream.delay.p99),
        p999_ns: slowest.p999_ns.max(stream.delay.p999),
    })
}

fn ports(seen: &Snapshot) -> Vec<PortReport> {
    let port = |(port, totals): (&PortStatus, &PortTotals)| PortReport {
        port: port.name.clone(),
        rx_frames: totals.of(PortCounter::RxFrames),
        tx_frames: totals.of(PortCounter::TxFrames),
        drops: totals.drops.total(),
        kernel_drops: totals.kernel_drops(),
    };
    seen.status.ports.iter().zip(&seen.ports).map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_client::sample;
    use traffic::report::Totals;
    use traffic::sink::Delays;

    fn stream(tenant: u32, sent: u64, received: u64, p99: u64) -> StreamReport {
        let delay = Delays { p50: 5, p99, p999: 2 * p99, ..Delays::default() };
        StreamReport { tenant, sent, received, delay, ..StreamReport::default() }
    }

    #[test]
    fn frames_are_charged_to_their_tenants_and_the_equation_is_closed() {
        // The sample box drops 45, 40 of them blue's by policy, and its kernel 2.
        let total = Totals { sent: 100, received: 40, kernel_rx_dropped: 5, ..Totals::default() };
        let streams = vec![
            stream(1, 40, 16, 10),
            stream(2, 30, 16, 20),
            stream(2, 20, 8, 7),
            stream(FORGER, 10, 0, 0),
        ];
        let driven = traffic::Report { streams, total, ..traffic::Report::default() };

        let report = report(1.0, &sample::snapshot(1), &[], &driven);
        let [red, blue] = report.tenants.as_slice() else { panic!("{report:?}") };
        assert_eq!((red.sent, red.received, red.dropped, red.delay.p99_ns), (40, 16, 0, 10));
        assert_eq!((blue.sent, blue.received, blue.dropped, blue.policy_dropped), (50, 24, 40, 40));
        assert_eq!((blue.delay.samples, blue.delay.p999_ns), (24, 40));
        assert_eq!(report.forged_sent, 10);
        assert_eq!(report.ports[0].kernel_drops, 2);
        assert_eq!(report.accounting, Accounting::new(100, 40, 45, 7));
        assert_eq!(report.accounting.unaccounted, 8);
    }

    #[test]
    fn a_frame_that_arrives_twice_is_one_too_many() {
        let total = Totals { sent: 1, received: 1, duplicated: 1, ..Totals::default() };
        let driven = traffic::Report { total, ..traffic::Report::default() };
        let report = report(1.0, &Snapshot::default(), &[], &driven);
        assert_eq!(report.accounting.unaccounted, -1);
        assert!(report.failure().is_some());
    }
}
