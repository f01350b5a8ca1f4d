//! What goes in and out a second: the difference of two looks at the counters.

use crate::live::{Counters, Traffic};
use crate::page::{Asked, Page};
use dataplane_api::{PortId, Status, VifId};
use domain::access::Grant;
use serde::Serialize;
use service::State as BoxState;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Traffic a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Rate {
    /// Packets that came in, a second.
    pub(crate) rx_packets_per_s: u64,
    /// Their bytes.
    pub(crate) rx_bytes_per_s: u64,
    /// Packets that went out, a second.
    pub(crate) tx_packets_per_s: u64,
    /// Their bytes.
    pub(crate) tx_bytes_per_s: u64,
}

impl Rate {
    fn between(earlier: Traffic, later: Traffic, ms: u64) -> Self {
        let per_s = |earlier: u64, later: u64| {
            let more = u128::from(later.saturating_sub(earlier)) * 1000 / u128::from(ms.max(1));
            u64::try_from(more).unwrap_or(u64::MAX)
        };
        Self {
            rx_packets_per_s: per_s(earlier.rx_packets, later.rx_packets),
            rx_bytes_per_s: per_s(earlier.rx_bytes, later.rx_bytes),
            tx_packets_per_s: per_s(earlier.tx_packets, later.tx_packets),
            tx_bytes_per_s: per_s(earlier.tx_bytes, later.tx_bytes),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            rx_packets_per_s: self.rx_packets_per_s.saturating_add(other.rx_packets_per_s),
            rx_bytes_per_s: self.rx_bytes_per_s.saturating_add(other.rx_bytes_per_s),
            tx_packets_per_s: self.tx_packets_per_s.saturating_add(other.tx_packets_per_s),
            tx_bytes_per_s: self.tx_bytes_per_s.saturating_add(other.tx_bytes_per_s),
        }
    }
}

/// The rate of a port.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PortRate {
    /// Name of the port.
    port: String,
    #[serde(flatten)]
    rate: Rate,
}

/// The rate of a vif.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct VifRate {
    /// Name of its vswitch.
    vswitch: String,
    /// Its number.
    number: u16,
    #[serde(flatten)]
    rate: Rate,
}

/// The rate of all vifs of a vswitch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct VswitchRate {
    /// Its name.
    vswitch: String,
    #[serde(flatten)]
    rate: Rate,
}

/// What went in and out.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Rates)]
pub(crate) struct RatesBody {
    /// End of the time it is about, Unix milliseconds.
    at: u64,
    /// Length of that time, milliseconds.
    span_ms: u64,
    /// By port; none to tenants.
    ports: Vec<PortRate>,
    /// By vif, those with traffic.
    vifs: Page<VifRate>,
}

/// What went in and out, as events tell it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RatesEvent {
    /// End of the time it is about, Unix milliseconds.
    at: u64,
    /// Length of that time, milliseconds.
    span_ms: u64,
    /// By port; none to tenants.
    ports: Vec<PortRate>,
    /// By vswitch, those with traffic, at most 1000.
    vswitches: Vec<VswitchRate>,
}

/// Most vswitches of one event.
const VSWITCHES_MAX: usize = 1000;

/// Rates of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    at: u64,
    span_ms: u64,
    ports: Vec<(String, Rate)>,
    /// By vswitch and number.
    vifs: BTreeMap<String, BTreeMap<u16, Rate>>,
}

