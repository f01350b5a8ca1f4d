//! What can go wrong with a node, by whose fault.

use primitives::bitcoin::{BlockHash, Txid};
use primitives::fault::Fault;
use std::fmt::Write as _;
use std::time::Duration;
use std::{fmt, io};

/// Bytes of a text of the node's that are kept and shown.
const TEXT_LEN_MAX: usize = 200;

/// Why a call has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration cannot work.
    #[error("node's configuration: {0}")]
    Config(#[from] ConfigError),
    /// Nobody there.
    #[error("connect to {to}: {source}")]
    Connect {
        /// `host:port`.
        to: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody else is there, or nobody who speaks TLS.
    #[error("TLS with {to}: {source}")]
    Tls {
        /// `host:port`.
        to: String,
        /// rustls' reason.
        source: io::Error,
    },
    /// Not in time.
    #[error("{what}: not done within {limit:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// Not HTTP, or ended in the middle of it.
    #[error("read the answer: {0}")]
    Http(#[from] hyper::Error),
    /// Not the websocket protocol, or more than its limits.
    #[error("websocket: {0}")]
    WebSocket(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    /// The other side ended a stream or a websocket.
    #[error("the node ended the connection")]
    Closed,
    /// User, password or macaroon is wrong.
    #[error("the node refuses our credentials (401)")]
    Unauthorized,
    /// The node has as many clients as it takes.
    #[error("the node has too many clients (503)")]
    Busy,
    /// A status that means nothing here.
    #[error("answer: HTTP status {status}: {text}")]
    Status {
        /// As it came.
        status: u16,
        /// The first bytes of what came with it.
        text: Text,
    },
    /// Longer than anything can be.
    #[error("answer: longer than {max} bytes")]
    TooLong {
        /// What is allowed.
        max: usize,
    },
    /// A content encoding was not asked for: unpacked it could be of any size.
    #[error("answer: is encoded ({0}), which was not asked for")]
    Encoded(Text),
    /// Not what JSON parsers should be given.
    #[error("answer: nested deeper than {max}")]
    TooDeep {
        /// What is allowed.
        max: usize,
    },
    /// Not what JSON parsers should be given.
    #[error("answer: more than {max} entries in one list")]
    TooMany {
        /// What is allowed.
        max: usize,
    },
    /// No JSON, or not the types that should be there.
    #[error("answer: {place}: {reason}")]
    Shape {
        /// Where in the answer, `.` being all of it.
        place: Text,
        /// What is wrong there.
        reason: Text,
    },
    /// An answer to something else.
    #[error("answer: to request {got}, where {asked} was asked")]
    OtherRequest {
        /// Ours.
        asked: u64,
        /// The answer's.
        got: Text,
    },
    /// The node does not want to.
    #[error("{method}: refused: {refusal}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Its reason.
        refusal: Refusal,
    },
    /// What the node said is false, and was checked.
    #[error("the node lies: {0}")]
    Lie(#[from] Lie),
}

impl From<tokio_tungstenite::tungstenite::Error> for NodeError {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        use tokio_tungstenite::tungstenite::Error as Theirs;
        use tokio_tungstenite::tungstenite::error::CapacityError;
        if matches!(error, Theirs::ConnectionClosed | Theirs::AlreadyClosed) {
            return Self::Closed;
        }
        if let Theirs::Capacity(CapacityError::MessageTooLong { max_size: max, .. }) = error {
            return Self::TooLong { max };
        }
        if let Theirs::Http(response) = &error {
            return match response.status().as_u16() {
                401 => Self::Unauthorized,
                503 => Self::Busy,
                status => Self::Status { status, text: Text::default() },
            };
        }
        Self::WebSocket(Box::new(error))
    }
}

/// What is to be thought of a node that answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It answers, and does not do this: the same question will have the same answer.
    Answers,
    /// It cannot be reached, or does not answer.
    Vanished,
    /// What it answers is nothing that a node says.
    Broken,
    /// It says what is false.
    Lying,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answers => "answers",
            Self::Vanished => "vanished",
            Self::Broken => "broken",
            Self::Lying => "lying",
        })
    }
}

impl NodeError {
    /// What this says of the node.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Refused { .. } => Standing::Answers,
            Self::Lie(_) => Standing::Lying,
            Self::Http(error) if error.is_parse() => Standing::Broken,
            Self::WebSocket(error) if is_their_fault(error) => Standing::Broken,
            // Whoever goes down in the middle of an answer has not said anything wrong, nor has a proxy in front.
            Self::Config(_)
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Http(_)
            | Self::WebSocket(_)
            | Self::Closed
            | Self::Status { .. }
            | Self::Unauthorized
            | Self::Busy => Standing::Vanished,
            Self::TooLong { .. }
            | Self::Encoded(_)
            | Self::TooDeep { .. }
            | Self::TooMany { .. }
            | Self::Shape { .. }
            | Self::OtherRequest { .. } => Standing::Broken,
        }
    }
}

fn is_their_fault(error: &tokio_tungstenite::tungstenite::Error) -> bool {
    use tokio_tungstenite::tungstenite::Error as Theirs;
    use tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    !matches!(error, Theirs::Io(_) | Theirs::Protocol(ResetWithoutClosingHandshake))
}

