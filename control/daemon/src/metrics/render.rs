//! From what is known to text.

use super::{Running, Scrape};
use control_api::ChainStatus;
use dataplane_api::counters::{PortCounter, WorkerCounter};
use dataplane_api::status::LeaseStatus;
use dataplane_api::{Direction, VswitchId};
use dataplane_client::snapshot::{Drops, PortTotals, Traffic, WorkerTotals};
use domain::{PortSide, Slot, State as LeaseState};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Every name begins with it.
const PREFIX: &str = "switchyard";
/// Words of the one notice that says that the clock was set, and of the one that takes it back.
const CLOCK_SET: &str = "the system's clock was set";
const CLOCK_AGREES: &str = "the system's clock agrees";

/// Labels and a number.
type Sample = (Vec<(&'static str, String)>, u64);

impl Scrape {
    /// As OpenMetrics text.
    pub(super) fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Arc::new(self)));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        self.control(&mut sheet)?;
        self.capacity(&mut sheet)?;
        if let Some(chain) = &self.chain {
            show_chain(chain, &mut sheet)?;
        }
        if let Some(running) = &self.running {
            running.whole(&mut sheet)?;
            running.ports(&mut sheet)?;
            running.workers(&mut sheet)?;
            self.tenants(running, &mut sheet)?;
            running.leases(self.top_leases, &mut sheet)?;
        }
        Ok(())
    }
}

/// Where the numbers are written.
struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    fn gauges(&mut self, name: &str, help: &str, samples: Vec<Sample>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters(&mut self, name: &str, help: &str, samples: Vec<Sample>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauges(name, help, vec![(Vec::new(), value)])
    }
}

impl Scrape {
    fn control(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let state = &self.state;
        let dataplane = &state.dataplane;
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        sheet.gauges("control_build", "Version of control", vec![(version, 1)])?;
        let is_there = self.running.is_some();
        sheet.gauge("dataplane_up", "Whether the dataplane answers", is_there.into())?;
        let trouble = u64::from(dataplane.trouble.is_some());
        sheet.gauge("dataplane_trouble", "It does not have what is wanted", trouble)?;
        let of = |kind: &str| vec![("kind", kind.to_owned())];
        let mut generations =
            vec![(of("wanted"), state.generation), (of("accepted"), dataplane.accepted)];
        if let Some(Running { snapshot, .. }) = &self.running {
            generations.push((of("applied"), snapshot.status.applied.0));
        }
        sheet.gauges("spec_generation", "Number of the spec", generations)?;
        sheet.counters(
            "commits",
            "Commits of the configuration",
            vec![(Vec::new(), state.commit)],
        )?;
        let pending = state.confirm.is_some().into();
        sheet.gauge("confirm_pending", "A commit waits for its confirmation", pending)?;
        sheet.gauge("store_bytes", "Size of the database and its journal", self.store_bytes)?;
        sheet.gauge(
            "draining",
            "Ports and vswitches being emptied",
            state.draining.len() as u64,
        )?;
        let mut leases: BTreeMap<&str, u64> =
            ["offered", "sold", "bound", "active", "grace"].map(|state| (state, 0)).into();
        for (_, lease, _) in state.leases.iter() {
            *leases.entry(state_name(&lease.state)).or_default() += 1;
        }
        let leases = leases.into_iter().map(|(state, n)| (vec![("state", state.to_owned())], n));
        sheet.gauges("leases", "Leases by state", leases.collect())
    }

    /// What of each side of a port may be guaranteed, and what of it is free now.
    fn capacity(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let calendar = self.state.leases.calendar();
        let (mut limits, mut free) = (Vec::new(), Vec::new());
        let now = Slot { start: self.now, end: self.now.after(1) };
        for side in calendar.sides() {
            let Some(terms) = calendar.terms(side) else { continue };
            let PortSide { port, direction } = side;
            let way = match direction {
                Direction::Out => "out",
                Direction::In => "in",
            };
            let labels = vec![("port", port.clone()), ("direction", way.to_owned())];
            limits.push((labels.clone(), terms.limit().bytes_per_s));
            free.push((labels, calendar.free(side, now).bytes_per_s));
        }
        let help = "Bytes of wire a second that leases may guarantee";
        sheet.gauges("port_sellable_bytes_per_second", help, limits)?;
        let help = "Bytes of wire a second that no lease guarantees now";
        sheet.gauges("port_free_bytes_per_second", help, free)
    }

