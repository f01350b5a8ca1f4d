//! Asking control: HTTP/1.1 over its Unix socket, or over TLS. One connection per question: nothing is kept open while a
//! person thinks.

use super::problem::ApiError;
use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

/// Longest answer that is taken, bytes.
const ANSWER_LEN_MAX: usize = 64 << 20;
/// How long control may take; a store that is read as a whole takes it ten minutes at most.
const ANSWER: Duration = Duration::from_secs(660);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Where Debian keeps the certificates that the system trusts.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What every path begins with.
const ROOT: &str = "/api/v1";

/// Where control listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A host and port, behind TLS.
    Tls { host: String, port: u16 },
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(authority) = text.strip_prefix("https://") else {
            ensure!(
                !text.contains("://"),
                "{text:?}: expected the path of a socket, or https://HOST:PORT"
            );
            return Ok(Self::Unix(text.into()));
        };
        let bad = || format!("{text:?}: expected https://HOST:PORT");
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').with_context(bad)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        ensure!(inner.is_some() || !host.contains([':', '/', '[']), bad());
        let (host, port) = (inner.unwrap_or(host), port.parse().with_context(bad)?);
        ensure!(!host.is_empty(), bad());
        Ok(Self::Tls { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tls { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Request {
    method: Method,
    path: String,
    query: String,
    body: Vec<u8>,
    content_type: Option<&'static str>,
    if_match: Option<u64>,
}

impl Request {
    /// `path`: its names, which may be anything.
    pub(crate) fn new(method: Method, path: &[&str]) -> Self {
        let mut text = String::from(ROOT);
        for name in path {
            text.push('/');
            push_encoded(&mut text, name);
        }
        Self {
            method,
            path: text,
            query: String::new(),
            body: Vec::new(),
            content_type: None,
            if_match: None,
        }
    }

    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// Adds a parameter.
    pub(crate) fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(name);
        self.query.push('=');
        push_encoded(&mut self.query, &value.to_string());
        self
    }

    /// Adds a parameter, if there is a value.
    pub(crate) fn query_if(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.content_type = Some("application/json");
        self
    }

    pub(crate) fn toml(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self.content_type = Some("application/toml");
        self
    }

    /// Only if the candidate is still of this version.
    pub(crate) fn if_match(mut self, version: Option<u64>) -> Self {
        self.if_match = version;
        self
    }
}

/// RFC 3986: what is not unreserved is written in hexadecimal digits.
fn push_encoded(text: &mut String, name: &str) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _written = write!(text, "%{byte:02X}");
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    body: Bytes,
    /// Version of the candidate that it is about.
    pub(crate) etag: Option<u64>,
}

impl Reply {
    pub(crate) fn json(&self) -> Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).context("control's answer is no JSON")
    }

    pub(crate) fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body).context("control's answer is no text")
    }
}

/// Whoever answers.
pub(crate) struct Client {
    runtime: Runtime,
    endpoint: Endpoint,
    token: Option<Zeroizing<String>>,
    tls: Option<TlsConnector>,
    once: Option<String>,
}

impl Client {
    pub(crate) fn new(
        endpoint: Endpoint,
        token: Option<Zeroizing<String>>,
        ca: Option<&Path>,
        once: Option<String>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tls = match &endpoint {
            Endpoint::Unix(_) => None,
            Endpoint::Tls { .. } => Some(trusting(ca.unwrap_or_else(|| Path::new(SYSTEM_CA)))?),
        };
        Ok(Self { runtime, endpoint, token, tls, once })
    }

    /// Asks for JSON.
    pub(crate) fn get(&self, path: &[&str]) -> Result<Value> {
        self.ask(Request::get(path))?.json()
    }

    /// Asks for something to be done, and says how.
    pub(crate) fn post(&self, path: &[&str], body: &Value) -> Result<Value> {
        self.ask(Request::post(path).json(body))?.json()
    }