/// Why nothing can be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not `http://host:port`.
    #[error("address {0:?}: not http://HOST:PORT or https://HOST:PORT")]
    Address(Text),
    /// Plain HTTP shows passwords to whoever is in between.
    #[error("address {0:?}: credentials would go in the clear to another machine: use https")]
    InTheClear(Text),
    /// TLS with a certificate that nobody vouches for.
    #[error("address {0:?}: https needs the node's certificate, or its authority's")]
    NoCertificate(Text),
    /// Not PEM.
    #[error("certificate file: {0}")]
    Certificate(Text),
    /// A user name with a colon, or something that cannot stand in a header.
    #[error("credentials: cannot be sent in a header")]
    Credentials,
}

/// A text of the node's: cut to 200 bytes, and with nothing in it that a terminal or a log would obey.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// What is left of `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut kept = String::new();
        for letter in text.chars() {
            if kept.len() >= TEXT_LEN_MAX {
                kept.push('…');
                break;
            }
            if letter.is_control() || is_invisible(letter) {
                // Writing to a string cannot fail.
                let _written = write!(kept, "{}", letter.escape_unicode());
            } else {
                kept.push(letter);
            }
        }
        Self(kept)
    }

    /// As it may be shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Marks of direction and of no width, which make a line look like another one.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A node's reason not to do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// JSON-RPC's or gRPC's number.
    pub code: i64,
    /// The node's name for it, as `ErrRPCBlockNotFound`; empty where it has none.
    pub name: Text,
    /// All of its message but the program's stack.
    pub text: Text,
}

/// JSON-RPC codes that mean something to callers.
pub mod code {
    /// Not for the limited user, or wrong parameters.
    pub const PARAMS: i64 = -32_602;
    /// Not here.
    pub const NO_METHOD: i64 = -32_601;
    /// No such block, transaction, address.
    pub const NOT_FOUND: i64 = -5;
    /// Above the tip.
    pub const OUT_OF_RANGE: i64 = -8;
    /// A transaction that breaks a rule.
    pub const TRANSACTION: i64 = -25;
    /// A transaction that the node does not relay.
    pub const REJECTED: i64 = -26;
    /// A transaction that is in a block.
    pub const IN_CHAIN: i64 = -27;
    /// Wallet: locked.
    pub const LOCKED: i64 = -13;
    /// Wallet: wrong passphrase.
    pub const PASSPHRASE: i64 = -14;
}

impl Refusal {
    /// From a message as pktd writes them: `<version> <ErrName>(<code>): text`, or `<version> Validate_…`.
    #[must_use]
    pub fn new(code: i64, message: &str) -> Self {
        let line = message.lines().next().unwrap_or_default();
        let words = line.split([' ', ':', '(']);
        let mut names =
            words.filter(|word| word.starts_with("Err") || word.starts_with("Validate_"));
        Self { code, name: Text::new(names.next().unwrap_or_default()), text: Text::new(line) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.code)
    }
}

/// What was false.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// Another block than was asked for.
    #[error("asked for block {asked}, it gave {got}")]
    OtherBlock {
        /// Asked.
        asked: BlockHash,
        /// What the bytes are.
        got: BlockHash,
    },
    /// Bytes that are no block.
    #[error("what it gave for block {id} is none: {fault}")]
    NoBlock {
        /// Asked.
        id: BlockHash,
        /// The first fault.
        fault: Fault,
    },
    /// More headers than are ever given.
    #[error("it gave {0} headers, more than 2000")]
    TooManyHeaders(usize),
    /// No header.
    #[error("header {0} of its answer is no header")]
    NoHeader(usize),
    /// A header that does not stand on the one before.
    #[error("header {0} of its answer does not stand on the one before")]
    BrokenChain(usize),
    /// Another transaction than was asked for.
    #[error("asked for transaction {asked}, it gave {got}")]
    OtherTransaction {
        /// Asked.
        asked: Txid,
        /// What the bytes are.
        got: Txid,
    },
    /// Bytes that are no transaction.
    #[error("what it gave as a transaction is none")]
    NoTransaction,
    /// The wallet made a transaction that does not pay what it was told to.
    #[error("the wallet made a transaction that does not pay what was asked")]
    OtherPayment,
    /// An address of another network, or none.
    #[error("{0:?} is no address of this network")]
    NoAddress(Text),
    /// A script that is none, or an amount that cannot be.
    #[error("{0}: cannot be")]
    Impossible(&'static str),
    /// An invoice for something else.
    #[error("the invoice is not for the {0} that was asked")]
    OtherInvoice(&'static str),
    /// A preimage whose hash is another.
    #[error("the preimage is not the payment hash's")]
    OtherPreimage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_cut_and_harmless() {
        let text = Text::new(&format!("\u{1b}[2J\r\n\u{202e}{}", "x".repeat(10_000_000)));
        assert!(text.as_str().len() < 300, "{text}");
        assert!(text.as_str().chars().all(|letter| !letter.is_control()), "{text}");
        assert!(text.as_str().starts_with("\\u{1b}[2J\\u{d}\\u{a}\\u{202e}xxx"), "{text}");
    }

    #[test]
    fn names_are_found_in_messages() {
        for (message, name) in [
            ("0.0.0-custom ErrRPCBlockNotFound(-5): Block not found", "ErrRPCBlockNotFound"),
            ("1.0.1 Validate_checkAnn_INVAL_MERKLE", "Validate_checkAnn_INVAL_MERKLE"),
            (
                "rejected: 0.0.0-custom ErrDuplicateBlock: already have\n  stack",
                "ErrDuplicateBlock",
            ),
            ("", ""),
            ("no name here", ""),
        ] {
            assert_eq!(Refusal::new(-5, message).name.as_str(), name, "{message}");
        }
    }
}
