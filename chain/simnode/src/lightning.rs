//! Lightning's REST, simulated: lnd's gateway with or without hold invoices, and pld. Its payment requests are texts of
//! its own, which only it can read; who pays them is the test.

mod answers;

use crate::node::lock;
use crate::server::{Body, Handler, Manner, Server, answer, body_of};
use answers::{camel, invoice_json, payment_json};
use data_encoding::{BASE64, BASE64URL, HEXLOWER};
use futures_util::{Stream, StreamExt as _, stream as streams};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use primitives::address::Address;
use primitives::bitcoin::WPubkeyHash;
use primitives::bitcoin::hashes::Hash as _;
use primitives::network::Network;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

/// When invoices are made, seconds since 1970.
const TIME_S: u64 = 1_795_192_579;
/// Changes that wait for a subscriber.
const CHANGES_MAX: usize = 1024;

/// Which program is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// lnd's gateway inside pktd.
    Gateway,
    /// The same, built without hold invoices.
    GatewayWithoutHold,
    /// pld.
    Pld,
}

/// What becomes of what the node itself pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives,
    /// It does not.
    Fails,
    /// Nobody knows yet.
    Hangs,
}

/// What has become of an invoice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing.
    Open,
    /// Paid, and held.
    Accepted,
    /// Paid.
    Settled,
    /// Neither, for ever.
    Cancelled,
}

/// What it says that is false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LightningLie {
    /// Nothing.
    #[default]
    None,
    /// Invoices over half of what was asked.
    OtherPrice,
    /// Invoices of another hash.
    OtherHash,
    /// Invoices of another network.
    OtherNetwork,
    /// Receipts of other payments.
    OtherPreimage,
    /// Lists where there should be messages.
    WrongTypes,
}

/// An invoice of the node's, or of somebody whom it pays.
#[derive(Clone, Debug)]
struct Invoice {
    preimage: Option<[u8; 32]>,
    hash: [u8; 32],
    price: u64,
    expiry: u64,
    memo: String,
    is_hold: bool,
    settlement: Settlement,
    request: String,
}

/// A payment of the node's.
#[derive(Clone, Debug)]
struct Payment {
    hash: [u8; 32],
    preimage: [u8; 32],
    price: u64,
    fate: Fate,
}

#[derive(Debug)]
struct State {
    network: Network,
    program: Program,
    macaroon: String,
    is_locked: Mutex<bool>,
    lie: Mutex<LightningLie>,
    invoices: Mutex<BTreeMap<[u8; 32], Invoice>>,
    /// Those that it can be asked to pay, and what will become of it.
    strangers: Mutex<BTreeMap<String, Payment>>,
    payments: Mutex<Vec<Payment>>,
    changes: broadcast::Sender<[u8; 32]>,
}

/// A Lightning node on a port of its own on loopback; ends when it goes.
#[derive(Debug)]
pub struct SimLightning {
    state: Arc<State>,
    server: Server,
}

impl SimLightning {
    /// `macaroon`: what the gateway asks for, as hexadecimal text; pld asks for nothing. The gateway speaks TLS, pld
    /// does not.
    ///
    /// # Errors
    /// Of the system.
    pub async fn start(network: &Network, program: Program, macaroon: &str) -> io::Result<Self> {
        let state = Arc::new(State {
            network: *network,
            program,
            macaroon: macaroon.to_owned(),
            is_locked: Mutex::new(false),
            lie: Mutex::new(LightningLie::None),
            invoices: Mutex::default(),
            strangers: Mutex::default(),
            payments: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
        });
        let handler = Arc::new(Rest(Arc::clone(&state)));
        let server = Server::start(handler, program != Program::Pld).await?;
        Ok(Self { state, server })
    }

