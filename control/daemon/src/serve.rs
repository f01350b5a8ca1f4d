//! Connections: who is at the other end, how many there may be, and how they end.

use crate::tls::Keys;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use control_api::Peer;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// How long a client may take to say what it wants, or nothing at all.
const HEAD: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long what is being answered may take when the process stops.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// After an accept that failed, e.g. for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
#[derive(Debug)]
pub(crate) enum Listener {
    /// Processes of this machine.
    Unix(UnixListener),
    /// Whoever comes, in the open.
    Tcp(TcpListener),
    /// Whoever comes, behind TLS.
    Tls(TcpListener, Arc<Keys>),
}

enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
    Tls(TcpStream, SocketAddr, Arc<Keys>),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(it, _)| Accepted::Unix(it)),
            Self::Tcp(listener) => {
                listener.accept().await.map(|(it, from)| Accepted::Tcp(it, from))
            }
            Self::Tls(listener, keys) => {
                let accepted = listener.accept().await;
                accepted.map(|(it, from)| Accepted::Tls(it, from, Arc::clone(keys)))
            }
        }
    }
}

/// What is behind a listening socket.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    router: Router,
    seats: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Door {
    /// `connections`: how many there may be at once.
    pub(crate) fn new(router: Router, connections: usize, stop: watch::Receiver<bool>) -> Self {
        let seats = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { router, seats, stop }
    }

    /// Serves whoever comes until it is told to stop.
    pub(crate) async fn serve(self, listener: Listener) {
        let mut open = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            while open.try_join_next().is_some() {}
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                // One too many is closed at once, so that it does not wait for an answer that is not coming.
                Ok(accepted) => match Arc::clone(&self.seats).try_acquire_owned() {
                    Ok(seat) => drop(open.spawn(self.clone().meet(accepted, seat))),
                    Err(_full) => tracing::warn!("a connection too many was closed"),
                },
                Err(error) => {
                    tracing::warn!("accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        open.join_all().await;
    }

    async fn meet(self, accepted: Accepted, seat: OwnedSemaphorePermit) {
        match accepted {
            Accepted::Unix(stream) => {
                // Without the kernel's word it is nobody.
                let Ok(credentials) = stream.peer_cred() else { return };
                let peer = Peer::Unix { uid: credentials.uid() };
                self.converse(stream, peer, seat).await;
            }
            Accepted::Tcp(stream, addr) => {
                self.converse(stream, Peer::Tcp { addr }, seat).await;
            }
            Accepted::Tls(stream, addr, keys) => self.greet(stream, addr, keys, seat).await,
        }
    }

    async fn greet(
        self,
        stream: TcpStream,
        addr: SocketAddr,
        keys: Arc<Keys>,
        seat: OwnedSemaphorePermit,
    ) {
        match tokio::time::timeout(HANDSHAKE, keys.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let peer = Peer::Tls { addr, client: keys.client(shown) };
                self.converse(stream, peer, seat).await;
            }
            Ok(Err(error)) => tracing::debug!("{addr}: TLS: {error}"),
            Err(_late) => tracing::debug!("{addr}: no TLS handshake within {HANDSHAKE:?}"),
        }
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: Peer,
        seat: OwnedSemaphorePermit,
    ) {
        let Self { router, mut stop, .. } = self;
        let answer = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                let last = tokio::time::timeout(LAST_ANSWERS, connection).await;
                last.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection: {error}");
        }
        drop(seat);
    }
}
