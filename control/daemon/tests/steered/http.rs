//! Requests over the local socket, as plain as HTTP can be.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What came back: status and body.
pub(crate) type Answer = (u16, String);

/// Asks on a connection of its own.
pub(crate) fn ask(
    socket: &Path,
    method: &str,
    path: &str,
    (media_type, body): (&str, &str),
) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    talk(&mut stream, method, path, (media_type, body))
}

/// Asks on this connection.
pub(crate) fn talk(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    (media_type, body): (&str, &str),
) -> io::Result<Answer> {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\ncontent-type: {media_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    stream.flush()?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let bad = || io::Error::other(format!("no answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    Ok((status, body.to_owned()))
}

/// The same with JSON both ways, which must be answered.
pub(crate) fn json(socket: &Path, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, body) = ask(socket, method, path, ("application/json", &body)).unwrap();
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}