    /// `https://127.0.0.1:port`, or with `http`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Its certificate in PEM form, if it has one.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.server.certificate()
    }

    /// How it treats whoever connects from now on.
    pub fn behave(&self, manner: Manner) {
        self.server.behave(manner);
    }

    /// What it says from now on that is false.
    pub fn lie(&self, lie: LightningLie) {
        *lock(&self.state.lie) = lie;
    }

    /// Locks its wallet, or opens it.
    pub fn set_locked(&self, is_locked: bool) {
        *lock(&self.state.is_locked) = is_locked;
    }

    /// Somebody pays an invoice: it is settled, or held if it is a hold invoice. `false`: it cannot be paid.
    #[must_use]
    pub fn pay(&self, request: &str) -> bool {
        let Some(hash) = self.state.hash_of(request) else { return false };
        self.state.change(&hash, Settlement::Open, |invoice| {
            if invoice.is_hold { Settlement::Accepted } else { Settlement::Settled }
        })
    }

    /// What has become of an invoice.
    #[must_use]
    pub fn settlement(&self, hash: &[u8; 32]) -> Option<Settlement> {
        lock(&self.state.invoices).get(hash).map(|invoice| invoice.settlement)
    }

    /// An invoice of somebody else's for the node to pay, and what will become of it.
    #[must_use]
    pub fn stranger(&self, preimage: [u8; 32], price: u64, fate: Fate) -> String {
        let hash = Sha256::digest(preimage).into();
        let request = self.state.request(&hash, price, 3600);
        let payment = Payment { hash, preimage, price, fate };
        lock(&self.state.strangers).insert(request.clone(), payment);
        request
    }

    /// What hangs arrives.
    pub fn arrive(&self) {
        for payment in lock(&self.state.payments).iter_mut() {
            if payment.fate == Fate::Hangs {
                payment.fate = Fate::Arrives;
            }
        }
    }
}

struct Rest(Arc<State>);

impl Handler for Rest {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let macaroon = request.headers().get("grpc-metadata-macaroon");
        let is_known = macaroon.is_some_and(|value| value.as_bytes() == self.0.macaroon.as_bytes());
        let is_json =
            request.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
        let body = body_of(request).await.unwrap_or_default();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if self.0.program == Program::Pld {
            if method == Method::POST && !is_json {
                return answer(415, "text/plain", "415 - Unsupported Media Type".to_owned());
            }
            return self.pld(&path, &body);
        }
        if *lock(&self.0.is_locked) {
            return absent();
        }
        if !is_known {
            return failed(
                500,
                2,
                "verification failed: signature mismatch after caveat verification",
            );
        }
        self.gateway(&path, &body)
    }
}

/// A gateway's error.
fn failed(status: u16, code: i64, message: &str) -> Response<Body> {
    let body = json!({"error": message, "code": code, "message": message, "details": []});
    answer(status, "application/json", body.to_string())
}

fn absent() -> Response<Body> {
    failed(404, 5, "Not Found")
}

impl Rest {
    fn done(&self, value: Value) -> Response<Body> {
        let value =
            if *lock(&self.0.lie) == LightningLie::WrongTypes { json!([[]]) } else { value };
        let value = if self.0.program == Program::Pld { camel(value) } else { value };
        answer(200, "application/json", value.to_string())
    }

    fn gateway(&self, path: &str, body: &Value) -> Response<Body> {
        let has_hold = self.0.program == Program::Gateway;
        let (folder, last) = path.rsplit_once('/').unwrap_or_default();
        match (path, folder) {
            ("/v1/getinfo", _) => self
                .done(json!({"block_height": 7, "synced_to_chain": true, "synced_to_graph": true})),
            ("/v1/balance/blockchain", _) => self.done(balance()),
            ("/v1/newaddress", _) => self.done(json!({"address": self.0.address()})),
            ("/v1/invoices", _) => self.made(self.0.make(body, false)),
            (_, "/v1/invoice") => self.found(hex32(last)),
            (_, "/v1/payreq") => self.decoded(last),
            ("/v2/invoices/hodl", _) if has_hold => self.made(self.0.make(body, true)),
            ("/v2/invoices/settle", _) if has_hold => {
                let Some(preimage) = bytes32(&body["preimage"]) else {
                    return self.refused("preimage");
                };
                let hash = Sha256::digest(preimage).into();
                if let Some(invoice) = lock(&self.0.invoices).get_mut(&hash) {
                    invoice.preimage = Some(preimage);
                }
                self.moved(Some(hash), Settlement::Accepted, Settlement::Settled)
            }
            ("/v2/invoices/cancel", _) if has_hold => {
                let hash = bytes32(&body["payment_hash"]);
                let held =
                    hash.and_then(|hash| Some(lock(&self.0.invoices).get(&hash)?.settlement));
                self.moved(hash, held.unwrap_or(Settlement::Open), Settlement::Cancelled)
            }
            (_, "/v2/invoices/subscribe") if has_hold => self.subscribed(b64url32(last)),
            ("/v2/router/send", _) => self.sent(body),
            (_, "/v2/router/track") => self.tracked(b64url32(last)),
            _ => absent(),
        }
    }

