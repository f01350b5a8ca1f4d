//! News from a node by websocket.
//!
//! They are hints: that something is new, and where to look. There is no replay after a lost connection, and the order
//! is the node's: whoever follows compares tips, fetches, and verifies.

use crate::answer;
use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::error::{Lie, NodeError};
use crate::http::{Guard, Limits, Stream};
use crate::json;
use crate::rpc::{self, Call};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Uri;
use primitives::bitcoin::block::Header;
use primitives::bitcoin::{BlockHash, Transaction};
use primitives::block::parse_header;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::{debug, warn};

/// News that wait for who watches. Beyond it the connection is not read.
const NEWS_MAX: usize = 64;
/// Messages that may come before the reply to a request: notifications of what was subscribed before.
const BEFORE_REPLY_MAX: usize = 10_000;

/// What is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Connected, for the first time or again: what came before is to be asked for.
    Attached,
    /// The connection is lost; the next `Attached` may take a while.
    Lost,
    /// The node has a block more.
    Connected {
        /// Which.
        id: BlockHash,
        /// Where.
        height: u32,
    },
    /// The node has taken its last block back.
    Disconnected {
        /// Which.
        id: BlockHash,
        /// Where.
        height: u32,
    },
    /// A block with transactions of the filter in it.
    Filtered {
        /// Where.
        height: u32,
        /// Its header.
        header: Header,
        /// What passed the filter.
        transactions: Vec<Transaction>,
    },
    /// A transaction of the filter waits for a block.
    Waiting(Transaction),
}

/// What is watched beside blocks.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Addresses, as the network writes them.
    pub addresses: Vec<String>,
}

/// A watched node. Reconnects by itself, for ever.
#[derive(Debug)]
pub struct Watch {
    news: mpsc::Receiver<News>,
    _task: Guard,
}

impl Watch {
    /// Connects in the background. `backoff`: the waits between connections.
    #[must_use]
    pub fn start(endpoint: Endpoint, limits: Limits, filter: Filter, backoff: Backoff) -> Self {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let task = tokio::spawn(keep_watching(endpoint, limits, filter, backoff, sender));
        Self { news, _task: Guard(task) }
    }

    /// The next news. Nothing is lost if this is not waited for to the end.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

/// Until nobody wants news any more.
async fn keep_watching(
    endpoint: Endpoint,
    limits: Limits,
    filter: Filter,
    mut backoff: Backoff,
    sender: mpsc::Sender<News>,
) {
    loop {
        let error = match Socket::open(&endpoint, limits, &filter).await {
            Ok(mut socket) => {
                if sender.send(News::Attached).await.is_err() {
                    return;
                }
                let error = pass_on(&mut socket, &mut backoff, &sender).await;
                if sender.send(News::Lost).await.is_err() {
                    return;
                }
                error
            }
            Err(error) => error,
        };
        let wait = backoff.wait();
        warn!(node = %endpoint, "watch: {error}; connecting again in {wait:?}");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = sender.closed() => return,
        }
    }
}

/// Until the connection fails.
async fn pass_on(
    socket: &mut Socket,
    backoff: &mut Backoff,
    sender: &mpsc::Sender<News>,
) -> NodeError {
    loop {
        match socket.next().await {
            Ok(news) => {
                // Whoever connects and says nothing does not count as well.
                backoff.reset();
                if sender.send(news).await.is_err() {
                    return NodeError::Closed;
                }
            }
            Err(error) => return error,
        }
    }
}

/// An open connection with its subscriptions.
#[derive(Debug)]
struct Socket {
    stream: WebSocketStream<Stream>,
    limits: Limits,
    next_id: u64,
}

impl Socket {
    async fn open(endpoint: &Endpoint, limits: Limits, filter: &Filter) -> Result<Self, NodeError> {
        let opening = async {
            let stream = Stream::connect(endpoint, &limits).await?;
            let mut socket =
                Self { stream: upgrade(endpoint, stream, &limits).await?, limits, next_id: 1 };
            socket.subscribe(filter).await?;
            Ok(socket)
        };
        let late = |_late| NodeError::Timeout { what: "open a websocket", limit: limits.call };
        timeout(limits.call, opening).await.map_err(late)?
    }

    async fn subscribe(&mut self, filter: &Filter) -> Result<(), NodeError> {
        if !filter.addresses.is_empty() {
            // Replaces whatever filter there was.
            let params = [json!(true), json!(filter.addresses), json!([])];
            self.request(&Call::new("loadtxfilter", params)).await?;
        }
        self.request(&Call::new("notifyblocks", [])).await
    }

    /// Waits for the reply. What comes before it is news of what was before `Attached`, and is dropped.
    async fn request(&mut self, call: &Call) -> Result<(), NodeError> {
        let id = self.next_id;
        self.next_id += 1;
        self.stream.send(Message::text(call.to_json(id).to_string())).await?;
        for _ in 0..BEFORE_REPLY_MAX {
            let Some(bytes) = self.message().await? else { continue };
            if is_reply(&bytes)? {
                return rpc::result(&bytes, call.method, id);
            }
        }
        Err(NodeError::TooMany { max: BEFORE_REPLY_MAX })
    }

