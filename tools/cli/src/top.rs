//! `top`: what the box carries, live: per tenant, per lease, per port, drops by reason, workers.

mod screen;

use crate::ProcessArgs;
use crate::connect::Process;
use anyhow::{Context, Result, ensure};
use clap::Args;
use dataplane_api::counters::{PortCounter, WorkerCounter};
use dataplane_api::status::{LeaseStatus, Volume};
use dataplane_api::{Direction, DropReason};
use dataplane_client::snapshot::{Drops, PortTotals, Snapshot, Traffic, TrafficRates, per_second};
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyModifiers};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Seconds between two looks
    #[arg(long, default_value_t = 1.0)]
    interval: f64,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Runs the command until `q`, Escape or Ctrl-C.
pub(crate) fn run(args: &TopArgs) -> Result<()> {
    let interval = Duration::try_from_secs_f64(args.interval).context("--interval")?;
    ensure!(
        interval >= Duration::from_millis(100),
        "--interval {}: give at least 0.1 seconds",
        args.interval
    );
    ensure!(
        std::io::stdout().is_terminal(),
        "top draws on a terminal, and the output is none: use `switchyard show ports --interval 1 --json` in scripts"
    );
    let mut process = Process::connect(&args.process)?;
    let mut earlier = Look::take(&mut process)?;
    let mut terminal = ratatui::try_init().context("preparing the terminal")?;
    let result = watch(&mut terminal, &mut process, &mut earlier, interval);
    ratatui::restore();
    result
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    process: &mut Process,
    earlier: &mut Look,
    interval: Duration,
) -> Result<()> {
    let mut picture = Picture::new(earlier, None);
    loop {
        terminal.draw(|frame| screen::draw(frame, &picture)).context("drawing")?;
        let deadline = Instant::now() + interval;
        while event::poll(deadline.saturating_duration_since(Instant::now()))? {
            let event = event::read()?;
            if event.as_key_press_event().is_some_and(leaves) {
                return Ok(());
            }
            // A resized terminal is drawn again at once.
            terminal.draw(|frame| screen::draw(frame, &picture)).context("drawing")?;
        }
        let now = Look::take(process)?;
        picture = Picture::new(&now, Some(earlier));
        *earlier = now;
    }
}

/// Whether a key ends the program; the terminal hands Ctrl-C over as a key.
fn leaves(key: KeyEvent) -> bool {
    let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// What is looked at, at one time.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) snapshot: Snapshot,
    pub(crate) leases: Vec<LeaseStatus>,
}

impl Look {
    fn take(process: &mut Process) -> Result<Self> {
        Ok(Self { snapshot: process.snapshot()?, leases: process.leases()? })
    }
}

/// All that is drawn.
#[derive(Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) heading: String,
    pub(crate) tenants: Vec<TenantLine>,
    pub(crate) leases: Vec<LeaseLine>,
    pub(crate) ports: Vec<PortLine>,
    pub(crate) drops: Vec<DropLine>,
    pub(crate) workers: Vec<WorkerLine>,
    pub(crate) notices: Vec<String>,
}

/// What one tenant's vswitches carry together.
#[derive(Debug, PartialEq)]
pub(crate) struct TenantLine {
    pub(crate) tenant: u32,
    /// Names of its vswitches.
    pub(crate) vswitches: String,
    pub(crate) rates: TrafficRates,
    pub(crate) drops_per_second: f64,
    pub(crate) drops: u64,
}

/// What one lease carries out of the box, bits of wire a second.
#[derive(Debug, PartialEq)]
pub(crate) struct LeaseLine {
    pub(crate) tenant: u32,
    pub(crate) lease: u32,
    /// Its vifs.
    pub(crate) vifs: String,
    pub(crate) guaranteed_bps: f64,
    pub(crate) priority_bps: f64,
    pub(crate) free_bps: f64,
    /// Part of the guaranteed rate that is used.
    pub(crate) used: f64,
    /// Packets above the ceiling, or without room.
    pub(crate) drops_per_second: f64,
    /// What 99 in a hundred packets waited less than, ns; `None`: none waited, or longer than can be told.
    pub(crate) p99_ns: Option<u64>,
}

