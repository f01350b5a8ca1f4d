//! The part of the manager that leases are: which of them hold, what they give, and what passes while workers are
//! behind.

use super::Manager;
use crate::allowances::allowances;
use crate::box_clock::Look;
use crate::clock;
use crate::counters::SharedCounters;
use crate::plan::port_id;
use dataplane_api::Direction;
use dataplane_api::status::{LeaseStatus, LeaseTotals};
use engine::{LeaseInfo, Leases};
use io::IoError;
use rand_core::UnwrapErr;
use std::sync::Arc;

impl Manager {
    /// Lets those leases hold whose time it is.
    pub(super) fn choose_leases(&mut self) {
        let now = self.box_clock.unix_ms(clock::now());
        let rules = &self.tables.rules;
        let due = rules.leases_change_after(now);
        self.leases_due = due.map(|unix_ms| self.box_clock.monotonic(unix_ms));
        let edition = self.tables.leases.edition() + 1;
        self.tables.leases = Arc::new(Leases::at(rules, now, edition));
    }

    /// Starts and ends leases, and follows the clock they go by.
    pub(crate) fn follow_leases(&mut self) {
        let now = clock::now();
        match self.box_clock.follow(now, clock::wall_nanos()) {
            Look::Steady => {}
            Look::Stepped(off) => self.notice(format!(
                "the system's clock was set {} s away from the time that leases go by: they run on by that time; \
                 restart the dataplane if the clock is right now",
                off / 1_000_000_000
            )),
            Look::Back => self.notice("the system's clock agrees with the time of leases again".into()),
        }
        if self.leases_due.is_some_and(|due| due <= now) {
            self.choose_leases();
            self.publish();
            self.allow();
        }
    }

    /// Says where more may be guaranteed at once than frames have room to wait.
    pub(super) fn look_at_bursts(&mut self) {
        const ABOUT: &str = "guaranteed bursts: ";
        self.notices.retain(|notice| !notice.starts_with(ABOUT));
        let room = self.plan.limits.guaranteed_frames as u64;
        let mut notices = Vec::new();
        for (index, facts) in self.facts.iter().enumerate() {
            let Some((bytes, longest)) = self.tables.rules.bursts(port_id(index)) else { continue };
            let frames = bytes.div_ceil(longest.max(1));
            if frames > room {
                notices.push(format!(
                    "{ABOUT}leases on port {} may have {bytes} bytes at once on one worker, {frames} of the longest frames; \
                     limits.guaranteed_frames keeps room for {room}: give at least {frames}, and {} for the shortest",
                    facts.name,
                    bytes.div_ceil(84)
                ));
            }
        }
        notices.into_iter().for_each(|notice| self.notice(notice));
    }

    /// Tells XDP programs what passes while workers are behind.
    pub(crate) fn allow(&mut self) {
        let Self { ports, tables, .. } = self;
        let told = ports.iter_mut().enumerate().map(|(index, port)| {
            port.allow(|| allowances(&tables.rules, &tables.leases, port_id(index)))
        });
        let failed: Vec<IoError> = told.filter_map(Result::err).collect();
        failed.into_iter().for_each(|error| self.notice(error.to_string()));
    }

    /// Leases and what they gave.
    pub(crate) fn leases(&self) -> Vec<LeaseStatus> {
        let now = self.box_clock.unix_ms(clock::now());
        let leases = self.tables.rules.leases();
        leases.map(|lease| lease_status(&self.counters, lease, now)).collect()
    }

    /// Writes receipts.
    pub(super) fn follow_receipts(&mut self) {
        let now = self.box_clock.unix_ms(clock::now());
        let (rules, counters) = (&self.tables.rules, &self.counters);
        self.receipts.follow(now, || {
            let key = |lease: &LeaseInfo| {
                let vswitch = rules.vif(lease.leader()?)?.vswitch;
                Some(rules.vswitch(vswitch)?.key.to_string())
            };
            let sold = rules.leases().filter(|lease| lease.direction == Direction::Out);
            sold.filter_map(|lease| Some((key(lease)?, lease_status(counters, lease, now))))
                .collect()
        });
        let mut random = UnwrapErr(getrandom::SysRng);
        if let Err(error) = self.receipts.keep(&self.tables.identities, &mut random) {
            self.notice(format!("receipts cannot be kept on disk: {error}"));
        }
    }
}

fn lease_status(counters: &SharedCounters, lease: &LeaseInfo, now: u64) -> LeaseStatus {
    let mut totals = LeaseTotals::default();
    if lease.direction == Direction::Out {
        lease.vifs.iter().for_each(|vif| totals.add(&counters.lease(*vif)));
    }
    LeaseStatus {
        id: lease.id,
        direction: lease.direction,
        port: lease.port,
        vifs: lease.vifs.clone(),
        rate: lease.terms.rate,
        burst: lease.terms.burst,
        weight: lease.terms.weight,
        ceiling: lease.terms.ceiling,
        preserve_order: lease.terms.preserve_order,
        start: Some(lease.start).filter(|start| *start > 0),
        end: Some(lease.end).filter(|end| *end < u64::MAX),
        holds: lease.holds(now),
        totals,
    }
}
