//! HTTP on loopback, one request a connection as pktd does it; and servers that are not what they should be.

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, KeyPair, PKCS_ECDSA_P521_SHA512};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

/// Bytes of a request's body at most.
const REQUEST_LEN_MAX: usize = 16 << 20;
/// What floods consist of.
pub(crate) static FLOOD: [u8; 64 << 10] = [b'0'; 64 << 10];
/// Between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(20);

/// What an answer's body is.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// How a server treats whoever connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should be.
    #[default]
    Good,
    /// Takes connections, reads, says nothing.
    Silent,
    /// Closes every connection at once.
    Closing,
    /// Sends what is no HTTP.
    Garbage,
    /// Header lines without end.
    EndlessHead,
    /// One header line without end.
    EndlessLine,
    /// A body of 10 GB, announced.
    TenGigabytes,
    /// A body in chunks without end.
    EndlessChunks,
    /// A byte now and then, for ever.
    Drip,
    /// Ends in the middle of the body.
    Truncated,
    /// A small body that says it is packed.
    Packed,
    /// Another status, with a page of text.
    Status(u16),
    /// A list in a list in a list, a million deep.
    Deep,
    /// A list of a million entries.
    Long,
}

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The answer. What takes long goes into the body.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// A server on a port of its own; ends when it goes.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    certificate: Option<String>,
    manner: Arc<Mutex<Manner>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `is_tls`: with a certificate of its own making, on the curve that pktd uses.
    pub(crate) async fn start(handler: Arc<impl Handler>, is_tls: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (acceptor, certificate) = if is_tls {
            let (acceptor, certificate) = tls()?;
            (Some(acceptor), Some(certificate))
        } else {
            (None, None)
        };
        let manner = Arc::new(Mutex::new(Manner::Good));
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&manner), handler));
        Ok(Self { address, certificate, manner, task })
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }
}

fn tls() -> io::Result<(TlsAcceptor, String)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).map_err(io::Error::other)?;
    let params = rcgen::CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let mut params = params.map_err(io::Error::other)?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).map_err(io::Error::other)?;
    let made = CertifiedKey { cert, signing_key: key };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    Ok((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    manner: Arc<Mutex<Manner>>,
    handler: Arc<impl Handler>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _from)) = listener.accept() => {
                let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
                let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
                connections.spawn(async move {
                    // Who leaves early is no failure of the server.
                    let _left = connection(stream, acceptor, manner, handler).await;
                });
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    manner: Manner,
    handler: Arc<impl Handler>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if manner == Manner::Closing {
        return Ok(());
    }
    match acceptor {
        Some(acceptor) => converse(acceptor.accept(stream).await?, manner, handler).await,
        None => converse(stream, manner, handler).await,
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    manner: Manner,
    handler: Arc<impl Handler>,
) -> io::Result<()> {
    if manner != Manner::Good {
        read_head(&mut stream).await?;
        return misbehave(&mut stream, manner).await;
    }
    let service = service_fn(|request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    connection.with_upgrades().await.map_err(io::Error::other)
}

/// Reads up to the empty line.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(())
}

async fn misbehave(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    manner: Manner,
) -> io::Result<()> {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let head = |rest: &str| [OK, rest.as_bytes()].concat();
    let (head, flood): (Vec<u8>, &[u8]) = match manner {
        Manner::Good | Manner::Closing => return Ok(()),
        Manner::Silent => return until_left(stream).await,
        Manner::Garbage => (b"220 mail ready\r\n\r\n".to_vec(), &[]),
        Manner::EndlessHead => (OK.to_vec(), b"X: y\r\n"),
        Manner::EndlessLine => (head("X: "), &FLOOD),
        Manner::TenGigabytes => (head("Content-Length: 10000000000\r\n\r\n{\"result\":\""), &FLOOD),
        Manner::EndlessChunks => {
            (head("Transfer-Encoding: chunked\r\n\r\n"), b"10\r\n0123456789abcdef\r\n")
        }
        Manner::Drip => {
            stream.write_all(&head("Content-Length: 1000000\r\n\r\n")).await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(DRIP).await;
            }
        }
        Manner::Truncated => (head("Content-Length: 1000\r\n\r\n{\"result\":"), &[]),
        Manner::Packed => {
            (head("Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\u{b}\x08\0"), &[])
        }
        Manner::Status(status) => {
            let text = "<html>no</html>\u{1b}[31m";
            let page =
                format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            (page.into_bytes(), &[])
        }
        Manner::Deep => (body("[".repeat(1_000_000)), &[]),
        Manner::Long => (body(format!("[{}0]", "0,".repeat(1_000_000))), &[]),
    };
    stream.write_all(&head).await?;
    let many = (64 << 10) / flood.len().max(1);
    let flood = flood.repeat(many.max(1));
    while !flood.is_empty() {
        stream.write_all(&flood).await?;
    }
    stream.shutdown().await?;
    // Closed with something unread, the connection would be reset, and the answer lost with it.
    until_left(stream).await
}

/// An answer to a call whose id is the first.
fn body(result: String) -> Vec<u8> {
    let body = format!("{{\"result\":{result},\"error\":null,\"id\":1}}");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn until_left(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// The body of a request; `None`: too long, or it ended early.
pub(crate) async fn body_of(request: Request<Incoming>) -> Option<Bytes> {
    let body = Limited::new(request.into_body(), REQUEST_LEN_MAX).collect().await;
    body.ok().map(http_body_util::Collected::to_bytes)
}

/// A whole answer.
pub(crate) fn answer(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