impl Rates {
    /// The rates between two looks; `None`: they are of two processes, or in no order.
    pub(crate) fn between(earlier: &Counters, later: &Counters, status: &Status) -> Option<Self> {
        let span_ms = later.at.checked_sub(earlier.at).filter(|span| *span > 0)?;
        if earlier.pid != later.pid {
            return None;
        }
        let ports: BTreeMap<PortId, Traffic> = earlier.ports.iter().copied().collect();
        let vifs: BTreeMap<VifId, Traffic> = earlier.vifs.iter().copied().collect();
        let names: BTreeMap<_, _> = status.vswitches.iter().map(|it| (it.id, &it.name)).collect();
        let numbers: BTreeMap<VifId, (&String, u16)> = status
            .vifs
            .iter()
            .filter_map(|vif| Some((vif.id, (*names.get(&vif.vswitch)?, vif.number))))
            .collect();
        let mut rates = Self { at: later.at, span_ms, ..Self::default() };
        for (id, traffic) in &later.ports {
            let Some(port) = status.ports.iter().find(|port| port.id == *id) else { continue };
            let before = ports.get(id).copied().unwrap_or(*traffic);
            rates.ports.push((port.name.clone(), Rate::between(before, *traffic, span_ms)));
        }
        for (id, traffic) in &later.vifs {
            let Some((vswitch, number)) = numbers.get(id) else { continue };
            let before = vifs.get(id).copied().unwrap_or(*traffic);
            let rate = Rate::between(before, *traffic, span_ms);
            if rate == Rate::default() {
                continue;
            }
            match rates.vifs.get_mut(*vswitch) {
                Some(of) => drop(of.insert(*number, rate)),
                None => drop(rates.vifs.insert((*vswitch).clone(), [(*number, rate)].into())),
            }
        }
        Some(rates)
    }

    fn shown_ports(&self, grant: &Grant) -> Vec<PortRate> {
        if grant.only_tenant().is_some() {
            return Vec::new();
        }
        let ports = self.ports.iter();
        ports.map(|(port, rate)| PortRate { port: port.clone(), rate: *rate }).collect()
    }

    /// What somebody sees of them.
    pub(crate) fn body(
        &self,
        state: &BoxState,
        grant: &Grant,
        vswitch: Option<&str>,
        asked: Asked,
    ) -> RatesBody {
        let is_seen = |name: &str| {
            vswitch.is_none_or(|asked| asked == name) && grant.sees_vswitch(&state.tree, name)
        };
        let seen = self.vifs.iter().filter(|(name, _)| is_seen(name));
        let vifs = seen.flat_map(|(name, vifs)| {
            vifs.iter().map(|(number, rate)| VifRate {
                vswitch: name.clone(),
                number: *number,
                rate: *rate,
            })
        });
        let ports = self.shown_ports(grant);
        RatesBody { at: self.at, span_ms: self.span_ms, ports, vifs: asked.of(vifs) }
    }

    /// The same, short.
    pub(crate) fn event(&self, state: &BoxState, grant: &Grant) -> RatesEvent {
        let seen = self.vifs.iter().filter(|(name, _)| grant.sees_vswitch(&state.tree, name));
        let sums = seen.map(|(name, vifs)| {
            let rate = vifs.values().fold(Rate::default(), |sum, rate| sum.plus(*rate));
            VswitchRate { vswitch: name.clone(), rate }
        });
        let vswitches = sums.filter(|it| it.rate != Rate::default()).take(VSWITCHES_MAX).collect();
        let ports = self.shown_ports(grant);
        RatesEvent { at: self.at, span_ms: self.span_ms, ports, vswitches }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::VswitchId;
    use dataplane_api::status::{VifStatus, VswitchStatus};

    fn counters(at: u64, pid: u32, bytes: u64) -> Counters {
        let traffic = Traffic { rx_packets: bytes / 100, rx_bytes: bytes, ..Traffic::default() };
        Counters { at, pid, vifs: vec![(VifId(3), traffic)], ..Counters::default() }
    }

    #[test]
    fn rates_are_differences_over_time() {
        let status = Status {
            vswitches: vec![VswitchStatus { name: "red".into(), ..VswitchStatus::default() }],
            vifs: vec![VifStatus {
                id: VifId(3),
                vswitch: VswitchId(0),
                number: 7,
                ..VifStatus::default()
            }],
            ..Status::default()
        };
        let rates = |earlier: &Counters, later| Rates::between(earlier, &later, &status);
        let first = counters(1_000, 9, 5_000);
        let found = rates(&first, counters(3_000, 9, 25_000)).unwrap();
        let rate = found.vifs["red"][&7];
        assert_eq!((rate.rx_bytes_per_s, rate.rx_packets_per_s), (10_000, 100));
        assert!(rates(&first, counters(3_000, 10, 0)).is_none(), "another process");
        assert!(rates(&first, counters(1_000, 9, 0)).is_none(), "no time between");
        // A vif that is new has no rate yet, and what has none is left out.
        let none = Counters { vifs: Vec::new(), ..first.clone() };
        let found = rates(&none, counters(2_000, 9, 25_000)).unwrap();
        assert!(found.vifs.is_empty());
    }
}
