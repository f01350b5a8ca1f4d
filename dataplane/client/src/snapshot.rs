//! Status and counters at one moment, and what moved between two moments.

use crate::counters::CounterFile;
use dataplane_api::counters::{
    Layout, PORT_SLOTS, PortCounter, VIF_SLOTS, VifCounter, WORKER_SLOTS, WorkerCounter,
};
use dataplane_api::{DropReason, Nanos, PortId, Status, VifId, VswitchId, WorkerId};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Where counters are read from: the process' shared memory, or a value in a test.
pub trait Counters {
    /// Sizes of a bank's parts.
    fn layout(&self) -> Layout;
    /// Banks, one per worker.
    fn banks(&self) -> usize;
    /// One counter of one worker; 0 beyond the bank.
    fn read(&self, bank: usize, slot: usize) -> u64;
}

impl Counters for CounterFile {
    fn layout(&self) -> Layout {
        self.layout()
    }
    fn banks(&self) -> usize {
        self.banks()
    }
    fn read(&self, bank: usize, slot: usize) -> u64 {
        self.read(bank, slot)
    }
}

/// Drops by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops(Vec<u64>);

impl Default for Drops {
    fn default() -> Self {
        Self(vec![0; DropReason::COUNT])
    }
}

impl Drops {
    /// Drops for one reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds `n` to one reason.
    pub fn add(&mut self, reason: DropReason, n: u64) {
        self.0[reason as usize] += n;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// Those that are not 0, in counter order.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.of(*reason))).filter(|(_, n)| *n > 0)
    }
}

impl Serialize for Drops {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (reason, n) in self.nonzero() {
            map.serialize_entry(reason.name(), &n)?;
        }
        map.end()
    }
}

/// A port's counters, summed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortTotals {
    slots: [u64; PORT_SLOTS],
    /// Drops charged to the port: the packet's vswitch was not known.
    pub drops: Drops,
}

impl PortTotals {
    /// One counter.
    pub fn of(&self, counter: PortCounter) -> u64 {
        self.slots[counter as usize]
    }

    /// Frames that the kernel dropped on their way to or from the rings. `KernelFillEmpty` is not part of it: the
    /// same frames are in `KernelRxDropped` already.
    pub fn kernel_drops(&self) -> u64 {
        self.of(PortCounter::KernelRxDropped) + self.of(PortCounter::KernelRxRingFull)
    }
}

/// Packets and bytes both ways; of a vif, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}

impl Traffic {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
    }

    /// What a second brought, between `earlier` and now.
    pub fn rates(&self, earlier: &Self, seconds: f64) -> TrafficRates {
        TrafficRates {
            rx_pps: per_second(earlier.rx_packets, self.rx_packets, seconds),
            rx_bps: 8.0 * per_second(earlier.rx_bytes, self.rx_bytes, seconds),
            tx_pps: per_second(earlier.tx_packets, self.tx_packets, seconds),
            tx_bps: 8.0 * per_second(earlier.tx_bytes, self.tx_bytes, seconds),
        }
    }
}

/// What the packet numbers of a link with keys tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Numbering {
    /// Packets that were authentic and new.
    pub opened: u64,
    /// Packets whose number was seen before, or is too old to tell.
    pub replayed: u64,
    /// Numbers that had not come when a higher one came.
    pub skipped: u64,
    /// Of those, the ones that came after all.
    pub late: u64,
}

impl Numbering {
    /// Between `earlier` and now.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            opened: self.opened.saturating_sub(earlier.opened),
            replayed: self.replayed.saturating_sub(earlier.replayed),
            skipped: self.skipped.saturating_sub(earlier.skipped),
            late: self.late.saturating_sub(earlier.late),
        }
    }

    /// Share of what the neighbour sent that never came; `None` when it sent nothing that is known of.
    pub fn loss(&self) -> Option<f64> {
        let lost = self.skipped.saturating_sub(self.late);
        let sent = lost + self.opened;
        #[expect(clippy::cast_precision_loss, reason = "a share is shown with three digits")]
        (sent > 0).then(|| lost as f64 / sent as f64)
    }
}

/// Packets and bits a second, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TrafficRates {
    /// Packets received a second.
    pub rx_pps: f64,
    /// Bits received a second.
    pub rx_bps: f64,
    /// Packets sent a second.
    pub tx_pps: f64,
    /// Bits sent a second.
    pub tx_bps: f64,
}

/// A worker's own counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerTotals([u64; WORKER_SLOTS]);

