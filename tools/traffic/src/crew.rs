//! Stations that run side by side, one thread each, and end together.

use crate::report::Report;
use crate::scenario::Scenario;
use crate::station::{PortReport, Station, View};
use crate::wire_end::WireEnd;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

type Run = Box<dyn FnOnce(&AtomicBool) -> io::Result<PortReport> + Send>;

/// A station over whatever wire, ready to run.
pub struct Member {
    view: View,
    run: Run,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("view", &self.view).finish_non_exhaustive()
    }
}

impl<W: WireEnd + Send + 'static> From<Station<W>> for Member {
    fn from(station: Station<W>) -> Self {
        Self { view: station.view(), run: Box::new(move |stop| station.run(stop)) }
    }
}

/// Running stations; they are stopped when this is dropped.
///
/// All of their wires are open before any of them sends: what comes to a wire that is not is nobody's.
#[derive(Debug)]
pub struct Crew {
    stop: Arc<AtomicBool>,
    views: Vec<View>,
    threads: Vec<JoinHandle<io::Result<PortReport>>>,
}

impl Crew {
    /// Starts a thread for each.
    #[must_use]
    pub fn start(members: Vec<Member>) -> Self {
        let mut crew = Self { stop: Arc::default(), views: Vec::new(), threads: Vec::new() };
        for Member { view, run } in members {
            crew.views.push(view);
            let stop = Arc::clone(&crew.stop);
            crew.threads.push(thread::spawn(move || run(&stop)));
        }
        crew
    }

    /// How it stands. Stations are looked at one after the other, so frames in flight are missing in it.
    #[must_use]
    pub fn report(&self, scenario: &Scenario) -> Report {
        Report::join(scenario, self.views.iter().map(View::report).collect())
    }

    /// Whether all have sent what they had to send.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        self.views.iter().all(|view| view.report().finished)
    }

    /// Looks for a station that has ended, which none does by itself.
    ///
    /// # Errors
    /// What its wire reported, or its panic.
    pub fn still_runs(&mut self) -> io::Result<()> {
        let Some(ended) = self.threads.iter().position(JoinHandle::is_finished) else {
            return Ok(());
        };
        joined(self.threads.swap_remove(ended))?;
        Err(io::Error::other("a station ended before it was told to"))
    }

    /// Stops sending, waits until nothing comes any more. In the order of the start.
    ///
    /// # Errors
    /// As [`Self::still_runs`].
    pub fn finish(mut self) -> io::Result<Vec<PortReport>> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).map(joined).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever wanted its report has called `finish`.
            let _unwanted = thread.join();
        }
    }
}

fn joined(thread: JoinHandle<io::Result<PortReport>>) -> io::Result<PortReport> {
    thread.join().unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map_or("without a message", String::as_str);
        Err(io::Error::other(format!("a station's thread panicked: {words}")))
    })
}