/// What one port carries.
#[derive(Debug, PartialEq)]
pub(crate) struct PortLine {
    pub(crate) port: String,
    pub(crate) up: bool,
    pub(crate) backend: String,
    pub(crate) rates: TrafficRates,
    pub(crate) drops_per_second: f64,
    pub(crate) kernel_drops_per_second: f64,
}

/// Drops for one reason, over the whole box.
#[derive(Debug, PartialEq)]
pub(crate) struct DropLine {
    pub(crate) reason: DropReason,
    pub(crate) per_second: f64,
    pub(crate) drops: u64,
}

/// How one worker does.
#[derive(Debug, PartialEq)]
pub(crate) struct WorkerLine {
    pub(crate) worker: u8,
    pub(crate) core: Option<u32>,
    /// Share of rounds that moved something.
    pub(crate) busy: f64,
    pub(crate) frames_free: u64,
    pub(crate) frames_queued: u64,
    pub(crate) handed_off_per_second: f64,
}

impl Picture {
    /// What `now` shows beside `earlier`; rates are 0 without one.
    pub(crate) fn new(now: &Look, earlier: Option<&Look>) -> Self {
        let seconds = earlier.and_then(|earlier| now.snapshot.seconds_since(&earlier.snapshot));
        // Beside itself nothing has moved, and any time will do.
        let (earlier, seconds) = earlier.zip(seconds).unwrap_or((now, 1.0));
        let leases = leases(now, earlier, seconds);
        let (now, earlier) = (&now.snapshot, &earlier.snapshot);
        Self {
            leases,
            heading: heading(now),
            tenants: tenants(now, earlier, seconds),
            ports: ports(now, earlier, seconds),
            drops: drops(now, earlier, seconds),
            workers: workers(now, earlier, seconds),
            notices: now.status.notices.clone(),
        }
    }
}

fn heading(now: &Snapshot) -> String {
    let status = &now.status;
    let pending = if status.applied == status.accepted {
        String::new()
    } else {
        format!(" (workers use {})", status.applied)
    };
    format!(
        "switchyard {}  pid {}  up {}  generation {}{pending}  {} vswitches  {} vifs",
        status.version,
        status.pid,
        crate::units::uptime(status.uptime_ns),
        status.accepted,
        status.vswitches.len(),
        status.vifs.len()
    )
}

fn tenants(now: &Snapshot, earlier: &Snapshot, seconds: f64) -> Vec<TenantLine> {
    let mut names: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for vswitch in &now.status.vswitches {
        names.entry(vswitch.tenant).or_default().push(&vswitch.name);
    }
    let sums = |snapshot: &Snapshot, tenant: u32| {
        let (mut traffic, mut drops) = (Traffic::default(), 0);
        for vswitch in snapshot.status.vswitches.iter().filter(|vswitch| vswitch.tenant == tenant) {
            traffic.merge(&snapshot.traffic_of(|id| id == vswitch.id));
            drops += snapshot.vswitch_drops(vswitch.id).map_or(0, Drops::total);
        }
        (traffic, drops)
    };
    let line = |(tenant, names): (u32, Vec<&str>)| {
        let ((traffic, drops), (before, drops_before)) = (sums(now, tenant), sums(earlier, tenant));
        TenantLine {
            tenant,
            vswitches: crate::names::listed(names.into_iter()),
            rates: traffic.rates(&before, seconds),
            drops_per_second: per_second(drops_before, drops, seconds),
            drops,
        }
    };
    names.into_iter().map(line).collect()
}

