//! What the demo counted: per tenant, per port, drops by reason, delays, and whether every frame is accounted for.

use crate::table::{Side, Table};
use crate::units;
use dataplane_api::DropReason;
use dataplane_client::snapshot::Drops;
use serde::Serialize;
use std::fmt::Write;

/// Everything, at one moment or at the end.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// How long traffic ran.
    pub(super) seconds: f64,
    /// Back end and mode of the box's ports.
    pub(super) backend: String,
    pub(super) tenants: Vec<TenantReport>,
    pub(super) ports: Vec<PortReport>,
    pub(super) leases: Vec<LeaseReport>,
    /// Drops of the whole box.
    pub(super) drops: Drops,
    /// Frames that were made to be dropped before they belong to a tenant.
    pub(super) forged_sent: u64,
    pub(super) delay: Delay,
    pub(super) faults: Faults,
    pub(super) accounting: Accounting,
}

/// Frames that arrived otherwise than they must: each of these has to be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Faults {
    /// Arrived at a neighbour whose they are not.
    pub(super) misdelivered: u64,
    /// With another label than the path's.
    pub(super) wrong_label: u64,
    /// More than once.
    pub(super) duplicated: u64,
    /// Changed.
    pub(super) corrupted: u64,
}

/// One tenant's frames.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TenantReport {
    pub(super) tenant: String,
    pub(super) scheme: String,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Dropped in the tenant's vswitch, for any reason.
    pub(super) dropped: u64,
    /// Of these, by its class matrix.
    pub(super) policy_dropped: u64,
    pub(super) delay: Delay,
}

/// One port of the box.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PortReport {
    pub(super) port: String,
    pub(super) rx_frames: u64,
    pub(super) tx_frames: u64,
    /// Dropped by the box before a tenant was known.
    pub(super) drops: u64,
    /// Dropped by the kernel before the box saw them.
    pub(super) kernel_drops: u64,
}

/// One lease of the box.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LeaseReport {
    pub(super) lease: u32,
    pub(super) vifs: Vec<String>,
    /// Guaranteed, bytes of wire a second.
    pub(super) rate: u64,
    /// Packets that left in profile.
    pub(super) guaranteed: u64,
    /// And above it.
    pub(super) priority: u64,
    /// Dropped because the port had no room: none where its tenant keeps to the lease.
    pub(super) no_room: u64,
    /// What 999 of 1 000 packets waited at most in the box.
    pub(super) within_ns: Option<u64>,
}

/// One-way delay, from the generator's time stamp to the sink's; percentiles of the slowest stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Delay {
    pub(super) samples: u64,
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) p999_ns: u64,
}

/// sent = received + named drops + the kernel's drops, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Accounting {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) named_drops: u64,
    pub(super) kernel_drops: u64,
    /// Frames that nobody can say anything about: must be 0.
    pub(super) unaccounted: i128,
}

impl Accounting {
    /// Closes the equation.
    pub(super) fn new(sent: u64, received: u64, named_drops: u64, kernel_drops: u64) -> Self {
        let named = i128::from(received) + i128::from(named_drops) + i128::from(kernel_drops);
        Self { sent, received, named_drops, kernel_drops, unaccounted: i128::from(sent) - named }
    }
}

