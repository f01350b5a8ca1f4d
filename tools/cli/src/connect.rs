//! The running process, seen through its management socket and shared counters.

use crate::ProcessArgs;
use anyhow::{Context, Result, anyhow};
use dataplane_api::protocol::{API_VERSION, TapFilter, TapRecord};
use dataplane_api::status::{LeaseStatus, LinkStatus, RouterStatus};
use dataplane_api::{Generation, Receipt, Secret, Spec, Status};
use dataplane_client::CounterFile;
use dataplane_client::snapshot::Snapshot;
use dataplane_client::{Client, ClientError, TapRecords};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A connection to the running process.
#[derive(Debug)]
pub(crate) struct Process {
    socket: PathBuf,
    client: Client,
    /// Mapped once the first snapshot is asked for.
    counters: Option<CounterFile>,
}

impl Process {
    /// Connects and agrees on the version.
    pub(crate) fn connect(args: &ProcessArgs) -> Result<Self> {
        Self::open(&args.socket)
    }

    /// As [`Self::connect`], for a socket that is known already.
    pub(crate) fn open(socket: &Path) -> Result<Self> {
        let client = Client::connect(socket).map_err(|error| sentence(socket, error))?;
        Ok(Self { socket: socket.to_owned(), client, counters: None })
    }

    /// The observed state.
    pub(crate) fn status(&mut self) -> Result<Status> {
        self.client.status().map_err(|error| sentence(&self.socket, error))
    }

    /// Status and counters now.
    pub(crate) fn snapshot(&mut self) -> Result<Snapshot> {
        let status = self.status()?;
        let counters = match self.counters.take() {
            Some(counters) => counters,
            None => CounterFile::open(Path::new(&status.counters)).context("counters")?,
        };
        let snapshot = Snapshot::take(status, &counters);
        self.counters = Some(counters);
        Ok(snapshot)
    }

    /// The spec in force.
    pub(crate) fn spec(&mut self) -> Result<Spec> {
        self.client.spec().map_err(|error| sentence(&self.socket, error))
    }

    /// Makes `spec` the spec in force: all of it or, when refused, nothing.
    pub(crate) fn apply(&mut self, spec: Spec) -> Result<Generation> {
        self.client.apply(spec).map_err(|error| sentence(&self.socket, error))
    }

    /// Gives the process a private key, which never comes back; returns the public one.
    pub(crate) fn add_key(&mut self, private: Secret) -> Result<String> {
        self.client.add_key(private).map_err(|error| sentence(&self.socket, error))
    }

    /// Lets the process forget the private key of a public one.
    pub(crate) fn remove_key(&mut self, public: &str) -> Result<String> {
        self.client.remove_key(public).map_err(|error| sentence(&self.socket, error))
    }

    /// Public keys of the private ones that the process keeps.
    pub(crate) fn keys(&mut self) -> Result<Vec<String>> {
        self.client.keys().map_err(|error| sentence(&self.socket, error))
    }

    /// What the routers of vswitches are up to.
    pub(crate) fn routers(&mut self) -> Result<Vec<RouterStatus>> {
        self.client.routers().map_err(|error| sentence(&self.socket, error))
    }

    /// Leases and what they gave.
    pub(crate) fn leases(&mut self) -> Result<Vec<LeaseStatus>> {
        self.client.leases().map_err(|error| sentence(&self.socket, error))
    }

    /// Receipts that end after `after`, Unix milliseconds; oldest first.
    pub(crate) fn receipts(&mut self, after: u64, lease: Option<u32>) -> Result<Vec<Receipt>> {
        self.client.receipts(after, lease).map_err(|error| sentence(&self.socket, error))
    }

    /// The observed state of links with keys.
    pub(crate) fn links(&mut self) -> Result<Vec<LinkStatus>> {
        self.client.links().map_err(|error| sentence(&self.socket, error))
    }

    /// Changes the spec in force, and returns the generation from which on that counts. Who changes it at the same
    /// time makes this fail, not vanish: the generation is theirs by then.
    pub(crate) fn edit<T>(
        &mut self,
        change: impl FnOnce(&mut Spec) -> Result<T>,
    ) -> Result<(T, Generation)> {
        let mut spec = self.spec()?;
        let changed = change(&mut spec)?;
        spec.generation = Generation(spec.generation.0.saturating_add(1));
        Ok((changed, self.apply(spec)?))
    }