impl WorkerTotals {
    /// One counter.
    pub const fn of(&self, counter: WorkerCounter) -> u64 {
        self.0[counter as usize]
    }

    /// Share of rounds that moved something: since `before`, or since the start.
    pub fn busy_since(&self, before: Option<&Self>) -> f64 {
        let since = |counter| {
            self.of(counter).saturating_sub(before.map_or(0, |before| before.of(counter)))
        };
        let (rounds, idle) = (since(WorkerCounter::Rounds), since(WorkerCounter::IdleRounds));
        if rounds == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share is shown with three digits")]
        (1.0 - idle as f64 / rounds as f64)
    }
}

/// Everything at one moment. The totals stand in the order of the status' own lists.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When, on the clock of `Status::uptime_ns`.
    pub at_ns: Nanos,
    /// What the process said.
    pub status: Status,
    /// As `status.ports`.
    pub ports: Vec<PortTotals>,
    /// As `status.vswitches`: drops charged to each.
    pub vswitches: Vec<Drops>,
    /// As `status.vifs`.
    pub vifs: Vec<Traffic>,
    /// As `status.vifs`; all 0 where the link has no keys.
    pub numberings: Vec<Numbering>,
    /// As `status.workers`.
    pub workers: Vec<WorkerTotals>,
}

impl Snapshot {
    /// Reads the counters of all that `status` lists.
    pub fn take(status: Status, counters: &dyn Counters) -> Self {
        let layout = counters.layout();
        let sum =
            |slot: usize| (0..counters.banks()).map(|bank| counters.read(bank, slot)).sum::<u64>();
        let (vifs, numberings) =
            status.vifs.iter().map(|vif| read_vif(&layout, vif.id, &sum)).unzip();
        Self {
            at_ns: status.uptime_ns,
            ports: status.ports.iter().map(|port| read_port(&layout, port.id, &sum)).collect(),
            vswitches: status
                .vswitches
                .iter()
                .map(|vswitch| read_drops(&layout, vswitch.id, &sum))
                .collect(),
            vifs,
            numberings,
            workers: (status.workers.iter())
                .map(|worker| {
                    WorkerTotals(std::array::from_fn(|slot| counters.read(worker.id.index(), slot)))
                })
                .collect(),
            status,
        }
    }