impl Report {
    /// Why the demo failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        let silent: Vec<&str> = self
            .tenants
            .iter()
            .filter(|tenant| tenant.received == 0)
            .map(|tenant| tenant.tenant.as_str())
            .collect();
        if !silent.is_empty() {
            return Some(format!(
                "nothing crossed the box for {}",
                crate::names::listed(silent.into_iter())
            ));
        }
        if self.faults != Faults::default() {
            return Some(format!("frames arrived otherwise than they must: {:?}", self.faults));
        }
        let missing = self.accounting.unaccounted;
        (missing != 0).then(|| {
            format!("{missing} frames are unaccounted for: sent − received − named − kernel drops")
        })
    }

    /// One line for logs: the rates since `before`.
    pub(super) fn line(&self, before: Option<&Self>) -> String {
        let mut line = format!("{:5.1} s", self.seconds);
        for (index, tenant) in self.tenants.iter().enumerate() {
            let earlier = before.and_then(|before| before.tenants.get(index));
            let rate = |of: fn(&TenantReport) -> u64| {
                units::rate(self.rate(before, of(tenant), earlier.map_or(0, of)))
            };
            // Writing to a String cannot fail.
            let _infallible = write!(
                line,
                "  {}: {}pkt/s in, {}pkt/s out, {}/s dropped, p99 {}",
                tenant.tenant,
                spaced(&rate(|tenant| tenant.sent)),
                spaced(&rate(|tenant| tenant.received)),
                rate(|tenant| tenant.dropped),
                units::nanos(tenant.delay.p99_ns)
            );
        }
        line
    }

    /// The whole report as text, with rates since `before`.
    pub(super) fn text(&self, before: Option<&Self>) -> String {
        let leases = if self.leases.is_empty() {
            String::new()
        } else {
            format!("{}\n", self.lease_table(before))
        };
        format!(
            "{:.1} s over {}\n\n{}\n{}\n{leases}{}\n{}\n",
            self.seconds,
            self.backend,
            self.tenant_table(before),
            self.port_table(before),
            self.drop_table(before),
            self.accounting_text()
        )
    }

    fn rate(&self, before: Option<&Self>, now: u64, earlier: u64) -> f64 {
        let seconds = self.seconds - before.map_or(0.0, |before| before.seconds);
        if seconds > 0.0 {
            dataplane_client::snapshot::per_second(earlier, now, seconds)
        } else {
            0.0
        }
    }

    fn tenant_table(&self, before: Option<&Self>) -> Table {
        let mut table = Table::new(&[
            ("tenant", Side::Left),
            ("scheme", Side::Left),
            ("in pkt/s", Side::Right),
            ("out pkt/s", Side::Right),
            ("drop/s", Side::Right),
            ("sent", Side::Right),
            ("received", Side::Right),
            ("dropped", Side::Right),
            ("by policy", Side::Right),
            ("delay p50", Side::Right),
            ("p99", Side::Right),
            ("p99.9", Side::Right),
        ]);
        for (index, tenant) in self.tenants.iter().enumerate() {
            let earlier = before.and_then(|before| before.tenants.get(index));
            let rate = |of: fn(&TenantReport) -> u64| {
                units::rate(self.rate(before, of(tenant), earlier.map_or(0, of)))
            };
            let mut cells = vec![tenant.tenant.clone(), tenant.scheme.clone()];
            cells.extend([rate(|t| t.sent), rate(|t| t.received), rate(|t| t.dropped)]);
            cells.extend(
                [tenant.sent, tenant.received, tenant.dropped, tenant.policy_dropped]
                    .map(units::count),
            );
            cells.extend(
                [tenant.delay.p50_ns, tenant.delay.p99_ns, tenant.delay.p999_ns].map(units::nanos),
            );
            table.row(cells);
        }
        table
    }

    fn port_table(&self, before: Option<&Self>) -> Table {
        let mut table = Table::new(&[
            ("port", Side::Left),
            ("rx pkt/s", Side::Right),
            ("tx pkt/s", Side::Right),
            ("rx", Side::Right),
            ("tx", Side::Right),
            ("drops", Side::Right),
            ("kernel drops", Side::Right),
        ]);
        for (index, port) in self.ports.iter().enumerate() {
            let earlier = before.and_then(|before| before.ports.get(index));
            let rate = |of: fn(&PortReport) -> u64| {
                units::rate(self.rate(before, of(port), earlier.map_or(0, of)))
            };
            let mut cells = vec![port.port.clone(), rate(|p| p.rx_frames), rate(|p| p.tx_frames)];
            cells.extend(
                [port.rx_frames, port.tx_frames, port.drops, port.kernel_drops].map(units::count),
            );
            table.row(cells);
        }
        table
    }

    fn lease_table(&self, before: Option<&Self>) -> Table {
        let mut table = Table::new(&[
            ("lease", Side::Right),
            ("vifs", Side::Left),
            ("guaranteed bit/s", Side::Right),
            ("in profile pkt/s", Side::Right),
            ("above pkt/s", Side::Right),
            ("no room", Side::Right),
            ("99.9 % within", Side::Right),
        ]);
        for (index, lease) in self.leases.iter().enumerate() {
            let earlier = before.and_then(|before| before.leases.get(index));
            let rate = |of: fn(&LeaseReport) -> u64| {
                units::rate(self.rate(before, of(lease), earlier.map_or(0, of)))
            };
            #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
            let guaranteed = units::rate(lease.rate as f64 * 8.0);
            table.row(vec![
                lease.lease.to_string(),
                lease.vifs.join(" "),
                guaranteed,
                rate(|lease| lease.guaranteed),
                rate(|lease| lease.priority),
                units::count(lease.no_room),
                lease.within_ns.map_or_else(|| "-".into(), units::nanos),
            ]);
        }
        table
    }

    fn drop_table(&self, before: Option<&Self>) -> Table {
        let mut table = Table::new(&[
            ("drop reason", Side::Left),
            ("drop/s", Side::Right),
            ("drops", Side::Right),
            ("meaning", Side::Left),
        ]);
        for (reason, n) in self.drops.nonzero() {
            let earlier = before.map_or(0, |before| before.drops.of(reason));
            let rate = units::rate(self.rate(before, n, earlier));
            let meaning = crate::why::sentence(reason).to_owned();
            table.row(vec![DropReason::name(reason).to_owned(), rate, units::count(n), meaning]);
        }
        table
    }

    fn accounting_text(&self) -> String {
        let Accounting { sent, received, named_drops, kernel_drops, unaccounted } = self.accounting;
        let [sent, received, named, kernel] =
            [sent, received, named_drops, kernel_drops].map(units::count);
        format!(
            "sent {sent} = received {received} + named drops {named} + kernel drops {kernel} + {unaccounted} in flight \
             or unaccounted"
        )
    }
}

