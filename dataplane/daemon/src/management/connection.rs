//! One client: bytes in, messages out, with bounds.

use dataplane_api::protocol::{self, API_VERSION, Hello, ProtocolError, Reply, Request};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// Bytes taken from one client before others have their turn.
const READ_MAX: usize = 1 << 20;
/// Bytes that wait for a client to read them; beyond, nothing is shown to it.
const BEHIND_BYTES: usize = 256 << 10;
/// Bytes that wait for a client at most: the longest answer and what was shown before.
const WAITING_MAX: usize = dataplane_api::limits::MESSAGE_LEN_MAX + BEHIND_BYTES;
/// Time to say hello, or to finish a message.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a client is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it ended the connection")]
    Ended,
    #[error("it speaks version {0} of the contract, this process speaks {API_VERSION}")]
    Version(u32),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("it does not read its answers: {0} bytes wait")]
    Behind(usize),
    #[error("it began a message and did not finish it within {PATIENCE:?}")]
    Slow,
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// A message of the client.
#[derive(Debug)]
pub(super) enum Outcome {
    Hello,
    Request(Request),
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    waiting: Vec<u8>,
    /// Of `waiting`, bytes that were written.
    written: usize,
    greeted: bool,
    /// Time since an unfinished message, or the missing hello, made its last step.
    unfinished: Duration,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        let (received, waiting) = (Vec::new(), Vec::new());
        Self { stream, received, waiting, written: 0, greeted: false, unfinished: Duration::ZERO }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE)
    }

    /// Waits for what is due: always for the client's bytes, for room only while something waits. Events are
    /// edge-triggered, and this makes what is still there count again.
    pub(super) fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let writable = self.written < self.waiting.len();
        let interest =
            if writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        registry.reregister(&mut self.stream, token, interest)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) {
        // It goes with its descriptor anyway.
        drop(registry.deregister(&mut self.stream));
    }

    /// Whether so much waits that nothing shall be added which was not asked for one by one.
    pub(super) fn is_behind(&self) -> bool {
        self.waiting.len() - self.written > BEHIND_BYTES
    }

    /// Takes what has come, up to a bound. `true`: the client has ended the connection.
    pub(super) fn read(&mut self) -> Result<bool, Refusal> {
        let mut chunk = Zeroizing::new([0; 16 << 10]);
        let mut taken = 0;
        while taken < READ_MAX {
            match self.stream.read(chunk.as_mut_slice()) {
                Ok(0) => return Ok(true),
                Ok(n) => {
                    taken += n;
                    self.received.extend_from_slice(&chunk[..n]);
                    // A length beyond the bound is refused now, not waited for.
                    if let Some(prefix) = self.received.first_chunk::<4>() {
                        let len =
                            usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
                        if len > self.len_max() {
                            return Err(ProtocolError::TooLong(len).into());
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// A client that did not greet yet gets room for a greeting only.
    fn len_max(&self) -> usize {
        if self.greeted { dataplane_api::limits::MESSAGE_LEN_MAX } else { 16 }
    }

    /// The next whole message.
    pub(super) fn next_message(&mut self) -> Result<Option<Outcome>, Refusal> {
        if self.greeted {
            return Ok(self.take()?.map(Outcome::Request));
        }
        match self.take::<Hello>()? {
            Some(Hello { version: API_VERSION }) => {
                self.greeted = true;
                Ok(Some(Outcome::Hello))
            }
            Some(Hello { version }) => Err(Refusal::Version(version)),
            None => Ok(None),
        }
    }

    fn take<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Refusal> {
        let Some((message, taken)) = protocol::decode(&self.received)? else { return Ok(None) };
        // It may have held a key or a password.
        self.received[..taken].zeroize();
        self.received.drain(..taken);
        self.unfinished = Duration::ZERO;
        Ok(Some(message))
    }

    /// Puts a message into the queue to the client.
    pub(super) fn queue(&mut self, message: &impl serde::Serialize) -> Result<(), Refusal> {
        let bytes = match protocol::encode(message) {
            Ok(bytes) => bytes,
            Err(error) => protocol::encode(&Reply::Refused(error.to_string()))?,
        };
        let waiting = self.waiting.len() - self.written;
        if waiting + bytes.len() > WAITING_MAX {
            return Err(Refusal::Behind(waiting));
        }
        self.waiting.drain(..self.written);
        self.written = 0;
        self.waiting.extend(bytes);
        Ok(())
    }

    /// Writes as much as the client takes now.
    pub(super) fn write(&mut self) -> Result<(), Refusal> {
        while self.written < self.waiting.len() {
            match self.stream.write(&self.waiting[self.written..]) {
                Ok(0) => return Err(Refusal::Ended),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Refusal::Ended),
                Err(error) => return Err(error.into()),
            }
        }
        self.waiting.clear();
        self.written = 0;
        Ok(())
    }

    /// Another `passed` has gone by. `true`: the client has been waited for too long.
    pub(super) fn waited(&mut self, passed: Duration) -> bool {
        if self.greeted && self.received.is_empty() {
            return false;
        }
        self.unfinished += passed;
        self.unfinished > PATIENCE
    }
}