    /// Seconds from `earlier` to this one; `None` when the process was restarted between them, or no time passed.
    pub fn seconds_since(&self, earlier: &Self) -> Option<f64> {
        let nanos = self.at_ns.checked_sub(earlier.at_ns).filter(|nanos| *nanos > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
        (self.status.pid == earlier.status.pid).then_some(nanos as f64 / 1e9)
    }

    /// Totals of a port.
    pub fn port(&self, id: PortId) -> Option<&PortTotals> {
        let index = self.status.ports.iter().position(|port| port.id == id)?;
        self.ports.get(index)
    }

    /// Totals of a vif.
    pub fn vif(&self, id: VifId) -> Option<&Traffic> {
        let index = self.status.vifs.iter().position(|vif| vif.id == id)?;
        self.vifs.get(index)
    }

    /// Packet numbers of a vif's link.
    pub fn numbering(&self, id: VifId) -> Option<&Numbering> {
        let index = self.status.vifs.iter().position(|vif| vif.id == id)?;
        self.numberings.get(index)
    }

    /// Drops charged to a vswitch.
    pub fn vswitch_drops(&self, id: VswitchId) -> Option<&Drops> {
        let index = self.status.vswitches.iter().position(|vswitch| vswitch.id == id)?;
        self.vswitches.get(index)
    }

    /// Counters of a worker.
    pub fn worker(&self, id: WorkerId) -> Option<&WorkerTotals> {
        let index = self.status.workers.iter().position(|worker| worker.id == id)?;
        self.workers.get(index)
    }

    /// Traffic of all vifs that `wanted` picks by their position in the status.
    pub fn traffic_of(&self, wanted: impl Fn(VswitchId) -> bool) -> Traffic {
        let mut traffic = Traffic::default();
        for (vif, totals) in self.status.vifs.iter().zip(&self.vifs) {
            if wanted(vif.vswitch) {
                traffic.merge(totals);
            }
        }
        traffic
    }

    /// Drops of the whole box: ports' and vswitches'. What the slow path drops is charged to its vswitch already.
    pub fn all_drops(&self) -> Drops {
        let mut all = Drops::default();
        for drops in self.ports.iter().map(|port| &port.drops).chain(&self.vswitches) {
            all.merge(drops);
        }
        all
    }
}

/// What a second brought. A counter that is lower than before was zeroed for a new owner, and counts from 0.
#[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
pub fn per_second(earlier: u64, now: u64, seconds: f64) -> f64 {
    now.checked_sub(earlier).unwrap_or(now) as f64 / seconds
}

fn read_port(layout: &Layout, id: PortId, sum: &dyn Fn(usize) -> u64) -> PortTotals {
    // The port's own counters are one run of slots.
    let first = layout.port(id, PortCounter::RxFrames);
    let mut drops = Drops::default();
    for reason in DropReason::ALL {
        drops.add(*reason, sum(layout.port_drop(id, *reason)));
    }
    PortTotals { slots: std::array::from_fn(|index| sum(first + index)), drops }
}

fn read_drops(layout: &Layout, id: VswitchId, sum: &dyn Fn(usize) -> u64) -> Drops {
    let mut drops = Drops::default();
    for reason in DropReason::ALL {
        drops.add(*reason, sum(layout.vswitch_drop(id, *reason)));
    }
    drops
}

fn read_vif(layout: &Layout, id: VifId, sum: &dyn Fn(usize) -> u64) -> (Traffic, Numbering) {
    let first = layout.vif(id);
    let slots: [u64; VIF_SLOTS] = std::array::from_fn(|index| sum(first + index));
    let of = |counter: VifCounter| slots[counter as usize];
    let traffic = Traffic {
        rx_packets: of(VifCounter::RxPackets),
        rx_bytes: of(VifCounter::RxBytes),
        tx_packets: of(VifCounter::TxPackets),
        tx_bytes: of(VifCounter::TxBytes),
    };
    let numbering = Numbering {
        opened: of(VifCounter::Opened),
        replayed: of(VifCounter::Replayed),
        skipped: of(VifCounter::Skipped),
        late: of(VifCounter::Late),
    };
    (traffic, numbering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn totals_are_summed_over_workers_and_keep_to_their_owner() {
        let snapshot = sample::snapshot(1);
        let west = snapshot.port(PortId(0)).unwrap();
        assert_eq!(west.of(PortCounter::RxFrames), 1000);
        assert_eq!(west.drops.nonzero().collect::<Vec<_>>(), [(DropReason::UnknownLink, 5)]);
        assert_eq!(snapshot.port(PortId(1)).unwrap().of(PortCounter::RxFrames), 0);
        assert_eq!(snapshot.vif(VifId(0)).unwrap().rx_packets, 600);
        assert_eq!(snapshot.vswitch_drops(VswitchId(1)).unwrap().of(DropReason::Policy), 40);
        assert_eq!(snapshot.vswitch_drops(VswitchId(0)).unwrap().total(), 0);
        assert_eq!(snapshot.all_drops().total(), 5 + 40);
        assert_eq!(snapshot.workers[1].of(WorkerCounter::Rounds), 100);
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let (earlier, now) = (sample::snapshot(1), sample::snapshot(3));
        let seconds = now.seconds_since(&earlier).unwrap();
        assert!((seconds - 2.0).abs() < 1e-9);
        let rates = now.vifs[0].rates(&earlier.vifs[0], seconds);
        assert!((rates.rx_pps - 600.0).abs() < 1e-6, "{rates:?}");
        assert!((rates.rx_bps - 600.0 * 100.0 * 8.0).abs() < 1e-6, "{rates:?}");
    }

    #[test]
    fn what_came_late_is_not_lost() {
        let numbering = Numbering { opened: 90, replayed: 7, skipped: 12, late: 2 };
        assert!((numbering.loss().unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(Numbering::default().loss(), None);
        assert_eq!(numbering.since(&numbering).loss(), None);
        // The late packet was skipped before the time that is looked at.
        assert_eq!(Numbering { opened: 5, skipped: 1, late: 2, ..numbering }.loss(), Some(0.0));
    }

    #[test]
    fn a_restarted_process_has_no_rates_and_a_zeroed_counter_starts_from_0() {
        let (earlier, mut now) = (sample::snapshot(1), sample::snapshot(3));
        now.status.pid += 1;
        assert_eq!(now.seconds_since(&earlier), None);
        assert_eq!(earlier.seconds_since(&earlier), None);
        assert!((per_second(1000, 10, 2.0) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn drops_that_are_0_are_left_out_of_json() {
        let mut drops = Drops::default();
        drops.add(DropReason::Policy, 2);
        assert_eq!(serde_json::to_string(&drops).unwrap(), r#"{"policy":2}"#);
    }
}
