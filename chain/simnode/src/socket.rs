//! The simulated node's websocket.

use crate::node::{Event, State};
use crate::rpc::{self, reply, to_hex};
use crate::server::{Body, FLOOD, answer};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use primitives::address::{Address, Written};
use primitives::bitcoin::consensus::serialize;
use primitives::bitcoin::{BlockHash, Transaction};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::broadcast::error::RecvError;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

/// How a websocket treats whoever connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketManner {
    /// As it should be.
    #[default]
    Good,
    /// Says nothing after the upgrade.
    Mute,
    /// Ends after the first subscription.
    HangUp,
    /// News of blocks without end, none of which exists.
    Flood,
    /// Texts that are no JSON.
    Junk,
    /// A message of a gigabyte.
    Huge,
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Ends all connections.
pub(crate) fn hang_up(state: &State) {
    // Nobody may be connected.
    let _told = state.events.send(Event::HangUp);
}

/// Answers an upgrade; what comes after it runs by itself.
pub(crate) fn upgrade(
    state: &Arc<State>,
    mut request: Request<Incoming>,
    is_known: bool,
) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return answer(400, "text/plain", "400 Bad Request.\n".to_owned());
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(converse(Arc::clone(state), upgrade, is_known));
    let mut response = Response::new(Empty::new().boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

async fn converse(state: Arc<State>, upgrade: OnUpgrade, is_known: bool) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut stream = TokioIo::new(upgraded);
    match state.socket_manner() {
        SocketManner::Mute => return std::future::pending().await,
        SocketManner::Huge => {
            // A text of 2^30 bytes, in one frame.
            let head = [&[0x81, 127][..], &(1u64 << 30).to_be_bytes()].concat();
            let mut left = stream.write_all(&head).await;
            while left.is_ok() {
                left = stream.write_all(&FLOOD).await;
            }
            return;
        }
        SocketManner::Good | SocketManner::HangUp | SocketManner::Flood | SocketManner::Junk => {}
    }
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let mut session = Session { state, is_known, blocks: false, scripts: None };
    // Who leaves early is no failure of the node.
    let _left = session.run(socket).await;
}

/// A client.
struct Session {
    state: Arc<State>,
    is_known: bool,
    blocks: bool,
    /// What its filter watches.
    scripts: Option<Vec<Address>>,
}

impl Session {
    async fn run(&mut self, mut socket: Socket) -> Result<(), tungstenite::Error> {
        let mut events = self.state.events.subscribe();
        loop {
            let messages = tokio::select! {
                message = socket.next() => {
                    match message.transpose()? {
                        None => return Ok(()),
                        Some(Message::Text(text)) => match self.request(text.as_str()) {
                            Some(reply) => vec![reply],
                            None => return socket.close(None).await,
                        },
                        Some(_) => continue,
                    }
                }
                event = events.recv() => match event {
                    Ok(Event::HangUp) | Err(RecvError::Closed) => return socket.close(None).await,
                    Ok(event) => self.news(&event),
                    Err(RecvError::Lagged(_)) => continue,
                },
            };
            for message in messages {
                socket.send(Message::text(message.to_string())).await?;
            }
            if self.blocks {
                self.misbehave(&mut socket).await?;
            }
        }
    }

    async fn misbehave(&self, socket: &mut Socket) -> Result<(), tungstenite::Error> {
        match self.state.socket_manner() {
            SocketManner::HangUp => Err(tungstenite::Error::ConnectionClosed),
            SocketManner::Junk => socket.send(Message::text("{\"method\":")).await,
            SocketManner::Flood => {
                let id = "77".repeat(32);
                for height in 0u32.. {
                    let params = json!([id, height, 0]);
                    let news = notification("blockconnected", params).to_string();
                    socket.send(Message::text(news)).await?;
                }
                Ok(())
            }
            SocketManner::Good | SocketManner::Mute | SocketManner::Huge => Ok(()),
        }
    }

    /// `None`: the connection ends without a word.
    fn request(&mut self, text: &str) -> Option<Value> {
        let request: Value = serde_json::from_str(text).ok()?;
        let params = request["params"].as_array().cloned().unwrap_or_default();
        let done = || json!({"result": null, "error": null, "id": request["id"]});
        match request["method"].as_str().unwrap_or_default() {
            "authenticate" => {
                let options = &self.state.options;
                let is_right = params == [json!(options.user), json!(options.password)];
                let is_first = !std::mem::replace(&mut self.is_known, true);
                (is_right && is_first).then(done)
            }
            _ if !self.is_known => None,
            "notifyblocks" => {
                self.blocks = true;
                Some(done())
            }
            "stopnotifyblocks" => {
                self.blocks = false;
                Some(done())
            }
            "loadtxfilter" => {
                let texts = params.get(1).and_then(Value::as_array).cloned().unwrap_or_default();
                let parse = |text: &Value| Some(Written::parse(text.as_str()?).ok()?.address);
                let new = texts.iter().filter_map(parse);
                match (&mut self.scripts, params.first()) {
                    (Some(scripts), Some(Value::Bool(false))) => scripts.extend(new),
                    (scripts, _) => *scripts = Some(new.collect()),
                }
                Some(done())
            }
            _ => Some(reply(&self.state, &request, rpc::node_call)),
        }
    }

    fn is_watched(&self, transaction: &Transaction) -> bool {
        let scripts = self.scripts.as_deref().unwrap_or_default();
        let paid = |address: Address| scripts.contains(&address);
        transaction.output.iter().any(|output| paid(Address::of_script(&output.script_pubkey)))
    }

    fn news(&self, event: &Event) -> Vec<Value> {
        match event {
            Event::Waiting(transaction) if self.is_watched(transaction) => {
                vec![notification("relevanttxaccepted", json!([to_hex(transaction)]))]
            }
            Event::Connected(id, height) if self.blocks => self.block("connected", id, *height),
            Event::Disconnected(id, height) if self.blocks => {
                self.block("disconnected", id, *height)
            }
            Event::Waiting(_) | Event::Connected(..) | Event::Disconnected(..) | Event::HangUp => {
                Vec::new()
            }
        }
    }

    fn block(&self, what: &str, id: &BlockHash, height: u32) -> Vec<Value> {
        let Some(block) = self.state.block(id) else { return Vec::new() };
        let params = json!([id.to_string(), height, block.header.time]);
        let mut news = vec![notification(&format!("block{what}"), params)];
        if self.scripts.is_some() {
            let header = data_encoding::HEXLOWER.encode(&serialize(&block.header));
            let watched = block.transactions.iter().filter(|one| self.is_watched(one));
            let watched: Vec<_> = watched.map(to_hex).collect();
            let params = if what == "disconnected" {
                json!([height, header])
            } else if watched.is_empty() {
                json!([height, header, null])
            } else {
                json!([height, header, watched])
            };
            news.push(notification(&format!("filteredblock{what}"), params));
        }
        news
    }
}

fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "1.0", "method": method, "params": params, "id": null})
}