    async fn next(&mut self) -> Result<News, NodeError> {
        let mut asked = false;
        loop {
            let waiting = timeout(self.limits.silence, self.message());
            match waiting.await {
                Ok(message) => {
                    asked = false;
                    let Some(bytes) = message? else { continue };
                    if let Some(news) = news(&bytes)? {
                        return Ok(news);
                    }
                }
                Err(_late) if asked => {
                    let limit = self.limits.silence;
                    return Err(NodeError::Timeout { what: "answer to a ping", limit });
                }
                Err(_late) => {
                    asked = true;
                    self.stream.send(Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    /// A text; `None`: something of the protocol's own.
    async fn message(&mut self) -> Result<Option<Bytes>, NodeError> {
        match self.stream.next().await.ok_or(NodeError::Closed)?? {
            Message::Text(text) => Ok(Some(text.into())),
            Message::Binary(bytes) => Ok(Some(bytes)),
            Message::Close(_) => Err(NodeError::Closed),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        }
    }
}

async fn upgrade(
    endpoint: &Endpoint,
    stream: Stream,
    limits: &Limits,
) -> Result<WebSocketStream<Stream>, NodeError> {
    let address = crate::error::Text::new(&endpoint.to_string());
    let uri: Uri = format!("ws://{endpoint}/ws")
        .parse()
        .map_err(|_wrong| crate::error::ConfigError::Address(address))?;
    let mut request = ClientRequestBuilder::new(uri);
    if let Some((name, value)) = endpoint.auth() {
        let value = value.to_str().map_err(|_wrong| crate::error::ConfigError::Credentials)?;
        request = request.with_header(name.as_str(), value);
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits.body_len_max))
        .max_frame_size(Some(limits.body_len_max));
    let (stream, _response) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(stream)
}

/// A notification, or a reply. Parameters are looked into only if the method means something.
#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

fn is_reply(bytes: &[u8]) -> Result<bool, NodeError> {
    let notification: Notification<'_> = rpc::read_borrowed(rpc::text(bytes)?)?;
    Ok(notification.method.is_none())
}

/// What a message of the node says; `None`: nothing that matters here.
///
/// # Errors
/// See [`NodeError`].
pub fn news(bytes: &[u8]) -> Result<Option<News>, NodeError> {
    let notification: Notification<'_> = rpc::read_borrowed(rpc::text(bytes)?)?;
    let Some(method) = notification.method else { return Ok(None) };
    let params = notification.params.map_or("null", RawValue::get).as_bytes();
    match method.as_str() {
        "blockconnected" => {
            let (id, height, _time): (BlockHash, u32, i64) = json::read(params)?;
            Ok(Some(News::Connected { id, height }))
        }
        "blockdisconnected" => {
            let (id, height, _time): (BlockHash, u32, i64) = json::read(params)?;
            Ok(Some(News::Disconnected { id, height }))
        }
        "filteredblockconnected" => {
            let (height, header, texts): (u32, String, Option<Vec<String>>) = json::read(params)?;
            filtered(height, &header, &texts.unwrap_or_default())
        }
        "relevanttxaccepted" => {
            let (text,): (String,) = json::read(params)?;
            Ok(Some(News::Waiting(answer::transaction(&text)?)))
        }
        other => {
            debug!(method = crate::error::Text::new(other).as_str(), "a notification of no use");
            Ok(None)
        }
    }
}

/// Blocks without anything of the filter are in `blockconnected` too.
fn filtered(height: u32, header: &str, texts: &[String]) -> Result<Option<News>, NodeError> {
    let header = answer::hex(header, 80).and_then(|bytes| parse_header(&bytes).ok());
    let header = header.ok_or(Lie::NoHeader(0))?;
    if texts.is_empty() {
        return Ok(None);
    }
    let transactions = texts.iter().map(|text| answer::transaction(text));
    let transactions = transactions.collect::<Result<_, _>>()?;
    Ok(Some(News::Filtered { height, header, transactions }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_messages_are_refused_and_foreign_ones_passed_over() {
        for nothing in
            [r#"{"id":1,"result":null}"#, r#"{"method":"txaccepted","params":["x",1.5]}"#, "{}"]
        {
            assert_eq!(news(nothing.as_bytes()).unwrap(), None, "{nothing}");
        }
        let id = "00".repeat(32);
        for wrong in [
            String::new(),
            "null".to_owned(),
            r#"{"method":"blockconnected"}"#.to_owned(),
            format!(r#"{{"method":"blockconnected","params":["{id}",-1,0]}}"#),
            format!(r#"{{"method":"blockconnected","params":["{id}",1]}}"#),
            r#"{"method":"blockconnected","params":["00",1,0]}"#.to_owned(),
            r#"{"method":"filteredblockconnected","params":[1,"00",null]}"#.to_owned(),
            r#"{"method":"relevanttxaccepted","params":["00"]}"#.to_owned(),
            r#"{"method":"relevanttxaccepted","params":[["00"]]}"#.to_owned(),
        ] {
            assert!(news(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let good = format!(r#"{{"method":"blockconnected","params":["{id}",7,0],"id":null}}"#);
        let id = id.parse().unwrap();
        assert_eq!(news(good.as_bytes()).unwrap(), Some(News::Connected { id, height: 7 }));
    }
}
