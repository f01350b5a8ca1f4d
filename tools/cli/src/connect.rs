//! The running process, seen through its management socket and shared counters.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "any reply but the one asked for is an error, known or not"
)]

use crate::ProcessArgs;
use anyhow::{Context, Result, anyhow, bail};
use dataplane_api::protocol::{self, API_VERSION, Hello, Reply, Request, TapFilter, TapRecord};
use dataplane_api::{Generation, Spec, Status};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reply may take; the management thread answers in milliseconds.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the running process.
#[derive(Debug)]
pub(crate) struct Process {
    socket: PathBuf,
    stream: UnixStream,
    /// Bytes read beyond the last message.
    buffer: Vec<u8>,
}

impl Process {
    /// Connects and agrees on the version.
    pub(crate) fn connect(args: &ProcessArgs) -> Result<Self> {
        Self::open(&args.socket)
    }

    /// As [`Self::connect`], for a socket that is known already.
    pub(crate) fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(|error| refused(socket, &error))?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let mut process = Self { socket: socket.to_owned(), stream, buffer: Vec::new() };
        process.send(&Hello { version: API_VERSION })?;
        let hello: Hello = process.receive()?;
        if hello.version != API_VERSION {
            bail!(
                "the process at {} speaks version {} of the socket's protocol and this program version {API_VERSION}: \
                 use the `switchyard` that came with the process, or restart the process",
                socket.display(),
                hello.version
            );
        }
        Ok(process)
    }

    /// The observed state.
    pub(crate) fn status(&mut self) -> Result<Status> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// The spec in force.
    pub(crate) fn spec(&mut self) -> Result<Spec> {
        match self.ask(&Request::Spec)? {
            Reply::Spec(spec) => Ok(spec),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes `spec` the spec in force: all of it or, when refused, nothing.
    pub(crate) fn apply(&mut self, spec: Spec) -> Result<Generation> {
        match self.ask(&Request::Apply(spec))? {
            Reply::Accepted(generation) => Ok(generation),
            Reply::Refused(why) => bail!("the process refused the spec and changed nothing: {why}"),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends one switch ping; `None` when nothing came back in time, else round trip in nanoseconds and version.
    pub(crate) fn ping(
        &mut self,
        vswitch: &str,
        label: u64,
        timeout_ms: u32,
    ) -> Result<Option<(u64, u32)>> {
        let request = Request::Ping { vswitch: vswitch.to_owned(), label, timeout_ms };
        self.stream
            .set_read_timeout(Some(REPLY_TIMEOUT + Duration::from_millis(timeout_ms.into())))?;
        match self.ask(&request)? {
            Reply::Pong { nanos, version } => Ok(Some((nanos, version))),
            Reply::NoPong => Ok(None),
            Reply::Refused(why) => bail!("the process refused to ping: {why}"),
            other => Err(unexpected(&other)),
        }
    }

    /// From now on the process sends packets that match.
    pub(crate) fn tap(mut self, filter: TapFilter) -> Result<TapStream> {
        self.send(&Request::Tap(filter))?;
        Ok(TapStream { process: self })
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        self.send(request)?;
        self.receive()
    }

    fn send(&mut self, message: &impl Serialize) -> Result<()> {
        let bytes = protocol::encode(message)?;
        self.stream
            .write_all(&bytes)
            .with_context(|| format!("sending to {}", self.socket.display()))
    }

    fn receive<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.receive_within(None)?.ok_or_else(|| {
            anyhow!(
                "the process at {} did not answer within {REPLY_TIMEOUT:?}",
                self.socket.display()
            )
        })
    }

    /// The next message; `None` when the read timed out.
    fn receive_within<T: DeserializeOwned>(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<T>> {
        if timeout.is_some() {
            self.stream.set_read_timeout(timeout)?;
        }
        let mut chunk = vec![0; 1 << 16];
        loop {
            if let Some((message, taken)) = protocol::decode(&self.buffer)? {
                self.buffer.drain(..taken);
                return Ok(Some(message));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!(
                    "the process at {} closed the connection: has it stopped?",
                    self.socket.display()
                ),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("reading from {}", self.socket.display()));
                }
            }
        }
    }
}

/// Records of tapped packets; ends with the connection.
#[derive(Debug)]
pub(crate) struct TapStream {
    process: Process,
}

impl TapStream {
    /// The next record; `None` when none came within `timeout`.
    pub(crate) fn next_within(&mut self, timeout: Duration) -> Result<Option<TapRecord>> {
        match self.process.receive_within(Some(timeout))? {
            None => Ok(None),
            Some(Reply::Tap(record)) => Ok(Some(record)),
            Some(Reply::Refused(why)) => bail!("the process refused to show packets: {why}"),
            Some(other) => Err(unexpected(&other)),
        }
    }
}

/// What to do about a socket that cannot be connected to.
fn refused(socket: &Path, error: &std::io::Error) -> anyhow::Error {
    let path = socket.display();
    match error.kind() {
        ErrorKind::NotFound => anyhow!(
            "there is no socket {path}: is the dataplane running? Start it with `switchyard run --config FILE`, or \
             name its socket with --socket"
        ),
        ErrorKind::ConnectionRefused => anyhow!(
            "nobody listens on {path}: the dataplane that made it is gone. Start it again with `switchyard run \
             --config FILE`"
        ),
        ErrorKind::PermissionDenied => {
            anyhow!(
                "no right to open {path}: only the user who runs the dataplane may. Try again as that user, or root"
            )
        }
        _ => anyhow!("cannot connect to {path}: {error}"),
    }
}

/// A reply that does not belong to the request.
fn unexpected(reply: &Reply) -> anyhow::Error {
    let kind = format!("{reply:?}");
    let kind = kind.split(['(', ' ']).next().unwrap_or_default();
    anyhow!(
        "the process answered with {kind}, which is no answer to what was asked: are both of one build?"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert!(process.status().unwrap_err().to_string().contains("Refused"));
        drop(process);
        server.join().unwrap();
    }
}