    fn tenants(&self, running: &Running, sheet: &mut Sheet<'_>) -> fmt::Result {
        let status = &running.snapshot.status;
        let named = self.state.tree.tenants.iter().map(|(name, tenant)| (tenant.id, name.clone()));
        let names: BTreeMap<u32, String> = named.collect();
        let name = |id: u32| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let tenant_of: BTreeMap<VswitchId, u32> =
            status.vswitches.iter().map(|vswitch| (vswitch.id, vswitch.tenant)).collect();
        let mut all: BTreeMap<u32, (Traffic, Drops)> = BTreeMap::new();
        for (vif, traffic) in status.vifs.iter().zip(&running.snapshot.vifs) {
            if let Some(tenant) = tenant_of.get(&vif.vswitch) {
                all.entry(*tenant).or_default().0.merge(traffic);
            }
        }
        for (vswitch, drops) in status.vswitches.iter().zip(&running.snapshot.vswitches) {
            all.entry(vswitch.tenant).or_default().1.merge(drops);
        }
        let each = |of: fn(&Traffic) -> u64| -> Vec<Sample> {
            let label = |id: &u32| vec![("tenant", name(*id))];
            all.iter().map(|(id, (traffic, _))| (label(id), of(traffic))).collect()
        };
        let vifs = "by vifs of the tenant";
        sheet.counters(
            "tenant_rx_packets",
            &format!("Packets received {vifs}"),
            each(|traffic| traffic.rx_packets),
        )?;
        sheet.counters(
            "tenant_rx_bytes",
            &format!("Bytes received {vifs}"),
            each(|traffic| traffic.rx_bytes),
        )?;
        sheet.counters(
            "tenant_tx_packets",
            &format!("Packets sent {vifs}"),
            each(|traffic| traffic.tx_packets),
        )?;
        sheet.counters(
            "tenant_tx_bytes",
            &format!("Bytes sent {vifs}"),
            each(|traffic| traffic.tx_bytes),
        )?;
        let drops = all.iter().flat_map(|(id, (_, drops))| {
            drops.nonzero().map(|(reason, n)| {
                (vec![("tenant", name(*id)), ("reason", reason.name().to_owned())], n)
            })
        });
        sheet.counters("tenant_drops", "Packets dropped, by reason", drops.collect())
    }
}

/// The chain that orders are paid by. Nodes are those of the configuration.
fn show_chain(chain: &ChainStatus, sheet: &mut Sheet<'_>) -> fmt::Result {
    let gauges = [
        ("chain_height", "Height of the best chain that was verified", u64::from(chain.height)),
        ("chain_lag_seconds", "Since it had a new block", chain.lag_ms / 1000),
        ("chain_side_blocks", "Verified blocks beside it", chain.side_blocks),
        ("chain_told_headers", "Headers told of and not verified yet", chain.told_headers),
        ("chain_watches", "What payments are watched for", chain.watches),
        ("chain_payments", "Payments known", chain.payments),
        ("chain_waiting", "Transactions with payments in no block", chain.waiting),
        ("chain_trouble", "The books do not have what it does", chain.trouble.is_some().into()),
    ];
    for (name, help, value) in gauges {
        sheet.gauge(name, help, value)?;
    }
    let nodes = chain.nodes.iter().map(|node| {
        let text = [("node", &node.name), ("kind", &node.kind), ("standing", &node.standing)];
        (text.map(|(label, text)| (label, text.clone())).to_vec(), 1)
    });
    sheet.gauges("chain_node", "Attached nodes, by what each is called", nodes.collect())
}

impl Running {
    fn whole(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let status = &self.snapshot.status;
        let uptime = status.uptime_ns / 1_000_000_000;
        sheet.gauge("dataplane_uptime_seconds", "How long the process has run", uptime)?;
        sheet.gauge("notices", "What it wants people to know", status.notices.len() as u64)?;
        let clock = is_clock_off(&status.notices).into();
        sheet.gauge("clock_alarm", "The clock was set away from the time of leases", clock)?;
        let drops = self.snapshot.all_drops();
        let drops = drops.nonzero();
        let drops = drops.map(|(reason, n)| (vec![("reason", reason.name().to_owned())], n));
        sheet.counters("drops", "Packets dropped, by reason", drops.collect())?;
        let mut links: BTreeMap<&str, u64> = BTreeMap::new();
        for link in &self.links {
            *links.entry(&link.state).or_default() += 1;
        }
        let links = links.into_iter().map(|(state, n)| (vec![("state", state.to_owned())], n));
        sheet.gauges("links", "Links with keys, by state", links.collect())?;
        let unresolved = status.vifs.iter().filter(|vif| !vif.resolved).count() as u64;
        sheet.gauge("vifs_unresolved", "Vifs whose next hop is not known", unresolved)
    }

