//! What routers say to each other within a session. Source: CJDNS-WIRE.md §6.2, §6.3.
//!
//! ```text
//!  0     1     2             4
//! | 10  | 00  | type (256)  | bencoded dictionary …
//! ```

use crate::bencode::{Dictionary, Writer};
use std::net::Ipv6Addr;
use wire::control::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use wire::key::{self, PublicKey};
use wire::scheme::Scheme;

/// Most nodes that an answer names.
pub const NODES_MAX: usize = 8;
/// Longest transaction id; stock ones have 14 bytes.
pub const TXID_LEN_MAX: usize = 64;
/// Data header of a message between routers: version 1, type 256.
const DATA_HEADER: [u8; 4] = [0x10, 0, 1, 0];
/// Bytes of a node in `n`.
const NODE_LEN: usize = key::LEN + 8;

/// A node that an answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its key.
    pub key: PublicKey,
    /// A path to it, as seen from whoever names it.
    pub label: u64,
    /// Its protocol version.
    pub version: u32,
}

/// Why the text of a session is no message. None of them is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// User data, or a data header of another version.
    #[error("not a message between routers")]
    Type,
    /// No dictionary.
    #[error(transparent)]
    Bencode(#[from] crate::bencode::Bad),
    /// `p` is missing, or too old.
    #[error("message of a node older than version {PROTOCOL_VERSION_MIN}, or of none")]
    Version,
    /// `txid` is missing or too long.
    #[error("message without a txid of at most {TXID_LEN_MAX} bytes")]
    Txid,
    /// `es` is no encoding scheme, or `ei` no form of it.
    #[error("message with an encoding scheme that is none, or a form that it has not")]
    Scheme,
    /// `n` and `np` are not lists of the same length, or name too many nodes.
    #[error("message whose lists of nodes and versions do not match")]
    Nodes,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Protocol version of the sender.
    pub version: u32,
    /// Returned unchanged in the answer.
    pub txid: &'a [u8],
    /// What it asks or answers.
    pub body: Body<'a>,
}

/// What a message asks or answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Of a router.
    Query(Query),
    /// Of a route server.
    ServerQuery(ServerQuery<'a>),
    /// To a question of ours.
    Reply(Reply),
}

/// What a router is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// `pn`, and whatever is answered like it.
    Ping,
    /// `gp`: which peers are near this label?
    Peers(u64),
    /// `fn`: who is near this address?
    Find(Ipv6Addr),
}

/// What a route server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerQuery<'a> {
    /// `pn`: are you one, and what time is it?
    Ping,
    /// `gr`: how does one get there?
    Route {
        /// From this node.
        from: Ipv6Addr,
        /// To this.
        to: Ipv6Addr,
    },
    /// `ann`: take note of this.
    Announce(&'a [u8]),
    /// Something else, or one of the above with something missing.
    Unknown,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Nodes that it names, in the order of the answer.
    pub nodes: Vec<Node>,
    /// A route server's clock, in milliseconds.
    pub receive_time_ms: Option<u64>,
    /// A route server's [`StateHash`](crate::announce::log::StateHash) of us.
    pub state_hash: Option<[u8; 64]>,
    /// What went wrong.
    pub error: Option<String>,
}

