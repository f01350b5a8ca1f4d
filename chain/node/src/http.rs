//! One question, one answer, one connection: the node closes it anyway.
//!
//! Everything has a bound while it is read: time from the first byte sent to the last one read, bytes of the head and
//! of the body. Nothing compressed is asked for or taken.

use crate::endpoint::Endpoint;
use crate::error::{NodeError, Text};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// Header lines of an answer at most.
const HEADERS_MAX: usize = 64;
/// Bytes of an answer's head at most.
const HEAD_LEN_MAX: usize = 64 << 10;
/// Bytes of an error page that are read, to be shown.
const ERROR_LEN_MAX: usize = 4 << 10;

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For TCP and TLS.
    pub connect: Duration,
    /// For a whole call, from connecting to the last byte.
    pub call: Duration,
    /// For silence on a connection that waits for news.
    pub silence: Duration,
    /// Bytes of an answer's body. A block of 4 MB is 8 MB of hexadecimal text.
    pub body_len_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(30),
            silence: Duration::from_secs(90),
            body_len_max: 10 << 20,
        }
    }
}

/// TCP, with TLS or without.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects, and checks who is there.
    pub(crate) async fn connect(endpoint: &Endpoint, limits: &Limits) -> Result<Self, NodeError> {
        let connecting = Self::connect_slowly(endpoint);
        timeout(limits.connect, connecting)
            .await
            .map_err(|_late| NodeError::Timeout { what: "connect", limit: limits.connect })?
    }

    async fn connect_slowly(endpoint: &Endpoint) -> Result<Self, NodeError> {
        let failed = |source| NodeError::Connect { to: endpoint.to_string(), source };
        let stream =
            TcpStream::connect((endpoint.host(), endpoint.port())).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(trust) = endpoint.trust() else {
            return Ok(Self::Plain(stream));
        };
        let failed = |source| NodeError::Tls { to: endpoint.to_string(), source };
        let name = ServerName::try_from(endpoint.host().to_owned())
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let stream = TlsConnector::from(trust.config()).connect(name, stream).await;
        Ok(Self::Tls(Box::new(stream.map_err(failed)?)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Ends a task when it goes.
#[derive(Debug)]
pub(crate) struct Guard(pub(crate) JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is asked.
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// JSON, or empty.
    pub(crate) body: Vec<u8>,
}

/// An answer: its status, and its body with a bound.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

/// Asks, and reads the whole answer. Any status is an answer.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    limits: &Limits,
    question: Question,
) -> Result<Answer, NodeError> {
    let asking = async {
        let mut opened = Opened::ask(endpoint, limits, question).await?;
        let max = if opened.status.is_success() { limits.body_len_max } else { ERROR_LEN_MAX };
        let mut body = Vec::new();
        while let Some(bytes) = opened.next().await? {
            if body.len() + bytes.len() > max {
                if opened.status.is_success() {
                    return Err(NodeError::TooLong { max });
                }
                break;
            }
            body.extend_from_slice(&bytes);
        }
        Ok(Answer { status: opened.status, body })
    };
    let late = |_late| NodeError::Timeout { what: "answer", limit: limits.call };
    timeout(limits.call, asking).await.map_err(late)?
}

/// An answer whose head was read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    body: Incoming,
    _connection: Guard,
}

impl Opened {
    /// Asks, and reads the answer's head. The caller holds the time.
    pub(crate) async fn ask(
        endpoint: &Endpoint,
        limits: &Limits,
        question: Question,
    ) -> Result<Self, NodeError> {
        let stream = Stream::connect(endpoint, limits).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_LEN_MAX)
            .handshake(TokioIo::new(stream))
            .await?;
        let connection = Guard(tokio::spawn(async move {
            // What goes wrong is told to whoever reads the answer.
            let _ended = connection.await;
        }));
        let response = sender.send_request(request(endpoint, question)?).await?;
        check_encoding(&response)?;
        let status = response.status();
        Ok(Self { status, body: response.into_body(), _connection: connection })
    }

    /// Some more bytes; `None`: that was all.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, NodeError> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            // Trailers mean nothing.
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}

fn request(endpoint: &Endpoint, question: Question) -> Result<Request<Full<Bytes>>, NodeError> {
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(HOST, endpoint.to_string())
        .header(CONNECTION, HeaderValue::from_static("close"));
    if !question.body.is_empty() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some((name, value)) = endpoint.auth() {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(question.body)));
    // The host was checked, and paths are ours or escaped.
    request.map_err(|_wrong| NodeError::Config(crate::error::ConfigError::Credentials))
}

fn check_encoding(response: &Response<Incoming>) -> Result<(), NodeError> {
    match response.headers().get(CONTENT_ENCODING) {
        Some(value) if value != "identity" => {
            Err(NodeError::Encoded(Text::new(&String::from_utf8_lossy(value.as_bytes()))))
        }
        _ => Ok(()),
    }
}

impl Answer {
    /// What statuses mean that are the same everywhere.
    pub(crate) fn error(&self) -> NodeError {
        match self.status.as_u16() {
            401 => NodeError::Unauthorized,
            503 => NodeError::Busy,
            status => {
                NodeError::Status { status, text: Text::new(&String::from_utf8_lossy(&self.body)) }
            }
        }
    }
}
