//! The management socket: specs in, status out, taps and pings. Clients are not trusted: what they may make the
//! process keep is bounded, and who sends what cannot be read is closed.

mod connection;

use crate::resolver::CHANGES;
use connection::{Connection, Outcome};
use dataplane_api::protocol::{Hello, Reply, Request};
use mio::net::UnixListener;
use mio::{Events, Interest, Poll, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tokens below are not clients.
const LISTENER: Token = Token(0);
/// Of whoever wakes the thread: slow path, workers.
pub(crate) const WAKER: Token = Token(1);
/// Of the signals.
pub(crate) const SIGNALS: Token = Token(2);
const FIRST_CLIENT: u64 = 16;

/// Who asked; never given twice.
pub(crate) type ClientId = u64;

/// The listening socket and its clients.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
    clients: BTreeMap<ClientId, Connection>,
    clients_max: usize,
    next_client: ClientId,
}

/// What the socket brought.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client asks.
    Request(ClientId, Request),
    /// A client is gone.
    Gone(ClientId),
}

impl Server {
    /// Listens at `path`, mode 0600. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] if a process answers there; what the system says.
    pub(crate) fn listen(path: &Path, clients_max: usize, registry: &Registry) -> io::Result<Self> {
        if StdStream::connect(path).is_ok() {
            return Err(io::Error::new(
                ErrorKind::AddrInUse,
                "another dataplane is running and listens there",
            ));
        }
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut listener = UnixListener::bind(path)?;
        // Until here the umask ruled; whoever connected in between is asked for its user id like everybody.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let (clients, next_client) = (BTreeMap::new(), FIRST_CLIENT);
        Ok(Self { listener, path: path.to_owned(), clients, clients_max, next_client })
    }

    /// Takes what the poll found: new clients, requests, and whoever went away.
    pub(crate) fn work(&mut self, poll: &Poll, events: &Events) -> Vec<Event> {
        let mut found = Vec::new();
        for event in events {
            match event.token() {
                LISTENER => self.accept(poll.registry()),
                WAKER | SIGNALS | CHANGES => {}
                Token(token) => self.serve(token as ClientId, poll.registry(), &mut found),
            }
        }
        found
    }

    /// Whether a client is still there.
    pub(crate) fn has(&self, client: ClientId) -> bool {
        self.clients.contains_key(&client)
    }

    /// Answers a client; it is closed if it does not read what it asked for.
    pub(crate) fn reply(&mut self, client: ClientId, reply: &Reply, registry: &Registry) -> bool {
        self.send(client, registry, |connection| connection.queue(reply))
    }

    /// Shows a client one step of a packet; `false` if it is too far behind, and the step is lost.
    pub(crate) fn show(&mut self, client: ClientId, reply: &Reply, registry: &Registry) -> bool {
        if self.clients.get(&client).is_none_or(Connection::is_behind) {
            return false;
        }
        self.reply(client, reply, registry)
    }

    fn send(
        &mut self,
        client: ClientId,
        registry: &Registry,
        queue: impl FnOnce(&mut Connection) -> Result<(), connection::Refusal>,
    ) -> bool {
        let Some(connection) = self.clients.get_mut(&client) else { return false };
        let sent = queue(connection).and_then(|()| connection.write());
        match sent {
            Ok(()) => {
                if let Err(error) = connection.watch(registry, token(client)) {
                    self.close(client, registry, &error.into());
                    return false;
                }
                true
            }
            Err(refusal) => {
                self.close(client, registry, &refusal);
                false
            }
        }
    }

    fn accept(&mut self, registry: &Registry) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!("management socket: accept: {error}");
                    return;
                }
            };
            let allowed = getsockopt(&stream, PeerCredentials).is_ok_and(|peer| {
                peer.uid() == 0 || peer.uid() == nix::unistd::Uid::effective().as_raw()
            });
            if !allowed {
                tracing::warn!("management socket: a client of another user was closed");
                continue;
            }
            if self.clients.len() >= self.clients_max {
                tracing::warn!(
                    "management socket: {} clients are connected already; another was closed",
                    self.clients_max
                );
                continue;
            }
            let client = self.next_client;
            self.next_client += 1;
            let mut connection = Connection::new(stream);
            match connection.register(registry, token(client)) {
                Ok(()) => drop(self.clients.insert(client, connection)),
                Err(error) => tracing::warn!("management socket: {error}"),
            }
        }
    }

    fn serve(&mut self, client: ClientId, registry: &Registry, found: &mut Vec<Event>) {
        let Some(connection) = self.clients.get_mut(&client) else { return };
        let read = connection.write().and_then(|()| {
            let closed = connection.read()?;
            while let Some(message) = connection.next_message()? {
                match message {
                    Outcome::Hello => connection
                        .queue(&Hello { version: dataplane_api::protocol::API_VERSION })?,
                    Outcome::Request(request) => found.push(Event::Request(client, request)),
                }
            }
            connection.write()?;
            if closed {
                Err(connection::Refusal::Ended)
            } else {
                Ok(connection.watch(registry, token(client))?)
            }
        });
        if let Err(refusal) = read {
            self.close(client, registry, &refusal);
            found.push(Event::Gone(client));
        }
    }

    fn close(&mut self, client: ClientId, registry: &Registry, refusal: &connection::Refusal) {
        if let Some(mut connection) = self.clients.remove(&client) {
            if !matches!(refusal, connection::Refusal::Ended) {
                tracing::warn!("management socket: client {client} was closed: {refusal}");
            }
            connection.deregister(registry);
        }
    }

    /// Closes whoever did not say hello, or did not finish a message, in time. Returns who is gone.
    pub(crate) fn close_slow(&mut self, registry: &Registry, passed: Duration) -> Vec<Event> {
        let slow: Vec<_> = self
            .clients
            .iter_mut()
            .filter_map(|(client, connection)| connection.waited(passed).then_some(*client))
            .collect();
        for client in &slow {
            self.close(*client, registry, &connection::Refusal::Slow);
        }
        slow.into_iter().map(Event::Gone).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or somebody else's by now: nothing to be done about either.
        drop(std::fs::remove_file(&self.path));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits on every target of this process"
)]
const fn token(client: ClientId) -> Token {
    Token(client as usize)
}
