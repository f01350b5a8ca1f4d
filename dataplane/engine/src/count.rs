//! The one place where counters move.

use crate::schedule::Class;
use crypt::data::Arrived;
use dataplane_api::counters::{
    Bank, Layout, LeaseCounter, PortCounter, VIF_SLOTS, VifCounter, WorkerCounter, delay_bucket,
};
use dataplane_api::{DropReason, Nanos, PortId, VifId, VswitchId};

/// A worker's bank, and where things are in it.
#[derive(Debug)]
pub(crate) struct Counts<B> {
    pub(crate) bank: B,
    layout: Layout,
    /// Slot of the first vif's counters.
    vifs_start: usize,
}

impl<B: Bank> Counts<B> {
    pub(crate) fn new(bank: B, layout: Layout) -> Self {
        Self { bank, layout, vifs_start: layout.vif(VifId(0)) }
    }

    #[inline]
    pub(crate) fn worker(&mut self, counter: WorkerCounter, n: u64) {
        if n != 0 {
            self.bank.add(self.layout.worker(counter), n);
        }
    }

    #[inline]
    pub(crate) fn port(&mut self, port: PortId, counter: PortCounter, n: u64) {
        if n != 0 {
            self.bank.add(self.layout.port(port, counter), n);
        }
    }

    /// A frame of `bytes` came in on a link.
    #[inline]
    pub(crate) fn received(&mut self, vif: VifId, bytes: usize) {
        let slot = self.vifs_start + vif.index() * VIF_SLOTS;
        self.bank.add_pair(slot + VifCounter::RxPackets as usize, 1, bytes as u64);
    }

    /// A packet of a link was authentic and new.
    #[inline]
    pub(crate) fn opened(&mut self, vif: VifId, arrived: Arrived) {
        let slot = self.vifs_start + vif.index() * VIF_SLOTS;
        self.bank.add(slot + VifCounter::Opened as usize, 1);
        if arrived != Arrived::default() {
            self.bank.add(slot + VifCounter::Skipped as usize, arrived.skipped.into());
            self.bank.add(slot + VifCounter::Late as usize, arrived.late.into());
        }
    }

    /// A packet of a link was authentic and not new.
    #[cold]
    pub(crate) fn replayed(&mut self, vif: VifId) {
        let slot = self.vifs_start + vif.index() * VIF_SLOTS;
        self.bank.add(slot + VifCounter::Replayed as usize, 1);
    }

    /// A frame of `bytes` leaves on a link.
    #[inline]
    pub(crate) fn sent(&mut self, vif: VifId, bytes: usize) {
        let slot = self.vifs_start + vif.index() * VIF_SLOTS;
        self.bank.add_pair(slot + VifCounter::TxPackets as usize, 1, bytes as u64);
    }

    /// A packet of a leased vif left after `waited` ns.
    #[inline]
    pub(crate) fn sold(&mut self, vif: VifId, class: Class, bytes: u64, waited: Nanos) {
        let slot = self.layout.lease(vif);
        let counter = match class {
            Class::Guaranteed => LeaseCounter::GuaranteedPackets,
            Class::Priority => LeaseCounter::PriorityPackets,
            Class::Free => LeaseCounter::FreePackets,
        };
        self.bank.add_pair(slot + counter as usize, 1, bytes);
        if class != Class::Free {
            self.bank.add(slot + LeaseCounter::Delays as usize + delay_bucket(waited), 1);
        }
    }

    /// A packet of a leased vif found no room.
    #[cold]
    pub(crate) fn unsold(&mut self, vif: VifId, reason: DropReason, bytes: u64) {
        let counter = match reason == DropReason::Ceiling {
            true => LeaseCounter::AboveCeilingPackets,
            false => LeaseCounter::NoRoomPackets,
        };
        self.bank.add_pair(self.layout.lease(vif) + counter as usize, 1, bytes);
    }

    /// A drop before the vswitch was known.
    #[cold]
    pub(crate) fn port_drop(&mut self, port: PortId, reason: DropReason, n: u64) {
        if n != 0 {
            self.bank.add(self.layout.port_drop(port, reason), n);
        }
    }

    /// A drop of a vswitch's packet.
    #[cold]
    pub(crate) fn vswitch_drop(&mut self, vswitch: VswitchId, reason: DropReason) {
        self.bank.add(self.layout.vswitch_drop(vswitch, reason), 1);
    }
}