    fn pld(&self, path: &str, body: &Value) -> Response<Body> {
        let is_locked = *lock(&self.0.is_locked);
        let part = path.strip_prefix("/api/v1/").unwrap_or_default();
        if is_locked && part.starts_with("lightning") {
            return self.refused("wallet is locked");
        }
        match part {
            "meta/getinfo" => {
                let open = (!is_locked).then(|| json!({"current_height": 7}));
                self.done(json!({"neutrino": {"peers": [], "height": 7}, "wallet": open, "lightning": open}))
            }
            "wallet/balance" => self.done(balance()),
            "wallet/address/create" => self.done(json!({"address": self.0.address()})),
            "lightning/invoice/create" => self.made(self.0.make(body, false)),
            "lightning/invoice/lookup" => self.found(bytes32(&body["rHash"])),
            "lightning/invoice/decodepayreq" => {
                self.decoded(body["payReq"].as_str().unwrap_or_default())
            }
            "lightning/payment/send" => self.sent(body),
            "lightning/payment" => {
                let list: Vec<_> =
                    lock(&self.0.payments).iter().map(|one| self.payment(one)).collect();
                self.done(json!({"payments": list}))
            }
            _ => answer(404, "text/plain", "404 page not found".to_owned()),
        }
    }

    fn refused(&self, message: &str) -> Response<Body> {
        if self.0.program == Program::Pld {
            let body = json!({"message": message, "stack": ["simnode"]});
            return answer(500, "application/json", body.to_string());
        }
        failed(500, 2, message)
    }

    fn made(&self, made: Option<Invoice>) -> Response<Body> {
        let Some(invoice) = made else {
            return self.refused("invoice: value, hash or preimage is wrong");
        };
        // A hold invoice's answer has no hash.
        let hash = if invoice.is_hold { String::new() } else { BASE64.encode(&invoice.hash) };
        self.done(json!({"r_hash": hash, "payment_request": invoice.request, "add_index": "1"}))
    }

    fn found(&self, hash: Option<[u8; 32]>) -> Response<Body> {
        let invoice = hash.and_then(|hash| lock(&self.0.invoices).get(&hash).cloned());
        match invoice {
            Some(invoice) => self.done(invoice_json(&invoice)),
            None => self.refused("unable to locate invoice"),
        }
    }

    fn decoded(&self, request: &str) -> Response<Body> {
        let Some((hash, price, expiry)) = self.0.decode(request) else {
            return self.refused("not a payment request");
        };
        self.done(json!({
            "payment_hash": HEXLOWER.encode(&hash), "num_satoshis": price.to_string(),
            "timestamp": TIME_S.to_string(), "expiry": expiry.to_string(),
        }))
    }

    fn moved(&self, hash: Option<[u8; 32]>, from: Settlement, to: Settlement) -> Response<Body> {
        let is_open = from != Settlement::Settled;
        match hash {
            Some(hash) if is_open && self.0.change(&hash, from, |_| to) => self.done(json!({})),
            _ => self.refused("unable to locate invoice, or it is settled or not paid"),
        }
    }

    /// The invoice as it is, and again after each change.
    fn subscribed(&self, hash: Option<[u8; 32]>) -> Response<Body> {
        let Some(hash) = hash else { return self.refused("no hash") };
        let changes = self.0.changes.subscribe();
        let state = Arc::clone(&self.0);
        let line = move || {
            let invoice = lock(&state.invoices).get(&hash).cloned()?;
            Some(json!({"result": invoice_json(&invoice)}))
        };
        let Some(first) = line() else { return self.refused("unable to locate invoice") };
        let later = streams::unfold((changes, line), move |(mut changes, line)| async move {
            while changes.recv().await.ok()? != hash {}
            let value = line()?;
            Some((value, (changes, line)))
        });
        stream(streams::iter([first]).chain(later))
    }

    fn sent(&self, body: &Value) -> Response<Body> {
        let field =
            if self.0.program == Program::Pld { "paymentRequest" } else { "payment_request" };
        let request = body[field].as_str().unwrap_or_default();
        let Some(payment) = lock(&self.0.strangers).get(request).cloned() else {
            return self.refused("no route to whom that is");
        };
        lock(&self.0.payments).push(payment.clone());
        if self.0.program == Program::Pld {
            let error = if payment.fate == Fate::Arrives {
                ""
            } else {
                "unable to find a path to destination"
            };
            let preimage = BASE64.encode(&self.receipt(&payment));
            return self.done(json!({
                "payment_error": error, "payment_preimage": preimage, "payment_hash": BASE64.encode(&payment.hash),
                "payment_route": {"total_fees_msat": "1000"},
            }));
        }
        let under_way = Payment { fate: Fate::Hangs, ..payment.clone() };
        let lines = [under_way, payment].map(|one| json!({"result": self.payment(&one)}));
        stream(streams::iter(lines))
    }

