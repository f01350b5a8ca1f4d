//! What is done again and again: what is due, the dataplane, receipts, and systemd's watchdog.

use crate::clock;
use sd_notify::NotifyState;
use service::{DataplaneState, Service};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Between two rounds.
pub(crate) const ROUND: Duration = Duration::from_secs(1);
/// Rounds from one look at receipts to the next.
const RECEIPTS_ROUNDS: u32 = 60;

/// The timer's work.
#[derive(Debug)]
pub(crate) struct Timer {
    pub(crate) service: Arc<Service>,
    /// Grows while requests are served.
    pub(crate) beat: Arc<AtomicU64>,
    /// Hangs up when the timer shall end.
    pub(crate) stop: Receiver<()>,
}

impl Timer {
    /// Works until it shall end.
    pub(crate) fn work(self) {
        let (mut round, mut beat, mut known) = (0_u32, 0, None);
        loop {
            self.do_round(round);
            let dataplane = self.service.state().dataplane.clone();
            if known.as_ref() != Some(&dataplane) {
                tell(known.as_ref(), &dataplane);
                known = Some(dataplane);
            }
            // A process that no longer answers is no better for a timer that goes on.
            let beats = self.beat.load(Ordering::Relaxed);
            if beats != beat {
                beat = beats;
                notify(&[NotifyState::Watchdog]);
            }
            round = round.wrapping_add(1);
            match self.stop.recv_timeout(ROUND) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn do_round(&self, round: u32) {
        if let Err(error) = self.service.tick(clock::now()) {
            tracing::error!("what is due: {error}");
        }
        if let Err(error) = self.service.tend_dataplane() {
            tracing::error!("look after the dataplane: {error}");
        }
        if round.is_multiple_of(RECEIPTS_ROUNDS) {
            match self.service.fetch_receipts() {
                Ok(0) => {}
                Ok(count) => tracing::debug!("{count} receipts"),
                Err(error) => tracing::error!("fetch receipts: {error}"),
            }
        }
    }
}

/// Says what changed about the dataplane.
fn tell(before: Option<&DataplaneState>, after: &DataplaneState) {
    let trouble = after.trouble.as_deref().unwrap_or_default();
    match (before, after) {
        (_, DataplaneState { is_there: false, .. }) => {
            if before.is_none_or(|before| before.is_there) {
                tracing::warn!("the dataplane is away: {trouble}");
            }
        }
        (_, DataplaneState { trouble: Some(trouble), .. }) => tracing::error!("{trouble}"),
        (Some(before), DataplaneState { pid, accepted, .. }) => {
            if !before.is_there || before.pid != *pid || before.trouble.is_some() {
                tracing::info!(pid, generation = accepted, "the dataplane is there");
            }
        }
        (None, DataplaneState { pid, accepted, .. }) => {
            tracing::info!(pid, generation = accepted, "the dataplane is there");
        }
    }
}

/// Tells systemd, where it asked to be told.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("sd_notify: {error}");
    }
}
