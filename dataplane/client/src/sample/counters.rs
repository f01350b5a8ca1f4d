//! Counters that grow by the second.

use crate::snapshot::{Counters, Snapshot};
use dataplane_api::counters::{Layout, PortCounter, VifCounter, WorkerCounter};
use dataplane_api::{DropReason, PortId, VifId, VswitchId};

struct Banks {
    layout: Layout,
    banks: Vec<Vec<u64>>,
}

impl Counters for Banks {
    fn layout(&self) -> Layout {
        self.layout
    }
    fn banks(&self) -> usize {
        self.banks.len()
    }
    fn read(&self, bank: usize, slot: usize) -> u64 {
        self.banks[bank].get(slot).copied().unwrap_or(0)
    }
}

/// The box after `seconds`.
pub fn snapshot(seconds: u64) -> Snapshot {
    let layout = Layout { ports: 2, vifs: 8, vswitches: 4 };
    let mut banks = vec![vec![0; layout.len()]; 2];
    let west = PortId(0);
    // Port west and vif red:2 are counted by both workers: the totals are sums.
    for (bank, share) in banks.iter_mut().zip([400, 600]) {
        bank[layout.port(west, PortCounter::RxFrames)] = share * seconds;
        bank[layout.port(west, PortCounter::RxBytes)] = share * 100 * seconds;
        bank[layout.vif(VifId(0)) + VifCounter::RxPackets as usize] = 300 * seconds;
        bank[layout.vif(VifId(0)) + VifCounter::RxBytes as usize] = 300 * 100 * seconds;
        bank[layout.worker(WorkerCounter::Rounds)] = 100 * seconds;
        bank[layout.worker(WorkerCounter::IdleRounds)] = 25 * seconds;
        bank[layout.worker(WorkerCounter::FramesFree)] = 4000;
    }
    banks[0][layout.port(PortId(1), PortCounter::TxFrames)] = 550 * seconds;
    banks[0][layout.port(west, PortCounter::KernelRxRingFull)] = 2 * seconds;
    banks[1][layout.vif(VifId(1)) + VifCounter::TxPackets as usize] = 550 * seconds;
    banks[0][layout.port_drop(west, DropReason::UnknownLink)] = 5 * seconds;
    banks[1][layout.vswitch_drop(VswitchId(1), DropReason::Policy)] = 40 * seconds;
    for (counter, each_second) in
        [(VifCounter::Opened, 90), (VifCounter::Skipped, 12), (VifCounter::Late, 2)]
    {
        banks[0][layout.vif(VifId(4)) + counter as usize] = each_second * seconds;
    }
    Snapshot::take(super::status(seconds), &Banks { layout, banks })
}