/// What every message of a sender has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    /// The sender's.
    pub(super) scheme: &'a Scheme,
    /// The path that it goes by.
    pub(super) path: u64,
    pub(super) txid: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the text of a session.
    ///
    /// # Errors
    /// [`Bad`].
    pub fn parse(text: &'a [u8]) -> Result<Self, Bad> {
        let (header, content) = text.split_first_chunk::<4>().ok_or(Bad::Type)?;
        // The second byte has no meaning.
        if (header[0] >> 4, header[2], header[3]) != (1, 1, 0) {
            return Err(Bad::Type);
        }
        let dictionary = Dictionary::parse(content)?;
        let version = dictionary.integer("p").and_then(|version| u32::try_from(version).ok());
        let version =
            version.filter(|version| *version >= PROTOCOL_VERSION_MIN).ok_or(Bad::Version)?;
        let txid = dictionary.bytes("txid").filter(|txid| txid.len() <= TXID_LEN_MAX);
        let txid = txid.ok_or(Bad::Txid)?;
        check_scheme(&dictionary)?;
        let body = if let Some(query) = dictionary.bytes("sq") {
            Body::ServerQuery(ServerQuery::read(query, &dictionary))
        } else if let Some(query) = dictionary.bytes("q") {
            Body::Query(Query::read(query, &dictionary))
        } else {
            Body::Reply(Reply::read(&dictionary)?)
        };
        Ok(Self { version, txid, body })
    }
}

impl Query {
    //= WIRE §6.3: a gp whose tar is not 8 bytes long, and an unknown q, are answered like a ping
    fn read(query: &[u8], dictionary: &Dictionary<'_>) -> Self {
        let target = dictionary.bytes("tar").unwrap_or_default();
        match (query, target.len()) {
            (b"gp", 8) => target
                .first_chunk()
                .map_or(Self::Ping, |label| Self::Peers(u64::from_be_bytes(*label))),
            (b"fn", 16) => address(target).map_or(Self::Ping, Self::Find),
            _ => Self::Ping,
        }
    }

    /// The message that asks it.
    pub(super) fn write(self, head: Head<'_>) -> Vec<u8> {
        let writer = head.writer();
        head.finish(match self {
            Self::Ping => writer.bytes("q", b"pn"),
            Self::Peers(label) => writer.bytes("q", b"gp").bytes("tar", &label.to_be_bytes()),
            Self::Find(target) => writer.bytes("q", b"fn").bytes("tar", &target.octets()),
        })
    }
}

impl<'a> ServerQuery<'a> {
    fn read(query: &[u8], dictionary: &Dictionary<'a>) -> Self {
        let node = |key| dictionary.bytes(key).and_then(address);
        let query = match query {
            b"pn" => Some(Self::Ping),
            b"gr" => node("src").zip(node("tar")).map(|(from, to)| Self::Route { from, to }),
            b"ann" => dictionary.bytes("ann").map(Self::Announce),
            _ => None,
        };
        query.unwrap_or(Self::Unknown)
    }

    /// The message that asks it.
    pub(super) fn write(self, head: Head<'_>) -> Vec<u8> {
        let writer = head.writer();
        head.finish(match self {
            Self::Ping | Self::Unknown => writer.bytes("sq", b"pn"),
            Self::Route { from, to } => {
                writer.bytes("sq", b"gr").bytes("src", &from.octets()).bytes("tar", &to.octets())
            }
            Self::Announce(announcement) => writer.bytes("sq", b"ann").bytes("ann", announcement),
        })
    }
}

impl Reply {
    /// An answer that says no more than that somebody is there.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// An answer that names these nodes.
    #[must_use]
    pub fn naming(nodes: Vec<Node>) -> Self {
        Self { nodes, ..Self::default() }
    }

    fn read(dictionary: &Dictionary<'_>) -> Result<Self, Bad> {
        let time = dictionary.integer("recvTime").and_then(|time| u64::try_from(time).ok());
        let hash = dictionary.bytes("stateHash").and_then(|hash| hash.try_into().ok());
        let error = dictionary.bytes("error").filter(|error| *error != b"none");
        Ok(Self {
            nodes: read_nodes(dictionary)?,
            receive_time_ms: time,
            state_hash: hash,
            error: error.map(|error| String::from_utf8_lossy(error).into_owned()),
        })
    }