/// A rate as a prefix of its unit: `1.2 M` reads `1.2 Mpkt/s`, `7` reads `7 pkt/s`.
fn spaced(rate: &str) -> String {
    if rate.contains(' ') { rate.to_owned() } else { format!("{rate} ") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::demo) fn sample(seconds: u32) -> Report {
        let n = u64::from(seconds);
        let delay = Delay { samples: 100 * n, p50_ns: 40_000, p99_ns: 90_000, p999_ns: 1_200_000 };
        let mut drops = Drops::default();
        drops.add(DropReason::Policy, 100 * n);
        drops.add(DropReason::UnknownLink, 10 * n);
        let tenant = |name: &str, scheme: &str, dropped: u64| TenantReport {
            tenant: name.into(),
            scheme: scheme.into(),
            sent: 1000 * n,
            received: (1000 - dropped) * n,
            dropped: dropped * n,
            policy_dropped: dropped * n,
            delay,
        };
        Report {
            seconds: seconds.into(),
            backend: "af_xdp native copy".into(),
            tenants: vec![tenant("red", "v358", 0), tenant("blue", "v48", 100)],
            ports: vec![PortReport {
                port: "west".into(),
                rx_frames: 2010 * n,
                tx_frames: 0,
                drops: 10 * n,
                kernel_drops: 0,
            }],
            leases: Vec::new(),
            drops,
            forged_sent: 10 * n,
            delay,
            faults: Faults::default(),
            accounting: Accounting::new(2010 * n, 1900 * n, 110 * n, 0),
        }
    }

    #[test]
    fn the_equation_counts_what_is_missing_and_what_is_too_much() {
        assert_eq!(Accounting::new(10, 7, 2, 1).unaccounted, 0);
        assert_eq!(Accounting::new(10, 7, 2, 0).unaccounted, 1);
        assert_eq!(Accounting::new(10, 11, 0, 0).unaccounted, -1);
    }

    #[test]
    fn the_demo_fails_when_frames_are_missing_or_a_tenant_is_silent() {
        assert_eq!(sample(1).failure(), None);
        let mut missing = sample(1);
        missing.accounting.unaccounted = 3;
        assert!(missing.failure().unwrap().contains("3 frames"));
        let mut leaked = sample(1);
        leaked.faults.misdelivered = 1;
        assert!(leaked.failure().unwrap().contains("misdelivered: 1"));
        let mut silent = sample(1);
        silent.tenants[1].received = 0;
        assert_eq!(silent.failure().unwrap(), "nothing crossed the box for blue");
    }

    #[test]
    fn the_text_has_tenants_ports_drops_and_the_equation() {
        let expected = "\
3.0 s over af_xdp native copy

tenant  scheme  in pkt/s  out pkt/s  drop/s   sent  received  dropped  by policy  delay p50      p99    p99.9
red     v358      1.00 k     1.00 k       0  3 000     3 000        0          0    40.0 µs  90.0 µs  1.20 ms
blue    v48       1.00 k        900     100  3 000     2 700      300        300    40.0 µs  90.0 µs  1.20 ms

port  rx pkt/s  tx pkt/s     rx  tx  drops  kernel drops
west    2.01 k         0  6 030   0     30             0

drop reason   drop/s  drops  meaning
unknown_link      10     30  the vswitch has no link with this source address
policy           100    300  the vswitch's class matrix does not let this ingress role reach this egress role

sent 6 030 = received 5 700 + named drops 330 + kernel drops 0 + 0 in flight or unaccounted
";
        assert_eq!(sample(3).text(Some(&sample(1))), expected);
    }

    #[test]
    fn the_line_is_for_logs() {
        let expected = "  2.0 s  red: 1.00 kpkt/s in, 1.00 kpkt/s out, 0/s dropped, p99 90.0 µs  blue: 1.00 kpkt/s in, 900 pkt/s out, 100/s dropped, p99 90.0 µs";
        assert_eq!(sample(2).line(Some(&sample(1))), expected);
    }

    #[test]
    fn scripts_find_the_equation_in_json() {
        let json = serde_json::to_value(sample(1)).unwrap();
        assert_eq!(json["accounting"]["unaccounted"], 0);
        assert_eq!(json["tenants"][1]["policy_dropped"], 100);
        assert_eq!(json["drops"]["policy"], 100);
        assert_eq!(json["delay"]["p999_ns"], 1_200_000);
        assert_eq!(json["backend"], "af_xdp native copy");
    }
}