    fn tracked(&self, hash: Option<[u8; 32]>) -> Response<Body> {
        let payments = lock(&self.0.payments);
        let found = payments.iter().rev().find(|payment| Some(payment.hash) == hash);
        let line = match found {
            Some(payment) => json!({"result": self.payment(payment)}),
            None => {
                let message = "payment isn't initiated";
                json!({"error": {"grpc_code": 5, "http_code": 404, "message": message}})
            }
        };
        stream(streams::iter([line]))
    }

    fn receipt(&self, payment: &Payment) -> [u8; 32] {
        let is_lie = *lock(&self.0.lie) == LightningLie::OtherPreimage;
        if is_lie { [0xee; 32] } else { payment.preimage }
    }

    fn payment(&self, payment: &Payment) -> Value {
        payment_json(payment, &self.receipt(payment))
    }
}

impl State {
    fn address(&self) -> String {
        Address::WitnessPubkeyHash(WPubkeyHash::from_byte_array([5; 20])).text(&self.network)
    }

    /// `None`: something that is needed is not there.
    fn make(&self, body: &Value, is_hold: bool) -> Option<Invoice> {
        let preimage = [&body["r_preimage"], &body["rPreimage"]].into_iter().find_map(bytes32);
        let hash = if is_hold { bytes32(&body["hash"])? } else { Sha256::digest(preimage?).into() };
        let price = body["value"].as_str()?.parse().ok()?;
        let expiry = body["expiry"].as_str()?.parse().ok()?;
        let memo = body["memo"].as_str()?.to_owned();
        let lie = *lock(&self.lie);
        let told = if lie == LightningLie::OtherPrice { price / 2 } else { price };
        let named = if lie == LightningLie::OtherHash { [0xee; 32] } else { hash };
        let mut request = self.request(&named, told, expiry);
        if lie == LightningLie::OtherNetwork {
            request = request.replacen("ln", "lnbc", 1);
        }
        let settlement = Settlement::Open;
        let invoice = Invoice { preimage, hash, price, expiry, memo, is_hold, settlement, request };
        lock(&self.invoices).insert(hash, invoice.clone());
        Some(invoice)
    }

    fn request(&self, hash: &[u8; 32], price: u64, expiry: u64) -> String {
        format!("ln{}{price}x{expiry}x{}", self.network.hrp, HEXLOWER.encode(hash))
    }

    fn decode(&self, request: &str) -> Option<([u8; 32], u64, u64)> {
        let mut parts = request.strip_prefix("ln")?.strip_prefix(self.network.hrp)?.split('x');
        let (price, expiry) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((hex32(parts.next()?)?, price, expiry))
    }

    fn hash_of(&self, request: &str) -> Option<[u8; 32]> {
        self.decode(request).map(|(hash, _, _)| hash)
    }

    fn change(
        &self,
        hash: &[u8; 32],
        from: Settlement,
        to: impl Fn(&Invoice) -> Settlement,
    ) -> bool {
        let mut invoices = lock(&self.invoices);
        let Some(invoice) = invoices.get_mut(hash).filter(|one| one.settlement == from) else {
            return false;
        };
        invoice.settlement = to(invoice);
        drop(invoices);
        // Nobody may be listening.
        let _told = self.changes.send(*hash);
        true
    }
}

fn balance() -> Value {
    json!({"total_balance": "300", "confirmed_balance": "200", "unconfirmed_balance": "100"})
}

/// A JSON text a line.
fn stream(lines: impl Stream<Item = Value> + Send + Sync + 'static) -> Response<Body> {
    let frames =
        lines.map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{line}\n")))));
    Response::new(BodyExt::boxed(StreamBody::new(frames)))
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn b64url32(text: &str) -> Option<[u8; 32]> {
    BASE64URL.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn bytes32(value: &Value) -> Option<[u8; 32]> {
    BASE64.decode(value.as_str()?.as_bytes()).ok()?.try_into().ok()
}