/// By tenant, those that carry most first. A lease of what comes in has no counters, and no line.
fn leases(now: &Look, earlier: &Look, seconds: f64) -> Vec<LeaseLine> {
    let status = &now.snapshot.status;
    let tenant = |lease: &LeaseStatus| {
        let vif = status.vifs.iter().find(|vif| lease.vifs.contains(&vif.id))?;
        status.vswitches.iter().find(|at| at.id == vif.vswitch).map(|at| at.tenant)
    };
    let line = |lease: &LeaseStatus| {
        let before = earlier.leases.iter().find(|before| before.id == lease.id).unwrap_or(lease);
        let recent = lease.totals.since(&before.totals);
        let bits = |volume: Volume| per_second(0, volume.bytes * 8, seconds);
        let guaranteed_bps = bits(recent.guaranteed);
        let vifs: Vec<String> =
            lease.vifs.iter().map(|vif| crate::names::vif(status, *vif)).collect();
        LeaseLine {
            tenant: tenant(lease).unwrap_or(0),
            lease: lease.id,
            vifs: crate::names::listed(vifs.iter().map(String::as_str)),
            guaranteed_bps,
            priority_bps: bits(recent.priority),
            free_bps: bits(recent.free),
            used: guaranteed_bps / per_second(0, (lease.rate * 8).max(1), 1.0),
            drops_per_second: per_second(
                0,
                recent.above_ceiling.packets + recent.no_room.packets,
                seconds,
            ),
            p99_ns: recent.delay_within(0.99),
        }
    };
    let out = now.leases.iter().filter(|lease| lease.holds && lease.direction == Direction::Out);
    let mut lines: Vec<LeaseLine> = out.map(line).collect();
    let carried = |line: &LeaseLine| line.guaranteed_bps + line.priority_bps + line.free_bps;
    lines.sort_by(|a, b| {
        a.tenant.cmp(&b.tenant).then(carried(b).total_cmp(&carried(a))).then(a.lease.cmp(&b.lease))
    });
    lines
}

fn ports(now: &Snapshot, earlier: &Snapshot, seconds: f64) -> Vec<PortLine> {
    let nothing = PortTotals::default();
    let line = |(port, totals): (&dataplane_api::status::PortStatus, &PortTotals)| {
        let before = earlier.port(port.id).unwrap_or(&nothing);
        PortLine {
            port: port.name.clone(),
            up: port.up,
            backend: port.backend.clone(),
            rates: port_traffic(totals).rates(&port_traffic(before), seconds),
            drops_per_second: per_second(before.drops.total(), totals.drops.total(), seconds),
            kernel_drops_per_second: per_second(
                before.kernel_drops(),
                totals.kernel_drops(),
                seconds,
            ),
        }
    };
    now.status.ports.iter().zip(&now.ports).map(line).collect()
}

fn port_traffic(totals: &PortTotals) -> Traffic {
    Traffic {
        rx_packets: totals.of(PortCounter::RxFrames),
        rx_bytes: totals.of(PortCounter::RxBytes),
        tx_packets: totals.of(PortCounter::TxFrames),
        tx_bytes: totals.of(PortCounter::TxBytes),
    }
}

fn drops(now: &Snapshot, earlier: &Snapshot, seconds: f64) -> Vec<DropLine> {
    let before = earlier.all_drops();
    let all = now.all_drops();
    let mut lines: Vec<DropLine> = all
        .nonzero()
        .map(|(reason, n)| DropLine {
            reason,
            per_second: per_second(before.of(reason), n, seconds),
            drops: n,
        })
        .collect();
    // What happens now comes first, then what happened most.
    lines.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(b.drops.cmp(&a.drops)));
    lines
}