    /// Sends one switch ping; `None` when nothing came back in time, else round trip in nanoseconds and version.
    pub(crate) fn ping(
        &mut self,
        vswitch: &str,
        label: u64,
        timeout_ms: u32,
    ) -> Result<Option<(u64, u32)>> {
        let timeout = Duration::from_millis(timeout_ms.into());
        self.client.ping(vswitch, label, timeout).map_err(|error| sentence(&self.socket, error))
    }

    /// From now on the process sends packets that match.
    pub(crate) fn tap(self, filter: TapFilter) -> Result<TapStream> {
        let Self { socket, client, .. } = self;
        let records = client.tap(filter).map_err(|error| sentence(&socket, error))?;
        Ok(TapStream { socket, records })
    }
}

/// Records of tapped packets; ends with the connection.
#[derive(Debug)]
pub(crate) struct TapStream {
    socket: PathBuf,
    records: TapRecords,
}

impl TapStream {
    /// The next record; `None` when none came within `timeout`.
    pub(crate) fn next_within(&mut self, timeout: Duration) -> Result<Option<TapRecord>> {
        self.records.next_within(timeout).map_err(|error| sentence(&self.socket, error))
    }
}

/// What went wrong with the process behind `socket`, and what to do.
fn sentence(socket: &Path, error: ClientError) -> anyhow::Error {
    let path = socket.display();
    match error {
        ClientError::Socket(error) if error.kind() == ErrorKind::NotFound => anyhow!(
            "there is no socket {path}: is the dataplane running? Start it with `switchyard run --config FILE`, or \
             name its socket with --socket"
        ),
        ClientError::Socket(error) if error.kind() == ErrorKind::ConnectionRefused => anyhow!(
            "nobody listens on {path}: the dataplane that made it is gone. Start it again with `switchyard run \
             --config FILE`"
        ),
        ClientError::Socket(error) if error.kind() == ErrorKind::PermissionDenied => anyhow!(
            "no right to open {path}: only the user who runs the dataplane may. Try again as that user, or root"
        ),
        ClientError::Socket(error) if error.kind() == ErrorKind::UnexpectedEof => {
            anyhow!("the process at {path} closed the connection: has it stopped?")
        }
        ClientError::Socket(error)
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
        {
            anyhow!("the process at {path} did not answer in time")
        }
        ClientError::Version { found } => anyhow!(
            "the process at {path} speaks version {found} of the socket's protocol and this program version \
             {API_VERSION}: use the `switchyard` that came with the process, or restart the process"
        ),
        ClientError::Refused(why) => anyhow!("the process refused, and changed nothing: {why}"),
        error @ (ClientError::Socket(_) | ClientError::Protocol(_) | ClientError::Unexpected) => {
            anyhow!(error).context(format!("the process at {path}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_api::protocol::{self, Hello, Reply};
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_missing_socket_is_answered_with_how_to_start_the_process() {
        let error =
            Process::open(Path::new("/nonexistent/switchyard.sock")).unwrap_err().to_string();
        assert!(
            error.contains("switchyard run --config FILE") && error.contains("--socket"),
            "{error}"
        );
    }

    #[test]
    fn a_socket_that_was_left_behind_is_told_from_a_missing_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left.sock");
        drop(UnixListener::bind(&path).unwrap());
        let error = Process::open(&path).unwrap_err().to_string();
        assert!(error.contains("nobody listens"), "{error}");
    }

    #[test]
    fn another_version_of_the_protocol_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .write_all(&protocol::encode(&Hello { version: API_VERSION + 1 }).unwrap())
                .unwrap();
        });
        let error = Process::open(&path).unwrap_err().to_string();
        server.join().unwrap();
        assert!(error.contains("version"), "{error}");
    }

    #[test]
    fn replies_are_matched_to_requests() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ok.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for reply in [
                Reply::Pong { nanos: 7, version: 22 },
                Reply::NoPong,
                Reply::Refused("no such vswitch".into()),
            ] {
                if reply == (Reply::Pong { nanos: 7, version: 22 }) {
                    stream
                        .write_all(&protocol::encode(&Hello { version: API_VERSION }).unwrap())
                        .unwrap();
                }
                stream.write_all(&protocol::encode(&reply).unwrap()).unwrap();
            }
            // Held open until the client is done: what it still writes must not fail.
            let _rest = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let mut process = Process::open(&path).unwrap();
        assert_eq!(process.ping("red", 1, 5).unwrap(), Some((7, 22)));
        assert_eq!(process.ping("red", 1, 5).unwrap(), None);
        assert!(process.status().unwrap_err().to_string().contains("no such vswitch"));
        drop(process);
        server.join().unwrap();
    }
}
