//! A synchronous client of the management socket, for the command line and for tests.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "any reply but the one asked for is an error, known or not"
)]

use dataplane_api::protocol::{self, API_VERSION, Hello, Reply, Request, TapFilter, TapRecord};
use dataplane_api::status::{LeaseStatus, LinkStatus, RouterStatus};
use dataplane_api::{Generation, Receipt, Secret, Spec, Status};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// How long a reply may take, if nothing else is said.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket failed, or the process closed it.
    #[error("management socket: {0}")]
    Socket(#[from] io::Error),
    /// The process sent what cannot be read.
    #[error("management socket: {0}")]
    Protocol(#[from] protocol::ProtocolError),
    /// The process speaks another version.
    #[error(
        "the process speaks version {found} of the contract, this program speaks {API_VERSION}"
    )]
    Version {
        /// The version of the process.
        found: u32,
    },
    /// The process said no.
    #[error("refused: {0}")]
    Refused(String),
    /// The process answered something else.
    #[error("the answer does not belong to the question")]
    Unexpected,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    reply_timeout: Duration,
}

impl Client {
    /// Connects and agrees on the version.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        Self::connect_within(socket, REPLY_TIMEOUT)
    }

    /// Connects and agrees on the version; each reply may take so long.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connect_within(socket: &Path, reply_timeout: Duration) -> Result<Self, ClientError> {
        let stream = open(socket)?;
        stream.set_read_timeout(Some(reply_timeout))?;
        stream.set_write_timeout(Some(reply_timeout))?;
        let mut client = Self { stream, received: Vec::new(), reply_timeout };
        client.send(&Hello { version: API_VERSION })?;
        let hello: Hello = client.receive()?;
        if hello.version == API_VERSION {
            Ok(client)
        } else {
            Err(ClientError::Version { found: hello.version })
        }
    }

    /// Makes `spec` the spec in force.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the reason; nothing changed then.
    pub fn apply(&mut self, spec: Spec) -> Result<Generation, ClientError> {
        match self.ask(&Request::Apply(spec))? {
            Reply::Accepted(generation) => Ok(generation),
            other => Err(unexpected(other)),
        }
    }

    /// The spec in force.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn spec(&mut self) -> Result<Spec, ClientError> {
        match self.ask(&Request::Spec)? {
            Reply::Spec(spec) => Ok(spec),
            other => Err(unexpected(other)),
        }
    }

    /// The observed state.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(other)),
        }
    }

    /// The observed state without vswitches and vifs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn brief(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Brief)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(other)),
        }
    }

    /// Round trip in nanoseconds and the answering node's version; `None` if nothing came in time.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ping(
        &mut self,
        vswitch: &str,
        label: u64,
        timeout: Duration,
    ) -> Result<Option<(u64, u32)>, ClientError> {
        let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        self.stream.set_read_timeout(Some(self.reply_timeout + timeout))?;
        match self.ask(&Request::Ping { vswitch: vswitch.to_owned(), label, timeout_ms })? {
            Reply::Pong { nanos, version } => Ok(Some((nanos, version))),
            Reply::NoPong => Ok(None),
            other => Err(unexpected(other)),
        }
    }

    /// Gives the process a private key (64 hexadecimal digits) for vswitches; its public key comes back, it never does.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn add_key(&mut self, private: Secret) -> Result<String, ClientError> {
        match self.ask(&Request::AddKey(private))? {
            Reply::Key(public) => Ok(public),
            other => Err(unexpected(other)),
        }
    }

    /// Lets the process forget the private key of a public one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn remove_key(&mut self, public: &str) -> Result<String, ClientError> {
        match self.ask(&Request::RemoveKey(public.to_owned()))? {
            Reply::Key(public) => Ok(public),
            other => Err(unexpected(other)),
        }
    }

    /// The public keys of the private ones that the process keeps.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn keys(&mut self) -> Result<Vec<String>, ClientError> {
        match self.ask(&Request::Keys)? {
            Reply::Keys(keys) => Ok(keys),
            other => Err(unexpected(other)),
        }
    }

    /// The observed state of links with keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn links(&mut self) -> Result<Vec<LinkStatus>, ClientError> {
        match self.ask(&Request::Links)? {
            Reply::Links(links) => Ok(links),
            other => Err(unexpected(other)),
        }
    }

    /// Leases and what they gave.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn leases(&mut self) -> Result<Vec<LeaseStatus>, ClientError> {
        match self.ask(&Request::Leases)? {
            Reply::Leases(leases) => Ok(leases),
            other => Err(unexpected(other)),
        }
    }

    /// Receipts that end after `after`, Unix milliseconds, oldest first, of one lease or of all; a part of them if there
    /// are many.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn receipts(
        &mut self,
        after: u64,
        lease: Option<u32>,
    ) -> Result<Vec<Receipt>, ClientError> {
        match self.ask(&Request::Receipts { after, lease })? {
            Reply::Receipts(receipts) => Ok(receipts),
            other => Err(unexpected(other)),
        }
    }

    /// What the routers of vswitches are up to.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn routers(&mut self) -> Result<Vec<RouterStatus>, ClientError> {
        match self.ask(&Request::Routers)? {
            Reply::Routers(routers) => Ok(routers),
            other => Err(unexpected(other)),
        }
    }

    /// From now on the process sends what happens to packets that match.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn tap(mut self, filter: TapFilter) -> Result<TapRecords, ClientError> {
        self.send(&Request::Tap(filter))?;
        Ok(TapRecords { client: self })
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.send(request)?;
        self.receive()
    }

    fn send(&mut self, message: &impl Serialize) -> Result<(), ClientError> {
        // It may hold a key or a password.
        let bytes = Zeroizing::new(protocol::encode(message)?);
        Ok(self.stream.write_all(&bytes)?)
    }

    fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        let mut chunk = [0; 4096];
        loop {
            if let Some((message, taken)) = protocol::decode(&self.received)? {
                self.received[..taken].zeroize();
                self.received.drain(..taken);
                return Ok(message);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What happens to packets; ends with the connection.
#[derive(Debug)]
pub struct TapRecords {
    client: Client,
}

impl TapRecords {
    /// The next record; `None` if none came within `timeout`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<TapRecord>, ClientError> {
        self.client.stream.set_read_timeout(Some(timeout))?;
        match self.client.receive() {
            Ok(Reply::Tap(record)) => Ok(Some(record)),
            Ok(other) => Err(unexpected(other)),
            Err(ClientError::Socket(error))
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A connection that does not wait for a process that accepts none: its backlog may be full.
fn open(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn unexpected(reply: Reply) -> ClientError {
    match reply {
        Reply::Refused(why) => ClientError::Refused(why),
        _ => ClientError::Unexpected,
    }
}