    /// The message that says it.
    pub(super) fn write(&self, head: Head<'_>) -> Vec<u8> {
        let mut writer = head.writer();
        if !self.nodes.is_empty() {
            let (nodes, versions) = written_nodes(&self.nodes);
            writer = writer.bytes("n", &nodes).bytes("np", &versions);
        }
        if let Some(time) = self.receive_time_ms.and_then(|time| i64::try_from(time).ok()) {
            writer = writer.integer("recvTime", time);
        }
        if let Some(hash) = &self.state_hash {
            writer = writer.bytes("stateHash", hash);
        }
        if let Some(error) = &self.error {
            writer = writer.bytes("error", error.as_bytes());
        }
        head.finish(writer)
    }
}

impl Head<'_> {
    fn writer(&self) -> Writer {
        //= WIRE §6.3: ei is the form of the director by which the sender reaches the receiver
        let form = self.scheme.form_of(self.path).and_then(|form| i64::try_from(form).ok());
        Writer::new()
            .integer("ei", form.unwrap_or(0))
            .bytes("es", &self.scheme.serialize())
            .integer("p", PROTOCOL_VERSION.into())
            .bytes("txid", self.txid)
    }

    fn finish(&self, writer: Writer) -> Vec<u8> {
        let mut text = DATA_HEADER.to_vec();
        writer.finish(&mut text);
        text
    }
}

/// An absent scheme is v358; an absent form is forgiven.
fn check_scheme(dictionary: &Dictionary<'_>) -> Result<(), Bad> {
    let scheme = match dictionary.bytes("es") {
        Some(scheme) => Scheme::parse(scheme).ok().ok_or(Bad::Scheme)?,
        None => Scheme::v358(),
    };
    let form = dictionary.integer("ei").unwrap_or(0);
    let is_form = usize::try_from(form).is_ok_and(|form| form < scheme.forms().len());
    if is_form { Ok(()) } else { Err(Bad::Scheme) }
}