fn workers(now: &Snapshot, earlier: &Snapshot, seconds: f64) -> Vec<WorkerLine> {
    let line = |(worker, totals): (
        &dataplane_api::status::WorkerStatus,
        &dataplane_client::snapshot::WorkerTotals,
    )| {
        let before = earlier.worker(worker.id).filter(|_| !std::ptr::eq(now, earlier));
        let handed_off =
            |totals: &dataplane_client::snapshot::WorkerTotals| totals.of(WorkerCounter::HandedOff);
        WorkerLine {
            worker: worker.id.0,
            core: worker.core,
            busy: totals.busy_since(before),
            frames_free: totals.of(WorkerCounter::FramesFree),
            frames_queued: totals.of(WorkerCounter::FramesQueued),
            handed_off_per_second: before
                .map_or(0.0, |before| per_second(handed_off(before), handed_off(totals), seconds)),
        }
    };
    now.status.workers.iter().zip(&now.workers).map(line).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dataplane_api::status::LeaseTotals;
    use dataplane_client::sample;

    /// Leases of the sample's tenants, after so many seconds.
    pub(crate) fn look(seconds: u64) -> Look {
        let snapshot = sample::snapshot(seconds);
        let lease = |id: u32, vif: usize, packets: u64| {
            let mut delays = LeaseTotals::default().delays;
            delays[1] = packets;
            LeaseStatus {
                id,
                vifs: vec![snapshot.status.vifs[vif].id],
                rate: 1_000_000,
                holds: true,
                totals: LeaseTotals {
                    guaranteed: Volume { packets, bytes: packets * 1_000 },
                    priority: Volume { packets, bytes: packets * 500 },
                    no_room: Volume { packets: 3 * seconds, bytes: 0 },
                    delays,
                    ..LeaseTotals::default()
                },
                ..LeaseStatus::default()
            }
        };
        let last = snapshot.status.vifs.len() - 1;
        let inward = LeaseStatus { direction: Direction::In, ..lease(4, 0, 1) };
        let over = LeaseStatus { holds: false, ..lease(5, 0, 1) };
        let leases = vec![
            lease(1, last, 900 * seconds),
            lease(2, 0, 10 * seconds),
            lease(3, 0, 500 * seconds),
            inward,
            over,
        ];
        Look { snapshot, leases }
    }

    #[test]
    fn leases_are_shown_by_tenant_and_by_what_they_carry() {
        let picture = Picture::new(&look(3), Some(&look(1)));
        let order: Vec<_> = picture.leases.iter().map(|line| (line.tenant, line.lease)).collect();
        assert_eq!(order, [(1, 3), (1, 2), (2, 1)]);
        let line = &picture.leases[0];
        let rates = [line.guaranteed_bps, line.priority_bps, line.free_bps];
        assert!(rates.iter().zip([4e6, 2e6, 0.0]).all(|(a, b)| (a - b).abs() < 1.0), "{line:?}");
        assert!((line.used - 0.5).abs() < 1e-9 && (line.drops_per_second - 3.0).abs() < 1e-9);
        assert!(line.p99_ns.is_some());
        assert!(picture.leases[2].used > 0.8);
    }

    #[test]
    fn the_picture_shows_rates_per_tenant_and_the_worst_drops_first() {
        let picture = Picture::new(&look(3), Some(&look(1)));
        assert_eq!(picture.tenants.len(), 2);
        assert_eq!(picture.tenants[0].vswitches, "red");
        assert!((picture.tenants[0].rates.rx_pps - 600.0).abs() < 1e-6);
        assert!((picture.tenants[1].drops_per_second - 40.0).abs() < 1e-6);
        let reasons: Vec<DropReason> = picture.drops.iter().map(|line| line.reason).collect();
        assert_eq!(reasons, [DropReason::Policy, DropReason::UnknownLink]);
        assert!((picture.ports[0].kernel_drops_per_second - 2.0).abs() < 1e-6);
        assert!((picture.workers[0].busy - 0.75).abs() < 1e-9);
    }

    #[test]
    fn the_first_picture_has_totals_and_no_rates() {
        let picture = Picture::new(&look(3), None);
        assert_eq!(picture.drops[0].drops, 120);
        assert!(picture.drops.iter().all(|line| line.per_second.abs() < 1e-9));
    }
}