    fn ports(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let ports = || self.snapshot.status.ports.iter().zip(&self.snapshot.ports);
        let label = |name: &str| vec![("port", name.to_owned())];
        let up = ports().map(|(port, _)| (label(&port.name), port.up.into()));
        sheet.gauges("port_up", "Whether the device runs", up.collect())?;
        let each = |of: &dyn Fn(&PortTotals) -> u64| -> Vec<Sample> {
            ports().map(|(port, totals)| (label(&port.name), of(totals))).collect()
        };
        let counters = [
            ("port_rx_frames", "Frames received", PortCounter::RxFrames),
            ("port_rx_bytes", "Bytes received", PortCounter::RxBytes),
            ("port_tx_frames", "Frames sent", PortCounter::TxFrames),
            ("port_tx_bytes", "Bytes sent", PortCounter::TxBytes),
            ("port_punted", "Frames for the slow path", PortCounter::Punted),
            (
                "port_fill_ring_empty",
                "Times the kernel found no frame to fill",
                PortCounter::KernelFillEmpty,
            ),
        ];
        for (name, help, counter) in counters {
            sheet.counters(name, help, each(&|totals| totals.of(counter)))?;
        }
        let help = "Frames that the kernel dropped before the rings or for want of room in them";
        sheet.counters("port_kernel_drops", help, each(&PortTotals::kernel_drops))?;
        let drops = ports().flat_map(|(port, totals)| {
            let name = &port.name;
            totals.drops.nonzero().map(move |(reason, n)| {
                (vec![("port", name.clone()), ("reason", reason.name().to_owned())], n)
            })
        });
        let help = "Packets dropped whose vswitch was not known yet, by reason";
        sheet.counters("port_drops", help, drops.collect())
    }

    fn workers(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let workers = || self.snapshot.status.workers.iter().zip(&self.snapshot.workers);
        let each = |of: &dyn Fn(&WorkerTotals) -> u64| -> Vec<Sample> {
            let label = |id: u8| vec![("worker", id.to_string())];
            workers().map(|(worker, totals)| (label(worker.id.0), of(totals))).collect()
        };
        let counters = [
            ("worker_rounds", "Rounds of its loop", WorkerCounter::Rounds),
            ("worker_idle_rounds", "Rounds that moved nothing", WorkerCounter::IdleRounds),
            ("worker_sleeps", "Times it went to sleep", WorkerCounter::Sleeps),
            ("worker_handed_off", "Packets handed to another worker", WorkerCounter::HandedOff),
            ("worker_punted", "Packets handed to the slow path", WorkerCounter::Punted),
        ];
        for (name, help, counter) in counters {
            sheet.counters(name, help, each(&|totals| totals.of(counter)))?;
        }
        let gauges = [
            ("worker_frames_free", "Frames on its free list", WorkerCounter::FramesFree),
            ("worker_frames_queued", "Frames in its queues", WorkerCounter::FramesQueued),
        ];
        for (name, help, counter) in gauges {
            sheet.gauges(name, help, each(&|totals| totals.of(counter)))?;
        }
        Ok(())
    }

    /// The leases that sent most.
    fn leases(&self, top: usize, sheet: &mut Sheet<'_>) -> fmt::Result {
        if top == 0 {
            return Ok(());
        }
        let mut leases: Vec<_> = self.leases.iter().collect();
        leases.sort_by_key(|lease| (std::cmp::Reverse(lease.totals.sent_bytes()), lease.id));
        leases.truncate(top);
        let rate = leases.iter().map(|lease| (vec![("lease", lease.id.to_string())], lease.rate));
        let help = "Guaranteed, bytes of wire a second";
        sheet.gauges("lease_rate_bytes_per_second", help, rate.collect())?;
        let bytes = leases.iter().flat_map(|lease| {
            classes(lease).map(|(class, bytes)| {
                (vec![("lease", lease.id.to_string()), ("class", class.to_owned())], bytes)
            })
        });
        sheet.counters("lease_bytes", "Bytes of wire, by what became of them", bytes.collect())
    }
}