fn address(bytes: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

fn read_nodes(dictionary: &Dictionary<'_>) -> Result<Vec<Node>, Bad> {
    let Some(nodes) = dictionary.bytes("n") else { return Ok(Vec::new()) };
    let (width, versions) =
        dictionary.bytes("np").and_then(<[u8]>::split_first).ok_or(Bad::Nodes)?;
    let (count, width) = (nodes.len() / NODE_LEN, usize::from(*width));
    let lengths_match = nodes.len() == count * NODE_LEN && versions.len() == count * width;
    if !lengths_match || !(1..=4).contains(&width) || count > NODES_MAX {
        return Err(Bad::Nodes);
    }
    let node = |(node, version): (&[u8], &[u8])| {
        let (key, label) = node.split_first_chunk::<{ key::LEN }>()?;
        let label = u64::from_be_bytes(label.try_into().ok()?);
        let version = version.iter().fold(0, |version, byte| version << 8 | u32::from(*byte));
        Some(Node { key: PublicKey(*key), label, version })
    };
    Ok(nodes.chunks(NODE_LEN).zip(versions.chunks(width)).filter_map(node).collect())
}

/// `n` and `np`.
fn written_nodes(nodes: &[Node]) -> (Vec<u8>, Vec<u8>) {
    let nodes = nodes.get(nodes.len().saturating_sub(NODES_MAX)..).unwrap_or_default();
    let newest = nodes.iter().map(|node| node.version).max().unwrap_or(0);
    let width = match newest {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    };
    let mut versions = vec![width];
    let mut bytes = Vec::with_capacity(nodes.len() * NODE_LEN);
    for node in nodes {
        bytes.extend(node.key.0);
        bytes.extend(node.label.to_be_bytes());
        versions.extend(node.version.to_be_bytes().iter().skip(4 - usize::from(width)));
    }
    (bytes, versions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head<'a>(scheme: &'a Scheme, txid: &'a [u8]) -> Head<'a> {
        Head { scheme, path: 0x13, txid }
    }

    fn text(dictionary: &str) -> Vec<u8> {
        [&DATA_HEADER[..], dictionary.as_bytes()].concat()
    }

    #[test]
    fn queries_are_read_as_they_were_written() {
        let scheme = Scheme::v358();
        for query in [Query::Ping, Query::Peers(0x153), Query::Find("fc00::7".parse().unwrap())] {
            let text = query.write(head(&scheme, b"t1"));
            let message = Message::parse(&text).unwrap();
            assert_eq!((message.version, message.txid), (22, &b"t1"[..]));
            assert_eq!(message.body, Body::Query(query));
        }
        let (from, to) = ("fc00::1".parse().unwrap(), "fc00::2".parse().unwrap());
        for query in
            [ServerQuery::Ping, ServerQuery::Route { from, to }, ServerQuery::Announce(b"bytes")]
        {
            let text = query.write(head(&scheme, b""));
            assert_eq!(Message::parse(&text).unwrap().body, Body::ServerQuery(query));
        }
    }

    #[test]
    fn a_query_that_nobody_knows_is_a_ping() {
        for query in ["1:q2:zz", "1:q2:nh3:tar1:x", "1:q2:gp3:tar16:0123456789abcdef", "1:q2:fn"] {
            let text = text(&format!("d2:eii0e1:pi22e{query}4:txid1:xe"));
            assert_eq!(Message::parse(&text).unwrap().body, Body::Query(Query::Ping), "{query}");
        }
        let text = text("d2:sq2:pc1:pi22e4:txid1:xe");
        let unknown = Body::ServerQuery(ServerQuery::Unknown);
        assert_eq!(Message::parse(&text).unwrap().body, unknown);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let bad = |text: &[u8]| Message::parse(text).unwrap_err();
        assert_eq!(bad(b"\x10\x00\x00\x3a"), Bad::Type);
        assert_eq!(bad(b"\x20\x00\x01\x00de"), Bad::Type);
        assert_eq!(bad(&text("de")), Bad::Version);
        assert_eq!(bad(&text("d1:pi19e4:txid1:xe")), Bad::Version);
        assert_eq!(bad(&text("d1:pi-1e4:txid1:xe")), Bad::Version);
        assert_eq!(bad(&text("d1:pi22ee")), Bad::Txid);
        assert_eq!(bad(&text("d1:pi22e4:txid1:x2:es1:xe")), Bad::Scheme);
        assert_eq!(bad(&text("d1:pi22e4:txid1:x2:eii3ee")), Bad::Scheme);
        assert_eq!(bad(&text("d1:pi22e4:txid1:x1:n1:ae")), Bad::Nodes);
        let node = "n".repeat(40);
        for versions in ["0:", "1:\u{1}", "2:\u{0}a", "3:\u{1}ab", "6:\u{5}abcde"] {
            let reply = format!("d1:pi22e4:txid1:x1:n40:{node}2:np{versions}e");
            assert_eq!(bad(&text(&reply)), Bad::Nodes, "{versions:?}");
        }
    }

    proptest! {
        #[test]
        fn replies_are_read_as_they_were_written(
            nodes in prop::collection::vec((any::<[u8; 32]>(), any::<u64>(), any::<u32>()), 0..8),
            time in prop::option::of(0..1_u64 << 62),
            state_hash in prop::option::of(prop::array::uniform32(any::<u8>())),
        ) {
            let node = |(key, label, version)| Node { key: PublicKey(key), label, version };
            let reply = Reply {
                nodes: nodes.into_iter().map(node).collect(),
                receive_time_ms: time,
                state_hash: state_hash.and_then(|half| [half, half].concat().try_into().ok()),
                error: None,
            };
            let scheme = Scheme::f8();
            let text = reply.write(head(&scheme, b"txid"));
            prop_assert_eq!(Message::parse(&text).unwrap().body, Body::Reply(reply));
        }

        #[test]
        fn any_bytes_are_a_message_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _parsed = Message::parse(&[&DATA_HEADER[..], &bytes].concat());
        }
    }
}