    /// Asks. Whatever is no success is an [`ApiError`].
    pub(crate) fn ask(&self, request: Request) -> Result<Reply> {
        let request = self.message(request)?;
        let at = || format!("asking control at {}", self.endpoint);
        let answer = self.runtime.block_on(async {
            let stream = tokio::time::timeout(CONNECT, self.connect());
            let stream = stream.await.context("no connection within 10 s").with_context(at)?;
            let stream = stream.with_context(at)?;
            let answer = tokio::time::timeout(ANSWER, converse(stream, request)).await;
            answer.context("no answer within 11 min").with_context(at)?.with_context(at)
        });
        let (status, headers, body) = answer?;
        if status.is_success() {
            return Ok(Reply { etag: etag(&headers), body });
        }
        Err(ApiError::read(status.as_u16(), &body).into())
    }

    /// Whether somebody listens there.
    pub(crate) fn is_there(&self) -> bool {
        self.runtime.block_on(async { self.connect().await.is_ok() })
    }

    fn message(&self, request: Request) -> Result<hyper::Request<Full<Bytes>>> {
        let Request { method, path, query, body, content_type, if_match } = request;
        let changes = method != Method::GET;
        let mut message = hyper::Request::builder().method(method).uri(path + &query);
        let host = match &self.endpoint {
            Endpoint::Unix(_) => "localhost".to_owned(),
            Endpoint::Tls { .. } => self.endpoint.to_string().replace("https://", ""),
        };
        message = message.header(header::HOST, host);
        if let Some(content_type) = content_type {
            message = message.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(version) = if_match {
            message = message.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if let Some(once) = self.once.as_ref().filter(|_| changes) {
            message = message.header("idempotency-key", once);
        }
        if let Some(token) = &self.token {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            let value = HeaderValue::from_str(&bearer).ok().context("the token is none")?;
            let mut value = value;
            value.set_sensitive(true);
            message = message.header(header::AUTHORIZATION, value);
        }
        Ok(message.body(Full::new(body.into()))?)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>> {
        match (&self.endpoint, &self.tls) {
            (Endpoint::Unix(path), _) => Ok(Box::new(UnixStream::connect(path).await?)),
            (Endpoint::Tls { host, port }, Some(tls)) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                let name = ServerName::try_from(host.clone()).context("no name of a host")?;
                Ok(Box::new(tls.connect(name, stream).await.context("TLS")?))
            }
            (Endpoint::Tls { .. }, None) => bail!("TLS was not set up"),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn converse(
    stream: Box<dyn Stream>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driven = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_LEN_MAX).collect().await;
    driven.abort();
    let body = body.map_err(|error| anyhow::anyhow!(error)).context("reading the answer")?;
    Ok((head.status, head.headers, body.to_bytes()))
}

fn etag(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::ETAG)?.to_str().ok()?.trim_matches('"').parse().ok()
}

fn trusting(ca: &Path) -> Result<TlsConnector> {
    let reading = || format!("certificates in {}", ca.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).with_context(reading)? {
        roots.add(certificate.with_context(reading)?).with_context(reading)?;
    }
    ensure!(!roots.is_empty(), "{}: there are none", reading());
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_paths_or_https() {
        let tls = |host: &str, port| Endpoint::Tls { host: host.to_owned(), port };
        for (text, endpoint) in [
            ("/run/control.sock", Endpoint::Unix("/run/control.sock".into())),
            ("https://box.example:8443", tls("box.example", 8443)),
            ("https://[2001:db8::1]:1/", tls("2001:db8::1", 1)),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap(), endpoint);
        }
        for text in [
            "http://box:1",
            "https://box",
            "https://:1",
            "https://a:b",
            "https://a:1:2",
            "https://a/b:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        let request = Request::get(&["tenants", "../a b?&"]).query("place", "x.\"y&z\"");
        assert_eq!(request.path, "/api/v1/tenants/..%2Fa%20b%3F%26");
        assert_eq!(request.query, "?place=x.%22y%26z%22");
    }
}