fn classes(lease: &LeaseStatus) -> [(&'static str, u64); 5] {
    let totals = &lease.totals;
    [
        ("guaranteed", totals.guaranteed.bytes),
        ("priority", totals.priority.bytes),
        ("free", totals.free.bytes),
        ("above_ceiling", totals.above_ceiling.bytes),
        ("no_room", totals.no_room.bytes),
    ]
}

fn state_name(state: &LeaseState) -> &'static str {
    match state {
        LeaseState::Offered { .. } => "offered",
        LeaseState::Sold => "sold",
        LeaseState::Bound => "bound",
        LeaseState::Active => "active",
        LeaseState::Grace => "grace",
    }
}

/// Whether the last word about the clock is that it was set.
fn is_clock_off(notices: &[String]) -> bool {
    let words = notices.iter().rev();
    let mut last = words.filter(|words| words.contains(CLOCK_SET) || words.contains(CLOCK_AGREES));
    last.next().is_some_and(|words| words.contains(CLOCK_SET))
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_api::chain::ChainNode;
    use dataplane_client::sample;
    use domain::Time;
    use service::State;

    fn scrape(running: Option<Running>) -> String {
        let (state, store_bytes) = (Arc::new(State::default()), 4096);
        let node = ChainNode {
            name: "full".into(),
            kind: "pktd".into(),
            standing: "lying".into(),
            ..ChainNode::default()
        };
        let chain = Some(ChainStatus { height: 9, nodes: vec![node], ..ChainStatus::default() });
        let scrape = Scrape { now: Time(0), state, store_bytes, running, chain, top_leases: 1 };
        scrape.render().unwrap()
    }

    #[test]
    fn the_box_is_told_by_port_worker_tenant_and_reason() {
        let lease = |id: u32, bytes: u64| {
            let mut lease = LeaseStatus { id, rate: 7, ..LeaseStatus::default() };
            lease.totals.free.bytes = bytes;
            lease
        };
        let running = Running {
            snapshot: sample::snapshot(2),
            links: sample::links(),
            leases: vec![lease(1, 5), lease(2, 9)],
        };
        let text = scrape(Some(running));
        for line in [
            "switchyard_dataplane_up 1",
            "switchyard_dataplane_uptime_seconds 2",
            "switchyard_spec_generation{kind=\"applied\"} 3",
            "switchyard_port_rx_frames_total{port=\"west\"} 2000",
            "switchyard_port_kernel_drops_total{port=\"west\"} 4",
            "switchyard_port_drops_total{port=\"west\",reason=\"unknown_link\"} 10",
            "switchyard_worker_frames_free{worker=\"1\"} 4000",
            "switchyard_tenant_rx_packets_total{tenant=\"1\"} 1200",
            "switchyard_tenant_drops_total{tenant=\"2\",reason=\"policy\"} 80",
            "switchyard_drops_total{reason=\"policy\"} 80",
            "switchyard_links{state=\"ESTABLISHED\"} 1",
            "switchyard_lease_bytes_total{lease=\"2\",class=\"free\"} 9",
            "switchyard_store_bytes 4096",
            "switchyard_chain_height 9",
            "switchyard_chain_node{node=\"full\",kind=\"pktd\",standing=\"lying\"} 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(!text.contains("lease=\"1\""), "one lease was asked for");
        assert!(text.ends_with("# EOF\n"));
    }

    /// An alert over a number that nobody shows would never fire.
    #[test]
    fn every_number_that_alerts_look_at_is_shown() {
        let rules = include_str!("../../../../packaging/prometheus/switchyard.rules.yml");
        let running =
            Running { snapshot: sample::snapshot(2), links: sample::links(), leases: Vec::new() };
        let text = scrape(Some(running));
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = rules.split(|c| !is_name(c)).filter(|word| word.starts_with("switchyard_"));
        let names: std::collections::BTreeSet<_> = names.collect();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            let shown = name.strip_suffix("_total").unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {shown} ")), "{name}");
        }
    }

    #[test]
    fn without_a_dataplane_it_is_told_that_there_is_none() {
        let text = scrape(None);
        assert!(text.contains("switchyard_dataplane_up 0\n"), "{text}");
        assert!(!text.contains("port_up"), "{text}");
    }

    #[test]
    fn the_last_word_about_the_clock_counts() {
        let set = "the system's clock was set 5 s away from …".to_owned();
        let agrees = "the system's clock agrees with the time of leases again".to_owned();
        let other = "port east: small pages".to_owned();
        assert!(is_clock_off(&[set.clone(), other.clone()]));
        assert!(!is_clock_off(&[set, agrees, other.clone()]));
        assert!(!is_clock_off(&[other]));
    }
}
