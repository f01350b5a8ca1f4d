//! What the dataplane last said, for a moment: so that many who look cost it no more than one.

use crate::live::{Counters, Live, LiveError};
use crate::problem::Problem;
use dataplane_api::Status;
use dataplane_api::status::{LeaseStatus, LinkStatus};
use domain::Time;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// For how long an answer is good, milliseconds.
const GOOD_MS: u64 = 500;

/// Answers, each with when it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    status: Kept<Status>,
    links: Kept<Vec<LinkStatus>>,
    leases: Kept<Vec<LeaseStatus>>,
    counters: Kept<Counters>,
}

struct Kept<T>(Mutex<Option<(Time, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl<T> Kept<T> {
    /// Blocks while somebody else asks: his answer is as good.
    fn get(
        &self,
        now: Time,
        ask: impl FnOnce() -> Result<T, LiveError>,
    ) -> Result<Arc<T>, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, value)) = kept.as_ref()
            && now.0.abs_diff(at.0) < GOOD_MS
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(ask()?);
        *kept = Some((now, Arc::clone(&value)));
        Ok(value)
    }
}

impl Cache {
    pub(crate) fn status(&self, now: Time, live: &dyn Live) -> Result<Arc<Status>, Problem> {
        self.status.get(now, || live.status())
    }

    pub(crate) fn links(
        &self,
        now: Time,
        live: &dyn Live,
    ) -> Result<Arc<Vec<LinkStatus>>, Problem> {
        self.links.get(now, || live.links())
    }

    pub(crate) fn leases(
        &self,
        now: Time,
        live: &dyn Live,
    ) -> Result<Arc<Vec<LeaseStatus>>, Problem> {
        self.leases.get(now, || live.leases())
    }

    pub(crate) fn counters(&self, now: Time, live: &dyn Live) -> Result<Arc<Counters>, Problem> {
        self.counters.get(now, || live.counters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_asked_for_once_in_a_moment() {
        let kept = Kept::default();
        let get = |now: u64, value: u32| *kept.get(Time(now), || Ok(value)).unwrap();
        assert_eq!((get(1000, 1), get(1499, 2), get(1500, 3)), (1, 1, 3));
        // A clock that went back makes it old, not new for ever.
        assert_eq!(get(200, 4), 4);
        let away = kept.get(Time(9000), || Err(LiveError::Away("no socket".into())));
        assert!(away.is_err(), "what is old is not shown as what is");
    }
}
