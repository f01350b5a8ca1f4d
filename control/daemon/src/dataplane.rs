//! The dataplane behind its management socket: asked when something is needed of it, and given up when it does not answer.

use crate::clock;
use control_api::{Counters, Live, LiveError, Tap, Traffic, WorkerCounts};
use dataplane_api::counters::{PortCounter, WorkerCounter};
use dataplane_api::protocol::{TapFilter, TapRecord};
use dataplane_api::status::{LeaseStatus, LinkStatus};
use dataplane_api::{DropReason, Receipt, Spec, Status};
use dataplane_client::snapshot::{Drops, PortTotals, WorkerTotals};
use dataplane_client::{Client, ClientError, CounterFile, Snapshot, TapRecords};
use service::{DataplaneError, Facts};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A connection that is made when it is needed, and again after it failed.
#[derive(Debug)]
pub(crate) struct Link {
    socket: PathBuf,
    timeout: Duration,
    client: Option<Client>,
}

impl Link {
    pub(crate) const fn new(socket: PathBuf, timeout: Duration) -> Self {
        Self { socket, timeout, client: None }
    }

    /// Asks, twice if the connection turns out to be one of a process that is gone: every question may be asked again,
    /// and the same spec is taken again.
    fn ask<T>(
        &mut self,
        ask: impl Fn(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if let Some(mut client) = self.client.take() {
            match ask(&mut client) {
                Err(error) if is_gone(&error) => {}
                answer => return self.keep(client, answer),
            }
        }
        let mut client = Client::connect_within(&self.socket, self.timeout)?;
        let answer = ask(&mut client);
        self.keep(client, answer)
    }

    /// Keeps a connection on which question and answer still go together.
    fn keep<T>(
        &mut self,
        client: Client,
        answer: Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if matches!(answer, Ok(_) | Err(ClientError::Refused(_))) {
            self.client = Some(client);
        }
        answer
    }
}

/// Whether the other end closed the connection, maybe long ago.
fn is_gone(error: &ClientError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let ClientError::Socket(error) = error else { return false };
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

impl service::Dataplane for Link {
    fn apply(&mut self, spec: Spec) -> Result<(), DataplaneError> {
        self.ask(|client| client.apply(spec.clone())).map(drop).map_err(failure)
    }

    fn facts(&mut self) -> Result<Facts, DataplaneError> {
        let Status { ports, accepted, pid, .. } = self.ask(Client::brief).map_err(failure)?;
        let mtu = |mtu: u32| u16::try_from(mtu).unwrap_or(u16::MAX);
        let ports = ports.into_iter().map(|port| (port.name, mtu(port.mtu))).collect();
        Ok(Facts { ports, accepted, pid })
    }

    fn receipts(&mut self, after: u64) -> Result<Vec<Receipt>, DataplaneError> {
        self.ask(|client| client.receipts(after, None)).map_err(failure)
    }
}

fn failure(error: ClientError) -> DataplaneError {
    match error {
        ClientError::Refused(why) => DataplaneError::Refused(why),
        error @ (ClientError::Socket(_)
        | ClientError::Protocol(_)
        | ClientError::Version { .. }
        | ClientError::Unexpected) => DataplaneError::Away(error.to_string()),
    }
}

/// The same for those who look: on a connection of its own, so that nobody who looks is waited for by who decides.
#[derive(Debug)]
pub(crate) struct Window {
    socket: PathBuf,
    timeout: Duration,
    link: Mutex<Link>,
    counters: Mutex<Option<(u32, CounterFile)>>,
}

impl Window {
    pub(crate) fn new(socket: &Path, timeout: Duration) -> Self {
        Self {
            socket: socket.to_owned(),
            timeout,
            link: Mutex::new(Link::new(socket.to_owned(), timeout)),
            counters: Mutex::default(),
        }
    }

    fn ask<T>(&self, ask: impl Fn(&mut Client) -> Result<T, ClientError>) -> Result<T, LiveError> {
        lock(&self.link).ask(ask).map_err(looking)
    }

    /// Status and counters at one moment.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, LiveError> {
        let status = self.ask(Client::status)?;
        let mut kept = lock(&self.counters);
        let file = match kept.take() {
            Some((pid, file)) if pid == status.pid => file,
            Some(_) | None => CounterFile::open(Path::new(&status.counters))
                .map_err(|error| LiveError::Away(error.to_string()))?,
        };
        let pid = status.pid;
        let snapshot = Snapshot::take(status, &file);
        *kept = Some((pid, file));
        Ok(snapshot)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn looking(error: ClientError) -> LiveError {
    match failure(error) {
        DataplaneError::Refused(why) => LiveError::Refused(why),
        DataplaneError::Away(why) => LiveError::Away(why),
    }
}

impl Live for Window {
    fn status(&self) -> Result<Status, LiveError> {
        self.ask(Client::status)
    }

    fn links(&self) -> Result<Vec<LinkStatus>, LiveError> {
        self.ask(Client::links)
    }

    fn leases(&self) -> Result<Vec<LeaseStatus>, LiveError> {
        self.ask(Client::leases)
    }

    fn counters(&self) -> Result<Counters, LiveError> {
        let snapshot = self.snapshot()?;
        Ok(counters(&snapshot, clock::now().0))
    }

    fn tap(&self, filter: &TapFilter) -> Result<Box<dyn Tap>, LiveError> {
        // A connection that watches answers nothing else.
        let client = Client::connect_within(&self.socket, self.timeout).map_err(looking)?;
        let records = client.tap(filter.clone()).map_err(looking)?;
        Ok(Box::new(Records(records)))
    }
}

struct Records(TapRecords);

impl Tap for Records {
    fn next_within(&mut self, within: Duration) -> Result<Option<TapRecord>, LiveError> {
        self.0.next_within(within).map_err(looking)
    }
}

/// A snapshot as those who look over the API want it.
fn counters(snapshot: &Snapshot, at: u64) -> Counters {
    let status = &snapshot.status;
    let ports = || status.ports.iter().zip(&snapshot.ports);
    let vswitches = status.vswitches.iter().zip(&snapshot.vswitches);
    let vifs = status.vifs.iter().zip(&snapshot.vifs);
    let workers = status.workers.iter().zip(&snapshot.workers);
    let vif = |traffic: &dataplane_client::snapshot::Traffic| Traffic {
        rx_packets: traffic.rx_packets,
        rx_bytes: traffic.rx_bytes,
        tx_packets: traffic.tx_packets,
        tx_bytes: traffic.tx_bytes,
    };
    Counters {
        at,
        pid: status.pid,
        ports: ports().map(|(port, totals)| (port.id, traffic(totals))).collect(),
        vifs: vifs.map(|(status, traffic)| (status.id, vif(traffic))).collect(),
        port_drops: ports().map(|(port, totals)| (port.id, drops(&totals.drops))).collect(),
        vswitch_drops: vswitches.map(|(vswitch, totals)| (vswitch.id, drops(totals))).collect(),
        workers: workers.map(|(worker, totals)| (worker.id, counts(totals))).collect(),
    }
}

fn traffic(totals: &PortTotals) -> Traffic {
    Traffic {
        rx_packets: totals.of(PortCounter::RxFrames),
        rx_bytes: totals.of(PortCounter::RxBytes),
        tx_packets: totals.of(PortCounter::TxFrames),
        tx_bytes: totals.of(PortCounter::TxBytes),
    }
}

fn drops(drops: &Drops) -> Vec<(DropReason, u64)> {
    drops.nonzero().collect()
}

fn counts(totals: &WorkerTotals) -> WorkerCounts {
    WorkerCounts {
        rounds: totals.of(WorkerCounter::Rounds),
        idle_rounds: totals.of(WorkerCounter::IdleRounds),
        sleeps: totals.of(WorkerCounter::Sleeps),
        handed_off: totals.of(WorkerCounter::HandedOff),
        punted: totals.of(WorkerCounter::Punted),
        frames_free: totals.of(WorkerCounter::FramesFree),
        frames_queued: totals.of(WorkerCounter::FramesQueued),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::{PortId, VifId, VswitchId};

    #[test]
    fn a_snapshot_is_told_whole() {
        let told = counters(&dataplane_client::sample::snapshot(2), 7);
        assert_eq!((told.at, told.pid), (7, 77));
        assert_eq!((told.ports[0].0, told.ports[0].1.rx_packets), (PortId(0), 2000));
        assert_eq!((told.vifs[0].0, told.vifs[0].1.rx_bytes), (VifId(0), 120_000));
        assert_eq!(told.port_drops[0].1, [(DropReason::UnknownLink, 10)]);
        assert_eq!(told.vswitch_drops[1], (VswitchId(1), vec![(DropReason::Policy, 80)]));
        assert_eq!((told.workers[0].1.rounds, told.workers[1].1.frames_free), (200, 4000));
    }

    #[test]
    fn nobody_there_is_away_at_once() {
        let window = Window::new(Path::new("/nowhere/socket"), Duration::from_secs(60));
        assert!(matches!(window.status(), Err(LiveError::Away(_))));
        let mut link = Link::new("/nowhere/socket".into(), Duration::from_secs(60));
        let facts = service::Dataplane::facts(&mut link);
        assert!(matches!(facts, Err(DataplaneError::Away(_))));
    }
}
